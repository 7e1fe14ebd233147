"""Environment variables, each read by a parser; what is wrong is collected."""

from collections.abc import Mapping
from typing import TypeVar

from holdfast.dataclass import replace
from holdfast.errors import Fault
from holdfast.grammar import Parser, Refused, decoded

T = TypeVar("T")


def advice(name: str, given: str) -> str:
    """What engines make of a value that was right where it was written."""
    if len(given) > 1 and given[0] == given[-1] and given[0] in "\"'":
        return "docker's --env-file and -e take quotes literally: write it without"
    if given.startswith(("tcp://", "udp://")) and name.endswith("_PORT"):
        return (
            f"links of docker and Kubernetes set {name} for a service of that name: "
            "rename it, or set enableServiceLinks: false"
        )
    return ""


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
            fault = refused.fault(name, given)
            hint = advice(name, given)
            self.faults.append(replace(fault, rule=f"{fault.rule} ({hint})") if hint else fault)
            return default

    def refuse(self, name: str, rule: str, value: str | None = None) -> None:
        self.faults.append(Fault(key=name, value=value, rule=rule))
