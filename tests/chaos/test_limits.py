"""Faults 31, 33 to 35: rights, memory, processes, descriptors, and a hostile server."""

import http.server
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import pytest
from chaos.arena import LOCAL, TTL, Arena, Vm
from chaos.cgroup import Cgroup
from chaos.disk import FileDisk, stamped
from chaos.members import Members
from chaos.network import Network, run
from deadline import eventually
from etcd import Etcd

# -- 31: TLS

SELF_SIGNED = (
    *("openssl", "req", "-x509", "-nodes"),
    *("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
)


def authority(directory: Path) -> Path:
    """A CA of its own: ca.pem, ca.key."""
    directory.mkdir()
    run(
        *SELF_SIGNED,
        *("-subj", f"/CN={directory.name}", "-days", "2"),
        *("-keyout", f"{directory}/ca.key", "-out", f"{directory}/ca.pem"),
    )
    return directory


def certificate(ca: Path, address: str, *validity: str) -> tuple[Path, Path]:
    key, pem = ca / "server.key", ca / "server.pem"
    run(
        *SELF_SIGNED,
        *("-subj", "/CN=etcd", "-addext", f"subjectAltName=IP:{address}"),
        *("-CA", f"{ca}/ca.pem", "-CAkey", f"{ca}/ca.key", *validity),
        *("-keyout", str(key), "-out", str(pem)),
    )
    return key, pem


VALID = ("-days", "2")
EXPIRED = ("-not_before", "20200101000000Z", "-not_after", "20210101000000Z")


@contextmanager
def with_tls(network: Network, directory: Path, key: Path, pem: Path) -> Iterator[Etcd]:
    """One member that shows a certificate; nobody has asked it anything yet."""
    etcd = Etcd(
        directory / "etcd",
        *(f"--cert-file={pem}", f"--key-file={key}"),
        scheme="https",
        client=[f"--cacert={pem.parent}/ca.pem"],
        address=network.address,
    )
    etcd.launch()
    try:
        yield etcd
    finally:
        etcd.stop()


@pytest.mark.parametrize("trouble", ["expired", "of another authority"])
def test_31_certificate(
    trouble: str, arena: Arena, vm: Vm, network: Network, tmp_path: Path
) -> None:
    ours, other = authority(tmp_path / "ours"), authority(tmp_path / "other")
    signer, validity = (ours, EXPIRED) if trouble == "expired" else (other, VALID)
    key, pem = certificate(signer, network.address, *validity)
    with with_tls(network, tmp_path, key, pem) as etcd:
        a = vm.start(
            arena.hosts[0],
            ETCD_ENDPOINTS=etcd.url,
            ETCD_CACERT=str(ours / "ca.pem"),
            LOCK_WAIT="3",
        )
        assert a.ends() == 69
        assert "certificate" in a.log.lower(), a.log
        assert "QEMU is up" not in a.log


@pytest.fixture
def tls_etcd(network: Network, tmp_path: Path) -> Iterator[Etcd]:
    key, pem = certificate(authority(tmp_path / "ca"), network.address, *VALID)
    with with_tls(network, tmp_path, key, pem) as etcd:
        etcd.serves()
        yield etcd


@pytest.fixture
def tls_vm(tls_etcd: Etcd, name: str, host_toml: Path, keys: dict[str, str], tmp_path: Path) -> Vm:
    (tmp_path / "password").write_text("secret")
    environ = {
        "ETCD_CACERT": f"{tmp_path}/ca/ca.pem",
        "ETCD_USERNAME": "root",
        "ETCD_PASSWORD_FILE": f"{tmp_path}/password",
    }
    # The cases that take members one by one have the other cluster.
    made = Vm(name, cast("Members", tls_etcd), host_toml, {**keys, **LOCAL}, environ)
    tls_etcd.ctl("user", "add", "root:secret")
    tls_etcd.ctl("user", "grant-role", "root", "root")
    tls_etcd.ctl("auth", "enable")
    tls_etcd.client.append("--user=root:secret")
    return made


def test_31_token_that_the_server_forgot(
    arena: Arena, tls_vm: Vm, tls_etcd: Etcd, disk: FileDisk
) -> None:
    """A restarted member knows no token; whoever has a password gets a new one."""
    a = tls_vm.start(arena.hosts[0])
    writer = a.writes()
    tls_etcd.stop()
    tls_etcd.start()
    time.sleep(TTL + 1)
    stamped(disk, writer)
    eventually(lambda: tls_vm.get("lock"), what="the lock renewed")
    assert tls_vm.get("epoch") == "1", a.log
    tls_vm.etcd.put(tls_vm.name, power="off")
    assert a.ends() == 0
    arena.verify(tls_vm, disk)


# -- 33, 34


def test_33_out_of_memory(arena: Arena, vm: Vm, disk: FileDisk) -> None:
    """The kernel takes QEMU; process 1 lives, says so, and gives the VM away."""
    vm.etcd.put(vm.name, on_crash="stop")
    with Cgroup("memory") as cgroup:
        cgroup.limit_memory(120 << 20)
        a = vm.start(arena.hosts[0], inside=f"echo 0 >{cgroup.path}/cgroup.procs")
        assert a.ends(90) == 137
        assert "with signal 9" in a.log
        assert vm.get("lock") is None
    vm.etcd.put(vm.name, power="on")
    b = vm.start(arena.hosts[1])
    stamped(disk, b.writes())
    arena.verify(vm, disk)


@pytest.mark.parametrize("number", [16])
def test_34_no_descriptors(number: int, arena: Arena, vm: Vm) -> None:
    a = vm.start(arena.hosts[0], inside=f"ulimit -n {number}")
    assert a.ends() == 77
    assert "nofile" in a.log, a.log
    assert "Traceback" not in a.log, a.log
    eventually(lambda: vm.get("lock") is None, what="the lock's end")


@pytest.mark.parametrize("number", [3, pytest.param(6, marks=pytest.mark.long)])
def test_34_no_processes(number: int, arena: Arena, vm: Vm) -> None:
    """A limit that the launcher cannot read: its own first process fails, or one of QEMU's threads. One
    that it can read is refused before anything is taken: tests/e2e/test_rights.py.
    """
    with Cgroup("pids") as cgroup:
        (cgroup.path / "pids.max").write_text(str(number))
        a = vm.start(arena.hosts[0], inside=f"echo 0 >{cgroup.path}/cgroup.procs")
        assert a.ends() in (70, 77)
        assert "--pids-limit" in a.log
        assert "Traceback" not in a.log, a.log
        assert "QEMU is up" not in a.log
    eventually(lambda: vm.get("lock") is None, what="the lock's end")
    assert vm.get("fence") is None


# -- 35


class Hostile(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/slow":
            self.wfile.write(b"HTTP/1.1 200 OK\r\n")
            while True:
                time.sleep(0.2)
                self.wfile.write(b"X: y\r\n")
        elif self.path == "/huge":
            self.send_response(200)
            self.send_header("Content-Length", str(10 << 30))
            self.end_headers()
            while True:
                self.wfile.write(bytes(1 << 20))
        else:
            self.send_response(302)
            self.send_header("Location", REDIRECTS[self.path])
            self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


REDIRECTS = {"/file": "file:///etc/shadow", "/metadata": "http://169.254.169.254/latest"}


@pytest.fixture
def hostile(network: Network) -> Iterator[str]:
    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            pass  # the launcher hangs up, as it must

    with Server((network.address, 0), Hostile) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://{network.address}:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("path", ["/slow", "/huge", *REDIRECTS])
def test_35_hostile_cloud_config_server(path: str, arena: Arena, vm: Vm, hostile: str) -> None:
    vm.etcd.ctl("put", vm.key("cloud-config"), f"{hostile}{path}")
    a = vm.start(arena.hosts[0], LOCK_WAIT="2")
    assert a.ends(90) != 0
    assert "Traceback" not in a.log, a.log
    assert f"{hostile}{path}" in a.log
    assert vm.get("lock") is None
