"""What the operator of a host allows."""
