"""`holdfast downgrade`: a VM's records go back to where launchers up to November's keep them."""

from argparse import Namespace
from collections.abc import Mapping, Sequence

from holdfast.cli.arguments import Parser
from holdfast.cli.fence import names_of, unused
from holdfast.cli.subject import connected
from holdfast.config.settings import Settings
from holdfast.errors import LockHeld, UsageError
from holdfast.etcd.store import Store
from holdfast.etcd.txn import Delete, Item, Operation, Put, Range, Reply, Unchanged
from holdfast.ownership import legacy
from holdfast.ownership.names import Names
from holdfast.system.container import command

GIVES_UP = """\
The epoch of VM {vm}, what it was pinned to, and its TPM's state go back among its own keys, where whoever may write \
those writes them, too. From then on an older Holdfast may start it; the next start by this one moves them again.
Then: {command}"""


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    parser = Parser("downgrade", "Let launchers of an older Holdfast start a VM again.")
    parser.add_argument("vm", metavar="VM")
    parser.add_argument("--yes", action="store_true", help="do it, knowing what is given up")
    given = parser.parse_args(arguments)
    with connected(given.vm, environ) as (config, store):
        return give_back(given, config, store)


def give_back(given: Namespace, config: Settings, store: Store) -> int:
    names = names_of(config)
    own = (names.lock, names.power, names.fence, *_places(names))
    keys = (*own, names.legacy.fence, *_places(names.legacy))
    seen = store.read(*(Range(key=key) for key in keys))
    judge(seen, names, config)
    if names.epoch not in seen.items:
        print(f"VM {config.vm} has no record that was moved: an older Holdfast may start it")
        return 0
    if not given.yes:
        then = command(f"holdfast downgrade {config.vm} --yes")
        raise UsageError(GIVES_UP.format(vm=config.vm, command=then))
    compare = [Unchanged(key=key, revision=seen.revision_of(key)) for key in keys]
    if not store.txn(compare, _back(seen, names)).succeeded:
        raise LockHeld("the VM was taken meanwhile, or a record has changed; nothing was written")
    print(f"an older Holdfast may start VM {config.vm} now, once its power is on")
    return 0


def judge(seen: Reply, names: Names, config: Settings) -> None:
    """Only while nobody can be running it, or start it: one who stands by would move the records again at once."""
    unused(seen, names, config)
    if legacy.fences(seen, names):
        raise LockHeld(
            f"the last owner of VM {config.vm} did not stop cleanly, and an older Holdfast could not read whom it names",
            hint="start it here, and stop it; the command `fence show` names them",
        )
    power = seen.items.get(names.power)
    if power is None or power.value.strip() != b"off":
        raise UsageError(
            f"VM {config.vm} is not switched off: whoever stands by would start it",
            hint=f"etcdctl put {names.power} off",
        )


def _places(names: object) -> list[str]:
    return [getattr(names, name) for name in ("epoch", "pinned", "tpm")]


def _back(seen: Reply, names: Names) -> list[Operation]:
    """One transaction. The epoch is raised, as by an owner: what one of this version still sends fails."""
    epoch = legacy.epoch(seen, names) + 1
    done: list[Operation] = [
        Put(key=names.legacy.epoch, value=str(epoch).encode()),
        Delete(key=names.legacy.fence),
        Delete(key=names.epoch),
    ]
    for name in ("pinned", "tpm"):
        item: Item | None = seen.items.get(getattr(names, name))
        if item is None and name == "pinned":  # it was forgotten since
            done.append(Delete(key=names.legacy.pinned))
        if item is not None:
            done += [Put(key=getattr(names.legacy, name), value=item.value), Delete(key=item.key)]
    return done
