"""What a process of ours is made of: its loop, its children, its threads, its rights."""
