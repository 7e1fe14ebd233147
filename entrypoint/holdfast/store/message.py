"""The messages of rpc.proto as JSON.

Bytes are in base64, 64-bit numbers are strings, and what has its default is left out.
https://etcd.io/docs/v3.5/dev-guide/api_grpc_gateway/
"""

import json
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from typing import Any

from holdfast.store import NoAnswer, range_end
from holdfast.txn import Delete, Item, Operation, Put, Range, Unchanged

Message = Mapping[str, Any]


class Refusal(Exception):
    """An endpoint answered, and the answer is no."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def answer(status: int, body: bytes) -> Message:
    """Raises Refusal, or NoAnswer for what is no answer of etcd's at all."""
    try:
        message = json.loads(body.splitlines()[0])
    except (ValueError, IndexError) as error:
        raise NoAnswer(
            f"HTTP status {status} and no JSON: is its gateway off? (ETCD_PROTOCOL=grpc does without)"
        ) from error
    return result(message)


def result(message: Message) -> Message:
    """A stream's replies come as `result`. An error has a code at the top, or in a stream below `error`."""
    error = message["error"] if isinstance(message.get("error"), dict) else message
    code = error.get("code", error.get("grpc_code"))
    if code is not None:
        raise Refusal(code, error.get("message", ""))
    result: Message = message.get("result", message)
    return result


def _text(key: str) -> str:
    return b64encode(key.encode()).decode()


def key_of(kv: Message) -> str:
    return b64decode(kv["key"]).decode(errors="replace")


def item(kv: Message) -> Item:
    return Item(
        key=key_of(kv),
        value=b64decode(kv.get("value", "")),
        mod_revision=int(kv["mod_revision"]),
        lease=int(kv.get("lease", 0)),
    )


def compared(one: Unchanged) -> Message:
    return {
        "key": _text(one.key),
        "target": "MOD",
        "result": "EQUAL",
        "mod_revision": one.revision,
    }


def operation(one: Operation) -> Message:
    match one:
        case Put():
            value = b64encode(one.value).decode()
            return {"request_put": {"key": _text(one.key), "value": value, "lease": one.lease}}
        case Delete():
            return {"request_delete_range": {"key": _text(one.key)}}
        case Range():
            end = range_end(one.key) if one.prefix else b""
            ends = b64encode(end).decode()
            return {"request_range": {"key": _text(one.key), "range_end": ends}}


def watches(prefixes: Sequence[str], revision: int) -> bytes:
    """Several watches on one stream: a message each."""
    wanted = (
        {
            "key": _text(prefix),
            "range_end": b64encode(range_end(prefix)).decode(),
            "start_revision": revision,
        }
        for prefix in prefixes
    )
    return b"".join(json.dumps({"create_request": one}).encode() for one in wanted)
