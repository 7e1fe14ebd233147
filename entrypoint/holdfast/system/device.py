"""Device nodes: made where the kernel has the device and the container lacks it, then tried by opening."""

import errno
import grp
import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from holdfast.dataclass import dataclass
from holdfast.errors import HostLacks
from holdfast.host import Access
from holdfast.system import capability
from holdfast.system.capability import Capability

MISC = "/proc/misc"
MISC_MAJOR = 10


@dataclass(frozen=True, kw_only=True)
class Device:
    """A character device. `group` None: the node is for everybody, unless it is `private`.

    `number` is what sysfs says; None: the device is of the misc family, and /proc/misc says it.
    """

    name: str  # as in /proc/misc
    path: str
    group: str | None = None
    number: int | None = None
    private: bool = False  # root's, and nobody else's


# QEMU gets its taps as descriptors. Who can open tun can join a tap of several queues that has no owner.
TUN = Device(name="tun", path="/dev/net/tun", private=True)
VHOST_NET = Device(name="vhost-net", path="/dev/vhost-net", group="kvm")
KVM = Device(name="kvm", path="/dev/kvm", group="kvm")


def provide(device: Device, *, misc: str = MISC) -> Access:
    """Make the node if it is missing, and say whether it opens."""
    if not os.path.lexists(device.path):
        made = make(device, misc=misc)
        if made is not Access.open:
            return made
    return attempt(device)


def require(device: Device, *, misc: str = MISC) -> None:
    """Provide a device that a VM cannot do without. Raises HostLacks where it does not open."""
    access = provide(device, misc=misc)
    if access is not Access.open:
        minor = minors(Path(misc).read_text(encoding="ascii")).get(device.name)
        raise lack(device, access, minor)


def attempt(device: Device) -> Access:
    """Open the node as it is. Only that tells: the device cgroup shows in no mode and no capability."""
    try:
        fd = os.open(device.path, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        return _OPEN_REFUSED.get(error.errno or 0, Access.foreign)
    try:
        return Access.open if _is_node(device, os.fstat(fd)) else Access.foreign
    finally:
        os.close(fd)


def _is_node(device: Device, found: os.stat_result) -> bool:
    """Devices that come and go leave nodes in a container, whose numbers others may have by then."""
    return stat.S_ISCHR(found.st_mode) and device.number in (None, found.st_rdev)


_OPEN_REFUSED: Mapping[int, Access] = {
    errno.EPERM: Access.forbidden,
    errno.EACCES: Access.denied,
    errno.EROFS: Access.denied,
    errno.ENODEV: Access.absent,
    errno.ENXIO: Access.absent,
    errno.ENOENT: Access.unmade,
}


def make(device: Device, *, misc: str = MISC) -> Access:
    """Create the node with the number that the kernel gives."""
    number = device.number or _misc_number(device, misc)
    if number is None:
        return Access.absent
    try:
        Path(device.path).parent.mkdir(parents=True, exist_ok=True)
        _make_node(device, number)
    except OSError:
        return Access.unmade
    return Access.open


def _misc_number(device: Device, misc: str) -> int | None:
    minor = minors(Path(misc).read_text(encoding="ascii")).get(device.name)
    return None if minor is None else os.makedev(MISC_MAJOR, minor)


def minors(misc: str) -> dict[str, int]:
    r"""Parse /proc/misc, as the minor number by name.

    >>> minors("200 tun\n232 kvm\n")
    {'tun': 200, 'kvm': 232}
    """
    pairs = (line.split() for line in misc.splitlines())
    return {pair[1]: int(pair[0]) for pair in pairs if len(pair) == 2}  # noqa: PLR2004 - a number and a name


def _make_node(device: Device, number: int) -> None:
    # Under its own name the node appears with its final owner and mode at once. A second launcher
    # may be at it too: link() leaves the first one's node alone, and either is as good.
    draft = f"{device.path}.{os.urandom(4).hex()}"
    gid = group_id(device.group)
    os.mknod(draft, stat.S_IFCHR | 0o600, number)
    try:
        if gid is not None:
            os.chown(draft, -1, gid)
        shared = 0o666 if gid is None else 0o660
        Path(draft).chmod(0o600 if device.private else shared)
        with suppress(FileExistsError):
            os.link(draft, device.path)
    finally:
        Path(draft).unlink()


def group_id(name: str | None) -> int | None:
    """Return the gid of `name`, where this image has such a group. Without one a node is made for
    all.
    """
    if name is None:
        return None
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return None


def lack(device: Device, access: Access, minor: int | None) -> HostLacks:
    """Say what is wrong with a device, and the options of docker run that put it right."""
    powerless = access is Access.unmade and Capability.MKNOD not in capability.effective()
    message, hint = _NO_MKNOD if powerless else _ADVICE[access]
    facts = {
        "name": device.name,
        "path": device.path,
        "rule": f"--device-cgroup-rule 'c {_numbers(device, minor)} rwm'",
    }
    return HostLacks(message.format(**facts), hint=hint.format(**facts))


def _numbers(device: Device, minor: int | None) -> str:
    """The minor number of what comes and goes is another one each time."""
    return f"{MISC_MAJOR}:{minor}" if device.number is None else f"{os.major(device.number)}:*"


_NO_MKNOD = (
    "{path} is missing, and without CAP_MKNOD it cannot be created",
    "Add `--device {path}` to docker run, or `--cap-add MKNOD {rule}`.",
)

_ADVICE: Mapping[Access, tuple[str, str]] = {
    Access.absent: (
        "{path}: the kernel does not have the device (no {name} in /proc/misc)",
        "Run `modprobe {name}` on the host.",
    ),
    Access.unmade: (
        "{path} is missing, and the kernel does not let this process create it",
        "Add `--device {path}` to docker run; rootless engines and user namespaces need it.",
    ),
    Access.forbidden: (
        "{path} exists, but the device cgroup of this container does not let it be opened",
        "Add `{rule}` or `--device {path}` to docker run.",
    ),
    Access.denied: (
        "{path} exists, but may not be opened for reading and writing",
        (
            "Start Holdfast as root (docker run: `--user 0`); the file system that holds the node "
            "must not be mounted nodev."
        ),
    ),
    Access.foreign: (
        "{path} is not a character device",
        (
            "docker makes a folder of a `--volume` that is missing on the host: "
            "use `--device {path}` instead."
        ),
    ),
}
