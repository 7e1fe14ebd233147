"""One QEMU, from what is known of it before it starts to how it ended."""
