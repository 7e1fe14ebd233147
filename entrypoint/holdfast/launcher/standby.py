"""Until the VM is ours: look, wait for a change, look again.

Whoever waits holds no lease and takes nothing: a standby that takes a lock and gives it back would
end an owner that is holding on without etcd.
"""

import time
from collections.abc import Callable, Sequence

from holdfast import log
from holdfast.config.settings import Settings
from holdfast.errors import HoldfastError, LockHeld
from holdfast.etcd.store import Store
from holdfast.etcd.txn import Range
from holdfast.etcd.watch import Watch
from holdfast.host import Host
from holdfast.launcher.contender import Candidate, Contender, Ours
from holdfast.launcher.eligibility import Look
from holdfast.launcher.waiting import Pause, Waiting
from holdfast.ownership import legacy
from holdfast.ownership.names import Names
from holdfast.ownership.verdict import Obstacle
from holdfast.runtime.events import Events, Stopped

# One for all: who writes keys may do so faster than we look, and give them names of any length.
CHANGED = object()
RETURN = 0.2  # for an owner whose lease etcd has dropped though it lives, to take its lock again


class Standby:
    """`meanwhile` is done while Ceph answers."""

    def __init__(
        self,
        store: Store,
        settings: Settings,
        host: Host,
        events: Events,
        meanwhile: Callable[[], None],
    ) -> None:
        self._store = store
        self._settings = settings
        self._events = events
        self._names = Names.of(settings.prefix, settings.vm, settings.lock)
        self._contender = Contender(store, settings, host, meanwhile)
        self._waiting = Waiting(
            lock_wait=settings.lock_wait,
            config_wait=settings.config_wait,
            now=time.monotonic(),
        )
        self._watch: Watch | None = None
        self._prefixes: list[str] = []
        self._seen = 0  # the revision of the last read
        self._broken = -1e9  # when the watch was last broken, on time.monotonic()
        self._held = False  # somebody has been seen to have the lock,
        self._gone = 0.0  # and when it was first seen that he has not
        self._contended: Sequence[str] = ()  # claims that another VM had
        self._topic = ""  # of what was said last

    def has_run(self) -> None:
        """Note that the VM ran here."""
        self._waiting.has_run(time.monotonic())

    def put_off(self, ours: Ours, error: HoldfastError) -> None:
        """Put off a VM whose start has failed here, and which is given back. Raises what ends a
        first start; who has stood by tries again, after a while that grows, or when a key has
        changed.
        """
        seconds = self._waiting.put_off(
            error, ours.keys, time.monotonic(), has_run=ours.hold.has_run
        )
        if seconds is None:
            raise error
        log.warning(f"{'; '.join(error.lines())}; trying again in {seconds:g} s")

    def wait(self) -> Ours:
        """Wait for the VM, and take it. Raises Stopped, LockHeld after LOCK_WAIT, and what a first
        start finds wrong.
        """
        try:
            while True:
                ours = self._attempt()
                if ours is not None:
                    return ours
        finally:
            self._deafen()

    def _attempt(self) -> Ours | None:
        try:
            look = self._look()
            put_off = self._waiting.left(look.keys, time.monotonic())
            return self._take(self._contender.examine(look, put_off))
        except Obstacle as obstacle:
            if obstacle.keys:
                self._contended = obstacle.keys
                self._listen_to(obstacle.keys)
            failed: Obstacle | HoldfastError = obstacle
        except HoldfastError as error:
            failed = error
        pause = self._waiting.judge(failed, time.monotonic())
        if pause is None:
            raise failed
        self._pause(self._why(failed), pause)
        return None

    def _why(self, failed: Obstacle | HoldfastError) -> str:
        if isinstance(failed, Obstacle):
            return str(failed)
        if isinstance(failed, LockHeld):
            from holdfast.ownership.holder import named  # noqa: PLC0415 - hardly ever needed

            return named(failed, self._store, self._names)
        return "; ".join(failed.lines())

    # -- look

    def _look(self) -> Look:
        settings, names = self._settings, self._names
        ranges = [
            Range(key=settings.vm_prefix, prefix=True),
            Range(key=settings.defaults_prefix, prefix=True),
            Range(key=settings.own_prefix, prefix=True),
        ]
        unwatched = (names.tree, names.last, names.tpm)
        ranges += [Range(key=key) for key in (*self._contended, *unwatched)]
        if not settings.lock.startswith(settings.vm_prefix):
            ranges.append(Range(key=settings.lock))
        seen = self._store.read(*ranges)
        self._prefixes = [one.key for one in ranges if one.key not in unwatched]
        self._seen = seen.revision
        look = Look.of(seen, settings, names)
        self._mind_the_lock(look)
        return look

    def _mind_the_lock(self, look: Look) -> None:
        if self._held and not look.is_locked:
            self._gone = time.monotonic()
        self._held = look.is_locked
        if look.is_locked:
            self._waiting.runs_elsewhere()

    # -- take

    def _take(self, candidate: Candidate) -> Ours | None:
        ours = None
        try:
            self._let_the_holder_return(candidate.look)
            if self._events.stop_asked():
                raise Stopped
            ours = self._contender.take(candidate)
        finally:
            if ours is None:
                candidate.plan.close()
        return ours

    def _let_the_holder_return(self, look: Look) -> None:
        """We and the holder may have lost etcd together: who runs the VM reconnects first. And a lock that goes
        while its owner's record stays need not be a dead owner's: see KeepAlive.
        """
        ttl = float(self._settings.ttl)
        if time.monotonic() - self._broken < 2 * ttl:
            self._broken = -1e9
            raise Obstacle("etcd was away; leaving the VM's holder time to come back", ttl)
        if legacy.fences(look.seen, self._names):
            self._events.sleep(self._gone + RETURN)

    # -- wait

    def _pause(self, why: str, pause: Pause) -> None:
        """Until something changes. What was said last is not said again."""
        if (pause.topic or why) != self._topic:
            log.info(f"waiting: {why}")
        self._topic = pause.topic or why
        self._listen()
        end = self._waiting.end(pause, why, time.monotonic())
        self._events.sleep(end, wake=lambda event: event is CHANGED)

    def _listen(self) -> None:
        """For who waits. It begins behind what was read last, so nothing is missed."""
        if self._watch is None and self._seen:
            self._watch = Watch(self._store, self._prefixes, self._seen, self._changed)

    def _listen_to(self, more: Sequence[str]) -> None:
        """The watch that stands does not see them."""
        if not set(more) <= set(self._prefixes):
            self._deafen()
        self._prefixes = sorted({*self._prefixes, *more})

    def _deafen(self) -> None:
        if self._watch:
            self._watch.close()
            self._watch = None

    def _changed(self, keys: frozenset[str]) -> None:
        if not keys:
            self._broken = time.monotonic()
        self._events.post(CHANGED)
