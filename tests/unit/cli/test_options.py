"""Every option of every command is called by some test: found by reading parsers and tests."""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from holdfast.cli.arguments import Parser
from holdfast.cli.commands import TABLE
from holdfast.errors import UsageError

TESTS = Path(__file__).parents[2]
LONGEST = 15  # words of one call: a whole table of calls is no evidence


class Caught(Exception):
    """A parser that was about to parse."""


def parsers() -> Iterator[Parser]:
    def caught(self: Parser, *_: object) -> None:
        raise Caught(self)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Parser, "parse_args", caught)
        for row in TABLE:
            if row.module.startswith("holdfast.cli.") and row.name not in ("version", "help"):
                with pytest.raises(Caught) as found:
                    row.call([], {})
                yield found.value.args[0]


def options() -> Iterator[tuple[str, str]]:
    """The command, and one of its options or actions."""
    for parser in parsers():
        command = parser.prog.removeprefix("holdfast ")
        yield command, command
        for action in parser._actions:
            words = [*action.option_strings[-1:], *(action.choices or ())]
            yield from ((command, str(word)) for word in words if word != "--help")


def calls() -> Iterator[frozenset[str]]:
    """The words of each call, list or tuple in a test."""
    for path in TESTS.rglob("test_*.py"):
        if path == Path(__file__):
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        mains = dict(imported(tree))
        for node in ast.walk(tree):
            if isinstance(node, ast.Call | ast.List | ast.Tuple):
                words = frozenset(spoken(node, mains))
                if len(words) <= LONGEST:
                    yield words


def imported(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """`main` of a command's module, by the name it has in a test."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("holdfast.cli."):
            for name in node.names:
                yield name.asname or name.name, str(node.module).rpartition(".")[2]


def spoken(node: ast.AST, mains: Mapping[str, str]) -> Iterator[str]:
    for part in ast.walk(node):
        if isinstance(part, ast.Constant) and isinstance(part.value, str):
            yield from part.value.split()
        if isinstance(part, ast.Name) and part.id in mains:
            yield mains[part.id]
        if isinstance(part, ast.Name):  # `image_command(...)`
            yield from part.id.split("_")
        if isinstance(part, ast.Attribute):  # `check.main([...])`
            yield from ast.unparse(part).split(".")


CALLS = frozenset(calls())


@pytest.mark.parametrize(("command", "option"), tuple(options()))
def test_an_option_is_called(command: str, option: str) -> None:
    assert any({command, option} <= call for call in CALLS), f"holdfast {command} {option}"


def test_the_parsers_were_found() -> None:
    found = set(options())
    assert ("host", "--json") in found
    assert ("fence", "shut-out") in found
    assert not any({"fence", "--nonsense"} <= call for call in CALLS)


@pytest.mark.parametrize("default", [None, ""])
def test_an_option_is_taken_once(default: str | None) -> None:
    """Whatever stands in its place without it."""
    parser = Parser("host")
    parser.add_argument("--member", default=default)
    assert parser.parse_args([]).member == default
    assert parser.parse_args(["--member", "a"]).member == "a"
    with pytest.raises(UsageError, match="--member: is given twice"):
        parser.parse_args(["--member", "a", "--member", "b"])
