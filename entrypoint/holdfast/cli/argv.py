"""`holdfast argv`: QEMU's command for a VM, to be read or pasted into a shell."""

import json
from collections.abc import Mapping, Sequence

from holdfast import log
from holdfast.cli.arguments import Parser
from holdfast.cli.subject import subject
from holdfast.dataclass import replace
from holdfast.errors import UsageError
from holdfast.host import Host, Kvm
from holdfast.system.config_file import read


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    from holdfast.description import describe  # noqa: PLC0415 - `--help` needs no parsers of keys
    from holdfast.qemu import command_line, printable  # noqa: PLC0415 - likewise

    parser = Parser("argv")
    parser.add_argument("vm", metavar="VM", nargs="?", help="default: the VM of the environment")
    parser.add_argument("--file", metavar="vm.yaml", help="its keys, instead of etcd's")
    parser.add_argument("--host-file", metavar="host.json", help="another host than this one")
    parser.add_argument("--json", action="store_true", help="a list of words")
    given = parser.parse_args(arguments)
    about = subject(given.vm, given.file, environ)
    host = recorded(given.host_file) if given.host_file else this_host(about.settings.host)
    described = describe(replace(about.settings, arch=host.arch), about.own, about.defaults)
    for line in described.unknown:
        log.warning(line)
    argv = command_line(described.machine, host)
    print(json.dumps(argv) if given.json else printable(argv))
    return 0


def this_host(name: str) -> Host:
    from holdfast.system.probe import io_uring, probe  # noqa: PLC0415 - a recorded host needs no probing

    return replace(probe(name, make=False), io_uring=io_uring())


def recorded(path: str) -> Host:
    """A host as `holdfast host --json` prints it. What it leaves out is as on a host without KVM."""
    try:
        given = json.loads(read(path, "--host-file"))
        given.pop("facts", None)  # for people and for what places VMs
        text = {"name": "", "machine_id": "", "boot_id": "", **given}
        return Host(**{**text, "kvm": Kvm(text.get("kvm", Kvm.no_module))})
    except (AttributeError, TypeError, ValueError) as error:
        raise UsageError(f"--host-file: {path}: is no recorded host: {error}") from error
