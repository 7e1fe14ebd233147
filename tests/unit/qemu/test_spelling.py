"""Values into QEMU's words: of its command line, and of QMP."""

import json

import pytest

from holdfast.qemu.spelling import (
    Blockdev,
    Chardev,
    Device,
    Hex,
    Netdev,
    Object,
    Part,
    Pluggable,
    Setting,
    arguments,
    words,
)

CARD = Device("virtio-net-pci", {"id": "a,b", "mq": True, "host_mtu": 9000, "romfile": None})
PARTS: list[tuple[Part, list[str]]] = [
    (Setting("S"), ["-S"]),
    (Setting("append", "a, b"), ["-append", "a, b"]),
    (Chardev("socket", {"id": "c", "wait": False, "fd": 3}), ["-chardev", "socket,id=c,wait=off,fd=3"]),
    (CARD, ["-device", "virtio-net-pci,id=a,,b,mq=on,host_mtu=9000"]),
    (Device("usb-host", {"vendorid": Hex(0x46D)}), ["-device", "usb-host,vendorid=0x046d"]),
    (Blockdev("raw", {"file": "f", "discard": None}), ["-blockdev", '{"driver":"raw","file":"f"}']),
    (Netdev("tap", {"id": "n", "vhost": True}), ["-netdev", '{"type":"tap","id":"n","vhost":true}']),
    (Object("secret", {"id": "s"}), ["-object", '{"qom-type":"secret","id":"s"}']),
]  # fmt: skip


@pytest.mark.parametrize(("part", "spelled"), PARTS)
def test_a_part_is_spelled_as_words(part: Part, spelled: list[str]) -> None:
    assert words([part]) == spelled
    assert words([part, part]) == spelled * 2


def test_a_late_device_is_json_and_nothing_else_changes() -> None:
    for part, spelled in PARTS:
        late = words([part], late=True)
        if isinstance(part, Device):
            assert (late[0], json.loads(late[1])) == ("-device", arguments(part))
        else:
            assert late == spelled


@pytest.mark.parametrize(
    ("part", "add", "told"),
    [
        (CARD, "device_add", {"driver": "virtio-net-pci", "id": "a,b", "mq": True, "host_mtu": 9000}),
        (Device("usb-host", {"vendorid": Hex(0x46D)}), "device_add", {"driver": "usb-host", "vendorid": 1133}),
        (Blockdev("raw", {"file": "f", "discard": None}), "blockdev-add", {"driver": "raw", "file": "f"}),
        (Netdev("tap", {"id": "n", "vhost": True}), "netdev_add", {"type": "tap", "id": "n", "vhost": True}),
        (Object("secret", {"id": "s"}), "object-add", {"qom-type": "secret", "id": "s"}),
    ],
)  # fmt: skip
def test_a_part_is_spelled_for_qmp(part: Pluggable, add: str, told: dict[str, object]) -> None:
    """Each value by its own type, and no comma doubled."""
    assert part.add == add
    assert json.loads(json.dumps(arguments(part))) == told


def test_parts_are_values() -> None:
    assert Device("a", {"b": 1}) == Device("a", {"b": 1})
    other: Pluggable = Blockdev("a", {"b": 1})
    assert other != Device("a", {"b": 1})
    with pytest.raises(AttributeError, match="never changes"):
        CARD.type = "e1000"  # type: ignore[misc]
