"""Who writes to an image that a VM would read, or make a volume from."""

from collections.abc import Collection, Mapping
from typing import Any

from holdfast.dataclass import dataclass
from holdfast.errors import legible
from holdfast.etcd.record import Unreadable
from holdfast.storage.image_claim import ImageClaim, decode_claim


@dataclass(frozen=True, kw_only=True)
class Writers:
    """Their addresses, and the claim that stands in the image; "" for none."""

    addresses: tuple[str, ...]
    claim: str = ""

    @classmethod
    def told(cls, found: Mapping[str, Any]) -> "Writers":
        return cls(addresses=tuple(found["addresses"]), claim=found["claim"])

    def __str__(self) -> str:
        addresses = ", ".join(self.addresses)
        try:
            claim = self._named()
        except Unreadable:
            return f"{addresses}, by the claim {legible(self.claim)}"
        if claim is None:
            return f"{addresses}, which no record names"
        return f"{claim}, from {addresses}" if addresses else str(claim)

    def are_of(self, vm: str, trees: Collection[str]) -> bool:
        """Tell whether an earlier owner of this very VM has left them."""
        try:
            claim = self._named()
        except Unreadable:
            return False
        if claim is None or not set(self.addresses) <= set(claim.clients):
            return False
        return claim.vm == vm and claim.tree in trees

    def _named(self) -> ImageClaim | None:
        """The claim, where it is theirs: another one may be a dead VM's, and none of them."""
        claim = decode_claim(self.claim) if self.claim else None
        if claim and self.addresses and not set(self.addresses) & set(claim.clients):
            return None
        return claim


@dataclass(frozen=True, kw_only=True)
class Written:
    """An image that a VM only reads, by the VM's key, and who writes to it."""

    key: str
    image: str
    writers: Writers

    def __str__(self) -> str:
        return (
            f"{self.key}: {self.image} is in use by {self.writers}. A guest that reads it meanwhile would see it "
            "change: stop that one first, or read a copy"
        )
