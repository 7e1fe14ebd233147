"""A VM's TPM as it is stored: what swtpm has written, compressed, in a record.

swtpm encrypts its state itself where host.toml has a `state_key`, and authenticates it: so no
library for that is needed here, and what lies in the run directory is sealed too. Whether a TPM
is sealed is decided when it is made: swtpm takes no key for a state that was written without one.
"""

import json

from holdfast.dataclass import dataclass
from holdfast.errors import ConfigError, Fault
from holdfast.etcd.record import VERSION, Damaged, Unreadable, decode

KEY = "tpm"
MOST = 1024**2  # bytes of a state: libtpms has room for some 200 kB
LONGEST = 2 * MOST  # of the record; etcd takes 1.5 MiB


@dataclass(frozen=True, kw_only=True)
class Stored:
    """`key` tells which `state_key` it is sealed with; "" for none."""

    state: str
    key: str = ""


def fingerprint(key: bytes) -> str:
    import hashlib  # noqa: PLC0415 - 5 ms that a VM without a TPM need not pay

    return hashlib.sha256(b"holdfast tpm " + key).hexdigest()[:16] if key else ""


def pack(state: bytes, key: str) -> bytes:
    import base64  # noqa: PLC0415 - for a VM with a TPM
    import zlib  # noqa: PLC0415 - likewise

    text = base64.b64encode(zlib.compress(state)).decode()
    return json.dumps({"version": VERSION, "key": key, "state": text}).encode()


def unpack(record: bytes, key: bytes) -> tuple[bytes, str]:
    """Return the state, and the fingerprint that it is sealed with. Raises ConfigError.

    A state that cannot be read is never taken for none: the guest would get another TPM, and what
    it has sealed with the old one is lost.
    """
    import base64  # noqa: PLC0415 - for a VM with a TPM
    import zlib  # noqa: PLC0415 - likewise

    try:
        stored = Stored(**decode(Stored, record, LONGEST))
        inflater = zlib.decompressobj()
        state = inflater.decompress(base64.b64decode(stored.state, validate=True), MOST)
        if not inflater.eof:
            raise Damaged("cut off, or more than swtpm writes")
    except Unreadable as error:
        raise ConfigError([Fault(key=KEY, rule=f"its stored state {error}")]) from error
    except (zlib.error, TypeError, ValueError) as error:
        rule = f"its stored state {Damaged('no compressed text')}"
        raise ConfigError([Fault(key=KEY, rule=rule)]) from error
    if stored.key and stored.key != fingerprint(key):
        rule = "its stored state is encrypted with another state_key than host.toml has here"
        raise ConfigError([Fault(key=KEY, rule=rule)])
    return state, stored.key


def command(directory: str, control: int, key: int | None) -> list[str]:
    """Word the call of swtpm, served over a connected socket, until QEMU closes the other end."""
    # fmt: off
    return [
        "swtpm", "socket", "--tpm2", "--terminate", "--seccomp", "action=kill",
        "--tpmstate", f"dir={directory},mode=0600",
        "--ctrl", f"type=unixio,clientfd={control}",
        *(["--key", f"fd={key},format=binary,mode=aes-256-cbc"] if key is not None else []),
    ]
    # fmt: on
