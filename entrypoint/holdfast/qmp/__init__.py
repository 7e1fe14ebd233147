"""QEMU while it runs: its monitor, and the agent in its guest."""
