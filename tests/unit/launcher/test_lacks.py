"""What a host lacks for a VM, judged by what its files say, and told all at once."""

import errno
import os
import resource
from collections.abc import Callable
from pathlib import Path

import pytest
from describing import machine

from holdfast.errors import ConfigError, HostLacks, together
from holdfast.launcher import surroundings
from holdfast.machine import Disk, LocalPath
from holdfast.network import bridge_helper, macvtap
from holdfast.system import rlimit

MEMINFO = "MemTotal:       24117248 kB\nMemFree:  1 kB\nSwapTotal:      {swap} kB\nCommitLimit: 12582912 kB\nCommitted_AS: 4194304 kB\n"
DEVICES = "Character devices:\n  1 mem\n241 macvtap\n\nBlock devices:\n  7 loop\n"


def lack(words: str) -> None:
    raise HostLacks(f"no {words}", hint=f"add {words}")


def test_several_lacks_are_one_error_with_all_their_lines() -> None:
    checks = (
        lambda: lack("a"),
        lambda: None,
        lambda: together((lambda: lack("b"), lambda: lack("c"))),
    )
    with pytest.raises(HostLacks, match="no a; no b; no c") as caught:
        together(checks)
    assert caught.value.lines() == ["no a", "add a", "no b", "add b", "no c", "add c"]


def test_a_fault_of_the_keys_comes_first() -> None:
    def wrong() -> None:
        raise ConfigError("x")

    with pytest.raises(ConfigError):
        together((lambda: lack("a"), wrong))


@pytest.mark.parametrize(
    ("ram", "swap", "rule", "said"),
    [
        ("23G", 0, "0", ""),
        ("24G", 0, "0", "this host has 23 GiB"),
        ("24G", 0, "", "this host has 23 GiB"),  # cannot be read
        ("24G", 1 << 20, "0", ""),
        ("4T", 1 << 20, "0", "this host has 24 GiB"),
        ("4T", 0, "1", ""),
        ("7G", 0, "2", ""),
        ("9G", 1 << 20, "2", "this host has 8 GiB left to promise"),
    ],
)
def test_more_memory_than_the_host_promises(
    ram: str, swap: int, rule: str, said: str, tmp_path: Path
) -> None:
    (tmp_path / "meminfo").write_text(MEMINFO.format(swap=swap))
    (tmp_path / "sys/vm").mkdir(parents=True)
    if rule:
        (tmp_path / "sys/vm/overcommit_memory").write_text(f"{rule}\n")
    lack = refused(lambda: surroundings.check_memory(machine({"ram": ram}), proc=tmp_path))
    assert (lack is not None) is bool(said)
    if lack is not None:
        assert lack.message.startswith("ram: ")
        assert said in lack.message


def test_a_proc_that_shows_nothing(tmp_path: Path) -> None:
    surroundings.check_memory(machine({"ram": "4T"}), proc=tmp_path)


def test_room_in_the_run_directory(tmp_path: Path) -> None:
    surroundings.check_run(1, root=tmp_path / "not" / "made" / "yet")
    with pytest.raises(HostLacks, match="has room for") as caught:
        surroundings.check_run(1 << 62, root=tmp_path)
    assert "--tmpfs /run:size=" in caught.value.hint


def mounted_read_only(monkeypatch: pytest.MonkeyPatch) -> None:
    found = list(os.statvfs("/"))
    found[8] |= os.ST_RDONLY  # f_flag
    monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result(found))


def test_what_is_mounted_read_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounted_read_only(monkeypatch)
    disk = Disk(name="root", backend=LocalPath(path=str(tmp_path / "d.raw")))
    with pytest.raises(HostLacks, match="read-only here") as caught:
        surroundings.check_disk(disk)
    assert "disks/root/read_only=on" in caught.value.hint
    surroundings.check_disk(Disk(name="root", backend=disk.backend, read_only=True))
    with pytest.raises(HostLacks, match="Read-only file system") as caught:
        surroundings.check_run(1, root=tmp_path)
    assert "--tmpfs /run" in caught.value.hint
    monkeypatch.setattr(bridge_helper, "ACL", str(tmp_path / "bridge.conf"))
    with pytest.raises(HostLacks, match=r"bridge\.conf cannot be written"):
        surroundings.check_acl()
    (tmp_path / "bridge.conf").write_text("allow all\n")  # an administrator's own
    surroundings.check_acl()


def test_too_few_open_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (64, 64))
    with pytest.raises(HostLacks, match="only 64 open files") as caught:
        rlimit.check_files()
    assert "--ulimit nofile=" in caught.value.hint


@pytest.mark.parametrize(
    ("refusal", "fits"),
    [(errno.ENXIO, True), (errno.ENODEV, True), (errno.EPERM, False), (errno.EACCES, False)],
)
def test_the_rule_for_taps_of_macvtap_links(
    refusal: int, fits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel says that there is no such device, or the device cgroup that it may not be known."""
    made: list[tuple[str, int]] = []

    def refuse(path: str, *_: int) -> int:
        raise OSError(refusal, os.strerror(refusal), path)

    with monkeypatch.context() as patched:
        patched.setattr(os, "mknod", lambda path, _, number: made.append((path, number)))
        patched.setattr(os, "unlink", lambda path: made.append((path, 0)))
        patched.setattr(os, "open", refuse)
        patched.setattr(Path, "read_text", lambda *_, **__: DEVICES)
        lack = refused(macvtap.check)
    assert (lack is None) is fits
    if lack is not None:
        assert "--device-cgroup-rule 'c 241:* rwm'" in lack.hint
        assert "\n" not in lack.message
    assert [path for path, _ in made] == [made[0][0]] * 2, "the node is gone again"
    assert os.major(made[0][1]) == 241


def refused(check: Callable[[], None]) -> HostLacks | None:
    try:
        check()
    except HostLacks as lack:
        return lack
    return None


def test_without_the_module_nobody_knows_the_number(tmp_path: Path) -> None:
    (tmp_path / "devices").write_text("Character devices:\n  1 mem\n")
    macvtap.check(devices=str(tmp_path / "devices"))
