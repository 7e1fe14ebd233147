"""Where the volumes of directory pools are, as this machine sees it now."""

import os
from collections.abc import Iterable
from pathlib import Path

from holdfast.errors import ConfigError, Fault, HostLacks
from holdfast.machine import Disk, Volume
from holdfast.storage import volume_id
from holdfast.storage.pathname import FOLDER_ID
from holdfast.storage.volume_record import Found
from holdfast.system import mounts
from holdfast.system.probe import CONTAINER_MARKS

# What engines make a container's own layer of. Other storage drivers cannot be told from a host's own root.
LAYERS = frozenset({"overlay", "aufs", "fuse.fuse-overlayfs"})


def found(disks: Iterable[Disk], machine_id: str) -> list[Found]:
    """Find those of directory pools among the disks."""
    return [
        _found(disk, disk.backend, machine_id)
        for disk in disks
        if isinstance(disk.backend, Volume)
    ]


def _found(disk: Disk, volume: Volume, machine_id: str) -> Found:
    place, folder = of(Path(volume.directory), machine_id)
    return Found(
        disk=disk.name,
        name=volume.path,
        place=place,
        folder=folder,
        there=is_there(volume),
        id=volume_id.read(Path(volume.path)),
    )


def is_there(volume: Volume) -> bool:
    return os.path.lexists(volume.path)


def refuse_lost(disks: Iterable[Disk]) -> None:
    """Raise ConfigError for a lost one: without etcd only the file beside a volume knows of it."""
    volumes = [(disk, disk.backend) for disk in disks if isinstance(disk.backend, Volume)]
    refuse_containers_own(volume.directory for _, volume in volumes)
    rules = [(disk.key, lost(Path(volume.path))) for disk, volume in volumes]
    if faults := [Fault(key=key, rule=rule) for key, rule in rules if rule]:
        raise ConfigError(faults)


def lost(file: Path) -> str:
    """Say why what is missing must not be made anew, or ""."""
    if os.path.lexists(file) or not volume_id.read(file):
        return ""
    return (
        f"{file} was made, and is not there any more: put it back; or delete {volume_id.beside(file)}, and "
        "a new one is made"
    )


def mark_all(disks: Iterable[Disk]) -> None:
    """Mark them without etcd, once they are there."""
    for disk in disks:
        if isinstance(disk.backend, Volume) and disk.writable:
            volume_id.keep(Path(disk.backend.path))


def of(directory: Path, machine_id: str) -> tuple[str, str]:
    """Name a pool: its place for all who reach it, and the folder's id if it is local."""
    # What is wrong with one that cannot be read is said by whoever needs it.
    if shared := volume_id.uuid_in(directory / FOLDER_ID):
        return f"shared/{shared}", ""
    return f"file/{machine_id}", volume_id.folder(directory)


def named(directory: Path, machine_id: str) -> tuple[str, str]:
    """Ask the same of a pool in which something is about to be made: it has a name from now on."""
    place, folder = of(directory, machine_id)
    return place, folder or (volume_id.name_folder(directory) if place.startswith("file/") else "")


def refuse_containers_own(directories: Iterable[str]) -> None:
    """Raise HostLacks for the container's own layer, which goes with it: `docker rm` is no reason to lose a disk."""
    for directory in sorted(set(directories)):
        if is_containers_own(directory):
            raise HostLacks(
                f"the pool {directory} is part of this container and is deleted with it",
                hint=f"add to docker run: -v holdfast-pool:{directory}",
            )


def is_containers_own(directory: str) -> bool:
    if os.getpid() != 1 and not any(map(os.path.exists, CONTAINER_MARKS)):
        return False
    mount = mounts.mounted_at(directory)
    return mount is not None and mount.point == "/" and mount.kind in LAYERS
