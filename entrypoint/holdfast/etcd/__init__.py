"""Keys in etcd: reading, comparing and writing, watching."""
