"""A user's own options of QEMU: read, judged and served."""
