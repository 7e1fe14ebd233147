"""A disk that a crashed VM has left: under [vms] of host.toml only who may take it takes it."""

import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from ceph import Ceph
from etcd import Etcd
from launcher import Launcher, gone

pytestmark = pytest.mark.integration

Launch = Callable[..., Launcher]
RUNS = "event RESUME"


def host(etcd: Etcd, vm: str, **keys: str) -> dict[str, str]:
    etcd.put(vm, ram="64", nics__nic0__mode="none", **keys)
    return {"VM": vm, "ETCD_ENDPOINTS": etcd.url, "TTL": "5", "LOG_LEVEL": "debug"}


def crashed(launch: Launch, environ: dict[str, str], etcd: Etcd) -> None:
    launcher = launch(environ)
    launcher.says(RUNS)
    launcher.signal(signal.SIGKILL)
    launcher.ends()
    assert gone(launcher.qemu())
    etcd.ctl("del", f"/kvm/{environ['VM']}/lock")


def refused(launch: Launch, environ: dict[str, str], etcd: Etcd) -> tuple[Launcher, str]:
    """Nothing of the other VM is touched, and the lock is not kept. Returns the disk's name, too."""
    launcher = launch(environ)
    told = launcher.says(
        r"waiting: disks/root: (\S+) is VM old's, .*\[vms.\"new\"\] take = \[\"old\"\] .*holdfast claim release \1 --yes"
    )
    assert etcd.get("/kvm/_own/old/epoch") == "1"
    assert not etcd.get("/kvm/_own/new/epoch")
    assert not etcd.get("/kvm/new/lock")
    return launcher, told[1]


def test_a_file(launch: Launch, own_etcd: Etcd, host_toml: Path, tmp_path: Path) -> None:
    """Who waits goes on as soon as an operator has set it free."""
    disk = tmp_path / "shared.raw"
    disk.write_bytes(bytes(1024**2))
    host_toml.write_text(f'{host_toml.read_text()}[vms."*"]\npaths = ["{tmp_path}"]\n')
    crashed(launch, host(own_etcd, "old", disks__root__path=str(disk)), own_etcd)
    environ = host(own_etcd, "new", disks__root__path=str(disk))
    new, identifier = refused(launch, environ, own_etcd)
    assert launch(environ, "claim", "release", identifier, "--yes").ends() == 0
    new.says(RUNS)


def test_an_image(
    launch: Launch, own_etcd: Etcd, ceph: Ceph, host_toml: Path, tmp_path: Path
) -> None:
    """It says itself whose it is, though etcd has forgotten; and `take` names the VMs from which it may be taken."""
    image = "rbd/left"
    ceph.rbd("create", "--size", "16M", image)
    conf = {"CEPH_CONF": str(ceph.etc(tmp_path / "etc-ceph", "holdfast"))}
    host_toml.write_text(f'{host_toml.read_text()}[vms."*"]\nrbd = ["rbd/left"]\n')
    crashed(launch, {**host(own_etcd, "old", rbd=image), **conf}, own_etcd)
    own_etcd.ctl("del", "--prefix", "/kvm/_claims/")
    environ = {**host(own_etcd, "new", rbd=image), **conf}
    new, _ = refused(launch, environ, own_etcd)
    new.signal()
    assert new.ends() == 0
    host_toml.write_text(f'{host_toml.read_text()}[vms."new"]\ntake = ["o*"]\n')
    launch(environ).says(RUNS)
    assert own_etcd.get("/kvm/_own/old/epoch") == "2"
    assert ceph.claim(image)["vm"] == "new"
