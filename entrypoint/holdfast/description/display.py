"""The screen's server, from its values."""

from ipaddress import ip_address
from typing import Any

from holdfast.description.layers import Sources
from holdfast.machine import Display, Spice, Vnc

PROPERTIES = ("port", "addr", "password")


def spice(sources: Sources) -> Spice | None:
    return Spice(**_server(sources, "spice")) if chosen(sources) is Display.spice else None


def vnc(sources: Sources) -> Vnc | None:
    return Vnc(**_server(sources, "vnc")) if chosen(sources) is Display.vnc else None


def _secured(sources: Sources, kind: str, given: dict[str, Any]) -> dict[str, Any]:
    """Beyond this host a screen has a password, and TLS where host.toml has a certificate for it."""
    addr = given.get("addr", Spice.addr)
    host_config = sources.settings.host_config
    if ip_address(addr).is_loopback:
        return given
    if not (host_config.screen_tls or host_config.open_screens):
        _refuse_open(sources, kind, addr, "TLS (screen_tls of host.toml)")
    if given.get("password", "") is None and not host_config.open_screens:
        _refuse_open(sources, kind, addr, f"a password ({kind}_password is none)")
    return {**given, "tls": host_config.screen_tls}


def _refuse_open(sources: Sources, kind: str, addr: str, lacks: str) -> None:
    rule = f"lets other hosts in without {lacks}; open_screens = true in host.toml allows that"
    sources.refuse(f"{kind}_addr", rule, addr)


def chosen(sources: Sources) -> Display:
    """`display`, or the one whose port is named. Without a port there is no server."""
    if "display" in sources.values:
        display: Display = sources.values["display"].content
        there = display is not Display.none and f"{display}_port" in sources.values
        return display if there else Display.none
    ports = [sources.values.get(f"{kind}_port") for kind in (Display.spice, Display.vnc)]
    layers = [-1 if port is None else port.layer for port in ports]
    if max(layers) < 0:
        return Display.none
    return Display.spice if layers[0] >= layers[1] else Display.vnc


def refuse_unclear(sources: Sources) -> None:
    display = sources.values.get("display")
    ports = [name for name in ("spice_port", "vnc_port") if name in sources.values]
    if display is None:
        if len({sources.values[name].layer for name in ports}) < len(ports):
            sources.refuse(
                sources.values[ports[1]].label, f"is there beside {ports[0]}: set display"
            )
        return
    wanted = f"{display.content}_port"
    if display.content is not Display.none and wanted not in {*ports, *sources.refused}:
        sources.refuse(display.label, f"needs {wanted}", display.content.value)


def _server(sources: Sources, kind: str) -> dict[str, Any]:
    names = {name: f"{kind}_{name}" for name in PROPERTIES}
    given = {
        name: sources.values[key].content for name, key in names.items() if key in sources.values
    }
    return _secured(sources, kind, given)
