"""virtiofsd: one process for each shared folder, which ends with QEMU."""

import os
import socket
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from holdfast.dataclass import dataclass
from holdfast.errors import ConfigError, Fault
from holdfast.machine import Share
from holdfast.runtime.child import Child
from holdfast.runtime.confinement import Identity, confined, kept
from holdfast.runtime.rundir import RunDirectory
from holdfast.storage import pathname
from holdfast.storage.pathname import Bounds, Unfit
from holdfast.system import capability
from holdfast.system.capability import Capability

VIRTIOFSD = "/usr/libexec/virtiofsd"

# What virtiofsd keeps as root, so that files have the owners that the guest sees; it needs the last
# two to lock itself into the folder, and then drops them.
ROOTS = (
    Capability.CHOWN,
    Capability.DAC_OVERRIDE,
    Capability.FOWNER,
    Capability.FSETID,
    Capability.SETGID,
    Capability.SETUID,
    Capability.SYS_CHROOT,
    Capability.SETPCAP,
)
# A device node that a guest makes would open the host's own device to whoever finds it there.
NEVER = "-mknod:-setfcap"


@dataclass(frozen=True, kw_only=True)
class Server:
    """`socket` is QEMU's end."""

    child: Child
    socket: socket.socket


def check(shares: Sequence[Share], bounds: Bounds) -> list[Fault]:
    """Collect what stands against these folders here, before anything is locked or started."""
    faults: list[Fault] = []
    for share in shares:
        try:
            os.close(_opened(share, bounds))
        except ConfigError as error:
            faults += error.faults
    if shares and not Path(VIRTIOFSD).exists():
        faults.append(Fault(key="shares", value=VIRTIOFSD, rule="is not installed on this host"))
    return faults


def serve(share: Share, bounds: Bounds, who: Identity, rundir: RunDirectory) -> Server:
    """Serve a folder. It is connected to before it listens: QEMU need find no path, and nobody
    else can take its place. Raises ConfigError.
    """
    with ExitStack() as stack:
        folder = _opened(share, bounds)
        stack.callback(os.close, folder)
        listener = stack.enter_context(rundir.listen("share"))
        ours = socket.socket(socket.AF_UNIX)
        ours.connect(listener.getsockname())
        Path(listener.getsockname()).unlink()
        command = _command(share, listener.fileno(), folder, who)
        return Server(
            child=Child(f"virtiofsd {share.name}", command, [listener.fileno(), folder]),
            socket=ours,
        )


def _opened(share: Share, bounds: Bounds) -> int:
    """A descriptor of the folder, which no link can lead elsewhere any more."""
    try:
        with pathname.found(share.path, bounds) as place:
            if place.is_folder:
                return os.dup(place.descriptor)
    except Unfit as unfit:
        raise _fault(share, str(unfit)) from unfit
    raise _fault(share, "is not a folder")


def _fault(share: Share, rule: str) -> ConfigError:
    return ConfigError([Fault(key=f"shares/{share.name}/path", value=share.path, rule=rule)])


def _command(share: Share, listener: int, folder: int, who: Identity) -> list[str]:
    """As root and locked into the folder; where a capability for that is missing, as QEMU's user,
    who owns nothing: the folder's modes say what the guest may do.
    """
    as_root = capability.effective().issuperset(ROOTS)
    words = [
        VIRTIOFSD,
        f"--fd={listener}",
        f"--shared-dir=/proc/self/fd/{folder}",
        f"--sandbox={'chroot' if as_root else 'none'}",
        "--seccomp=kill",
        "--log-level=error",
        *(["--readonly"] if share.read_only else []),
        *([f"--modcaps={NEVER}"] if as_root else []),
    ]
    if as_root:
        return kept(words, [one.name.lower() for one in ROOTS], os.getpid())
    return confined(words, who, os.getpid())
