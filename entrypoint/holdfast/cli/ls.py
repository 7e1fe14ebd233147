"""`holdfast ls`: all VMs, a line each."""

import json
import os.path
import time
from argparse import Namespace
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

from holdfast.cli import terminal, vm_state
from holdfast.cli.arguments import Parser
from holdfast.cli.sheet import Sheet
from holdfast.cli.subject import connected
from holdfast.cli.tree import Tree
from holdfast.cli.vm_state import Row
from holdfast.errors import UsageError
from holdfast.etcd.store import Store

EVERY = 2.0  # seconds between two looks of --watch
CLEAR = "\x1b[H\x1b[2J"


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    parser = Parser("ls")
    parser.add_argument(
        "names", metavar="VM", nargs="*", help="a name, or a pattern such as 'web-*'"
    )
    parser.add_argument(
        "--state", help=f"only those: {', '.join(vm_state.STATES)}; several with commas"
    )
    parser.add_argument("--host", help="only those that run on this host")
    parser.add_argument(
        "-l", "--tag", help="only those with this tag; several with commas: all of them"
    )
    parser.add_argument(
        "--long", action="store_true", help="with memory, CPUs and tags, as the keys say"
    )
    parser.add_argument("--json", action="store_true", help="a list of objects, for programs")
    parser.add_argument("--watch", action="store_true", help="on a terminal: again and again")
    given = parser.parse_args(arguments)
    refuse_unclear(given)
    sheet = terminal.sheet(environ)
    if given.watch and not sheet.width:
        raise UsageError(
            "--watch is for a terminal", hint="`holdfast events` tells a program of each change"
        )
    with connected(None, environ) as (config, store):
        while True:
            show(given, read(given, store, config.prefix), sheet)
            if not given.watch:
                return 0
            time.sleep(EVERY)


def refuse_unclear(given: Namespace) -> None:
    for state in filter(None, (given.state or "").split(",")):
        if state not in vm_state.STATES:
            raise UsageError(f"--state: {state} is none of {', '.join(vm_state.STATES)}")
    if given.watch and given.json:
        raise UsageError(
            "--watch and --json exclude each other",
            hint="`holdfast events --json` tells of each change",
        )


def read(given: Namespace, store: Store, prefix: str) -> list[Row]:
    long = given.long or bool(given.tag)
    found = Tree(store, prefix, common_start(given.names)).records(long=long)
    return [one for one in map(vm_state.row, found) if is_wanted(one, given)]


def common_start(patterns: Sequence[str]) -> str:
    """What all names begin with.

    >>> common_start(["web-*", "web-1?"]), common_start([])
    ('web-', '')
    """
    starts = ["".join(_until_pattern(one)) for one in patterns]
    return os.path.commonprefix(starts)  # noqa: RUF071 - of names, which have no parts


def _until_pattern(pattern: str) -> Iterable[str]:
    for letter in pattern:
        if letter in "*?[":
            return
        yield letter


def is_wanted(one: Row, given: Namespace) -> bool:
    tags = set((given.tag or "").split(",")) - {""}
    return (
        (not given.names or any(fnmatchcase(one.vm, pattern) for pattern in given.names))
        and (not given.state or one.state in given.state.split(","))
        and (not given.host or one.host == given.host)
        and tags <= set(one.keys.get("tags", "").split())
    )


def show(given: Namespace, rows: Sequence[Row], sheet: Sheet) -> None:
    if given.json:
        print(json.dumps([vm_state.as_json(one, long=given.long) for one in rows]))
        return
    now = time.time()
    head = vm_state.LONG if given.long else vm_state.HEAD
    colours = [vm_state.COLOURS.get(one.state, "") for one in rows]
    lines = sheet.lines(head, [vm_state.cells(one, now, long=given.long) for one in rows], colours)
    if sheet.width:
        lines.append(vm_state.summary(rows))
    print(
        CLEAR if given.watch else "",
        "\n".join(lines),
        sep="",
        end="\n" if lines else "",
        flush=True,
    )
