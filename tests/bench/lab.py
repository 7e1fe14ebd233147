"""What every way of starting a VM stands on in one run: an etcd, a Ceph, and a disk for each VM."""

import contextlib
import os
import subprocess
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import ceph
import etcd

from bench import boot

REQUESTS = "grpc_server_msg_received_total"
RAM = 64  # MiB; SeaBIOS alone is content with it
_numbers = count(1)


def _name() -> str:
    """One that no VM of this machine has: the harness ends launchers by the VM's name."""
    return f"bench-{uuid.uuid4().hex[:8]}-{next(_numbers)}"


@dataclass(frozen=True, kw_only=True)
class Vm:
    """A machine with one disk and no network; every way gets the same one."""

    name: str
    file: Path | None = None
    image: str = ""  # <pool>/<image> in Ceph


@dataclass(frozen=True, kw_only=True)
class Lab:
    directory: Path
    etcd: etcd.Etcd
    ceph: ceph.Ceph
    conf: Path  # ceph.conf of a host, with the keyring of client.holdfast beside it

    def on_file(self) -> Vm:
        name = _name()
        path = boot.disk(self.directory / "images" / f"{name}.raw")
        self.etcd.put(name, **self._keys, disks__root__path=str(path))
        return Vm(name=name, file=path)

    def in_ceph(self) -> Vm:
        name = _name()
        self.ceph.put(f"rbd/{name}", boot.disk(self.directory / "sector.raw"))
        self.etcd.put(name, **self._keys, disks__root__rbd=f"rbd/{name}")
        return Vm(name=name, image=f"rbd/{name}")

    @property
    def _keys(self) -> dict[str, str]:
        return {"ram": str(RAM), "cpus": "1", "nics__nic0__mode": "none"}

    @property
    def host(self) -> dict[str, str]:
        """The environment of a launcher."""
        return {
            "ETCD_ENDPOINTS": self.etcd.url,
            "HOSTNAME": "bench",
            "HOLDFAST_CONFIG": str(self.directory / "host.toml"),
            "CEPH_CONF": str(self.conf),
        }

    def counter(self, name: str) -> int:
        """What etcd itself has counted so far, of one of its metrics."""
        url = f"{self.etcd.url}/metrics"
        with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - an etcd of ours
            lines = answer.read().decode().splitlines()
        return sum(int(float(line.split()[-1])) for line in lines if line.startswith(name))


@contextlib.contextmanager
def built(directory: Path) -> Iterator[Lab]:
    (directory / "images").mkdir()
    (directory / "host.toml").write_text(f'image_paths = ["{directory}"]\n', encoding="utf-8")
    with etcd.serving(directory) as store, ceph.serving(directory / "ceph") as storage:
        conf = storage.etc(directory / "etc-ceph", "holdfast")
        yield Lab(directory=directory, etcd=store, ceph=storage, conf=conf)


def machine() -> dict[str, str]:
    """Where the figures come from."""
    cpuinfo = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    models = [line.partition(": ")[2] for line in cpuinfo.splitlines() if "model name" in line]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "processors": f"{len(models)} x {models[0] if models else os.uname().machine}",
        "memory": f"{memory:.0f} GiB",
        "kernel": os.uname().release,
        "load": " ".join(f"{load:.2f}" for load in os.getloadavg()),
        **{name: said(*command) for name, command in _VERSIONS.items()},
    }


_VERSIONS = {
    "QEMU": ("qemu-system-x86_64", "--version"),
    "libvirt": ("virsh", "--version"),
    "etcd": ("etcd", "--version"),
    "Ceph": ("ceph", "--version"),
    "Docker engine": ("docker", "version", "--format", "{{.Server.Version}}"),
    "Python": ("/usr/bin/python3", "--version"),
    "fio": ("fio", "--version"),
}


def said(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[0].strip()
