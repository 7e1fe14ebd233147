"""A QEMU that is there, and says nothing: whose fault that is."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from holdfast.errors import HoldfastError, Unreachable
from holdfast.host import Host
from holdfast.instance import launch
from holdfast.instance.launch import Launch, Stillborn
from holdfast.qemu.wiring import Wiring
from holdfast.qmp.client import Qmp
from holdfast.runtime.confinement import Identity


class Hanging:
    """QEMU, in its first open of an image."""

    said = ()

    def end(self) -> int:
        return -9

    def close(self) -> None: ...


@pytest.fixture
def qmp(monkeypatch: pytest.MonkeyPatch) -> Iterator[Qmp]:
    monkeypatch.setattr(launch, "GREETING", 0.05)
    qmp = Qmp()
    theirs = qmp.theirs.dup()  # it has not ended
    yield qmp
    theirs.close()
    qmp.close()


@pytest.mark.parametrize(
    ("ceph", "kind", "status", "said"),
    [
        (object(), Unreachable, 69, "has not opened its images within .*: Ceph does not answer"),
        (None, Stillborn, 70, "QEMU did not start"),
    ],
)
def test_a_qemu_that_hangs_while_it_opens_images_waits_for_ceph(
    qmp: Qmp, ceph: object, kind: type[HoldfastError], status: int, said: str
) -> None:
    plan = cast("Any", SimpleNamespace(ceph=ceph, disks=(), machine=None, io_uring=False))
    host = Host(name="a", machine_id="m", boot_id="b")
    started = Launch(plan, host, Identity(uid=1, gid=1), cast("Any", None), cast("Any", None))
    with pytest.raises(kind, match=said) as caught:
        started._greet(cast("Any", Hanging()), qmp, Wiring(qmp=0, console=0))
    assert caught.value.status == status
