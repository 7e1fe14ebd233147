"""How this host reaches a cluster of Ceph: monitors, and a cephx user with its key.

What a pool of host.toml does not say comes from ceph.conf and from the keyrings beside it.
"""

import base64
import struct
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast.dataclass import dataclass, field
from holdfast.errors import FOLDER, ConfigError, HostLacks, reason
from holdfast.machine.ceph import ADMIN, ETC_CEPH, Access, Monitor

if TYPE_CHECKING:
    from configparser import RawConfigParser

OWN_USER = "holdfast"
KEY_HEADER = struct.Struct("<HIIH")  # type, seconds, nanoseconds, length of the secret


@dataclass(frozen=True, kw_only=True)
class Keyring:
    """`conf` is "" where host.toml names the monitors: ceph.conf may be another cluster's then.

    `key` is base64, as cephx has it; "" where the cluster asks for none.
    """

    conf: str
    user: str
    key: str = field(default="", repr=False)
    monitors: tuple[Monitor, ...] = ()


def find(
    conf: Path,
    user: str = "",
    access: Access = ETC_CEPH,
    pools: Collection[tuple[str, str]] = (),
) -> Keyring:
    """Find the wanted user's key; else that of `holdfast`, else of `admin`, else the only one there.

    `pools`, each with its namespace, are what it is for. Raises ConfigError or HostLacks where there is none.
    """
    if not access.monitors and not conf.is_file():
        raise HostLacks(
            f"{conf} {FOLDER if conf.is_dir() else 'is missing'}",
            hint="mount the host's (docker run: -v /etc/ceph:/etc/ceph:ro), say in CEPH_CONF where it is, "
            "or name the monitors in host.toml: hosts of the pool",
        )
    user = access.user or user
    if access.key_file:
        return _reached(conf, access, user, _read_key(Path(access.key_file), user))
    files = [Path(access.keyring)] if access.keyring else _files(conf, user, access)
    keys = _keys(files)
    where = access.keyring or str(conf.parent)
    if access.keyring and not files[0].is_file():
        raise HostLacks(f"the keyring {access.keyring} of host.toml is missing on this host")
    wanted = [user] if user else [OWN_USER, ADMIN, *(keys if len(keys) == 1 else [])]
    for name in wanted:
        if name in keys:
            _check_key(name, keys[name], where)
            return _reached(conf, access, name, keys[name])
    if not keys and not access.monitors and _without_cephx(conf):
        return _reached(conf, access, user or ADMIN, "")
    raise _no_key(where, wanted, keys, user, pools)


def _reached(conf: Path, access: Access, user: str, key: str) -> Keyring:
    own = "" if access.monitors else str(conf)
    return Keyring(conf=own, user=user, key=key, monitors=access.monitors)


def _no_key(
    where: str,
    wanted: list[str],
    keys: dict[str, str],
    user: str,
    pools: Collection[tuple[str, str]],
) -> ConfigError:
    target = where if Path(where).is_file() else f"{where}/ceph.client.{user or OWN_USER}.keyring"
    return ConfigError(
        f"{where} holds no keyring for client.{' or client.'.join(dict.fromkeys(wanted))}"
        + (f" (there are: {', '.join(sorted(keys))})" if keys else ""),
        hint=f"ceph auth get-or-create client.{user or OWN_USER} {caps(pools)} -o {target}",
    )


def caps(pools: Iterable[tuple[str, str]]) -> str:
    """Name the rights that a user of images in these pools and namespaces needs, as `ceph auth` has them."""
    spaced = (f"{pool} namespace={space}" if space else pool for pool, space in pools)
    profiles = ", ".join(f"profile rbd pool={one}" for one in sorted({*spaced})) or "profile rbd"
    return f"mon 'profile rbd' osd '{profiles}'"


def _read_key(path: Path, user: str) -> str:
    try:
        key = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = reason(error) if isinstance(error, OSError) else "is not a key"
        raise HostLacks(f"the key_file {path} of host.toml cannot be read: {why}") from error
    _check_key(user, key, str(path))
    return key


def _check_key(user: str, key: str, where: str) -> None:
    """Ceph says of a damaged key no more than "invalid argument"."""
    if not _is_whole(key):
        target = where if Path(where).is_file() else f"{where}/ceph.client.{user}.keyring"
        command = "get" if target.endswith("keyring") else "print-key"
        raise ConfigError(
            f"{where}: the key of client.{user} is damaged",
            hint=f"ceph auth {command} client.{user} -o {target}",
        )


def _is_whole(key: str) -> bool:
    try:
        data = base64.b64decode(key, validate=True)
        length = int(KEY_HEADER.unpack_from(data)[-1])
    except (ValueError, struct.error):
        return False
    return len(data) == KEY_HEADER.size + length > KEY_HEADER.size


def _files(conf: Path, user: str, access: Access) -> list[Path]:
    """What ceph.conf names, then what lies beside it. One that is not there may be another user's."""
    beside = [*sorted(conf.parent.glob("*.keyring")), conf.parent / "keyring"]
    if access.monitors:
        return beside
    parser = _parsed(conf)
    named = [
        path
        for name in ([user] if user else [OWN_USER, ADMIN])
        for section in (f"client.{name}", "client", "global")
        for path in _expanded(parser.get(section, "keyring", fallback="") or "", conf, name)
    ]
    return [*dict.fromkeys(named), *beside]


def _expanded(text: str, conf: Path, user: str) -> list[Path]:
    """Ceph's own variables in a path (ceph.conf: "metavariables"); several paths, with commas between."""
    meaning = {"cluster": conf.stem, "name": f"client.{user}", "type": "client", "id": user}
    for word, value in meaning.items():
        text = text.replace(f"${{{word}}}", value).replace(f"${word}", value)
    return [Path(one.strip()) for one in text.split(",") if one.strip().startswith("/")]


def _keys(files: list[Path]) -> dict[str, str]:
    """All client keys of these files (ceph-authtool(8)); the first one of a user counts."""
    keys: dict[str, str] = {}
    for path in files:
        parser = _parsed(path)
        for section in parser.sections():
            if section.startswith("client.") and parser.has_option(section, "key"):
                keys.setdefault(section.removeprefix("client."), parser.get(section, "key") or "")
    return keys


def _without_cephx(conf: Path) -> bool:
    parser = _parsed(conf)
    required = ("auth_client_required", "auth client required")
    return any(parser.get("global", name, fallback="") == "none" for name in required)


def _parsed(path: Path) -> "RawConfigParser":
    import configparser  # noqa: PLC0415 - a key of host.toml needs none

    # Ceph indents options and repeats sections as it likes.
    parser = configparser.RawConfigParser(strict=False, allow_no_value=True)
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return parser  # another file may hold the key
    try:
        parser.read_string("\n".join(line.strip() for line in text.splitlines()))
    except configparser.Error as error:
        kind = "configuration" if path.suffix == ".conf" else "keyring"
        reason = error.message.splitlines()[0]
        raise ConfigError(f"{path} is no {kind} of Ceph: {reason}") from error
    return parser
