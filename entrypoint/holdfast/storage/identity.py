"""What the files and devices are claimed as that a VM may write to.

What a path leads to is opened once (`pathname`), judged and named by that; and what QEMU is handed is asked the
same again. So whoever swaps a folder or a link in between has nothing claimed that is not used.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from holdfast.dataclass import dataclass
from holdfast.errors import ConfigError, Fault, LockHeld
from holdfast.machine import Disk, LocalPath, RbdImage, Volume
from holdfast.policy.host_config import HostConfig
from holdfast.storage import local, pathname
from holdfast.storage.pathname import FOLDER_ID, Bounds, OpenPath, Site, Unfit
from holdfast.system import mounts


@dataclass(frozen=True, kw_only=True)
class Identities:
    """What the files and devices that a VM may write to are claimed as, by the disk's name.

    `files` are this machine's alone, and go by what its kernel knows them by; `shared` by what all hosts do.
    `beside` has the paths of the shared ones beside which a claim stands, without links.
    """

    files: Mapping[str, str]
    shared: Mapping[str, str]
    beside: Mapping[str, Path]

    def claims_beside(self) -> dict[str, str]:
        """Read the claims that stand beside files which several hosts reach, by the id of the file."""
        if not self.beside:
            return {}
        from holdfast.storage.file_claim import claim_of  # noqa: PLC0415 - for those who share a folder

        return {
            f"shared/{self.shared[name]}": claim_of(path) for name, path in self.beside.items()
        }

    def refuse_another(self, disk: Disk, descriptor: int) -> None:
        """Raise LockHeld where what was opened is not what the disk is claimed as.

        A file may change places with another one, the kernel gives a device's number to another device, and
        /dev/disk its link, while a VM waits or starts again.
        """
        claimed = self.files.get(disk.name) or self.shared.get(disk.name)
        if claimed is None:
            return
        try:
            with pathname.site(OpenPath(descriptor)) as site:
                now = _known_to_all(site) if disk.name in self.shared else _still(site, claimed)
        except Unfit as unfit:
            now = f"what {unfit}"
        if now != claimed:
            raise LockHeld(
                f"{disk.key}: {disk.backend} leads to another file or device than the one that was claimed: to "
                f"{now}, not to {claimed}",
                hint="It has changed since; what it is now is claimed at the next try.",
            )


UNCLAIMED = Identities(files={}, shared={}, beside={})


def identities(disks: Sequence[Disk], bounds: Bounds, config: HostConfig) -> Identities:
    """Open what the disks that may be written lead to, and ask what it is.

    Raises ConfigError for one that must not be used. A shared folder that has no name yet gets one.
    """
    files: dict[str, str] = {}
    shared: dict[str, str] = {}
    beside: dict[str, Path] = {}
    faults = []
    for disk in disks:
        if isinstance(disk.backend, RbdImage) or not disk.writable:
            continue
        try:
            with _opened(disk, disk.backend, bounds) as site:
                if _is_local(site, disk.backend.path, config):
                    files[disk.name] = _own(site)
                else:
                    _check_shared(disk, site, config)
                    shared[disk.name] = _known_to_all(site)
                    if site.folder is not None:
                        beside[disk.name] = Path(pathname.where(site.folder.descriptor), site.name)
        except Unfit as unfit:
            faults.append(Fault(key=disk.key, value=str(disk.backend), rule=str(unfit)))
    if faults:
        raise ConfigError(faults)
    return Identities(files=files, shared=shared, beside=beside)


@contextmanager
def _opened(disk: Disk, backend: LocalPath | Volume, bounds: Bounds) -> Iterator[Site]:
    within = local.bounds_of(disk, bounds)
    if isinstance(backend, Volume) and not os.path.lexists(backend.path):
        with pathname.found(backend.directory, within) as folder:
            yield Site(None, folder, Path(backend.path).name)
        return
    with pathname.found(backend.path, within, writable=True) as file:
        local.check_storage(file)
        with pathname.site(file) as site:
            yield site


def _is_local(site: Site, named: str, config: HostConfig) -> bool:
    """A volume that is not made yet is where its folder is."""
    if site.folder is None:
        return config.is_local_device(named, pathname.where(site.place.descriptor))
    # Local here, and shared all the same: this is the server, and others mount the folder from it.
    return not site.has(FOLDER_ID) and mounts.is_local(site.place.path)


def _own(site: Site) -> str:
    """What this machine's kernel knows it by. A volume that is still to be made has its folder's, and its name."""
    return site.file.identity if site.file is not None else _to_be_made(site)


def _to_be_made(site: Site) -> str:
    return f"{site.folder.identity}/{site.name}" if site.folder is not None else ""


def _still(site: Site, claimed: str) -> str:
    """What a file goes by that was claimed as this machine's own: a volume that was made since keeps its name."""
    if site.folder is not None and not mounts.is_local(site.place.path):
        raise Unfit(f"lies on {mounts.kind(site.place.path)}, which other hosts may mount too")
    return claimed if claimed == _to_be_made(site) else _own(site)


def _check_shared(disk: Disk, site: Site, config: HostConfig) -> None:
    from holdfast.storage import shared  # noqa: PLC0415 - for those who share a folder or a LUN

    shared.check(disk, site, config)


def _known_to_all(site: Site) -> str:
    from holdfast.storage import shared  # noqa: PLC0415 - for those who share a folder or a LUN

    return shared.identity(site)
