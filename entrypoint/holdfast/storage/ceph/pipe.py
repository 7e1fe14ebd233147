"""The pipe to the process that has librbd: a request a line, with a limit on every answer."""

import contextlib
import json
import os
import selectors
import subprocess
import time
from typing import Any

from holdfast import precompiled
from holdfast.errors import ConfigError, HostLacks, LockHeld, Unreachable
from holdfast.runtime.progress import Progress
from holdfast.runtime.worker import Attend
from holdfast.storage.ceph.image_ref import encoded
from holdfast.storage.ceph.keyring import Keyring
from holdfast.storage.image_claim import claimant

GOOD_BYE = 2.0  # seconds for a process with nothing to do
PATIENCE = 20.0  # seconds for one answer; librados gives up on single operations before


class Pipe:
    """`storage.ceph.librbd` at its other end."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring
        self._buffer = b""
        self._asked = False  # something that was not answered, or not done in time
        self._connected = False
        command = precompiled.command("holdfast.storage.ceph.librbd")
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        # The key goes through the pipe: arguments can be read by everybody. The answer is waited for with the
        # first question's: the caller has other things to do meanwhile.
        hosts = ",".join(map(str, keyring.monitors))
        own = {"conf": keyring.conf, "user": keyring.user, "key": keyring.key}
        self._send({**own, "mon_host": hosts})

    def close(self) -> bool:
        """End the process. True: it has closed by itself, with all answers given, so that nothing of it is under way."""
        assert self._process.stdin  # noqa: S101 - pipes were asked for
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            return self._process.wait(0.0 if self._asked else GOOD_BYE) == 0
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            return False
        finally:
            for pipe in (self._process.stdout, self._process.stderr):
                assert pipe  # noqa: S101 - for the type checker
                pipe.close()

    def talk(
        self,
        request: dict[str, Any],
        attend: Attend | None = None,
        progress: Progress | None = None,
    ) -> Any:
        """Ask, and return the answer. Raises Unreachable, LockHeld, ConfigError or HostLacks."""
        self._send(request)
        if not self._connected:
            self._reply()
            self._connected = True
        reply = self._reply(attend, progress)
        self._asked = False
        return reply

    def _send(self, request: dict[str, Any]) -> None:
        assert self._process.stdin  # noqa: S101 - pipes were asked for
        self._asked = True
        # A broken pipe: it has ended, and its last words will say why.
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(request, default=encoded).encode() + b"\n")
            self._process.stdin.flush()

    def _reply(self, attend: Attend | None = None, progress: Progress | None = None) -> Any:
        reply = self._answer(attend)
        while "progress" in reply:
            if progress is not None:
                progress.tell(*reply["progress"])
            reply = self._answer(attend)
        if reason := reply.get("unreadable"):
            raise ConfigError(f"{self._keyring.conf} is no configuration of Ceph: {reason}")
        if "claimed" in reply:
            raise LockHeld(
                f"an image of this VM was made meanwhile by {claimant(reply['claimed'])}"
            )
        if reason := reply.get("denied"):
            raise self._denied(reason)
        if reason := reply.get("unreachable"):
            raise self._unreachable(reason)
        return reply["answer"]

    def _denied(self, reason: str) -> ConfigError:
        user = self._keyring.user
        hint = f"compare `ceph auth get client.{user}` with the keyring"
        return ConfigError(f"Ceph refuses client.{user}: {reason}", hint=hint)

    def _unreachable(self, reason: str) -> Unreachable:
        named = f"mon_host in {self._keyring.conf}" if self._keyring.conf else "hosts in host.toml"
        hint = f"check {named}, the network, and `ceph -s`"
        return Unreachable(f"Ceph does not answer: {reason}{self._said()}", hint=hint)

    def _said(self) -> str:
        """What librados said on stderr: it knows a name that it cannot resolve."""
        assert self._process.stderr  # noqa: S101 - for the type checker
        self._process.kill()
        said = self._process.stderr.read().decode(errors="replace").strip().splitlines()
        return f" ({said[0]})" if said else ""

    def _answer(self, attend: Attend | None) -> dict[str, Any]:
        assert self._process.stdout  # noqa: S101 - for the type checker
        deadline = time.monotonic() + PATIENCE
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._buffer:
                if attend is not None:
                    attend()
                left = deadline - time.monotonic()
                if not selector.select(min(left, 0.1) if attend else left):
                    if time.monotonic() < deadline:
                        continue
                    raise self._unreachable(f"no answer within {PATIENCE:g} s")
                data = os.read(self._process.stdout.fileno(), 65536)
                if not data:
                    raise HostLacks(f"librbd cannot be used here{self._said()}")
                self._buffer += data
        line, self._buffer = self._buffer.split(b"\n", 1)
        found: dict[str, Any] = json.loads(line)
        return found
