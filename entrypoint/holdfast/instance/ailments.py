"""What ails a VM, by what it comes from: for the status, for its health, and for a log that is not flooded."""

from holdfast.dataclass import dataclass, field
from holdfast.errors import legible

LONGEST_TEXT = 1000  # characters: it stands in etcd, and most of it may be a guest's doing
FIRST, FACTOR, LONGEST = 30.0, 2.0, 3600.0  # seconds between two lines about one


@dataclass()
class _Ailment:
    text: str
    since: float
    again: float
    pause: float


@dataclass()
class Ailments:
    """`now` is of any clock that only goes forward. What is returned is for the log; often that is nothing."""

    _all: dict[str, _Ailment] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self._all)

    def __contains__(self, source: str) -> bool:
        return source in self._all

    def __str__(self) -> str:
        return legible("; ".join(one.text for one in self._all.values()), LONGEST_TEXT)

    def set(self, source: str, text: str, now: float) -> str:
        found = self._all.get(source)
        if found is None:
            self._all[source] = _Ailment(text=text, since=now, again=now + FIRST, pause=FIRST)
            return text
        found.text = text
        if now < found.again:
            return ""
        found.pause = min(LONGEST, found.pause * FACTOR)
        found.again = now + found.pause
        return f"still, after {now - found.since:.0f} s: {text}"

    def clear(self, source: str, now: float) -> str:
        found = self._all.pop(source, None)
        return f"over after {now - found.since:.0f} s: {found.text}" if found else ""
