"""Whether a VM is to run, here and now: what its keys, its lock and its last run say. Only values."""

from collections.abc import Mapping

from holdfast.config.settings import Settings
from holdfast.dataclass import dataclass
from holdfast.etcd.txn import Reply
from holdfast.host import CONTAINERS_NAME, Host, is_container_id
from holdfast.machine import Machine, Power
from holdfast.ownership import legacy
from holdfast.ownership.last_run import crash, sight
from holdfast.ownership.names import Names
from holdfast.ownership.records import decode_lock
from holdfast.ownership.verdict import Obstacle

Raw = Mapping[str, bytes]


@dataclass(frozen=True, kw_only=True)
class Look:
    """A VM as one read of etcd shows it. `keys` tell this state of its keys from every other one."""

    seen: Reply
    names: Names
    own: Raw
    defaults: Raw
    keys: str

    @classmethod
    def of(cls, seen: Reply, settings: Settings, names: Names) -> "Look":
        vm, defaults = settings.vm_prefix, settings.defaults_prefix
        return cls(
            seen=seen,
            names=names,
            own=legacy.keys(_below(vm, seen), seen, names),
            defaults=_below(defaults, seen),
            keys=sight(seen.items.values(), vm, defaults),
        )

    @property
    def is_locked(self) -> bool:
        return self.names.lock in self.seen.items


def _below(prefix: str, seen: Reply) -> Raw:
    return {
        key.removeprefix(prefix): item.value
        for key, item in seen.items.items()
        if key.startswith(prefix)
    }


def refuse(look: Look, machine: Machine, host: Host, put_off: float) -> None:
    """Refuse a VM that is not to run, not here, or not now: raises Obstacle. `put_off`: seconds,
    after a start that failed here.
    """
    if machine.power is Power.off:
        raise Obstacle("the VM is switched off (power=off)")
    if machine.hosts and host.name not in machine.hosts:
        hint = f" ({CONTAINERS_NAME})" if is_container_id(host.name) else ""
        wanted = " or ".join(machine.hosts)
        raise Obstacle(f"the VM is for host {wanted}, and this is {host.name}{hint}")
    if lock := look.seen.items.get(look.names.lock):
        raise Obstacle(f"the VM runs on {decode_lock(lock.value)}; standing by")
    if put_off > 0:
        raise Obstacle("the last start failed", put_off, lock_wait=False)
    if why := _crashed(look):
        raise Obstacle(
            f"{why}. It is started again when one of its keys changes, for example by "
            f"etcdctl put {look.names.power} on"
        )


def _crashed(look: Look) -> str:
    """By the record of the last run, ours or an older launcher's."""
    records = map(look.seen.items.get, (look.names.last, look.names.legacy.last))
    return next(filter(None, (crash(record, look.keys) for record in records)), "")
