"""Naming a disk is not owning it: what a VM's keys name against [vms] and [templates] of host.toml.

What lies in a pool as `<vm>-<disk>` is that VM's: the name of a disk has no `-` in it, so the last one ends
the VM's.
"""

from collections.abc import Iterator

from holdfast.description.layers import Layer, Sources, Value
from holdfast.grammar import Refused, identifier
from holdfast.machine import (
    Disk,
    Document,
    Format,
    LocalPath,
    Machine,
    RbdImage,
    RbdVolume,
    Volume,
)
from holdfast.policy.disk_limits import DiskLimits, holds, names

WAY = 'host.toml does not name it for this VM; [vms."{vm}"] {name} = ["{place}"] there would'
NOBODYS = DiskLimits()


def owner(volume: str) -> str:
    """The VM that a volume of this name belongs to; "" where it has no such name.

    >>> owner("a-b-root.qcow2"), owner("a-root"), owner("ubuntu-22.04"), owner("focal")
    ('a-b', 'a', '', '')
    """
    for form in Format:
        volume = volume.removesuffix(f".{form}")
    vm, _, disk = volume.rpartition("-")
    try:
        identifier.member(disk)
        return identifier.name(vm)
    except Refused:
        return ""


def refuse_others(sources: Sources, machine: Machine) -> None:
    """All that the operator's variables say is his own word."""
    judge = _Judge(sources, machine)
    for disk in machine.disks:
        judge.source(disk)
        judge.template(disk)
    if judge.limited:
        judge.everything()


class _Judge:
    def __init__(self, sources: Sources, machine: Machine) -> None:
        self.sources = sources
        self.machine = machine
        self.vm = sources.settings.vm
        limits = sources.settings.host_config.disks or NOBODYS
        self.templates = limits.templates
        self.limited = limits.vms is not None
        self.reach = limits.of(self.vm)

    def source(self, disk: Disk) -> None:
        """Another volume that a new one is made from."""
        made = isinstance(disk.backend, Volume | RbdVolume)
        if not made or disk.source is None or not disk.source.volume:
            return  # nothing is made: said elsewhere
        name = disk.source.volume
        places = list(_volume_names(disk, name))
        if any(names(self.templates.volumes, one, self.vm) for one in places):
            return
        if any(names(self.reach.volumes, one, self.vm) for one in places):
            return
        theirs = owner(name)
        if theirs == self.vm or not (theirs or self.limited):
            return
        what = f"is a volume of VM {theirs}. " if theirs else ""
        here = f'[templates] volumes = ["{places[0]}"] in host.toml lets all VMs copy it'
        self.refuse(f"disks/{disk.name}/source/volume", f"{what}{here}", name)

    def template(self, disk: Disk) -> None:
        """Others sit on it, or are made from it."""
        if not disk.writable:
            return
        match disk.backend:
            case LocalPath(path=path) if holds(self.templates.paths, path, self.vm):
                self.refuse(f"disks/{disk.name}/path", _FOR_READERS, path)
            case RbdImage() as image if not isinstance(image, RbdVolume) and names(
                self.templates.rbd, str(image), self.vm
            ):
                self.refuse(f"disks/{disk.name}/rbd", _FOR_READERS, str(image))

    def everything(self) -> None:
        for disk in self.machine.storage:
            self.place(disk)
        for key, value in self.sources.values.items():
            if (path := _path_in(key, value)) and not self.has_path(path):
                self.refuse(key, self.way("paths", path), path)
        for share in self.machine.shares:
            if not holds(self.reach.shares, share.path, self.vm):
                self.refuse(
                    f"shares/{share.name}/path", self.way("shares", share.path), share.path
                )

    def place(self, disk: Disk) -> None:
        """Whoever would write to a template has been told already."""
        match disk.backend:
            case Volume(pool=pool) | RbdVolume(label=pool):
                if pool and pool not in self.reach.pools:
                    key = f"disks/{disk.name}/pool"
                    known = key if key in self.sources.values else disk.key
                    self.refuse(known, self.way("pools", pool), pool)
            case LocalPath(path=path):
                if not (
                    holds(self.templates.paths, path, self.vm)
                    or holds(self.reach.paths, path, self.vm)
                ):
                    self.refuse(f"disks/{disk.name}/path", self.way("paths", path), path)
            case RbdImage() as image:
                if not (
                    names(self.templates.rbd, str(image), self.vm)
                    or names(self.reach.rbd, str(image), self.vm)
                ):
                    key = f"disks/{disk.name}/rbd"
                    self.refuse(key, self.way("rbd", str(image)), str(image))

    def has_path(self, path: str) -> bool:
        """For reading."""
        patterns = (*self.reach.paths, *self.templates.paths)
        return holds(patterns, path, self.vm)

    def way(self, name: str, place: str) -> str:
        return WAY.format(vm=self.vm, name=name, place=place)

    def refuse(self, key: str, rule: str, shown: str) -> None:
        value = self.sources.values.get(key)
        if value is not None and value.layer is Layer.variable:
            return
        self.sources.refuse(value.label if value else key, rule, shown)


_FOR_READERS = (
    "is a template of host.toml, which nobody writes to: set read_only, or make a volume from it"
)


def _volume_names(disk: Disk, name: str) -> Iterator[str]:
    """As host.toml may write it: with its format or without."""
    backend = disk.backend
    pool = backend.pool if isinstance(backend, Volume) else ""
    if isinstance(backend, RbdVolume):
        pool = backend.label
    yield f"{pool}/{name}"
    for form in Format:
        if name.endswith(f".{form}"):
            yield f"{pool}/{name.removesuffix(f'.{form}')}"


def _path_in(key: str, value: Value) -> str:
    """A file that is read: a kernel, a document, the image that a volume is made from."""
    if isinstance(value.content, Document):
        return value.content.path
    if key in ("kernel", "initrd") or key.endswith("/source/image"):
        return str(value.content) if str(value.content).startswith("/") else ""
    return ""
