"""Until the VM is ours: is it to run, here, now, and has nobody else got it?

Whoever waits holds no lease and takes nothing: a standby that takes a lock and gives it back would
end an owner that is holding on without etcd.
"""

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from holdfast import log
from holdfast.config.settings import Settings
from holdfast.dataclass import dataclass, replace
from holdfast.description import Description, describe
from holdfast.errors import (
    ConfigError,
    HoldfastError,
    LockHeld,
    Outgrown,
    OwnershipLost,
    Unreachable,
)
from holdfast.etcd.store import Store
from holdfast.etcd.txn import Range, Reply
from holdfast.etcd.watch import Watch
from holdfast.host import CONTAINERS_NAME, Host, is_container_id
from holdfast.instance.plan import Plan
from holdfast.launcher import preflight
from holdfast.launcher.back_off import BackOff
from holdfast.machine import Power, Tpm
from holdfast.ownership import address_claim, legacy
from holdfast.ownership.last_run import crash, sight
from holdfast.ownership.lock import Hold
from holdfast.ownership.names import Names
from holdfast.ownership.records import Image, decode_lock, trees_of
from holdfast.ownership.takeover import SOON, claims_of, judge_images
from holdfast.ownership.verdict import LOOK_AGAIN, Obstacle, barred
from holdfast.runtime.events import Events, Stopped
from holdfast.system import capacity

if TYPE_CHECKING:
    from holdfast.devices.tpm import Vault
    from holdfast.ownership.volumes import Inventory

START = 30.0  # seconds that etcd gets to answer at a first start, unless LOCK_WAIT says less
RETRY = 2.0  # between two tries after something failed that may pass
# One for all: who writes keys may do so faster than we look, and give them names of any length.
CHANGED = object()
RETURN = 0.2  # for an owner whose lease etcd has dropped though it lives, to take its lock again


@dataclass(frozen=True, kw_only=True)
class Ours:
    plan: Plan
    hold: Hold
    revision: int
    keys: str  # as they were when the plan was made
    vault: "Vault | None" = None
    volumes: "Inventory | None" = None


class Standby:
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
        self._host = host
        self._events = events
        self._meanwhile = meanwhile
        self._names = Names.of(settings.prefix, settings.vm, settings.lock)
        self._watch: Watch | None = None
        self._prefixes: list[str] = []
        self._seen = 0  # the revision of the last read
        self._vault: Vault | None = None
        self._volumes: Inventory | None = None
        self._broken = -1e9  # when the watch was last broken, on time.monotonic()
        self._held = False  # somebody has been seen to have the lock,
        self._gone = 0.0  # and when it was first seen that he has not
        self._contended: list[str] = []  # claims on addresses that another VM had
        self._told = ""
        self._waited = False
        self._back_off = BackOff()
        wait = settings.lock_wait
        self._deadline = None if wait is None else time.monotonic() + wait
        self._patience = time.monotonic() + min(START, START if wait is None else wait)

    def has_run(self) -> None:
        """The VM ran here. Whoever waits for it again has proven that he can run it."""
        wait = self._settings.lock_wait
        self._deadline = None if wait is None else time.monotonic() + wait
        self._waited, self._back_off = True, BackOff()

    def put_off(self, ours: "Ours", error: HoldfastError) -> None:
        """A start of ours has failed, and the VM is given back. Raises what ends a first start; who has stood by
        tries again, after a while that grows, or when a key has changed.
        """
        lost = isinstance(error, OwnershipLost)
        # Before the guest has run, that means no more than that somebody else was quicker.
        passes = isinstance(error, LockHeld | Unreachable) or lost
        if (lost and ours.hold.has_run) or not (self._waited or passes):
            raise error
        wait = self._settings.lock_wait
        self._deadline = None if wait is None else time.monotonic() + wait
        seconds = self._back_off.begin(error, ours.keys)
        log.warning(f"{'; '.join(error.lines())}; trying again in {seconds:g} s")

    def wait(self) -> Ours:
        """The VM, taken. Raises Stopped, LockHeld after LOCK_WAIT, and what a first start finds wrong."""
        try:
            while True:
                ours = self._attempt()
                if ours is not None:
                    return ours
        finally:
            if self._watch:
                self._watch.close()
                self._watch = None

    def _attempt(self) -> Ours | None:
        try:
            seen = self._read()
            return self._take(seen, self._eligible(seen))
        except Obstacle as obstacle:
            self._pause(str(obstacle), obstacle.seconds, lock_wait=obstacle.lock_wait)
        except Unreachable as error:
            if not self._waited and time.monotonic() + RETRY > self._patience:
                raise
            self._pause("; ".join(error.lines()), RETRY, told="unreachable")
            return None  # this is no waiting for the VM: its time is up after START
        except LockHeld as error:
            from holdfast.ownership.holder import named  # noqa: PLC0415 - hardly ever needed

            self._pause(named(error, self._store, self._names), RETRY, lock_wait=True)
        except Outgrown:
            raise  # no waiting mends it
        except HoldfastError as error:
            if not self._waited and not (
                self._settings.config_wait and isinstance(error, ConfigError)
            ):
                raise
            self._pause("; ".join(error.lines()), LOOK_AGAIN)
        self._waited = True
        return None

    # -- is it for us?

    def _read(self) -> Reply:
        settings = self._settings
        ranges = [
            Range(key=settings.vm_prefix, prefix=True),
            Range(key=settings.defaults_prefix, prefix=True),
            Range(key=settings.own_prefix, prefix=True),
        ]
        unwatched = (self._names.tree, self._names.last, self._names.tpm)
        ranges += [Range(key=key) for key in (*self._contended, *unwatched)]
        if not settings.lock.startswith(settings.vm_prefix):
            ranges.append(Range(key=settings.lock))
        seen = self._store.read(*ranges)
        self._prefixes = [one.key for one in ranges if one.key not in unwatched]
        self._seen = seen.revision
        return seen

    def _listen(self) -> None:
        """For who waits. It begins behind what was read last, so nothing is missed."""
        if self._watch is None and self._seen:
            self._watch = Watch(self._store, self._prefixes, self._seen, self._changed)

    def _listen_to(self, more: Sequence[str]) -> None:
        """The watch that stands does not see them."""
        if self._watch and not set(more) <= set(self._prefixes):
            self._watch.close()
            self._watch = None
        self._prefixes = sorted({*self._prefixes, *more})

    def _changed(self, keys: frozenset[str]) -> None:
        if not keys:
            self._broken = time.monotonic()
        self._events.post(CHANGED)

    def _eligible(self, seen: Reply) -> Plan:
        described = describe(self._settings, *self._keys(seen))
        self._check(described, seen)
        self._volumes = self._remembered(described, seen)
        made = preflight.make(self._settings, self._host, described, self._meanwhile)
        try:
            self._judge(made, seen)
            self._vault = self._stored(made, seen)
            return self._marked(made)
        except BaseException:
            made.close()
            raise

    def _remembered(self, described: Description, seen: Reply) -> "Inventory | None":
        """First of all: a host that has not got a volume may lack what it was made from, too."""
        if not described.machine.has_volumes:
            return None
        from holdfast.ownership.volumes import Inventory  # noqa: PLC0415 - for those who have volumes

        volumes = Inventory(self._settings, self._host, seen)
        with _waiting_for_volumes():
            volumes.look(described.machine.storage)
        return volumes

    def _marked(self, made: Plan) -> Plan:
        if self._volumes is None:
            return made
        with _waiting_for_volumes():
            self._volumes.judge(made.disks, made.volumes)
        return replace(made, disks=self._volumes.marked(made.disks))

    def _stored(self, made: Plan, seen: Reply) -> "Vault | None":
        """The VM's TPM, as the last owner left it."""
        if made.machine.tpm is Tpm.off:
            return None
        from holdfast.devices.tpm import Vault  # noqa: PLC0415 - for a VM with a TPM

        item = legacy.kept(seen, self._names, "tpm")
        return Vault(item.value if item else b"", self._settings.host_config.state_key)

    def _judge(self, made: Plan, seen: Reply) -> None:
        """What earlier owners have left, in etcd and in the images; and what another VM has."""
        self._leave_others_addresses(made, seen)
        fsid = next(filter(None, (image.fsid for image in made.images)), "")
        left = legacy.fences(seen, self._names)
        if fault := next(filter(None, (barred(one, self._host, fsid) for one in left)), None):
            from holdfast.system.container import command  # noqa: PLC0415 - only for this advice

            raise Obstacle(
                f"{fault}. If that owner is dead for certain: "
                f"{command(f'holdfast fence forget {self._settings.vm} --yes')}"
            )
        judge_images(self._store, self._names, self._host, made, seen)
        if made.written:
            self._refuse_to_read(made, trees_of(seen, self._names))
        self._leave_others_disks(made, seen)

    def _refuse_to_read(self, made: Plan, trees: frozenset[str]) -> None:
        """What others write to. Whom an earlier owner of this VM has left is shut out before its guest runs."""
        vm = self._settings.vm
        if others := [one for one in made.written if not one.writers.are_of(vm, trees)]:
            raise LockHeld("; ".join(map(str, others)))

    def _leave_others_addresses(
        self, made: Plan, seen: Reply, images: Iterable[Image] = ()
    ) -> None:
        """Before the epoch is raised. What a dead VM left goes along with the disks that are taken from it."""
        claims = self._names.claims
        disks = [seen.items[key] for one in images if (key := claims + one.id) in seen.items]
        ours = {self._settings.vm, *address_claim.owners(disks)}
        if taken := address_claim.taken(made.addresses, seen.items, claims, ours):
            self._contended = [claims + one.id for one in taken]
            self._listen_to(self._contended)
            raise Obstacle("; ".join(taken.values()))

    def _leave_others_disks(self, made: Plan, seen: Reply) -> None:
        """Under [vms] of host.toml, what another VM has left. What arguments name is the operator's own word."""
        if not self._settings.host_config.limits_vms or made.adapted is not None:
            return
        from holdfast.ownership.permission import withheld  # noqa: PLC0415 - for hosts with tenants

        claims = self._names.claims
        if found := withheld(self._settings, made, seen.items, claims):
            self._contended = [claims + one.id for one in found]
            self._listen_to(self._contended)
            raise Obstacle("; ".join(found.values()), SOON)

    def _keys(self, seen: Reply) -> tuple[Mapping[str, bytes], Mapping[str, bytes]]:
        prefixes = (self._settings.vm_prefix, self._settings.defaults_prefix)
        own, defaults = (
            {
                key.removeprefix(prefix): item.value
                for key, item in seen.items.items()
                if key.startswith(prefix)
            }
            for prefix in prefixes
        )
        return legacy.keys(own, seen, self._names), defaults

    def _check(self, described: Description, seen: Reply) -> None:
        machine = described.machine
        if self._settings.memory_reckoned is not None:
            capacity.check_reckoned(machine, self._host, self._settings.memory_reckoned)
        if machine.power is Power.off:
            raise Obstacle("the VM is switched off (power=off)")
        if machine.hosts and self._host.name not in machine.hosts:
            hint = f" ({CONTAINERS_NAME})" if is_container_id(self._host.name) else ""
            raise Obstacle(
                f"the VM is for host {' or '.join(machine.hosts)}, and this is {self._host.name}{hint}"
            )
        lock = seen.items.get(self._names.lock)
        if self._held and not lock:
            self._gone = time.monotonic()
        self._held = lock is not None
        if lock:
            self._back_off = BackOff()
            raise Obstacle(f"the VM runs on {decode_lock(lock.value)}; standing by")
        if (seconds := self._back_off.left(self._sight(seen))) > 0:
            raise Obstacle("the last start failed", seconds, lock_wait=False)
        if why := self._crashed(seen):
            raise Obstacle(
                f"{why}. It is started again when one of its keys changes, for example by "
                f"etcdctl put {self._names.power} on"
            )

    def _crashed(self, seen: Reply) -> str:
        lasts, keys = (self._names.last, self._names.legacy.last), self._sight(seen)
        return next(filter(None, (crash(seen.items.get(last), keys) for last in lasts)), "")

    def _sight(self, seen: Reply) -> str:
        settings = self._settings
        return sight(seen.items.values(), settings.vm_prefix, settings.defaults_prefix)

    # -- take it

    def _take(self, seen: Reply, made: Plan) -> Ours | None:
        ours = None
        try:
            ours = self._won(seen, made)
        finally:
            if ours is None:
                made.close()
        return ours

    def _won(self, seen: Reply, made: Plan) -> Ours | None:
        hold = Hold(self._store, self._names, self._host, self._settings.ttl)
        self._let_the_holder_return(hold, seen)
        volumes = self._volumes
        if self._events.stop_asked():
            raise Stopped
        addresses = [one.id for one in made.addresses]
        claims = hold.take(seen, made.images, addresses, volumes.judged if volumes else ())
        if claims is None:
            return None
        try:
            self._leave_others_addresses(made, claims, made.images)
            self._leave_others_disks(made, claims)
            hold.raise_epoch(seen)
            making = volumes.begin(hold) if volumes else ()
            hold.claim(made.images, claims, claims_of(made), making)
        except (HoldfastError, Obstacle) as error:
            with contextlib.suppress(Unreachable):  # the lease ends by itself
                hold.abandon()
            if isinstance(error, OwnershipLost):  # nothing of ours has run: somebody was quicker
                raise LockHeld(error.message) from error
            raise
        log.info("the VM is ours", epoch=hold.epoch, ttl=hold.times.ttl)
        return Ours(
            plan=made,
            hold=hold,
            revision=claims.revision,
            keys=self._sight(seen),
            vault=self._vault,
            volumes=volumes,
        )

    def _let_the_holder_return(self, hold: Hold, seen: Reply) -> None:
        """We and the holder may have lost etcd together: who runs the VM reconnects first. And a lock that goes
        while its owner's record stays need not be a dead owner's: see KeepAlive.
        """
        if time.monotonic() - self._broken < 2 * hold.times.ttl:
            self._broken = -1e9
            raise Obstacle(
                "etcd was away; leaving the VM's holder time to come back", hold.times.ttl
            )
        if legacy.fences(seen, self._names):
            self._events.sleep(self._gone + RETURN)

    # -- wait

    def _pause(self, why: str, seconds: float, *, lock_wait: bool = False, told: str = "") -> None:
        """Until something changes; `seconds` at the most. What is `told` once is not told again."""
        if (told or why) != self._told:
            log.info(f"waiting: {why}")
        self._told = told or why
        self._listen()
        now = time.monotonic()
        if lock_wait and self._deadline is not None and now >= self._deadline:
            raise LockHeld(f"{why}, and LOCK_WAIT is over")
        limits = [now + seconds] + (
            [self._deadline] if lock_wait and self._deadline is not None else []
        )
        self._events.sleep(min(limits), wake=lambda event: event is CHANGED)


@contextlib.contextmanager
def _waiting_for_volumes() -> Iterator[None]:
    from holdfast.storage.volume_record import Elsewhere  # noqa: PLC0415 - for those who have volumes

    try:
        yield
    except Elsewhere as elsewhere:
        raise Obstacle(str(elsewhere)) from elsewhere
