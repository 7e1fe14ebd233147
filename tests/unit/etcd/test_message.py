"""etcd's JSON, and what a proxy, a load balancer or a web server says in its place."""

import json
from base64 import b64encode
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from holdfast.etcd import message
from holdfast.etcd.message import Message, Refusal
from holdfast.etcd.store import Change, NoAnswer
from holdfast.etcd.txn import Item, Reply

HEADER = {"cluster_id": "1", "member_id": "2", "revision": "7", "raft_term": "3"}
KEY = b64encode(b"/kvm/7/ram").decode()
KV = {"key": KEY, "value": b64encode(b"64").decode(), "mod_revision": "5", "lease": "9"}
DECODERS: list[Callable[[Message], object]] = [
    message.reply, message.lease, message.remaining, message.revision, message.token,
]  # fmt: skip


def heard(decode: Callable[[Message], Any], said: object, status: int = 200) -> Any:
    """As the gateway does it."""
    body = said if isinstance(said, bytes) else json.dumps(said).encode()
    with message.understood(status):
        return decode(message.answer(status, body))


def test_what_etcd_says() -> None:
    txn = {"header": HEADER, "succeeded": True, "responses": [{"response_range": {"kvs": [KV]}}]}
    item = Item(key="/kvm/7/ram", value=b"64", mod_revision=5, lease=9)
    assert heard(message.reply, txn) == Reply(
        succeeded=True, revision=7, items={"/kvm/7/ram": item}
    )
    assert heard(message.reply, {"header": HEADER, "responses": [{}]}) == Reply(
        succeeded=False, revision=7
    )
    assert heard(message.lease, {"header": HEADER, "ID": "77", "TTL": "10"}) == (77, 10)
    renewed = {"result": {"header": HEADER, "ID": "77", "TTL": "10"}}
    assert heard(message.remaining, renewed) == 10
    assert heard(message.remaining, {"result": {"header": HEADER, "ID": "77"}}) == 0, "gone"
    line = json.dumps({"result": {"header": HEADER, "events": [{"kv": KV}]}}).encode()
    assert message.change(line) == Change(keys=frozenset({"/kvm/7/ram"}), revision=7)
    line = json.dumps({"result": {"header": HEADER, "canceled": True}}).encode()
    assert message.change(line) == Change(revision=0, compacted=True)


@pytest.mark.parametrize("status", [200, 400, 503])
@pytest.mark.parametrize(
    "said",
    [
        {"error": "no", "code": 14, "message": "no"},
        {"error": {"grpc_code": 14, "http_code": 503, "message": "no"}},
    ],
)
def test_a_refusal(said: object, status: int) -> None:
    with pytest.raises(Refusal, match="no") as refused:
        heard(message.reply, said, status)
    assert refused.value.code == 14


FOREIGN: list[object] = [
    b"", b"\n", b"<html>", b"null", b"[]", b"{", b"7", b"true", b'"text"', b"\xff\xfe", b"NaN",
    b"[" * 200_000, b'{"a":' * 200_000, b"9" * 10_000,
    {}, {"message": "no healthy upstream"}, {"error": {}}, {"error": "no"}, {"result": None},
    {"result": []}, {"result": {}}, {"code": "14"}, {"code": [14]}, {"code": {}}, {"code": 503},
    {"code": 0}, {"code": 1.5}, {"code": 429, "message": "slow down"}, {"error": {"code": 404}},
    {"header": None}, {"header": []}, {"header": {}}, {"header": {"revision": None}},
    {"header": {"revision": "x"}}, {"header": {"revision": []}}, {"header": {"revision": "1" * 9999}},
]  # fmt: skip


@pytest.mark.parametrize("decode", DECODERS)
@pytest.mark.parametrize("said", FOREIGN, ids=lambda said: str(said)[:40])
@pytest.mark.parametrize("status", [200, 503])
def test_what_is_not_etcds_is_no_answer(
    said: object, decode: Callable[[Message], object], status: int
) -> None:
    with pytest.raises(NoAnswer, match=f"HTTP status {status}"):
        heard(decode, said, status)


WRONG: list[dict[str, object]] = [
    {"key": 7}, {"key": "a"}, {"key": "!!!!"}, {"value": None}, {"value": "é"},
    {"mod_revision": "x"}, {"mod_revision": None}, {"lease": {}}, {"lease": "1e400"},
]  # fmt: skip
RESPONSES: list[object] = [
    7, [7], [None], [[]], [{"response_range": []}], [{"response_range": {"kvs": {"a": 1}}}],
    *([{"response_range": {"kvs": [{**KV, **wrong}]}}] for wrong in WRONG),
]  # fmt: skip


@pytest.mark.parametrize("responses", RESPONSES, ids=str)
def test_a_transaction_that_is_none(responses: object) -> None:
    with pytest.raises(NoAnswer):
        heard(message.reply, {"header": HEADER, "responses": responses})


@pytest.mark.parametrize(
    "more", [{}, {"ID": "7"}, {"TTL": "9"}, {"ID": "0", "TTL": "9"}, {"ID": "7", "TTL": "-1"}, {"ID": [], "TTL": "9"}]
)  # fmt: skip
def test_a_lease_that_is_none(more: dict[str, object]) -> None:
    with pytest.raises(NoAnswer):
        heard(message.lease, {"header": HEADER, **more})


def test_a_status_that_is_not_200_is_no_answer_whatever_it_says() -> None:
    with pytest.raises(NoAnswer):
        heard(message.revision, {"header": HEADER}, 503)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["header", "revision", "result", "error", "code", "message", "responses", "kvs",
                 "response_range", "key", "value", "mod_revision", "lease", "ID", "TTL", "token",
                 "succeeded", "events", "kv", "canceled", "compact_revision"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)  # fmt: skip


@given(JSON, st.sampled_from(DECODERS))
@example({"header": {"revision": float("inf")}}, message.revision)
@settings(database=None)
def test_nothing_else_ever_comes_of_it(said: object, decode: Callable[[Message], object]) -> None:
    body = json.dumps(said).encode()
    with suppress(NoAnswer, Refusal):
        heard(decode, body)
    with suppress(NoAnswer, Refusal), message.understood():
        message.change(body)
