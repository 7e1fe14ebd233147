"""`holdfast fence` and `holdfast claim`: each says what it gives up before it does it."""

import json
import re
from collections.abc import Callable

import pytest
from etcd import Etcd
from launcher import Launcher

pytestmark = pytest.mark.integration

Launch = Callable[..., Launcher]
RECORD = {
    "version": 1, "epoch": 4, "host": "host-z", "boot_id": "x", "machine_id": "m", "clients": ["10.0.0.1:0/7"],
    "images": [{"disk": "root", "kind": "rbd", "id": "rbd/f/vms/vm7"}],
}  # fmt: skip


@pytest.fixture
def vm(request: pytest.FixtureRequest) -> str:
    name = "op-" + request.node.name.removeprefix("test_").lower()
    return re.sub(r"[^a-z0-9]+", "-", name)[:40].strip("-")


@pytest.fixture
def ask(launch: Launch, etcd_server: Etcd) -> Callable[..., tuple[int, str]]:
    def run(*arguments: str) -> tuple[int, str]:
        launcher = launch({"ETCD_ENDPOINTS": etcd_server.url}, *arguments)
        status = launcher.ends()
        return status, launcher.console + launcher.log

    return run


Ask = Callable[..., tuple[int, str]]


def test_a_record_is_shown(ask: Ask, etcd_server: Etcd, vm: str) -> None:
    assert ask("fence", "show", vm) == (0, "no record: the last owner stopped cleanly\n")
    etcd_server.put(vm, fence=json.dumps(RECORD))
    status, said = ask("fence", "show", vm)
    assert status == 0
    assert "epoch 4 on host host-z" in said
    assert "rbd/f/vms/vm7" in said
    assert "10.0.0.1:0/7" in said
    assert json.loads(ask("fence", "show", vm, "--json")[1]) == RECORD


def test_a_record_is_forgotten_only_with_consent(ask: Ask, etcd_server: Etcd, vm: str) -> None:
    etcd_server.put(vm, fence=json.dumps(RECORD))
    status, said = ask("fence", "forget", vm)
    assert status == 64
    assert f"holdfast fence forget {vm} --yes" in said
    assert etcd_server.get(f"/kvm/_own/{vm}/fence")
    assert ask("fence", "forget", vm, "--yes")[0] == 0
    assert etcd_server.get(f"/kvm/_own/{vm}/fence") is None


def test_the_record_of_a_running_vm_stays(ask: Ask, etcd_server: Etcd, vm: str) -> None:
    etcd_server.put(vm, fence=json.dumps(RECORD), lock='{"host":"host-z"}')
    status, said = ask("fence", "forget", vm, "--yes")
    assert status == 75
    assert "runs on host-z" in said
    assert etcd_server.get(f"/kvm/_own/{vm}/fence")


def test_a_damaged_record_can_be_forgotten(ask: Ask, etcd_server: Etcd, vm: str) -> None:
    etcd_server.put(vm, fence="{}")
    assert "damaged" in ask("fence", "forget", vm)[1]
    assert ask("fence", "forget", vm, "--yes")[0] == 0


def claimed(etcd: Etcd, vm: str) -> str:
    claim = {"version": 1, "vm": vm, "lock": f"/kvm/{vm}/lock", "epoch": 2, "machine_id": "m"}
    etcd.ctl("put", f"/kvm/_claims/rbd/f/vms/{vm}", json.dumps(claim))
    return f"rbd/f/vms/{vm}"


def test_claims_are_listed_and_set_free(ask: Ask, etcd_server: Etcd, vm: str) -> None:
    disk = claimed(etcd_server, vm)
    assert f"{disk}  VM {vm}  epoch 2" in ask("claim", "ls")[1]
    assert {"disk": disk, "vm": vm, "epoch": 2} in json.loads(ask("claim", "ls", "--json")[1])
    status, said = ask("claim", "release", disk)
    assert status == 64
    assert f"holdfast claim release {disk} --yes" in said
    assert ask("claim", "release", disk, "--yes") == (0, f"{disk} is free\n")
    assert etcd_server.get(f"/kvm/_claims/{disk}") is None


def test_the_claim_of_a_running_vm_stays(ask: Ask, etcd_server: Etcd, vm: str) -> None:
    disk = claimed(etcd_server, vm)
    etcd_server.put(vm, lock="x")
    assert ask("claim", "release", disk, "--yes")[0] == 75
    assert etcd_server.get(f"/kvm/_claims/{disk}")
