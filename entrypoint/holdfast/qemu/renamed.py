"""Options that QEMU has dropped since the origin's days, in today's words."""

from collections.abc import Callable, Sequence

from holdfast.qemu.option import Option

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
SILENT = frozenset({"nographic"})  # not dropped: it would put a monitor beside the console


def renamed(options: Sequence[Option]) -> tuple[list[Option], list[str]]:
    """The options in today's words, and a line for each that was changed."""
    result: list[Option] = []
    warnings: list[str] = []
    for option in options:
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
