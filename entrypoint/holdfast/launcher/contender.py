"""From one read of etcd to the lock: what the VM needs of this host, what others have left of it, and taking it."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from holdfast import log
from holdfast.config.settings import Settings
from holdfast.dataclass import dataclass, replace
from holdfast.description import describe
from holdfast.errors import HoldfastError, LockHeld, OwnershipLost, Unreachable
from holdfast.etcd.store import Store
from holdfast.etcd.txn import Reply
from holdfast.host import Host
from holdfast.instance.plan import Plan
from holdfast.launcher import preflight
from holdfast.launcher.eligibility import Look, refuse
from holdfast.machine import Machine, Tpm
from holdfast.ownership import address_claim, legacy
from holdfast.ownership.lock import Hold
from holdfast.ownership.records import Image, trees_of
from holdfast.ownership.session import Session
from holdfast.ownership.takeover import SOON, claims_of, judge_images
from holdfast.ownership.taking import Taking
from holdfast.ownership.verdict import Obstacle, barred
from holdfast.system import capacity

if TYPE_CHECKING:
    from holdfast.devices.tpm import Vault
    from holdfast.ownership.volumes import Inventory


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A VM that may be taken. Whoever has one closes its plan."""

    look: Look
    plan: Plan
    vault: "Vault | None"
    volumes: "Inventory | None"


@dataclass(frozen=True, kw_only=True)
class Ours:
    """A VM that is taken. `keys` are those that the plan was made of, `revision` that at which it became ours."""

    plan: Plan
    hold: Hold
    revision: int
    keys: str
    vault: "Vault | None" = None
    volumes: "Inventory | None" = None


class Contender:
    """One launcher, among those who would run the VM. `meanwhile` is done while Ceph answers."""

    def __init__(
        self, store: Store, settings: Settings, host: Host, meanwhile: Callable[[], None]
    ) -> None:
        self._store = store
        self._settings = settings
        self._host = host
        self._meanwhile = meanwhile

    # -- is it for us?

    def examine(self, look: Look, put_off: float) -> Candidate:
        """Judge whether the VM may be taken. Raises Obstacle while it is not for us, and whatever
        is wrong with it, or with this host. `put_off`: seconds.
        """
        described = describe(self._settings, look.own, look.defaults)
        if self._settings.memory_reckoned is not None:
            reckoned = self._settings.memory_reckoned
            capacity.check_reckoned(described.machine, self._host, reckoned)
        refuse(look, described.machine, self._host, put_off)
        volumes = self._remembered(described.machine, look.seen)
        plan = preflight.make(self._settings, self._host, described, self._meanwhile)
        try:
            self._judge(plan, look)
            vault = self._stored(plan, look)
            return Candidate(look=look, plan=_marked(plan, volumes), vault=vault, volumes=volumes)
        except BaseException:
            plan.close()
            raise

    def _remembered(self, machine: Machine, seen: Reply) -> "Inventory | None":
        """First of all: a host that has not got a volume may lack what it was made from, too."""
        if not machine.has_volumes:
            return None
        from holdfast.ownership.volumes import Inventory  # noqa: PLC0415 - for those who have volumes

        volumes = Inventory(self._settings, self._host, seen)
        with _waiting_for_volumes():
            volumes.look(machine.storage)
        return volumes

    def _stored(self, plan: Plan, look: Look) -> "Vault | None":
        """The VM's TPM, as the last owner left it."""
        if plan.machine.tpm is Tpm.off:
            return None
        from holdfast.devices.tpm import Vault  # noqa: PLC0415 - for a VM with a TPM

        item = legacy.kept(look.seen, look.names, "tpm")
        return Vault(item.value if item else b"", self._settings.host_config.state_key)

    def _judge(self, plan: Plan, look: Look) -> None:
        """What earlier owners have left, in etcd and in the images; and what another VM has."""
        self._leave_others_addresses(plan, look, look.seen)
        self._refuse_unfenced(plan, look)
        judge_images(self._store, look.names, self._host, plan, look.seen)
        if plan.written:
            self._refuse_to_read(plan, trees_of(look.seen, look.names))
        self._leave_others_disks(plan, look, look.seen)

    def _refuse_unfenced(self, plan: Plan, look: Look) -> None:
        """An owner that did not stop cleanly, and that we could not shut out."""
        fsid = next(filter(None, (image.fsid for image in plan.images)), "")
        left = legacy.fences(look.seen, look.names)
        if fault := next(filter(None, (barred(one, self._host, fsid) for one in left)), None):
            from holdfast.system.container import command  # noqa: PLC0415 - only for this advice

            raise Obstacle(
                f"{fault}. If that owner is dead for certain: "
                f"{command(f'holdfast fence forget {self._settings.vm} --yes')}"
            )

    def _refuse_to_read(self, plan: Plan, trees: frozenset[str]) -> None:
        """What others write to. Whom an earlier owner of this VM has left is shut out before its guest runs."""
        vm = self._settings.vm
        if others := [one for one in plan.written if not one.writers.are_of(vm, trees)]:
            raise LockHeld("; ".join(map(str, others)))

    def _leave_others_addresses(
        self, plan: Plan, look: Look, claims: Reply, images: Iterable[Image] = ()
    ) -> None:
        """Before the epoch is raised. What a dead VM left goes along with the disks that are taken from it."""
        prefix, items = look.names.claims, claims.items
        disks = [items[key] for one in images if (key := prefix + one.id) in items]
        ours = {self._settings.vm, *address_claim.owners(disks)}
        if taken := address_claim.taken(plan.addresses, items, prefix, ours):
            raise Obstacle("; ".join(taken.values()), keys=[prefix + one.id for one in taken])

    def _leave_others_disks(self, plan: Plan, look: Look, claims: Reply) -> None:
        """What another VM has left is, under [vms] of host.toml, not everybody's to take. Which disks QEMU's own
        options name is the operator's word.
        """
        if not self._settings.host_config.limits_vms or plan.adapted is not None:
            return
        from holdfast.ownership.permission import withheld  # noqa: PLC0415 - for hosts with tenants

        prefix = look.names.claims
        if found := withheld(self._settings, plan, claims.items, prefix):
            raise Obstacle(
                "; ".join(found.values()), SOON, keys=[prefix + one.id for one in found]
            )

    # -- take it

    def take(self, candidate: Candidate) -> Ours | None:
        """Take the lock, the epoch, the claims. None: somebody was quicker, or a key has changed
        since the look. Raises Obstacle where another VM has its addresses or disks.
        """
        look, plan, volumes = candidate.look, candidate.plan, candidate.volumes
        session = Session(self._store, look.names, self._host, self._settings.ttl)
        addresses = [one.id for one in plan.addresses]
        judged = volumes.judged if volumes else ()
        taking = Taking(session, look.seen, plan.images, addresses, judged)
        claims = taking.lock()
        if claims is None:
            return None
        with _abandoned_if_refused(session):
            self._leave_others_addresses(plan, look, claims, plan.images)
            self._leave_others_disks(plan, look, claims)
            taking.raise_epoch()
            taken = taking.claim(claims, claims_of(plan), volumes.begin() if volumes else ())
        log.info("the VM is ours", epoch=taken.epoch, ttl=session.times.ttl)
        return Ours(
            plan=plan,
            hold=Hold(session, taken, candidate.vault.record if candidate.vault else bytes),
            revision=claims.revision,
            keys=look.keys,
            vault=candidate.vault,
            volumes=volumes,
        )


@contextlib.contextmanager
def _abandoned_if_refused(session: Session) -> Iterator[None]:
    try:
        yield
    except (HoldfastError, Obstacle) as error:
        with contextlib.suppress(Unreachable):  # the lease ends by itself
            session.abandon()
        if isinstance(error, OwnershipLost):  # nothing of ours has run: somebody was quicker
            raise LockHeld(error.message) from error
        raise


def _marked(plan: Plan, volumes: "Inventory | None") -> Plan:
    """With the ids that its new volumes bear."""
    if volumes is None:
        return plan
    with _waiting_for_volumes():
        volumes.judge(plan.disks, plan.volumes)
    return replace(plan, disks=volumes.marked(plan.disks))


@contextlib.contextmanager
def _waiting_for_volumes() -> Iterator[None]:
    from holdfast.storage.volume_record import Elsewhere  # noqa: PLC0415 - for those who have volumes

    try:
        yield
    except Elsewhere as elsewhere:
        raise Obstacle(str(elsewhere)) from elsewhere
