"""What a start costs where it does not depend on the machine's mood: requests, and modules loaded."""

import re

import pytest
from conftest import Launch
from etcd import Etcd

pytestmark = pytest.mark.integration

START = 8  # requests of a start with nothing to fence, whatever the number of keys
RELEASE = 4  # those of a clean stop: the status, look, give away, and end the lease
MODULES = 330  # the interpreter's own and ours
# Heavy, and for few VMs: templates, documents, storage, links, the other way to speak to etcd.
NOT_LOADED = {
    *("etcd3", "grpc", "jinja2", "yaml", "pycdlib", "pyroute2", "rados", "rbd"),
    *("secrets", "urllib.request", "multiprocessing", "asyncio"),
}


def test_a_vm_stays_within_its_budget(launch: Launch, own_etcd: Etcd) -> None:
    notes = {f"x__note-{number}": "..." for number in range(50)}
    own_etcd.put("lean", ram="64", disks__root__size="1M", nics__nic0__mode="none", **notes)
    # Not a single renewal in so long a lease.
    environ = {"VM": "lean", "ETCD_ENDPOINTS": own_etcd.url, "TTL": "600"}
    launcher = launch({**environ, "PYTHONPROFILEIMPORTTIME": "1"})
    launcher.says("QEMU is up")
    launcher.signal()
    launcher.says("powering the guest down")
    launcher.signal()  # its disk is empty: nobody hears the power button
    assert launcher.ends() == 0
    loaded = set(re.findall(r"import time:.*\| +(\S+)$", launcher.log, flags=re.MULTILINE))
    assert "holdfast.qmp" in loaded
    assert not loaded & NOT_LOADED
    assert len(loaded) <= MODULES
    requests = int(launcher.says(r"released.*etcd_requests=(\d+)").group(1))
    assert START < requests <= START + RELEASE
