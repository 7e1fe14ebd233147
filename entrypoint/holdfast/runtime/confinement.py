"""QEMU's identity and how it is taken on: a uid of its own, no capability, no way back."""

import zlib
from collections.abc import Sequence

from holdfast.dataclass import dataclass

# systemd's list of uids (UIDS-GIDS) leaves everything above its container ranges unused.
FIRST_UID = 0x7000_0000
UIDS = 0x0FFF_FFFE
# Inside a user namespace only the mapped ids exist, often 65536. Debian's policy keeps this range free.
FIRST_MAPPED_UID = 30000
MAPPED_UIDS = 29999

# The kernel forgets a parent-death signal that it was asked for after the parent's death:
# the shell looks whether the parent is still the one that started it.
GUARD = 'test "$PPID" = "$0" && exec "$@"'


@dataclass(frozen=True, kw_only=True)
class Identity:
    uid: int
    gid: int
    groups: tuple[int, ...] = ()


def identity(vm: str, *, uid_map_end: int, kvm_gid: int | None, turn: int = 0) -> Identity:
    """Choose the same numbers for a VM on every host, where nobody has them: `turn` counts those
    that are taken. The group of /dev/kvm beside its own.
    """
    number = zlib.crc32(vm.encode()) + turn
    whole = uid_map_end > FIRST_UID + UIDS
    uid = FIRST_UID + number % UIDS if whole else FIRST_MAPPED_UID + number % MAPPED_UIDS
    return Identity(uid=uid, gid=uid, groups=() if kvm_gid is None else (kvm_gid,))


def confined(
    argv: Sequence[str], who: Identity, parent: int, seccomp: int | None = None
) -> list[str]:
    """Return the command that becomes `argv` under that identity and dies with `parent`. `seccomp`
    is a descriptor of a filter, which the process is given, too.

    setpriv asks for the signal after the change of uid, which would clear it (prctl(2)).
    """
    groups = f"--groups={','.join(map(str, who.groups))}" if who.groups else "--clear-groups"
    user = [f"--reuid={who.uid}", f"--regid={who.gid}", groups]
    return _bounded([*user, "--bounding-set=-all", *_filtered(seccomp)], argv, parent)


def kept(
    argv: Sequence[str], capabilities: Sequence[str], parent: int, seccomp: int | None = None
) -> list[str]:
    """Return the same for a helper that stays root, with these capabilities and no others."""
    bounds = ",".join(["-all", *(f"+{name}" for name in capabilities)])
    return _bounded([f"--bounding-set={bounds}", *_filtered(seccomp)], argv, parent)


def _filtered(seccomp: int | None) -> list[str]:
    return [] if seccomp is None else [f"--seccomp-filter=/proc/self/fd/{seccomp}"]


def _bounded(rights: Sequence[str], argv: Sequence[str], parent: int) -> list[str]:
    return [
        "setpriv",
        *rights,
        *("--inh-caps=-all", "--ambient-caps=-all", "--no-new-privs", "--pdeathsig=KILL", "--"),
        *("sh", "-c", GUARD, str(parent)),
        *argv,
    ]
