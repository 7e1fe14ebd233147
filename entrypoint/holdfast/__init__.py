"""Holdfast: a virtual machine described by keys in etcd, running in one place only."""

__version__ = "0.1.0"
