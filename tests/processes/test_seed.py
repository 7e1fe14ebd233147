"""The seed on a real file system: user-data read from where it stands, the image read back."""

import gzip
import os
import stat
import tracemalloc
from contextlib import suppress
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from socketserver import StreamRequestHandler, TCPServer
from threading import Thread

import pytest
from pycdlib import PyCdlib
from pycdlib.dr import DirectoryRecord

from holdfast.cloudinit.nocloud import Documents, documents
from holdfast.config import settings
from holdfast.description import describe
from holdfast.devices import seed
from holdfast.errors import ConfigError, InternalError
from holdfast.machine import Document, Machine, Nic, NicMode
from holdfast.storage.pathname import ANYWHERE

pytestmark = pytest.mark.processes

KEY = "user_data"
TEXT = "#cloud-config\r\nruncmd: [echo ä {{ vm }}]\n\n"
DOCUMENTS = Documents(
    meta_data="instance-id: a\n", user_data=TEXT, network_config="version: 2\nethernets: {}\n"
)


def opened(image: bytes) -> PyCdlib:
    iso = PyCdlib()
    iso.open_fp(BytesIO(image))
    return iso


def content(iso: PyCdlib, **path: str) -> str:
    read = BytesIO()
    iso.get_file_from_iso_fp(read, **path)
    return read.getvalue().decode()


def test_the_image_is_what_nocloud_looks_for() -> None:
    iso = opened(seed.image(DOCUMENTS))
    assert iso.pvd.volume_identifier.rstrip() == b"cidata"
    for name, text in [
        ("meta-data", DOCUMENTS.meta_data),
        ("user-data", TEXT),
        ("network-config", DOCUMENTS.network_config),
    ]:
        assert content(iso, rr_path=f"/{name}") == text
        assert content(iso, joliet_path=f"/{name}") == text


def test_the_image_is_found_by_its_label_as_blkid_does_it() -> None:
    # The primary volume descriptor: sector 16, its label at byte 40, blanks after it.
    image = seed.image(DOCUMENTS)
    assert image[0x8001:0x8006] == b"CD001"
    assert image[0x8028:0x8048] == b"cidata".ljust(32)
    assert len(image) % 512 == 0


def test_a_document_that_is_empty_is_left_out() -> None:
    iso = opened(seed.image(replace(DOCUMENTS, network_config="")))
    paths = {
        iso.full_path_from_dirrecord(child, rockridge=True)
        for child in iso.list_children(rr_path="/")
    }
    assert {"/meta-data", "/user-data"} <= paths
    assert "/network-config" not in paths


def test_only_root_may_read_the_files_in_the_guest() -> None:
    record = opened(seed.image(DOCUMENTS)).get_record(rr_path="/user-data")
    assert isinstance(record, DirectoryRecord)
    assert record.rock_ridge is not None
    assert stat.S_IMODE(record.rock_ridge.get_file_mode()) == 0o400


def test_large_user_data_is_kept_whole() -> None:
    text = "#cloud-config\n" + "# ä\n" * 200_000
    iso = opened(seed.image(replace(DOCUMENTS, user_data=text)))
    assert content(iso, rr_path="/user-data") == text


def test_a_machine_becomes_an_image() -> None:
    nic = Nic(name="nic0", mode=NicMode.bridge, mac="52:54:00:12:34:56")
    machine = Machine(vm="7", hostname="web-7", uuid="0d9c2f4e", machine="q35", nics=(nic,))
    iso = opened(
        seed.image(documents(machine, seed.text(Document(inline=TEXT, key=KEY), ANYWHERE)))
    )
    assert content(iso, rr_path="/user-data") == TEXT
    assert "local-hostname: web-7\n" in content(iso, rr_path="/meta-data")
    assert "52:54:00:12:34:56" in content(iso, rr_path="/network-config")


# write


def test_the_seed_is_written_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "seed.iso"
    seed.write(b"one", path)
    assert path.read_bytes() == b"one"
    assert stat.S_IMODE(path.stat().st_mode) == 0o400


def test_the_seed_replaces_an_older_one_and_what_was_left_half_done(tmp_path: Path) -> None:
    path = tmp_path / "seed.iso"
    seed.write(b"one", path)
    half = tmp_path / ".seed.iso.new"
    half.symlink_to(tmp_path / "elsewhere")
    before = path.open("rb")
    seed.write(b"two", path)
    with before:
        assert before.read() == b"one"  # a reader keeps the file that it opened
    assert path.read_bytes() == b"two"
    assert list(tmp_path.iterdir()) == [path]


def test_a_seed_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "seed.iso"
    path.mkdir()
    with pytest.raises(InternalError, match=r"the seed .*seed\.iso cannot be written") as error:
        seed.write(b"one", path)
    assert error.value.hint
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_directory_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(InternalError, match="No such file or directory"):
        seed.write(b"one", tmp_path / "missing" / "seed.iso")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_is_said_so_and_leaves_the_old_seed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "seed.iso"
    seed.write(b"one", path)
    real = os.open
    monkeypatch.setattr(os, "open", lambda path, flags, mode: real("/dev/full", os.O_WRONLY))
    with pytest.raises(InternalError, match="No space left"):
        seed.write(b"two", path)
    assert path.read_bytes() == b"one"


# user_data


def test_inline_text_is_kept() -> None:
    assert seed.text(Document(inline=TEXT, key=KEY), ANYWHERE) == TEXT


def test_a_file_is_read_byte_for_byte(tmp_path: Path) -> None:
    path = tmp_path / "user-data"
    path.write_bytes(TEXT.encode())
    assert seed.text(Document(path=str(path), key=KEY), ANYWHERE) == TEXT


def test_gzip_is_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "user-data.gz"
    path.write_bytes(gzip.compress(TEXT.encode()))
    assert seed.text(Document(path=str(path), key=KEY), ANYWHERE) == TEXT


def test_a_file_of_the_largest_size_is_read(tmp_path: Path) -> None:
    path = tmp_path / "user-data"
    path.write_bytes(b"#" * seed.LIMIT)
    assert len(seed.text(Document(path=str(path), key=KEY), ANYWHERE)) == seed.LIMIT


@pytest.mark.parametrize(
    ("raw", "rule"),
    [
        (b"#" * (seed.LIMIT + 1), "larger than 1048576 bytes"),
        (gzip.compress(bytes(seed.LIMIT + 1)), "larger than 1048576 bytes"),
        (gzip.compress(os.urandom(seed.LIMIT + 1)), "damaged gzip, or larger"),
        (gzip.compress(b"#cloud-config")[:-9], "damaged gzip"),
        (b"\x1f\x8bnonsense", "damaged gzip"),
        (b"#cloud-config\n# \xe4\n", "not UTF-8"),
        (gzip.compress(b"#cloud-config\n# \xe4\n"), "not UTF-8"),
    ],
)
def test_a_bad_file_is_refused(tmp_path: Path, raw: bytes, rule: str) -> None:
    path = tmp_path / "user-data"
    path.write_bytes(raw)
    with pytest.raises(ConfigError, match=f"user_data: .*{rule}"):
        seed.text(Document(path=str(path), key=KEY), ANYWHERE)


def test_a_gzip_bomb_does_not_go_off(tmp_path: Path) -> None:
    path = tmp_path / "user-data.gz"
    path.write_bytes(gzip.compress(bytes(128 * 1024**2)))
    tracemalloc.start()
    try:
        with pytest.raises(ConfigError, match="larger than 1048576 bytes"):
            seed.text(Document(path=str(path), key=KEY), ANYWHERE)
        assert tracemalloc.get_traced_memory()[1] < 16 * 1024**2
    finally:
        tracemalloc.stop()


def descriptors() -> set[Path]:
    """The files that this process has open."""
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # it is closed by now
            found.add(entry.readlink())
    return found


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path, rule in [
        (tmp_path / "fifo", "not a regular file"),
        (tmp_path, "is a folder"),
        (Path("/dev/zero"), "not a regular file"),
        (tmp_path / "missing", "does not exist on this host"),
    ]:
        with pytest.raises(ConfigError, match=rule):
            seed.text(Document(path=str(path), key=KEY), ANYWHERE)
        # Other threads of the suite open and close theirs meanwhile: only this file counts.
        assert path not in descriptors()


class Hello(StreamRequestHandler):
    body = TEXT.encode()

    def handle(self) -> None:
        self.rfile.readline()
        head = f"HTTP/1.0 200 OK\r\nContent-Length: {len(self.body)}\r\n\r\n"
        self.wfile.write(head.encode() + self.body)


def test_a_url_is_fetched_and_trusted_only_if_the_operator_says_so() -> None:
    with TCPServer(("127.0.0.1", 0), Hello) as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}/user-data"
        assert seed.text(Document(url=url, trusted=True, key=KEY), ANYWHERE) == TEXT
        with pytest.raises(ConfigError, match="a loopback address"):
            seed.text(Document(url=url, key=KEY), ANYWHERE)
        server.shutdown()


@pytest.mark.parametrize(
    ("name", "text", "rule"),
    [
        ("user_data", b"<html>", "is dropped by cloud-init, which takes text that starts with"),
        ("cloud-config", b"#cloud-config\n- a\n", "is no mapping in YAML"),
        ("user_data", gzip.compress(b"#cloud-config\nusers: [\n"), "is not YAML"),
        ("meta_data", b"- a\n", "is not a mapping in YAML"),
        ("network_config", b"a: [\n", "is not YAML"),
    ],
)
def test_a_file_is_held_to_the_rule_of_the_key(
    tmp_path: Path, name: str, text: bytes, rule: str
) -> None:
    path = tmp_path / "document"
    path.write_bytes(text)
    host_toml = f'image_paths = ["{tmp_path}"]\n'
    config = settings.parse({"VM": "7"}, host_toml=host_toml)
    keys = {"ram": b"1G", name: f"file:{path}".encode()}
    with pytest.raises(ConfigError) as caught:
        seed.documents(describe(config, keys, {}).machine, config)
    assert caught.value.message.startswith(f"{name}: '{path}'"[:40])
    assert rule in caught.value.message
