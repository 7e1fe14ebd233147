"""The keys of a network card."""

from holdfast.grammar import address, choice, identifier, one_of, several, switch, whole
from holdfast.keys.row import Key
from holdfast.machine import MacvtapMode, NicMode
from holdfast.policy.host_config import HostConfig

LAST_VLAN = 4094
MOST_QUEUES = 64
LEAST_MTU, MOST_MTU = 68, 65535  # IPv4's least, and what virtio can say

# fmt: off
NICS = (
    Key(name="nics/<name>/mode", parse=choice(NicMode), field="mode", value="`bridge user macvtap none`",
        default="`bridge` where a bridge is named, else `user`", hardware=True, doc="`none`: a card without a cable"),
    Key(name="nics/<name>/bridge", parse=identifier.interface, permit=HostConfig.permit_bridge, field="bridge",
        value="interface", default="`BRIDGE_IF`", hardware=True, doc="a bridge of the host"),
    Key(name="nics/<name>/vlan", parse=whole(1, LAST_VLAN), field="vlan", value="1 to 4094", hardware=True,
        doc="of a bridge that filters VLANs; the guest sees no tags"),
    Key(name="nics/<name>/device", parse=identifier.interface, permit=HostConfig.permit_bridge, field="device",
        value="interface", hardware=True, doc="mode macvtap: the interface of the host to share"),
    Key(name="nics/<name>/macvtap_mode", parse=choice(MacvtapMode), field="macvtap_mode",
        value="`bridge private vepa passthrough`", default="`bridge`", hardware=True, doc="how it is shared"),
    Key(name="nics/<name>/mac", parse=address.mac, field="mac", value="unicast MAC",
        default="derived from the names of VM and card", hardware=True, doc="its address"),
    Key(name="nics/<name>/model", parse=one_of("virtio", "e1000", "e1000e", "rtl8139", "vmxnet3"), field="model",
        value="`virtio e1000 e1000e rtl8139 vmxnet3`", default="`virtio`", hardware=True, doc="what the guest sees"),
    Key(name="nics/<name>/mtu", parse=whole(LEAST_MTU, MOST_MTU), field="mtu", value="68 to 65535",
        default="the bridge's", hardware=True, doc="what a virtio card tells the guest; at most the bridge's own"),
    Key(name="nics/<name>/queues", parse=whole(1, MOST_QUEUES), field="queues", value="1 to 64", default="1",
        hardware=True, doc="of a virtio card; a CPU of the guest needs no more than one"),
    Key(name="nics/<name>/link", parse=switch, field="link", value="switch", default="on", hardware=True,
        doc="off: the cable is pulled"),
    Key(name="nics/<name>/ports", parse=several(address.port), permit=HostConfig.permit_ports, field="ports",
        value="`[addr:]host:guest[/tcp|/udp]`",
        doc="ports of the host that lead to the guest; an IPv6 address in brackets"),
    Key(name="nics/<name>/address", parse=several(address.interface_address), field="address",
        value="IPv4 and IPv6 with prefix length", default="DHCP", doc="for the guest, through cloud-init"),
    Key(name="nics/<name>/gateway", parse=several(address.address), field="gateway", value="IPv4 and IPv6",
        doc="default route, likewise"),
    Key(name="nics/<name>/dns", parse=several(address.address), field="dns", value="IPv4 and IPv6",
        doc="name servers, likewise; in user mode by DHCP, too"),
    Key(name="nics/<name>/search", parse=several(identifier.domain), field="search", value="domains",
        doc="search list, as `dns`"),
)
