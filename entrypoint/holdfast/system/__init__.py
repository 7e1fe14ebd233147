"""The kernel that a VM is to run on: what there is of it, and what it allows."""
