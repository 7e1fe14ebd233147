"""docs/commands.md, made from the table of commands and from their parsers.

PYTHONPATH=entrypoint:tests .venv/bin/python tests/commands_page.py >docs/commands.md
"""

import sys
from argparse import Action
from collections.abc import Iterator
from unittest.mock import patch

from holdfast.cli.arguments import Parser
from holdfast.cli.commands import TABLE, Command

HEAD = """\
# Commands

This page is made from the program: `tests/commands_page.py` says how to renew it, and a
test says when it is stale.

`holdfast` needs `ETCD_ENDPOINTS`, and what etcd asks for (`ETCD_CACERT`, `ETCD_USERNAME`
...); what speaks of VMs needs no KVM, root or host.toml beside. So it runs on a laptop,
or as `docker run --rm -e ETCD_ENDPOINTS=... holdfast ls`.

- A table is aligned and coloured on a terminal (not with `NO_COLOR`); elsewhere it has
  tabs between its cells and no head. `--json` is for programs: its names stay.
- Nothing asks back: what gives something up wants `--yes`.
- What changes keys judges them as `holdfast check` does, but for host.toml, whose limits
  each host sees to. All that is wrong is told together, and nothing is written then; what
  was wrong before hinders nothing.
- A change is one transaction of etcd, which compares what was read: of two at once one is
  refused (75), with what has changed. It leaves a record of who, from where, why, before
  and after, in `/kvm/_log/<vm>/`; the last hundred are kept. Of a secret, and of what is
  longer than 4 KiB, there is a hash. Who it was is what his program says, and etcd's user
  where it has one. What `etcdctl` writes leaves no record.
- Of a VM that runs, a change of `power` acts at once. All other keys are read at its next
  start, and each command says so before it writes.
- `start`, `stop` and `restart` switch the key `power`. A launcher that is to hear of it
  again needs `STAY=on`, as the unit has it; without, it has ended with the stop, and
  `restart` starts nothing. For a restart `off` hangs on a lease of a minute: should the
  machine with the command die, the VM is on again.
- A file for `apply` is a VM, and called like it: all its keys, as `export` writes them. A
  key that is not in it goes; but `power` stays as it is, unless the file has it.
- `rm` removes what etcd knows of a VM, but its history. Its volumes stay where they are.
- The states in `ls`: `running`, `paused`, `panicked`, `stopping` and `restarting` as
  launchers tell them; `starting`, where a host has the lock; `stopped`, where `power` is
  `off`; `crashed`, until a key changes; `waiting`, where nobody has taken it;
  `undefined`, where records are left without keys.

The exit statuses are [operations.md](operations.md#what-an-exit-status-asks-for)'s;
`diff` ends with 1 where something differs; what is interrupted ends with 130, and what nobody
reads any more with 141.
"""


class Caught(Exception):
    """A parser that was about to parse."""


def parser_of(row: Command) -> Parser:
    def caught(self: Parser, *_: object) -> None:
        raise Caught(self)

    with patch.object(Parser, "parse_args", caught):
        try:
            row.call([], {})
        except Caught as found:
            parser: Parser = found.args[0]
            return parser
    raise AssertionError(row.name)


def has_parser(row: Command) -> bool:
    return row.module.startswith("holdfast.cli.") and row.name not in ("version", "help")


def page() -> str:
    return "\n".join([HEAD, *(part for row in TABLE for part in chapter(row))])


def chapter(row: Command) -> Iterator[str]:
    yield f"## {row.name}\n"
    yield f"`holdfast {row.name} {row.arguments}`".replace(" `", "`") + "\n"
    yield f"{row.purpose}\n"
    rows = list(map(line, parser_of(row)._actions[1:])) if has_parser(row) else []
    if rows:
        yield "\n".join(["| argument | meaning |", "|---|---|", *rows, ""])


def line(action: Action) -> str:
    """Of a table; a `|` would end a cell."""
    words = ", ".join(action.option_strings)
    if action.nargs != 0:
        named = (
            "|".join(action.choices)
            if action.choices
            else str(action.metavar or action.dest.upper())
        )
        words = f"{words} {named}".strip()
    shown = " ".join(f"`{word}`" for word in words.split("|"))
    return f"| {shown} | {str(action.help or '').replace('|', chr(92) + '|')} |"


if __name__ == "__main__":
    sys.stdout.write(page())
