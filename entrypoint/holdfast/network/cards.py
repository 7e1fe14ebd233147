"""The cables of a VM's cards: what each mode hands to QEMU."""

from collections.abc import Mapping

from holdfast import bridge, tap
from holdfast.qemu.wiring import Tap

USUAL_MTU = 1500  # what a guest takes for granted


def taps(bridges: Mapping[str, str]) -> dict[str, Tap]:
    """By the name of the card, for cards on bridges."""
    mtus = {nic: told(bridge.mtu(name)) for nic, name in bridges.items()}
    return {nic: Tap(queues=(fd,), mtu=mtus[nic]) for nic, fd in tap.taps(bridges).items()}


def told(mtu: int) -> int:
    """Nothing to be said of the usual one: it would be another card to a guest of old."""
    return 0 if mtu == USUAL_MTU else mtu
