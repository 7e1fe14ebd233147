"""Who reads an image in Ceph, or makes a volume from one, while somebody writes to it."""

import itertools
import json
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest
from ceph import Ceph
from etcd import Etcd
from launcher import Launcher

from holdfast.errors import LockHeld
from holdfast.machine import Disk, RbdImage, RbdVolume, Source
from holdfast.storage.ceph import keyring
from holdfast.storage.ceph.cluster import Cluster
from holdfast.storage.writers import Written

pytestmark = pytest.mark.integration

Launch = Callable[..., Launcher]
NUMBERS = itertools.count(1)
RUNS = "event RESUME"


class Site:
    """Images of the test's own, and hosts for VMs that use them."""

    def __init__(self, ceph: Ceph, conf: Path, etcd: Etcd) -> None:
        self.ceph = ceph
        self.conf = conf
        self.etcd = etcd
        self.number = next(NUMBERS)

    def image(self, name: str) -> str:
        image = f"rbd/{name}-{self.number}"
        self.ceph.rbd("create", "--size", "16M", image)
        return image

    def host(self, vm: str, **keys: str) -> dict[str, str]:
        self.etcd.put(vm, ram="64", nics__nic0__mode="none", **keys)
        return {
            "VM": vm,
            "ETCD_ENDPOINTS": self.etcd.url,
            "CEPH_CONF": str(self.conf),
            "TTL": "5",
            "LOG_LEVEL": "debug",
        }

    def written(self, image: str) -> tuple[Written, ...]:
        """As a launcher of a VM finds it that would read the image."""
        pool, _, name = image.partition("/")
        disk = Disk(name="iso", backend=RbdImage(pool=pool, image=name), read_only=True)
        with closing(Cluster([disk], keyring.find(self.conf, "holdfast"))) as cluster:
            return cluster.inspect().written

    @contextmanager
    def writer(self, image: str) -> Iterator[str]:
        """A client that is no VM's and has written: its address."""
        import rados  # noqa: PLC0415 - where Ceph is
        import rbd  # noqa: PLC0415

        pool, _, name = image.partition("/")
        cluster = rados.Rados(conffile=str(self.ceph.conf), rados_id="admin")
        with cluster, cluster.open_ioctx(pool) as place, rbd.Image(place, name) as opened:
            opened.write(b"stranger", 0)
            opened.flush()
            (found,) = json.loads(self.ceph.rbd("lock", "ls", "--format=json", image))
            yield found["address"]

    def maker(self, source: Source) -> tuple[Cluster, Disk]:
        """The storage process of a VM that has claimed nothing yet, and the volume that it is to make."""
        backend = RbdVolume(pool="rbd", image=f"made-{next(NUMBERS)}", label="ceph")
        disk = Disk(name="root", backend=backend, source=source)
        return Cluster([disk], keyring.find(self.conf, "holdfast")), disk

    def snapshots(self, image: str) -> list[str]:
        return [
            one["name"] for one in json.loads(self.ceph.rbd("snap", "ls", "--format=json", image))
        ]


@pytest.fixture
def site(ceph: Ceph, own_etcd: Etcd, tmp_path: Path) -> Site:
    return Site(ceph, ceph.etc(tmp_path / "etc-ceph", "holdfast"), own_etcd)


def stop(launcher: Launcher) -> None:
    """Its disk is empty: nobody hears the power button."""
    launcher.signal()
    launcher.says("powering the guest down")
    launcher.signal()
    assert launcher.ends() == 0, launcher.log


def test_an_image_to_which_a_vm_writes_is_not_read(launch: Launch, site: Site) -> None:
    """By a disk or a CD-ROM, of a VM with a disk of its own or without; those who only read it do not bar each other."""
    image = site.image("shared")
    writer = launch(site.host("writer", rbd=image))
    writer.says(RUNS)
    (address,) = site.ceph.watchers(image)
    (found,) = site.written(image)
    assert found.writers.addresses == (address,)
    disk = launch(site.host("disk", disks__iso__rbd=image, disks__iso__read_only="on"))
    both = {"rbd": site.image("own"), "disks__iso__rbd": image, "disks__iso__kind": "cdrom"}
    cdrom = launch(site.host("cdrom", **both))
    for reader in (disk, cdrom):
        reader.says(
            rf"waiting: disks/iso: {image} is in use by VM writer of .*{re.escape(address)}"
        )
    assert not site.etcd.get("/kvm/_own/disk/epoch")
    assert not site.etcd.get("/kvm/_own/cdrom/epoch")
    stop(writer)
    for reader in (disk, cdrom):
        reader.says(RUNS)
    assert len(site.ceph.watchers(image)) == 2
    assert site.written(image) == ()


def test_a_writer_that_is_no_vm_is_named_by_its_address(site: Site) -> None:
    """Who has merely opened the image, as QEMU does for reading, is none."""
    image = site.image("strange")
    with site.ceph.opened(image):
        assert site.written(image) == ()
    with site.writer(image) as address:
        (found,) = site.written(image)
        assert f"disks/iso: {image} is in use by {address}, which no record names" in str(found)


def test_without_etcd_neither(launch: Launch, site: Site, tmp_path: Path) -> None:
    image = site.image("shared")
    launch(site.host("writer", rbd=image)).says(RUNS)
    file = tmp_path / "vm.yaml"
    file.write_text(
        f"ram: 64\nnics: {{nic0: {{mode: none}}}}\ndisks: {{iso: {{rbd: {image}, read_only: on}}}}\n"
    )
    host = {"VM": "reader", "VM_FILE": str(file), "CEPH_CONF": str(site.conf)}
    reader = launch(host)
    assert reader.ends() == 75
    assert f"{image} is in use by VM writer of " in reader.log


# -- what a volume is made from


@pytest.fixture
def limits(host_toml: Path) -> Path:
    with host_toml.open("a") as file:
        file.write('[pools.ceph]\nkind = "rbd"\npool = "rbd"\n')
    return host_toml


def test_a_volume_in_use_is_not_copied(launch: Launch, site: Site, limits: Path) -> None:
    """It is, once its VM has stopped; the VM's own volumes always are; and so is a template of host.toml."""
    image = site.image("focal").replace("-", "")
    site.ceph.rbd("mv", image.replace("focal", "focal-"), image)
    name = image.removeprefix("rbd/")
    writer = launch(site.host("writer", rbd=image))
    writer.says(RUNS)
    keys = {"disks__root__pool": "ceph", "disks__root__source__volume": name}
    copy = launch(site.host("copy", **keys))
    copy.says(
        rf"disks/root/source/volume: {name} is in use by VM writer of .*\[templates\] volumes = \[.ceph/{name}.\]"
    )
    assert "copy-root" not in site.ceph.rbd("ls", "rbd")
    assert site.snapshots(image) == []
    stop(writer)
    copy.says(RUNS)
    stop(copy)
    more = {
        "disks__data__pool": "ceph",
        "disks__data__source__volume": "copy-root",
        "disks__root__primary": "on",
    }
    copy = launch(site.host("copy", **more))
    copy.says("disk data: created rbd/copy-data")
    copy.says(RUNS)
    limits.write_text(f'{limits.read_text()}[templates]\nvolumes = ["ceph/copy-root"]\n')
    keys = {
        "disks__root__pool": "ceph",
        "disks__root__source__volume": "copy-root",
        "disks__root__chained": "on",
    }
    launch(site.host("child", **keys)).says(RUNS)
    assert copy.process.poll() is None


def test_others_who_copy_it_are_waited_for(site: Site) -> None:
    """A snapshot takes the volume's lock for a moment, as a writer does who stays."""
    image = site.image("gold")
    source = Source(volume=image.removeprefix("rbd/"))
    maker, disk = site.maker(source)
    with closing(maker), ExitStack() as stack:
        address = stack.enter_context(site.writer(image))
        with pytest.raises(
            LockHeld, match=rf"gold-\d+ is in use by {re.escape(address)}, which no record names"
        ):
            maker.clone_volume(disk, source.volume, lambda: None)
        assert site.snapshots(image) == []
        looks = itertools.count()

        def leave() -> None:
            if next(looks) == 1:
                stack.close()

        assert maker.clone_volume(disk, source.volume, leave) == ""
        assert next(looks) > 1
