"""`holdfast memory`: the limit of memory for a VM's container, as docker and systemd take it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from holdfast.cli.arguments import Parser
from holdfast.cli.argv import recorded
from holdfast.cli.subject import subject
from holdfast.host.overhead import ceiling
from holdfast.machine import MIB
from holdfast.system.probe import probe


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    from holdfast.description import describe  # noqa: PLC0415 - `--help` needs no parsers of keys

    parser = Parser("memory")
    parser.add_argument("vm", metavar="VM", nargs="?", help="default: the VM of the environment")
    parser.add_argument("--file", metavar="vm.yaml", help="its keys, instead of etcd's")
    parser.add_argument("--host-file", metavar="host.json", help="another host than this one")
    given = parser.parse_args(arguments)
    about = subject(given.vm, given.file, environ)
    # /dev/kvm is made where it may be, as at a start: without KVM the VM would need more.
    host = recorded(given.host_file) if given.host_file else probe(about.settings.host)
    described = describe(replace(about.settings, arch=host.arch), about.own, about.defaults)
    print(f"{ceiling(described.machine, host) // MIB}M")
    return 0
