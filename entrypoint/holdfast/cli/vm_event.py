"""What has happened to a VM between two looks at its records, by names that stay."""

from collections.abc import Iterator

from holdfast.cli.vm_state import Facts, addresses, said
from holdfast.dataclass import dataclass, field
from holdfast.ownership.last_run import CRASHED

NAMES = {
    "vm.running": "its guest runs: it was started, or goes on",
    "vm.moved": "another host has it",
    "vm.paused": "its guest waits for a disk",
    "vm.panicked": "its guest's kernel has panicked, and is kept as it is",
    "vm.stopping": "its guest was asked to power down",
    "vm.restarting": "QEMU is started again in place",
    "vm.stopped": "it has ended",
    "vm.crashed": "it has ended, and starts only when a key has changed",
    "vm.lost": "its owner's lease has run out: a host that stands by takes it",
    "vm.trouble": "something ails it",
    "vm.recovered": "nothing ails it any more",
    "vm.address": "its guest has other addresses",
    "vm.changed": "an operator has changed its keys",
}


@dataclass(frozen=True, kw_only=True)
class View:
    """The records; `last_at` is the revision of `last`."""

    status: Facts = field(default_factory=dict)
    last: Facts = field(default_factory=dict)
    last_at: int = 0


@dataclass(frozen=True, kw_only=True)
class VmEvent:
    name: str
    vm: str
    text: str = ""
    host: str = ""


def events(vm: str, before: View, after: View) -> Iterator[VmEvent]:
    yield from _ended(vm, before, after)
    host = said(after.status, "host")
    if before.status and after.status and said(before.status, "host") != host:
        text = f"from {said(before.status, 'host')}"
        yield VmEvent(name="vm.moved", vm=vm, host=host, text=text)
    state = f"vm.{said(after.status, 'state')}"
    if after.status and state in NAMES and _state(before) != _state(after):
        yield VmEvent(name=state, vm=vm, host=host)
    yield from _ailments(vm, before.status, after.status, host)
    if (
        after.status.get("addresses")
        and before.status.get("addresses") != after.status["addresses"]
    ):
        yield VmEvent(name="vm.address", vm=vm, host=host, text=" ".join(addresses(after.status)))


def _state(view: View) -> str:
    return said(view.status, "state")


def _ended(vm: str, before: View, after: View) -> Iterator[VmEvent]:
    if after.last_at > before.last_at:
        name = "vm.crashed" if after.last.get("state") == CRASHED else "vm.stopped"
        yield VmEvent(
            name=name, vm=vm, host=said(after.last, "host"), text=said(after.last, "why")
        )
    elif before.status and not after.status:
        yield VmEvent(name="vm.lost", vm=vm, host=said(before.status, "host"))


def _ailments(vm: str, before: Facts, after: Facts, host: str) -> Iterator[VmEvent]:
    was, now = said(before, "trouble"), said(after, "trouble")
    if after and now != was:
        name = "vm.trouble" if now else "vm.recovered"
        yield VmEvent(name=name, vm=vm, host=host, text=now or was)
