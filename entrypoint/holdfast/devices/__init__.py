"""The host's end of a VM's devices."""
