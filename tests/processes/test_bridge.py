"""Real interfaces in a network namespace of the test's own."""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from processes import netns

from holdfast.errors import ConfigError, HostLacks
from holdfast.network import bridge
from holdfast.network.bridge import Link

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(os.geteuid() != 0, reason=netns.NEEDS_ROOT),
]


@pytest.fixture(autouse=True)
def network() -> Iterator[None]:
    with netns.namespaces():
        netns.add_bridge("br-up")
        netns.add_bridge("br-down", up=False)
        netns.run("ip", "link", "add", "veth-a", "type", "veth", "peer", "name", "veth-b")
        netns.run("ip", "link", "set", "veth-a", "up")
        yield


@pytest.mark.parametrize(
    ("name", "link"),
    [
        ("br-up", Link(kind="bridge", up=True)),
        ("br-down", Link(kind="bridge", up=False)),
        ("veth-a", Link(kind="veth", up=True)),
        ("lo", Link(kind="loopback", up=False)),
        ("missing", None),
        ("longer-than-a-name-may-be", None),
    ],
)
def test_both_ways_to_ask_agree(name: str, link: Link | None) -> None:
    assert bridge.look_up(name) == link
    assert bridge.is_bridge_up(name) == (link == Link(kind="bridge", up=True))


def test_a_bridge_that_is_up_passes() -> None:
    bridge.check("br-up")
    bridge.check("br-up", permitted=("br-up",))


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("missing", HostLacks, "`ip link add missing type bridge && ip link set missing up`"),
        ("br-down", HostLacks, "`ip link set br-down up`"),
        ("veth-a", ConfigError, "kind veth"),
        ("lo", ConfigError, "kind loopback"),
    ],
)
def test_anything_else_is_refused(name: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error) as caught:
        bridge.check(name)
    assert isinstance(caught.value, HostLacks | ConfigError)
    assert words in "\n".join(caught.value.lines())


def test_the_command_of_the_hint_helps() -> None:
    with pytest.raises(HostLacks) as caught:
        bridge.check("br-new")
    command = caught.value.hint.split("`")[1]
    subprocess.run(command, shell=True, check=True)  # noqa: S602 - as a person would paste it
    bridge.check("br-new")


def test_a_good_bridge_costs_no_import_of_pyroute2() -> None:
    program = "import sys; from holdfast.network import bridge; bridge.check('br-up'); print('pyroute2' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "False\n"
