"""How long to wait for a VM, and when the waiting ends. `now` is of any clock that only goes forward, in seconds."""

from holdfast.dataclass import dataclass
from holdfast.errors import (
    ConfigError,
    HoldfastError,
    LockHeld,
    Outgrown,
    OwnershipLost,
    Unreachable,
)
from holdfast.ownership.verdict import LOOK_AGAIN, Obstacle

START = 30.0  # seconds that etcd gets to answer at a first start, unless LOCK_WAIT says less
RETRY = 2.0  # between two tries after something failed that may pass
FIRST = 5.0  # after a start that failed here; each failure doubles it
LONGEST = 300.0
# What passes by itself is looked for sooner.
PASSING: dict[type[HoldfastError], float] = {Unreachable: 10.0, LockHeld: 40.0}


@dataclass(frozen=True, kw_only=True)
class Pause:
    """`seconds` at the most: a change of a key ends it. `lock_wait`: it counts as waiting for the VM. What has the
    same `topic` as the pause before is not said again.
    """

    seconds: float
    lock_wait: bool = False
    topic: str = ""


class Waiting:
    """One launcher's. `lock_wait` are LOCK_WAIT's seconds, None for no end; `config_wait`: wrong keys are waited for,
    too.
    """

    def __init__(self, *, lock_wait: float | None, config_wait: bool, now: float) -> None:
        self._lock_wait = lock_wait
        self._config_wait = config_wait
        self._etcd_until = now + min(START, START if lock_wait is None else lock_wait)
        self._until: float | None = None
        self._stood_by = False  # that is: what is wrong need not have been so from the start
        self._back_off = BackOff()
        self._begin(now)

    def _begin(self, now: float) -> None:
        self._until = None if self._lock_wait is None else now + self._lock_wait

    def has_run(self, now: float) -> None:
        """Note that the VM ran here. Whoever waits for it again has proven that he can run it."""
        self._begin(now)
        self._stood_by, self._back_off = True, BackOff()

    def runs_elsewhere(self) -> None:
        """Note that somebody can run it: what failed here before may have been anything."""
        self._back_off = BackOff()

    # -- after an attempt

    def judge(self, error: HoldfastError | Obstacle, now: float) -> Pause | None:
        """Return the pause until the next attempt; None where the error is the end."""
        if isinstance(
            error, Unreachable
        ):  # this is no waiting for the VM: its time is up after START
            ends = not self._stood_by and now + RETRY > self._etcd_until
            return None if ends else Pause(seconds=RETRY, topic="unreachable")
        pause = self._pause(error)
        self._stood_by = self._stood_by or pause is not None
        return pause

    def _pause(self, error: HoldfastError | Obstacle) -> Pause | None:
        if isinstance(error, Obstacle):
            return Pause(seconds=error.seconds, lock_wait=error.lock_wait)
        if isinstance(error, LockHeld):
            return Pause(seconds=RETRY, lock_wait=True)
        if isinstance(error, Outgrown):
            return None  # no waiting mends it
        waits = self._stood_by or (self._config_wait and isinstance(error, ConfigError))
        return Pause(seconds=LOOK_AGAIN) if waits else None

    def end(self, pause: Pause, why: str, now: float) -> float:
        """Return when the pause ends at the latest. Raises LockHeld where LOCK_WAIT is over."""
        end = now + pause.seconds
        if not pause.lock_wait or self._until is None:
            return end
        if now >= self._until:
            raise LockHeld(f"{why}, and LOCK_WAIT is over")
        return min(end, self._until)

    # -- after a start that failed

    def put_off(
        self, error: HoldfastError, keys: str, now: float, *, has_run: bool
    ) -> float | None:
        """Return the seconds to leave the VM alone, or until its keys change; None where the error
        is the end, as at a first start. `has_run`: its guest has, under this lock; `keys` are as
        last_run.sight() gives them.
        """
        lost = isinstance(error, OwnershipLost)
        # Before the guest has run, that means no more than that somebody else was quicker.
        passes = isinstance(error, LockHeld | Unreachable) or lost
        if (lost and has_run) or not (self._stood_by or passes):
            return None
        self._begin(now)
        return self._back_off.begin(error, keys, now)

    def left(self, keys: str, now: float) -> float:
        """Return the seconds for which the VM is put off still; 0 or less for none."""
        return self._back_off.left(keys, now)


class BackOff:
    """How long to leave a VM alone whose start has failed here. It ends early when an operator has changed a key:
    that may have been the cause.
    """

    def __init__(self) -> None:
        self._failures = 0
        self._until = 0.0
        self._keys = ""

    def begin(self, error: HoldfastError, keys: str, now: float) -> float:
        """Count one more failure; return the seconds."""
        if keys != self._keys:
            self._failures = 0
        longest = min(
            (limit for kind, limit in PASSING.items() if isinstance(error, kind)), default=LONGEST
        )
        seconds = min(FIRST * 2.0 ** min(self._failures, 10), longest)
        self._failures += 1
        self._until, self._keys = now + seconds, keys
        return seconds

    def left(self, keys: str, now: float) -> float:
        """Return the seconds until the next try."""
        return self._until - now if keys == self._keys else 0.0
