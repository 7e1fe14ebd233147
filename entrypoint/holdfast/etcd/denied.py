"""etcd says that its user may not, and neither what nor where: so we say what was asked for."""

from collections.abc import Sequence

from holdfast.etcd.store import Denied
from holdfast.etcd.txn import Operation, Range, Unchanged

HINT = "`etcdctl user get` and `role get` show what a user may; docs/operations.md has what Holdfast needs"


def explained(error: Denied, user: str, asked: Sequence[Unchanged | Operation]) -> Denied:
    reads = {_keys(one) for one in asked if isinstance(one, Range | Unchanged)}
    writes = {_keys(one) for one in asked if not isinstance(one, Range | Unchanged)}
    verbs = {"write": writes, "read": reads - writes}
    wanted = " and ".join(
        f"to {verb} {', '.join(sorted(keys))}" for verb, keys in verbs.items() if keys
    )
    return Denied(f"{error.message}: user {user or '(none)'} asked {wanted}", hint=HINT)


def _keys(one: Unchanged | Operation) -> str:
    """As the operator's role has to name them: `/kvm/7/*` is a prefix."""
    return f"{one.key}*" if isinstance(one, Range) and one.prefix else one.key
