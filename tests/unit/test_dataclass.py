"""Ours do what the standard library's do, wherever both are asked the same."""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import pytest

from holdfast import dataclass as ours
from holdfast.machine import Machine


def kinds(library: Any) -> dict[str, type[Any]]:
    """The same classes by either library."""

    @library.dataclass(frozen=True, kw_only=True)
    class Base:
        count: ClassVar[int] = 0
        name: str
        hidden: str = library.field(default="-", repr=False)

    @library.dataclass(frozen=True, kw_only=True)
    class Derived(Base):
        inside: Any = ()
        note: str = library.field(default="", compare=False)
        table: dict[str, int] = library.field(default_factory=dict)

        def __repr__(self) -> str:
            return f"<{self.name}>"

    @library.dataclass(frozen=True)
    class Pair:
        first: int
        second: int = 2

    @library.dataclass()
    class Counter:
        seen: list[int] = library.field(default_factory=list)

    found = {kind.__name__: kind for kind in (Base, Derived, Pair, Counter)}
    for kind in found.values():
        kind.__qualname__ = kind.__name__
    return found


Kinds = dict[str, type[Any]]
ACTS: dict[str, Callable[[Kinds, Any], object]] = {
    "repr": lambda k, lib: repr(k["Base"](name="a", hidden="b")),
    "own repr": lambda k, lib: repr(k["Derived"](name="a")),
    "a field wanting": lambda k, lib: k["Base"](),
    "a field unknown": lambda k, lib: k["Base"](name="a", size=1),
    "by place, keywords only": lambda k, lib: k["Base"]("a"),
    "by place": lambda k, lib: repr((k["Pair"](1), k["Pair"](1, 3), k["Pair"](1, second=4))),
    "too many": lambda k, lib: k["Pair"](1, 2, 3),
    "equal": lambda k, lib: k["Base"](name="a") == k["Base"](name="a"),
    "differs": lambda k, lib: k["Base"](name="a") == k["Base"](name="b"),
    "not compared": lambda k, lib: k["Derived"](name="a") == k["Derived"](name="a", note="n"),
    "of another class": lambda k, lib: k["Base"](name="a") == k["Derived"](name="a"),
    "hash": lambda k, lib: len({k["Pair"](1), k["Pair"](1, 2), k["Pair"](2)}),
    "hash of one that changes": lambda k, lib: hash(k["Counter"]()),
    "hash of a table": lambda k, lib: hash(k["Derived"](name="a")),
    "set": lambda k, lib: setattr(k["Base"](name="a"), "name", "b"),
    "set what is no field": lambda k, lib: setattr(k["Base"](name="a"), "size", "b"),
    "delete": lambda k, lib: delattr(k["Base"](name="a"), "name"),
    "set one that changes": lambda k, lib: setattr(k["Counter"](), "seen", [1]),
    "made anew": lambda k, lib: k["Counter"]().seen is k["Counter"]().seen,
    "default of the class": lambda k, lib: k["Pair"].second,
    "replace": lambda k, lib: repr(lib.replace(k["Pair"](1, 3), first=5)),
    "replace unknown": lambda k, lib: lib.replace(k["Pair"](1, 3), third=5),
    "asdict": lambda k, lib: lib.asdict(
        k["Derived"](name="a", inside=[(k["Pair"](1), "x"), {"y": k["Pair"](2)}], table={"z": 1})
    ),
    "fields": lambda k, lib: [(f.name, f.type) for f in lib.fields(k["Derived"])],
    "fields of a value": lambda k, lib: [f.name for f in lib.fields(k["Pair"](1))],
}


def outcome(act: Callable[[Kinds, Any], object], library: Any) -> object:
    try:
        return act(kinds(library), library)
    except (TypeError, ValueError, AttributeError) as error:
        return AttributeError if isinstance(error, AttributeError) else TypeError


@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
def test_as_the_standard_librarys(act: Callable[[Kinds, Any], object]) -> None:
    assert outcome(act, ours) == outcome(act, dataclasses)


def test_the_standard_librarys_functions_know_ours() -> None:
    pair = kinds(ours)["Pair"](1, 3)
    assert dataclasses.replace(pair, first=2) == ours.replace(pair, first=2)
    assert dataclasses.asdict(pair) == ours.asdict(pair)
    assert [one.name for one in dataclasses.fields(Machine)] == [
        one.name for one in ours.fields(Machine)
    ]


def test_what_would_not_be_called_is_refused() -> None:
    with pytest.raises(TypeError, match="__post_init__"):

        @ours.dataclass(frozen=True)
        class _Hopeful:
            def __post_init__(self) -> None:
                """Never."""
