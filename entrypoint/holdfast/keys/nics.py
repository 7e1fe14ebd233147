"""The keys of a network card."""

from holdfast import address, identifier
from holdfast.grammar import choice, one_of, several
from holdfast.host_config import HostConfig
from holdfast.keys.row import Key
from holdfast.machine import NicMode

# fmt: off
NICS = (
    Key(name="nics/<name>/mode", parse=choice(NicMode, later=("macvtap",)), field="mode", value="`bridge user none`",
        default="`bridge` where a bridge is named, else `user`", hardware=True, doc="`none`: a card without a cable"),
    Key(name="nics/<name>/bridge", parse=identifier.interface, permit=HostConfig.permit_bridge, field="bridge",
        value="interface", default="`BRIDGE_IF`", hardware=True, doc="a bridge of the host"),
    Key(name="nics/<name>/mac", parse=address.mac, field="mac", value="unicast MAC",
        default="derived from the names of VM and card", hardware=True, doc="its address"),
    Key(name="nics/<name>/model", parse=one_of("virtio", "e1000", "e1000e", "rtl8139", "vmxnet3"), field="model",
        value="`virtio e1000 e1000e rtl8139 vmxnet3`", default="`virtio`", hardware=True, doc="what the guest sees"),
    Key(name="nics/<name>/address", parse=several(address.interface_address), field="address",
        value="IPv4 and IPv6 with prefix length", default="DHCP", doc="for the guest, through cloud-init"),
    Key(name="nics/<name>/gateway", parse=several(address.address), field="gateway", value="IPv4 and IPv6",
        doc="default route, likewise"),
    Key(name="nics/<name>/dns", parse=several(address.address), field="dns", value="IPv4 and IPv6",
        doc="name servers, likewise"),
    Key(name="nics/<name>/search", parse=several(identifier.domain), field="search", value="domains",
        doc="search list, likewise"),
)
