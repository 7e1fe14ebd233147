"""As whom the RBD disks of a VM are reached."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from holdfast.errors import ConfigError
from holdfast.storage.ceph.access import user_of


def adapted(*users: str) -> Any:
    return cast("Any", SimpleNamespace(rbd=[SimpleNamespace(user=user) for user in users]))


@pytest.mark.parametrize(
    ("users", "expected"), [(("",), ""), (("vm",), "vm"), (("vm", "vm", "vm"), "vm")]
)
def test_arguments_name_one_user_as_often_as_they_like(
    users: tuple[str, ...], expected: str
) -> None:
    assert user_of(adapted(*users)) == expected


def test_keys_leave_the_user_to_the_pool() -> None:
    assert user_of(None) == ""


@pytest.mark.parametrize("users", [("b", "a"), ("", "a"), ("a", "b", "a")])
def test_two_users_are_told_with_their_names(users: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError) as caught:
        user_of(adapted(*users))
    (fault,) = caught.value.faults
    assert fault.rule == f"name more than one Ceph user: {', '.join(sorted(set(users)))}"
