"""Holdfast's table of contents: which command, and for `run` what happens in which order."""

import contextlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence

from holdfast import __version__, log
from holdfast.dataclass import replace
from holdfast.errors import HoldfastError, InternalError, UsageError
from holdfast.runtime import events

Arguments = Sequence[str]
Environment = Mapping[str, str]

USAGE = """\
usage: holdfast [run [VM]]           run the VM that the environment or VM names (the default)
       holdfast -OPTION...           run QEMU with these options instead of what the keys would build
       holdfast check [VM] [--file vm.yaml]   print all that is wrong with a VM's keys
       holdfast argv [VM] [--file vm.yaml]    print QEMU's command line
       holdfast memory [VM] [--file vm.yaml]  print the limit of memory for a VM's container
       holdfast host [--json]        print what this host is and has
       holdfast fence show|forget|shut-out VM ...    what an owner that did not stop cleanly has left
       holdfast claim ls|release ...                 which VM a disk or an address belongs to
       holdfast volume ls|forget|adopt ...           which volumes were made for VMs, and where they are
       holdfast image ls|fetch|prune ...             what volumes are made from
       holdfast downgrade VM         let an older Holdfast start it again
       holdfast version

The environment and the keys are described in docs/keys.md."""

NAME_IT = (
    "With its keys in etcd: `docker run -e VM=<name> -e ETCD_ENDPOINTS=http://<etcd>:2379 ...`; "
    "without etcd: `-e VM_FILE=<vm.yaml>`. `holdfast help` tells more."
)


def run(arguments: Arguments, environ: Environment) -> int:
    """The way of a key: settings, host, then under the lock or alone; each step in its own module."""
    from holdfast.cli.subject import from_file, host_toml  # noqa: PLC0415 - `--help` and `version` need neither
    from holdfast.config import settings  # noqa: PLC0415 - likewise
    from holdfast.launcher.run import alone, exclusively, replaced  # noqa: PLC0415 - likewise
    from holdfast.runtime import outlet, stdin  # noqa: PLC0415 - `--help` and `version` need neither
    from holdfast.system import probe  # noqa: PLC0415 - `--help` and `version` need neither

    options, environ = named(arguments, environ)
    config = settings.parse(environ, host_toml=host_toml(environ), options=options)
    if not config.vm and not config.options:
        raise UsageError("no VM is named", hint=NAME_IT)
    log.configure(level=config.log_level, as_json=config.log_format == "json")
    typed = stdin.is_connected()  # before a closed one's number is given to something else
    if not config.exec_:  # QEMU would inherit the `cat` that may stand behind it
        log.through(outlet.outlet(2))
    with events.Events() as queue:
        host = probe.probe(config.host)
        config = replace(config, arch=host.arch)
        raw = from_file(config.vm_file) if config.vm_file else {}
        if queue.stop_asked():
            log.info("stopped before anything was begun")
            return 0
        if config.exec_:
            return replaced(config, host, raw)
        if typed:
            log.info(stdin.advice(config.vm))
        if config.endpoints:
            return exclusively(config, host, queue)
        return alone(config, host, queue, raw)


def named(arguments: Arguments, environ: Environment) -> tuple[Arguments, Environment]:
    """QEMU's options, or the VM's name as the one argument."""
    if not arguments or arguments[0].startswith("-"):
        return arguments, environ
    if len(arguments) > 1:
        raise UsageError(f"run takes one VM, not {' '.join(arguments)}", hint=USAGE)
    return (), {**environ, "VM": arguments[0]}


def check(arguments: Arguments, environ: Environment) -> int:
    from holdfast.cli import check as command  # noqa: PLC0415 - only the command that was called

    return command.main(arguments, environ)


def argv(arguments: Arguments, environ: Environment) -> int:
    from holdfast.cli import argv as command  # noqa: PLC0415 - only the command that was called

    return command.main(arguments, environ)


def memory(arguments: Arguments, environ: Environment) -> int:
    from holdfast.cli import memory as command  # noqa: PLC0415 - only the command that was called

    return command.main(arguments, environ)


def host(arguments: Arguments, environ: Environment) -> int:
    from holdfast.cli import host as command  # noqa: PLC0415 - only the command that was called

    return command.main(arguments, environ)


def fence(arguments: Arguments, environ: Environment) -> int:
    from holdfast.cli import fence as command  # noqa: PLC0415 - only the command that was called

    return command.main(arguments, environ)


def claim(arguments: Arguments, environ: Environment) -> int:
    from holdfast.cli import claim as command  # noqa: PLC0415 - only the command that was called

    return command.main(arguments, environ)


def volume(arguments: Arguments, environ: Environment) -> int:
    from holdfast.cli import volume as command  # noqa: PLC0415 - only the command that was called

    return command.main(arguments, environ)


def downgrade(arguments: Arguments, environ: Environment) -> int:
    from holdfast.cli import downgrade as command  # noqa: PLC0415 - only the command that was called

    return command.main(arguments, environ)


def image(arguments: Arguments, environ: Environment) -> int:
    from holdfast.cli import image as command  # noqa: PLC0415 - only the command that was called

    return command.main(arguments, environ)


def version(arguments: Arguments, environ: Environment) -> int:
    sys.stdout.write(f"holdfast {__version__}\n")
    return 0


def usage(arguments: Arguments, environ: Environment) -> int:
    sys.stdout.write(f"{USAGE}\n")
    return 0


COMMANDS: dict[str, Callable[[Arguments, Environment], int]] = {
    "run": run,
    "check": check,
    "argv": argv,
    "memory": memory,
    "host": host,
    "fence": fence,
    "claim": claim,
    "downgrade": downgrade,
    "image": image,
    "volume": volume,
    "version": version,
    "--version": version,
    "help": usage,
    "--help": usage,
    "-h": usage,
}


def dispatch(arguments: Arguments, environ: Environment) -> int:
    """A first argument that is no command and begins with `-` is QEMU's."""
    if not arguments or (arguments[0].startswith("-") and arguments[0] not in COMMANDS):
        return run(arguments, environ)
    if arguments[0] not in COMMANDS:
        raise UsageError(f"there is no command {arguments[0]}", hint=USAGE)
    if arguments[0] != "run":
        events.let_through()  # the image's own first line holds them back
    return COMMANDS[arguments[0]](arguments[1:], environ)


def main() -> None:
    """The one place where an error becomes an exit status."""
    events.hold_back()
    status = InternalError.status
    try:
        status = dispatch(sys.argv[1:], os.environ)
    except HoldfastError as error:
        status = told(error)
    except Exception as error:  # noqa: BLE001 - shown in full, and no way out may lead past `leave`
        status = unexpected(error)
    leave(status)


def told(error: HoldfastError) -> int:
    for line in error.lines():
        for part in line.splitlines():
            log.error(part)
    return error.status


def unexpected(error: Exception) -> int:
    from holdfast.system.rlimit import exhausted  # noqa: PLC0415 - nothing else is left to do

    if lack := exhausted(error):
        return told(lack)
    import traceback  # noqa: PLC0415 - for a fault of ours

    for line in "".join(traceback.format_exception(error)).splitlines():
        log.error(line)
    return InternalError.status


def leave(status: int) -> None:
    """At once: a thread that waits for an answer must not keep the usual exit waiting."""
    log.catch_up()
    if outlet := sys.modules.get("holdfast.runtime.outlet"):  # of a VM that ran
        outlet.close_all()
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    os._exit(status)


if __name__ == "__main__":
    main()
