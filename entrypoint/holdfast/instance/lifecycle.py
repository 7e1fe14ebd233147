"""The life of one QEMU, as a table: (state, event) -> (state, actions).

Stopping is a ladder: ask the guest, then QEMU, then the kernel. Each step waits for the exit of
QEMU; its time-out leads to the next one.
"""

from enum import Enum, auto


class State(Enum):
    prelaunch = auto()  # QEMU is up and the guest has not run yet
    running = auto()
    panicked = auto()  # the guest's kernel has, and QEMU keeps it as it is
    stopping = auto()  # the guest was asked to power down
    quitting = auto()  # QEMU was asked to quit: disks are flushed and closed
    killing = auto()  # SIGKILL was sent
    gone = auto()


class Event(Enum):
    start = auto()
    stop = auto()  # a signal, or power=off
    hurry = auto()  # a second signal
    panic = auto()
    resumed = auto()  # by an operator, after a panic
    overdue = auto()  # the state's time is over
    lost = auto()  # the VM is not ours any more
    exited = auto()  # QEMU was reaped


class Action(Enum):
    cont = auto()
    powerdown = auto()
    quit = auto()
    kill = auto()


Step = tuple[State, tuple[Action, ...]]

_STOPPING: Step = (State.stopping, (Action.powerdown,))
_QUITTING: Step = (State.quitting, (Action.quit,))
_KILLING: Step = (State.killing, (Action.kill,))

TABLE: dict[tuple[State, Event], Step] = {
    (State.prelaunch, Event.start): (State.running, (Action.cont,)),
    (State.prelaunch, Event.stop): _QUITTING,
    (State.prelaunch, Event.lost): _KILLING,
    (State.running, Event.stop): _STOPPING,
    (State.running, Event.hurry): _QUITTING,
    (State.running, Event.lost): _KILLING,
    (State.running, Event.panic): (State.panicked, ()),
    (State.panicked, Event.resumed): (State.running, ()),
    (State.panicked, Event.stop): _QUITTING,  # nobody is there who could power down
    (State.panicked, Event.lost): _KILLING,
    (State.stopping, Event.panic): _QUITTING,
    (State.stopping, Event.hurry): _QUITTING,
    (State.stopping, Event.overdue): _QUITTING,
    (State.stopping, Event.lost): _KILLING,
    (State.quitting, Event.hurry): _KILLING,
    (State.quitting, Event.overdue): _KILLING,
    (State.quitting, Event.lost): _KILLING,
    # A process in an uninterruptible wait keeps SIGKILL pending: go on waiting, never let go of the disks.
    **{(state, Event.exited): (State.gone, ()) for state in State},
}


def step(state: State, event: Event) -> Step:
    """Look up what follows. A pair that the table does not name changes nothing."""
    return TABLE.get((state, event), (state, ()))
