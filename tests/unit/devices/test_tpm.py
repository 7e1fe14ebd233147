"""The stored state of a TPM: read back as it was, or refused."""

import base64
import json
import tracemalloc
import zlib

import pytest

from holdfast.config import settings
from holdfast.devices import tpm_record
from holdfast.errors import ConfigError, UsageError

KEY, OTHER = bytes(range(32)), bytes(32)
STATE = bytes(range(256)) * 8


@pytest.mark.parametrize("sealed", ["", tpm_record.fingerprint(KEY)])
def test_it_comes_back_as_it_was(sealed: str) -> None:
    assert tpm_record.unpack(tpm_record.pack(STATE, sealed), KEY) == (STATE, sealed)


def test_it_is_compressed() -> None:
    assert len(tpm_record.pack(STATE, "")) < len(STATE)


@pytest.mark.parametrize("key", [OTHER, b""])
def test_another_key_is_told_before_swtpm_fails(key: bytes) -> None:
    with pytest.raises(ConfigError, match="encrypted with another state_key"):
        tpm_record.unpack(tpm_record.pack(STATE, tpm_record.fingerprint(KEY)), key)


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (b"", "is damaged"),
        (b"\xff", "is damaged"),
        (b"{}", "is damaged"),
        (b'{"version": 1}', "is damaged"),
        (b'{"version": 1, "state": 7}', "is damaged"),
        (b'{"version": 1, "state": "%%%"}', "is damaged"),
        (b'{"version": 1, "state": "AAAA"}', "is damaged"),
        (b'{"version": 2, "state": ""}', "is of a newer Holdfast"),
    ],
)
def test_what_cannot_be_read_is_no_new_tpm(record: bytes, said: str) -> None:
    with pytest.raises(ConfigError, match=f"tpm: its stored state {said}"):
        tpm_record.unpack(record, b"")


def test_a_newer_launchers_fields_are_passed_over() -> None:
    text = base64.b64encode(zlib.compress(STATE)).decode()
    record = json.dumps({"version": 1, "state": text, "novel": 1}).encode()
    assert tpm_record.unpack(record, b"") == (STATE, "")


def test_the_key_is_no_argument() -> None:
    assert KEY.hex() not in " ".join(tpm_record.command("/run/holdfast/7/tpm", 5, 6))


@pytest.mark.parametrize("text", ['"secret"', '"' + "g" * 64 + '"', "7"])
def test_a_state_key_is_not_shown(text: str) -> None:
    with pytest.raises(UsageError, match="state_key: must be 64") as caught:
        settings.parse({"VM": "7"}, host_toml=f"state_key = {text}\n")
    assert text.strip('"') not in caught.value.message.replace("64", "").replace("32", "")


def test_a_state_key_is_read() -> None:
    config = settings.parse({"VM": "7"}, host_toml=f'state_key = "{KEY.hex()}"\n')
    assert config.host_config.state_key == KEY
    assert KEY.hex() not in repr(config)
    assert repr(KEY) not in repr(config)


def test_a_bomb_does_not_go_off() -> None:
    """1.4 kB that would be a gigabyte."""
    inflated = zlib.compress(bytes(64 * 1024**2))
    record = json.dumps({"version": 1, "state": base64.b64encode(inflated).decode()}).encode()
    tracemalloc.start()
    with pytest.raises(ConfigError, match="more than swtpm writes"):
        tpm_record.unpack(record, b"")
    assert tracemalloc.get_traced_memory()[1] < 16 * 1024**2
    tracemalloc.stop()


@pytest.mark.parametrize(
    "record", [b"[" * 200_000, b"x" * 3_000_000, b'{"version":1,"state":7}'], ids=len
)
def test_any_damage_is_told(record: bytes) -> None:
    with pytest.raises(ConfigError, match="its stored state"):
        tpm_record.unpack(record, b"")


def test_half_a_state_is_none() -> None:
    cut = base64.b64encode(zlib.compress(bytes(range(256)) * 9)[:-9]).decode()
    with pytest.raises(ConfigError, match="cut off"):
        tpm_record.unpack(json.dumps({"version": 1, "state": cut}).encode(), b"")
