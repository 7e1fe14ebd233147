"""The store against a real etcd: what it does when etcd answers, hangs, forgets."""

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from chaos.gate import Gate
from etcd import Etcd, free_port, serving

from holdfast.config.endpoint import Endpoint, Protocol
from holdfast.config.settings import Settings
from holdfast.errors import OwnershipLost, Unreachable
from holdfast.etcd.store import Store, connect
from holdfast.etcd.txn import Delete, Put, Range, Unchanged, Unwritten
from holdfast.etcd.watch import Watch

pytestmark = pytest.mark.integration


def settings(protocol: Protocol, *ports: int) -> Settings:
    endpoints = tuple(Endpoint(host="127.0.0.1", port=port, tls=False) for port in ports)
    return replace(Settings(), endpoints=endpoints, etcd_protocol=protocol)


@pytest.fixture(params=list(Protocol))
def protocol(request: pytest.FixtureRequest) -> Protocol:
    """Both speakers must behave alike."""
    return Protocol(request.param)


@pytest.fixture
def store(own_etcd: Etcd, protocol: Protocol) -> Iterator[Store]:
    with connect(settings(protocol, own_etcd.port), timeout=1.0) as store:
        yield store


def test_ranges_come_from_one_revision(store: Store) -> None:
    store.txn(
        success=[
            Put(key="/a/x", value=b"1"),
            Put(key="/b/y", value=b"2"),
            Put(key="/bc", value=b"3"),
        ]
    )
    reply = store.read(Range(key="/a/", prefix=True), Range(key="/b/", prefix=True))
    assert {key: item.value for key, item in reply.items.items()} == {"/a/x": b"1", "/b/y": b"2"}


def test_a_transaction_compares(store: Store) -> None:
    first = store.txn([Unchanged(key="/a", revision=0)], [Put(key="/a", value=b"1")])
    second = store.txn(
        [Unchanged(key="/a", revision=0)], [Put(key="/a", value=b"2")], [Range(key="/a")]
    )
    assert first.succeeded
    assert not second.succeeded
    assert second.items["/a"].value == b"1"
    assert second.revision_of("/a") == first.revision
    assert store.txn([Unchanged(key="/a", revision=first.revision)], [Delete(key="/a")]).succeeded


def test_an_expired_lease_is_no_success(store: Store) -> None:
    lease, granted = store.grant(5)
    assert granted == 5
    assert store.keep_alive(lease) == 5
    store.revoke(lease)
    assert store.keep_alive(lease) == 0
    store.revoke(lease)  # again: nothing to complain about
    with pytest.raises(OwnershipLost):
        store.txn(success=[Put(key="/a", value=b"1", lease=lease)])


def test_a_paused_etcd_costs_a_deadline_and_no_more(store: Store, own_etcd: Etcd) -> None:
    own_etcd.pause()
    with pytest.raises(Unreachable, match=str(own_etcd.port)):
        store.read(Range(key="/a"))
    own_etcd.resume()
    deadline = time.monotonic() + 60
    while not readable(store):
        assert time.monotonic() < deadline, "it never came back"


def readable(store: Store) -> bool:
    with contextlib.suppress(Unreachable):
        return store.read(Range(key="/a")).succeeded
    return False


def test_a_dead_endpoint_is_passed_over(own_etcd: Etcd, protocol: Protocol) -> None:
    with connect(settings(protocol, free_port(), own_etcd.port), timeout=1.0) as store:
        assert store.read(Range(key="/a")).succeeded
        requests = store.requests
        assert store.read(Range(key="/a")).succeeded
        assert store.requests == requests + 1  # it stays with the one that answered


def test_threads_do_not_take_the_endpoint_that_answers_from_each_other(
    own_etcd: Etcd, protocol: Protocol
) -> None:
    """Each asks every endpoint, whatever the others have found."""
    endpoints = settings(protocol, free_port(), free_port(), own_etcd.port)
    with connect(endpoints, timeout=2.0) as store:
        answered: list[bool] = []
        readers = [
            threading.Thread(target=lambda: answered.append(readable(store))) for _ in range(8)
        ]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
        assert answered == [True] * 8


def test_a_name_that_nobody_knows_is_passed_over(own_etcd: Etcd) -> None:
    nowhere = Endpoint(host="etcd.invalid", port=2379)
    known = Endpoint(host="127.0.0.1", port=own_etcd.port)
    with connect(replace(Settings(), endpoints=(nowhere, known)), timeout=1.0) as store:
        assert store.read(Range(key="/a")).succeeded


def test_an_etcd_without_its_gateway_is_told_from_one_that_is_down(tmp_path: Path) -> None:
    with serving(tmp_path, "--enable-grpc-gateway=false") as etcd:
        with (
            connect(settings(Protocol.json, etcd.port)) as store,
            pytest.raises(Unreachable, match="ETCD_PROTOCOL=grpc"),
        ):
            store.read(Range(key="/a"))
        with connect(settings(Protocol.grpc, etcd.port)) as store:
            assert store.read(Range(key="/a")).succeeded


def test_requests_are_counted(store: Store) -> None:
    before = store.requests
    store.read(Range(key="/a"), Range(key="/b"))
    assert store.requests == before + 1


class Changes:
    """What a watch has told, to be waited for."""

    def __init__(self) -> None:
        self.keys: list[frozenset[str]] = []
        self._news = threading.Condition()

    def __call__(self, keys: frozenset[str]) -> None:
        with self._news:
            self.keys.append(keys)
            self._news.notify_all()

    def wait(self, wanted: frozenset[str]) -> bool:
        with self._news:
            return self._news.wait_for(lambda: self._told(wanted), timeout=15)

    def _told(self, wanted: frozenset[str]) -> bool:
        """No keys stand for a break; otherwise one call may bring more than was waited for."""
        return any(wanted <= keys if wanted else not keys for keys in self.keys)


def test_a_watch_tells_puts_and_deletes(store: Store) -> None:
    changes = Changes()
    revision = store.read(Range(key="/vm/")).revision
    with Watch(store, ["/vm/", "/else/"], revision, changes):
        store.txn(success=[Put(key="/vm/a", value=b"1")])
        assert changes.wait(frozenset({"/vm/a"}))
        changes.keys.clear()
        store.txn(success=[Delete(key="/vm/a")])
        assert changes.wait(frozenset({"/vm/a"}))
        store.txn(success=[Put(key="/else/b", value=b"1")])
        assert changes.wait(frozenset({"/else/b"}))
        store.txn(success=[Put(key="/vmother", value=b"1"), Put(key="/vm/last", value=b"1")])
        assert changes.wait(frozenset({"/vm/last"}))
        assert not any("/vmother" in keys for keys in changes.keys)


def test_a_watch_outlives_a_restart(store: Store, own_etcd: Etcd) -> None:
    changes = Changes()
    revision = store.read(Range(key="/vm/")).revision
    with Watch(store, ["/vm/"], revision, changes):
        own_etcd.stop()
        assert changes.wait(frozenset()), "that etcd is away must be told: its leases run out"
        own_etcd.start()
        own_etcd.ctl("put", "/vm/a", "1")
        assert changes.wait(frozenset({"/vm/a"}))


def test_a_watch_goes_on_at_another_endpoint(own_etcd: Etcd, protocol: Protocol) -> None:
    """One endpoint ends and one is dead already: etcd as a whole was never away."""
    with (
        Gate("127.0.0.1", [own_etcd.port]) as dying,
        connect(
            settings(protocol, *dying.ports, free_port(), own_etcd.port), timeout=2.0
        ) as store,
    ):
        changes = Changes()
        revision = store.read(Range(key="/vm/")).revision
        with Watch(store, ["/vm/"], revision, changes):
            own_etcd.ctl("put", "/vm/a", "1")
            assert changes.wait(frozenset({"/vm/a"}))
            dying.close()
            own_etcd.ctl("put", "/vm/b", "1")
            assert changes.wait(frozenset({"/vm/b"}))
            assert frozenset() not in changes.keys


def test_a_watch_survives_a_compaction(store: Store, own_etcd: Etcd) -> None:
    for number in range(5):
        own_etcd.ctl("put", "/vm/a", str(number))
    newest = store.read(Range(key="/vm/a")).revision
    own_etcd.ctl("compact", str(newest))
    changes = Changes()
    with Watch(store, ["/vm/"], 1, changes):
        assert changes.wait(frozenset())
        own_etcd.ctl("put", "/vm/b", "1")
        assert changes.wait(frozenset({"/vm/b"}))


def test_a_watch_may_be_closed_before_it_has_begun(store: Store, own_etcd: Etcd) -> None:
    own_etcd.pause()
    watch = Watch(store, ["/vm/"], 1, Changes())
    watch.close()
    own_etcd.resume()
    watch.join(10)
    assert not watch.is_alive()


def test_a_part_of_a_range_at_an_earlier_revision(store: Store) -> None:
    first = store.txn(success=[Put(key=f"/a/{letter}", value=b"1") for letter in "wxyz"])
    store.txn(success=[Delete(key="/a/", prefix=True), Put(key="/b", value=b"2")])
    assert store.read(Range(key="/a/", prefix=True)).items == {}
    part = store.read(Range(key="/a/x", end="/a/z", revision=first.revision))
    assert {key: item.value for key, item in part.items.items()} == {"/a/x": b"1", "/a/y": b"1"}
    page = store.read(
        Range(key="/a/", prefix=True, limit=3, revision=first.revision, keys_only=True)
    )
    assert {key: item.value for key, item in page.items.items()} == {
        "/a/w": b"",
        "/a/x": b"",
        "/a/y": b"",
    }


def test_a_transaction_sees_that_nothing_was_written_below_a_prefix(store: Store) -> None:
    seen = store.txn(success=[Put(key="/a/x", value=b"1"), Put(key="/a", value=b"1")])
    whole = [Unwritten(key="/a/", revision=seen.revision)]
    store.txn(success=[Put(key="/a", value=b"2"), Put(key="/a0", value=b"2")])
    assert store.txn(whole).succeeded, "neither is below it"
    store.txn(success=[Put(key="/a/y", value=b"2")])
    assert not store.txn(whole).succeeded, "one has come"
    assert store.txn([Unwritten(key="/none/", revision=1)]).succeeded
