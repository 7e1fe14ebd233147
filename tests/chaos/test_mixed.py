"""Faults in a random order, at random moments, for as long as `--minutes` says; `--seed` repeats them."""

import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress

import pytest
from ceph import Ceph
from chaos import journal
from chaos.arena import TTL, Arena, Vm
from chaos.disk import stamped
from chaos.host import Host, Launcher
from chaos.rbd_disk import RbdDisk

RECOVERY = 120.0  # seconds until somebody must write again
SHORT = 2  # rounds where no minutes are given


class Mixed:
    """Two machines with a launcher each; who has ended is started again, as systemd would do it."""

    def __init__(self, arena: Arena, vm: Vm, image: RbdDisk, ceph: Ceph, seed: int) -> None:
        self.chance = random.Random(seed)  # noqa: S311 - it is to be repeatable
        self._arena = arena
        self._vm = vm
        self._image = image
        first = ceph.conf.read_text().split("v2:")[1].split(",")[0].split(":")[1]
        self._ceph_ports = f"{first}:{int(first) + 22}"
        self._hosts = [arena.hosts[0], arena.hosts[2]]
        self._launchers: dict[str, Launcher] = {}
        self.faults: list[Callable[[Host, Launcher], None]] = [
            self.crash,
            self.kill_qemu,
            self.stop,
            self.freeze,
            self.pause_launcher,
            self.cut_from_etcd,
            self.refuse_etcd,
            self.lose_answers,
            self.cut_from_ceph,
            self.pause_leader,
            self.kill_member,
            self.stop_etcd,
        ]

    def round(self) -> str:
        host, owner = self.settle()
        time.sleep(self.chance.uniform(0, 1))
        fault = self.chance.choice(self.faults)
        fault(host, owner)
        return fault.__name__

    def settle(self) -> tuple[Host, Launcher]:
        """Wait until a guest writes, and a launcher is there for each host; the owner."""
        deadline = time.monotonic() + RECOVERY
        while True:
            self._revive()
            with suppress(AssertionError):
                stamp = journal.parse(self._image.block(journal.FIXED))
                for host in self._hosts:
                    launcher = self._launchers[host.name]
                    if stamp and stamp.writer in {one.uuid for one in launcher.writers()}:
                        stamped(self._image, stamp.writer, 2, timeout=2)
                        return host, launcher
            stories = "\n".join(one.story() for one in self._launchers.values())
            assert time.monotonic() < deadline, f"nobody writes:\n{stories}"
            time.sleep(0.2)

    def _revive(self) -> None:
        for host in self._hosts:
            launcher = self._launchers.get(host.name)
            if launcher is None or launcher.process.poll() is not None:
                self._launchers[host.name] = self._vm.start(host)

    # -- the faults

    def crash(self, host: Host, owner: Launcher) -> None:
        host.crash()

    def kill_qemu(self, host: Host, owner: Launcher) -> None:
        # A key that changes: four of these in ten minutes are no crash loop to anybody who waits.
        self._vm.etcd.put(self._vm.name, title=f"killed {time.monotonic()}")
        os.kill(owner.qemu(), signal.SIGKILL)

    def stop(self, host: Host, owner: Launcher) -> None:
        owner.signal()

    def freeze(self, host: Host, owner: Launcher) -> None:
        owner.freeze()
        time.sleep(self.chance.uniform(0, 4 * TTL))
        owner.thaw()

    def pause_launcher(self, host: Host, owner: Launcher) -> None:
        os.kill(owner.pid, signal.SIGSTOP)
        time.sleep(self.chance.uniform(0, 4 * TTL))
        with suppress(ProcessLookupError):
            os.kill(owner.pid, signal.SIGCONT)

    def _cut(self, host: Host, *rule: str) -> None:
        with host.namespace.rule(*rule):
            time.sleep(self.chance.uniform(0, 3 * TTL))

    def _etcd_ports(self) -> tuple[str, ...]:
        ports = ",".join(map(str, self._vm.etcd.ports))
        return ("-p", "tcp", "-m", "multiport", "--ports", ports)

    def cut_from_etcd(self, host: Host, owner: Launcher) -> None:
        self._cut(host, "OUTPUT", *self._etcd_ports(), "-j", "DROP")

    def refuse_etcd(self, host: Host, owner: Launcher) -> None:
        reset = ("-j", "REJECT", "--reject-with", "tcp-reset")
        self._cut(host, "OUTPUT", *self._etcd_ports(), *reset)

    def lose_answers(self, host: Host, owner: Launcher) -> None:
        self._cut(host, "INPUT", *self._etcd_ports(), "-j", "DROP")

    def cut_from_ceph(self, host: Host, owner: Launcher) -> None:
        self._cut(host, "OUTPUT", "-p", "tcp", "--dport", self._ceph_ports, "-j", "DROP")

    def pause_leader(self, host: Host, owner: Launcher) -> None:
        leader = self._vm.etcd.leader()
        with ExitStack() as stack:
            stack.callback(self._vm.etcd.serves)
            stack.callback(leader.resume)
            leader.pause()
            time.sleep(self.chance.uniform(0, 2 * TTL))

    def kill_member(self, host: Host, owner: Launcher) -> None:
        member = self.chance.choice(self._vm.etcd.members)
        with ExitStack() as stack:
            stack.callback(self._vm.etcd.serves)
            stack.callback(member.start)
            member.stop()
            time.sleep(self.chance.uniform(0, TTL))

    def stop_etcd(self, host: Host, owner: Launcher) -> None:
        self._vm.etcd.stop()
        time.sleep(self.chance.uniform(0, 3 * TTL))
        self._vm.etcd.start()


@pytest.fixture
def mixed(arena: Arena, rbd_vm: Vm, image: RbdDisk, ceph_node: Ceph, seed: int) -> Mixed:
    return Mixed(arena, rbd_vm, image, ceph_node, seed)


def test_mixed_faults(
    arena: Arena, rbd_vm: Vm, image: RbdDisk, mixed: Mixed, minutes: float
) -> None:
    until = time.monotonic() + minutes * 60
    rounds = 0
    while rounds < SHORT or time.monotonic() < until:
        arena.figures.faults[mixed.round()] += 1
        arena.figures.rounds += 1
        rounds += 1
        arena.no_overlap()
    mixed.settle()
    arena.verify(rbd_vm, image)
