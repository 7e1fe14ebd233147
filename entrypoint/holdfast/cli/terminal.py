"""What stdout is: a terminal with its width and colours, or something that a program reads."""

import os
import sys
from collections.abc import Mapping

from holdfast.cli.sheet import Sheet

WIDTH = 80


def sheet(environ: Mapping[str, str]) -> Sheet:
    if not sys.stdout.isatty():
        return Sheet()
    try:
        width = os.get_terminal_size(sys.stdout.fileno()).columns or WIDTH
    except OSError:
        width = WIDTH
    plain = bool(environ.get("NO_COLOR")) or environ.get("TERM") == "dumb"
    return Sheet(width=width, colour=not plain)
