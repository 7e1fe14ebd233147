"""What cloud-init reads from the seed, by its NoCloud conventions: pure text, built from data."""

import shlex
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from holdfast.dataclass import dataclass, field
from holdfast.errors import ConfigError, Fault
from holdfast.machine import Machine, Nic, NicMode, Share

NOTHING = "#cloud-config\n{}\n"

# All login shells read this folder; a file of its own keeps the image's files as they are.
ENVIRONMENT = "/etc/profile.d/holdfast.sh"

# Of every boot; a share that is mounted already stays as it is.
MOUNT = 'mountpoint -q "$2" || { mkdir -p "$2" && mount -t virtiofs -o "$3" "$1" "$2"; }'

# What the user's own document says counts, but for lists: ours come first, then the user's. Said
# twice: cloud-init drops `merge_how` when it joins the parts of the vendor's data, and heeds what is
# left, `merge_type`, when it joins that with the user's.
_LISTS_ARE_JOINED = (
    {"name": "list", "settings": ["prepend"]},
    {"name": "dict", "settings": ["no_replace", "recurse_list"]},
)


@dataclass(frozen=True, kw_only=True)
class Documents:
    """The files of a seed. One that is empty is left out."""

    meta_data: str
    user_data: str = field(repr=False)
    vendor_data: str = field(default="", repr=False)
    network_config: str


def documents(
    machine: Machine,
    user_data: str,
    meta_data: Mapping[str, object] | None = None,
    network_config: str = "",
) -> Documents:
    """A user's text goes in byte for byte: it may be a template of cloud-init's, never of ours."""
    # Without a NIC that we know of (QEMU's own options may bring one) cloud-init is left to do
    # as it likes: it asks DHCP on the first that it finds.
    cards = _dumped(_network_config(machine.nics)) if machine.nics else ""
    return Documents(
        meta_data=_dumped(_meta_data(machine, meta_data or {})),
        user_data=user_data if user_data.strip() else NOTHING,
        vendor_data=_vendor_data(machine),
        network_config=network_config or cards,
    )


def _meta_data(machine: Machine, given: Mapping[str, object]) -> dict[str, object]:
    """The instance is the VM, so its id is the VM's uuid and nothing else.

    A new id makes cloud-init set the guest up afresh: new SSH host keys, users and passwords
    reset, runcmd run again. An edit of user-data must not do that to a machine in use. Who does
    want it runs `cloud-init clean` in the guest, or gives the VM a new uuid.
    """
    if machine.hostname not in (machine.vm, given.get("local-hostname", machine.hostname)):
        fault = Fault(key="meta_data", rule="has a local-hostname, and hostname says another")
        raise ConfigError([fault])
    return {"instance-id": machine.uuid, "local-hostname": machine.hostname, **given}


def _vendor_data(machine: Machine) -> str:
    """What our keys say, beside the user's document and never in it: cloud-init joins the two."""
    guest = machine.guest
    said: dict[str, Any] = {}
    if guest.password:
        # A password that must be changed at the first log-in is no use to a program.
        said |= {"password": guest.password, "chpasswd": {"expire": False}}
    if guest.ssh_authorized_keys:
        said["ssh_authorized_keys"] = list(guest.ssh_authorized_keys)
    if guest.timezone:
        said["timezone"] = guest.timezone
    if guest.env:
        said["write_files"] = [{"path": ENVIRONMENT, "content": _exports(guest.env)}]
    if commands := [*([f". {ENVIRONMENT}"] if guest.env else []), *guest.commands]:
        said["runcmd"] = commands
    if mounts := [_mount(share) for share in machine.shares if share.mount]:
        said["bootcmd"] = mounts
    merging = [dict(rule) for rule in _LISTS_ARE_JOINED]
    how = {"merge_how": merging, "merge_type": [dict(rule) for rule in merging]}
    return f"#cloud-config\n{_dumped({**how, **said})}" if said else ""


def _mount(share: Share) -> list[str]:
    """Not `mounts`, which in Debian 12's cloud-init drops a source that is no block device."""
    options = "ro" if share.read_only else "rw"
    return ["sh", "-c", MOUNT, "mount", share.name, share.mount, options]


def _exports(env: tuple[tuple[str, str], ...]) -> str:
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in env)


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
