"""The messages of rpc.proto as JSON.

Bytes are in base64, 64-bit numbers are strings, and what has its default is left out.
https://etcd.io/docs/v3.5/dev-guide/api_grpc_gateway/
"""

import json
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from holdfast.etcd.store import Change, NoAnswer, range_end
from holdfast.etcd.txn import (
    Compare,
    Delete,
    Item,
    Operation,
    Put,
    Range,
    Reply,
    Unwritten,
)

Message = Mapping[str, Any]
OK = 200
CODES = range(1, 17)  # gRPC's; a proxy has codes of its own
SHOWN = 200  # characters of what an endpoint says
# All that comes of taking JSON for what it is not: lists for objects, texts for numbers, one in the other without end.
AMISS = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)


class Refusal(Exception):
    """An endpoint answered, and the answer is no."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


@contextmanager
def understood(status: int = OK) -> Iterator[None]:
    """Turn what is not etcd's into NoAnswer: a proxy may answer anything, and well-formed."""
    try:
        yield
    except AMISS as error:
        raise NoAnswer(
            f"HTTP status {status}, and not as etcd would: is its gateway off? (ETCD_PROTOCOL=grpc does without)"
        ) from error


def answer(status: int, body: bytes) -> Message:
    """Parse an answer. Raises Refusal, or what `understood` takes."""
    return result(json.loads(body.splitlines()[0]), status)


def result(message: Message, status: int = OK) -> Message:
    """Take the reply out: a stream's come as `result`. Raises Refusal for an error, which has a
    code at the top, or in a stream below `error`.
    """
    error = message["error"] if isinstance(message.get("error"), dict) else message
    code = error.get("code", error.get("grpc_code"))
    if code in CODES:
        raise Refusal(code, str(error.get("message", ""))[:SHOWN])
    if code is not None or status != OK:
        raise ValueError(status)
    result: Message = message.get("result", message)
    revision(result)  # each reply of etcd's has it; {} from somebody else is no lease that is gone
    return result


def reply(message: Message) -> Reply:
    """Read the reply to a transaction."""
    ranges = (one.get("response_range", {}) for one in message.get("responses", ()))
    items = [item(kv) for one in ranges for kv in one.get("kvs", ())]
    return Reply(
        succeeded=message.get("succeeded", False) is True,
        revision=revision(message),
        items={item.key: item for item in items},
    )


def change(line: bytes) -> Change:
    """Read a line of a watch. The one that ends it has no revision in its header."""
    parsed = json.loads(line)
    ended = parsed.get("result", {})
    if ended.get("canceled") is True and ended["header"].keys():  # compacted away, or refused
        return Change(revision=int(ended.get("compact_revision", 0)), compacted=True)
    message = result(parsed)
    keys = frozenset(key_of(event["kv"]) for event in message.get("events", ()))
    return Change(keys=keys, revision=revision(message))


def revision(message: Message) -> int:
    return int(message["header"]["revision"])


def lease(message: Message) -> tuple[int, int]:
    """Read a lease's id, and the TTL (seconds) that etcd really gave."""
    number, ttl = int(message["ID"]), int(message["TTL"])
    if not number or ttl <= 0:
        raise ValueError(message)
    return number, ttl


def remaining(message: Message) -> int:
    """Read the TTL (seconds) of a renewed lease; 0: it is gone, and etcd leaves a zero out."""
    return max(0, int(message.get("TTL", 0)))


def token(message: Message) -> str:
    return str(message["token"])


def _text(key: str) -> str:
    return b64encode(key.encode()).decode()


def key_of(kv: Message) -> str:
    return b64decode(kv["key"], validate=True).decode(errors="replace")


def item(kv: Message) -> Item:
    return Item(
        key=key_of(kv),
        value=b64decode(kv.get("value", ""), validate=True),
        mod_revision=int(kv["mod_revision"]),
        lease=int(kv.get("lease", 0)),
    )


def compared(one: Compare) -> Message:
    target = {"key": _text(one.key), "target": "MOD"}
    if isinstance(one, Unwritten):
        end = b64encode(range_end(one.key)).decode()
        return {**target, "range_end": end, "result": "LESS", "mod_revision": one.revision + 1}
    return {**target, "result": "EQUAL", "mod_revision": one.revision}


def operation(one: Operation) -> Message:
    match one:
        case Put():
            value = b64encode(one.value).decode()
            return {"request_put": {"key": _text(one.key), "value": value, "lease": one.lease}}
        case Delete():
            return {"request_delete_range": {"key": _text(one.key), "range_end": _end(one)}}
        case Range():
            plain = {"key": _text(one.key), "range_end": _end(one)}
            return {"request_range": {**plain, **_narrowed(one)}}


def _end(one: Delete | Range) -> str:
    if one.prefix:
        return b64encode(range_end(one.key)).decode()
    return _text(one.end) if isinstance(one, Range) else ""


def _narrowed(one: Range) -> Message:
    limits = {"limit": one.limit, "revision": one.revision, "keys_only": one.keys_only}
    return {name: value for name, value in limits.items() if value}


def watches(prefixes: Sequence[str], revision: int) -> bytes:
    """Ask for several watches on one stream: a message each."""
    wanted = (
        {
            "key": _text(prefix),
            "range_end": b64encode(range_end(prefix)).decode(),
            "start_revision": revision,
        }
        for prefix in prefixes
    )
    return b"".join(json.dumps({"create_request": one}).encode() for one in wanted)
