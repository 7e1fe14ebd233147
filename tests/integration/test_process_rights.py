"""What docs/security.md says of each process, compared with what the kernel says of it while it runs."""

import hashlib
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from etcd import Etcd
from launcher import Launcher

from holdfast.system.rtnetlink import own_addresses

pytestmark = pytest.mark.integration

PAGE = Path(__file__).parents[2] / "docs" / "security.md"
COLUMNS = ("process", "reads", "uid", "capabilities", "no_new_privs", "system calls")
PROGRAMS = {"qemu-system-x86_64": "QEMU", "swtpm": "swtpm", "virtiofsd": "virtiofsd", "cat": "cat"}
MIB = 1 << 20


def documented() -> dict[str, dict[str, str]]:
    chapter = PAGE.read_text("utf-8").partition("### Processes\n")[2].partition("\n## ")[0]
    lines = [
        line.strip("| ").split(" | ") for line in re.findall(r"^\| .*", chapter, re.MULTILINE)
    ]
    return {row[0]: dict(zip(COLUMNS, row, strict=True)) for row in lines[1:]}


def status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def children(pid: int) -> Iterator[tuple[int, str]]:
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split():
        words = Path(f"/proc/{child}/cmdline").read_bytes().rstrip(b"\0").decode()
        if words:  # else it has just ended
            yield int(child), words.replace("\0", " ")


def processes(launcher: int, *names: str) -> dict[str, int]:
    """Those that are expected, once each has become what it is, and no others."""
    deadline = time.monotonic() + 60
    while True:
        found = {name_of(words): pid for pid, words in children(launcher)}
        if set(found) == set(names):
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.05)


def name_of(words: str) -> str:
    """setpriv and sh only become one: they stand for themselves."""
    if "-m holdfast.storage.image.worker" in words and Path(
        words.split(maxsplit=1)[0]
    ).name.startswith("python"):
        return "fetcher"
    return PROGRAMS.get(Path(words.split(maxsplit=1)[0]).name, words)


def differs(
    row: Mapping[str, str], own: Mapping[str, str], launchers: Mapping[str, str]
) -> list[str]:
    """Of which columns the kernel says something else."""
    masks = {own[name] for name in ("CapPrm", "CapEff", "CapBnd")}
    most = int(launchers["CapBnd"], 16)
    few = all(int(mask, 16) | most == most != int(mask, 16) for mask in masks)
    is_root = {number == "0" for number in own["Uid"].split()}
    filters = int(own["Seccomp_filters"]) - int(launchers["Seccomp_filters"])
    right = {
        "uid": is_root == {row["uid"] == "root"} and (row["uid"] == "root" or not own["Groups"].strip("0 ")),
        "capabilities": {"none": masks == {"0" * 16}, "the container's": own["CapEff"] == launchers["CapEff"]}
        .get(row["capabilities"], few),
        "no_new_privs": own["NoNewPrivs"] == ("1" if row["no_new_privs"] == "its own" else launchers["NoNewPrivs"]),
        "system calls": (filters > 0) == (row["system calls"] not in ("the launcher's", "the engine's")),
    }  # fmt: skip
    return [column for column, is_right in right.items() if not is_right]


@contextmanager
def server(address: str, asked: threading.Event, goes_on: threading.Event) -> Iterator[int]:
    """It answers when the test has looked."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.set()
            goes_on.wait(120)
            self.send_response(200)
            self.send_header("Content-Length", str(MIB))
            self.end_headers()
            self.wfile.write(bytes(MIB))

    made = ThreadingHTTPServer((address, 0), Handler)
    threading.Thread(target=made.serve_forever, daemon=True).start()
    try:
        yield made.server_port
    finally:
        goes_on.set()
        made.shutdown()
        made.server_close()


def test_each_process_has_what_is_written_and_no_more(
    launch: Callable[..., Launcher], etcd_server: Etcd, host_toml: Path, tmp_path: Path
) -> None:
    # Loopback is never open to a URL of keys.
    address = next(
        str(one) for one in own_addresses() if one.version == 4 and not one.is_link_local
    )
    folder = tmp_path / "shared"
    folder.mkdir()
    images = host_toml.read_text().replace(f'"{tmp_path}"', f'"{tmp_path}/images"')
    host_toml.write_text(
        f'share_paths = ["{folder}"]\n{images}[network]\nreachable = ["{address}"]\n'
    )
    asked, goes_on = threading.Event(), threading.Event()
    # Without no_new_privs, which the image gives it: what a helper has is its own then.
    to_file = ["sh", "-c", f'exec "$0" "$@" >{tmp_path}/console']
    table = documented()
    with server(address, asked, goes_on) as port:
        etcd_server.put(
            "rights", ram="64", tpm="2.0", machine="q35", nics__none__mode="none", shares__s__path=str(folder),
            disks__root__source__image=f"http://{address}:{port}/disk.raw", disks__root__source__format="raw",
            disks__root__source__checksum=f"sha256:{hashlib.sha256(bytes(MIB)).hexdigest()}",
        )  # fmt: skip
        launcher = launch({"VM": "rights", "ETCD_ENDPOINTS": etcd_server.url}, prefix=to_file)
        assert asked.wait(60), launcher.story()
        pid = launcher.process.pid
        own = status(pid)
        wrong = {}
        found = processes(pid, "fetcher")
        wrong["fetcher"] = differs(table["fetcher"], status(found["fetcher"]), own)
        goes_on.set()
    launcher.says("the guest runs")
    found = processes(pid, "QEMU", "swtpm", "virtiofsd", "cat")
    for name, process in found.items():
        wrong[name] = differs(table[name], status(process), own)
    assert not any(wrong.values()), wrong
    for _ in range(2):  # its disk is empty: nobody hears the power button
        launcher.signal(signal.SIGTERM)
        launcher.says("powering the guest down")
    assert launcher.ends() == 0
