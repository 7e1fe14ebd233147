"""The protocol against a real etcd: every compare is shown to hold by breaking what it guards."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from operator import attrgetter
from typing import Any

import pytest
from etcd import Etcd

from holdfast.config.settings import Endpoint, Settings
from holdfast.errors import ConfigError, OwnershipLost, Unreachable
from holdfast.etcd.store import Store, connect
from holdfast.etcd.txn import Item, Range, Reply
from holdfast.host import Host
from holdfast.ownership.lock import Hold
from holdfast.ownership.names import Names
from holdfast.ownership.records import Claim, Image, ImageKind, clients_of, encode, left_to_time
from holdfast.ownership.session import Session
from holdfast.ownership.taking import Taking
from holdfast.ownership.verdict import Verdict, judge

pytestmark = pytest.mark.integration

DISK = Image(disk="root", kind=ImageKind.file, id="file/m1/srv/disk.raw")
HOSTS = {name: Host(name=name, machine_id="m1", boot_id="b") for name in "ab"}


@pytest.fixture
def store(etcd_server: Etcd) -> Iterator[Store]:
    endpoint = Endpoint(host="127.0.0.1", port=etcd_server.port, tls=False)
    with connect(replace(Settings(), endpoints=(endpoint,))) as store:
        yield store


@pytest.fixture
def names(request: pytest.FixtureRequest) -> Names:
    """A tree of its own for each test."""
    return Names.of(f"/{request.node.name}", "7", f"/{request.node.name}/7/lock")


def seen(store: Store, names: Names) -> Reply:
    single = (names.tree, names.last, names.tpm)
    return store.read(
        *(Range(key=prefix, prefix=True) for prefix in (names.keys, names.own)),
        *(Range(key=key) for key in single),
    )


def left(names: Names) -> set[str]:
    """What stays of a VM that has let go: the tombstones that keep older launchers off, too."""
    return {names.epoch, names.last, names.tree, names.legacy.epoch, names.legacy.fence}


Taker = Callable[..., Hold]


def claimed(
    store: Store, names: Names, host: str, disks: Sequence[Image], tpm: bytes = b""
) -> Hold:
    """A hold that has gone as far as its claims."""
    session = Session(store, names, HOSTS[host], 10)
    taking = Taking(session, seen(store, names), disks)
    claims = taking.lock()
    assert claims is not None
    taking.raise_epoch()
    return Hold(session, taking.claim(claims), lambda: tpm)


@pytest.fixture
def taken(store: Store, names: Names) -> Taker:
    """A hold that has gone as far as its record."""

    def take(
        host: str = "a",
        *,
        disks: tuple[Image, ...] = (DISK,),
        vm: Names = names,
        clients: tuple[str, ...] = (),
        tpm: bytes = b"",
    ) -> Hold:
        hold = claimed(store, vm, host, disks, tpm)
        hold.record(disks, frozenset(clients))
        return hold

    return take


def test_one_takes_and_the_other_does_not(store: Store, names: Names, taken: Taker) -> None:
    hold = taken("a")
    assert Taking(Session(store, names, HOSTS["b"], 10), seen(store, names), [DISK]).lock() is None
    assert hold.session.look()[0] is Verdict.held


def test_nothing_stays_of_a_clean_stop_but_the_epoch(
    store: Store, names: Names, taken: Taker
) -> None:
    taken("a").release(b"{}", clean=True)
    keys = store.read(Range(key=names.claims.removesuffix("_claims/"), prefix=True)).items
    assert set(keys) == left(names)


ADDRESSES = ("mac/52:54:00:aa:bb:cc", "address/br0/10.77.0.5")


def test_addresses_are_claimed_with_the_disks_and_go_with_them(store: Store, names: Names) -> None:
    """Also those that a crashed owner had and the keys name no more."""

    def claimed() -> set[str]:
        found = store.read(Range(key=names.claims, prefix=True)).items
        return {key.removeprefix(names.claims) for key in found}

    def take(addresses: tuple[str, ...]) -> Hold:
        session = Session(store, names, HOSTS["a"], 10)
        taking = Taking(session, seen(store, names), [DISK], addresses)
        claims = taking.lock()
        assert claims is not None
        taking.raise_epoch()
        before = store.requests
        hold = Hold(session, taking.claim(claims))
        assert store.requests == before + 1
        hold.record([DISK], frozenset())
        return hold

    crashed = take(ADDRESSES)
    assert claimed() == {DISK.id, *ADDRESSES}
    store.revoke(crashed.session.lease)
    after = take(ADDRESSES[:1])
    assert claimed() == {DISK.id, ADDRESSES[0]}
    store.revoke(after.session.lease)
    assert not crashed.take_again()
    assert after.take_again()
    after.release(b"{}", clean=True)
    assert not claimed()


def test_the_epoch_only_goes_up(taken: Taker) -> None:
    epochs = []
    for host in "abab":
        hold = taken(host)
        epochs.append(hold.taken.epoch)
        hold.release(b"{}", clean=True)
    assert epochs == [1, 2, 3, 4]


@pytest.mark.parametrize(
    "key", ["epoch", "fence", "host", "power", "legacy.epoch", "legacy.fence"]
)
def test_a_taker_that_judged_by_old_keys_does_not_win(
    store: Store, names: Names, etcd_server: Etcd, key: str
) -> None:
    judged = seen(store, names)
    etcd_server.ctl("put", attrgetter(key)(names), "0")
    assert Taking(Session(store, names, HOSTS["a"], 10), judged, [DISK]).lock() is None
    assert names.lock not in seen(store, names).items


def test_a_holder_sees_a_new_owner(taken: Taker, etcd_server: Etcd, names: Names) -> None:
    old = taken("a")
    etcd_server.ctl("del", names.lock)
    assert old.session.look()[0] is Verdict.vacant
    new = taken("b")
    assert old.session.look()[0] is Verdict.lost
    assert new.taken.epoch == old.taken.epoch + 1
    assert not old.take_again()


def test_a_late_record_of_the_old_owner_hides_nothing(
    store: Store, taken: Taker, etcd_server: Etcd, names: Names
) -> None:
    old = taken("a")
    etcd_server.ctl("del", names.lock)
    new = taken("b")
    record = seen(store, names).items[names.fence]
    with pytest.raises(OwnershipLost):
        old.record([DISK], frozenset())
    with pytest.raises(OwnershipLost):
        old.release(b"{}", clean=True, power_off=True)
    after = seen(store, names)
    assert after.items[names.fence] == record
    assert names.power not in after.items
    assert judge(after, names, new.session.standing) is Verdict.held


def test_a_holder_takes_its_lock_again(taken: Taker, etcd_server: Etcd, names: Names) -> None:
    hold = taken("a")
    etcd_server.ctl("lease", "revoke", f"{hold.session.lease:x}")
    assert not hold.session.renew(timed=hold.taken.timed)
    assert hold.session.look()[0] is Verdict.vacant
    assert hold.take_again()
    assert hold.session.look()[0] is Verdict.held
    assert hold.session.renew(timed=hold.taken.timed)


@pytest.mark.parametrize("done", [True, False], ids=["done", "not done"])
def test_a_record_whose_reply_was_lost_is_read_back(
    store: Store, taken: Taker, etcd_server: Etcd, names: Names, done: bool
) -> None:
    """Else the lock could never be taken again, and nothing recorded any more."""
    hold = taken("a")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "txn", losing(store, done=done))
        with pytest.raises(Unreachable):
            hold.record([DISK], frozenset({"10.0.0.1:0/1"}))
    etcd_server.ctl("del", names.lock)
    assert hold.take_again()
    hold.record([DISK], frozenset({"10.0.0.1:0/2"}))
    assert clients_of(seen(store, names).items[names.fence]) == {"10.0.0.1:0/2"}


def test_somebody_elses_record_is_not_taken_for_ours(
    store: Store, taken: Taker, etcd_server: Etcd, names: Names
) -> None:
    """An operator has made the record forgotten, and the VM was taken: the epoch is not ours."""
    old = taken("a")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "txn", losing(store, done=False))
        with pytest.raises(Unreachable):
            old.record([DISK], frozenset({"10.0.0.1:0/1"}))
    etcd_server.ctl("del", names.lock)
    new = taken("b")
    etcd_server.ctl("del", names.lock)
    assert not old.take_again()
    assert new.take_again()


def losing(store: Store, *, done: bool) -> Callable[..., Reply]:
    """A network that loses the reply, or the request."""
    real = store.txn

    def txn(*request: Any) -> Reply:
        if done:
            real(*request)
        raise Unreachable("lost")

    return txn


def test_a_stop_after_the_lease_ran_out_is_still_clean(
    store: Store, taken: Taker, etcd_server: Etcd, names: Names
) -> None:
    hold = taken("a")
    etcd_server.ctl("lease", "revoke", f"{hold.session.lease:x}")
    hold.release(b"{}", clean=True)
    assert set(seen(store, names).items) == left(names)


def test_a_record_is_not_written_without_its_claims(
    taken: Taker, etcd_server: Etcd, names: Names
) -> None:
    hold = taken("a")
    etcd_server.ctl("put", names.claims + DISK.id, "{}")
    with pytest.raises(OwnershipLost):
        hold.record([DISK], frozenset())


def other(names: Names) -> Names:
    prefix = names.prefix
    return Names.of(prefix, "8", f"{prefix}/8/lock")


def test_a_disk_of_a_running_vm_is_refused(store: Store, names: Names, taken: Taker) -> None:
    hold = taken("a")
    with pytest.raises(ConfigError, match="in use by VM 7"):
        taken("b", vm=other(names))
    assert hold.session.look()[0] is Verdict.held


def test_a_disk_that_a_dead_vm_left_is_taken_from_it(
    taken: Taker, etcd_server: Etcd, names: Names
) -> None:
    dead = taken("a")
    etcd_server.ctl("del", names.lock)
    taken("b", vm=other(names))
    assert dead.session.look()[0] is Verdict.lost, "its epoch is raised, so it may not go on"
    assert not dead.take_again()


def test_a_damaged_claim_is_nobodys_to_take(taken: Taker, etcd_server: Etcd, names: Names) -> None:
    etcd_server.ctl("put", names.claims + DISK.id, "not json")
    with pytest.raises(ConfigError, match="damaged"):
        taken("a")


def test_an_unclean_stop_leaves_the_record(store: Store, taken: Taker, names: Names) -> None:
    taken("a").release(b"{}", clean=False)
    found = seen(store, names).items
    assert names.fence in found
    assert names.lock not in found


def test_a_start_with_nothing_to_fence_costs_few_requests(store: Store, taken: Taker) -> None:
    before = store.requests
    taken("a").publish(b"{}")
    assert store.requests - before <= 8


IN_CEPH = Image(disk="root", kind=ImageKind.rbd, id="rbd/fsid/pool/image")


def test_the_clients_of_an_earlier_owner_are_suspects(
    taken: Taker, names: Names, store: Store
) -> None:
    taken("a", disks=(IN_CEPH,), clients=("10.0.0.1:0/7",)).release(b"{}", clean=False)
    assert claimed(store, names, "b", [IN_CEPH]).taken.suspects == {"10.0.0.1:0/7"}


def test_the_clients_of_a_dead_vm_come_with_its_disk(
    taken: Taker, names: Names, store: Store, etcd_server: Etcd
) -> None:
    taken("a", disks=(IN_CEPH,), clients=("10.0.0.1:0/7",))
    etcd_server.ctl("del", names.lock)
    heir = other(names)
    assert claimed(store, heir, "b", [IN_CEPH]).taken.suspects == {"10.0.0.1:0/7"}
    # Should this one die before it has fenced, the next finds them in its record.
    record = seen(store, heir).items[heir.fence]
    assert clients_of(record) == {"10.0.0.1:0/7"}


def test_a_disk_that_the_keys_name_no_more_is_set_free(
    taken: Taker, names: Names, store: Store, etcd_server: Etcd
) -> None:
    """It was the VM's when its host died; since then it was given to another VM."""
    taken("a")
    etcd_server.ctl("del", names.lock)
    taken("b", disks=())
    assert names.claims + DISK.id not in store.read(Range(key=names.claims, prefix=True)).items
    assert taken("a", vm=other(names)).session.look()[0] is Verdict.held


def test_the_claim_of_another_vm_is_not_set_free(
    taken: Taker, names: Names, store: Store, etcd_server: Etcd
) -> None:
    taken("a")
    etcd_server.ctl("del", names.lock)
    heir = taken("b", vm=other(names))
    taken("a", disks=())
    assert names.claims + DISK.id in store.read(Range(key=names.claims, prefix=True)).items
    assert heir.session.look()[0] is Verdict.held


def test_two_disks_of_one_dead_vm_are_taken_together(
    taken: Taker, names: Names, etcd_server: Etcd
) -> None:
    second = Image(disk="data", kind=ImageKind.file, id="file/m1/srv/data.raw")
    taken("a", disks=(DISK, second))
    etcd_server.ctl("del", names.lock)
    assert taken("b", vm=other(names), disks=(DISK, second)).session.look()[0] is Verdict.held


SHARED = Image(disk="root", kind=ImageKind.shared, id="shared/a-folder/disk.raw")


def test_where_time_guards_a_renewal_is_witnessed(
    store: Store, names: Names, taken: Taker, etcd_server: Etcd
) -> None:
    """A lease that is renewed says nothing of the lock: a leader that was replaced may answer."""
    timed, untimed = taken(disks=(SHARED,)), taken(vm=other(names))
    assert timed.session.renew(timed=timed.taken.timed)
    before = timed.session.last_resort()
    for hold in (timed, untimed):
        etcd_server.ctl("del", hold.session.names.lock)
    assert not timed.session.renew(timed=timed.taken.timed)
    assert timed.session.last_resort() == before
    assert untimed.session.renew(timed=untimed.taken.timed)


def test_who_comes_after_a_record_that_only_time_has_stopped_outlasts_it(
    store: Store, names: Names, taken: Taker
) -> None:
    first = taken(disks=(SHARED,))
    assert not first.taken.outlast
    first.session.abandon()
    second = taken("b", disks=(SHARED,))
    assert second.taken.outlast
    second.release(b"{}", clean=True)
    assert not taken("a", disks=(SHARED,)).taken.outlast


def test_a_disk_taken_from_another_vm_is_outlasted_by_whoever_comes_next(
    store: Store, names: Names, taken: Taker
) -> None:
    """A taker that dies while it waits has left no record of its own: the claim brings one along."""
    taken(disks=(SHARED,)).session.abandon()
    theirs = other(names)
    hold = claimed(store, theirs, "b", [SHARED])
    assert hold.taken.outlast
    hold.session.abandon()
    assert left_to_time(seen(store, theirs).items[theirs.fence])


def test_a_release_that_wrote_nothing_is_no_release(
    taken: Taker, names: Names, store: Store, etcd_server: Etcd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock runs out between the look and the transaction: `power=off` must not get lost."""
    hold = taken("a")
    looked = hold.session.look

    def look_and_lose() -> object:
        found = looked()
        etcd_server.ctl("lease", "revoke", f"{hold.session.lease:x}")
        return found

    monkeypatch.setattr(hold.session, "look", look_and_lose)
    with pytest.raises(Unreachable):
        hold.release(b"{}", clean=True, power_off=True)
    monkeypatch.undo()
    hold.release(b"{}", clean=True, power_off=True)
    assert etcd_server.get(names.power) == "off"
    assert names.fence not in seen(store, names).items


# -- an etcd that knows less


def wipe(etcd: Etcd, names: Names) -> None:
    etcd.ctl("del", "--prefix", names.claims.removesuffix("_claims/"))


def test_an_owner_writes_back_what_a_wiped_etcd_has_lost(
    store: Store, names: Names, taken: Taker, etcd_server: Etcd
) -> None:
    tpm = b"what a guest has sealed its disk with"
    hold = taken("a", disks=(IN_CEPH,), clients=("10.0.0.1:0/7",), tpm=tpm)
    hold.keep_tpm(tpm)
    before = {key: item.value for key, item in everything(store, names).items()}
    wipe(etcd_server, names)
    assert hold.session.look()[0] is Verdict.outdated
    assert hold.restore()
    assert hold.session.look()[0] is Verdict.held
    after = {key: item.value for key, item in everything(store, names).items()}
    assert {key: value for key, value in after.items() if key != names.lock} == {
        key: value for key, value in before.items() if key != names.lock
    }
    hold.record([IN_CEPH], frozenset({"10.0.0.1:0/8"}))
    hold.release(b"{}", clean=True)
    assert set(everything(store, names)) == left(names) | {names.tpm}


def everything(store: Store, names: Names) -> dict[str, Item]:
    return dict(store.read(Range(key=names.claims.removesuffix("_claims/"), prefix=True)).items)


def test_an_owner_goes_on_in_an_etcd_of_yesterday(
    store: Store, names: Names, taken: Taker, etcd_server: Etcd
) -> None:
    hold = taken("a")
    for key, value in ((names.epoch, "0"), (names.fence, "of yesterday")):
        etcd_server.ctl("put", key, value)
    etcd_server.ctl("del", names.lock)
    assert hold.session.look()[0] is Verdict.outdated
    assert hold.restore()
    assert seen(store, names).items[names.epoch].value == b"1"
    assert hold.session.look()[0] is Verdict.held


def test_a_record_that_was_lost_alone_is_written_back(
    store: Store, names: Names, taken: Taker, etcd_server: Etcd
) -> None:
    """etcd is of a moment between our epoch and our record."""
    hold = taken("a")
    for key in (names.fence, names.lock):
        etcd_server.ctl("del", key)
    assert not hold.take_again()
    assert hold.restore()
    assert names.fence in seen(store, names).items


@pytest.mark.parametrize("what", ["lock", "epoch", "claim"])
def test_writing_back_hides_nobody(
    store: Store, names: Names, taken: Taker, etcd_server: Etcd, what: str
) -> None:
    hold = taken("a")
    wipe(etcd_server, names)
    other = Claim(vm="8", lock=names.lock + "8", epoch=1, machine_id="m1")
    key, value = {
        "lock": (names.lock, b"somebody's"),
        "epoch": (names.epoch, b"2"),
        "claim": (names.claims + DISK.id, encode(other)),
    }[what]
    etcd_server.ctl("put", key, value.decode())
    assert not hold.restore()
    assert seen(store, names).items.get(names.fence) is None
    assert everything(store, names)[key].value == value


def test_a_taker_in_between_is_not_hidden(
    store: Store, names: Names, taken: Taker, etcd_server: Etcd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It judged by the wiped etcd, and takes the VM between the owner's read and its transaction."""
    hold = taken("a")
    wipe(etcd_server, names)
    read = store.read

    def taken_meanwhile(*ranges: Range) -> Reply:
        reply = read(*ranges)
        monkeypatch.undo()
        taken("b")
        return reply

    monkeypatch.setattr(store, "read", taken_meanwhile)
    assert not hold.restore()
    assert hold.session.look()[0] is not Verdict.held


def test_what_an_older_history_has_left_is_given_away_cleanly(
    store: Store, names: Names, taken: Taker, etcd_server: Etcd
) -> None:
    hold = taken("a")
    wipe(etcd_server, names)
    hold.release(b"{}", clean=True, power_off=True)
    keys = everything(store, names)
    assert keys[names.power].value == b"off"
    assert names.fence not in keys


def test_two_trees_have_two_ids(store: Store, taken: Taker, names: Names) -> None:
    first = taken("a")
    other = Names.of(f"{names.prefix}-2", "7", "/x/lock")
    second = taken("a", vm=other)
    assert first.taken.tree != second.taken.tree
    first.release(b"{}", clean=True)
    assert taken("b").taken.tree == first.taken.tree
