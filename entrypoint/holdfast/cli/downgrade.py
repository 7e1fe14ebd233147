"""`holdfast downgrade`: a VM's records go back to where launchers up to November's keep them."""

from argparse import Namespace
from collections.abc import Mapping, Sequence

from holdfast.cli.arguments import Parser
from holdfast.cli.fence import names_of
from holdfast.cli.subject import connected
from holdfast.config.settings import Settings
from holdfast.errors import UsageError
from holdfast.etcd.store import Store
from holdfast.ownership import override
from holdfast.system.container import command

GIVES_UP = """\
The epoch of VM {vm}, what it was pinned to, and its TPM's state go back among its own keys, where whoever may write \
those writes them, too. From then on an older Holdfast may start it; the next start by this one moves them again.
Then: {command}"""


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    parser = Parser("downgrade")
    parser.add_argument("vm", metavar="VM")
    parser.add_argument("--yes", action="store_true", help="do it, knowing what is given up")
    given = parser.parse_args(arguments)
    with connected(given.vm, environ) as (config, store):
        return give_back(given, config, store)


def give_back(given: Namespace, config: Settings, store: Store) -> int:
    names = names_of(config)
    seen = override.look_at_all(store, names)
    override.refuse_downgrade(seen, names)
    if names.epoch not in seen.items:
        print(f"VM {config.vm} has no record that was moved: an older Holdfast may start it")
        return 0
    if not given.yes:
        then = command(f"holdfast downgrade {config.vm} --yes")
        raise UsageError(GIVES_UP.format(vm=config.vm, command=then))
    override.downgrade(store, names, seen)
    print(f"an older Holdfast may start VM {config.vm} now, once its power is on")
    return 0
