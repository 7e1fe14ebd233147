"""`holdfast host`: what this host is and has. Its JSON is what `--host-file` takes."""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from holdfast import __version__
from holdfast.cli.arguments import Parser
from holdfast.dataclass import asdict
from holdfast.errors import Fault, UsageError
from holdfast.host import Host, Kvm, inventory, kvm_lack
from holdfast.machine.platform import FLASHES
from holdfast.policy import host_config
from holdfast.policy.host_config import HostConfig
from holdfast.policy.pool import DirectoryPool, Pool
from holdfast.system.config_file import host_toml
from holdfast.system.probe import probe

HUGEPAGES = Path("/sys/kernel/mm/hugepages")
NETWORK = Path("/sys/class/net")
DPKG = Path("/var/lib/dpkg/status")
UNLIMITED = (
    "host.toml has no [vms]: each VM's keys may name all files under image_paths, all pools, and all images that the "
    "Ceph user of this host may open"
)
PATIENCE = 20.0  # seconds for QEMU to print a list


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    parser = Parser("host")
    parser.add_argument("--json", action="store_true", help="as --host-file of check and argv")
    given = parser.parse_args(arguments)
    faults: list[Fault] = []
    config = host_config.parse(host_toml(environ), faults)
    if faults:
        raise UsageError(faults)
    host = probe(environ.get("HOSTNAME", "") or os.uname().nodename, make=False)
    found = gathered(host, config)
    if given.json:
        print(json.dumps({**asdict(host), "facts": found}, indent=2))
    else:
        print(*inventory.lines({"name": host.name, "arch": host.arch, **found}), sep="\n")
    return 0


def gathered(host: Host, config: HostConfig) -> dict[str, Any]:
    return {
        "holdfast": __version__,
        "emulators": {arch: emulator(arch, path, config) for arch, path in host.emulators.items()},
        "accelerators": accelerators(host),
        "firmware": firmware(),
        "tpm": bool(shutil.which("swtpm")),
        "cpus": os.cpu_count(),
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "hugepages": hugepages(),
        "bridges": bridges(config),
        "vhost_net": Path("/dev/vhost-net").exists(),
        "io_uring": host.io_uring,
        "pools": {
            name: pool(one, default=name == config.default_pool)
            for name, one in config.pools.items()
        },
        "vms": vms(config),
        "packages": inventory.packages(DPKG.read_text(encoding="utf-8") if DPKG.exists() else ""),
    }


def emulator(arch: str, path: str, config: HostConfig) -> dict[str, Any]:
    said = asked(path, "--version")
    allowed = config.emulators_allowlist
    names = [name.removeprefix(host_config.EMULATOR) for name in allowed or ()]
    return {
        "path": path,
        "version": inventory.version(said) or f"unknown: {said.strip()[:200]}",
        "allowed": allowed is None or arch in names,
        "machines": list(inventory.machines(asked(path, "-machine", "help"))),
    }


def asked(*command: str) -> str:
    """What a program prints, or why it does not."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return done.stdout or done.stderr


def accelerators(host: Host) -> dict[str, str]:
    """`yes`, or the first reason why not."""
    usable = host.kvm is Kvm.usable
    return {"kvm": "yes" if usable else kvm_lack(host.kvm).message, "tcg": "yes"}


def firmware() -> dict[str, str]:
    """The code of each UEFI, where it is there."""
    return {
        f"{arch} {kind}": flash.code if Path(flash.code).exists() else "not installed"
        for (arch, kind), flash in FLASHES.items()
    }


def hugepages() -> dict[str, str]:
    """By their size: how many are free, and how many there are."""
    if not HUGEPAGES.is_dir():
        return {}
    return {
        folder.name.removeprefix("hugepages-"): f"{number(folder / 'free_hugepages')} free of "
        f"{number(folder / 'nr_hugepages')}"
        for folder in sorted(HUGEPAGES.iterdir())
    }


def number(path: Path) -> int:
    return int(path.read_text(encoding="ascii"))


def bridges(config: HostConfig) -> dict[str, str]:
    """Those of this network namespace."""
    there = sorted(path.parent.name for path in NETWORK.glob("*/bridge"))
    allowed = config.bridges
    return {
        name: "allowed" if allowed is None or name in allowed else "not in bridges of host.toml"
        for name in there
    }


def vms(config: HostConfig) -> str:
    """What an operator with tenants must know."""
    if config.disks is None or config.disks.vms is None:
        return UNLIMITED
    named = ", ".join(config.disks.vms) or "none"
    return f"{named}: may use what their [vms] of host.toml names, all others nothing"


def pool(one: Pool, *, default: bool) -> dict[str, Any]:
    """A pool of Ceph is not asked: the cluster may be far, or away."""
    if not isinstance(one, DirectoryPool):
        place = "/".join(part for part in (one.pool, one.namespace) if part)
        return {"kind": "rbd", "pool": place, "default": default}
    found: dict[str, Any] = {"kind": "directory", "path": one.path, "default": default}
    if not Path(one.path).is_dir():
        return {**found, "missing": True}
    usage = shutil.disk_usage(one.path)
    return {**found, "bytes": usage.total, "free": usage.free}
