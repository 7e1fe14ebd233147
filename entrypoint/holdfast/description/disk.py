"""The disks of a VM, from their values."""

from collections.abc import Mapping, Sequence

from holdfast.dataclass import replace
from holdfast.description.disk_rules import contradictions
from holdfast.description.layers import Sources, Value, fields
from holdfast.grammar import Refused, identifier
from holdfast.machine import (
    Backend,
    Disk,
    DiskKind,
    Format,
    LocalPath,
    RbdImage,
    RbdVolume,
    Source,
    Volume,
)
from holdfast.machine.ceph import ETC_CEPH, Access
from holdfast.machine.platform import VARIABLES
from holdfast.policy.pool import DirectoryPool

BACKENDS = ("rbd", "path", "pool")
ROOT = "root"

Values = Mapping[str, Value]


def disks(sources: Sources) -> tuple[Disk, ...]:
    """The primary disk first, the others by name."""
    given = sources.family("disks")
    found = [disk for name, values in given.items() if (disk := _disk(sources, name, values))]
    if len(found) == len(given) and not sources.is_faulty("disks/"):
        found = _with_primary(sources, found)
    return tuple(sorted(found, key=lambda disk: (not disk.primary, identifier.natural(disk.name))))


def _disk(sources: Sources, name: str, values: Values) -> Disk | None:
    if sources.is_faulty(f"disks/{name}/"):
        return None  # its own keys are reported; what follows from them is not
    try:
        identifier.member(name)
        _refuse_reserved(name)
        given = fields(values.values())
        if _is_chained_file(sources, values):
            given.setdefault("format", Format.qcow2)
        backend = _backend(sources, name, values)
        disk = Disk(
            name=name,
            backend=backend,
            source=_source(sources, values, backend),
            format_named="format" in values,
            **given,
        )
    except Refused as refused:
        sources.faults.append(refused.fault(f"disks/{name}"))
        return None
    for key, rule in contradictions(disk, values.keys()):
        sources.refuse(values[key].label if key in values else f"disks/{name}", rule)
    return disk


def _refuse_reserved(name: str) -> None:
    if name == VARIABLES:
        raise Refused(f"must have another name: the volume <vm>-{VARIABLES} is the firmware's")


def _source(sources: Sources, values: Values, backend: Backend) -> Source | None:
    """A URL from etcd must not reach this host's own services; the operator's own may."""
    given = {
        key.removeprefix("source/"): value.content
        for key, value in values.items()
        if key.startswith("source/")
    }
    if not given:
        return None
    config = sources.settings.host_config
    place = f"{backend.label}/{given.get('volume')}" if isinstance(backend, RbdVolume) else ""
    return Source(
        **given,
        trusted=bool(sources.settings.vm_file),
        template=config.disks is not None and config.disks.is_template(place),
        reach=config.network.reach,
    )


def _is_chained_file(sources: Sources, values: Values) -> bool:
    pools = sources.settings.host_config.pools
    named = (
        values["pool"].content if "pool" in values else sources.settings.host_config.default_pool
    )
    chained = "chained" in values and values["chained"].content
    return bool(chained) and isinstance(pools.get(named), DirectoryPool)


def _backend(sources: Sources, name: str, values: Values) -> Backend:
    """A VM that says where its disk is does not mean the pool that `_defaults` name as well."""
    named = [backend for backend in BACKENDS if backend in values]
    highest = max((values[backend].layer for backend in named), default=None)
    named = [backend for backend in named if values[backend].layer == highest]
    if len(named) > 1:
        raise Refused(f"has {' and '.join(named)}, and must have one of them")
    host_config = sources.settings.host_config
    if not named and not host_config.default_pool:
        raise Refused("has none of rbd, path and pool, and host.toml has no default_pool")
    kind = named[0] if named else "pool"
    if kind == "pool":
        pool = values["pool"].content if named else host_config.default_pool
        usual = Format.qcow2 if _is_chained_file(sources, values) else Format.raw
        form = values["format"].content if "format" in values else usual
        return volume(sources, name, pool, form)
    content: RbdImage | str = values[kind].content
    return LocalPath(path=content) if isinstance(content, str) else content


def volume(sources: Sources, name: str, pool: str, form: Format) -> Backend:
    sources.settings.host_config.permit_pool(pool)
    if "-" in name:
        # Volume a-b-c would be disk b-c of the VM a, and disk c of the VM a-b.
        raise Refused("must have a name without - to be a volume, which is called <vm>-<name>")
    found = sources.settings.host_config.pools[pool]
    image = f"{sources.settings.vm}-{name}"
    if isinstance(found, DirectoryPool):
        return Volume(pool=pool, directory=found.path, name=f"{image}.{form}")
    return RbdVolume(
        pool=found.pool,
        namespace=found.namespace,
        image=image,
        access=found.access,
        label=pool,
    )


def _with_primary(sources: Sources, found: list[Disk]) -> list[Disk]:
    candidates = [disk for disk in found if disk.kind is not DiskKind.cdrom]
    chosen = [disk.name for disk in candidates if disk.primary]
    if not chosen:
        chosen = [disk.name for disk in candidates if disk.name == ROOT or len(candidates) == 1]
    names = ", ".join(disk.name for disk in candidates)
    if candidates and not chosen:
        sources.refuse("disks", f"none of {names} is primary: set disks/<name>/primary=on for one")
    if len(chosen) > 1:
        sources.refuse("disks", f"{' and '.join(chosen)} are primary: only one of them can be")
    return [replace(disk, primary=disk.name in chosen) for disk in found]


def refuse_two_clusters(sources: Sources, found: Sequence[Disk]) -> None:
    """QEMU could; but the fence record, and who shuts a dead host out, speak of one cluster and user."""
    in_ceph = [disk for disk in found if isinstance(disk.backend, RbdImage)]
    for disk in in_ceph[1:]:
        first = in_ceph[0]
        if _access(disk.backend) != _access(first.backend):
            rule = (
                f"is reached in another way than {first.key}: all RBD disks of a VM must be in "
                "one cluster, with the same hosts, user and key in host.toml"
            )
            sources.refuse(disk.key, rule, str(disk.backend))


def _access(backend: Backend) -> Access:
    return backend.access if isinstance(backend, RbdImage) else ETC_CEPH


def refuse_doubles(sources: Sources, found: Sequence[Disk]) -> None:
    """Two readers of one image do no harm; with a writer among them, the image is lost."""
    for number, disk in enumerate(found):
        for other in found[:number]:
            if str(disk.backend) == str(other.backend) and (disk.writable or other.writable):
                sources.refuse(disk.key, f"is the same disk as {other.key}", str(disk.backend))
