"""A launcher beside one of another version, and after it: with a real etcd, and records as others write them.

tests/records holds what real launchers of earlier versions have written.
"""

import json
import re
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
from etcd import Etcd
from launcher import Launcher, gone

from holdfast.config.settings import Endpoint, Settings
from holdfast.errors import ConfigError
from holdfast.etcd.record import VERSION
from holdfast.etcd.store import Store, connect
from holdfast.etcd.txn import Put, Range
from holdfast.host import Host
from holdfast.ownership.lock import Hold
from holdfast.ownership.names import Names
from holdfast.ownership.records import Image, ImageKind, decode_fence
from holdfast.ownership.session import Session
from holdfast.ownership.taking import Taking

pytestmark = pytest.mark.integration

Launch = Callable[..., Launcher]
RECORDS = sorted((Path(__file__).parents[1] / "records").glob("version-*.json"))
NUMBERS = count(1)
NEWER = "is of a newer Holdfast .version 2, .*upgrade the launcher on this host"


@pytest.fixture
def vm(request: pytest.FixtureRequest) -> str:
    """One of its own for each test; what is parametrised shares its name's beginning."""
    name = f"up{next(NUMBERS)}-" + request.node.name.removeprefix("test_").lower()
    return re.sub(r"[^a-z0-9]+", "-", name)[:40].strip("-")


@pytest.fixture
def store(etcd_server: Etcd) -> Iterator[Store]:
    endpoint = Endpoint(host="127.0.0.1", port=etcd_server.port, tls=False)
    with connect(replace(Settings(), endpoints=(endpoint,))) as store:
        yield store


# -- older ones


@pytest.mark.parametrize("kind", ["rbd", "file", "shared"])
@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_who_follows_an_older_launcher_knows_whom_to_shut_out(
    path: Path, kind: str, vm: str, store: Store
) -> None:
    """Its lease has run out; what it has recorded is there."""
    owner = json.loads(path.read_text(encoding="utf-8"))[kind]
    names = Names.of(f"/{vm}", "7", f"/{vm}/7/lock")
    record = decode_fence(owner["fence"].encode())
    (claim,) = owner["claims"].values()
    claim = json.dumps({**json.loads(claim), "vm": "7", "lock": names.lock})
    puts = {names.legacy.epoch: owner["epoch"], names.legacy.fence: owner["fence"]}
    puts |= {names.claims + image.id: claim for image in record.images}
    store.txn(success=[Put(key=key, value=value.encode()) for key, value in puts.items()])
    host = Host(name="b", machine_id=record.machine_id, boot_id="b")
    session = Session(store, names, host, 10)
    seen = store.read(Range(key=f"/{vm}/7/", prefix=True))
    taking = Taking(session, seen, record.images)
    claims = taking.lock()
    assert claims is not None
    taking.raise_epoch()
    taken = taking.claim(claims)
    Hold(session, taken).record(record.images, frozenset())
    assert taken.epoch == record.epoch + 1
    assert taken.heard == set(record.clients)


def test_fields_that_came_later_are_passed_over(
    launch: Launch, etcd_server: Etcd, vm: str, guest: Path
) -> None:
    """The record and the claim of a VM that a newer launcher of the same format has left."""
    etcd_server.put(vm, **keys(guest))
    first = launch(on(etcd_server, vm))
    first.says("event RESUME")
    first.signal(signal.SIGKILL)
    assert gone(first.qemu())
    (claim,) = [key for key in etcd_server.keys("/kvm/_claims/") if vm in key]
    for key in (f"/kvm/_own/{vm}/fence", claim):
        record = json.loads(etcd_server.get(key) or "")
        etcd_server.ctl("put", key, json.dumps({**record, "colour": "red"}))
    second = launch(on(etcd_server, vm))
    second.says("the VM is ours")
    second.says("event RESUME")
    second.signal()
    second.signal()
    assert second.ends() == 0
    assert not etcd_server.get(f"/kvm/_own/{vm}/fence")
    assert not etcd_server.get(claim)


def keys(guest: Path) -> dict[str, str]:
    return {
        "ram": "128",
        "kernel": f"{guest}/vmlinuz",
        "nics__nic0__mode": "none",
        "disks__data__pool": "default",
        "disks__data__size": "16M",
        "stop_timeout": "5",
    }


def on(etcd: Etcd, vm: str, **more: str) -> dict[str, str]:
    return {"VM": vm, "ETCD_ENDPOINTS": etcd.url, "TTL": "5", "LOG_LEVEL": "debug", **more}


# -- newer ones


def of_tomorrow(record: dict[str, object]) -> str:
    return json.dumps({**record, "version": VERSION + 1})


def test_an_older_launcher_takes_nothing_from_a_newer_one(
    launch: Launch, etcd_server: Etcd, vm: str, guest: Path
) -> None:
    """It stands by while that one runs, and when it is gone it says what to do."""
    fence = of_tomorrow({"writers": ["what this one cannot know"]})
    etcd_server.put(vm, **keys(guest), epoch="8", fence=fence, lock='{"holder":{"name":"x"}}')
    launcher = launch(on(etcd_server, vm))
    launcher.says("waiting: the VM runs on ")
    etcd_server.ctl("del", f"/kvm/{vm}/lock")
    launcher.says(f"waiting: .*fence: {NEWER}.*holdfast fence forget {vm}")
    assert not etcd_server.get(f"/kvm/{vm}/lock")
    assert etcd_server.get(f"/kvm/_own/{vm}/epoch") == "8"
    assert etcd_server.get(f"/kvm/_own/{vm}/fence") == fence
    launcher.signal()
    assert launcher.ends() == 0


def test_a_disk_that_a_newer_launcher_has_claimed_is_not_taken(
    store: Store, etcd_server: Etcd, vm: str
) -> None:
    names = Names.of(f"/{vm}", "7", f"/{vm}/7/lock")
    disk = Image(disk="root", kind=ImageKind.file, id="file/m1/x")
    etcd_server.ctl("put", names.claims + disk.id, of_tomorrow({"owner": "8"}))
    session = Session(store, names, Host(name="b", machine_id="m1", boot_id="b"), 10)
    seen = store.read(Range(key=f"/{vm}/7/", prefix=True))
    taking = Taking(session, seen, [disk])
    claims = taking.lock()
    assert claims is not None
    taking.raise_epoch()
    with pytest.raises(ConfigError, match=NEWER):
        taking.claim(claims)
    assert etcd_server.get(names.claims + disk.id) == of_tomorrow({"owner": "8"})


def test_the_operators_commands_say_what_they_cannot_read(
    launch: Launch, etcd_server: Etcd, vm: str
) -> None:
    etcd_server.put(vm, fence=of_tomorrow({}))
    etcd_server.ctl("put", f"/kvm/_claims/rbd/f/vms/{vm}", of_tomorrow({}))
    expected = {
        ("fence", "show", vm): 0,
        ("fence", "forget", vm): 64,
        ("claim", "ls"): 0,
        ("claim", "release", f"rbd/f/vms/{vm}", "--yes"): 78,
    }
    for arguments, status in expected.items():
        launcher = launch({"ETCD_ENDPOINTS": etcd_server.url}, *arguments)
        assert launcher.ends() == status, launcher.story()
        assert re.search(NEWER, launcher.console + launcher.log), launcher.story()
    assert etcd_server.get(f"/kvm/_own/{vm}/fence")
    assert etcd_server.get(f"/kvm/_claims/rbd/f/vms/{vm}")
    etcd_server.ctl("del", f"/kvm/_claims/rbd/f/vms/{vm}")
