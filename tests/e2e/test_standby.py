"""Two containers for one VM, as two hosts would run them: it runs in one place."""

import json
from collections.abc import Callable

import pytest
from container import RIGHTS, Ceph, Container, Runner, logged
from etcd import Etcd

pytestmark = pytest.mark.e2e

TAKEOVER = 60  # seconds; how long it took is printed


def test_a_standby_takes_over_after_docker_stop(
    run: Runner,
    etcd_server: Etcd,
    ceph: Ceph,
    lan: str,
    vm: str,
    record_property: Callable[[str, object], None],
) -> None:
    etcd_server.put(vm, ram="192", rbd=ceph.boot_disk(vm))

    def on(host: str) -> Container:
        return run(
            "--net=host",
            f"--volume={ceph.conf}:/etc/ceph:ro",
            *RIGHTS,
            VM=vm,
            HOSTNAME=host,
            BRIDGE_IF=lan,
            ETCD_ENDPOINTS=etcd_server.url,
        )

    first = on("host-a")
    assert first.ready()["boot"] == "1"
    second = on("host-b")
    second.says("waiting: the VM runs on host-a; standing by")
    assert first.stop() == 0
    second.says("QEMU is up", timeout=TAKEOVER)
    assert second.ready()["boot"] == "2"
    assert "GUEST-DOWN" in first.console
    status = json.loads(etcd_server.get(f"/kvm/_run/{vm}") or "{}")
    assert (status["host"], status["epoch"]) == ("host-b", 2)
    took = logged(second, "QEMU is up") - logged(first, "the VM is released")
    record_property("takeover after a clean stop", f"{took.total_seconds():.2f} s")
    assert second.stop() == 0


def test_a_standby_that_is_stopped_has_done_nothing(
    run: Runner, etcd_server: Etcd, vm: str
) -> None:
    etcd_server.put(vm, ram="192", host="somebody-else", nics__lan__mode="user")
    container = run("--net=host", VM=vm, HOSTNAME="host-b", ETCD_ENDPOINTS=etcd_server.url)
    container.says("the VM is for host somebody-else, and this is host-b")
    assert container.stop() == 0
    assert etcd_server.keys(f"/kvm/{vm}/") == sorted(
        f"/kvm/{vm}/{key}" for key in ("ram", "host", "nics/lan/mode")
    )


def test_etcd_that_is_not_there(run: Runner, own_etcd: Etcd, vm: str) -> None:
    own_etcd.stop()
    container = run(
        "--net=host", VM=vm, HOSTNAME="host-a", ETCD_ENDPOINTS=own_etcd.url, LOCK_WAIT="2"
    )
    assert container.ends() == 69
    assert f"etcd does not answer (127.0.0.1:{own_etcd.port}" in container.log
    assert "QEMU" not in container.log
    assert not container.console
