"""Public keys as sshd(8) reads them from authorized_keys."""

import struct
from itertools import pairwise

from holdfast.grammar import MOST_LINES, Refused, text, unix

TYPES = ("ssh-", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-sha2-")
RULE = "must be a public key of OpenSSH a line: type, base64, comment"


def several(value: str) -> tuple[str, ...]:
    """One a line; empty lines and comments count for nothing."""
    lines = [line.strip() for line in text(unix(value)).split("\n")]
    keys = tuple(line for line in lines if line and not line.startswith("#"))
    if len(keys) > MOST_LINES:
        raise Refused(f"has {len(keys)} keys, more than {MOST_LINES}", hidden=True)
    if not keys:
        raise Refused("is empty: delete the key instead")
    for key in keys:
        _check(key)
    return keys


def _check(key: str) -> None:
    """A key that was cut short would lock its owner out, without a word from anybody."""
    if "PRIVATE KEY" in key:
        raise Refused("is a private key: give the file that ends in .pub", hidden=True)
    words = key.split()
    for kind, blob in pairwise(words):
        if kind.startswith(TYPES) and _is_of(kind, blob):
            return
    raise Refused(RULE, part=key)


def _is_of(kind: str, blob: str) -> bool:
    """The blob is a chain of strings with their lengths in front, the type first (RFC 4253, 6.6)."""
    from base64 import b64decode  # noqa: PLC0415 - few VMs have keys

    try:
        rest = b64decode(blob, validate=True)
    except ValueError:
        return False
    strings = []
    while len(rest) > 4:  # noqa: PLR2004 - a length
        (length,) = struct.unpack_from(">I", rest)
        strings.append(rest[4 : 4 + length])
        rest = rest[4 + length :] if 4 + length <= len(rest) else b"?"
    return not rest and len(strings) > 1 and strings[0] == kind.encode()
