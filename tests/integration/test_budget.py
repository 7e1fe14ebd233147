"""What a start costs where it does not depend on the machine's mood: requests and their bytes, modules
loaded, system calls, instructions. `make bench` measures the rest.
"""

import re
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from bench.process import field
from conftest import Launch
from etcd import Etcd
from launcher import SOURCE

pytestmark = pytest.mark.integration

START = 8  # requests of a start with nothing to fence, whatever the number of keys
RELEASE = 4  # those of a clean stop: the status, look, give away, and end the lease
BYTES = 5800  # of all of them and their answers, in gRPC's encoding, with the making of a volume; without it 500 less
MODULES = 294  # the interpreter's own and ours
CALLS = 4700  # to the system, of the main thread until QEMU is up; an image's archive spares three quarters
# Of a start and a stop, all modules compiled: 293 million were counted.
INSTRUCTIONS = 297_000_000
# KiB that the launcher has written and shares with nobody while its guest runs; libnftables alone would keep 4,000.
# Pages of files are left out: whether they are shared goes by what else runs on the machine.
MEMORY = 12_200
# Heavy, and for few VMs: templates, documents, storage, links, the other way to speak to etcd; or for nobody.
NOT_LOADED = {
    *("dataclasses", "inspect"),  # see holdfast.dataclass
    *("etcd3", "grpc", "jinja2", "yaml", "pycdlib", "pyroute2", "rados", "rbd"),
    *("secrets", "urllib.request", "multiprocessing", "asyncio"),
}


def test_a_vm_stays_within_its_budget(launch: Launch, own_etcd: Etcd) -> None:
    notes = {f"x__note-{number}": "..." for number in range(50)}
    own_etcd.put("lean", ram="64", disks__root__size="1M", nics__nic0__mode="none", **notes)
    # Who loads a module first compiles it, and keeps a megabyte of that.
    subprocess.run([sys.executable, "-m", "compileall", "-q", SOURCE], check=True)
    # Not a single renewal in so long a lease.
    environ = {"VM": "lean", "ETCD_ENDPOINTS": own_etcd.url, "TTL": "600"}
    launcher = launch({**environ, "PYTHONPROFILEIMPORTTIME": "1"})
    launcher.says("QEMU is up")
    private = field(launcher.process.pid, "smaps_rollup", "Private_Dirty")
    launcher.signal()
    launcher.says("powering the guest down")
    launcher.signal()  # its disk is empty: nobody hears the power button
    assert launcher.ends() == 0
    loaded = set(re.findall(r"import time:.*\| +(\S+)$", launcher.log, flags=re.MULTILINE))
    assert "holdfast.qmp.client" in loaded
    assert not loaded & NOT_LOADED
    assert len(loaded) <= MODULES
    assert 5000 < private <= MEMORY
    requests = int(launcher.says(r"released.*etcd_requests=(\d+)").group(1))
    assert START < requests <= START + RELEASE


def test_few_bytes_and_system_calls(launch: Launch, own_etcd: Etcd, tmp_path: Path) -> None:
    own_etcd.put("lean", ram="64", disks__root__size="1M", nics__nic0__mode="none")
    before = exchanged(own_etcd)
    environ = {"VM": "lean", "ETCD_ENDPOINTS": own_etcd.url, "TTL": "600"}
    calls = tmp_path / "calls"
    # -D: the launcher is our child and hears signals itself.
    launcher = launch(environ, prefix=["strace", "-D", "-qq", "-o", str(calls)])
    launcher.says("QEMU is up")
    launcher.signal()
    launcher.says("powering the guest down")
    launcher.signal()
    assert launcher.ends() == 0
    # At the end only is it certain which requests are in it.
    assert 3000 < exchanged(own_etcd) - before <= BYTES
    made = calls.read_text(errors="replace").partition("QEMU is up")[0].count("\n")
    assert 500 < made <= CALLS


def test_few_instructions(launch: Launch, own_etcd: Etcd, tmp_path: Path) -> None:
    """valgrind counts them: the processor's own counters are closed to many a virtual machine."""
    own_etcd.put("lean", ram="64", disks__root__size="1M", nics__nic0__mode="none")
    bytecode = {"PYTHONPYCACHEPREFIX": str(tmp_path / "cache"), "PYTHONDONTWRITEBYTECODE": ""}
    environ = {"VM": "lean", "ETCD_ENDPOINTS": own_etcd.url, "TTL": "600", **bytecode}
    log = tmp_path / "counted"
    count = [
        "valgrind",
        "--tool=cachegrind",
        "--cachegrind-out-file=/dev/null",
        f"--log-file={log}",
    ]
    for prefix in ([], count):  # the first one compiles
        launcher = launch({**environ, "PYTHONHASHSEED": "0"}, prefix=prefix)
        launcher.says("QEMU is up")
        launcher.signal()
        launcher.says("powering the guest down")
        launcher.signal()
        assert launcher.ends() == 0
    found = re.search(r"I +refs: +([\d,]+)", log.read_text())
    assert found
    assert 50_000_000 < int(found[1].replace(",", "")) <= INSTRUCTIONS, found[1]


def exchanged(etcd: Etcd) -> int:
    """Bytes of all requests and answers so far, by etcd's own count."""
    with urllib.request.urlopen(f"{etcd.url}/metrics", timeout=10) as answer:  # noqa: S310 - an etcd of ours
        lines = answer.read().decode().splitlines()
    counters = ("client_grpc_received_bytes_total", "client_grpc_sent_bytes_total")
    return sum(
        int(float(line.split()[-1]))
        for line in lines
        if line.startswith(tuple(f"etcd_network_{counter}" for counter in counters))
    )
