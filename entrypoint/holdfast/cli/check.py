"""`holdfast check`: all that is wrong with a VM's keys, a line each."""

import json
from collections.abc import Mapping, Sequence

from holdfast.cli.arguments import Parser
from holdfast.cli.argv import recorded
from holdfast.cli.subject import subject
from holdfast.config.settings import Settings
from holdfast.dataclass import replace
from holdfast.errors import ConfigError, HostLacks
from holdfast.host import Host

UNLIMITED = (
    "\n(host.toml has no [vms]: another VM's keys may name the same disks; see docs/security.md)"
)


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    parser = Parser("check")
    parser.add_argument("vm", metavar="VM", nargs="?", help="default: the VM of the environment")
    parser.add_argument("--file", metavar="vm.yaml", help="its keys, instead of etcd's")
    parser.add_argument(
        "--host-file", metavar="host.json", help="a recorded host: may it run there?"
    )
    parser.add_argument("--json", action="store_true", help="a list of lines")
    given = parser.parse_args(arguments)
    try:
        about = subject(given.vm, given.file, environ)
        host = recorded(given.host_file) if given.host_file else None
        settings = replace(about.settings, arch=host.arch) if host else about.settings
        findings = check(settings, about.own, about.defaults, host)
        good = verdict(given.file or f"VM {settings.vm}", host)
        if names_disks(about.own) and not settings.host_config.limits_vms:
            good += UNLIMITED
    except ConfigError as error:  # a file that cannot be read as keys at all
        findings, good = error.lines(), ""
    if given.json:
        print(json.dumps(findings))
    else:
        print(*(findings or [good]), sep="\n")
    return ConfigError.status if findings else 0


def names_disks(own: Mapping[str, bytes]) -> bool:
    return any(key == "rbd" or key.endswith(("/rbd", "/path", "/image", "/volume")) for key in own)


def verdict(what: str, host: Host | None) -> str:
    """Silence would be taken for having done nothing."""
    place = f" for host {host.name}" if host else ""
    return f"{what}: all keys are good{place}"


def check(
    settings: Settings,
    own: Mapping[str, bytes],
    defaults: Mapping[str, bytes],
    host: Host | None = None,
) -> list[str]:
    """Unlike `run`, no key may be unknown: whoever checks wants to hear of a misspelt one."""
    from holdfast.description import examine  # noqa: PLC0415 - `--help` needs no parsers of keys
    from holdfast.qemu import command_line  # noqa: PLC0415 - likewise

    try:
        machine, sources = examine(settings, own, defaults)
        if host and not sources.faults:
            command_line(machine, host)
    except (ConfigError, HostLacks) as error:
        return error.lines()
    return [*map(str, sources.faults), *sources.unknown]
