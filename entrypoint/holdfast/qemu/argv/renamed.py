"""Options that QEMU has dropped since the origin's days, in today's words."""

from collections.abc import Callable, Sequence

from holdfast.errors import UsageError
from holdfast.grammar import Refused
from holdfast.qemu.option import Option, scan

Replacement = Callable[[str], list[Option]]


def balloon(value: str) -> list[Option]:
    kind, comma, rest = value.partition(",")
    return [] if kind == "none" else [Option("device", f"virtio-balloon{comma}{rest}")]


def without_monitor(value: str) -> list[Option]:
    return [Option("serial", value.removeprefix("mon:"))]


TODAY: dict[str, Replacement] = {
    "async-teardown": lambda _: [Option("run-with", "async-teardown=on")],
    "balloon": balloon,
    "curses": lambda _: [Option("display", "curses")],
    "localtime": lambda _: [Option("rtc", "base=localtime")],
    "no-acpi": lambda _: [Option("machine", "acpi=off")],
    "no-hpet": lambda _: [Option("machine", "hpet=off")],
    "no-kvm": lambda _: [Option("accel", "tcg")],
    "nodefconfig": lambda _: [Option("no-user-config")],
    "nographic": lambda _: [Option("display", "none")],
    "sdl": lambda _: [Option("display", "sdl")],
    "watchdog": lambda model: [Option("device", model)],
}
# They have had no effect for long, or tune what QEMU now does by itself.
_WITHOUT_EFFECT = """
alt-grab ctrl-grab enable-fips no-frame no-kvm-irqchip no-kvm-pit no-kvm-pit-reinjection no-quit
rtc-td-hack show-cursor tdf
"""
WITHOUT_EFFECT = frozenset(_WITHOUT_EFFECT.split())
# Gone for good: QEMU ends with "invalid option". What does their work now.
GONE: dict[str, str] = {
    **dict.fromkeys(("bootp", "redir", "smb", "tftp"), "it is a property of -netdev user"),
    **dict.fromkeys(("cirrusvga", "std-vga", "vmwarevga"), "use -vga or the key video"),
    **dict.fromkeys(("bt", "clock", "hdachs", "no-vm-clock-stop", "portrait", "rotate"), "nothing took its place"),
    "enable-nesting": "it is a flag of the CPU: -cpu host,+vmx",
    "pcidevice": "use the key pci/<name>",
    "realtime": "write -overcommit mem-lock=on",
    "singlestep": "write -accel tcg,one-insn-per-tb=on",
    "soundhw": "write -audiodev and -device",
    "startdate": "write -rtc base=",
    "tb-size": "write -accel tcg,tb-size=",
    "virtioconsole": "write -device virtconsole",
}  # fmt: skip
SILENT = frozenset({"nographic"})  # not dropped: it would put a monitor beside the console


def renamed(options: Sequence[Option]) -> tuple[list[Option], list[str]]:
    """The options in today's words, and a line for each that was changed."""
    result: list[Option] = []
    warnings: list[str] = []
    for option in options:
        if option.name in GONE:
            raise UsageError(f"{option}: QEMU has it no more: {GONE[option.name]}")
        today = replacement(option)
        result += today
        if today != [option] and option.name not in SILENT:
            words = " ".join(str(one) for one in today)
            warnings.append(
                f"{option}: {f'taken as {words}' if words else 'has no effect any more'}"
            )
    return result, warnings


def replacement(option: Option) -> list[Option]:
    if option.name in WITHOUT_EFFECT:
        return []
    if option.name == "serial" and (option.value or "").startswith("mon:"):
        return without_monitor(option.value or "")
    return TODAY[option.name](option.value or "") if option.name in TODAY else [option]


def in_todays_words(words: Sequence[str]) -> tuple[str, ...]:
    """Of keys, whose options have been judged as they stand there. Raises Refused."""
    old = {f"{dashes}{name}" for name in TODAY.keys() - SILENT for dashes in ("-", "--")}
    if not old.intersection(words):
        return tuple(words)
    try:
        today = [new for one in scan(words) for new in _anew(one)]
    except UsageError as error:
        raise Refused(error.message) from None
    return tuple(word for option in today for word in option.words())


def _anew(option: Option) -> list[Option]:
    return [option] if option.name in SILENT else replacement(option)


def outdated(option: Option) -> str:
    """Why an option of a key would end QEMU; "" for what it takes, or has in other words today."""
    if option.name in WITHOUT_EFFECT:
        return "has had no effect for long, and QEMU has dropped it: leave it out"
    if option.name in GONE:
        return f"QEMU has it no more: {GONE[option.name]}"
    return ""
