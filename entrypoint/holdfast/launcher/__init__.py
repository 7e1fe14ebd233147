"""The order of a start: checks, waiting for the VM, running it while it is ours."""
