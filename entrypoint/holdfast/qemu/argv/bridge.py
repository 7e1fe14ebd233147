"""A user's network on a bridge: QEMU would start the bridge helper, which a confined one cannot."""

from holdfast.dataclass import dataclass
from holdfast.errors import UsageError
from holdfast.qemu.option import Option, parsed
from holdfast.qemu.spelling import as_json, keyed_pairs
from holdfast.qemu.wiring import Wiring

DEFAULT_BRIDGE = "br0"  # QEMU's own
OPTIONS = frozenset({"netdev", "net", "nic"})


@dataclass(frozen=True, kw_only=True)
class Bridge:
    """`-netdev bridge`, `-net bridge` or `-nic bridge`: all the same with a tap's descriptor."""

    option: Option
    name: str
    bridge: str

    def words(self, wiring: Wiring) -> list[str]:
        if self.name not in wiring.taps:
            return self.option.words()
        number = str(wiring.taps[self.name].queues[0])
        text = self.option.value or ""
        if text.startswith("{"):
            kept = {
                key: value for key, value in parsed(text).items() if key not in ("br", "helper")
            }
            return [f"-{self.option.name}", as_json({**kept, "type": "tap", "fd": number})]
        pairs = [pair for pair in self.option.pairs("type")[1:] if pair[0] not in ("br", "helper")]
        return [f"-{self.option.name}", "tap," + keyed_pairs([*pairs, ("fd", number)])]


def bridge(option: Option, place: int) -> Bridge | None:
    if option.name not in OPTIONS:
        return None
    given = dict(option.pairs("type"))
    if given.get("type") == "tap":
        raise UsageError(
            f"{option}: a confined QEMU cannot make or open a tap",
            hint=f"Use `bridge,br={DEFAULT_BRIDGE}`, or another bridge: the launcher then makes the tap. "
            "Or EXEC=yes, which confines nothing.",
        )
    if given.get("type") != "bridge":
        return None
    name = given.get("id") or f"{option.name}{place}"
    return Bridge(option=option, name=name, bridge=given.get("br", DEFAULT_BRIDGE))
