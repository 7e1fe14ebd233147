"""Whether QEMU is started again in place, and what it is called when it is not."""

import pytest

from holdfast.instance.launch import Launch
from holdfast.instance.outcome import Ending, How
from holdfast.instance.restart import MOST, MOST_OFFS, WITHIN, Restarts
from holdfast.machine import Machine, OnCrash, OnPoweroff
from holdfast.system import cgroup

KILLED = Ending(how=How.died, qemu=-9)
PANICKED = Ending(how=How.panicked, qemu=0)
OFF = Ending(how=How.powered_off, qemu=0)


def machine(**power: object) -> Machine:
    return Machine(vm="7", hostname="7", uuid="", machine="q35", **power)  # type: ignore[arg-type]


@pytest.mark.parametrize("ending", [KILLED, PANICKED], ids=str)
@pytest.mark.parametrize(
    ("on_crash", "again"),
    [(OnCrash.restart, True), (OnCrash.stop, False), (OnCrash.pause, False)],
)
def test_a_crash(ending: Ending, on_crash: OnCrash, again: bool) -> None:
    judged = Restarts(machine=machine(on_crash=on_crash)).judge(ending, 0)
    assert judged == (None if again else ending)


def test_one_restart_too_many_is_a_crash_loop() -> None:
    restarts = Restarts(machine=machine())
    assert [restarts.judge(KILLED, number) for number in range(MOST)] == [None] * MOST
    judged = restarts.judge(KILLED, WITHIN - 1)
    assert judged == Ending(how=How.crash_loop, qemu=-9)
    assert judged.status == 70


def test_want_of_memory_is_called_that_however_often_it_came() -> None:
    starved = Ending(how=How.starved, qemu=-9)
    restarts = Restarts(machine=machine())
    assert [restarts.judge(starved, number) for number in range(MOST)] == [None] * MOST
    assert restarts.judge(starved, MOST) == starved
    assert (starved.crashed, starved.status) == (True, 137)
    assert "memory" in str(starved)


@pytest.mark.parametrize(
    ("status", "kills", "starved"),
    [
        pytest.param(-9, 3, True, id="killed, and the kernel's count has risen"),
        pytest.param(-9, 2, False, id="killed by somebody"),
        pytest.param(-6, 3, False, id="it has aborted, and something else was killed"),
        pytest.param(0, 3, False, id="it has ended in order"),
    ],
)
def test_who_was_killed_for_memory(
    status: int, kills: int, starved: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    launch = Launch.__new__(Launch)
    launch._kills = 2  # before QEMU was started
    monkeypatch.setattr(cgroup, "oom_kills", lambda: kills)
    assert launch.starved(status) is starved


def test_crashes_long_ago_do_not_count() -> None:
    restarts = Restarts(machine=machine())
    for number in range(10):
        assert restarts.judge(KILLED, number * (WITHIN / MOST + 1)) is None


def test_a_power_off_stops_unless_it_is_to_restart() -> None:
    assert Restarts(machine=machine()).judge(OFF, 0) == OFF
    restarts = Restarts(machine=machine(on_poweroff=OnPoweroff.restart))
    assert [restarts.judge(OFF, 0) for _ in range(MOST_OFFS)] == [None] * MOST_OFFS
    judged = restarts.judge(OFF, WITHIN - 1)
    assert judged == Ending(how=How.off_loop, qemu=0)
    assert (judged.crashed, judged.status) == (True, 70)


def test_a_guest_that_is_switched_off_now_and_then_is_in_use() -> None:
    restarts = Restarts(machine=machine(on_poweroff=OnPoweroff.restart))
    for number in range(50):
        assert restarts.judge(OFF, number * (WITHIN / MOST_OFFS + 1)) is None


@pytest.mark.parametrize(
    "how", [How.stopped, How.switched_off, How.forced, How.lost, How.rebooted]
)
def test_what_was_asked_for_is_never_restarted(how: How) -> None:
    ending = Ending(how=how, qemu=-9)
    restarts = Restarts(machine=machine(on_poweroff=OnPoweroff.restart))
    assert restarts.judge(ending, 0) == ending


@pytest.mark.parametrize(
    ("how", "qemu", "status"),
    [
        (How.died, -9, 137),
        (How.died, 1, 1),
        (How.died, 0, 70),
        (How.died, 76, 70),
        (How.panicked, 0, 70),
        (How.crash_loop, -11, 70),
        (How.lost, -9, 76),
        (How.forced, -9, 0),
        (How.powered_off, 0, 0),
        (How.rebooted, 0, 0),
    ],
)
def test_the_exit_status(how: How, qemu: int, status: int) -> None:
    assert Ending(how=how, qemu=qemu).status == status
