"""What QEMU's answers say of its disks, and what their absence says of QEMU."""

from collections.abc import Callable
from typing import Any, cast

import pytest

from holdfast.instance.pulse import AT_ONCE, LONGEST_PATH, LOOK, MOST_QUEUES, STUCK, Pulse
from holdfast.qmp.monitor import Monitor

DISK = "/machine/peripheral/disk-root/virtio-backend"


class Played:
    """QEMU, as far as it is asked. `queues` holds what each has in flight, and has given back."""

    def __init__(self, queues: dict[int, tuple[int, int]], name: str = "virtio-blk") -> None:
        self.queues = queues
        self.name = name
        self.mute = False
        self.asked = 0
        self.waiting: list[tuple[Callable[[Any], None], Any]] = []

    def ask(self, command: str, then: Callable[[Any], None], **arguments: Any) -> None:
        self.asked += 1
        self.waiting.append((then, self.answer(command, arguments)))

    def answer(self, command: str, arguments: Any) -> Any:
        if command == "x-query-virtio":
            return [{"name": "virtio-rng", "path": "/x"}, {"name": self.name, "path": DISK}]
        if command == "x-query-virtio-status":
            return {"num-vqs": max(self.queues) + 1}
        if command == "x-query-virtio-queue-status":
            inuse, used = self.queues[arguments["queue"]]
            return {"inuse": inuse, "used-idx": used}
        return {"status": "running"}

    def talk(self) -> None:
        while self.waiting and not self.mute:
            then, answer = self.waiting.pop(0)
            then(answer)


def looked(pulse: Pulse, qemu: Played, seconds: float, start: float) -> list[dict[str, str]]:
    found = []
    for number in range(int(seconds / LOOK) + 1):
        found.append(pulse.look(start + number * LOOK))
        qemu.talk()
    return found


def made(qemu: Played) -> Pulse:
    return Pulse(cast(Monitor, qemu))


def test_an_idle_disk_is_well() -> None:
    qemu = Played({0: (0, 7), 1: (0, 9)})
    assert not any(looked(made(qemu), qemu, 100, 0))


def test_a_busy_disk_is_well() -> None:
    qemu = Played({0: (3, 0)})
    pulse = made(qemu)
    for number in range(20):
        qemu.queues[0] = (3, number)
        assert not pulse.look(number * LOOK)
        qemu.talk()


def test_requests_that_do_not_come_back_ail_until_they_do() -> None:
    qemu = Played({0: (0, 7), 1: (2, 9)})
    pulse = made(qemu)
    found = looked(pulse, qemu, STUCK + 3 * LOOK, 0)
    assert not found[1]
    text = "the storage of disk root does not answer: the guest's requests wait"
    assert found[-1] == {"storage of disk root": text}
    qemu.queues[1] = (0, 11)
    later = looked(pulse, qemu, 2 * LOOK, 100)
    assert later[-1] == {}


def test_scsis_queues_of_control_and_events_are_not_storage() -> None:
    qemu = Played({0: (1, 0), 1: (9, 0), 2: (0, 4)}, "virtio-scsi")
    assert not any(looked(made(qemu), qemu, 100, 0))


def test_a_mute_qemu() -> None:
    qemu = Played({0: (0, 0)})
    pulse = made(qemu)
    looked(pulse, qemu, 3 * LOOK, 0)
    qemu.mute = True
    before = qemu.asked
    assert "monitor" in looked(pulse, qemu, 50, 20)[-1]["qemu"]
    assert qemu.asked - before <= 1, "what it has not answered is not asked again"
    qemu.mute = False
    qemu.talk()
    assert pulse.look(80) == {}


def test_many_queues_have_their_turns() -> None:
    qemu = Played(dict.fromkeys(range(5 * AT_ONCE), (0, 0)))
    qemu.queues[3 * AT_ONCE] = (1, 4)
    pulse = made(qemu)
    before = qemu.asked
    found = looked(pulse, qemu, LOOK, 0)
    assert qemu.asked - before <= AT_ONCE + 2
    found = looked(pulse, qemu, 20 * LOOK, 2 * LOOK)
    assert "storage of disk root" in found[-1]


@pytest.mark.parametrize(
    "said", [None, [], {}, "x", 7, [7], [{"name": []}], [{"name": "virtio-blk"}], {"num-vqs": "x"}]
)
def test_anything_may_be_answered(said: object) -> None:
    qemu = Played({0: (0, 0)})
    pulse = made(qemu)
    for number in range(5):
        assert not pulse.look(number * LOOK)
        for then, _ in qemu.waiting:
            then(said)
        qemu.waiting.clear()


class Broken(Played):
    """A guest has broken out into it: it has disks without end, with names without end."""

    def answer(self, command: str, arguments: Any) -> Any:
        if command == "x-query-virtio":
            return [{"name": "virtio-blk", "path": f"/{n}" + "x" * 5000} for n in range(500)]
        if command == "x-query-virtio-status":
            return {"num-vqs": 10**9}
        return {"inuse": 1, "used-idx": 0}


def test_what_is_asked_for_and_kept_has_an_end() -> None:
    qemu = Broken({})
    pulse = made(qemu)
    looked(pulse, qemu, LOOK * MOST_QUEUES / AT_ONCE * 2, 0)
    assert len(pulse._queues) == MOST_QUEUES
    assert len(pulse._seen) <= MOST_QUEUES
    assert all(len(path) <= LONGEST_PATH for path, _ in pulse._seen)
