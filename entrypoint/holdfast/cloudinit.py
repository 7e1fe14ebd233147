"""What cloud-init reads from the seed, by its NoCloud conventions: pure text, built from data."""

from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from holdfast.errors import ConfigError, Fault
from holdfast.machine import Machine, Nic, NicMode

KEY = "cloud-config"

# The first characters by which cloud-init tells what user-data is; all else it drops with a
# warning in the guest's log. `#cloud-config` stands for `#cloud-config-archive` too.
STARTS = (
    "#cloud-config",
    "#!",
    "#include",
    "#cloud-boothook",
    "#part-handler",
    "## template: jinja",
)
MIME_SEARCHED = 4096  # cloud-init looks this far for the header that makes a message of it

NOTHING = "#cloud-config\n{}\n"


@dataclass(frozen=True, kw_only=True)
class Documents:
    """The files of a seed. An empty `network_config` is a file that is left out."""

    meta_data: str
    user_data: str = field(repr=False)
    network_config: str


def documents(machine: Machine, user_data: str) -> Documents:
    """The user's text goes in byte for byte: it may be a template of cloud-init's, never of ours."""
    # Without a NIC that we know of (QEMU's own options may bring one) cloud-init is left to do
    # as it likes: it asks DHCP on the first that it finds.
    return Documents(
        meta_data=_dumped(_meta_data(machine)),
        user_data=_recognised(user_data) if user_data.strip() else NOTHING,
        network_config=_dumped(_network_config(machine.nics)) if machine.nics else "",
    )


def _recognised(text: str) -> str:
    if text.startswith("\ufeff"):
        rule = "starts with a byte-order mark, with which cloud-init ignores it"
        raise ConfigError([Fault(key=KEY, rule=rule)], hint="save it as UTF-8 without one")
    if text.startswith(STARTS) or "mime-version:" in text[:MIME_SEARCHED].lower():
        return text
    rule = f"must start with one of {', '.join(STARTS)}, or be a MIME message with MIME-Version"
    raise ConfigError([Fault(key=KEY, rule=rule)], hint="cloud-init ignores any other user-data")


def _meta_data(machine: Machine) -> dict[str, str]:
    """The instance is the VM, so its id is the VM's uuid and nothing else.

    A new id makes cloud-init set the guest up afresh: new SSH host keys, users and passwords
    reset, runcmd run again. An edit of user-data must not do that to a machine in use. Who does
    want it runs `cloud-init clean` in the guest, or gives the VM a new uuid.
    """
    return {"instance-id": machine.uuid, "local-hostname": machine.hostname}


def _network_config(nics: tuple[Nic, ...]) -> dict[str, Any]:
    """Version 2, each NIC by its MAC: what the guest calls it is not known here."""
    connected = [nic for nic in nics if nic.mode is not NicMode.none]
    return {"version": 2, "ethernets": {nic.name: _ethernet(nic) for nic in connected}}


def _ethernet(nic: Nic) -> dict[str, Any]:
    # No dhcp6: router advertisements are heeded anyway, and start DHCPv6 where they call for it.
    # Asked for, it makes guests with ifupdown wait a minute at boot where nobody answers.
    ethernet: dict[str, Any] = {"match": {"macaddress": nic.mac}, "dhcp4": not nic.address}
    if nic.address:
        ethernet["addresses"] = [str(address) for address in nic.address]
    if nic.gateway:
        ethernet["routes"] = [_default_route(gateway, nic) for gateway in nic.gateway]
    nameservers = {"addresses": [str(server) for server in nic.dns], "search": list(nic.search)}
    if any(nameservers.values()):
        ethernet["nameservers"] = {name: items for name, items in nameservers.items() if items}
    return ethernet


def _default_route(gateway: IPv4Address | IPv6Address, nic: Nic) -> dict[str, Any]:
    # Not `to: default`: releases of cloud-init and netplan from before 2022 do not know it.
    route = {"to": "0.0.0.0/0" if gateway.version == 4 else "::/0", "via": str(gateway)}  # noqa: PLR2004 - IPv4
    reached = not nic.address or any(gateway in address.network for address in nic.address)
    # Hosters hand out a /32 whose gateway lies outside of it.
    return route if reached or gateway.is_link_local else {**route, "on-link": True}


def _dumped(data: dict[str, Any]) -> str:
    import yaml  # noqa: PLC0415 - 15 ms that a VM without a seed need not pay

    return str(yaml.safe_dump(data, sort_keys=False, allow_unicode=True))
