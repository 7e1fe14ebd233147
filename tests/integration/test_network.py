"""What a guest's cards lead to, with real guests."""

import re
from collections.abc import Callable
from pathlib import Path
from urllib.request import urlopen

import pytest
from etcd import free_port
from launcher import Launcher

pytestmark = pytest.mark.integration

Launch = Callable[..., Launcher]
Start = Callable[..., Launcher]


@pytest.fixture
def start(launch: Launch, guest: Path, tmp_path: Path) -> Start:
    """A small guest of that name and with these cards (YAML)."""

    def with_cards(vm: str, cards: str, **environ: str) -> Launcher:
        file = tmp_path / f"{vm}.yaml"
        file.write_text(
            f"ram: 192\nkernel: {guest}/vmlinuz\ninitrd: {guest}/initrd.img\n"
            "cmdline: console=ttyS0 quiet no_timer_check\nstop_timeout: 30\n"
            f"hostname: {vm}-guest\ndisks: {{data: {{pool: default, size: 16M}}}}\nnics:\n"
            + re.sub("^", "  ", cards, flags=re.MULTILINE),
            encoding="utf-8",
        )
        return launch({"VM_FILE": str(file), "VM": vm, **environ})

    return with_cards


def page(where: str) -> str:
    """What the guest's web server says."""
    with urlopen(f"http://{where}/", timeout=10) as answer:
        text: str = answer.read().decode()
    return text


def test_q10_a_port_in_user_mode_is_reached_and_belongs_to_one_vm(start: Start) -> None:
    port = free_port()
    first = start(
        "net-first",
        f"nat: {{mode: user, ports: '127.0.0.1:{port}:80'}}\nidle: {{mode: user, link: off}}",
    )
    first.ready()
    assert "hostname=net-first-guest" in page(f"127.0.0.1:{port}")
    assert re.search("nic=eth. .* address=none", first.console)
    second = start("net-second", f"nat: {{mode: user, ports: '{port}:80'}}")
    assert second.ends() == 75
    assert (
        f"{port}:80/tcp: the VM net-first on this host publishes 127.0.0.1:{port}:80/tcp"
        in second.log
    )
    third = start("net-third", "nat: {mode: user, ports: '203.0.113.7:8080:80'}")
    assert third.ends() == 77
    assert "this host has no such address" in third.log
    first.signal()
    assert first.ends() == 0
