"""QEMU's command line, built from values: pure, deterministic, golden-tested."""
