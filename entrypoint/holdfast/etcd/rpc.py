"""etcd's gRPC interface through python-etcd3.

Of python-etcd3 only the connection and the generated stubs are used. Its `Lock` fails under
contention, its calls may block for ever without a timeout, and its transaction drops the revision.
Only this module and `channel` know gRPC.
"""

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import grpc
from etcd3 import etcdrpc as rpc

from holdfast.config.endpoint import Endpoint
from holdfast.config.settings import Settings
from holdfast.errors import HoldfastError, OwnershipLost, Unreachable
from holdfast.etcd.channel import Client, connect
from holdfast.etcd.rpc_message import compared, item, operation
from holdfast.etcd.store import Change, Denied, NoAnswer, Store, is_stale, range_end
from holdfast.etcd.txn import Compare, Operation, Reply

# A member that has lost the others ends a stream, in place of saying nothing for ever.
REQUIRE_LEADER = ("hasleader", "true")
ELSEWHERE = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}

# What a stub is called with beside the request: deadline, rights, whether to wait for a connection.
Options = Mapping[str, Any]
Call = Callable[["Client", Options], Any]


class Rpc(Store):
    def __init__(self, settings: Settings, *, timeout: float) -> None:
        super().__init__(settings, timeout=timeout)
        self._settings = settings
        self._clients: dict[Endpoint, Client] = {}

    def close(self) -> None:
        for endpoint in self.endpoints:
            self._drop(endpoint)

    def txn(
        self,
        compare: Iterable[Compare] = (),
        success: Iterable[Operation] = (),
        failure: Iterable[Operation] = (),
    ) -> Reply:
        compare, success, failure = tuple(compare), tuple(success), tuple(failure)
        request = rpc.TxnRequest(
            compare=[compared(one) for one in compare],
            success=[operation(one) for one in success],
            failure=[operation(one) for one in failure],
        )
        try:
            reply = self._call(lambda client, options: client.kv.Txn(request, **options))
        except Denied as error:
            from holdfast.etcd.denied import explained  # noqa: PLC0415 - hardly ever needed

            user = self._settings.etcd_username
            raise explained(error, user, (*compare, *success, *failure)) from error
        items = (kv for one in reply.responses for kv in one.response_range.kvs)
        return Reply(
            succeeded=reply.succeeded,
            revision=reply.header.revision,
            items={one.key: one for one in map(item, items)},
        )

    def grant(self, ttl: int) -> tuple[int, int]:
        request = rpc.LeaseGrantRequest(TTL=ttl)
        reply = self._call(lambda client, options: client.lease.LeaseGrant(request, **options))
        return reply.ID, reply.TTL

    def keep_alive(self, lease: int) -> int:
        request = rpc.LeaseKeepAliveRequest(ID=lease)

        def renew(client: Client, options: Options) -> int:
            replies = client.lease.LeaseKeepAlive(iter([request]), **options)
            if (reply := next(replies, None)) is None:
                raise NoAnswer("it has ended the renewal without an answer")
            return max(0, int(reply.TTL))

        return int(self._call(renew))

    def revoke(self, lease: int) -> None:
        request = rpc.LeaseRevokeRequest(ID=lease)
        with contextlib.suppress(OwnershipLost):  # already gone
            self._call(lambda client, options: client.lease.LeaseRevoke(request, **options))

    def changes(self, prefixes: Sequence[str], revision: int) -> "Stream":
        return Stream(self._client(self.endpoints[self._first]), prefixes, revision)

    def _call(self, call: Call) -> Any:
        """Each endpoint once as its connection is; then, where there was none, again while it is being
        made: gRPC brings a connection up only while a call waits for it.
        """
        away: set[Endpoint] = set()
        try:
            return self._anywhere(lambda endpoint: self._ask(endpoint, call, away))
        except Unreachable:
            if not away:
                raise
        return self._anywhere(lambda endpoint: self._ask_again(endpoint, call, away))

    def _ask(self, endpoint: Endpoint, call: Call, away: set[Endpoint]) -> Any:
        try:
            return self._once(endpoint, call, wait_for_ready=False)
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.UNAVAILABLE:
                away.add(endpoint)
            raise NoAnswer(_reason(error)) from error

    def _ask_again(self, endpoint: Endpoint, call: Call, away: set[Endpoint]) -> Any:
        if endpoint not in away:
            raise NoAnswer("has had its time")
        try:
            return self._once(endpoint, call, wait_for_ready=True)
        except grpc.RpcError as error:
            raise NoAnswer(_reason(error)) from error

    def _once(self, endpoint: Endpoint, call: Call, *, wait_for_ready: bool) -> Any:
        self.requests += 1
        options = {"timeout": self.timeout, "wait_for_ready": wait_for_ready}
        client = self._client(endpoint)
        try:
            return self._authenticated(client, call, options)
        except grpc.RpcError as error:
            if error.code() in ELSEWHERE:
                raise
            raise _refusal(endpoint, error) from error

    def _authenticated(self, client: Client, call: Call, options: Options) -> Any:
        """On the connection that is there, whose streams go on: only its token is another one."""
        rights = client.authentication
        try:
            return call(client, {**options, **rights})
        except grpc.RpcError as error:
            unauthenticated = error.code() is grpc.StatusCode.UNAUTHENTICATED
            if not client.has_user or not is_stale(unauthenticated, str(error.details())):
                raise
        client.log_in(stale=rights)
        return call(client, {**options, **client.authentication})

    def _client(self, endpoint: Endpoint) -> Client:
        with self._guard:
            if endpoint not in self._clients:
                self._clients[endpoint] = connect(endpoint, self._settings, self.timeout)
            return self._clients[endpoint]

    def _drop(self, endpoint: Endpoint) -> None:
        with self._guard:
            client = self._clients.pop(endpoint, None)
        if client:
            client.close()


class Stream:
    """The changes that etcd tells in one call."""

    def __init__(self, client: Client, prefixes: Sequence[str], revision: int) -> None:
        self._over = threading.Event()
        requests = self._requests(prefixes, revision)
        metadata = [*(client.authentication["metadata"] or ()), REQUIRE_LEADER]
        self._replies = client.watch.Watch(requests, metadata=metadata)

    def __iter__(self) -> Iterator[Change]:
        try:
            for reply in self._replies:
                if reply.canceled:  # compacted away, or refused
                    yield Change(revision=reply.compact_revision, compacted=True)
                    return
                keys = frozenset(event.kv.key.decode(errors="replace") for event in reply.events)
                yield Change(keys=keys, revision=reply.header.revision)
        except grpc.RpcError as error:
            raise NoAnswer(_reason(error)) from error
        finally:
            self.close()

    def close(self) -> None:
        self._over.set()
        self._replies.cancel()

    def _requests(self, prefixes: Sequence[str], revision: int) -> Iterator[Any]:
        for prefix in prefixes:
            request = rpc.WatchCreateRequest(
                key=prefix.encode(), range_end=range_end(prefix), start_revision=revision
            )
            yield rpc.WatchRequest(create_request=request)
        self._over.wait()  # the stream lives as long as its requests


def _refusal(endpoint: Endpoint, error: grpc.RpcError) -> HoldfastError:
    """An endpoint answered, and the answer is no. Another endpoint would say the same."""
    if error.code() is grpc.StatusCode.NOT_FOUND and "lease not found" in str(error.details()):
        return OwnershipLost("the lease is gone")
    kind = Denied if error.code() is grpc.StatusCode.PERMISSION_DENIED else Unreachable
    return kind(f"etcd at {endpoint} refuses: {_reason(error)}")


def _reason(error: grpc.RpcError) -> str:
    return f"{error.code().name.lower().replace('_', ' ')}, {error.details()}"
