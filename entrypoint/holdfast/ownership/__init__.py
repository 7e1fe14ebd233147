"""The protocol: who may run a VM, and who may write to its disks (docs/ownership.md)."""
