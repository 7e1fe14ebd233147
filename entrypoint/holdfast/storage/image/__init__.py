"""From an image that somebody has published to a volume of a VM's own."""
