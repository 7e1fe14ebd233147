"""A uid that no other VM of this host runs under.

It follows from the VM's name, so that a VM mostly has the same one everywhere; names are many and uids few, so two may
mean one, by chance or by choice. Who comes second takes the next that is free. Processes of one uid could signal and
trace each other, and the firewall could not tell them apart.
"""

import os
from contextlib import ExitStack

from holdfast.errors import HostLacks, LockHeld
from holdfast.runtime.child import uid_map_end
from holdfast.runtime.confinement import Identity, identity
from holdfast.runtime.registry import announce

TRIES = 64


def claim(name: str, kvm_gid: int | None, life: ExitStack) -> Identity:
    """Claim a uid until `life` ends. Launchers see each other by the network that they share, or
    by the processes: two that share neither have no reach of each other. Raises HostLacks when
    TRIES of them are in use.
    """
    end = uid_map_end()
    first = identity(name, uid_map_end=end, kvm_gid=None).uid
    for turn in range(TRIES):
        who = identity(name, uid_map_end=end, kvm_gid=kvm_gid, turn=turn)
        if is_in_use(who.uid):
            continue
        try:
            life.enter_context(announce(f"uid/{who.uid}"))
        except LockHeld:
            continue
        return who
    raise HostLacks(
        f"{TRIES} uids, of which {name} would have one, are in use on this host: {first} and those behind it",
        hint="`ps -eo uid,args` names who runs under them.",
    )


def is_in_use(uid: int) -> bool:
    """Tell whether a process that is seen from here has it; one call, whatever their number
    (getpriority(2)).
    """
    try:
        os.getpriority(os.PRIO_USER, uid)
    except ProcessLookupError:
        return False
    return True
