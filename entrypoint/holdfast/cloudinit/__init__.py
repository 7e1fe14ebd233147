"""What a guest is told when it boots first, in cloud-init's words."""
