"""A command's own arguments. What is wrong with them is a UsageError like any other."""

from argparse import Action, ArgumentParser, Namespace
from typing import Any, NoReturn

from holdfast.cli.commands import COMMANDS
from holdfast.errors import UsageError


class Once(Action):
    """The second would silently replace the first."""

    def __call__(
        self, parser: ArgumentParser, namespace: Namespace, values: Any, option: str | None = None
    ) -> None:
        if getattr(namespace, self.dest, self.default) is not self.default:
            parser.error(f"{option}: is given twice")
        setattr(namespace, self.dest, values)


class Parser(ArgumentParser):
    """No abbreviations: `--fil` may be something else in the next version."""

    def __init__(self, command: str) -> None:
        purpose = COMMANDS[command].purpose
        super().__init__(prog=f"holdfast {command}", description=purpose, allow_abbrev=False)
        self.register("action", None, Once)
        self.register("action", "store", Once)

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, hint=self.format_usage().strip())
