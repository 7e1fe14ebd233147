"""What the guest itself says of its addresses, through its agent (docs/interop/qemu-ga-ref)."""

import json
import os
import socket
from collections.abc import Iterable, Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from holdfast.network.ruleset import Address

PATIENCE = 2.0  # it may not be installed
LONGEST = 1 << 20  # what a guest says is taken in up to here
INTERFACES = "guest-network-get-interfaces"


def interfaces(path: Path) -> dict[str, tuple[Address, ...]]:
    """Addresses by MAC; none where nobody answers. QEMU serves one client at a time, so be quick."""
    number = int.from_bytes(os.urandom(4), "big")
    # 0xff makes the agent drop half a request that somebody before us has left.
    greeting = {"execute": "guest-sync-delimited", "arguments": {"id": number}}
    requests = (
        b"\xff" + json.dumps(greeting).encode() + json.dumps({"execute": INTERFACES}).encode()
    )
    try:
        with socket.socket(socket.AF_UNIX) as agent:
            agent.settimeout(PATIENCE)
            agent.connect(str(path))
            agent.sendall(requests)
            return parsed(_answer(agent, number))
    except (OSError, ValueError):
        return {}


def _answer(agent: socket.socket, number: int) -> Any:
    """The line behind the one that repeats our number: an earlier client's answers may come before."""
    said = b""
    while len(said) < LONGEST:
        data = agent.recv(65536)
        if not data:
            break
        said += data
        _, delimiter, ours = said.rpartition(b"\xff")
        lines = ours.split(b"\n")
        if delimiter and len(lines) > 2 and json.loads(lines[0]).get("return") == number:  # noqa: PLR2004 - both, whole
            return json.loads(lines[1]).get("return")
    raise ValueError("the agent did not answer")


def parsed(answer: Any) -> dict[str, tuple[Address, ...]]:
    """The guest may say anything: what is not an address of a card is passed over."""
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
