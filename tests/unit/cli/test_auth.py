"""The roles as `holdfast auth show` prints them, and as docs/security.md has them, which tests/integration runs."""

import re
from pathlib import Path

import pytest

from holdfast.cli.commands import command
from holdfast.errors import HoldfastError
from holdfast.ownership import roles

ENVIRON = {"ETCD_ENDPOINTS": "http://127.0.0.1:2379"}
PAGE = Path(__file__).parents[3] / "docs" / "security.md"
CHAPTER = PAGE.read_text("utf-8").partition("### Roles\n")[2].partition("\n## ")[0]
BLOCKS = re.findall(r"^```sh\n(.*?)^```", CHAPTER, flags=re.DOTALL | re.MULTILINE)


def printed(capsys: pytest.CaptureFixture[str], name: str, *arguments: str, **environ: str) -> str:
    assert command(name).call(arguments, {**ENVIRON, **environ}) == 0
    return capsys.readouterr().out


def test_they_are_those_of_the_document(capsys: pytest.CaptureFixture[str]) -> None:
    usual = printed(capsys, "auth", "show")
    tenant = printed(capsys, "auth", "show", "--tenant", "7")
    some = printed(capsys, "auth", "show", "--operator-of", "web-")
    root, launcher, operator, of_one, of_some, reader = BLOCKS
    assert usual == root + launcher + operator + reader
    assert tenant == of_one
    assert some == of_some


def test_another_tree(capsys: pytest.CaptureFixture[str]) -> None:
    shown = printed(capsys, "auth", "show", "--tenant", "db-1", KEY_PREFIX="/lab/kvm")
    assert "grant-permission tenant-db-1 readwrite /lab/kvm/db-1/locl /lab/kvm/db-10\n" in shown
    assert not re.search(r" /kvm", shown)


@pytest.mark.parametrize("name", ["", "a b", "7;reboot", "-7", "/kvm", "*"])
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(HoldfastError):
        command("auth").call(["show", "--tenant", name], ENVIRON)


def test_no_role_reaches_into_another_tree() -> None:
    made = [roles.launcher("/kvm"), roles.operator("/kvm"), roles.reader("/kvm")]
    made += [roles.tenant("/kvm", "7"), roles.operator_of("/kvm", "web-")]
    for grant in (one for role in made for one in role.grants):
        assert grant.start.startswith("/kvm/")
        assert grant.end <= "/kvm0"
