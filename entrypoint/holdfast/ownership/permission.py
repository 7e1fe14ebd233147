"""Disks that another VM has claimed and did not give up: under [vms] of host.toml, who may take them from it."""

from collections.abc import Iterator, Mapping
from shlex import quote

from holdfast.config.settings import Settings
from holdfast.description.disk import ROOT
from holdfast.etcd.txn import Item
from holdfast.machine.disk import key_of
from holdfast.ownership import address_claim
from holdfast.ownership.records import Image
from holdfast.ownership.takeover import Disks, claims_of
from holdfast.storage import image_claim
from holdfast.system.container import command


def withheld(
    settings: Settings, made: Disks, claims: Mapping[str, Item], prefix: str
) -> dict[Image, str]:
    """Pick those that are not ours to take, with what is to be said. `claims` are etcd's, below `prefix`; what
    stands in the images is in the plan. What variables name is the operator's own word.
    """
    limits = settings.host_config.disks
    if limits is None:
        return {}
    named = {ROOT} if "rbd" in settings.overrides else set()
    vm, in_images = made.machine.vm, claims_of(made)
    found = {}
    for image in (one for one in made.images if one.disk not in named):
        owners = {*_owners(image, claims, prefix, in_images)} - {vm, ""}
        if others := sorted(one for one in owners if not limits.may_take(vm, one)):
            found[image] = _said(vm, others[0], image)
    return found


def _owners(
    image: Image,
    claims: Mapping[str, Item],
    prefix: str,
    in_images: Mapping[str, image_claim.ImageClaim],
) -> Iterator[str]:
    """One that cannot be read is judged where it is taken."""
    if (item := claims.get(prefix + image.id)) is not None:
        yield from address_claim.owners([item])
    if (claim := in_images.get(image.id)) is not None:
        yield claim.vm


def _said(vm: str, owner: str, image: Image) -> str:
    return (
        f"{key_of(image.disk)}: {image.id} is VM {owner}'s, which runs, or did not stop cleanly, and host.toml does "
        f'not let this VM take it: [vms."{vm}"] take = ["{owner}"] there would. Stop that VM, and the disk is '
        f"free; if it is gone for good: {command(f'holdfast claim release {quote(image.id)} --yes')}"
    )
