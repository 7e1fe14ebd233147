"""A user's `stdio`: QEMU says its own words there, too, of which the log takes so many a second and no more. So it
becomes the launcher's console, whose reader gets every byte of the guest's.
"""

from holdfast.dataclass import dataclass, replace
from holdfast.qemu.console import console_chardev
from holdfast.qemu.option import Option
from holdfast.qemu.spelling import Setting, words
from holdfast.qemu.wiring import Wiring


@dataclass(frozen=True, kw_only=True)
class Stdio:
    option: Option
    name: str
    rest: tuple[tuple[str, str], ...] = ()

    def words(self, wiring: Wiring) -> list[str]:
        if wiring.console is None:
            return self.option.words()
        chardev = console_chardev(wiring, self.name)
        whole = replace(chardev, properties={**chardev.properties, **dict(self.rest)})
        port = [Setting("serial", f"chardev:{self.name}")] if self.option.name == "serial" else []
        return words([whole, *port])


def stdio(option: Option) -> Stdio | None:
    """The option's part of the command, where it is one. QEMU takes one `stdio` only."""
    if option.name == "serial" and option.value == "stdio":
        return Stdio(option=option, name="console")
    if option.name != "chardev" or (option.value or "").startswith("{"):
        return None
    pairs = dict(option.pairs("backend"))
    if pairs.pop("backend", "") != "stdio" or "id" not in pairs:
        return None
    name = pairs.pop("id")
    pairs.pop("signal", None)  # of a terminal
    return Stdio(option=option, name=name, rest=tuple(pairs.items()))
