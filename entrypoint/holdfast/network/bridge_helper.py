"""Taps, made by qemu-bridge-helper, and the list of bridges it goes by.

The helper reads its list from one path that is compiled in. Launchers that share an /etc/qemu take
turns: the list holds the bridges of one VM while its taps are made, under a lock on the folder.
"""

import errno
import fcntl
import os
import socket
import subprocess
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from holdfast.errors import HostLacks

HELPER = "/usr/lib/qemu/qemu-bridge-helper"
ACL = "/etc/qemu/bridge.conf"
TEMPLATE = Path(__file__).with_name("bridge.conf.j2")
MARKER = "# Written by Holdfast at each start of a VM."
PATIENCE = 10.0  # seconds, for the helper and for another launcher's turn


def taps(bridges: Mapping[str, str], *, helper: str = HELPER) -> dict[str, int]:
    """Make a tap for each NIC, given its bridge; descriptors by its name. Raises HostLacks."""
    made: dict[str, int] = {}
    if not bridges:
        return made
    with listed(set(bridges.values())):
        try:
            for nic, bridge in bridges.items():
                made[nic] = tap(bridge, helper=helper)
        except BaseException:
            for fd in made.values():
                os.close(fd)
            raise
    return made


def tap(bridge: str, *, helper: str = HELPER) -> int:
    """Make a tap on `bridge`. It goes when its last descriptor closes. Raises HostLacks."""
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            _run_helper(helper, bridge, theirs.fileno())
        # The helper has ended, so its message is in the socket or will never be.
        ours.setblocking(False)
        fds: list[int] = []
        with suppress(BlockingIOError):
            _, fds, _, _ = socket.recv_fds(ours, 1, 1)
    if not fds:
        raise HostLacks(f"{helper} ended without giving a tap on {bridge}")
    os.set_inheritable(fds[0], False)  # recv_fds() of Python 3.11 drops its flags
    return fds[0]


def _run_helper(helper: str, bridge: str, reply: int) -> None:
    command = [helper, "--use-vnet", f"--fd={reply}", f"--br={bridge}"]
    try:
        done = subprocess.run(
            command,
            pass_fds=[reply],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    except FileNotFoundError as error:
        hint = "Debian has it in qemu-system-common."
        raise HostLacks(f"{helper} is not installed", hint=hint) from error
    except subprocess.TimeoutExpired as error:
        raise HostLacks(f"{helper} gave no tap on {bridge} within {PATIENCE:.0f} s") from error
    if done.returncode != 0:
        raise _refused(bridge, done.stderr.strip())


def _refused(bridge: str, words: str) -> HostLacks:
    hints = {
        "access denied by acl": f"{ACL} is not Holdfast's own, so it was left alone: "
        f"add the line `allow {bridge}` to it, or remove it.",
        "failed to parse default acl": f"Make {ACL} readable, or remove it.",
        "failed to open /dev/net/tun": "Add `--device /dev/net/tun` to docker run.",
        "Operation not permitted": "Add `--cap-add NET_ADMIN` to docker run.",
    }
    hint = next((hint for part, hint in hints.items() if part in words), "")
    return HostLacks(f"no tap on {bridge}: qemu-bridge-helper says: {words}", hint=hint)


@contextmanager
def listed(bridges: Collection[str], path: str = ACL) -> Iterator[None]:
    """Hold the helper's list: meanwhile it has these bridges only. Raises HostLacks."""
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        folder = os.open(Path(path).parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise _unwritable(path, error) from error
    try:
        _take_turn(folder, path)
        write_acl(bridges, path)
        yield
    finally:
        os.close(folder)  # and with it the lock


def write_acl(bridges: Collection[str], path: str = ACL) -> None:
    """Write the helper's list, unless it says this already or is an administrator's own."""
    present = _read(path)
    if present is not None and not present.startswith(MARKER):
        return  # a policy that we neither widen nor narrow: the helper goes by it
    wanted = sorted(set(bridges))
    if present is not None and _allowed(present) == wanted:
        return
    try:
        _replace(path, render(wanted))
    except OSError as error:
        raise _unwritable(path, error) from error


def render(bridges: Collection[str]) -> str:
    from jinja2 import Environment, StrictUndefined  # noqa: PLC0415 - 35 ms, only when it changes

    environment = Environment(  # noqa: S701 - no HTML, and names of interfaces were checked before
        undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True
    )
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    return str(template.render(marker=MARKER, bridges=bridges))


def _take_turn(folder: int, path: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise HostLacks(
                    f"another process has locked {Path(path).parent} for {PATIENCE:.0f} s",
                    hint=f"`fuser {Path(path).parent}` names it; a stopped launcher may be the cause.",
                ) from None
            time.sleep(0.02)
        else:
            return


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError):
        return ""  # there, and not ours


def _allowed(acl: str) -> list[str]:
    return [line.removeprefix("allow ") for line in acl.splitlines() if not line.startswith("#")]


def _replace(path: str, text: str) -> None:
    # Renamed into place, so that a helper of somebody else never reads half a list.
    draft = Path(f"{path}.{os.urandom(4).hex()}")
    try:
        draft.write_text(text, encoding="utf-8")
        draft.chmod(0o644)
        draft.rename(path)
    except OSError:
        with suppress(OSError):
            draft.unlink()
        raise


def _unwritable(path: str, error: OSError) -> HostLacks:
    folder = Path(path).parent
    hint = f"Holdfast has to be root there; see that {folder} is a folder it may write to."
    if error.errno == errno.EROFS:
        hint = f"With `--read-only`, add `--tmpfs {folder}` to docker run."
    return HostLacks(f"{path} cannot be written: {error.strerror}", hint=hint)
