"""Which server a person gets to the screen by."""

import pytest
from describing import Keys, described, faults, machine

from holdfast.errors import ConfigError, UsageError
from holdfast.machine import Spice, Vnc


@pytest.mark.parametrize(
    ("own", "defaults", "spice", "vnc"),
    [
        ({}, {}, None, None),
        ({"spice_port": "5901"}, {}, 5901, None),
        ({"vnc_port": "5901"}, {}, None, 5901),
        ({"vnc_port": "5901"}, {"spice_port": "5902"}, None, 5901),
        ({"spice_port": "5901"}, {"vnc_port": "5902"}, 5901, None),
        ({"display": "vnc", "vnc_port": "5901", "spice_port": "5902"}, {}, None, 5901),
        ({"display": "vnc"}, {"vnc_port": "5901", "spice_port": "5902"}, None, 5901),
        ({"display": "none", "spice_port": "5901"}, {}, None, None),
    ],
)
def test_one_server(own: Keys, defaults: Keys, spice: int | None, vnc: int | None) -> None:
    found = machine({"ram": "1G", **own}, defaults)
    assert found.spice == (Spice(port=spice) if spice else None)
    assert found.vnc == (Vnc(port=vnc) if vnc else None)


def test_a_server_is_no_hardware() -> None:
    assert machine({"vnc_port": "5901", "display": "vnc"}).machine == "pc"
    assert machine({"video": "std"}).machine == "q35"


@pytest.mark.parametrize(
    ("keys", "fault"),
    [
        ({"spice_port": "5901", "vnc_port": "5902"}, "vnc_port: is there beside spice_port: set display"),
        ({"display": "vnc"}, "display: 'vnc': needs vnc_port"),
        ({"display": "spice", "vnc_port": "5900"}, "display: 'spice': needs spice_port"),
        ({"display": "vnc", "vnc_port": "80"}, "vnc_port: '80': must be a whole number from 5900 to 65535"),
        ({"vnc_port": "5900", "vnc_password": "123456789"}, "vnc_password: must not be longer than 8 bytes"),
        ({"vnc_port": "5900", "vnc_addr": "224.0.0.1"}, "vnc_addr: '224.0.0.1': is no address of a host"),
        ({"vnc_port": "5900", "vnc_password": ""}, "vnc_password: is empty"),
    ],
)  # fmt: skip
def test_what_is_unclear(keys: Keys, fault: str) -> None:
    assert faults(keys) == [fault]


BEYOND = ["192.0.2.7", "0.0.0.0", "::", "2001:db8::1"]  # noqa: S104 - refused
TLS = 'screen_tls = "/etc/holdfast/screens/"'
OPEN = "open_screens = true"


def screen(kind: str, addr: str, host_toml: str, **more: str) -> Spice | Vnc | None:
    own = {
        f"{kind}_port": "5901",
        f"{kind}_addr": addr,
        **{f"{kind}_{key}": text for key, text in more.items()},
    }
    made = described(own, host_toml=host_toml).machine
    return made.spice or made.vnc


@pytest.mark.parametrize("kind", ["spice", "vnc"])
@pytest.mark.parametrize("addr", BEYOND)
def test_beyond_this_host_a_screen_needs_tls_and_a_password(kind: str, addr: str) -> None:
    with pytest.raises(ConfigError, match="without TLS") as caught:
        screen(kind, addr, "")
    (line,) = caught.value.lines()
    assert line.startswith(f"{kind}_addr: '{addr}': ")
    with pytest.raises(ConfigError, match="without a password"):
        screen(kind, addr, TLS, password="none")  # noqa: S106
    found = screen(kind, addr, TLS)
    assert found is not None
    assert found.tls == "/etc/holdfast/screens"


@pytest.mark.parametrize("kind", ["spice", "vnc"])
def test_the_operator_may_open_screens(kind: str) -> None:
    found = screen(kind, "192.0.2.7", OPEN, password="none")  # noqa: S106
    assert found is not None
    assert (found.tls, found.password) == ("", None)
    secured = screen(kind, "192.0.2.7", f"{OPEN}\n{TLS}")
    assert secured is not None
    assert secured.tls


@pytest.mark.parametrize("addr", ["127.0.0.1", "::1", "127.9.9.9"])
def test_on_this_host_all_is_as_it_was(addr: str) -> None:
    found = screen("spice", addr, TLS, password="none")  # noqa: S106
    assert found is not None
    assert found.tls == ""


@pytest.mark.parametrize("toml", ["open_screens = 1", "screen_tls = 1", "screen_tls = 'x'"])
def test_what_host_toml_may_not_say(toml: str) -> None:
    with pytest.raises(UsageError):
        screen("spice", "127.0.0.1", toml)
