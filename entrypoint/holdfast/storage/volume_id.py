"""The id of a volume, in a file beside it; and that of the folder which is a pool of this machine.

A volume is known by its id, and not by its path: an unmounted pool, another folder in its place and a file that
somebody has put there all have the path, too.
"""

import contextlib
import os
import uuid
from pathlib import Path

from holdfast.errors import HostLacks
from holdfast.storage.pathname import regular
from holdfast.system import atomic_file

SUFFIX = ".id"
FOLDER = ".holdfast-pool"
LENGTH = 36  # of a UUID as text


def beside(volume: Path) -> Path:
    return volume.with_name(volume.name + SUFFIX)


def read(volume: Path) -> str:
    """Read the id, "" where there is none, or none that can be read: nobody knows the volume then."""
    return uuid_in(beside(volume))


def folder(path: Path) -> str:
    """Read the folder's id, "" before a volume was made there. A copy of the folder is another one: its file
    has another inode.
    """
    named = uuid_in(path / FOLDER)
    return f"{named}/{(path / FOLDER).stat().st_ino}" if named else ""


def uuid_in(path: Path) -> str:
    """Read a UUID, "" where none can be read."""
    try:
        with regular(path) as file:
            return str(uuid.UUID(os.read(file, 2 * LENGTH).decode("ascii").strip()))
    except (OSError, ValueError):
        return ""


def write(volume: Path, identity: str) -> None:
    """Write it whole, and on the disk when this returns."""
    _put(beside(volume), identity, instead=True)


def keep(volume: Path) -> None:
    """Give an id to what has none."""
    if not read(volume):
        write(volume, str(uuid.uuid4()))


def name_folder(path: Path) -> str:
    """Name it, if it has none: two VMs may be first, and a link never replaces the other's id."""
    if not folder(path):
        with contextlib.suppress(FileExistsError):
            _put(path / FOLDER, str(uuid.uuid4()), instead=False)
    if not (named := folder(path)):
        raise HostLacks(f"{path / FOLDER} must hold a UUID", hint=f"uuidgen >{path / FOLDER}")
    return named


def _put(path: Path, identity: str, *, instead: bool) -> None:
    try:
        atomic_file.write(path, f"{identity}\n".encode(), instead=instead)
    except FileExistsError:
        raise
    except OSError as error:
        raise HostLacks(f"{path} cannot be written: {error.strerror}") from error
