"""A stand-in under a helper's confinement tries what a helper that was taken over would try."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from holdfast.runtime import sandbox
from holdfast.runtime.child import uid_map_end
from holdfast.runtime.confinement import confined, identity
from holdfast.runtime.seccomp import Filter
from holdfast.runtime.syscalls import DANGEROUS, NETWORK, X86_64

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody else"),
]

ENTRYPOINT = Path(__file__).parents[2] / "entrypoint"
WHO = identity("sandboxed", uid_map_end=uid_map_end(), kvm_gid=None)
QEMU_IMG, FETCHER = Filter(), Filter(network=True, processes=True)
TRY = """
import ctypes, errno, json, os, socket, subprocess, sys, threading
sys.path.insert(0, sys.argv[3])
if sys.argv[1]:
    from holdfast.runtime import sandbox
    from holdfast.runtime.seccomp import Filter
    threading.Thread(target=threading.Event().wait, daemon=True).start()
    sandbox.put_on(Filter(processes=True))
libc = ctypes.CDLL(None, use_errno=True)
found = {}
for name, number in json.loads(sys.argv[2]).items():
    found[name] = errno.errorcode.get(ctypes.get_errno()) if libc.syscall(number, -1, -1, -1, -1) < 0 else "done"
def tried(name, function):
    try:
        function()
        found[name] = "done"
    except OSError as error:
        found[name] = errno.errorcode[error.errno]
tried("stream", lambda: socket.socket())
tried("packet", lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW))
tried("vsock", lambda: socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM))
tried("fork", lambda: os.waitpid(os.fork() or os._exit(0), 0))
tried("run", lambda: subprocess.run(["true"]))
tried("thread", lambda: threading.Thread(target=int).start())
tried("shadow", lambda: open("/etc/shadow"))
tried("init's memory", lambda: open("/proc/1/mem", "rb"))
tried("root again", lambda: os.setuid(0))
tried("signal", lambda: os.kill(os.getppid(), 0))
status = dict(line.split(":\\t", 1) for line in open("/proc/self/status"))
keys = ("CapEff", "CapPrm", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "Uid", "Groups")
json.dump({"found": found, "status": {key: status[key].strip() for key in keys}}, sys.stdout)
"""


def tried(what: Filter, *, itself: bool = False) -> dict[str, dict[str, str]]:
    column = 0 if os.uname().machine == X86_64 else 1
    calls = {name: row[column] for name, row in {**DANGEROUS, **NETWORK}.items()}
    asked = json.dumps({name: number for name, number in calls.items() if number is not None})
    words = [sys.executable, "-c", TRY, "itself" if itself else "", asked, str(ENTRYPOINT)]
    with sandbox.handed(what) as seccomp:
        done = subprocess.run(
            confined(words, WHO, os.getpid(), seccomp),
            pass_fds=[seccomp],
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    answer: dict[str, dict[str, str]] = json.loads(done.stdout)
    return answer


EVER = {"shadow": "EACCES", "init's memory": "EACCES", "root again": "EPERM", "signal": "EPERM"}


def test_what_reads_images_has_no_rights() -> None:
    """qemu-img and swtpm: a thread is all that they can start."""
    answer = tried(QEMU_IMG)
    assert {name: answer["found"][name] for name in (*DANGEROUS, *NETWORK)} == dict.fromkeys(
        (*DANGEROUS, *NETWORK), "EPERM"
    )
    others = {
        name: answer["found"][name] for name in ("stream", "packet", "fork", "thread", *EVER)
    }
    assert others == {
        **dict.fromkeys(("stream", "packet", "fork"), "EPERM"),
        "thread": "done",
        **EVER,
    }
    assert answer["status"] == {
        **dict.fromkeys(("CapEff", "CapPrm", "CapBnd", "CapAmb"), "0" * 16),
        "NoNewPrivs": "1",
        "Seccomp": "2",
        "Uid": "\t".join([str(WHO.uid)] * 4),
        "Groups": "",
    }


def test_what_fetches_has_a_network_and_nothing_else() -> None:
    answer = tried(FETCHER)
    assert {answer["found"][name] for name in DANGEROUS} == {"EPERM"}
    others = ("stream", "packet", "vsock", "fork", "run", *EVER)
    assert {name: answer["found"][name] for name in others} == {
        "stream": "done",
        "packet": "EPERM",
        "vsock": "EPERM",
        "fork": "done",
        "run": "done",
        **EVER,
    }


def test_what_unpacks_has_no_network() -> None:
    """The fetcher puts the second filter on itself, while a thread of its resolver may still be there."""
    answer = tried(FETCHER, itself=True)
    assert {answer["found"][name] for name in (*DANGEROUS, *NETWORK, "stream")} == {"EPERM"}
    assert answer["found"]["run"] == "done"
