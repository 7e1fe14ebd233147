"""What a VM has come to since its power was switched, from the records of its launchers."""

from holdfast.cli.vm_state import Facts, said
from holdfast.dataclass import dataclass, field
from holdfast.ownership.last_run import CRASHED

UP = frozenset({"running", "paused", "panicked"})
FAILED, UNTOLD = 70, 75


@dataclass(frozen=True, kw_only=True)
class Sight:
    """`ended`: `last` was written since the switch."""

    status: Facts = field(default_factory=dict)
    last: Facts = field(default_factory=dict)
    locked: str = ""
    ended: bool = False


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """`status` is the command's."""

    text: str
    status: int = 0


def started(vm: str, sight: Sight) -> Outcome | None:
    """None while it may still come."""
    if sight.status:
        state, host = said(sight.status, "state"), said(sight.status, "host")
        return Outcome(text=f"is {state} on {host}") if state in UP else None
    if sight.ended and not sight.locked and sight.last.get("state") == CRASHED:
        text = f"crashed on {said(sight.last, 'host')}: {said(sight.last, 'why')}; the log there says more"
        return Outcome(text=text, status=FAILED)
    return None


def stopped(vm: str, sight: Sight) -> Outcome | None:
    if sight.status or sight.locked:
        return None
    why = said(sight.last, "why") if sight.ended else "its lock is gone"
    forced = (
        ", by force: its guest did not power down in time"
        if sight.last.get("forced") and sight.ended
        else ""
    )
    return Outcome(text=f"is down{forced} ({why}); nobody starts it until: holdfast start {vm}")


def untold(vm: str, sight: Sight, *, up: bool) -> Outcome:
    """The time is over."""
    if not up:
        text = f"is not down yet on {sight.locked or said(sight.status, 'host')}, and will be: power is off"
    elif sight.locked:
        text = f"is still being started on {sight.locked}: its log says what takes so long"
    elif sight.ended:
        text = f"did not start on {said(sight.last, 'host')} ({said(sight.last, 'why')}): its log says why"
    else:
        text = (
            "was taken by no host: does a launcher stand by for it (systemctl start kvm@"
            f"{vm}; STAY=on where it is to hear of power)? Its log says what bars it"
        )
    return Outcome(text=f"{text}. holdfast show {vm}", status=UNTOLD)
