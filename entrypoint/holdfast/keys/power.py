"""The keys of a VM's being on and off."""

from holdfast.grammar import switch, whole
from holdfast.keys.row import Key
from holdfast.machine import Power

MOST_SECONDS = 24 * 60 * 60


def _power(text: str) -> Power:
    return Power.on if switch(text) else Power.off


# fmt: off
POWER = (
    Key(name="power", parse=_power, field="power", value="switch", default="on", live=True, with_options=True,
        doc="whether the VM is to run"),
    Key(name="stop_timeout", parse=whole(0, MOST_SECONDS), field="stop_timeout", value="seconds", default="300",
        with_options=True, doc="between the ACPI power-down and the kill"),
)
