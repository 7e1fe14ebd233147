"""The commands, a row each. Dispatch, `holdfast help` and each command's own help come from this table."""

import sys
from collections.abc import Mapping, Sequence
from importlib import import_module

from holdfast import __version__
from holdfast.dataclass import dataclass
from holdfast.errors import UsageError

INTERRUPTED, UNREAD = 130, 141  # as shells have them: 128, and SIGINT or SIGPIPE


@dataclass(frozen=True, kw_only=True)
class Command:
    """`function` of `module` takes the arguments behind the name, and the environment; returns the exit status."""

    name: str
    arguments: str = ""  # as the list of all commands shows them
    purpose: str  # a sentence
    module: str  # imported when the command is called, and not before
    function: str = "main"

    def call(self, arguments: Sequence[str], environ: Mapping[str, str]) -> int:
        function = getattr(import_module(self.module), self.function)
        try:
            status: int = function(arguments, environ)
        except KeyboardInterrupt:
            return INTERRUPTED
        except BrokenPipeError:  # `holdfast ls | head`: etcd's own is an Unreachable
            return UNREAD
        return status


# fmt: off
TABLE = (
    Command(name="run", arguments="[VM]", module="holdfast.launcher.run", function="run",
        purpose="Run the VM that VM or the environment names. So does no command at all."),
    Command(name="check", arguments="[VM] [--file vm.yaml]", module="holdfast.cli.check",
        purpose="Print all that is wrong with a VM's keys; the status is 78 then."),
    Command(name="argv", arguments="[VM] [--file vm.yaml]", module="holdfast.cli.argv",
        purpose="Print the QEMU command of a VM, an option with its value a line."),
    Command(name="memory", arguments="[VM] [--file vm.yaml]", module="holdfast.cli.memory",
        purpose="Print the limit of memory for a VM's container, in MiB."),
    Command(name="host", arguments="[--json]", module="holdfast.cli.host",
        purpose="Print what this host is and has."),
    Command(name="ls", arguments="[VM...]", module="holdfast.cli.ls",
        purpose="List VMs: where each runs, since when, and what is to be known of it."),
    Command(name="show", arguments="VM", module="holdfast.cli.show",
        purpose="Print all that is known of a VM: how it is, what it is, who has had it."),
    Command(name="events", arguments="[VM...]", module="holdfast.cli.events",
        purpose="Print what happens to VMs, a line each, until it is ended."),
    Command(name="get", arguments="VM [KEY]", module="holdfast.cli.set", function="get",
        purpose="Print a VM's keys, or the value of one."),
    Command(name="set", arguments="VM KEY=VALUE...", module="holdfast.cli.set", function="set_",
        purpose="Set keys of a VM, all in one transaction."),
    Command(name="unset", arguments="VM KEY...", module="holdfast.cli.set", function="unset",
        purpose="Delete keys of a VM, all in one transaction."),
    Command(name="edit", arguments="VM", module="holdfast.cli.edit",
        purpose="Change a VM's keys in $EDITOR; what is wrong is told, and nothing written then."),
    Command(name="create", arguments="VM [--image URL] ...", module="holdfast.cli.create",
        purpose="Define a VM, all keys in one transaction; it is off without --start."),
    Command(name="rm", arguments="VM", module="holdfast.cli.rm",
        purpose="Remove a VM that does not run from etcd. Its volumes stay where they are."),
    Command(name="diff", arguments="FILE|DIR...", module="holdfast.cli.apply", function="diff",
        purpose="Say what `apply` would change; the status is 1 if it is anything."),
    Command(name="apply", arguments="FILE|DIR...", module="holdfast.cli.apply",
        purpose="Make VMs what files say, each in one transaction; a file's name is the VM's."),
    Command(name="export", arguments="[VM...]", module="holdfast.cli.apply", function="export",
        purpose="Print a VM's keys as a file for `apply`, or write one for each VM."),
    Command(name="history", arguments="VM", module="holdfast.cli.history",
        purpose="Print who has changed a VM's keys, when, from what, and why."),
    Command(name="rollback", arguments="VM --to REVISION", module="holdfast.cli.history", function="rollback",
        purpose="Make a VM's keys again what they were at a revision. `power` stays as it is."),
    Command(name="start", arguments="VM...", module="holdfast.cli.power", function="start",
        purpose="Switch VMs on, and wait until each runs."),
    Command(name="stop", arguments="VM...", module="holdfast.cli.power", function="stop",
        purpose="Switch VMs off by their power button, and wait until each is down."),
    Command(name="restart", arguments="VM...", module="holdfast.cli.power", function="restart",
        purpose="Stop VMs and start them again, with their keys as they are by now."),
    Command(name="fence", arguments="show|forget|shut-out VM", module="holdfast.cli.fence",
        purpose="Show or forget the record of a VM's last owner."),
    Command(name="claim", arguments="ls|release", module="holdfast.cli.claim",
        purpose="List the disks and addresses that VMs have claimed, or set one free."),
    Command(name="volume", arguments="ls|forget|adopt", module="holdfast.cli.volume",
        purpose="List the volumes that were made, forget one, or take what is here for it."),
    Command(name="image", arguments="ls|fetch|prune", module="holdfast.cli.image",
        purpose="List, fetch or remove the images that volumes are made from."),
    Command(name="auth", arguments="show", module="holdfast.cli.auth",
        purpose="Print the lines that make etcd's users and roles for this tree."),
    Command(name="downgrade", arguments="VM", module="holdfast.cli.downgrade",
        purpose="Let launchers of an older Holdfast start a VM again."),
    Command(
        name="version",
        purpose="Print the version.",
        module=__name__,
        function="print_version",
    ),
    Command(
        name="help",
        purpose="Print this.",
        module=__name__,
        function="print_usage",
    ),
)
# fmt: on
COMMANDS = {one.name: one for one in TABLE}
USAGE = """\
usage: holdfast COMMAND ...
       holdfast VM                  the same as `show VM`, for a name with a digit in it
       holdfast -OPTION...          run QEMU with these options instead of what the keys would build

{rows}

`holdfast COMMAND --help` tells more. The environment and the keys are described in docs/keys.md."""


def command(name: str) -> Command:
    """Find a command by its name. One with a digit in it is a VM's: no command has any. Raises UsageError."""
    if any(letter.isdigit() for letter in name):
        return COMMANDS["show"]
    if name not in COMMANDS:
        raise UsageError(f"there is no command {name}", hint=usage())
    return COMMANDS[name]


def usage() -> str:
    """List all commands."""
    shown = {f"{one.name} {one.arguments}".strip(): one.purpose for one in TABLE}
    width = max(map(len, shown))
    rows = (f"  {call:{width}}  {purpose}" for call, purpose in shown.items())
    return USAGE.format(rows="\n".join(rows))


def print_usage(_arguments: Sequence[str], _environ: Mapping[str, str]) -> int:
    sys.stdout.write(f"{usage()}\n")
    return 0


def print_version(_arguments: Sequence[str], _environ: Mapping[str, str]) -> int:
    sys.stdout.write(f"holdfast {__version__}\n")
    return 0
