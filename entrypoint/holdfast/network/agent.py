"""What the guest itself says of its addresses, through its agent."""

from collections.abc import Iterable, Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from holdfast.network.ruleset import Address
from holdfast.qmp import agent

INTERFACES = "guest-network-get-interfaces"


def interfaces(path: Path) -> dict[str, tuple[Address, ...]]:
    """Ask for the addresses by MAC; none where nobody answers."""
    try:
        return parsed(agent.ask(path, INTERFACES))
    except agent.Mute:
        return {}


def parsed(answer: Any) -> dict[str, tuple[Address, ...]]:
    """Pass over what is not an address of a card: the guest may say anything."""
    cards = answer if isinstance(answer, list) else []
    pairs = (
        (str(card.get("hardware-address")).lower(), tuple(_addresses(card.get("ip-addresses"))))
        for card in cards
        if isinstance(card, dict)
    )
    return {mac: addresses for mac, addresses in pairs if addresses}


def _addresses(given: Any) -> Iterator[Address]:
    entries: Iterable[Any] = given if isinstance(given, list) else ()
    for entry in entries:
        try:
            address = ip_address(str(entry["ip-address"]))
        except (KeyError, TypeError, ValueError):
            continue
        if "%" not in str(address):
            yield address
