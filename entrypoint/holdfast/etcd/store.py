"""All requests that Holdfast makes of etcd: endpoints in turn, a deadline on every request.

etcd is spoken to in one of two ways, which tests hold to one behaviour: `gateway` is HTTP with JSON,
`rpc` is gRPC through python-etcd3. The launcher lives as long as its VM, and gRPC would take two
thirds of its memory and of its time to start.
"""

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol, Self, TypeVar

from holdfast.config import endpoint
from holdfast.config.endpoint import Endpoint
from holdfast.config.settings import Settings
from holdfast.dataclass import dataclass
from holdfast.errors import Unreachable
from holdfast.etcd.txn import Compare, Operation, Range, Reply

SYSTEM_CA = "/etc/ssl/certs/ca-certificates.crt"

T = TypeVar("T")


class NoAnswer(Exception):
    """One endpoint did not answer; another may."""


class Denied(Unreachable):
    """etcd answers, and its user may not do what was asked."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """What a watch tells: the keys that were written or deleted, up to and with `revision`. None of
    them: that it is there.

    `compacted`: what came before `revision` cannot be told any more.
    """

    keys: frozenset[str] = frozenset()
    revision: int
    compacted: bool = False


class Changes(Protocol):
    """A stream of changes. It ends when it is closed, from whatever thread, or when etcd breaks it."""

    def __iter__(self) -> Iterator[Change]: ...

    def close(self) -> None: ...


class Store(ABC):
    """Safe to use from several threads.

    Every method raises Unreachable when no endpoint answered in `timeout` seconds each.
    """

    def __init__(self, settings: Settings, *, timeout: float) -> None:
        self.endpoints: Sequence[Endpoint] = settings.endpoints
        self.timeout = timeout
        self.requests = 0
        self._first = 0  # the endpoint that answered last
        self._guard = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abstractmethod
    def close(self) -> None: ...

    @abstractmethod
    def txn(
        self,
        compare: Iterable[Compare] = (),
        success: Iterable[Operation] = (),
        failure: Iterable[Operation] = (),
    ) -> Reply:
        """Do one transaction. After a lost reply it may be done twice: make the compares tell."""

    def read(self, *ranges: Range) -> Reply:
        """Read several ranges at one revision."""
        return self.txn(success=ranges)

    @abstractmethod
    def grant(self, ttl: int) -> tuple[int, int]:
        """Make a lease: its id, and the TTL that etcd really gave. Both TTLs are in seconds."""

    @abstractmethod
    def keep_alive(self, lease: int) -> int:
        """Renew once; return its TTL (seconds). 0: it is gone (no error to etcd)."""

    @abstractmethod
    def revoke(self, lease: int) -> None:
        """End a lease; one that is gone already is no error."""

    @abstractmethod
    def changes(self, prefixes: Sequence[str], revision: int) -> Changes:
        """Watch the prefixes from this revision on, at the endpoint that answered last."""

    def _anywhere(self, request: Callable[[Endpoint], T]) -> T:
        """Ask each endpoint once. Other threads have turns of their own: one that shared ours would
        make us pass over the endpoint that answers.
        """
        failures: list[str] = []
        first = self._first
        for turn in range(first, first + len(self.endpoints)):
            number = turn % len(self.endpoints)
            try:
                reply = request(self.endpoints[number])
            except NoAnswer as reason:
                failures.append(f"{self.endpoints[number]}: {reason}")
            else:
                self._first = number
                return reply
        raise Unreachable(
            f"etcd does not answer ({'; '.join(failures)})",
            hint="check that etcd runs and that ETCD_ENDPOINTS names it",
        )


def connect(settings: Settings, *, timeout: float = 2.0) -> Store:
    """Choose the protocol; nothing is sent yet. `timeout` is in seconds."""
    if settings.etcd_protocol is endpoint.Protocol.grpc:
        from holdfast.etcd.rpc import Rpc  # noqa: PLC0415 - heavy, and only where it is asked for

        return Rpc(settings, timeout=timeout)
    from holdfast.etcd.gateway import Gateway  # noqa: PLC0415 - the one or the other

    return Gateway(settings, timeout=timeout)


# A token that was signed (JWT) before anybody's rights were changed, and one that came to nothing: INVALID_ARGUMENT,
# as a faulty request is. https://github.com/etcd-io/etcd/blob/v3.5.16/api/v3rpc/rpctypes/error.go
STALE = ("revision of auth store is old", "user name is empty")


def is_stale(unauthenticated: bool, said: str) -> bool:
    """Tell whether a new token may be taken where this one was not."""
    return unauthenticated or any(words in said for words in STALE)


def range_end(prefix: str) -> bytes:
    """Return the first key after all that begin with the prefix (rpc.proto: range_end)."""
    key = prefix.encode()
    return key[:-1] + bytes([key[-1] + 1])
