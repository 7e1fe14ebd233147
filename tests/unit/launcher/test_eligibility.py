"""Who is eligible: a VM's keys, its lock and its last run, as one read of etcd shows them."""

import pytest

from holdfast.config.settings import Settings
from holdfast.dataclass import replace
from holdfast.etcd.txn import Item, Reply
from holdfast.host import Host
from holdfast.launcher.eligibility import Look, refuse
from holdfast.machine import Machine, Power
from holdfast.ownership.last_run import CRASHED, Last
from holdfast.ownership.names import Names
from holdfast.ownership.records import Lock, encode
from holdfast.ownership.verdict import Obstacle

NAMES = Names.of("/kvm", "7", "/kvm/7/lock")
SETTINGS = Settings(vm="7", lock=NAMES.lock)
HOST = Host(name="kvm2", machine_id="m", boot_id="b")
MACHINE = Machine(vm="7", hostname="7", uuid="", machine="q35")
LOCK = encode(Lock(id="x", host="kvm1", boot_id="b1", since="2026-11-01T00:00:00+00:00"))


def seen(**values: bytes) -> Reply:
    """`own` values stand below the VM's keys, others where Names has them; each at a revision of its own."""
    items = {}
    for at, (name, value) in enumerate(values.items(), 1):
        key = getattr(NAMES, name, f"{NAMES.keys}{name}")
        items[key] = Item(key=key, value=value, mod_revision=at)
    return Reply(succeeded=True, revision=99, items=items)


def look(**values: bytes) -> Look:
    return Look.of(seen(**values), SETTINGS, NAMES)


def crashed(keys: str) -> bytes:
    last = Last(when="noon", host="kvm1", why="QEMU ended", exit=1, epoch=3)
    return replace(last, state=CRASHED, keys=keys).encode()


def refused(found: Look, machine: Machine = MACHINE, put_off: float = 0.0) -> Obstacle | None:
    try:
        refuse(found, machine, HOST, put_off)
    except Obstacle as obstacle:
        return obstacle
    return None


@pytest.mark.parametrize(
    ("machine", "found", "put_off"),
    [
        (MACHINE, look(ram=b"64"), 0.0),
        (MACHINE, look(ram=b"64"), -3.0),  # the time is over
        (replace(MACHINE, hosts=("kvm1", "kvm2")), look(ram=b"64"), 0.0),
        (MACHINE, look(ram=b"64", last=crashed("1@7")), 0.0),  # a key has changed since
        (MACHINE, look(ram=b"64", last=b"not ours"), 0.0),
        (MACHINE, look(), 0.0),
    ],
)
def test_it_is_ours_to_take(machine: Machine, found: Look, put_off: float) -> None:
    assert refused(found, machine, put_off) is None


@pytest.mark.parametrize(
    ("machine", "found", "put_off", "why"),
    [
        (replace(MACHINE, power=Power.off), look(), 0.0, "switched off"),
        (replace(MACHINE, hosts=("kvm1",)), look(), 0.0, "for host kvm1, and this is kvm2"),
        (replace(MACHINE, hosts=("a", "b")), look(), 0.0, "for host a or b"),
        (MACHINE, look(lock=LOCK), 0.0, "runs on kvm1"),
        (MACHINE, look(ram=b"64"), 7.0, "the last start failed"),
        (MACHINE, look(ram=b"64", last=crashed("1@1")), 0.0, "it crashed on kvm1 at noon"),
    ],
)
def test_it_is_waited_for(machine: Machine, found: Look, put_off: float, why: str) -> None:
    obstacle = refused(found, machine, put_off)
    assert why in str(obstacle)


def test_an_older_launchers_crash_counts() -> None:
    items = {
        key: Item(key=key, value=value, mod_revision=1)
        for key, value in ((NAMES.keys + "ram", b"64"), (NAMES.legacy.last, crashed("1@1")))
    }
    found = Look.of(Reply(succeeded=True, revision=9, items=items), SETTINGS, NAMES)
    assert "it crashed on kvm1" in str(refused(found))


def test_what_is_said_first() -> None:
    """Who is switched off does not run elsewhere, and who runs elsewhere is not put off."""
    off = replace(MACHINE, power=Power.off, hosts=("kvm1",))
    everything = look(ram=b"64", lock=LOCK, last=crashed("1@1"))
    assert "switched off" in str(refused(everything, off, 7.0))
    assert "for host" in str(refused(everything, replace(MACHINE, hosts=("kvm1",)), 7.0))
    assert "runs on" in str(refused(everything, MACHINE, 7.0))
    not_locked = look(ram=b"64", last=crashed("1@1"))
    assert "last start failed" in str(refused(not_locked, MACHINE, 7.0))


def test_only_a_start_that_failed_is_no_waiting_for_the_vm() -> None:
    """LOCK_WAIT counts the time in which somebody else, or the VM's keys, are in the way."""
    put_off, elsewhere = refused(look(ram=b"64"), MACHINE, 7.0), refused(look(lock=LOCK))
    assert put_off is not None
    assert (put_off.seconds, put_off.lock_wait) == (7.0, False)
    assert elsewhere is not None
    assert elsewhere.lock_wait


def test_a_container_without_a_name_is_told_so() -> None:
    host = replace(HOST, name="0123456789ab")
    with pytest.raises(Obstacle, match="0123456789ab \\("):
        refuse(look(), replace(MACHINE, hosts=("kvm1",)), host, 0.0)


def test_one_look_at_the_keys() -> None:
    found = look(ram=b"64", pinned=b"{}", lock=LOCK, last=b"{}")
    assert found.own["ram"] == b"64"
    assert found.own["pinned"] == b"{}", "as launchers have left it, outside the VM's keys"
    assert found.is_locked
    assert not look(ram=b"64").is_locked
    default = Item(key="/kvm/_defaults/ram", value=b"32", mod_revision=4)
    both = Reply(succeeded=True, revision=9, items={default.key: default})
    assert Look.of(both, SETTINGS, NAMES).defaults == {"ram": b"32"}


def test_a_changed_key_is_another_look() -> None:
    before = look(ram=b"64")
    assert look(ram=b"64").keys == before.keys
    assert look(ram=b"64", cpus=b"2").keys != before.keys
