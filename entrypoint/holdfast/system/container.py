"""What an engine calls the container that this runs in, if it runs in one: for advice that can be pasted."""

import os
import re
from pathlib import Path

from holdfast.host import CONTAINER_ID, is_container_id

MARKS = {"/run/.containerenv": "podman", "/.dockerenv": "docker"}
MOUNTS = "/proc/self/mountinfo"
# The folder that the engine keeps of a container, from which it mounts resolv.conf and its like.
FOLDER = re.compile(r"containers/([0-9a-f]{64})/\S* /etc/")


def engine() -> str:
    """Return its name; empty for none."""
    return next((name for mark, name in MARKS.items() if Path(mark).exists()), "")


def identity(mounts: str = MOUNTS) -> str:
    """Return the short id; empty where it does not show."""
    if is_container_id(name := os.uname().nodename):
        return name
    try:
        text = Path(mounts).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    found = FOLDER.search(text)
    return found[1][:CONTAINER_ID] if found else ""


def unreached(address: str, key: str) -> str:
    """Say what to know of a server on this address, in a container with a network of its own."""
    if not (
        engine() and is_container_id(os.uname().nodename) and address.startswith(("127.", "::1"))
    ):
        return ""
    return f"; only from inside this container: `-p` leads there with {key}=0.0.0.0, which wants TLS (screen_tls of host.toml)"


def command(words: str) -> str:
    """Return a command of ours, as the operator can give it on the host."""
    found = engine()
    return f"{found} exec {identity() or 'CONTAINER'} {words}" if found else words
