"""Images in Ceph, and the process that has librbd."""
