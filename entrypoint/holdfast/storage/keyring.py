"""The cephx user and key of this host, from the keyrings beside its ceph.conf."""

import base64
import configparser
import struct
from dataclasses import dataclass, field
from pathlib import Path

from holdfast.errors import ConfigError, HostLacks

OWN_USER = "holdfast"
ADMIN = "admin"
KEY_HEADER = struct.Struct("<HIIH")  # type, seconds, nanoseconds, length of the secret


@dataclass(frozen=True, kw_only=True)
class Keyring:
    """`key` is base64, as cephx has it; "" where the cluster asks for none."""

    conf: str
    user: str
    key: str = field(default="", repr=False)


def find(conf: Path, user: str = "") -> Keyring:
    """The wanted user's key; else that of `holdfast`, else of `admin`, else the only one there."""
    if not conf.is_file():
        raise HostLacks(
            f"{conf} is missing",
            hint="mount the host's (docker run: -v /etc/ceph:/etc/ceph:ro), or say in CEPH_CONF where it is",
        )
    directory = conf.parent
    keys = _keys(directory)
    wanted = [user] if user else [OWN_USER, ADMIN, *(keys if len(keys) == 1 else [])]
    for name in wanted:
        if name in keys:
            _check_key(name, keys[name], directory)
            return Keyring(conf=str(conf), user=name, key=keys[name])
    if not keys and _without_cephx(conf):
        return Keyring(conf=str(conf), user=user or ADMIN)
    raise ConfigError(
        f"{directory} holds no keyring for client.{' or client.'.join(dict.fromkeys(wanted))}"
        + (f" (there are: {', '.join(sorted(keys))})" if keys else ""),
        hint=f"ceph auth get-or-create client.{user or OWN_USER} mon 'profile rbd' osd 'profile rbd pool=POOL' "
        f"-o {directory}/ceph.client.{user or OWN_USER}.keyring",
    )


def _check_key(user: str, key: str, directory: Path) -> None:
    """Ceph says of a damaged key no more than "invalid argument"."""
    if not _is_whole(key):
        raise ConfigError(
            f"{directory}: the key of client.{user} is damaged",
            hint=f"ceph auth get client.{user} -o {directory}/ceph.client.{user}.keyring",
        )


def _is_whole(key: str) -> bool:
    try:
        data = base64.b64decode(key, validate=True)
        length = int(KEY_HEADER.unpack_from(data)[-1])
    except (ValueError, struct.error):
        return False
    return len(data) == KEY_HEADER.size + length > KEY_HEADER.size


def _keys(directory: Path) -> dict[str, str]:
    """All client keys of ceph.client.*.keyring and keyring (ceph-authtool(8))."""
    keys: dict[str, str] = {}
    for path in [*sorted(directory.glob("*.keyring")), directory / "keyring"]:
        parser = _parsed(path)
        for section in parser.sections():
            if section.startswith("client.") and parser.has_option(section, "key"):
                keys.setdefault(section.removeprefix("client."), parser.get(section, "key") or "")
    return keys


def _without_cephx(conf: Path) -> bool:
    parser = _parsed(conf)
    required = ("auth_client_required", "auth client required")
    return any(parser.get("global", name, fallback="") == "none" for name in required)


def _parsed(path: Path) -> configparser.RawConfigParser:
    # Ceph indents options and repeats sections as it likes.
    parser = configparser.RawConfigParser(strict=False, allow_no_value=True)
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return parser  # another file may hold the key
    try:
        parser.read_string("\n".join(line.strip() for line in text.splitlines()))
    except configparser.Error as error:
        raise ConfigError(f"{path}: {error.message.splitlines()[0]}") from error
    return parser
