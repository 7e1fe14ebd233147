"""`ls`, `show`, `events`: on a real etcd, with records as launchers write them."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest
from commanding import good, shown, told
from deadline import PATIENCE
from etcd import Etcd
from launcher import BASE, Followed

from holdfast.config import settings
from holdfast.etcd.store import connect
from holdfast.etcd.txn import Put
from holdfast.ownership.last_run import sight

pytestmark = pytest.mark.integration

SECRET = "secret99"  # noqa: S105 - of no VM
RUNS = {"state": "running", "host": "host-a", "since": "2026-11-01T10:00:00+00:00", "epoch": 3}
LAST = {
    "when": "2026-11-01T09:00:00+00:00",
    "host": "host-b",
    "why": "guest powered off",
    "state": "stopped",
}


@pytest.fixture
def etcd(own_etcd: Etcd) -> Etcd:
    """Six VMs, of each state one."""
    keys = {"ram": "2G", "cpus": "2", "tags": "web prod", "lock": '{"host":"host-a"}'}
    own_etcd.put("web-1", **keys, vnc_port="5901", vnc_password=SECRET)
    status = {**RUNS, "addresses": {"nic0": ["10.77.0.21"]}, "next_start": ["ram"]}
    own_etcd.put("web-1", status=json.dumps(status))
    own_etcd.put("web-2", ram="1G", tags="web")
    own_etcd.put("web-3", ram="1G", lock='{"host":"host-c"}')
    own_etcd.put("db", ram="8G", power="off", last=json.dumps(LAST))
    own_etcd.put("old", last=json.dumps(LAST))
    own_etcd.put(
        "bad",
        ram="1G",
        last=json.dumps(
            {**LAST, "state": "crashed", "why": "QEMU died", "keys": crashed(own_etcd)}
        ),
    )
    own_etcd.ctl("put", "/kvm/_defaults/title", "a machine")
    return own_etcd


def crashed(etcd: Etcd) -> str:
    """The keys as a launcher would name them: one of its own, one of the defaults, none written yet."""
    assert sight([], "/kvm/bad/", "/kvm/_defaults/") == "0@0"
    revision = json.loads(etcd.ctl("get", "x", "-w", "json"))["header"]["revision"]
    return f"2@{revision + 3}"  # ram, this record, the default


def states(said: str) -> dict[str, str]:
    return {vm: state for vm, state, *_ in (line.split("\t") for line in said.splitlines())}


def test_each_state(etcd: Etcd) -> None:
    assert states(good(etcd.url, "ls")) == {
        "bad": "crashed", "db": "stopped", "old": "undefined",
        "web-1": "running", "web-2": "waiting", "web-3": "starting",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("words", "vms"),
    [
        (["ls", "web-*"], {"web-1", "web-2", "web-3"}),
        (["ls", "web-1", "db"], {"web-1", "db"}),
        (["ls", "--state", "running,stopped"], {"web-1", "db"}),
        (["ls", "--host", "host-a"], {"web-1"}),
        (["ls", "--tag", "web"], {"web-1", "web-2"}),
        (["ls", "--tag", "web,prod"], {"web-1"}),
        (["ls", "nothing*"], set()),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else "",
)
def test_filters(etcd: Etcd, words: list[str], vms: set[str]) -> None:
    assert states(good(etcd.url, *words)).keys() == vms


def test_a_list_for_programs(etcd: Etcd) -> None:
    (found,) = json.loads(good(etcd.url, "ls", "web-1", "--json", "--long"))
    assert found == {
        "vm": "web-1", "state": "running", "host": "host-a", "since": RUNS["since"], "addresses": ["10.77.0.21"],
        "note": "1 key for the next start", "ram": "2G", "cpus": "2", "tags": ["web", "prod"],
    }  # fmt: skip


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize(
    "words",
    [["ls"], ["ls", "--long"], ["show", "web-1"], ["web-1"], ["history", "web-1"]],
    ids=" ".join,
)
def test_on_a_terminal(etcd: Etcd, columns: int, words: list[str]) -> None:
    good(
        etcd.url,
        "set",
        "web-1",
        "title=a title that is so long that it does not fit into any line of a terminal, be it wide",
        "-m",
        "x" * 60,
    )
    said = shown(etcd.url, *words, columns=columns)
    plain = re.sub(r"\x1b\[\d*m", "", said)
    assert max(map(len, plain.splitlines())) <= columns
    assert "\t" not in plain
    coloured = words[0] in ("ls", "show", "web-1")
    assert ("\x1b[" in said) is coloured
    assert "\x1b" not in shown(etcd.url, *words, columns=columns, NO_COLOR="1")


def test_a_list_on_a_terminal_ends_with_a_sum(etcd: Etcd) -> None:
    assert shown(etcd.url, "ls", columns=80).splitlines()[-1] == (
        "6 VMs: 1 running, 1 starting, 1 waiting, 1 crashed, 1 stopped, 1 undefined."
    )


def test_watching_is_for_a_terminal(etcd: Etcd) -> None:
    status, said = told(etcd.url, "ls", "--watch")
    assert status == 64
    assert "holdfast events" in said
    assert told(etcd.url, "ls", "--state", "gone")[0] == 64


def test_a_vm_as_a_whole(etcd: Etcd) -> None:
    etcd.ctl("put", "/kvm/_own/web-1/epoch", "3")
    etcd.ctl("put", "/kvm/_own/web-1/fence", json.dumps({
        "version": 1, "epoch": 3, "host": "host-a", "boot_id": "b", "machine_id": "m",
        "images": [{"disk": "root", "kind": "rbd", "id": "rbd/f/vms/web-1"}],
    }))  # fmt: skip
    etcd.ctl("put", "/kvm/_own/web-1/volumes/root", json.dumps({
        "version": 1, "id": "i", "state": "made", "place": "rbd/f/vms", "host": "host-a", "name": "web-1-root", "lock": "l",
    }))  # fmt: skip
    said = good(etcd.url, "show", "web-1")
    for text in (
        "web-1: running on host-a", "nic0: 10.77.0.21", "for the next start: ram", "ram           2G", "a machine   (_defaults)",
        "epoch 3", "host-a may write to rbd/f/vms/web-1", "root  web-1-root on host-a (rbd/f/vms)  made",
    ):  # fmt: skip
        assert text in said, said
    found = json.loads(good(etcd.url, "show", "web-1", "--json"))
    assert found["keys"]["ram"] == {"value": "2G", "origin": "own"}
    assert found["keys"]["title"]["origin"] == "_defaults"


@pytest.mark.parametrize(
    "words",
    [
        ["show", "web-1"],
        ["show", "web-1", "--json"],
        ["get", "web-1"],
        ["history", "web-1", "--json"],
    ],
    ids=" ".join,
)
def test_no_secret_is_told_unasked(etcd: Etcd, words: list[str]) -> None:
    good(etcd.url, "set", "web-1", "vnc_password=secret98")
    assert "secret9" not in good(etcd.url, *words)


def test_a_vm_that_is_not_there(etcd: Etcd) -> None:
    for words in (["show", "nix"], ["get", "nix"], ["nix-1"]):
        status, said = told(etcd.url, *words)
        assert status == 78
        assert "holdfast ls" in said
    assert told(etcd.url, "history", "nix") == (0, "no change of VM nix was made by holdfast\n")


def test_thousands_are_listed(own_etcd: Etcd) -> None:
    """More than a page of each kind, and gaps between VMs that have run."""
    config = settings.parse({"VM": "any", "ETCD_ENDPOINTS": own_etcd.url})
    puts = [Put(key=f"/kvm/vm-{number:04}/ram", value=b"1G") for number in range(2400)]
    puts += [
        Put(key=f"/kvm/_run/vm-{number:04}", value=json.dumps(RUNS).encode())
        for number in range(1, 2400, 2)
    ]
    with connect(config, timeout=PATIENCE) as store:
        for start in range(0, len(puts), 100):
            store.txn(success=puts[start : start + 100])
    found = states(good(own_etcd.url, "ls"))
    assert len(found) == 2400
    assert {found[f"vm-{number:04}"] for number in range(1, 2400, 2)} == {"running"}
    assert {found[f"vm-{number:04}"] for number in range(0, 2400, 2)} == {"waiting"}


def test_a_reader_that_goes_away_is_no_fault(etcd: Etcd) -> None:
    """`holdfast ls | head`: more than a pipe holds, and nobody reads it."""
    etcd.put("web-1", title="x" * 500_000)
    command = [sys.executable, "-P", "-m", "holdfast", "export", "web-1"]
    environ = {**BASE, "ETCD_ENDPOINTS": etcd.url}
    done = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environ)
    assert done.stdout
    done.stdout.close()
    _, said = done.communicate(timeout=PATIENCE)
    assert (done.returncode, said) == (141, b"")


@pytest.fixture
def follower(etcd: Etcd) -> Iterator[Followed]:
    command = [sys.executable, "-P", "-m", "holdfast", "events", "web-*", "--json"]
    followed = Followed(command, {**BASE, "ETCD_ENDPOINTS": etcd.url})
    yield followed
    followed.close()


def test_events_as_they_come(etcd: Etcd, follower: Followed) -> None:
    """Until the follower looks nothing is new: so the first change is made again and again until it is told."""
    number = 0
    while "vm.address" not in follower.console:
        number += 1
        etcd.put(
            "web-1", status=json.dumps({**RUNS, "addresses": {"nic0": [f"10.0.0.{number % 250}"]}})
        )
        assert number < 10_000
        assert follower.process.poll() is None, follower.story()
    etcd.put("db", status=json.dumps(RUNS))
    good(etcd.url, "set", "web-2", "ram=3G", "-m", "more room")
    follower.says(r'"vm.changed", "vm": "web-2".*ram 1G -> 3G', where="console")
    etcd.put("web-1", status=json.dumps({**RUNS, "host": "host-b"}))
    follower.says(
        r'"vm.moved", "vm": "web-1", "host": "host-b", "text": "from host-a"', where="console"
    )
    etcd.put("web-1", last=json.dumps(LAST))
    follower.says(r'"vm.stopped", "vm": "web-1"', where="console")
    assert '"db"' not in follower.console
    follower.signal(2)
    assert follower.ends() == 130


def test_the_names_of_events(etcd: Etcd) -> None:
    said = good(etcd.url, "events", "--names")
    assert "vm.moved\tanother host has it\n" in said
