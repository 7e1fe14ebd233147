"""`holdfast check`: all that is wrong with a VM's keys, a line each."""

import json
from collections.abc import Mapping, Sequence

from holdfast.cli.arguments import Parser
from holdfast.cli.subject import subject
from holdfast.errors import ConfigError
from holdfast.settings import Settings


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    parser = Parser("check", "Print all that is wrong with a VM's keys; the status is 78 then.")
    parser.add_argument("vm", metavar="VM", nargs="?", help="default: the VM of the environment")
    parser.add_argument("--file", metavar="vm.yaml", help="its keys, instead of etcd's")
    parser.add_argument("--json", action="store_true", help="a list of lines")
    given = parser.parse_args(arguments)
    try:
        about = subject(given.vm, given.file, environ)
        findings = check(about.settings, about.own, about.defaults)
    except ConfigError as error:  # a file that cannot be read as keys at all
        findings = error.lines()
    if given.json:
        print(json.dumps(findings))
    else:
        print(*findings, sep="\n", end="\n" if findings else "")
    return ConfigError.status if findings else 0


def check(
    settings: Settings, own: Mapping[str, bytes], defaults: Mapping[str, bytes]
) -> list[str]:
    """Unlike `run`, no key may be unknown: whoever checks wants to hear of a misspelt one."""
    from holdfast.description import examine  # noqa: PLC0415 - `--help` needs no parsers of keys

    try:
        _, sources = examine(settings, own, defaults)
    except ConfigError as error:
        return error.lines()
    return [*map(str, sources.faults), *sources.unknown]
