from pathlib import Path

import pytest

from holdfast.errors import ConfigError, HostLacks
from holdfast.machine.ceph import Access, Monitor
from holdfast.storage.ceph.keyring import Keyring, find

# As ceph-authtool --gen-print-key made them; no cluster has them.
A = "AQDk2rVpAAAAABAA0kQXOBDpGdQ0r1cqkVYQKA=="
B = "AQDk2rVpAAAAABAAc1JxgnzUYZ3dJb1qHBXLzw=="


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    path = tmp_path / "ceph.conf"
    path.write_text("[global]\nmon_host = 192.0.2.1\n")
    return path


def keep(conf: Path, name: str, text: str) -> None:
    (conf.parent / name).write_text(text)


def section(user: str, key: str) -> str:
    return f'[client.{user}]\n\tkey = {key}\n\tcaps mon = "profile rbd"\n'


@pytest.mark.parametrize(
    ("users", "wanted", "found"),
    [
        (["admin", "holdfast", "zoe"], "", "holdfast"),
        (["admin", "zoe"], "", "admin"),
        (["zoe"], "", "zoe"),
        (["admin", "holdfast", "zoe"], "zoe", "zoe"),
    ],
)
def test_whose_key_it_is(conf: Path, users: list[str], wanted: str, found: str) -> None:
    for user in users:
        keep(conf, f"ceph.client.{user}.keyring", section(user, A if user == found else B))
    assert find(conf, wanted) == Keyring(conf=str(conf), user=found, key=A)


@pytest.mark.parametrize(
    "text",
    [
        f"[client.holdfast]\n\tkey = {A}\n",
        f'[client.holdfast]\nkey={A}\ncaps osd = "profile rbd"\n',
        f"# by hand\n[mon.]\n key = {B}\n[client.holdfast]\n  key = {A}\n[client.zoe]\n key = {B}\n",
        f"; twice\n[client.holdfast]\n\n\tkey : {A}\n[client.holdfast]\n\tauid = 0\n",
    ],
)
@pytest.mark.parametrize("name", ["keyring", "ceph.keyring", "ceph.client.holdfast.keyring"])
def test_as_people_and_ceph_write_it(conf: Path, name: str, text: str) -> None:
    keep(conf, name, text)
    assert find(conf).key == A


def test_nobody_sees_the_key(conf: Path) -> None:
    keep(conf, "keyring", section("holdfast", A))
    assert A not in repr(find(conf))


def test_without_cephx(conf: Path) -> None:
    conf.write_text("[global]\nauth client required = none\n")
    assert find(conf) == Keyring(conf=str(conf), user="admin", key="")
    assert find(conf, "zoe").user == "zoe"


def test_no_conf(tmp_path: Path) -> None:
    with pytest.raises(HostLacks) as raised:
        find(tmp_path / "ceph.conf")
    assert raised.value.message == f"{tmp_path}/ceph.conf is missing"
    assert "-v /etc/ceph:/etc/ceph:ro" in raised.value.hint


def test_nobody_we_know(conf: Path) -> None:
    for user in ("zoe", "bob"):
        keep(conf, f"ceph.client.{user}.keyring", section(user, A))
    with pytest.raises(ConfigError) as raised:
        find(conf)
    assert raised.value.message == (
        f"{conf.parent} holds no keyring for client.holdfast or client.admin (there are: bob, zoe)"
    )
    assert f"-o {conf.parent}/ceph.client.holdfast.keyring" in raised.value.hint


def test_not_the_one_who_was_asked_for(conf: Path) -> None:
    keep(conf, "keyring", section("admin", A))
    with pytest.raises(ConfigError, match=r"no keyring for client\.zoe \(there are: admin\)"):
        find(conf, "zoe")


@pytest.mark.parametrize("key", ["", "no key", A[:-1], A[:-8], A.replace("A", "\u00e9")])
def test_a_damaged_key(conf: Path, key: str) -> None:
    keep(conf, "keyring", section("holdfast", key))
    with pytest.raises(ConfigError) as raised:
        find(conf)
    assert raised.value.message == f"{conf.parent}: the key of client.holdfast is damaged"
    assert not key or key not in "".join(raised.value.lines())


@pytest.mark.parametrize("text", [f"key = {A}\n", f"[client.holdfast\nkey = {A}\n"])
def test_a_damaged_file(conf: Path, text: str) -> None:
    keep(conf, "ceph.client.holdfast.keyring", text)
    with pytest.raises(
        ConfigError, match=r"ceph\.client\.holdfast\.keyring is no keyring of Ceph: "
    ) as raised:
        find(conf)
    assert A not in "".join(raised.value.lines())


def test_bytes_that_are_no_text(conf: Path) -> None:
    (conf.parent / "other.keyring").write_bytes(b"\xff\xfe[client.x]")
    with pytest.raises(ConfigError, match=r"other\.keyring"):
        find(conf)


# -- what ceph.conf and host.toml say of the place


@pytest.mark.parametrize(
    "line",
    [
        "[client]\nkeyring = {place}/$cluster.$name.keyring",
        "[global]\n\tkeyring = {place}/nothing, {place}/${{cluster}}.$type.$id.keyring",
        "[client.holdfast]\nkeyring={place}/ceph.client.holdfast.keyring",
    ],
)
def test_a_keyring_elsewhere(conf: Path, tmp_path: Path, line: str) -> None:
    place = tmp_path / "keys"
    place.mkdir()
    (place / "ceph.client.holdfast.keyring").write_text(section("holdfast", A))
    keep(conf, "ceph.client.holdfast.keyring", section("holdfast", B))
    conf.write_text(f"[global]\nmon_host = 192.0.2.1\n{line.format(place=place)}\n")
    assert find(conf).key == A


MONITORS = (Monitor(host="fd00::1", port=3300),)


def test_all_from_host_toml(tmp_path: Path) -> None:
    """There is no /etc/ceph at all."""
    keyring, key_file = tmp_path / "a keyring", tmp_path / "zoe.key"
    keyring.write_text(section("zoe", A) + section("admin", B))
    key_file.write_text(f"{A}\n")
    expected = Keyring(conf="", user="zoe", key=A, monitors=MONITORS)
    conf = tmp_path / "ceph.conf"
    for access in (
        Access(monitors=MONITORS, user="zoe", keyring=str(keyring)),
        Access(monitors=MONITORS, user="zoe", key_file=str(key_file)),
    ):
        assert find(conf, access=access) == expected


def test_monitors_of_host_toml_and_the_keyring_of_etc_ceph(conf: Path) -> None:
    keep(conf, "ceph.client.holdfast.keyring", section("holdfast", A))
    conf.write_text("[client]\nkeyring = /of/another/cluster\n")
    found = find(conf, access=Access(monitors=MONITORS))
    assert found == Keyring(conf="", user="holdfast", key=A, monitors=MONITORS)


def test_a_user_of_host_toml_in_etc_ceph(conf: Path) -> None:
    keep(conf, "keyring", section("zoe", A) + section("holdfast", B))
    assert find(conf, access=Access(user="zoe")) == Keyring(conf=str(conf), user="zoe", key=A)


@pytest.mark.parametrize(
    ("access", "said"),
    [
        (Access(keyring="/nowhere/keyring"), "the keyring /nowhere/keyring of host.toml is missing"),
        (Access(user="a", key_file="/nowhere/key"), "the key_file /nowhere/key .* No such file"),
        (Access(user="a", key_file="/bin/true"), "the key_file /bin/true .* is not a key"),
        (Access(user="a", key_file="/proc/self/comm"), r"/proc/self/comm: the key of client\.a is damaged"),
        (Access(monitors=MONITORS, user="a"), r"holds no keyring for client\.a"),
    ],
)  # fmt: skip
def test_host_toml_says_what_is_not_so(conf: Path, access: Access, said: str) -> None:
    with pytest.raises((HostLacks, ConfigError), match=said):
        find(conf, access=access)
