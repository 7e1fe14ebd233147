"""YAML from strangers: small texts that would become large, deep or slow, and what is said of broken ones."""

from collections.abc import Callable
from typing import Any

import pytest

from holdfast.grammar import Refused
from holdfast.grammar.bounded_yaml import MOST_NODES, composed, loaded


def chain(line: str) -> str:
    """Each line holds the one before ten times."""
    lines = [line.format(n=n, before=", ".join([f"*a{n - 1}"] * 10)) for n in range(1, 12)]
    return "\n".join(["a0: &a0 {x: 1}", *lines])


TOO_MUCH = {
    "merge keys": (chain("a{n}: &a{n} {{<<: [{before}]}}"), "more than 20000 parts"),
    "aliases": (chain("a{n}: &a{n} [{before}]"), "more than 20000 parts"),
    "aliases of keys": (chain("a{n}: &a{n} {{k: [{before}]}}"), "more than 20000 parts"),
    "many parts": ("[" + "a," * MOST_NODES + "]", "more than 20000 parts"),
    "flow nesting": ("[" * 100_000, "is YAML nested deeper than 64"),
    "block nesting": ("- " * 100_000, "is YAML nested deeper than 64"),
    "nested keys": ("{a: " * 100_000, "is YAML nested deeper than 64"),
    "holds itself": ("a: &a [*a]", "holds itself"),
    "holds itself further down": ("a: &a {b: {c: [*a]}}", "holds itself"),
    "documents": ("---\n" * 100_000, "second document"),
    "base 60": ("a: " + "1:" * 50_000 + "1", "number without end"),
    "base 60 by its tag": ('a: !!int "' + "1:" * 50_000 + '1"', "number without end"),
    "digits": ("a: " + "1" * 100_000, "is not YAML"),
}


@pytest.mark.parametrize("read", [loaded, composed])
@pytest.mark.parametrize("case", [name for name in TOO_MUCH if name != "digits"])
def test_what_is_too_much_is_refused(read: Callable[[str], Any], case: str) -> None:
    text, reason = TOO_MUCH[case]
    with pytest.raises(Refused, match=reason) as caught:
        read(text)
    assert "(line " in caught.value.rule


def test_a_number_that_python_refuses() -> None:
    with pytest.raises(Refused, match="is not YAML"):
        loaded(TOO_MUCH["digits"][0])


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("users: [\n  bad\n", "is not YAML: expected ',' or ']', but got '<stream end>' (line 3)"),
        ("a:\n\t- b\n", "is not YAML: found character '\\t' that cannot start any token (line 2)"),
        ("password: *secret", "is not YAML: found undefined alias (line 1)"),
        ("password: !secret x", "is not YAML: could not determine a constructor (line 1)"),
        ("password: !s!ecret x", "is not YAML: found undefined tag handle (line 1)"),
        ("a: \0", "is not YAML"),
        ("a: \ud800", "is not YAML"),
        ("a: 2020-13-45", "is not YAML"),
        ("!!python/object/apply:os.getcwd []", "is not YAML: could not determine a constructor (line 1)"),
    ],
)  # fmt: skip
def test_what_is_no_yaml_is_said_without_showing_it(text: str, rule: str) -> None:
    with pytest.raises(Refused) as caught:
        loaded(text)
    assert (caught.value.rule, caught.value.hidden) == (rule, True)
    assert "secret" not in rule
    assert "ecret" not in rule


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("", None),
        ("# nothing\n", None),
        ("a: &a {x: 1}\nb: {<<: *a, y: 2}\n", {"a": {"x": 1}, "b": {"x": 1, "y": 2}}),
        ("a: 1:30\nb: 0x1f\nc: 12345678901234567890\n", {"a": 90, "b": 31, "c": 12345678901234567890}),
        ("a: |\n  long\n  text\n", {"a": "long\ntext\n"}),
        ('a: "' + "1:" * 10_000 + '"', {"a": "1:" * 10_000}),
    ],
)  # fmt: skip
def test_what_people_write_is_read(text: str, data: object) -> None:
    assert loaded(text) == data
