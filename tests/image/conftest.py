"""The fixtures of container.py, for the tests of the image."""

from container import engine, run

__all__ = ["engine", "run"]
