"""What the container around a VM must give it besides devices: found by looking, before a lock is taken.

Each check raises HostLacks; all of them are told together.
"""

import errno
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from holdfast.errors import HostLacks, together
from holdfast.machine import MIB, Disk, LocalPath, Machine, Tpm, Volume
from holdfast.machine.platform import FLASHES
from holdfast.network import bridge_helper
from holdfast.runtime import rundir

SWTPM = "/usr/bin/swtpm"
ALWAYS, NEVER = "1", "2"  # of vm.overcommit_memory
RUN_ROOM = MIB // 4  # the run directory's own files: status, secrets, documents


def check(
    machine: Machine, disks: Sequence[Disk], booted: Iterable[str], bridges: Mapping[str, str]
) -> None:
    """Check all of it. `booted` are the kernel and its initrd, of which QEMU reads copies."""
    files = [Path(path) for path in booted if path]
    checks: list[Callable[[], object]] = [
        lambda: check_memory(machine),
        lambda: check_run(RUN_ROOM + sum(file.stat().st_size for file in files if file.exists())),
        *(lambda disk=disk: check_disk(disk) for disk in disks),
    ]
    if bridges:
        checks.append(check_acl)
    together(checks)


def check_memory(machine: Machine, *, proc: Path = Path("/proc")) -> None:
    """Refuse what the kernel would refuse: QEMU would end as it starts (proc_sys_vm(5),
    overcommit_memory).
    """
    if machine.options or machine.hugepages is not None:
        return
    rule = _read(proc / "sys/vm/overcommit_memory").strip()
    if rule == ALWAYS:
        return
    there = _promised(_read(proc / "meminfo"), strict=rule == NEVER)
    if there is not None and machine.ram > there:
        raise HostLacks(
            f"ram: {machine.ram // MIB} MiB are asked for, and this host has {shown(there)}"
            f"{' left to promise (vm.overcommit_memory=2)' if rule == NEVER else ''}",
            hint="Lower ram, or run the VM on a larger host (the key `host`). One whose guests never use all of "
            "theirs may promise more: `sysctl vm.overcommit_memory=1`, or more swap.",
        )


def _promised(meminfo: str, *, strict: bool) -> int | None:
    """What one process may be given at the most."""
    sizes = {
        name: int(rest.split()[0]) * 1024
        for name, _, rest in (one.partition(":") for one in meminfo.splitlines())
    }
    if strict and "CommitLimit" in sizes:
        return max(0, sizes["CommitLimit"] - sizes.get("Committed_AS", 0))
    return sizes["MemTotal"] + sizes.get("SwapTotal", 0) if "MemTotal" in sizes else None


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii")
    except OSError:
        return ""  # hidden from us: the kernel will say it


def shown(size: int) -> str:
    """Show a size in bytes in the largest unit that says something.

    >>> shown(23 * 1024**3 + 5), shown(700 * 1024**2)
    ('23 GiB', '700 MiB')
    """
    gib = size // 1024**3
    return f"{gib} GiB" if gib else f"{size // MIB} MiB"


def check_run(needed: int, *, root: Path = rundir.ROOT) -> None:
    """Refuse a run directory without room for `needed` bytes."""
    folder = nearest(root)
    if why := unwritable(folder):
        raise HostLacks(
            f"{root} cannot be made: {why}",
            hint="With `--read-only`, add `--tmpfs /run` to docker run.",
        )
    found = os.statvfs(folder)
    free = found.f_bavail * found.f_frsize
    if found.f_blocks and free < needed:
        raise HostLacks(
            f"{root} has room for {free // 1024} KiB, and this VM needs {-(-needed // 1024)} KiB there",
            hint=f"Make it larger: `--tmpfs /run:size={max(16, -(-needed // MIB) * 2)}m` of docker run.",
        )


def check_acl() -> None:
    """Check the place of the bridge helper's list: it reads no other."""
    path = Path(bridge_helper.ACL)
    if path.exists() and not path.read_text(encoding="utf-8", errors="replace").startswith(
        bridge_helper.MARKER
    ):
        return  # an administrator's own
    folder = nearest(path.parent)
    if why := unwritable(folder):
        raise HostLacks(
            f"{path} cannot be written: {why}",
            hint=f"With `--read-only`, add `--tmpfs {path.parent}` to docker run.",
        )


def check_disk(disk: Disk) -> None:
    """Refuse a folder that is mounted `:ro`."""
    if not disk.writable or not isinstance(disk.backend, LocalPath | Volume):
        return
    place = nearest(Path(disk.backend.path))
    if place.is_block_device():
        return  # its own node says nothing of the device
    if os.statvfs(place).f_flag & os.ST_RDONLY:
        raise HostLacks(
            f"{disk.key}: {disk.backend} lies on a file system that is mounted read-only here",
            hint=f"Mount its folder without `:ro`, or set {disk.key}/read_only=on.",
        )


def nearest(path: Path) -> Path:
    """Return the path itself, or the folder that is there of those in which it would be made."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def unwritable(folder: Path) -> str:
    """Return why nothing can be made in it, or ""."""
    if os.statvfs(folder).f_flag & os.ST_RDONLY:
        return os.strerror(errno.EROFS)
    return "" if os.access(folder, os.W_OK | os.X_OK) else os.strerror(errno.EACCES)


def check_firmware(machine: Machine) -> None:
    flash = FLASHES.get((machine.arch, machine.firmware))
    if machine.variables is None or flash is None:
        return
    for path in (flash.code, flash.template):
        if not Path(path).exists():
            hint = f"it comes with Debian's package {flash.package}"
            raise HostLacks(f"{path}, the firmware of this VM, is not installed here", hint=hint)


def check_tpm(machine: Machine) -> None:
    if machine.tpm is not Tpm.off and not Path(SWTPM).exists():
        raise HostLacks(
            "swtpm, which is this VM's TPM, is not installed here",
            hint="it comes with Debian's package swtpm",
        )
