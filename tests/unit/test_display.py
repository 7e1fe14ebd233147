"""Which server a person gets to the screen by."""

import pytest
from describing import Keys, faults, machine

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
