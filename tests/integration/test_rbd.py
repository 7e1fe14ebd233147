"""A VM whose disk is an image in a real Ceph: it boots, stops, is refused, is shut out."""

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest
from ceph import Ceph, keyring
from etcd import Etcd, free_port, where
from launcher import WITNESS_READ, WITNESS_WRITTEN, Launcher, alive, gone, told

pytestmark = pytest.mark.integration

Launch = Callable[..., Launcher]
BRIDGE = f"hfrbd{os.getpid() % 10**7}"
NUMBERS = count(1)
# A /run of its own: on one machine the frozen launcher still holds the VM's folder there.
OTHER_MACHINE = [
    *("unshare", "--mount", "--propagation", "private", "sh", "-c"),
    'mount -t tmpfs none /run/holdfast && exec "$@"',
    "sh",
]
RESTART = 90  # seconds: a new client waits half a minute for a dead one's watch


@dataclass(frozen=True, kw_only=True)
class Site:
    """A VM with its image, and a host with client.holdfast's keyring, closed to all but root."""

    vm: str
    image: str
    etcd: Etcd
    ceph: Ceph
    conf: Path
    guest: Path

    @property
    def host(self) -> dict[str, str]:
        endpoints = self.etcd.url
        return {
            "VM": self.vm,
            "ETCD_ENDPOINTS": endpoints,
            "CEPH_CONF": str(self.conf),
            "TTL": "5",
        }

    @property
    def impatient(self) -> dict[str, str]:
        return {**self.host, "LOCK_WAIT": "0"}

    @property
    def other_host(self) -> dict[str, str]:
        return {**self.host, "HOSTNAME": "host-b"}

    def put(self, **keys: str) -> None:
        self.etcd.put(self.vm, **keys)

    def record(self, key: str) -> dict[str, object]:
        found: dict[str, object] = json.loads(self.etcd.get(where(self.vm, key)) or "{}")
        return found

    def clients(self) -> list[str]:
        """The storage clients that the fence record names."""
        found: list[str] = self.record("fence")["clients"]  # type: ignore[assignment]
        return found

    def assert_untouched(self) -> None:
        written = ("lock", "epoch", "fence", "status", "last")
        assert not [key for key in written if self.etcd.get(where(self.vm, key))]
        claims = self.etcd.keys("/kvm/_claims/")
        assert not [key for key in claims if key.endswith(f"/{self.vm}")]


@pytest.fixture
def site(
    request: pytest.FixtureRequest, etcd_server: Etcd, ceph: Ceph, guest: Path, tmp_path: Path
) -> Site:
    """A VM of its own for each test."""
    name = request.node.name.removeprefix("test_").lower()
    vm = f"{next(NUMBERS)}-{re.sub(r'[^a-z0-9]+', '-', name)[:40].strip('-')}"
    ceph.put(f"rbd/{vm}", guest / "disk.raw")
    conf = ceph.etc(tmp_path / "etc-ceph", "holdfast")
    return Site(vm=vm, image=f"rbd/{vm}", etcd=etcd_server, ceph=ceph, conf=conf, guest=guest)


def switches(words: str) -> str:
    """Words that change what the guest does; it reads them in its seed."""
    return f"#cloud-config\n# holdfast-test: {words}\n"


# -- the origin's keys, on a real cluster


def test_the_origins_keys_are_a_vm(launch: Launch, site: Site) -> None:
    site.put(ram="192", mac="52:54:00:12:34:56", rbd=f"/{site.image}", spice_port=str(free_port()))
    launcher = launch(site.host)
    assert launcher.ready()["boot"] == "1"
    assert "mac=52:54:00:12:34:56" in launcher.console
    assert '"user":"holdfast"' in Path(f"/proc/{launcher.qemu()}/cmdline").read_text()
    image = {"disk": "root", "kind": "rbd", "id": f"rbd/{fsid(site)}/{site.image}"}
    assert site.record("fence")["images"] == [image]
    launcher.signal()
    assert launcher.ends() == 0
    assert "GUEST-DOWN" in launcher.console
    # The next host goes on at once, on the same disk.
    assert launch(site.other_host).ready()["boot"] == "2"


def fsid(site: Site) -> str:
    found = re.search(r"fsid = (\S+)", site.conf.read_text())
    assert found
    return found[1]


def test_an_image_in_a_namespace(launch: Launch, site: Site, guest: Path) -> None:
    site.ceph.rbd("namespace", "create", f"rbd/{site.vm}")
    site.ceph.put(f"rbd/{site.vm}/disk", guest / "disk.raw")
    site.put(ram="192", rbd=f"rbd/{site.vm}/disk")
    assert launch(site.host).ready()["boot"] == "1"


def test_a_pool_of_host_toml_without_etc_ceph(
    launch: Launch, site: Site, host_toml: Path, tmp_path: Path
) -> None:
    """Monitors, user and key from host.toml: the missing volumes are made, and grow."""
    site.ceph.rbd("namespace", "create", f"rbd/{site.vm}")
    monitor = pool_of(site, host_toml, tmp_path)
    site.ceph.put(f"rbd/{site.vm}/{site.vm}-root", site.guest / "disk.raw")
    site.put(ram="192", disks__root__pool="far", disks__root__primary="on", disks__root__size="512M",
             disks__data__pool="far", disks__data__size="16M")  # fmt: skip
    nowhere = {"CEPH_CONF": str(tmp_path / "nothing")}
    launcher = launch({**site.host, **nowhere})
    assert launcher.ready()["boot"] == "1"
    assert f"disk data: created rbd/{site.vm}/{site.vm}-data" in launcher.log
    assert f"disk root: grown rbd/{site.vm}/{site.vm}-root" in launcher.log
    info = json.loads(site.ceph.rbd("info", "--format=json", f"rbd/{site.vm}/{site.vm}-data"))
    assert (info["size"], "exclusive-lock" in info["features"]) == (16 << 20, True)
    assert len(site.clients()) == 2, "QEMU's, one an image; the storage process has ended"
    command = Path(f"/proc/{launcher.qemu()}/cmdline").read_text()
    assert f'"conf":"/dev/null","server":[{{"host":"{monitor}"' in command
    assert site.ceph.key() not in command + world()
    launcher.signal()
    assert launcher.ends() == 0
    # A smaller size is no request to shrink, and nothing is made anew.
    site.put(disks__root__size="16M")
    second = launch({**site.other_host, **nowhere})
    assert second.ready()["boot"] == "2"
    assert "disk root: " not in second.log + second.console
    assert "disk data: " not in second.log


def pool_of(site: Site, host_toml: Path, tmp_path: Path) -> str:
    """A pool in the namespace that is called like the VM, with all that is needed to reach it: the
    monitor's address.
    """
    (tmp_path / "a.key").write_text(site.ceph.key())
    found = re.search(r"v1:([\d.]+):(\d+)", site.ceph.conf.read_text())
    assert found
    with host_toml.open("a") as file:
        file.write(
            f'[pools.far]\nkind = "rbd"\npool = "rbd"\nnamespace = "{site.vm}"\n'
            f'hosts = ["{found[1]}:{found[2]}"]\nuser = "holdfast"\nkey_file = "{tmp_path}/a.key"\n'
        )
    return found[1]


def test_a_volume_that_cannot_be_made(
    launch: Launch, site: Site, host_toml: Path, tmp_path: Path
) -> None:
    pool_of(site, host_toml, tmp_path)
    site.put(disks__root__pool="far")
    name = f"disks/root: .rbd/{site.vm}.*"
    refused(
        launch(site.host), 78, f"{name}: there is no such namespace: rbd namespace create rbd/"
    )
    site.ceph.rbd("namespace", "create", f"rbd/{site.vm}")
    refused(launch(site.host), 78, f"{name}: the volume does not exist: give disks/root/size")
    site.assert_untouched()


def test_a_users_own_options(launch: Launch, site: Site, tmp_path: Path) -> None:
    """As the origin's unit gave them; QEMU's default user is admin."""
    conf = site.ceph.etc(tmp_path / "admin", "admin")
    drive = f"format=rbd,file=rbd:{site.image},cache=writeback,if=virtio"
    environ = {"LOCK": f"/kvm/{site.vm}/lock", "ETCD_ENDPOINTS": site.etcd.url}
    launcher = launch({**environ, "CEPH_CONF": str(conf)}, "-m", "192", "-drive", drive)
    assert launcher.ready()["boot"] == "1"
    assert f"/{site.image}" in str(site.record("fence")["images"])
    launcher.signal()
    assert launcher.ends() == 0


# -- refused before anything is taken


def without_rights_to_osds(ceph: Ceph, directory: Path) -> Path:
    return ceph.etc(directory, ceph.user("monitored", "mon", "allow r"))


def with_rights_elsewhere(ceph: Ceph, directory: Path) -> Path:
    caps = ("mon", "profile rbd", "osd", "profile rbd pool=vms")
    return ceph.etc(directory, ceph.user("elsewhere", *caps))


def with_the_right_to_read(ceph: Ceph, directory: Path) -> Path:
    caps = ("mon", "profile rbd", "osd", "profile rbd-read-only pool=rbd")
    return ceph.etc(directory, ceph.user("reader", *caps))


def with_the_key_of_another(ceph: Ceph, directory: Path) -> Path:
    conf = ceph.etc(directory)
    keyring(directory, "holdfast", ceph.key("admin"))
    return conf


def with_a_damaged_key(ceph: Ceph, directory: Path) -> Path:
    conf = ceph.etc(directory)
    keyring(directory, "holdfast", ceph.key()[:-7])
    return conf


def without_keyring(ceph: Ceph, directory: Path) -> Path:
    return ceph.etc(directory)


def without_conf(ceph: Ceph, directory: Path) -> Path:
    return directory / "ceph.conf"


def with_a_monitor_that_nobody_knows(ceph: Ceph, directory: Path) -> Path:
    conf = ceph.etc(directory, "holdfast")
    conf.write_text("[global]\nmon_host = monitor.invalid\n")
    return conf


def with_another_file(ceph: Ceph, directory: Path) -> Path:
    conf = ceph.etc(directory, "holdfast")
    conf.write_text("<!DOCTYPE html>\n")
    return conf


NEEDED = "mon 'profile rbd', osd 'profile rbd pool=rbd'"
REFUSED = [
    (without_rights_to_osds, 69, rf"client\.monitored has no rights there: it needs {NEEDED}"),
    (with_rights_elsewhere, 78, rf"disks/root: .*: client\.elsewhere may not .* it: it needs {NEEDED}"),
    (with_the_right_to_read, 78, rf"disks/root: .*: client\.reader may not write to it: it needs {NEEDED}"),
    (with_the_key_of_another, 78, r"Ceph refuses client\.holdfast.*\n.*ceph auth get client\.holdfast"),
    (with_a_damaged_key, 78, r"the key of client\.holdfast is damaged\n.*ceph auth get client\.holdfast"),
    (without_keyring, 78, r"no keyring for client\.holdfast or client\.admin\n.*ceph auth get-or-create"),
    (without_conf, 77, r"ceph\.conf is missing\n.*-v /etc/ceph:/etc/ceph:ro.*CEPH_CONF"),
    (with_a_monitor_that_nobody_knows, 69, r"Ceph does not answer: .*monitor\.invalid.*\n.*mon_host"),
    (with_another_file, 78, r"ceph\.conf is no configuration of Ceph"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("etc", "status", "said"), REFUSED, ids=[etc.__name__ for etc, _, _ in REFUSED]
)
def test_a_host(
    etc: Callable[[Ceph, Path], Path],
    status: int,
    said: str,
    launch: Launch,
    site: Site,
    tmp_path: Path,
) -> None:
    site.put(rbd=site.image)
    conf = etc(site.ceph, tmp_path / "etc")
    refused(launch({**site.impatient, "CEPH_CONF": str(conf)}), status, said)
    site.assert_untouched()


FAULTY = [
    ("rbd/nothing", r"disks/root: 'rbd/nothing': there is no such image: rbd create"),
    ("nothing/disk", r"disks/root: 'nothing/disk': there is no pool nothing in this cluster"),
    ("rbd/nothing/disk", r"disks/root: 'rbd/nothing/disk': there is no such namespace: rbd namespace create rbd/nothing"),
    ("rbd/disk@snapshot", r"rbd: 'rbd/disk@snapshot': names a snapshot"),
]  # fmt: skip


@pytest.mark.parametrize(("rbd", "said"), FAULTY)
def test_an_image_that_is_not_there(rbd: str, said: str, launch: Launch, site: Site) -> None:
    site.put(rbd=rbd)
    refused(launch(site.host), 78, said)
    site.assert_untouched()


def test_an_image_in_the_trash(launch: Launch, site: Site) -> None:
    site.put(rbd=site.image)
    site.ceph.rbd("trash", "mv", site.image)
    (kept,) = [
        line for line in site.ceph.rbd("trash", "ls", "rbd").splitlines() if site.vm in line
    ]
    said = f"{site.image}': is in the trash: rbd trash restore rbd/{kept.split()[0]}"
    refused(launch(site.host), 78, said)
    site.assert_untouched()


def test_a_data_pool_that_the_user_may_not_write_to(
    launch: Launch, site: Site, tmp_path: Path
) -> None:
    """QEMU would start, and every write of the guest's fail."""
    pool = f"data-{site.vm}"
    site.ceph.ceph("osd", "pool", "create", pool, "8")
    image = f"{site.image}-apart"
    site.ceph.rbd("create", "--size=16M", f"--data-pool={pool}", image)
    site.put(rbd=image)
    conf = site.ceph.etc(
        tmp_path / "narrow",
        site.ceph.user("narrow", "mon", "profile rbd", "osd", "profile rbd pool=rbd"),
    )
    needed = f"may not write to it: it needs mon 'profile rbd', osd 'profile rbd pool=rbd, profile rbd pool={pool}'"
    refused(launch({**site.impatient, "CEPH_CONF": str(conf)}), 78, needed)
    site.assert_untouched()


def test_all_images_are_reported_together(launch: Launch, site: Site) -> None:
    plain = f"{site.image}-plain"
    site.ceph.rbd("create", "--size=16M", "--image-feature=layering", plain)
    site.put(disks__root__rbd=plain, disks__more__rbd="rbd/nothing")
    launcher = launch(site.host)
    refused(
        launcher,
        78,
        f"disks/root: .*lacks the feature .*rbd feature enable {plain} exclusive-lock",
    )
    assert "disks/more: 'rbd/nothing'" in launcher.log
    site.assert_untouched()


def test_a_cluster_that_is_down(launch: Launch, site: Site) -> None:
    site.put(rbd=site.image)
    with site.ceph.frozen("mon.a"):
        refused(launch(site.impatient), 69, "Ceph does not answer")
    with site.ceph.frozen("osd.0"):
        refused(launch(site.impatient), 69, f"{site.image}: no OSD serves its pool")
    site.assert_untouched()


def test_a_first_start_does_not_wait_for_ever(launch: Launch, site: Site, tmp_path: Path) -> None:
    site.put(rbd=site.image)
    conf = with_a_monitor_that_nobody_knows(site.ceph, tmp_path / "etc")
    launcher = launch({**site.host, "CEPH_CONF": str(conf), "LOCK_WAIT": "4"})
    launcher.says("waiting: Ceph does not answer")
    refused(launcher, 69, "error: Ceph does not answer")
    site.assert_untouched()


def test_a_placement_group_that_answers_nobody(launch: Launch, site: Site, tmp_path: Path) -> None:
    """Monitors and all other groups do: the image's header can be read. Who may wait for the VM waits for that, too."""
    pool, image = f"data-{site.vm}", f"{site.image}-apart"
    site.ceph.ceph("osd", "pool", "create", pool, "1")
    site.ceph.rbd("import", "--no-progress", f"--data-pool={pool}", site.guest / "disk.raw", image)
    caps = ("mon", "profile rbd", "osd", f"profile rbd pool=rbd, profile rbd pool={pool}")
    conf = site.ceph.etc(tmp_path / "both", site.ceph.user(f"both-{site.vm}", *caps))
    site.put(ram="192", rbd=image)
    environ = {**site.host, "CEPH_CONF": str(conf)}
    first = launch(environ)
    first.ready()
    second = launch({**environ, "HOSTNAME": "host-b"})
    second.says("waiting: the VM runs on")
    with replicas_missing(site.ceph, pool):
        first.signal(signal.SIGKILL)
        assert gone(first.qemu())
        second.says("waiting: .*no OSD serves its pool")
        late = launch({**environ, "HOSTNAME": "host-c", "LOCK_WAIT": "0"})
        refused(late, 69, f"{image}: no OSD serves its pool")
        assert second.process.poll() is None
    assert second.ready(RESTART)["boot"] == "2"


@contextmanager
def replicas_missing(ceph: Ceph, pool: str) -> Iterator[None]:
    """The one OSD has not the copies that there must be: the groups of this pool serve nobody."""
    for name in ("size", "min_size"):
        ceph.ceph("osd", "pool", "set", pool, name, "2")
    yield
    ceph.ceph("osd", "pool", "set", pool, "size", "1", "--yes-i-really-mean-it")
    ceph.ceph("osd", "pool", "set", pool, "min_size", "1")


def refused(launcher: Launcher, status: int, said: str) -> None:
    assert launcher.ends() == status, launcher.story()
    assert re.search(said, launcher.log), launcher.log
    assert "QEMU is up" not in launcher.log
    assert "Traceback" not in launcher.log


def test_the_variables_of_a_uefi_follow_the_vm(launch: Launch, site: Site) -> None:
    """An image beside the primary disk: made once, fenced with it, and there on the next host."""
    site.put(ram="256", rbd=site.image, firmware="uefi", kernel=f"{site.guest}/vmlinuz",
             initrd=f"{site.guest}/initrd.img", cmdline="console=ttyS0 quiet no_timer_check")  # fmt: skip
    first = launch(site.host)
    first.ready()
    image = f"{site.image}-vars"
    assert f"disk vars: created {image}" in first.log
    info = json.loads(site.ceph.rbd("info", "--format=json", image))
    assert (info["size"], "exclusive-lock" in info["features"]) == (528 << 10, True)
    assert {*site.ceph.watchers(image), *site.ceph.watchers(site.image)} == {*site.clients()}
    told(site.vm, WITNESS_WRITTEN, "WRITTEN 0")
    first.signal(signal.SIGKILL)
    assert gone(first.qemu())
    second = launch(site.other_host)
    second.ready(RESTART)
    assert "created" not in second.log
    told(site.vm, WITNESS_READ, "FOUND holdfast")
    second.signal()
    assert second.ends() == 0, second.story()
    site.ceph.rbd("resize", "--size", "1M", image)
    refused(launch(site.host), 78, f"firmware: '{image}': has 1048576 bytes")


# -- clean and unclean ends


def test_an_operator_shuts_a_client_out(launch: Launch, site: Site) -> None:
    """Only with consent: it is for a year."""
    words = ("fence", "shut-out", site.vm, "--address", "10.9.9.9:0/4711")
    environ = {"CEPH_CONF": str(site.conf), "ETCD_ENDPOINTS": site.etcd.url}
    asked = launch(environ, *words)
    assert asked.ends() == 64
    assert f"holdfast fence shut-out {site.vm} --address 10.9.9.9:0/4711 --yes" in asked.log
    assert "10.9.9.9:0/4711" not in site.ceph.ceph("osd", "blocklist", "ls")
    assert launch(environ, *words, "--yes").ends() == 0
    assert "10.9.9.9:0/4711" in site.ceph.ceph("osd", "blocklist", "ls")


def test_a_killed_host_is_shut_out_by_the_next_one(launch: Launch, site: Site) -> None:
    site.put(ram="192", rbd=site.image)
    first = launch(site.host)
    first.ready()
    (address,) = site.ceph.watchers(site.image)
    assert address in site.clients()
    first.signal(signal.SIGKILL)
    assert gone(first.qemu())
    second = launch(site.other_host)
    second.says(f"shut out of Ceph.*{re.escape(address)}")
    assert second.ready(RESTART)["boot"] == "2"
    assert address in site.ceph.ceph("osd", "blocklist", "ls")
    assert address not in site.clients()


def test_a_frozen_owner_cannot_write_when_it_wakes(launch: Launch, site: Site) -> None:
    """All of it is paused past its lease, as a suspended host is, and goes on later."""
    site.put(ram="192", rbd=site.image, user_data=switches("write-stamp"))
    first = launch(site.host)
    first.ready()
    first.says("STAMP|GUEST-READY", where="console")
    frozen = [first.qemu(), first.process.pid]
    for pid in frozen:
        os.kill(pid, signal.SIGSTOP)
    second = launch(site.other_host, prefix=OTHER_MACHINE)
    second.ready(RESTART)
    for pid in reversed(frozen):
        os.kill(pid, signal.SIGCONT)
    assert first.ends() == 76
    assert not alive(frozen[0])
    second.signal()
    assert second.ends() == 0


def test_a_killed_qemu_is_shut_out_and_restarted_in_place(launch: Launch, site: Site) -> None:
    """Its last writes must not arrive behind those of the next one."""
    site.put(ram="192", rbd=site.image)
    launcher = launch(site.host)
    launcher.ready()
    (address,) = site.ceph.watchers(site.image)
    lock = site.record("lock")
    with site.ceph.frozen("mon.a"):  # nobody can be shut out for now, so nobody is started
        os.kill(launcher.qemu(), signal.SIGKILL)
        launcher.says("starting QEMU again in place")
        assert address in site.clients()
        assert "QEMU is up" not in launcher.log.partition("in place")[2]
    launcher.ready(RESTART, after=len(launcher.console))
    log = launcher.log.partition("in place")[2]
    assert re.search(rf"shut out of Ceph.*{re.escape(address)}(.|\n)*QEMU is up", log), log
    assert address in site.ceph.ceph("osd", "blocklist", "ls")
    (newer,) = site.ceph.watchers(site.image)
    assert address != newer
    assert site.clients() == [newer]
    assert (site.record("lock"), site.etcd.get(f"/kvm/_own/{site.vm}/epoch")) == (lock, "1")
    launcher.signal()
    assert launcher.ends() == 0
    assert not site.etcd.get(f"/kvm/_own/{site.vm}/fence")


def test_a_panic_shuts_nobody_out(launch: Launch, site: Site) -> None:
    """QEMU closes its disks before it ends."""
    site.put(ram="192", rbd=site.image, user_data=switches("panic-after=0"))
    launcher = launch(site.host)
    launcher.says("panicked: starting QEMU again in place")
    launcher.says("in place(.|\n)*QEMU is up", timeout=RESTART)
    assert "shut out" not in launcher.log


def test_a_killed_qemu_is_shut_out_before_the_vm_is_released(launch: Launch, site: Site) -> None:
    site.put(ram="192", rbd=site.image, on_crash="stop")
    first = launch(site.host)
    first.ready()
    (address,) = site.ceph.watchers(site.image)
    os.kill(first.qemu(), signal.SIGKILL)
    assert first.ends() == 128 + signal.SIGKILL
    assert address in site.ceph.ceph("osd", "blocklist", "ls")
    assert not site.etcd.get(f"/kvm/{site.vm}/lock")
    assert not site.etcd.get(f"/kvm/_own/{site.vm}/fence")
    site.put(power="on")
    second = launch(site.other_host)
    assert second.ready(RESTART)["boot"] == "2"
    assert "shut out" not in second.log


def test_a_clean_stop_leaves_nobody_to_shut_out(launch: Launch, site: Site) -> None:
    site.put(ram="192", rbd=site.image)
    first = launch(site.host)
    first.ready()
    assert site.ceph.claim(site.image)["epoch"] == 1
    assert site.ceph.claim(site.image)["clients"] == site.ceph.watchers(site.image)
    first.signal()
    assert first.ends() == 0
    assert site.ceph.claim(site.image) == {}
    second = launch(site.other_host)
    second.ready()
    assert "shut out" not in second.log


def test_a_stranger_is_named_and_not_shut_out(launch: Launch, site: Site) -> None:
    """A client of the tool `rbd` has the image open for writing, as a backup or `rbd map` would."""
    site.put(ram="192", rbd=site.image)
    with site.ceph.opened(site.image) as address:
        launcher = launch(site.host)
        launcher.says(f"{re.escape(address)} has an image of this VM open", timeout=RESTART)
        assert "QEMU is up" not in launcher.log
        assert address not in site.ceph.ceph("osd", "blocklist", "ls")
        assert not site.etcd.get(f"/kvm/_own/{site.vm}/fence")
    launcher.ready(RESTART)


def test_who_may_not_shut_others_out_does_not_start(
    launch: Launch, site: Site, tmp_path: Path
) -> None:
    user = site.ceph.user("meek", "mon", "allow r", "osd", "profile rbd pool=rbd")
    conf = site.ceph.etc(tmp_path / "meek", user)
    site.put(ram="192", rbd=site.image)
    refused(
        launch({**site.impatient, "CEPH_CONF": str(conf)}),
        78,
        "may not shut .*\n?.*mon 'profile rbd'",
    )
    site.assert_untouched()


def test_an_etcd_that_has_forgotten_is_not_believed(launch: Launch, site: Site) -> None:
    """Restored from an old snapshot, or lost: the image knows a later epoch, and its clients."""
    site.put(ram="192", rbd=site.image, epoch="6")
    first = launch(site.host)
    first.ready()
    (address,) = site.ceph.watchers(site.image)
    first.signal(signal.SIGKILL)
    assert gone(first.qemu())
    site.etcd.ctl("del", f"/kvm/_own/{site.vm}/fence")
    site.etcd.ctl("del", f"/kvm/{site.vm}/lock")
    site.etcd.put(site.vm, epoch="3")
    second = launch(site.other_host)
    second.says(f"the images know of epoch 7, etcd of 3.*etcdctl put /kvm/_own/{site.vm}/epoch 7")
    assert not site.etcd.get(f"/kvm/{site.vm}/lock")
    site.etcd.put(site.vm, epoch="7")
    second.says(f"shut out of Ceph.*{re.escape(address)}")
    assert second.ready(RESTART)["boot"] == "2"
    assert site.record("status")["epoch"] == 8


def test_a_copy_of_a_newer_launcher_is_not_an_empty_one(launch: Launch, site: Site) -> None:
    site.put(ram="192", rbd=site.image)
    copy = '{"version": 2, "writers": []}'
    site.ceph.rbd("image-meta", "set", site.image, "holdfast.fence.3", copy)
    refused(
        launch(site.impatient), 78, "copy of a fence record .*newer Holdfast(.|\\n)*image-meta"
    )
    site.assert_untouched()


def test_a_forced_stop_is_clean(launch: Launch, site: Site) -> None:
    """QEMU is told to quit: it flushes and closes its disks, whatever the guest does."""
    site.put(ram="192", rbd=site.image, stop_timeout="1", user_data=switches("ignore-acpi"))
    first = launch(site.host)
    first.ready()
    first.signal()
    assert first.ends() == 0
    assert site.record("last")["forced"] is True
    assert not site.etcd.get(f"/kvm/_own/{site.vm}/fence")
    assert launch(site.other_host).ready()["boot"] == "2"


# -- a running guest


@pytest.fixture
def bridge() -> Iterator[str]:
    subprocess.run(["ip", "link", "add", BRIDGE, "type", "bridge"], check=True)
    try:
        subprocess.run(["ip", "link", "set", BRIDGE, "up"], check=True)
        yield BRIDGE
    finally:
        subprocess.run(["ip", "link", "del", BRIDGE], check=True)


def test_qemu_has_no_rights_and_nobody_sees_the_key(
    launch: Launch, site: Site, bridge: str
) -> None:
    site.put(ram="192", rbd=site.image)
    launcher = launch({**site.host, "BRIDGE_IF": bridge})
    launcher.ready()
    lines = Path(f"/proc/{launcher.qemu()}/status").read_text().splitlines()
    status = dict(line.split(":\t", 1) for line in lines)
    ids = {*status["Uid"].split(), *status["Gid"].split()}
    assert len(ids) == 1
    assert int(ids.pop()) > 0
    for name in ("CapEff", "CapPrm", "CapInh", "CapAmb", "CapBnd"):
        assert int(status[name], 16) == 0, name
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert list(Path(f"/sys/class/net/{bridge}/brif").iterdir()), "a card on the bridge"
    key = site.ceph.key()
    assert key not in world()
    assert key not in launcher.log + launcher.console
    assert key not in site.etcd.ctl("get", "--prefix", "/kvm/")


def world() -> str:
    """What any user may read of all processes, and more."""
    found = []
    for file in ("cmdline", "environ"):
        for path in Path("/proc").glob(f"[0-9]*/{file}"):
            try:
                found.append(path.read_text(errors="replace"))
            except OSError:
                pass  # it has ended
    return "\n".join(found)


def test_a_frozen_cluster_stalls_the_guest_and_no_more(launch: Launch, site: Site) -> None:
    site.put(ram="192", rbd=site.image, user_data=switches("write-stamp=1"))
    launcher = launch(site.host)
    launcher.says("GUEST-STAMP n=2", where="console")
    with site.ceph.frozen("osd.0"):
        quiet(launcher, 6)  # longer than the lease
        mark = len(launcher.console)
        assert launcher.process.poll() is None
        assert site.etcd.get(f"/kvm/{site.vm}/lock")
    launcher.says(r"GUEST-STAMP n=\d+", where="console", after=mark)
    assert "GUEST-STAMP-FAILED" not in launcher.console
    assert alive(launcher.qemu())
    launcher.signal()
    assert launcher.ends() == 0


def quiet(launcher: Launcher, seconds: float) -> None:
    """Wait until the guest has said nothing for so long."""
    said, since, end = "", time.monotonic(), time.monotonic() + 60
    while time.monotonic() < since + seconds:
        assert time.monotonic() < end, launcher.story()
        if said != launcher.console:
            said, since = launcher.console, time.monotonic()
        time.sleep(0.1)


def test_a_host_that_was_shut_out_ends_its_vm(launch: Launch, site: Site) -> None:
    site.put(ram="192", rbd=site.image, user_data=switches("write-stamp=1"))
    launcher = launch(site.host)
    launcher.says("GUEST-STAMP n=1", where="console")
    (address,) = site.ceph.watchers(site.image)
    site.ceph.blocklist(address)
    assert launcher.ends() == 76
    assert "the storage has shut this host out" in launcher.log
    assert not alive(launcher.qemu())
    assert site.record("fence"), "it stays, for the next owner to judge"


# -- V7, V9, V10 in a pool of Ceph


def in_pool(site: Site, host_toml: Path) -> Callable[[str], str]:
    """A pool for volumes, and the name of a disk's image there."""
    with host_toml.open("a") as file:
        file.write('[pools.ceph]\nkind = "rbd"\npool = "rbd"\n')
    return lambda disk: f"rbd/{site.vm}-{disk}"


def info(site: Site, image: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(site.ceph.rbd("info", "--format=json", image))
    return found


def test_v7_volumes_from_an_image_in_ceph(
    launch: Launch, site: Site, host_toml: Path, tmp_path: Path
) -> None:
    """Chained, flat, and a clone of another VM's, with two disks in one guest: it boots from the first."""
    named = in_pool(site, host_toml)
    image = tmp_path / "disk.qcow2"
    plain = site.guest / "disk.raw"
    subprocess.run(["qemu-img", "convert", "-O", "qcow2", plain, image], check=True)
    host_toml.write_text(
        f'image_cache = "{tmp_path}/cache"\n{host_toml.read_text()}\n[templates]\nvolumes = ["ceph/*"]\n'
    )
    site.put(ram="192", disks__root__pool="ceph", disks__root__chained="on", disks__root__size="512M",
             disks__root__primary="on", disks__root__source__image=str(image),
             disks__flat__pool="ceph", disks__flat__source__image=str(image),
             disks__copy__pool="ceph", disks__copy__source__volume=site.image.removeprefix("rbd/"))  # fmt: skip
    launcher = launch(site.host)
    assert launcher.ready()["boot"] == "1"
    root, flat, copy = (
        info(site, named("root")),
        info(site, named("flat")),
        info(site, named("copy")),
    )
    assert root["size"] == 512 << 20
    parent = root["parent"]
    assert isinstance(parent, dict)
    assert parent["image"].startswith("golden-")
    assert "parent" not in flat
    assert "parent" not in copy
    assert copy["size"] == (site.guest / "disk.raw").stat().st_size
    assert "holdfast" not in site.ceph.rbd("snap", "ls", site.image)
    there = [one for one in site.ceph.rbd("ls", "rbd").split() if site.vm in one]
    assert there
    assert not [one for one in there if one.endswith(".importing")]  # others' may be there
    for disk in ("root", "flat", "copy"):
        mark = site.ceph.rbd("image-meta", "get", named(disk), "holdfast.volume")
        assert mark.split()[0] == remembered(site, disk)["id"]
    launcher.signal()
    assert launcher.ends() == 0
    second = launch(site.other_host)
    assert second.ready()["boot"] == "2"
    assert ": created" not in second.log
    second.signal()
    assert second.ends() == 0


def remembered(site: Site, disk: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(
        site.etcd.get(f"/kvm/_own/{site.vm}/volumes/{disk}") or "null"
    )
    return found


def ran(launcher: Launcher) -> None:
    launcher.says("event RESUME", timeout=RESTART)
    launcher.signal()
    launcher.says("powering the guest down")
    launcher.signal()
    assert launcher.ends() == 0


def marked(site: Site, image: str) -> list[str]:
    """The volume's id, and the image that it was given to."""
    return site.ceph.rbd("image-meta", "get", image, "holdfast.volume").split()


@pytest.fixture
def small(site: Site, host_toml: Path) -> str:
    """The image of a VM with nothing but a volume in Ceph."""
    site.put(ram="64", nics__nic0__mode="none", disks__root__pool="ceph", disks__root__size="16M")
    return in_pool(site, host_toml)("root")


def test_a_volume_in_ceph_is_known_by_its_id(launch: Launch, site: Site, small: str) -> None:
    """Any host may have it; but an image that has taken its name is not it, though a copy has its metadata."""
    loud = {"LOG_LEVEL": "debug"}
    ran(launch({**site.host, **loud}))
    record = remembered(site, "root")
    assert (record["state"], record["name"], record["size"]) == ("made", small, 16 << 20)
    assert str(record["place"]).startswith("rbd/")
    mark = marked(site, small)
    assert mark[0] == record["id"]
    ran(launch({**site.other_host, **loud}))
    site.ceph.rbd("cp", "--no-progress", small, f"{small}-copy")
    assert marked(site, f"{small}-copy") == mark
    site.ceph.rbd("rm", "--no-progress", small)
    refused(launch(site.impatient), 75, f"disk root is the volume {small} .*is not there any more")
    site.ceph.rbd("mv", f"{small}-copy", small)
    refused(launch(site.impatient), 75, f"disk root is the volume {small} .*here is another one")
    adopt = ("volume", "adopt", site.vm, "root")
    assert launch(site.other_host, *adopt).ends() == 64
    assert launch(site.other_host, *adopt, "--yes").ends() == 0
    assert remembered(site, "root")["id"] == marked(site, small)[0] != record["id"]
    ran(launch({**site.host, **loud}))


def test_a_volume_of_an_older_launcher_in_ceph(launch: Launch, site: Site, small: str) -> None:
    """It has neither record nor id, and gets both."""
    site.ceph.rbd("create", "--size=16M", small)
    ran(launch({**site.host, "LOG_LEVEL": "debug"}))
    assert marked(site, small)[0] == remembered(site, "root")["id"]


def test_v8_v10_a_source_that_is_too_large_leaves_nothing(
    launch: Launch, site: Site, host_toml: Path, tmp_path: Path
) -> None:
    in_pool(site, host_toml)
    host_toml.write_text(f'image_cache = "{tmp_path}/cache"\n' + host_toml.read_text())
    image = site.guest / "disk.raw"
    site.put(
        disks__root__pool="ceph", disks__root__size="16M", disks__root__source__image=str(image)
    )
    refused(launch(site.host), 78, "disks/root/size: .*is too small for")
    site.etcd.ctl("del", f"/kvm/{site.vm}/disks/root/source/image")
    site.put(disks__root__source__volume="nothing")
    refused(launch(site.host), 78, "disks/root/source/volume: .*there is no such volume")
    assert f"{site.vm}-root" not in site.ceph.rbd("ls", "rbd")
    assert not site.etcd.get(f"/kvm/{site.vm}/lock")
