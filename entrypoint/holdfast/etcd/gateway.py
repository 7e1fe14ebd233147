"""etcd's JSON gateway, over HTTP.

https://etcd.io/docs/v3.5/dev-guide/api_grpc_gateway/
"""

import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from holdfast.config.endpoint import Endpoint
from holdfast.config.settings import Settings
from holdfast.errors import OwnershipLost, Unreachable, UsageError, reason
from holdfast.etcd import message
from holdfast.etcd.connection import Broken, Connection, Resolver
from holdfast.etcd.message import Message, Refusal
from holdfast.etcd.store import SYSTEM_CA, Change, Denied, NoAnswer, Store, is_stale
from holdfast.etcd.txn import Compare, Operation, Reply
from holdfast.runtime.clock import boottime

if TYPE_CHECKING:
    from ssl import SSLContext

# A member that has lost the others ends a stream, in place of saying nothing for ever.
REQUIRE_LEADER = {"Grpc-Metadata-hasleader": "true"}

# gRPC's status codes.
DEADLINE_EXCEEDED, NOT_FOUND, PERMISSION_DENIED, UNAVAILABLE, UNAUTHENTICATED = 4, 5, 7, 14, 16
LEASE_GONE = "lease not found"  # etcd's words: other gateways say NOT_FOUND of a path

T = TypeVar("T")
Decode = Callable[[Message], T]
Answer = tuple[int, bytes]  # status and body


class Gateway(Store):
    def __init__(self, settings: Settings, *, timeout: float) -> None:
        super().__init__(settings, timeout=timeout)
        self._settings = settings
        self._tls = _tls(settings) if any(one.tls for one in settings.endpoints) else None
        self._idle: dict[Endpoint, list[Connection]] = {one: [] for one in settings.endpoints}
        self._resolvers = {one: Resolver(one) for one in settings.endpoints}
        self._token = ""
        self._logging_in = threading.Lock()

    def close(self) -> None:
        for connections in self._idle.values():
            while connections:
                connections.pop().close()

    def txn(
        self,
        compare: Iterable[Compare] = (),
        success: Iterable[Operation] = (),
        failure: Iterable[Operation] = (),
    ) -> Reply:
        compare, success, failure = tuple(compare), tuple(success), tuple(failure)
        request = {
            "compare": [message.compared(one) for one in compare],
            "success": [message.operation(one) for one in success],
            "failure": [message.operation(one) for one in failure],
        }
        try:
            return self._call("/v3/kv/txn", request, message.reply)
        except Denied as error:
            from holdfast.etcd.denied import explained  # noqa: PLC0415 - hardly ever needed

            user = self._settings.etcd_username
            raise explained(error, user, (*compare, *success, *failure)) from error

    def grant(self, ttl: int) -> tuple[int, int]:
        return self._call("/v3/lease/grant", {"TTL": ttl}, message.lease)

    def keep_alive(self, lease: int) -> int:
        return self._call("/v3/lease/keepalive", {"ID": lease}, message.remaining)

    def revoke(self, lease: int) -> None:
        try:
            self._call("/v3/lease/revoke", {"ID": lease}, message.revision)
        except OwnershipLost:
            return  # already gone

    def changes(self, prefixes: Sequence[str], revision: int) -> "Stream":
        connection = self._connection(self.endpoints[self._first])
        headers = {**_rights(self._token), **REQUIRE_LEADER}
        return Stream(connection, message.watches(prefixes, revision), headers)

    # -- one request

    def _call(self, path: str, request: Message, decode: Decode[T]) -> T:
        body = json.dumps(request).encode()
        return self._anywhere(lambda endpoint: self._ask(endpoint, path, body, decode))

    def _ask(self, endpoint: Endpoint, path: str, body: bytes, decode: Decode[T]) -> T:
        try:
            return self._authenticated(endpoint, path, body, decode)
        except Refusal as refusal:
            if refusal.code in (DEADLINE_EXCEEDED, UNAVAILABLE):
                raise NoAnswer(str(refusal)) from refusal
            if refusal.code == NOT_FOUND and LEASE_GONE in str(refusal):
                raise OwnershipLost("the lease is gone") from refusal
            kind = Denied if refusal.code == PERMISSION_DENIED else Unreachable
            raise kind(f"etcd at {endpoint} refuses: {refusal}") from refusal

    def _authenticated(self, endpoint: Endpoint, path: str, body: bytes, decode: Decode[T]) -> T:
        if not self._settings.etcd_username:
            return self._post(endpoint, path, body, decode)
        token = self._token or self._log_in(endpoint, "")
        try:
            return self._post(endpoint, path, body, decode, token)
        except Refusal as refusal:
            if not is_stale(refusal.code == UNAUTHENTICATED, str(refusal)):
                raise
            return self._post(endpoint, path, body, decode, self._log_in(endpoint, token))

    def _log_in(self, endpoint: Endpoint, stale: str) -> str:
        """A token in place of the stale one, which another thread may have got meanwhile."""
        if not self._logging_in.acquire(timeout=self.timeout):
            raise NoAnswer("another request waits for its token")
        try:
            if self._token == stale:
                self._token = self._authenticate(endpoint)
            return self._token
        finally:
            self._logging_in.release()

    def _authenticate(self, endpoint: Endpoint) -> str:
        name, path = self._settings.etcd_username, Path(self._settings.etcd_password_file)
        try:
            password = path.read_text(encoding="utf-8").rstrip("\n")
        except OSError as error:
            raise _unreadable(error) from error
        body = json.dumps({"name": name, "password": password}).encode()
        return self._post(endpoint, "/v3/auth/authenticate", body, message.token)

    def _post(
        self, endpoint: Endpoint, path: str, body: bytes, decode: Decode[T], token: str = ""
    ) -> T:
        """On a connection that is there, and if that one has been closed meanwhile, on a new one."""
        self.requests += 1
        ends = boottime() + self.timeout  # of both together: the lease's times count on it
        with self._guard:
            kept = self._idle[endpoint].pop() if self._idle[endpoint] else None
        if kept:
            try:
                return _decoded(self._post_on(kept, path, body, token, ends), decode)
            except TimeoutError as error:
                raise NoAnswer(f"{error}") from error
            except Broken:
                kept.close()
        try:
            return _decoded(
                self._post_on(self._connection(endpoint), path, body, token, ends), decode
            )
        except Broken as error:
            raise NoAnswer(f"{error}") from error

    def _post_on(
        self, connection: Connection, path: str, body: bytes, token: str, ends: float
    ) -> Answer:
        try:
            answer = connection.post(path, body, _rights(token), ends)
        except BaseException:
            connection.close()
            raise
        with self._guard:
            self._idle[connection.endpoint].append(connection)
        return answer

    def _connection(self, endpoint: Endpoint) -> Connection:
        tls = self._tls if endpoint.tls else None
        return Connection(endpoint, self._resolvers[endpoint], tls, self.timeout)


class Stream:
    """The changes that etcd tells over one connection."""

    def __init__(self, connection: Connection, body: bytes, headers: Mapping[str, str]) -> None:
        self._connection = connection
        self._body = body
        self._headers = headers

    def __iter__(self) -> Iterator[Change]:
        try:
            for line in self._connection.stream("/v3/watch", self._body, self._headers):
                with message.understood():
                    change = message.change(line)
                yield change
                if change.compacted:
                    return
        except (*Broken, Refusal) as error:
            raise NoAnswer(f"{error}") from error
        finally:
            self._connection.close()

    def close(self) -> None:
        self._connection.shut()


def _rights(token: str) -> dict[str, str]:
    return {"Authorization": token} if token else {}


def _decoded(answer: Answer, decode: Decode[T]) -> T:
    status, body = answer
    with message.understood(status):
        return decode(message.answer(status, body))


def _tls(settings: Settings) -> "SSLContext":
    """Raises UsageError for a file that is not there or not what it should be."""
    import ssl  # noqa: PLC0415 - OpenSSL is for those who have TLS

    try:
        context = ssl.create_default_context(cafile=settings.etcd_cacert or SYSTEM_CA)
        # An authority made with openssl's defaults names no use of its key; etcd's own tools take it.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if settings.etcd_cert:
            context.load_cert_chain(settings.etcd_cert, settings.etcd_key)
    except OSError as error:
        raise _unreadable(error) from error
    return context


def _unreadable(error: OSError) -> UsageError:
    return UsageError(
        f"{error.filename}: {reason(error)}", hint="etcd's TLS files or password file"
    )
