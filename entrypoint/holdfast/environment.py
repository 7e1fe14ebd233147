"""Environment variables, each read by a parser; what is wrong is collected."""

from collections.abc import Mapping
from typing import TypeVar

from holdfast.errors import Fault
from holdfast.grammar import Parser, Refused, decoded

T = TypeVar("T")


class Environment:
    """An empty variable counts as unset: that is how compose passes one that nobody set."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self.variables = variables
        self.faults: list[Fault] = []

    def read(self, name: str, parser: Parser[T], default: T) -> T:
        given = self.variables.get(name, "")
        if not given:
            return default
        try:
            # Bytes that are not UTF-8 arrive as surrogates, which would break where they are sent.
            return parser(decoded(given.encode(errors="surrogateescape")))
        except Refused as refused:
            self.faults.append(refused.fault(name, given))
            return default

    def refuse(self, name: str, rule: str, value: str | None = None) -> None:
        self.faults.append(Fault(key=name, value=value, rule=rule))
