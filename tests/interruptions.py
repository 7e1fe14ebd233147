"""Something that comes between two calls of the file system's, at each place in turn."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# What is raised before a call that looks at the file system or changes it (docs.python.org, Audit events table).
CALLS = frozenset({"open", "os.link", "os.listdir", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.scandir"})  # fmt: skip


class Interruptions:
    """Audit hooks stay for ever: one for all, which does nothing while nobody counts."""

    def __init__(self) -> None:
        self.over = False  # before it came to this number
        self._left = -1
        self._what: Callable[[], object] = lambda: None
        sys.addaudithook(self._hook)

    def _hook(self, event: str, _: object) -> None:
        if self._left < 0 or event not in CALLS:
            return
        self._left -= 1
        if self._left < 0:
            self._what()

    @contextmanager
    def before(self, number: int, what: Callable[[], object]) -> Iterator[None]:
        """`what` comes before the call of this number, as another host's that was quicker."""
        self._left, self._what = number, what
        try:
            yield
        finally:
            self.over, self._left = self._left >= 0, -1


interruptions = Interruptions()
