"""All of etcd gone for a while, and what the guest saw of it."""

import time
from dataclasses import dataclass

from chaos.arena import TTL, Vm
from chaos.disk import Disk, stamped
from chaos.journal import Findings
from deadline import eventually


@dataclass(frozen=True, kw_only=True)
class Outage:
    """How long it was, and the guest's stamp as long before it, at its beginning, and at its end.

    A machine with much to do makes gaps of its own: those before are the measure.
    """

    seconds: float
    before: int
    begun: int
    over: int

    def told(self, found: Findings) -> str:
        return (
            f"{self.seconds:g} s, longest gap on the guest's clock {found.gap(self.begun, self.over):.2f} s"
            f", in as many seconds before it {found.gap(self.before, self.begun):.2f} s"
        )


def outlived(vm: Vm, disk: Disk, writer: str, seconds: float) -> Outage:
    """The guest writes on without etcd, and its launcher takes the lock again, at the same epoch."""
    epoch, before = vm.get("epoch"), stamped(disk, writer)
    time.sleep(seconds if seconds > 60 else 0)  # the short run has no time for a measure
    begun = stamped(disk, writer)
    vm.etcd.stop()
    try:
        time.sleep(seconds)
        over = stamped(disk, writer)
    finally:
        vm.etcd.start()
    eventually(lambda: vm.get("lock"), what="the lock taken again")
    time.sleep(TTL + 1)
    stamped(disk, writer)
    assert vm.get("epoch") == epoch
    return Outage(seconds=seconds, before=before, begun=begun, over=over)
