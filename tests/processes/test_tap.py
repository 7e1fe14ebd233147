"""Taps by the real qemu-bridge-helper, in namespaces of the test's own."""

import fcntl
import json
import multiprocessing
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import netns

from holdfast.errors import HostLacks
from holdfast.network import bridge_helper

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(os.geteuid() != 0, reason=netns.NEEDS_ROOT),
]

TUNGETIFF = 0x800454D2
IFF_VNET_HDR = 0x4000
FOLDER = Path(bridge_helper.ACL).parent


@pytest.fixture(autouse=True)
def network() -> Iterator[None]:
    present = FOLDER.exists()
    FOLDER.mkdir(exist_ok=True)  # a place to mount on; the machine's own list is not touched
    try:
        with netns.namespaces():
            netns.mount_tmpfs(FOLDER)
            netns.add_bridge("br0")
            netns.add_bridge("br1")
            yield
    finally:
        if not present:
            FOLDER.rmdir()


def interface(fd: int) -> tuple[str, int]:
    name, flags = struct.unpack("16sH22x", fcntl.ioctl(fd, TUNGETIFF, bytes(40)))
    return name.rstrip(b"\0").decode(), flags


def taps_on(bridge: str) -> list[str]:
    return [
        link["ifname"]
        for link in json.loads(netns.run("ip", "-j", "link", "show", "master", bridge))
    ]


def allowed() -> list[str]:
    return [
        line
        for line in Path(bridge_helper.ACL).read_text().splitlines()
        if not line.startswith("#")
    ]


def test_the_descriptor_is_a_tap_on_the_bridge() -> None:
    fd = bridge_helper.taps({"nic0": "br0"})["nic0"]
    try:
        name, flags = interface(fd)
        assert flags & IFF_VNET_HDR
        assert taps_on("br0") == [name]
        assert taps_on("br1") == []
        assert not os.get_inheritable(fd)
        assert allowed() == ["allow br0"]
    finally:
        os.close(fd)


def test_the_tap_goes_with_its_last_descriptor() -> None:
    fd = bridge_helper.taps({"nic0": "br0"})["nic0"]
    heir = subprocess.Popen(["cat"], stdin=subprocess.PIPE, pass_fds=[fd])
    os.close(fd)
    assert len(taps_on("br0")) == 1
    heir.communicate()
    assert taps_on("br0") == []


def test_each_nic_has_a_tap_of_its_own() -> None:
    made = bridge_helper.taps({"lan": "br0", "san": "br1", "spare": "br0"})
    assert (len(taps_on("br0")), len(taps_on("br1"))) == (2, 1)
    assert interface(made["san"])[0] == taps_on("br1")[0]
    for fd in made.values():
        os.close(fd)


def test_when_one_fails_none_is_left() -> None:
    with pytest.raises(HostLacks, match="br-none"):
        bridge_helper.taps({"lan": "br0", "san": "br-none"})
    assert taps_on("br0") == []


def test_an_administrators_list_that_allows_the_bridge_is_used_as_it_is() -> None:
    Path(bridge_helper.ACL).write_text(f"include {FOLDER}/more.conf\n")
    (FOLDER / "more.conf").write_text("allow br0\n")
    os.close(bridge_helper.taps({"nic0": "br0"})["nic0"])
    assert allowed() == [f"include {FOLDER}/more.conf"]


def test_an_administrators_list_that_does_not_is_obeyed() -> None:
    Path(bridge_helper.ACL).write_text("allow br1\n")
    with pytest.raises(HostLacks, match="access denied") as caught:
        bridge_helper.taps({"nic0": "br0"})
    assert "`allow br0`" in caught.value.hint
    assert allowed() == ["allow br1"]


def test_without_the_right_the_option_is_named() -> None:
    program = """
import sys
from holdfast.network import bridge_helper as tap
from holdfast.errors import HostLacks
try:
    tap.taps({"nic0": "br0"})
except HostLacks as error:
    print(*error.lines(), sep="\\n")
"""
    done = subprocess.run(
        ["setpriv", "--bounding-set", "-net_admin", sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Operation not permitted" in done.stdout
    assert "--cap-add NET_ADMIN" in done.stdout


def test_a_missing_helper_is_named() -> None:
    with pytest.raises(HostLacks, match="not installed") as caught:
        bridge_helper.taps({"nic0": "br0"}, helper="/nowhere/qemu-bridge-helper")
    assert "qemu-system-common" in caught.value.hint


def script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_a_helper_that_hangs_is_ended_and_reaped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bridge_helper, "PATIENCE", 0.2)
    helper = script(tmp_path / "helper", f"echo $$ > {tmp_path}/pid; exec sleep 60")
    with pytest.raises(HostLacks, match="gave no tap"):
        bridge_helper.tap("br0", helper=helper)
    assert not Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}").exists()


def test_a_helper_that_gives_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(HostLacks, match="without giving a tap"):
        bridge_helper.tap("br0", helper=script(tmp_path / "helper", "exit 0"))


def test_a_read_only_container_needs_a_tmpfs() -> None:
    netns.run("mount", "-o", "remount,ro", str(FOLDER))
    with pytest.raises(HostLacks, match="Read-only") as caught:
        bridge_helper.taps({"nic0": "br0"})
    assert f"--tmpfs {FOLDER}" in caught.value.hint


def make_taps(bridge: str, rounds: int) -> None:
    for _ in range(rounds):
        os.close(bridge_helper.taps({"nic0": bridge})["nic0"])


def test_launchers_that_share_the_list_take_turns() -> None:
    fork = multiprocessing.get_context("fork")
    launchers = [fork.Process(target=make_taps, args=(name, 15)) for name in ("br0", "br1", "br0")]
    for launcher in launchers:
        launcher.start()
    for launcher in launchers:
        launcher.join()
    assert [launcher.exitcode for launcher in launchers] == [0, 0, 0]
    assert [path.name for path in FOLDER.iterdir()] == ["bridge.conf"]


def test_a_turn_that_never_comes_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge_helper, "PATIENCE", 0.1)
    with (
        bridge_helper.listed(["br1"]),
        pytest.raises(HostLacks, match="another process has locked") as caught,
    ):
        bridge_helper.taps({"nic0": "br0"})
    assert "fuser" in caught.value.hint
    assert allowed() == ["allow br1"]
