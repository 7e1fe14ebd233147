"""From the command line to an exit status."""

import contextlib
import os
import sys
from collections.abc import Mapping, Sequence

from holdfast import log
from holdfast.errors import HoldfastError, InternalError
from holdfast.runtime import events

# As every program takes them; whatever else begins with `-` is QEMU's.
DASHED = {"--help": "help", "-h": "help", "--version": "version"}


def dispatch(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """Call the command that is named first; without one, run the VM."""
    name = arguments[0] if arguments else ""
    if not name or (name.startswith("-") and name not in DASHED):
        from holdfast.launcher.run import run  # noqa: PLC0415 - the other commands need none of it

        return run(arguments, environ)
    from holdfast.cli.commands import command  # noqa: PLC0415 - a VM's process needs no table of others

    called = command(DASHED.get(name, name))
    if called.name != "run":
        events.let_through()  # the image's own first line holds them back
    shortly = called.name == "show" and name != "show"  # `holdfast 7`
    return called.call(arguments if shortly else arguments[1:], environ)


def main() -> None:
    """Run a command, and leave with its status."""
    events.hold_back()
    status = InternalError.status
    try:
        status = dispatch(sys.argv[1:], os.environ)
    except Exception as error:  # noqa: BLE001 - no way out may lead past `leave`
        status = report(error)
    leave(status)


def report(error: Exception) -> int:
    """Log an error; return the exit status that it means. The one place where that is decided."""
    if isinstance(error, HoldfastError):
        lines, status = error.lines(), error.status
    else:
        lines, status = explain(error)
    for line in lines:
        for part in line.splitlines():
            log.error(part)
    return status


def explain(error: Exception) -> tuple[list[str], int]:
    """Explain what Holdfast did not foresee: want of memory, of processes, of room; else a fault
    of ours, in full.
    """
    from holdfast.system.rlimit import exhausted  # noqa: PLC0415 - nothing else is left to do

    if lack := exhausted(error):
        return lack.lines(), lack.status
    import traceback  # noqa: PLC0415 - for a fault of ours

    return traceback.format_exception(error), InternalError.status


def leave(status: int) -> None:
    """End at once: a thread that waits for an answer must not keep the usual exit waiting."""
    log.catch_up()
    if outlet := sys.modules.get("holdfast.runtime.outlet"):  # of a VM that ran
        outlet.close_all()
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    os._exit(status)


if __name__ == "__main__":
    main()
