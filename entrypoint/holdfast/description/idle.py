"""Keys that would have no effect beside the others: whoever wrote one meant something else.

What `_defaults` say is for all VMs, and passed over where it does not apply.
"""

from holdfast.description.guest import NETWORK
from holdfast.description.layers import Layer, Sources
from holdfast.machine import Accelerator, Machine, Nic, NicMode

SERVERS = ("spice", "vnc")
OF_A_SERVER = ("addr", "password")


def refuse_idle(sources: Sources, machine: Machine) -> None:
    _refuse_of_no_server(sources)
    _refuse_order_of_nothing(sources, machine)
    _refuse_other_accelerator(sources, machine)
    for nic in machine.nics:
        _refuse_of_other_mode(sources, nic)


def _refuse(sources: Sources, name: str, rule: str) -> None:
    value = sources.values.get(name)
    if value and value.layer is not Layer.defaults:
        sources.refuse(value.label, rule)


def _refuse_of_no_server(sources: Sources) -> None:
    """With a port it is only parked: `display` chooses."""
    for server in SERVERS:
        port = f"{server}_port"
        if port not in sources.values and port not in sources.refused:
            for name in OF_A_SERVER:
                _refuse(sources, f"{server}_{name}", f"needs {port}: there is no server without")


def _refuse_order_of_nothing(sources: Sources, machine: Machine) -> None:
    if not machine.kernel:
        return
    rule = "orders nothing beside kernel, which is booted directly"
    _refuse(sources, "boot_order", rule)
    for disk in machine.disks:
        _refuse(sources, f"disks/{disk.name}/boot", rule)


def _refuse_other_accelerator(sources: Sources, machine: Machine) -> None:
    if machine.hyperv and machine.accelerator is Accelerator.tcg:
        _refuse(sources, "hyperv", "needs KVM, and accelerator is tcg")


def _refuse_of_other_mode(sources: Sources, nic: Nic) -> None:
    if nic.mode is not NicMode.bridge:
        rule = f"needs mode bridge, and this card's is {nic.mode}"
        _refuse(sources, f"nics/{nic.name}/bridge", rule)
    if nic.mode is NicMode.none:
        _refuse(sources, f"nics/{nic.name}/link", "needs a cable, and mode none has none")
        for name in NETWORK:
            _refuse(sources, f"nics/{nic.name}/{name}", "leads nowhere: mode none has no cable")
