"""What must agree with each other among the keys of the memory."""

from holdfast.description.layers import Layer, Sources
from holdfast.grammar import spelled
from holdfast.machine import Machine

BLOCK = 2 * 1024**2  # in such pieces virtio-mem gives memory; a huge page at least


def refuse_contradictions(sources: Sources, machine: Machine) -> None:
    _refuse_balloon(sources, machine)
    if sources.refused & {"ram", "ram_max", "hugepages"}:
        return
    page = machine.hugepages or 0
    if page and machine.ram % page:
        sources.refuse(sources.values["hugepages"].label, f"ram is no multiple of {spelled(page)}")
    if machine.ram_max is None:
        return
    label, rest = sources.values["ram_max"].label, machine.ram_max - machine.ram
    if rest <= 0:
        sources.refuse(label, f"must be more than ram, which is {spelled(machine.ram)}")
    elif rest % max(page, BLOCK):
        step = spelled(max(page, BLOCK))
        sources.refuse(label, f"must be more than ram by a multiple of {step}")


def _refuse_balloon(sources: Sources, machine: Machine) -> None:
    value = sources.values.get("balloon")
    if value and value.content and value.layer is not Layer.defaults and machine.pci:
        rule = (
            "gives nothing back with a key pci/...: such a device may reach all memory at any time"
        )
        sources.refuse(value.label, rule)
