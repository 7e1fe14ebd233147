"""A folder of the host in a guest: seen, written to, and not written to where that is forbidden."""

import os
import re
import signal
import socket
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from etcd import Etcd
from launcher import Launcher, alive, gone

pytestmark = pytest.mark.integration

VM = "shares"
WITHOUT = ("-dac_override", "-fowner", "-fsetid", "-sys_chroot")

# Run by the guest from the share, and answered there: its console loses letters under load.
SCRIPT = """\
mkdir /tmp/ro || exit  # it runs already
mount -t virtiofs www /tmp/ro
cat /tmp/ro/file >/mnt/read
echo written >/mnt/by-guest; chown 1234:1234 /mnt/by-guest
echo written >/tmp/ro/by-guest; mount -o remount,rw /tmp/ro; echo written >/tmp/ro/by-guest
rm /tmp/ro/file
cat /mnt/out/hostname; echo "escaped=$?" >>/mnt/said
mknod /mnt/node b 7 0; echo "node=$?" >>/mnt/said
touch /mnt/done
"""


@pytest.fixture
def folders(tmp_path: Path, host_toml: Path) -> Path:
    root = tmp_path / "srv"
    for name in ("home", "www"):
        (root / name).mkdir(parents=True)
        (root / name / "file").write_text(name)
    (root / "home" / "out").symlink_to("/etc")  # the guest's own /etc, where there is no hostname
    (root / "link").symlink_to("/etc")
    images = host_toml.read_text().replace(f'"{tmp_path}"', f'"{tmp_path}/images"')
    host_toml.write_text(f'share_paths = ["{root}"]\n{images}')
    return root


@pytest.fixture
def keys(guest: Path, folders: Path) -> dict[str, str]:
    return {
        "ram": "192",
        "kernel": f"{guest}/vmlinuz",
        "initrd": f"{guest}/initrd.img",
        "cmdline": "console=ttyS0 quiet no_timer_check",
        "nics__nic0__mode": "none",
        "shares__home__path": f"{folders}/home",
        "shares__www__path": f"{folders}/www",
        "shares__www__read_only": "on",
    }


def scripted(launcher: Launcher, home: Path) -> None:
    """The guest mounts its share and does what is written there."""
    (home / "script").write_text(SCRIPT)
    launcher.says("GUEST-READY", where="console")
    with closing(socket.socket(socket.AF_UNIX)) as console:
        console.connect(f"/run/holdfast/{VM}/console")
        deadline = time.monotonic() + 60
        while not (home / "done").exists():
            assert time.monotonic() < deadline, launcher.story()
            # Again: what comes before the shell reads is lost.
            console.sendall(b"mount -t virtiofs home /mnt && sh /mnt/script\n")
            time.sleep(2)


def children(pid: int, name: str) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(one) for one in found if Path(f"/proc/{one}/comm").read_text().strip() == name]


def test_v19_a_share_is_read_and_written_to_and_a_read_only_one_is_not(
    launch: Callable[..., Launcher],
    etcd_server: Etcd,
    keys: dict[str, str],
    folders: Path,
) -> None:
    etcd_server.put(VM, **keys)
    launcher = launch({"VM": VM, "ETCD_ENDPOINTS": etcd_server.url})
    scripted(launcher, folders / "home")
    assert (folders / "home" / "read").read_text() == "www"
    assert (folders / "home" / "said").read_text() == "escaped=1\nnode=1\n"
    written = folders / "home" / "by-guest"
    assert written.read_text() == "written\n"
    assert (written.stat().st_uid, written.stat().st_gid) == (1234, 1234)
    assert [path.name for path in (folders / "www").iterdir()] == ["file"]
    servers = children(launcher.process.pid, "virtiofsd")
    assert len(servers) == 2
    assert not list(Path(f"/run/holdfast/{VM}").glob("share*"))
    os.kill(servers[0], signal.SIGKILL)
    launcher.says(r"virtiofsd home has ended: its device hangs")
    assert alive(launcher.qemu())
    launcher.signal()
    launcher.says("powering the guest down")
    launcher.signal()  # the guest waits for what is on its way to the share
    assert launcher.ends() == 0
    assert all(map(gone, servers))


def test_v19_without_the_rights_of_root_it_runs_as_qemus_user(
    launch: Callable[..., Launcher],
    etcd_server: Etcd,
    keys: dict[str, str],
    folders: Path,
) -> None:
    """The least capabilities that Holdfast needs: no SYS_CHROOT among them."""
    etcd_server.put(VM, **keys)
    for folder in (folders, *folders.parents[:-2]):  # all below /tmp: it looks the way up
        folder.chmod(0o755)
    (folders / "home").chmod(0o777)
    dropped = ("setpriv", f"--bounding-set={','.join(WITHOUT)}", f"--inh-caps={','.join(WITHOUT)}")
    launcher = launch({"VM": VM, "ETCD_ENDPOINTS": etcd_server.url}, prefix=dropped)
    scripted(launcher, folders / "home")
    assert (folders / "home" / "read").read_text() == "www"
    written = folders / "home" / "by-guest"
    assert written.stat().st_uid not in (0, 1234)
    assert [path.name for path in (folders / "www").iterdir()] == ["file"]
    (one, _) = children(launcher.process.pid, "virtiofsd")
    rights = Path(f"/proc/{one}/status").read_text()
    assert re.search(r"^CapEff:\s0+$", rights, flags=re.MULTILINE)
    assert f"\t{written.stat().st_uid}\t" in rights


@pytest.mark.parametrize(
    ("path", "rule"),
    [
        ("missing", "does not exist on this host"),
        ("home/file", "is not a folder"),
        ("link", "is /etc, which lies outside share_paths"),
    ],
)
def test_v19_a_folder_that_cannot_be_shared_is_a_fault_before_any_lock(
    path: str,
    rule: str,
    launch: Callable[..., Launcher],
    etcd_server: Etcd,
    keys: dict[str, str],
    folders: Path,
) -> None:
    etcd_server.put("faulty", **{**keys, "shares__home__path": f"{folders}/{path}"})
    launcher = launch({"VM": "faulty", "ETCD_ENDPOINTS": etcd_server.url})
    assert launcher.ends() == 78
    assert re.search(rf"shares/home/path: .*{rule}", launcher.log)
    assert not etcd_server.get("/kvm/faulty/lock")
