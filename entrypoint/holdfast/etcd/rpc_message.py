"""Requests and answers of etcd as gRPC has them."""

from typing import Any

from etcd3 import etcdrpc as rpc

from holdfast.etcd.store import range_end
from holdfast.etcd.txn import Compare, Delete, Item, Operation, Put, Range, Unwritten


def item(kv: Any) -> Item:
    return Item(
        key=kv.key.decode(errors="replace"),
        value=kv.value,
        mod_revision=kv.mod_revision,
        lease=kv.lease,
    )


def compared(one: Compare) -> Any:
    if isinstance(one, Unwritten):
        return rpc.Compare(
            key=one.key.encode(),
            range_end=range_end(one.key),
            target=rpc.Compare.MOD,
            result=rpc.Compare.LESS,
            mod_revision=one.revision + 1,
        )
    return rpc.Compare(
        key=one.key.encode(),
        target=rpc.Compare.MOD,
        result=rpc.Compare.EQUAL,
        mod_revision=one.revision,
    )


def operation(one: Operation) -> Any:
    match one:
        case Put():
            put = rpc.PutRequest(key=one.key.encode(), value=one.value, lease=one.lease)
            return rpc.RequestOp(request_put=put)
        case Delete():
            end = range_end(one.key) if one.prefix else b""
            gone = rpc.DeleteRangeRequest(key=one.key.encode(), range_end=end)
            return rpc.RequestOp(request_delete_range=gone)
        case Range():
            end = range_end(one.key) if one.prefix else one.end.encode()
            asked = rpc.RangeRequest(
                key=one.key.encode(),
                range_end=end,
                limit=one.limit,
                revision=one.revision,
                keys_only=one.keys_only,
            )
            return rpc.RequestOp(request_range=asked)
