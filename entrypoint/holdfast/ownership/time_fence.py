"""What a VM must keep to when only time guards one of its disks (docs/ownership.md).

Whoever holds the VM must be sure to have stopped before its lease ends; so nothing that would let it
run on, or leave it too little time, is allowed.
"""

from collections.abc import Iterable

from holdfast.config.settings import LEAST_TTL_TO_STOP, EtcdLoss, Settings
from holdfast.errors import Fault
from holdfast.machine.disk import key_of


def faults(settings: Settings, disks: Iterable[str]) -> list[Fault]:
    """What stands against guarding these disks by time. Without disks, nothing."""
    named = ", ".join(key_of(disk) for disk in sorted(disks))
    if not named:
        return []
    found = []
    if not settings.endpoints:
        rule = "can be reached by other hosts: without a lock in etcd nothing would guard it"
        found.append(Fault(key=named, rule=rule))
    if settings.etcd_loss is EtcdLoss.hold:
        rule = (
            f"is not possible: only time guards {named}, so the VM must stop before its lease ends"
        )
        found.append(Fault(key="ETCD_LOSS", value=settings.etcd_loss.value, rule=rule))
    if settings.ttl < LEAST_TTL_TO_STOP:
        rule = f"must be at least {LEAST_TTL_TO_STOP}, because only time guards {named}"
        found.append(Fault(key="TTL", value=str(settings.ttl), rule=rule))
    return found
