"""How far a qcow2 must reach, by tables that are written here."""

import os
import struct
from pathlib import Path

import pytest

from holdfast.storage import qcow2_extent

CLUSTER = 65536
COPIED = 1 << 63


def image(path: Path, clusters: int, *, bits: int = 16, length: int | None = None) -> Path:
    """Header, first table, second table, and the guest's data behind each other."""
    head = b"QFI\xfb" + struct.pack(">IQIIQIIQ", 2, 0, 0, bits, 1 << 30, 0, 2, CLUSTER)
    with path.open("wb") as file:
        file.write(head)
        file.seek(CLUSTER)
        file.write(struct.pack(">QQ", COPIED | 2 * CLUSTER, 0))
        file.seek(2 * CLUSTER)
        file.write(
            struct.pack(f">{clusters}Q", *(COPIED | (3 + n) * CLUSTER for n in range(clusters)))
        )
        file.truncate((3 + clusters) * CLUSTER if length is None else length)
    return path


def cut_off(path: Path) -> str:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return qcow2_extent.cut_off(descriptor)
    finally:
        os.close(descriptor)


@pytest.mark.parametrize(
    ("missing", "cut"),
    [(0, False), (512, False), (CLUSTER - 1, False), (CLUSTER, True), (CLUSTER + 1, True), (4 * CLUSTER, True)],
)  # fmt: skip
def test_the_last_cluster_need_not_be_whole(missing: int, cut: bool, tmp_path: Path) -> None:
    """QEMU writes no further than the guest did: such a disk of a VM that runs is sound."""
    path = image(tmp_path / "a", 4, length=7 * CLUSTER - missing)
    assert bool(cut_off(path)) is cut


def test_one_that_was_never_written_to(tmp_path: Path) -> None:
    assert cut_off(image(tmp_path / "a", 0)) == ""


@pytest.mark.parametrize("bits", [0, 8, 22, 63, 1 << 31])
def test_a_hostile_size_of_clusters(bits: int, tmp_path: Path) -> None:
    assert cut_off(image(tmp_path / "a", 1, bits=bits, length=CLUSTER)) == ""


def test_what_is_no_qcow2(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"QFI\xfb")
    assert cut_off(tmp_path / "a") == ""
