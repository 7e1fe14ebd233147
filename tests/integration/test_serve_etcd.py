"""tests/etcd/serve-etcd: whenever it is killed, the next start makes an etcd that asks who somebody is."""

import os
import signal
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from etcd import free_port

pytestmark = pytest.mark.integration

SERVE = Path(__file__).parents[1] / "etcd" / "serve-etcd"


@contextmanager
def served(folder: Path, port: int) -> Iterator["subprocess.Popen[bytes]"]:
    state, access = folder / "state", folder / "access"
    for one in (state, access):
        one.mkdir(exist_ok=True)
    environ = {"PATH": os.environ["PATH"], "STATE": str(state), "ACCESS": str(access)}
    command = [str(SERVE), f"--listen-client-urls=https://127.0.0.1:{port}"]
    started = subprocess.Popen(
        command, env=environ, start_new_session=True, stderr=subprocess.DEVNULL
    )
    try:
        yield started
    finally:
        os.killpg(started.pid, signal.SIGKILL)
        started.wait()


def asked(folder: Path, port: int, *arguments: str, user: str = "") -> str:
    state = folder / "state"
    environ = {"PATH": os.environ["PATH"], "ETCDCTL_API": "3"}
    if user:
        environ |= {"ETCDCTL_USER": user, "ETCDCTL_PASSWORD": (state / "users" / user).read_text()}
    options = [f"--endpoints=https://127.0.0.1:{port}", f"--cacert={state / 'ca.crt'}"]
    done = subprocess.run(
        ["etcdctl", *options, *arguments], env=environ, capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr


def figures(folder: Path, port: int) -> str:
    context = ssl.create_default_context(cafile=folder / "state" / "ca.crt")
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    with urllib.request.urlopen(f"https://127.0.0.1:{port}/metrics", context=context) as answer:
        return str(answer.read().decode())


def started(folder: Path) -> list[str]:
    """The arguments of the etcd whose data is there."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (process / "cmdline").read_text().split("\0")
            if words[0].endswith("etcd") and (process / "cwd").readlink() == folder / "state":
                return words
    return []


@pytest.mark.parametrize(
    "killed_at", ["users/launcher", "server.pem", "data.new/member/wal", "data.new/member/snap/db"]
)
def test_it_may_be_killed_at_any_time(killed_at: str, tmp_path: Path) -> None:
    port = free_port()
    deadline = time.monotonic() + 60
    with served(tmp_path, port):
        while not (tmp_path / "state" / killed_at).exists():
            assert time.monotonic() < deadline
    with served(tmp_path, port):
        while "user name is empty" not in (said := asked(tmp_path, port, "get", "/kvm/7/ram")):
            assert "OK" not in said
            assert time.monotonic() < deadline, said
        assert asked(tmp_path, port, "put", "/kvm/7/ram", "1G", user="launcher") == "OK\n"
        assert "permission denied" in asked(tmp_path, port, "put", "/other", "1", user="launcher")
        assert "permission denied" in asked(tmp_path, port, "put", "/x", "1", user="operator")
        assert "operator" in asked(tmp_path, port, "user", "list", user="root")
        # A full etcd starts no VM any more: it has more room than by default, and compacts its history.
        assert "\netcd_server_quota_backend_bytes 4.294967296e+09\n" in figures(tmp_path, port)
        assert "--auto-compaction-retention=1h" in started(tmp_path)
    password = (tmp_path / "access" / "password").read_text()
    assert password == (tmp_path / "state" / "users" / "launcher").read_text()
