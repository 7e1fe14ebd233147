"""YAML that others wrote: every document is measured before anything is made of it.

Short texts can become very large: aliases of aliases, merge keys above all, which copy. And they can
nest deeper than any stack. The parser's events are made one by one, without recursion: they are counted,
and what an alias stands for is counted again at each place.
"""

from collections.abc import Callable
from typing import Any

from holdfast.grammar import Refused

MOST_NODES = 20_000  # with what aliases stand for
DEEPEST = 64
LONGEST_NUMBER = 400  # letters; what a float can be, and base 60 (1:2:3) costs their square


def loaded(text: str) -> Any:
    """As the guest's cloud-init reads it: PyYAML's own parser, which is stricter than libyaml's about tabs.

    What the text says is never shown: it may hold a password.
    """
    import yaml  # noqa: PLC0415 - 13 ms that few VMs need

    return _read(text, yaml.safe_load)


def composed(text: str) -> Any:
    """The nodes, in which all scalars are as they are written; None for an empty text."""
    import yaml  # noqa: PLC0415 - likewise

    return _read(text, lambda measured: yaml.compose(measured, Loader=yaml.BaseLoader))


def _read(text: str, make: Callable[[str], Any]) -> Any:
    import yaml  # noqa: PLC0415 - likewise

    measured = _Measured()
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            measured.add(event)
        return make(text)
    except Refused:
        raise
    except Exception as error:  # noqa: BLE001 - a constructor may fail in any way
        raise Refused(_problem(error), hidden=True) from None


class _Measured:
    def __init__(self) -> None:
        self._nodes = 0
        self._documents = 0
        self._open: list[tuple[str | None, int]] = []  # anchors, with the count before them
        self._sizes: dict[str, int] = {}

    def add(self, event: Any) -> None:
        match type(event).__name__:
            case "DocumentStartEvent":
                self._begin(event)
            case "MappingStartEvent" | "SequenceStartEvent":
                self._enter(event)
            case "MappingEndEvent" | "SequenceEndEvent":
                self._leave()
            case "ScalarEvent":
                self._scalar(event)
            case "AliasEvent":
                self._alias(event)
            case _:
                pass

    def _begin(self, event: Any) -> None:
        self._documents += 1
        if self._documents > 1:
            raise _refused("has a second document", event)

    def _enter(self, event: Any) -> None:
        if len(self._open) >= DEEPEST:
            raise _refused(f"is YAML nested deeper than {DEEPEST} levels", event)
        self._open.append((event.anchor, self._nodes))
        self._count(1, event)

    def _leave(self) -> None:
        anchor, before = self._open.pop()
        if anchor is not None:
            self._sizes[anchor] = self._nodes - before

    def _scalar(self, event: Any) -> None:
        number = event.style is None and event.value[:1] in "+-.0123456789"
        named = event.tag is not None and event.tag.endswith((":int", ":float"))
        if (number or named) and len(event.value) > LONGEST_NUMBER and ":" in event.value:
            raise _refused("has a number without end", event)
        self._count(1, event)
        if event.anchor is not None:
            self._sizes[event.anchor] = 1

    def _alias(self, event: Any) -> None:
        if any(anchor == event.anchor for anchor, _ in self._open):
            raise _refused("has an alias that holds itself", event)
        self._count(self._sizes.get(event.anchor, 1), event)

    def _count(self, more: int, event: Any) -> None:
        self._nodes += more
        if self._nodes > MOST_NODES:
            raise _refused(
                f"has more than {MOST_NODES} parts once its aliases are followed", event
            )


def _refused(rule: str, event: Any) -> Refused:
    return Refused(f"{rule} (line {event.start_mark.line + 1})", hidden=True)


def _problem(error: Exception) -> str:
    """Where, and what the parser minds. Names that it quotes stay unshown: they are of the text."""
    mark = getattr(error, "problem_mark", None)
    problem = str(getattr(error, "problem", None) or "cannot be read")
    if any(word in problem for word in ("alias", "anchor", "tag", "constructor", "directive")):
        problem = problem.partition(" '")[0].partition(" for ")[0]
    return f"is not YAML: {problem} (line {mark.line + 1})" if mark else "is not YAML"
