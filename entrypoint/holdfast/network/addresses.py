"""Where the guest is: its addresses for the operator to read, and its published ports led there.

A thread of its own, for VMs whose cards are on a network of this host. It asks the guest's agent and
the kernel's neighbour table, often at first and then once a minute.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

from holdfast import log
from holdfast.errors import HoldfastError
from holdfast.machine import Nic
from holdfast.network import agent
from holdfast.network.publication import Publication
from holdfast.network.ruleset import Address
from holdfast.qmp.agent import PATIENCE
from holdfast.runtime.thread import Thread
from holdfast.system import rtnetlink

SOON, LATER = 3.0, 60.0  # seconds between two looks
EAGER = 100  # so many looks, or until all cards are known: a guest may boot slowly

Found = Mapping[str, tuple[Address, ...]]
Tell = Callable[[Mapping[str, Sequence[str]]], None]


class Whereabouts(Thread):
    """`tell` gets the addresses by card, whenever they change."""

    def __init__(self, vm: str, nics: Sequence[Nic], socket: Path | None, tell: Tell) -> None:
        super().__init__("whereabouts")
        self._nics = [nic for nic in nics if nic.parent]
        self._socket = socket
        self._tell = tell
        self._closed = threading.Event()
        self._found: Found = {}
        self._publication = Publication(vm, self._nics)

    def __enter__(self) -> Self:
        """What is known beforehand is published before the guest runs, and a host that cannot is told of."""
        self._publication.lead({nic.name: own(nic) for nic in self._nics})
        if self._nics:
            self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        if self._nics:
            self.join(PATIENCE + rtnetlink.PATIENCE)
        self._publication.close()

    def work(self) -> None:
        pause, looks = SOON, 0
        while not self._closed.wait(pause):
            try:
                self._look()
            except HoldfastError as error:
                log.warning(error.message)
            everywhere = all(self._found.get(nic.name) and self._is_led(nic) for nic in self._nics)
            looks += 1
            pause = LATER if everywhere or looks > EAGER else SOON

    def _is_led(self, nic: Nic) -> bool:
        """A neighbour table remembers the guest of before; a lease is of this one."""
        return not nic.ports or bool(own(nic) or self._publication.leased(nic))

    def _look(self) -> None:
        heard = agent.interfaces(self._socket) if self._socket else {}
        seen = {nic.name: usable(heard.get(nic.mac, ())) or neighbours(nic) for nic in self._nics}
        found = {name: addresses or self._found.get(name, ()) for name, addresses in seen.items()}
        # Never what guest or neighbours say: that is for people to read.
        self._publication.lead(
            {nic.name: own(nic) or self._publication.leased(nic) for nic in self._nics}
        )
        if found != self._found:
            self._found = found
            self._tell({name: [*map(str, there)] for name, there in found.items() if there})


def own(nic: Nic) -> tuple[Address, ...]:
    """Return what the card's keys say."""
    return tuple(address.ip for address in nic.address)


def neighbours(nic: Nic) -> tuple[Address, ...]:
    with suppress(OSError):
        return usable(rtnetlink.neighbours(nic.mac, nic.parent))
    return ()


def usable(addresses: Sequence[Address]) -> tuple[Address, ...]:
    """Keep those that mean the guest to others, in a steady order."""
    others = {
        address
        for address in addresses
        if not (
            address.is_link_local
            or address.is_loopback
            or address.is_multicast
            or address.is_unspecified
        )
    }
    return tuple(sorted(others, key=lambda address: (address.version, int(address))))
