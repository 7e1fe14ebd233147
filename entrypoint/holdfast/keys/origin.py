"""The keys that the old image had."""

from holdfast.cloudinit import document
from holdfast.grammar import HIGHEST_PORT, address, identifier, several, size, whole
from holdfast.keys.row import Key
from holdfast.machine import MIB
from holdfast.policy.host_config import HostConfig

LEAST_PORT = 1024  # QEMU is not root


def _flags(text: str) -> tuple[str, ...]:
    from holdfast.keys import extra_flags  # noqa: PLC0415 - most VMs have none

    return extra_flags.parse(text)


def _permit_flags(host_config: HostConfig, flags: tuple[str, ...]) -> None:
    from holdfast.keys import args_allowlist  # noqa: PLC0415 - likewise

    args_allowlist.permit(flags, host_config.args_allowlist)
    args_allowlist.govern(flags, host_config)


# fmt: off
ORIGIN = (
    Key(name="host", parse=several(identifier.host), field="hosts", value="host names", default="any",
        with_options=True, doc="only these hosts may run the VM; the others wait"),
    Key(name="ram", parse=size(bare=MIB, least=16 * MIB), field="ram", value="size, at least 16 MiB", default="1024",
        doc="memory; a number without a suffix is MiB"),
    Key(name="mac", parse=address.mac, same_as="nics/nic0/mac", value="unicast MAC",
        doc="the address of the network card `nic0`"),
    Key(name="rbd", parse=identifier.rbd_image, same_as="disks/root/rbd", value="`pool/image`",
        doc="the disk `root`, primary; a leading `/` is allowed"),
    Key(name="spice_port", parse=whole(LEAST_PORT, HIGHEST_PORT), value="port, at least 1024", default="no SPICE",
        doc="SPICE with a ticket, on `spice_addr`"),
    Key(name="extra_flags", parse=_flags, permit=_permit_flags, field="extra_flags",
        value="shell-quoted QEMU options", doc="appended last; some are refused, see below"),
    Key(name="cloud-config", parse=document.user_data, permit=document.permit, same_as="user_data",
        with_options=True, value="URL, `file:` and a path, or text", doc="another name of `user_data`"),
)
