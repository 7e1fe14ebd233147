"""Formats of disk images."""

from enum import StrEnum, auto


class Format(StrEnum):
    raw = auto()
    qcow2 = auto()
