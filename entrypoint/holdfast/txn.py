"""etcd's key-value requests as values: what `store` sends and what it gets back.

The words are those of etcd's v3 API (rpc.proto): a transaction compares, then does one of two lists
of operations, all at one revision.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Item:
    """A key as etcd holds it."""

    key: str
    value: bytes = field(repr=False)
    mod_revision: int
    lease: int = 0


@dataclass(frozen=True, kw_only=True)
class Unchanged:
    """Compare: the key was last written at `revision`; 0 means that it does not exist."""

    key: str
    revision: int


@dataclass(frozen=True, kw_only=True)
class Put:
    key: str
    value: bytes = field(repr=False)
    lease: int = 0


@dataclass(frozen=True, kw_only=True)
class Delete:
    key: str


@dataclass(frozen=True, kw_only=True)
class Range:
    """Read one key, or with `prefix` all keys that begin with it."""

    key: str
    prefix: bool = False


Operation = Put | Delete | Range


@dataclass(frozen=True, kw_only=True)
class Reply:
    """`revision` is the store's at the moment of the transaction."""

    succeeded: bool
    revision: int
    items: Mapping[str, Item] = field(default_factory=dict)

    def revision_of(self, key: str) -> int:
        """When the key was last written; 0 if it does not exist (as Unchanged takes it)."""
        return self.items[key].mod_revision if key in self.items else 0
