"""The keys of a VM's being on and off."""

from holdfast.grammar import choice, switch, whole
from holdfast.keys.row import Key
from holdfast.machine import OnCrash, OnPoweroff, OnReboot, Power

MOST_SECONDS = 24 * 60 * 60


def _power(text: str) -> Power:
    return Power.on if switch(text) else Power.off


# fmt: off
POWER = (
    Key(name="power", parse=_power, field="power", value="switch", default="on", with_options=True,
        doc="whether the VM is to run"),
    Key(name="on_poweroff", parse=choice(OnPoweroff), field="on_poweroff", value="`stop restart`", default="`stop`",
        with_options=True, doc="when the guest powers itself off; `stop` also sets `power` to `off`; the eleventh time within ten minutes is a crash"),
    Key(name="on_reboot", parse=choice(OnReboot), field="on_reboot", value="`restart stop`", default="`restart`",
        with_options=True, doc="when the guest reboots; `stop`: as if it had powered itself off"),
    Key(name="on_crash", parse=choice(OnCrash), field="on_crash", value="`restart stop pause`", default="`restart`",
        with_options=True, doc="when QEMU dies or the guest panics; `pause`: a guest that panicked is kept as it is"),
    Key(name="stop_timeout", parse=whole(0, MOST_SECONDS), field="stop_timeout", value="seconds", default="300",
        with_options=True, doc="between the ACPI power-down and the kill"),
)
