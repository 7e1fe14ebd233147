"""Where disks live: one file a kind."""
