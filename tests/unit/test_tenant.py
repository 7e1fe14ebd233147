"""A tenant tries by the keys of his own VM what docs/security.md says that he cannot. A row a try, with what stops it."""

from pathlib import Path

import pytest
from describing import HOST_TOML, described, faults

from holdfast.errors import ConfigError
from holdfast.storage import local
from holdfast.storage.pathname import Bounds

OTHERS = "other-root"  # another VM's volume

BY_KEYS = [
    # open, connect, listen, run or name something of the host
    ("a pipe to etcd", {"extra_flags": "-serial tcp:127.0.0.1:2379"}, "-serial"),
    ("a listener", {"extra_flags": "-chardev socket,id=c0,host=0.0.0.0,port=99,server=on"}, "-chardev"),
    ("another VM's file", {"extra_flags": f"-drive file=/pool/{OTHERS}.raw,format=raw"}, "-drive"),
    ("a file by JSON", {"extra_flags": f'-fw_cfg {{"string":",file=/pool/{OTHERS}.raw,name=opt/x"}}'}, "-fw_cfg"),
    ("another VM's tap", {"extra_flags": "-netdev tap,id=t,ifname=tap0,script=no"}, "-netdev"),
    ("a way to the host", {"extra_flags": "-netdev user,id=u,hostfwd=tcp::22-:22"}, "-netdev"),
    ("the helper of bridges", {"extra_flags": "-nic bridge,br=docker0"}, "-nic"),
    ("QEMU's monitor", {"extra_flags": "-monitor tcp:127.0.0.1:4444,server=on"}, "-monitor"),
    ("the launcher's monitor", {"extra_flags": "-set chardev.qmp.mux=on"}, "-set"),
    ("a debugger", {"extra_flags": "-gdb tcp::1234"}, "-gdb"),
    ("no sandbox", {"extra_flags": "-sandbox off"}, "-sandbox"),
    ("another user", {"extra_flags": "-runas root"}, "-runas"),
    ("a program", {"extra_flags": "-plugin /tmp/x.so"}, "-plugin"),
    ("options from a file", {"extra_flags": "-readconfig /etc/shadow"}, "-readconfig"),
    ("a file for the log", {"extra_flags": "-D /etc/passwd"}, "-D"),
    ("no lock of the disk", {"extra_flags": "-global virtio-blk-device.share-rw=on"}, "-global"),
    # disks
    ("a volume's parent", {"disks/x/source/volume": f"../{OTHERS}"}, "disks/x/source/volume"),
    ("a pool that is not there", {"disks/x/pool": "elsewhere", "disks/x/size": "1M"}, "disks/x/pool"),
    ("an image by a file's URL", {"disks/x/source/image": "file:///etc/shadow"}, "disks/x/source/image"),
    # the host's devices and folders
    ("a USB device", {"usb/stick": "0951:1666"}, "usb/stick"),
    ("a PCI device", {"pci/card": "0000:03:00.0"}, "pci/card"),
    # the network
    ("the host's ssh", {"nics/a/mode": "user", "nics/a/ports": "22:22"}, "nics/a/ports"),
    ("the host's etcd", {"nics/a/mode": "user", "nics/a/ports": "2379:2379"}, "nics/a/ports"),
    ("all ports", {"nics/a/mode": "user", "nics/a/ports": "\n".join(f"{n}:80" for n in range(8000, 8040))}, "ports"),
    ("an open screen", {"spice_port": "5900", "spice_addr": "0.0.0.0"}, "spice_addr"),  # noqa: S104
    ("a screen that asks nobody", {"vnc_port": "5900", "vnc_addr": "0.0.0.0", "vnc_password": "none"}, "vnc_"),  # noqa: S104
]  # fmt: skip


@pytest.mark.parametrize(
    ("keys", "named"), [row[1:] for row in BY_KEYS], ids=[row[0] for row in BY_KEYS]
)
def test_what_a_key_may_not_have(keys: dict[str, str], named: str) -> None:
    """Alone it is refused, and by its name; the VM without it is one."""
    fine = {"ram": "64", "disks/root/pool": "default", "disks/root/size": "1M"}
    assert described(fine).machine.ram
    said = faults({**fine, **keys})
    assert any(named in line for line in said), said


@pytest.mark.parametrize("key", ["path", "kernel"])
def test_a_file_beside_the_folder_of_images(tmp_path: Path, key: str) -> None:
    """Also by a link in it, or by a way out of it."""
    images, secret = tmp_path / "images", tmp_path / "secret"
    images.mkdir()
    secret.write_bytes(bytes(4096))
    (images / "link").symlink_to(secret)
    for way in (secret, images / "link", images / ".." / "secret"):
        if key == "kernel":
            assert local.check_file("kernel", str(way), Bounds(folders=(str(images),)))
            continue
        try:
            own = {"disks/root/path": str(way)}
            config = HOST_TOML.replace('"/images"', f'"{images}"')
            disks = described(own, host_toml=config).machine.disks
        except ConfigError:
            continue
        assert local.check(disks, Bounds(folders=(str(images),)))
