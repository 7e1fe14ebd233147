"""One GET of what strangers publish, and its limits."""
