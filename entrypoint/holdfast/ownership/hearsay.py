"""What a guest causes to be written into etcd: so much and so often, and no more.

etcd is everybody's: a guest that invents addresses, writes to its TPM in a loop or switches itself off again and
again would otherwise fill it, and then no VM starts any more.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice

from holdfast.dataclass import dataclass
from holdfast.errors import legible

MOST_ADDRESSES = 16  # of a card
MOST_BYTES = 1024  # of all of them, as they stand in the key
MOST_NAMES = 32
MOST_REMEMBERED, LONGEST_NAME = 1000, 256  # names of keys, and characters of one
MINUTE = 60.0


@dataclass(kw_only=True)
class Allowance:
    """`burst` at once, and then one a minute. The clock is the caller's."""

    burst: int
    every: float = MINUTE
    _left: float = 0.0
    _since: float | None = None

    def allows(self, now: float) -> bool:
        """Whether it may be done now; it is taken as done then."""
        if self._since is None:
            self._left = self.burst
        else:
            self._left = min(self.burst, self._left + (now - self._since) / self.every)
        self._since = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


def addresses(found: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """By card, in the order given, as far as there is room."""
    told: dict[str, list[str]] = {}
    room = MOST_BYTES
    for card, there in found.items():
        for address in there[:MOST_ADDRESSES]:
            room -= len(address) + 3  # with its quotes and comma
            if room >= 0:
                told.setdefault(card, []).append(address)
    return told


def remember(known: set[str], keys: Iterable[str]) -> None:
    """Names of keys, as far as there is room: who may write keys may write them for ever, and name them at length."""
    room = MOST_REMEMBERED - len(known)
    known.update(key[:LONGEST_NAME] for key in islice(keys, room))


def names(keys: Iterable[str]) -> list[str]:
    """Of keys, as they may be logged and shown: whoever writes them chooses what they are called."""
    found = sorted(keys)
    more = [f"and {len(found) - MOST_NAMES} more"] if len(found) > MOST_NAMES else []
    return [*map(legible, found[:MOST_NAMES]), *more]
