"""The origin's README warned of loops in the switch with a bridge, --net=host and RBD together."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from container import RIGHTS, Ceph, Container, Runner, taps
from etcd import Etcd

pytestmark = pytest.mark.e2e

IDLE = 30.0
# Two guests that do nothing still say a word now and then (ARP, neighbour discovery, DHCP). In a loop
# it would be thousands a second.
MOST_PACKETS = 100


def test_two_vms_on_a_bridge_keep_quiet(
    run: Runner,
    etcd_server: Etcd,
    ceph: Ceph,
    lan: str,
    vm: str,
    record_property: Callable[[str, object], None],
) -> None:
    for name in (f"{vm}-1", f"{vm}-2"):
        assert start(run, etcd_server, ceph, lan, name).ready()["address"].startswith("10.77.")
    before = packets(lan)
    assert len(before) == 3
    time.sleep(IDLE)  # what is measured is what happens while nothing does
    after = packets(lan)
    grown = {name: after[name] - before[name] for name in before}
    record_property(f"packets in {IDLE:.0f} s of idling", grown)
    assert max(grown.values()) < MOST_PACKETS


def start(run: Runner, etcd: Etcd, ceph: Ceph, bridge: str, vm: str) -> Container:
    etcd.put(vm, ram="192", rbd=ceph.boot_disk(vm))
    mount = f"--volume={ceph.conf}:/etc/ceph:ro"
    variables = {"VM": vm, "HOSTNAME": "host-a", "ETCD_ENDPOINTS": etcd.url, "BRIDGE_IF": bridge}
    return run("--net=host", mount, *RIGHTS, **variables)


def packets(bridge: str) -> dict[str, int]:
    """Sent and received so far, by the bridge and by each tap on it."""
    interfaces = (Path(f"/sys/class/net/{name}/statistics") for name in (bridge, *taps(bridge)))
    return {
        path.parent.name: sum(
            int((path / f"{way}_packets").read_text(encoding="ascii")) for way in ("rx", "tx")
        )
        for path in interfaces
    }
