"""`holdfast auth show`: the lines that make etcd's users and roles for this tree."""

import shlex
from argparse import ArgumentTypeError
from collections.abc import Mapping, Sequence

from holdfast.cli.arguments import Parser
from holdfast.config import settings
from holdfast.grammar import Refused, identifier
from holdfast.ownership import roles

ROOT = (["user", "add", "root"], ["user", "grant-role", "root", "root"], ["auth", "enable"])


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    parser = Parser("auth")
    parser.add_argument("action", choices=("show",))
    parser.add_argument("--tenant", metavar="VM", type=_name, help="who writes the keys of one VM")
    parser.add_argument(
        "--operator-of", metavar="NAMES-", type=_name, help="who defines VMs with such names"
    )
    given = parser.parse_args(arguments)
    tree = settings.parse({**environ, "VM": "any", "INSTANCE": "", "VM_FILE": ""}).prefix
    for role in _asked(tree, given.tenant, given.operator_of):
        print(*(shlex.join(["etcdctl", *words]) for words in role), sep="\n")
    return 0


def _asked(tree: str, vm: str | None, names: str | None) -> list[list[list[str]]]:
    """Those that are named; else root, whom etcd wants first, and those that each tree has use for."""
    some = [roles.tenant(tree, vm)] if vm else []
    some += [roles.operator_of(tree, names)] if names else []
    if some:
        return [role.commands() for role in some]
    makes = (roles.launcher, roles.operator, roles.reader)
    return [[*ROOT], *(make(tree).commands() for make in makes)]


def _name(text: str) -> str:
    try:
        return identifier.name(text)
    except Refused as error:
        raise ArgumentTypeError(str(error)) from error
