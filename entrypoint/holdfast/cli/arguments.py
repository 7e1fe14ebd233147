"""A command's own arguments. What is wrong with them is a UsageError like any other."""

from argparse import ArgumentParser
from typing import NoReturn

from holdfast.errors import UsageError


class Parser(ArgumentParser):
    """No abbreviations: `--fil` may be something else in the next version."""

    def __init__(self, command: str, purpose: str) -> None:
        super().__init__(prog=f"holdfast {command}", description=purpose, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, hint=self.format_usage().strip())
