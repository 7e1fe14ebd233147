"""The environment and host.toml, as one value."""
