"""The guest's screen: its adapter, and SPICE or VNC for who looks at it."""

from holdfast.machine import Arch, Machine, Spice, Video, Vnc
from holdfast.machine.board import is_i440fx
from holdfast.machine.display import FIRST_VNC_PORT
from holdfast.qemu import slots
from holdfast.qemu.spelling import Device, Object, Part, Setting, keyed
from holdfast.qemu.system import ORIGIN_VIDEO
from holdfast.qemu.wiring import Wiring

SPICE_PASSWORD = "spice-password"  # noqa: S105 - the id of the object, not what it holds
VNC_PASSWORD = "vnc-password"  # noqa: S105 - likewise
SCREEN_TLS = "screen-tls"

ADAPTERS = {Video.std: "VGA", Video.virtio: "virtio-vga", Video.qxl: "qxl-vga"}
# A board without legacy VGA takes none that needs it.
WITHOUT_VGA = {Video.std: "bochs-display", Video.virtio: "virtio-gpu-pci", Video.qxl: "qxl"}


def display(machine: Machine, wiring: Wiring) -> list[Part]:
    command: list[Part] = [Setting("display", "none")]
    if machine.spice is not None:
        command += spice(machine.spice, wiring.spice_password_file, wiring.screen_tls)
    if machine.vnc is not None:
        command += vnc(machine.vnc, wiring.vnc_password_file, wiring.screen_tls)
    return [*command, *adapter(machine)]


def adapter(machine: Machine) -> list[Part]:
    video = machine.video or default_video(machine)
    if video is Video.none:
        return []
    driver = ADAPTERS if machine.arch is Arch.x86_64 else WITHOUT_VGA
    place = {"addr": ORIGIN_VIDEO} if is_i440fx(machine) else slots.fixed(machine, "video")
    return [Device(driver[video], {"id": "video", **place})]


def default_video(machine: Machine) -> Video:
    """What the origin had for SPICE; for VNC what every guest has a driver for."""
    if machine.spice is None and machine.vnc is None:
        return Video.none
    if machine.arch is not Arch.x86_64:
        return Video.virtio
    return Video.qxl if machine.spice else Video.std


def spice(server: Spice, path: str, folder: str) -> list[Part]:
    """With neither ticketing disabled nor a secret, SPICE lets nobody in: so it is when pasted. With TLS it
    has no other port.
    """
    free = server.password is None
    listen = keyed(
        "",
        addr=server.addr,
        port=None if server.tls else server.port,
        tls_port=server.port if server.tls else None,
        x509_dir=(folder or server.tls) if server.tls else None,
        disable_ticketing=True if free else None,
        password_secret=SPICE_PASSWORD if path and not free else None,
    )
    return [*secret(SPICE_PASSWORD, path, free=free), Setting("spice", listen)]


def vnc(server: Vnc, path: str, folder: str) -> list[Part]:
    """With a password wanted and none set, VNC lets nobody in: so it is when pasted."""
    free = server.password is None
    host = f"[{server.addr}]" if ":" in server.addr else server.addr
    listen = keyed(
        f"{host}:{server.port - FIRST_VNC_PORT}",
        password=True if not (path or free) else None,
        password_secret=VNC_PASSWORD if path and not free else None,
        tls_creds=SCREEN_TLS if server.tls else None,
    )
    proof = credentials(folder or server.tls) if server.tls else []
    return [*secret(VNC_PASSWORD, path, free=free), *proof, Setting("vnc", listen)]


def credentials(folder: str) -> list[Part]:
    """The server's only: who looks is known by the password."""
    whose = {"dir": folder, "endpoint": "server", "verify-peer": False}
    return [Object("tls-creds-x509", {"id": SCREEN_TLS, **whose})]


def secret(name: str, path: str, *, free: bool) -> list[Part]:
    return [] if free or not path else [Object("secret", {"id": name, "file": path})]
