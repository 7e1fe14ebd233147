"""What changes, and what is wrong with it."""

import pytest

from holdfast.cli import definition
from holdfast.cli.definition import Definition
from holdfast.config.settings import Settings
from holdfast.errors import ConfigError
from holdfast.etcd.txn import Item, Reply
from holdfast.ownership.names import Names


def base(**own: str) -> Definition:
    items = {
        name: Item(key=f"/kvm/7/{name}", value=text.encode(), mod_revision=3)
        for name, text in own.items()
    }
    names = Names.of("/kvm", "7", "/kvm/7/lock")
    seen = Reply(succeeded=True, revision=9, items={item.key: item for item in items.values()})
    settings = Settings(vm="7", lock="/kvm/7/lock")
    return Definition(settings=settings, names=names, seen=seen, own=items, defaults={})


@pytest.mark.parametrize(
    ("before", "after", "edit"),
    [
        ({}, {}, {}),
        ({"a": b"1"}, {"a": b"1\n"}, {}),
        ({"a": b"1"}, {"a": b"2", "b": b"3"}, {"a": b"2", "b": b"3"}),
        ({"a": b"1", "b": b"2"}, {"b": b"2"}, {"a": None}),
    ],
)
def test_what_makes_the_one_of_the_other(
    before: dict[str, bytes], after: dict[str, bytes], edit: dict[str, bytes | None]
) -> None:
    assert definition.edit_of(before, after) == edit


ANYWHERE = [
    {"ram": b"1G", "disks/root/pool": b"any-pool", "disks/root/size": b"9G"},
    {"ram": b"1G", "disks/root/path": b"/anywhere/it.is"},
    {"ram": b"1G", "disks/root/size": b"9G"},
    {"ram": b"1G", "nics/nic0/bridge": b"br7", "nics/nic0/ports": b"22:22"},
    {"ram": b"1G", "usb/stick": b"0951:1666", "pci/card": b"0000:03:00.0"},
    {"ram": b"1G", "shares/a/path": b"/srv/a"},
    {"ram": b"1G", "spice_port": b"5900", "spice_addr": b"0.0.0.0"},
    {"ram": b"1G", "extra_flags": b"-device edu"},
]


@pytest.mark.parametrize("keys", ANYWHERE, ids=lambda keys: max(keys).replace("/", "-"))
def test_a_laptop_knows_no_hosts_limits(keys: dict[str, bytes]) -> None:
    assert definition.faults(base(), keys) == []


def test_all_that_is_wrong_is_told_together() -> None:
    with pytest.raises(ConfigError) as refused:
        definition.refuse_faults(base(ram="1G"), {"ram": b"0", "rma": b"1G"})
    lines = refused.value.message.splitlines()
    assert any("VM 7: ram: '0'" in line for line in lines)
    assert any("did you mean ram?" in line for line in lines)


def test_what_was_wrong_before_hinders_no_change() -> None:
    left = definition.refuse_faults(base(ram="0", cpus="1"), {"ram": b"0", "cpus": b"2"})
    assert len(left) == 1
    assert "ram" in left[0]


def test_no_secret_in_what_is_refused() -> None:
    with pytest.raises(ConfigError) as refused:
        definition.refuse_faults(
            base(ram="1G"),
            {"ram": b"1G", "vnc_port": b"5901", "vnc_password": b"far too long a one"},
        )
    assert "far too long" not in refused.value.message
