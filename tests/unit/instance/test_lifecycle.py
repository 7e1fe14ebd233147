"""The table of a QEMU's life, read as a user would: what becomes of a stop."""

import pytest

from holdfast.instance.lifecycle import Action, Event, State, step


def walk(*events: Event, state: State = State.running) -> list[Action]:
    done: list[Action] = []
    for event in events:
        state, actions = step(state, event)
        done += actions
    return done


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        pytest.param([Event.stop], [Action.powerdown], id="a stop asks the guest first"),
        pytest.param(
            [Event.stop, Event.overdue, Event.overdue],
            [Action.powerdown, Action.quit, Action.kill],
            id="the ladder",
        ),
        pytest.param(
            [Event.stop, Event.hurry], [Action.powerdown, Action.quit], id="a second signal"
        ),
        pytest.param([Event.lost], [Action.kill], id="a lost VM is killed at once"),
        pytest.param(
            [Event.stop, Event.lost], [Action.powerdown, Action.kill], id="lost while stopping"
        ),
        pytest.param([Event.panic, Event.stop], [Action.quit], id="nobody is there to ask"),
        pytest.param([Event.panic, Event.lost], [Action.kill], id="a panicked VM is lost, too"),
        pytest.param(
            [Event.stop, Event.panic], [Action.powerdown, Action.quit], id="a panic while stopping"
        ),
        pytest.param(
            [Event.panic, Event.resumed, Event.stop],
            [Action.powerdown],
            id="an operator resumed it",
        ),
        pytest.param(
            [Event.lost, Event.stop, Event.hurry, Event.overdue], [Action.kill], id="killed once"
        ),
    ],
)
def test_the_way_of_a_stop(events: list[Event], expected: list[Action]) -> None:
    assert walk(*events) == expected


def test_a_guest_that_has_not_run_is_not_asked() -> None:
    assert walk(Event.stop, state=State.prelaunch) == [Action.quit]


def test_a_lost_vm_never_starts() -> None:
    assert walk(Event.lost, Event.start, state=State.prelaunch) == [Action.kill]


@pytest.mark.parametrize("state", State)
def test_an_exit_ends_every_state(state: State) -> None:
    assert step(state, Event.exited) == (State.gone, ())


@pytest.mark.parametrize("event", Event)
def test_nothing_happens_to_what_is_gone(event: Event) -> None:
    assert step(State.gone, event) == (State.gone, ())
