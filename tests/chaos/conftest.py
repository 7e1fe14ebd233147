"""The chaos suite's fixtures. `make chaos ARGS="--seed 7 --minutes 60"` runs it for long."""

import os
import re
import uuid
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import ceph
import pytest
from ceph import Ceph
from chaos import members
from chaos.arena import LOCAL, Arena, Vm
from chaos.disk import FileDisk
from chaos.figures import Figures
from chaos.host import Host
from chaos.members import Members
from chaos.network import Network
from chaos.rbd_disk import Clients, Cluster, RbdDisk
from chaos.watcher import Watcher, never

figures = Figures()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seed", type=int, default=1, help="of the random rounds")
    parser.addoption("--minutes", type=float, default=0, help="of random rounds; 0: the short run")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The short run has every fault once; its variants are for those who have the minutes."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.chaos)
    if not config.getoption("--minutes", 0) and not config.option.keyword:
        variants = [item for item in items if item.get_closest_marker("long")]
        items[:] = [item for item in items if item not in variants]
        config.hook.pytest_deselected(items=variants)


def pytest_terminal_summary(terminalreporter: "pytest.TerminalReporter") -> None:
    if figures.samples:
        terminalreporter.section("chaos")
        for line in figures.lines():
            terminalreporter.write_line(line)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker's figures go to the one who prints: see tests/workers.py."""
    if figures.samples and hasattr(session.config, "workeroutput"):
        session.config.workeroutput["chaos"] = figures.lines()


@pytest.fixture(scope="session")
def minutes(request: pytest.FixtureRequest) -> float:
    """0 in the short run."""
    return float(request.config.getoption("--minutes", 0))


@pytest.fixture(scope="session")
def seed(request: pytest.FixtureRequest) -> int:
    return int(request.config.getoption("--seed", 1))


@pytest.fixture(scope="session")
def network() -> Iterator[Network]:
    with Network() as made:
        yield made


@pytest.fixture(scope="session")
def session_arena(network: Network, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    """Hosts 0 and 1 are two containers of one machine, host 2 is another machine."""
    # The longest piece of the suite (tests/workers.py), and it mostly waits: the others shall wait for it.
    os.setpriority(os.PRIO_PROCESS, 0, -5)
    directory = tmp_path_factory.mktemp("hosts")
    machines = [directory / "machine-0", directory / "machine-0", directory / "machine-1"]
    for path in machines:
        path.write_text(uuid.uuid4().hex)
    hosts = [
        Host(network.host(number), f"host-{number}", machine)
        for number, machine in enumerate(machines)
    ]
    with Watcher({host.namespace.inode for host in hosts}) as watcher:
        yield Arena(hosts, watcher, figures)
    figures.samples, figures.sampled = watcher.log.samples, watcher.log.seconds


@pytest.fixture
def arena(session_arena: Arena, request: pytest.FixtureRequest) -> Iterator[Arena]:
    """Whatever the case has come to: none of its processes stays, and no two guests ran."""
    figures.faults[request.node.nodeid] += 1
    try:
        yield session_arena
    finally:
        session_arena.close()
    session_arena.no_overlap()


@pytest.fixture(scope="session")
def etcd(network: Network, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Members]:
    """Three members for all cases; who stops some starts them again."""
    with members.serving(network, tmp_path_factory.mktemp("members")) as cluster:
        yield cluster


@pytest.fixture
def own_etcd(network: Network, tmp_path: Path) -> Iterator[Members]:
    """Three members whose data a case may spoil."""
    with members.serving(network, tmp_path / "members") as cluster:
        yield cluster


NUMBERS = count(1)


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A VM of its own for each case."""
    case = f"{request.path.stem}-{request.node.name}".replace("test_", "")
    short = re.sub(r"[^a-z0-9]+", "-", case.lower())[:36].strip("-")
    return f"{short}-{next(NUMBERS)}"


@pytest.fixture
def keys(guest: Path) -> dict[str, str]:
    """A small VM whose guest writes a journal."""
    return {
        "ram": "128",
        "kernel": f"{guest}/vmlinuz",
        "initrd": f"{guest}/initrd.img",
        # Under load TCG's timer comes late, and the kernel takes it for a broken one.
        "cmdline": "console=ttyS0 quiet no_timer_check write-journal",
        "nics__nic0__mode": "none",
        "stop_timeout": "20",
    }


@pytest.fixture
def vm(etcd: Members, name: str, host_toml: Path, keys: dict[str, str]) -> Vm:
    """With one disk, a file in the pool."""
    return Vm(name, etcd, host_toml, {**keys, **LOCAL})


@pytest.fixture
def own_vm(own_etcd: Members, name: str, host_toml: Path, keys: dict[str, str]) -> Vm:
    return Vm(name, own_etcd, host_toml, {**keys, **LOCAL})


@pytest.fixture(scope="session")
def ceph_node(network: Network, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ceph]:
    """A Ceph of one node at the bridge: the hosts reach it, and can be cut off from it."""
    with ceph.serving(tmp_path_factory.mktemp("ceph"), network.address) as node:
        yield node


@pytest.fixture(scope="session")
def rbd_clients(session_arena: Arena, ceph_node: Ceph) -> Iterator[Clients]:
    """From now on the watcher knows who is shut out of Ceph."""
    cluster = Cluster(ceph_node)
    addresses = {h.namespace.inode: h.namespace.address for h in session_arena.hosts}
    with Clients(cluster, addresses) as clients:
        session_arena.watcher.fenced = clients.fenced
        yield clients
        session_arena.watcher.fenced = never
    cluster.close()


@pytest.fixture
def image(rbd_clients: Clients, ceph_node: Ceph, name: str) -> Iterator[RbdDisk]:
    ceph_node.rbd("create", "--size", "64M", name)
    rbd_clients.watch(name)
    yield RbdDisk(rbd_clients.cluster, name)
    rbd_clients.forget(name)


@pytest.fixture
def rbd_vm(
    etcd: Members,
    image: RbdDisk,
    ceph_node: Ceph,
    host_toml: Path,
    keys: dict[str, str],
    tmp_path: Path,
) -> Vm:
    """With its disk in Ceph, for hosts that are different machines."""
    conf = ceph_node.etc(tmp_path / "etc-ceph", "holdfast")
    keys = {**keys, "disks__data__rbd": f"rbd/{image.name}"}
    return Vm(image.name, etcd, host_toml, keys, environ={"CEPH_CONF": str(conf)})


@pytest.fixture
def own_rbd_vm(own_etcd: Members, rbd_vm: Vm, host_toml: Path) -> Vm:
    """The same VM, with the same image, in an etcd that knows nothing of the first one's."""
    return Vm(rbd_vm.name, own_etcd, host_toml, rbd_vm.keys, rbd_vm.environ)


@pytest.fixture
def disk(pool: Path, name: str) -> FileDisk:
    return FileDisk(pool / f"{name}-data.raw")
