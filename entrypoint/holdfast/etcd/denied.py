"""etcd says that its user may not, and neither what nor where: so we say what was asked for."""

from collections.abc import Sequence

from holdfast.etcd.store import Denied
from holdfast.etcd.txn import Compare, Delete, Operation, Put, Range, Unwritten

HINT = "`etcdctl user get` and `role get` show what a user may; docs/operations.md has what Holdfast needs"


def explained(error: Denied, user: str, asked: Sequence[Compare | Operation]) -> Denied:
    writes = {_keys(one) for one in asked if isinstance(one, Put | Delete)}
    reads = {_keys(one) for one in asked if not isinstance(one, Put | Delete)}
    verbs = {"write": writes, "read": reads - writes}
    wanted = " and ".join(
        f"to {verb} {', '.join(sorted(keys))}" for verb, keys in verbs.items() if keys
    )
    return Denied(f"{error.message}: user {user or '(none)'} asked {wanted}", hint=HINT)


def _keys(one: Compare | Operation) -> str:
    """As the operator's role has to name them: `/kvm/7/*` is a prefix."""
    if isinstance(one, Range) and one.end:
        return f"{one.key} to {one.end}"
    whole = isinstance(one, Unwritten) or (isinstance(one, Range | Delete) and one.prefix)
    return f"{one.key}*" if whole else one.key
