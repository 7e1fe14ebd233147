"""A VM's volumes, as etcd remembers them and as they are here: judged before the lock, recorded under it."""

import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast import log
from holdfast.dataclass import dataclass, replace
from holdfast.etcd.txn import Put, Reply, Unchanged
from holdfast.host import Host
from holdfast.machine import Disk, RbdImage, Volume
from holdfast.storage import directory, pools, volume_id, volume_record
from holdfast.storage.volume_record import Elsewhere, Found, State, Task, VolumeRecord

if TYPE_CHECKING:
    from holdfast.config.settings import Settings
    from holdfast.ownership.lock import Hold
    from holdfast.storage.ceph.cluster import Cluster

EMPTY = "empty"


@dataclass(frozen=True, kw_only=True)
class Step:
    """`record` is what etcd has of the volume, None for nothing."""

    disk: Disk
    found: Found
    task: Task
    id: str
    record: VolumeRecord | None


class Inventory:
    """One start's. `seen` are the records, read at the revision at which the VM was judged."""

    def __init__(self, settings: "Settings", host: Host, seen: Reply) -> None:
        self._settings = settings
        self._host = host
        self._seen = seen
        self._steps: dict[str, Step] = {}

    # -- before the lock

    def look(self, disks: Sequence[Disk]) -> None:
        """At the volumes in directories. Raises Elsewhere, or HostLacks for a pool that does not last."""
        pools.refuse_containers_own(
            disk.backend.directory for disk in disks if isinstance(disk.backend, Volume)
        )
        self.judge(disks, pools.found(disks, self._host.machine_id))

    def judge(self, disks: Iterable[Disk], found: Iterable[Found]) -> None:
        by_name = {disk.name: disk for disk in disks}
        faults = []
        for one in found:
            try:
                self._judge(by_name[one.disk], one)
            except Elsewhere as elsewhere:
                faults.append(str(elsewhere))
        if faults:
            raise Elsewhere("; ".join(faults))

    def _judge(self, disk: Disk, found: Found) -> None:
        """What nobody ever wrote to can be made anew from its source wherever the VM goes."""
        item = self._seen.items.get(self._key(disk))
        record = volume_record.recorded(item, disk.name, self._way)
        if record is None and not disk.writable:
            return
        task = volume_record.judge(record, found, self._host, self._way)
        known = record.id if record else found.id if task is Task.adopt else ""
        self._steps[disk.name] = Step(
            disk=disk, found=found, task=task, id=known or str(uuid.uuid4()), record=record
        )
        if record and record.source and disk.source and record.source != source(disk):
            log.warning(
                f"{disk.key}: the volume was made from {record.source}; source now says {source(disk)}, "
                "which changes nothing in it"
            )

    def marked(self, disks: Iterable[Disk]) -> tuple[Disk, ...]:
        """The disks, each with the id that a new volume of it bears."""
        return tuple(
            replace(disk, mark=self._steps[disk.name].id) if disk.name in self._steps else disk
            for disk in disks
        )

    @property
    def judged(self) -> list[Unchanged]:
        """What must not have changed when the lock is taken."""
        keys = (self._key(step.disk) for step in self._steps.values())
        return [Unchanged(key=key, revision=self._seen.revision_of(key)) for key in keys]

    # -- for the operator

    def taken(
        self, disk: Disk, found: Found, record: VolumeRecord | None, cluster: "Cluster | None"
    ) -> Put:
        """What is here becomes the volume, whatever it was: with the id that it has if the record has it, too."""
        same = found.id and (record is None or record.id == found.id)
        identity = found.id if same else str(uuid.uuid4())
        was = record if same else None
        step = Step(disk=disk, found=found, task=Task.adopt, id=identity, record=was)
        if not same:
            self._bear(step, cluster)
        return self._put(step, State.made)

    # -- with the lock

    def begin(self) -> list[Put]:
        """What is to be made is in etcd before it is anywhere else."""
        making = [step for step in self._steps.values() if step.task is Task.make]
        return [self._put(step, State.making) for step in making]

    def finish(self, hold: "Hold", cluster: "Cluster | None") -> None:
        """All volumes are there, whole and on the disk. etcd hears of it before a guest runs."""
        for step in self._steps.values():
            if step.task is Task.adopt and not step.found.id:
                self._bear(step, cluster)
        puts = [self._put(step, State.made) for step in self._steps.values()]
        hold.remember(puts, [put for put in puts if not self._stands(put)])

    def unmade(self) -> list[str]:
        """After a start that failed: what is in a folder of this machine's or not is certain, and another host may
        have better luck. What a process had under way to Ceph may still come.
        """
        return [
            self._key(step.disk)
            for step in self._steps.values()
            if step.task is Task.make
            and isinstance(step.disk.backend, Volume)
            and not pools.is_there(step.disk.backend)
        ]

    def _stands(self, put: Put) -> bool:
        item = self._seen.items.get(put.key)
        return item is not None and item.value == put.value

    def _bear(self, step: Step, cluster: "Cluster | None") -> None:
        """A volume of an older launcher gets its id."""
        if isinstance(step.disk.backend, Volume):
            volume_id.write(Path(step.disk.backend.path), step.id)
        elif cluster is not None:
            cluster.bear(replace(step.disk, mark=step.id))

    def _put(self, step: Step, state: State) -> Put:
        found, was = step.found, step.record
        there, folder = found.place, found.folder
        if isinstance(step.disk.backend, Volume):  # a pool that had no name before has one now
            there, folder = pools.named(Path(step.disk.backend.directory), self._host.machine_id)
        made_now = step.task is Task.make
        record = VolumeRecord(
            id=step.id,
            state=state,
            place=there,
            folder=folder,
            host=self._host.name,
            boot_id=self._host.boot_id,
            name=found.name,
            lock=self._settings.lock,
            source=source(step.disk) if made_now else was.source if was else "",
            size=_size(step, state),
        )
        return Put(key=self._key(step.disk), value=volume_record.encode(record))

    def _way(self, action: str, disk: str) -> str:
        from holdfast.system.container import command  # noqa: PLC0415 - only for this advice

        return command(f"holdfast volume {action} {self._settings.vm} {disk}")

    def _key(self, disk: Disk) -> str:
        return volume_record.key(self._settings.prefix, self._settings.vm, disk.name)


def _size(step: Step, state: State) -> int:
    """As a guest sees it. A volume never shrinks, whatever `size` says."""
    disk, known = step.disk, step.record.size if step.record else 0
    if isinstance(disk.backend, RbdImage) or state is State.making:
        return max(disk.size or 0, known)
    return directory.size_of(disk, Path(disk.backend.path))


def source(disk: Disk) -> str:
    """What a volume is made from, without what may be secret in a URL."""
    if disk.source is None:
        return disk.template or EMPTY
    if not disk.source.is_url:
        return disk.source.place
    from holdfast.grammar.url import shown  # noqa: PLC0415 - most disks have no URL

    return shown(disk.source.image)
