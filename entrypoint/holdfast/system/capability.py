"""Linux capabilities of this process, and what to tell docker when one is missing."""

from collections.abc import Iterable
from enum import IntEnum
from pathlib import Path

from holdfast.errors import HostLacks

STATUS = "/proc/self/status"


class Capability(IntEnum):
    """Numbers of linux/capability.h, those that Holdfast needs."""

    CHOWN = 0
    DAC_OVERRIDE = 1
    FOWNER = 3
    FSETID = 4
    KILL = 5
    SETGID = 6
    SETUID = 7
    SETPCAP = 8
    NET_ADMIN = 12
    SYS_CHROOT = 18
    MKNOD = 27


# To run QEMU as a uid of its own, without capabilities, and still be able to end it.
CONFINE = (
    Capability.CHOWN,
    Capability.KILL,
    Capability.SETGID,
    Capability.SETUID,
    Capability.SETPCAP,
)


def effective() -> frozenset[Capability]:
    return parse(Path(STATUS).read_text(encoding="ascii"), "CapEff")


def parse(status: str, field: str) -> frozenset[Capability]:
    r"""Return the capabilities that a field of /proc/PID/status names.

    >>> sorted(parse("CapEff:\t0000000000001020\n", "CapEff"))
    [<Capability.KILL: 5>, <Capability.NET_ADMIN: 12>]
    """
    mask = int(_fields(status)[field], 16)
    return frozenset(capability for capability in Capability if mask >> capability & 1)


def require(*needed: Capability) -> None:
    """Refuse to go on unless each of `needed` is in effect. Raises HostLacks."""
    status = Path(STATUS).read_text(encoding="ascii")
    absent = [capability for capability in needed if capability not in parse(status, "CapEff")]
    if not absent:
        return
    names = ", ".join(f"CAP_{capability.name}" for capability in absent)
    uid = int(_fields(status)["Uid"].split()[1])  # real, effective, saved, file system
    if uid != 0:
        raise HostLacks(
            f"Holdfast runs as uid {uid} and lacks {names}",
            hint="Start it as root: remove `--user` from docker run, and USER from an image built "
            "on this one. QEMU itself never runs as root.",
        )
    raise HostLacks(
        f"this process lacks {names}",
        hint=f"Add `{docker_options(absent)}` to docker run.",
    )


def docker_options(capabilities: Iterable[Capability]) -> str:
    return " ".join(f"--cap-add {capability.name}" for capability in capabilities)


def _fields(status: str) -> dict[str, str]:
    return dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
