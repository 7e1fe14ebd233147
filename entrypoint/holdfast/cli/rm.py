"""`holdfast rm`: a VM's keys and all that launchers have written of it. The volumes themselves stay where they are."""

from argparse import Namespace
from collections.abc import Mapping, Sequence

from holdfast.cli import transaction
from holdfast.cli.arguments import Parser
from holdfast.cli.definition import Definition
from holdfast.cli.show import About, look, volumes
from holdfast.cli.subject import connected
from holdfast.errors import Changed, LockHeld, UsageError
from holdfast.etcd.store import Store
from holdfast.etcd.txn import Compare, Delete, Operation, Unchanged, Unwritten
from holdfast.ownership.records import decode_lock
from holdfast.system.container import command

GIVES_UP = """\
VM {vm} and what etcd knows of it would be gone: {keys} keys, its epoch, its TPM's state.{volumes}
Then: holdfast rm {vm} --yes{forget}"""
LEFT = """
Its volumes stay where they are, and nobody's disks:
  {volumes}"""


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    parser = Parser("rm")
    parser.add_argument("vm", metavar="VM")
    parser.add_argument(
        "--forget-volumes", action="store_true", help="also of a VM whose volumes are known"
    )
    parser.add_argument("--yes", action="store_true", help="do it, knowing what is given up")
    parser.add_argument("-m", "--why", default="", help="for `holdfast history`, which stays")
    given = parser.parse_args(arguments)
    with connected(given.vm, environ) as (config, store):
        about = look(store, config)
        refuse(about, given)
        remove(store, about, given.why)
    print(f"VM {given.vm} is gone")
    if left := volumes(about):
        print(*(f"left where it is: {line}" for line in left), sep="\n")
    return 0


def refuse(about: About, given: Namespace) -> None:
    refuse_in_use(about)
    vm, left = about.base.vm, volumes(about)
    if given.yes and (given.forget_volumes or not left):
        return
    told = LEFT.format(volumes="\n  ".join(left)) if left else ""
    forget = " --forget-volumes" if left else ""
    raise UsageError(GIVES_UP.format(vm=vm, keys=len(about.base.own), volumes=told, forget=forget))


def refuse_in_use(about: About) -> None:
    base = about.base
    if lock := base.seen.items.get(base.names.lock):
        raise LockHeld(
            f"VM {base.vm} runs on {decode_lock(lock.value)}",
            hint=f"stop it first: holdfast stop {base.vm}",
        )
    if base.names.fence in about.own:
        shown = command(f"holdfast fence show {base.vm}")
        raise LockHeld(
            f"the last owner of VM {base.vm} did not stop cleanly: its QEMU may still write to its disks",
            hint=f"`{shown}` names them; start it and stop it, or forget the record",
        )


def remove(store: Store, about: About, why: str) -> int:
    """One transaction. The history stays, with this as its last word."""
    base = about.base
    gone = dict.fromkeys(base.own)
    change = transaction.record(base, gone, "rm", why)
    reply = store.txn(_compare(base), [*_deletions(base), *transaction.logged(base, change)])
    if not reply.succeeded:
        raise Changed(f"VM {base.vm} was taken or changed meanwhile; nothing was removed")
    return reply.revision


def _compare(base: Definition) -> list[Compare]:
    names, revision = base.names, base.seen.revision
    return [
        Unchanged(key=names.lock, revision=0),
        Unwritten(key=names.keys, revision=revision),
        Unwritten(key=names.own, revision=revision),
    ]


def _deletions(base: Definition) -> list[Operation]:
    names = base.names
    secrets = names.tpm.removesuffix("tpm")
    return [
        *(Delete(key=key, prefix=True) for key in (names.keys, names.own, secrets)),
        *(Delete(key=key) for key in (names.status, names.last)),
    ]
