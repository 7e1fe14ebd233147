"""etcd's key-value requests as values: what `store` sends and what it gets back.

The words are those of etcd's v3 API (rpc.proto): a transaction compares, then does one of two lists
of operations, all at one revision.
"""

from collections.abc import Iterable, Mapping, Sequence

from holdfast.dataclass import dataclass, field


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
class Unwritten:
    """Compare: none of the keys that begin with `key` was written after `revision`. One that was deleted is not seen."""

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
    prefix: bool = False


@dataclass(frozen=True, kw_only=True)
class Range:
    """Read one key; with `prefix` all keys that begin with it, with `end` all from it to the one before `end`.

    `limit` 0 is all of them; `revision` 0 is now. With `keys_only` the values are left out.
    """

    key: str
    prefix: bool = False
    end: str = ""
    limit: int = 0
    revision: int = 0
    keys_only: bool = False


Compare = Unchanged | Unwritten
Operation = Put | Delete | Range


@dataclass(frozen=True, kw_only=True)
class Reply:
    """`revision` is the store's at the moment of the transaction."""

    succeeded: bool
    revision: int
    items: Mapping[str, Item] = field(default_factory=dict)

    def revision_of(self, key: str) -> int:
        """Tell when the key was last written; 0 if it does not exist (as Unchanged takes it)."""
        return self.items[key].mod_revision if key in self.items else 0

    def unchanged(self, keys: Iterable[str]) -> "list[Unchanged]":
        """Compare each key with how it was read."""
        return [Unchanged(key=key, revision=self.revision_of(key)) for key in keys]


def written_by(
    reply: Reply, puts: Sequence[Put], compare: Sequence[Unchanged]
) -> dict[str, int] | None:
    """Return the revision of each key that we put; None if another value stands there.

    A value that stood there before, at a revision that was compared, is no copy of this request.
    """
    if reply.succeeded:
        return {put.key: reply.revision for put in puts}
    before = {one.key: one.revision for one in compare}
    items = [
        item for put in puts if (item := reply.items.get(put.key)) and item.value == put.value
    ]
    ours = {
        item.key: item.mod_revision for item in items if item.mod_revision != before.get(item.key)
    }
    return ours if len(ours) == len(puts) else None
