"""macvtap: a guest on a device of this host without a bridge.

Unlike a tap, the link stays when its descriptor closes. So it is removed at a stop, and what a crash
has left is removed by any later start on this host. A link is in use while its name is announced.
"""

import errno
import hashlib
import os
import socket
import stat
from contextlib import ExitStack
from pathlib import Path

from holdfast import log
from holdfast.errors import HoldfastError, HostLacks, LockHeld
from holdfast.machine import Nic
from holdfast.machine.nic import LINK_PREFIX
from holdfast.network import links
from holdfast.runtime.registry import announce

NAME_LENGTH = 15  # IFNAMSIZ, less the closing NUL
DEVICES = "/proc/devices"
NO_LINK = (1 << 20) - 1  # the last minor number there is
CLASS = Path("/sys/class/net")


def link_name(vm: str, nic: str) -> str:
    """Return the same name at every start, so that `ip link` can be asked for it."""
    return (LINK_PREFIX + hashlib.sha256(f"{vm}/{nic}".encode()).hexdigest())[:NAME_LENGTH]


def check(*, devices: str = DEVICES) -> None:
    """Raise HostLacks where the tap of a link will not open. Only a node tells what the device
    cgroup allows: one of a minor number that no link has opens for nobody, but is refused in
    another way.
    """
    if (major := _major(Path(devices).read_text(encoding="ascii"))) is None:
        return  # the module comes with the first link
    node = f"/dev/.holdfast-macvtap-{os.urandom(4).hex()}"
    try:
        os.mknod(node, stat.S_IFCHR | 0o600, os.makedev(major, NO_LINK))
        try:
            os.close(os.open(node, os.O_RDWR | os.O_CLOEXEC))
        finally:
            os.unlink(node)  # noqa: PTH108 - beside mknod
    except OSError as error:
        if error.errno not in (errno.ENXIO, errno.ENODEV):
            raise _closed(major, "*", error) from error


def _major(devices: str) -> int | None:
    r"""Of the tap devices of macvtap links, as /proc/devices has it.

    >>> _major("Character devices:\n  1 mem\n241 macvtap\n\nBlock devices:\n  7 loop\n")
    241
    """
    pairs = (line.split() for line in devices.splitlines())
    return next((int(pair[0]) for pair in pairs if pair[1:] == ["macvtap"]), None)


def _closed(major: int, minor: str, error: OSError) -> HostLacks:
    return HostLacks(
        f"the tap device {major}:{minor} of a macvtap link cannot be opened: {error.strerror}",
        hint=f"Add `--device-cgroup-rule 'c {major}:* rwm'` (and `--cap-add MKNOD`, where it was "
        "dropped) to docker run.",
    )


def connect(vm: str, nic: Nic, life: ExitStack) -> tuple[int, ...]:
    """Make a link, which ends with `life`; return a descriptor a queue. Raises HostLacks."""
    name = link_name(vm, nic.name)
    life.enter_context(announce(f"link/{name}"))
    life.callback(_removed, name)
    alias = f"Holdfast: {nic.name} of {vm}"
    links.change(
        "macvtap", name=name, alias=alias, device=nic.device, mode=nic.macvtap_mode, mac=nic.mac
    )
    with ExitStack() as failed:
        queues = []
        for _ in range(nic.queues):
            queues.append(_opened(name))
            failed.callback(os.close, queues[-1])
        failed.pop_all()
    return tuple(queues)


def sweep() -> None:
    """Remove the links of launchers that were killed."""
    for _, name in socket.if_nameindex():
        if not name.startswith(LINK_PREFIX):
            continue
        try:
            with announce(f"link/{name}"):
                log.info(f"removing the link {name}, which a launcher has left")
                _removed(name)
        except LockHeld:
            pass  # its owner is alive


def _removed(name: str) -> None:
    try:
        links.change("delete", name=name)
    except HoldfastError as error:
        log.warning(f"the link {name} stays: {error.message}")


def _opened(name: str) -> int:
    """The kernel names the device in sysfs; a node under another name than /dev/tapN serves as well,
    and cannot be one that an earlier link of that number has left.
    """
    try:
        (number,) = (CLASS / name).glob("tap*/dev")
        major, minor = number.read_text(encoding="ascii").strip().split(":")
    except (OSError, ValueError) as error:
        raise HostLacks(f"/sys/class/net/{name} does not name its tap device") from error
    node = f"/dev/.holdfast-{name}-{os.urandom(4).hex()}"
    try:
        os.mknod(node, stat.S_IFCHR | 0o600, os.makedev(int(major), int(minor)))
        try:
            return os.open(node, os.O_RDWR | os.O_CLOEXEC)
        finally:
            os.unlink(node)  # noqa: PTH108 - beside mknod
    except OSError as error:
        raise _closed(int(major), minor, error) from error
