"""What ails a VM shows: a QEMU that hangs, a proxy that speaks for etcd. Storage that stands still: tests/chaos, test_10."""

import contextlib
import json
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from deadline import eventually
from etcd import Etcd
from launcher import Launcher

pytestmark = pytest.mark.integration

Launch = Callable[..., Launcher]
HEALTH = Path("/run/holdfast/health")


@pytest.fixture
def keys(guest: Path) -> dict[str, str]:
    return {
        "ram": "128",
        "kernel": f"{guest}/vmlinuz",
        "initrd": f"{guest}/initrd.img",
        "cmdline": "console=ttyS0 quiet no_timer_check",
        "nics__nic0__mode": "none",
        "stop_timeout": "30",
    }


def trouble(vm: str) -> str:
    text = Path(f"/run/holdfast/{vm}/status.json").read_text(encoding="utf-8")
    return str(json.loads(text).get("trouble", ""))


def test_a_qemu_that_hangs_is_told_of_and_so_is_its_return(
    launch: Launch, etcd_server: Etcd, keys: dict[str, str]
) -> None:
    etcd_server.put("mute", **keys)
    launcher = launch({"VM": "mute", "ETCD_ENDPOINTS": etcd_server.url})
    launcher.says("the guest runs")
    HEALTH.unlink(missing_ok=True)  # of a launcher before this one
    eventually(HEALTH.exists)
    qemu = launcher.qemu()
    os.kill(qemu, signal.SIGSTOP)
    try:
        launcher.says("QEMU does not answer on its monitor")
        eventually(lambda: "does not answer" in trouble("mute"))
        eventually(lambda: "does not answer" in (etcd_server.get("/kvm/_run/mute") or ""))
        assert not HEALTH.exists()
    finally:
        os.kill(qemu, signal.SIGCONT)
    launcher.says("over after .*QEMU does not answer")
    eventually(lambda: trouble("mute") == "")
    assert HEALTH.exists()
    assert launcher.log.count("QEMU does not answer") == 2
    launcher.signal()
    assert launcher.ends() == 0


class Proxy:
    """Between a launcher and etcd. `says`: what it answers in etcd's place."""

    def __init__(self, port: int) -> None:
        self.says = b""
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._ends: list[socket.socket] = []
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def answer(self, says: bytes) -> None:
        self.says = says
        for end in self._ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.answer(b"")
        self._listener.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._handle, args=(client,), daemon=True).start()

    def _handle(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            if self.says:
                client.recv(65536)
                client.sendall(self.says)
                return
            with socket.create_connection(("127.0.0.1", self._port)) as server:
                self._ends += [client, server]
                back = threading.Thread(target=relay, args=(server, client), daemon=True)
                back.start()
                relay(client, server)
                back.join()


def relay(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def proxy(own_etcd: Etcd) -> Iterator[Proxy]:
    made = Proxy(own_etcd.port)
    yield made
    made.close()


def http(status: str, body: bytes) -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


@pytest.mark.parametrize(
    "said",
    [
        http("503 Service Unavailable", b'{"message":"no healthy upstream"}'),
        http("200 OK", b"{}"),
        http("404 Not Found", b'{"code":5,"message":"Not Found","details":[]}'),
    ],
    ids=["503", "empty", "404"],
)
def test_a_proxy_may_answer_anything_and_supervision_goes_on(
    launch: Launch, own_etcd: Etcd, proxy: Proxy, keys: dict[str, str], said: bytes
) -> None:
    own_etcd.put("proxied", **keys, disks__data__size="16M")
    launcher = launch({"VM": "proxied", "ETCD_ENDPOINTS": proxy.url, "TTL": "5"})
    launcher.says("QEMU is up")
    eventually(lambda: own_etcd.get("/kvm/_run/proxied"))
    proxy.answer(said)
    launcher.says("the VM goes on")
    eventually(lambda: not own_etcd.get("/kvm/proxied/lock"))  # its lease has run out
    proxy.says = b""
    launcher.says("etcd answers again")
    eventually(lambda: own_etcd.get("/kvm/proxied/lock"))
    own_etcd.put("proxied", power="off")
    launcher.says("power=off")
    assert "Traceback" not in launcher.log
    assert "keeper" not in launcher.log
    launcher.signal()
    launcher.signal()
    assert launcher.ends(90) == 0
