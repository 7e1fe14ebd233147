"""An image of a VM in Ceph, as the launcher names it to the process that has librbd."""

from typing import TYPE_CHECKING

from holdfast.dataclass import asdict, dataclass

if TYPE_CHECKING:
    from holdfast.machine import Disk, RbdImage


@dataclass(frozen=True, kw_only=True)
class ImageRef:
    """`name` is the image's as `rbd` has it, `image` the last part of that. `size` is in bytes, 0 for what it is.

    `mark` is the id that a volume is to bear, and `claim` the VM's own, both "" for none.
    """

    disk: str
    key: str
    name: str
    pool: str
    namespace: str
    image: str
    writable: bool
    volume: bool
    size: int
    template: str
    sourced: bool
    mark: str = ""
    claim: str = ""


def of(disk: "Disk", image: "RbdImage", claim: str = "") -> ImageRef:
    """Name a disk's image."""
    from holdfast.machine import RbdVolume  # noqa: PLC0415 - the other end knows no Machine

    return ImageRef(
        disk=disk.name,
        key=disk.key,
        name=str(image),
        pool=image.pool,
        namespace=image.namespace,
        image=image.image,
        writable=disk.writable,
        volume=isinstance(image, RbdVolume),
        size=disk.size or 0,
        template=disk.template,
        sourced=disk.source is not None,
        mark=disk.mark,
        claim=claim,
    )


def encoded(value: object) -> object:
    """Give `json` a form that it knows. Raises TypeError for what is no image."""
    if isinstance(value, ImageRef):
        return asdict(value)
    raise TypeError(f"{value!r} is no image")
