"""QEMU's identity: stable, its own, and never root's."""

import pytest

from holdfast.runtime.confinement import confined, identity

WHOLE = 2**32 - 1


def test_the_same_vm_has_the_same_uid_everywhere() -> None:
    assert identity("7", uid_map_end=WHOLE, kvm_gid=None) == identity(
        "7", uid_map_end=WHOLE, kvm_gid=None
    )


def test_vms_have_uids_of_their_own() -> None:
    uids = {identity(f"vm{n}", uid_map_end=WHOLE, kvm_gid=None).uid for n in range(1000)}
    assert len(uids) == 1000
    assert min(uids) >= 0x7000_0000


@pytest.mark.parametrize("vm", ["7", "web", "a-long-name"])
def test_a_user_namespace_has_few_uids(vm: str) -> None:
    assert 30000 <= identity(vm, uid_map_end=65536, kvm_gid=None).uid < 60000


def test_the_group_of_the_kvm_node_comes_along() -> None:
    who = identity("7", uid_map_end=WHOLE, kvm_gid=108)
    assert "--groups=108" in confined(["qemu"], who, 1)
    assert "--clear-groups" in confined(
        ["qemu"], identity("7", uid_map_end=WHOLE, kvm_gid=None), 1
    )
