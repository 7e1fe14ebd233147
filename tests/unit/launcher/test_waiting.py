"""When a launcher waits for its VM, how long, and when that ends. The clock is a number."""

import pytest

from holdfast.errors import (
    ConfigError,
    HoldfastError,
    HostLacks,
    LockHeld,
    Outgrown,
    OwnershipLost,
    Unreachable,
    UsageError,
)
from holdfast.launcher.waiting import (
    FIRST,
    LONGEST,
    PASSING,
    RETRY,
    START,
    BackOff,
    Pause,
    Waiting,
)
from holdfast.ownership.holder import DiskInUse
from holdfast.ownership.verdict import LOOK_AGAIN, Obstacle

NOW = 1000.0
ELSEWHERE = Obstacle("the VM runs on kvm1")


def waiting(lock_wait: float | None = None, *, config_wait: bool = False) -> Waiting:
    return Waiting(lock_wait=lock_wait, config_wait=config_wait, now=NOW)


def stood_by(lock_wait: float | None = None) -> Waiting:
    one = waiting(lock_wait)
    assert one.judge(ELSEWHERE, NOW)
    return one


# -- what follows a look


@pytest.mark.parametrize(
    ("error", "first", "later"),
    [
        (ELSEWHERE, Pause(seconds=LOOK_AGAIN, lock_wait=True), "the same"),
        (Obstacle("soon", 10.0, lock_wait=False), Pause(seconds=10.0), "the same"),
        (LockHeld("in use"), Pause(seconds=RETRY, lock_wait=True), "the same"),
        (DiskInUse("in use", id="x"), Pause(seconds=RETRY, lock_wait=True), "the same"),
        (Unreachable("etcd"), Pause(seconds=RETRY, topic="unreachable"), "the same"),
        (Outgrown("larger"), None, None),
        (ConfigError("wrong"), None, Pause(seconds=LOOK_AGAIN)),
        (HostLacks("no KVM"), None, Pause(seconds=LOOK_AGAIN)),
        (UsageError("wrong"), None, Pause(seconds=LOOK_AGAIN)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_first_start_and_who_has_stood_by(
    error: HoldfastError | Obstacle, first: Pause | None, later: Pause | str | None
) -> None:
    """Wrong keys end a first start; a standby that works must not end by an edit that is wrong for a minute."""
    assert waiting().judge(error, NOW) == first
    assert stood_by().judge(error, NOW) == (first if later == "the same" else later)


def test_a_vm_that_ran_has_stood_by() -> None:
    one = waiting()
    one.has_run(NOW)
    assert one.judge(ConfigError("wrong"), NOW) == Pause(seconds=LOOK_AGAIN)


def test_wrong_keys_are_waited_for_where_that_was_asked_for() -> None:
    one = waiting(config_wait=True)
    assert one.judge(HostLacks("no KVM"), NOW) is None
    assert one.judge(ConfigError("wrong"), NOW) == Pause(seconds=LOOK_AGAIN)
    assert one.judge(HostLacks("no KVM"), NOW), "it has waited, so it stands by now"


@pytest.mark.parametrize(
    ("lock_wait", "gets"), [(None, START), (5.0, 5.0), (0.0, 0.0), (600.0, START)]
)
def test_etcd_gets_so_long_to_answer_at_a_first_start(
    lock_wait: float | None, gets: float
) -> None:
    one = waiting(lock_wait)
    last = NOW + gets - RETRY
    if gets > RETRY:
        assert one.judge(Unreachable("etcd"), last)
    assert one.judge(Unreachable("etcd"), last + 0.1) is None
    assert one.judge(ConfigError("wrong"), NOW) is None, "waiting for etcd is not standing by"


def test_who_has_stood_by_waits_for_etcd_without_end() -> None:
    assert stood_by().judge(Unreachable("etcd"), NOW + 1e6)


# -- LOCK_WAIT


def test_a_pause_ends_by_itself() -> None:
    assert waiting().end(Pause(seconds=60, lock_wait=True), "why", NOW) == NOW + 60


def test_lock_wait_ends_it_sooner_and_for_good() -> None:
    one, pause = waiting(100), Pause(seconds=60, lock_wait=True)
    assert one.end(pause, "why", NOW) == NOW + 60
    assert one.end(pause, "why", NOW + 60) == NOW + 100
    with pytest.raises(LockHeld, match="it runs on kvm1, and LOCK_WAIT is over"):
        one.end(pause, "it runs on kvm1", NOW + 100)


def test_lock_wait_is_over_at_once() -> None:
    with pytest.raises(LockHeld):
        waiting(0).end(Pause(seconds=60, lock_wait=True), "why", NOW)


def test_only_waiting_for_the_vm_counts() -> None:
    assert waiting(1).end(Pause(seconds=60), "why", NOW + 500) == NOW + 560


def test_lock_wait_begins_anew_after_a_run_and_after_a_start_that_failed() -> None:
    pause = Pause(seconds=60, lock_wait=True)
    one = waiting(10)
    one.has_run(NOW + 500)
    assert one.end(pause, "why", NOW + 500) == NOW + 510
    one.put_off(HostLacks("no KVM"), "1@1", NOW + 800, has_run=False)
    assert one.end(pause, "why", NOW + 805) == NOW + 810


# -- a start that failed


@pytest.mark.parametrize(
    ("error", "standby", "has_run", "goes_on"),
    [
        (HostLacks("no KVM"), False, False, False),
        (HostLacks("no KVM"), True, False, True),
        (ConfigError("wrong"), False, False, False),
        (LockHeld("in use"), False, False, True),
        (Unreachable("etcd"), False, False, True),
        (OwnershipLost("quicker"), False, False, True),
        (OwnershipLost("lost"), True, True, False),  # a guest of ours ran: the launcher ends
        (OwnershipLost("lost"), False, True, False),
        (LockHeld("in use"), True, True, True),
    ],
)
def test_a_start_that_failed_is_put_off_or_the_end(
    error: HoldfastError, standby: bool, has_run: bool, goes_on: bool
) -> None:
    one = stood_by() if standby else waiting()
    seconds = one.put_off(error, "1@1", NOW, has_run=has_run)
    assert (seconds is not None) is goes_on
    assert (one.left("1@1", NOW) > 0) is goes_on


@pytest.mark.parametrize("error", [HostLacks("x"), *(kind("x") for kind in PASSING)])
def test_it_is_put_off_for_longer_each_time(error: HoldfastError) -> None:
    one = BackOff()
    seconds = [one.begin(error, "1@1", NOW) for _ in range(30)]
    assert seconds[:2] == [FIRST, 2 * FIRST]
    assert seconds == sorted(seconds)
    assert seconds[-1] == PASSING.get(type(error), LONGEST)


def test_a_changed_key_ends_it() -> None:
    one = stood_by()
    one.put_off(HostLacks("no KVM"), "1@1", NOW, has_run=False)
    assert one.left("1@1", NOW + 1) == FIRST - 1
    assert one.left("1@2", NOW + 1) == 0
    one.put_off(HostLacks("no KVM"), "1@2", NOW, has_run=False)
    assert one.left("1@2", NOW) == FIRST, "and what failed before counts no more"


@pytest.mark.parametrize("way", ["it ran here", "it runs elsewhere"])
def test_a_vm_that_runs_is_not_put_off(way: str) -> None:
    one = stood_by()
    one.put_off(HostLacks("no KVM"), "1@1", NOW, has_run=False)
    one.has_run(NOW) if way == "it ran here" else one.runs_elsewhere()
    assert one.left("1@1", NOW) <= 0
