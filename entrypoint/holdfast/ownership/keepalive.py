"""The thread that keeps a VM ours: it renews the lease, watches the lock, and takes it again.

It never touches QEMU. What it finds goes to the supervisor as an event; that one has the deadline
in its own loop, so that a request which hangs here cannot hold up a stop.
"""

import threading
from collections.abc import Callable
from enum import Enum, auto
from typing import Protocol, Self

from holdfast import log
from holdfast.errors import HoldfastError, OwnershipLost, Unreachable
from holdfast.etcd.txn import Reply
from holdfast.etcd.watch import Watch
from holdfast.ownership.hearsay import Allowance, names, remember
from holdfast.ownership.lock import Hold
from holdfast.ownership.verdict import Verdict
from holdfast.runtime.clock import boottime
from holdfast.runtime.status import Lease, Status, VmState, now
from holdfast.runtime.thread import PAUSE, Thread, described

# Written by us, now or by an older launcher, or acted on at once.
NOT_FOR_A_START = frozenset(
    {"lock", "epoch", "fence", "status", "last", "power", "pinned", "secret/tpm"}
)

# Seconds. Most starts are over in less, and their own transactions tell whether the VM is still ours.
IN_THE_WAY = 0.25


REGAINED = frozenset({Verdict.vacant, Verdict.outdated})
OUTDATED = "etcd's data is older than this VM, and somebody else holds the VM's lock or disk there"


class Finding(Enum):
    lost = auto()  # another owner, or in doubt where doubt must stop the VM
    power_off = auto()  # an operator has set power=off
    unguarded = auto()  # the guard of a VM that needs one has ended


class Stored(Protocol):
    """What etcd keeps of the running VM beside its keys, and what is to be written of it: its TPM."""

    def record(self) -> bytes: ...
    def unsaved(self) -> bytes: ...
    def saved(self, record: bytes) -> None: ...


class KeepAlive(Thread):
    """`hold_on`: run on without etcd, as nobody can start the VM without raising the epoch there."""

    def __init__(
        self,
        hold: Hold,
        revision: int,
        notify: Callable[[Finding], None],
        status: Status,
    ) -> None:
        super().__init__("keeper")
        self.hold_on = False
        self._hold = hold
        self._session = hold.session
        self._notify = notify
        self._wake = threading.Event()
        self._closed = False
        self._feed: Callable[[float], None] | None = None
        self._vault: Stored | None = None
        self._trouble = ""
        self._away = 0.0  # since when etcd does not answer, on boottime()'s clock
        self.status = status
        self._public = False  # before that nobody reads the status key
        self._leased = self._renewed = now()
        self._pending: set[str] = set()
        self._told: set[str] = set()
        self._news, self._hearsay, self._tpm = (
            Allowance(burst=10),
            Allowance(burst=2),
            Allowance(burst=10),
        )
        self._looked = self._turned = boottime()
        self._renew_at = self._session.renewal()
        names = self._session.names
        self._watched = {names.lock, names.epoch, names.legacy.epoch, names.power}
        self._watch = Watch(
            self._session.store, self._prefixes(), revision, self._changed, delay=IN_THE_WAY
        )
        status.wake = self._wake.set
        self.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End, and wait for it: after this nothing renews or takes the lock again."""
        self._closed = True
        self._wake.set()
        self._watch.close()
        self.join()

    def confirm(self) -> None:
        """Raise OwnershipLost unless etcd says, now, that the VM is ours."""
        if self._session.look()[0] is not Verdict.held:
            raise OwnershipLost("the VM was taken while it was being started")

    def holds(self) -> bool:
        """Whether the lock is ours now. Where we hold on it is taken again, and waited for."""
        try:
            verdict, _ = self._session.look()
            if verdict in REGAINED and not self._loses(verdict):
                self._regain(verdict)
                verdict, _ = self._session.look()
        except Unreachable:
            if self.hold_on or not self.in_doubt():
                return False
            raise
        if self._loses(verdict):
            raise OwnershipLost("the VM was taken before it was started again")
        # An etcd that comes back gives every lease its full time: the lock may stand there still, and our
        # word for it be older than the lease. The thread renews before a guest may run by it.
        return verdict is Verdict.held and not self.in_doubt()

    def running(self, qemu: str, *, hold_on: bool) -> None:
        """The guest is about to run. Its status is written in the thread's own time."""
        self.hold_on = hold_on
        self._public = True
        self.status.report(state=VmState.running, qemu=qemu)

    def guarded_by(self, feed: Callable[[float], None]) -> None:
        """A guard that is to hear of every good renewal."""
        self._feed = feed
        feed(self._session.last_resort())

    def keeps(self, vault: Stored | None) -> None:
        """A TPM, whose state is to be stored when it has changed, and put back where etcd has lost it."""
        self._vault = vault

    def deadline(self) -> float:
        return self._session.deadline()

    def last_resort(self) -> float:
        return self._session.last_resort()

    def stuck(self) -> bool:
        """Whether this thread has not come round for longer than any request may take."""
        return boottime() - self._turned > 2 * self._session.times.ttl

    def in_doubt(self) -> bool:
        return self._session.in_doubt()

    def _prefixes(self) -> list[str]:
        names = self._session.names
        found = [names.keys, names.epoch]  # of what is below `own`, no other key is anybody else's
        return found if names.lock.startswith(names.keys) else [*found, names.lock]

    def _changed(self, keys: frozenset[str]) -> None:
        """Called by the watch."""
        prefix = self._session.names.keys
        edited = {key.removeprefix(prefix) for key in keys if key.startswith(prefix)}
        news = {key for key in edited if key not in NOT_FOR_A_START and not key.startswith("x/")}
        remember(self._pending, news)
        if not keys or keys & self._watched:
            self._looked = 0.0
        if not keys or self._pending or keys & self._watched:
            self._wake.set()

    def work(self) -> None:
        while not self._closed:
            try:
                self._turn()
                self._tell("")
            except Unreachable as error:
                self._tell(error.message)
            except HoldfastError as error:
                log.warning(error.message)
            except Exception as error:  # noqa: BLE001 - a fault of ours is as an etcd that is away
                self._tell(described(error))
                self._renew_at = max(self._renew_at, boottime() + PAUSE)
            self._turned = boottime()
            self._wake.wait(max(0.0, self._renew_at - boottime()))
            self._wake.clear()

    def _tell(self, trouble: str) -> None:
        """An outage has two lines: when it begins and when it ends."""
        if trouble and not self._trouble:
            self._away = boottime()
            going_on = "; the VM goes on" if self.hold_on else ""
            log.warning(
                f"{trouble}{going_on}", epoch=self._hold.taken.epoch, last_renewal=self._renewed
            )
        elif self._trouble and not trouble:
            log.info(
                "etcd answers again",
                epoch=self._hold.taken.epoch,
                seconds=round(boottime() - self._away),
            )
        self._trouble = trouble
        self.status.show(lease=self._lease(), etcd=trouble or "answers")

    def _lease(self) -> Lease:
        """Negative seconds: the lease has run out, and the VM holds on without it."""
        left = self._session.end() - boottime()
        return {"since": self._leased, "renewed": self._renewed, "seconds_left": round(left, 1)}

    def _turn(self) -> None:
        """Renew when it is time, and at once after an outage; look when something changed, when the lease is gone,
        and once in a TTL anyway: a watch that is dead without an error must not hide a new owner for long.
        """
        due = boottime() >= self._renew_at or bool(self._trouble)
        renewed = not due or self._renew()
        if renewed:  # nothing can be put with a lease that is gone: first see to the lock
            self._publish()
            # A guest may write to its TPM without end. What is not stored now is so later, and at the end.
            if self._vault and (record := self._vault.unsaved()) and self._tpm.allows(boottime()):
                self._hold.keep_tpm(record)
                self._vault.saved(record)
        if renewed and boottime() - self._looked < self._session.times.ttl:
            return
        verdict, reply = self._session.look()
        self._looked = boottime()
        self._act(verdict, reply)

    def _renew(self) -> bool:
        self._renew_at = boottime() + self._session.times.renew
        renewed = self._session.renew(timed=self._hold.taken.timed)
        if renewed:
            self._renewed = now()
        if renewed and self._feed:
            self._feed(self._session.last_resort())
        return renewed

    def _publish(self) -> None:
        """What operators read, when it has changed."""
        if new := sorted(self._pending - self._told):
            log.info("changed keys apply at the VM's next start", keys=" ".join(names(new)))
            self._told |= self._pending
            self.status.report(next_start=names(self._pending))
        status, at = self.status, boottime()
        if self._public and (
            (status.news and self._news.allows(at))
            or (status.hearsay and self._hearsay.allows(at))
        ):
            self._hold.publish(status.value())

    def _act(self, verdict: Verdict, reply: Reply) -> None:
        power = reply.items.get(self._session.names.power)
        if self._loses(verdict):
            self._notify(Finding.lost)
        elif verdict in REGAINED and not self._closed:
            self._regain(verdict)
        elif power and power.value.strip() == b"off":
            self._notify(Finding.power_off)

    def _loses(self, verdict: Verdict) -> bool:
        """Without hold_on a doubt is a loss. A lock that is gone before our deadline is none: we renewed its lease
        in time, and etcd has dropped it all the same. A leader that was paused does that on waking (etcd 3.5.16,
        its issue 15247); an operator may.
        """
        doubtful = verdict is Verdict.contested or (verdict in REGAINED and self.in_doubt())
        return verdict is Verdict.lost or (doubtful and not self.hold_on)

    def _regain(self, verdict: Verdict) -> None:
        """Take the lock again; where etcd has lost what we wrote, write that back."""
        if verdict is Verdict.vacant and self._hold.take_again():
            log.info("the lock had gone; it is ours again", epoch=self._hold.taken.epoch)
        elif self._hold.restore():
            log.warning(
                "etcd's data was older than this VM: its records are written back",
                epoch=self._hold.taken.epoch,
            )
        else:
            raise Unreachable(OUTDATED)
        self._leased = self._renewed = now()
        self.status.news = True  # the key went with the old lease
