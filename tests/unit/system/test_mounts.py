"""Local or shared, by what the kernel says of the mount that holds a path."""

from pathlib import Path

import pytest

from holdfast.system import mounts

MOUNTINFO = r"""
22 1 0:9901 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:9902 / {disks} rw,relatime - {kind} server:/export rw,{options}
31 22 0:9903 / {upper} rw,relatime shared:7 master:1 - {under} source rw
"""


def is_local(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, options: str, under: str
) -> bool:
    disks, upper = tmp_path / "my disks", tmp_path / "upper"
    disks.mkdir()
    upper.mkdir()
    (disks / "disk.raw").touch()
    names = {"disks": str(disks).replace(" ", r"\040"), "upper": upper, "kind": kind}
    options = options.format(upper=upper, disks=names["disks"])
    text = MOUNTINFO.format(**names, options=options, under=under).strip()
    (tmp_path / "mountinfo").write_text(text)
    monkeypatch.setattr(mounts, "MOUNTINFO", tmp_path / "mountinfo")
    return mounts.is_local(str(disks / "disk.raw"))


@pytest.mark.parametrize(
    ("kind", "local"),
    [
        *((kind, True) for kind in ("btrfs", "ext4", "f2fs", "tmpfs", "xfs", "zfs")),
        *((kind, False) for kind in ("nfs", "nfs4", "ceph", "fuse", "fuse.sshfs", "fuseblk")),
        *((kind, False) for kind in ("virtiofs", "ocfs2", "gfs2", "9p", "cifs", "new", "ramfs")),
    ],
)
def test_by_an_allow_list(
    kind: str, local: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert is_local(tmp_path, monkeypatch, kind, "noatime", "ext4") is local


@pytest.mark.parametrize(
    ("options", "under", "local"),
    [
        pytest.param("upperdir={upper},workdir=/w", "xfs", True, id="on a local one"),
        pytest.param("lowerdir=/l,upperdir={upper}", "nfs4", False, id="on a shared one"),
        pytest.param("upperdir=/nowhere/diff", "nfs4", True, id="the container engine's own"),
        pytest.param("lowerdir=/l", "nfs4", True, id="for reading only"),
        pytest.param("upperdir={disks}", "nfs4", True, id="a name that means another folder here"),
    ],
)
def test_overlay_is_what_it_writes_to(
    options: str, under: str, local: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert is_local(tmp_path, monkeypatch, "overlay", options, under) is local


def test_this_machine(tmp_path: Path) -> None:
    mount = mounts.holding(str(tmp_path))
    assert mount is not None
    assert mounts.kind(str(tmp_path)) == mount.kind
    assert mount.kind.isidentifier()
