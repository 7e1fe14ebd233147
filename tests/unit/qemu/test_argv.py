"""`holdfast argv`: what it says when it cannot print a command, and what the builder refuses."""

import itertools
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from holdfast.cli.argv import main
from holdfast.errors import ConfigError, HoldfastError, UsageError
from holdfast.host import Host, Kvm
from holdfast.machine import Accelerator, Disk, LocalPath, Machine, Nic, NicMode
from holdfast.qemu import command_line
from holdfast.qemu.wiring import Wiring

HOST = Host(name="a", machine_id="m", boot_id="b")
MACHINE = Machine(vm="a", hostname="a", uuid="6f2c0f7e-5d0c-4b61-9d49-3c1ddc5ac8d5", machine="q35")


def value_after(argv: list[str], option: str) -> str:
    return argv[argv.index(option) + 1]


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    path = tmp_path / "vm.yaml"
    path.write_text("cpus: 1\n", encoding="utf-8")
    return path


def test_json_is_a_list_of_words(keys: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--json", "--file", str(keys)], {}) == 0
    words = json.loads(capsys.readouterr().out)
    assert value_after(words, "-smp") == "1"


def test_an_unknown_key_is_a_warning(keys: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keys.write_text("cpus: 1\ncpu: 2\n", encoding="utf-8")
    assert main(["--file", str(keys)], {}) == 0
    captured = capsys.readouterr()
    assert "did you mean cpus?" in captured.err
    assert "did you mean" not in captured.out


def test_the_lock_of_the_environment_is_left_aside(keys: Path) -> None:
    assert main(["7", "--file", str(keys)], {"LOCK": "/kvm/8/lock", "INSTANCE": "9"}) == 0


@pytest.mark.parametrize(
    ("arguments", "environ", "message"),
    [
        (["--fil", "x"], {}, "unrecognized arguments: --fil"),
        (["a", "b"], {}, "unrecognized arguments: b"),
        ([], {}, "no VM is named"),
        (["--file", "/nonexistent"], {}, "/nonexistent: No such file"),
        (
            ["--file", "{keys}"],
            {"HOLDFAST_CONFIG": "/nonexistent"},
            "HOLDFAST_CONFIG: /nonexistent",
        ),
        (["--file", "{keys}", "--host-file", "/nonexistent"], {}, "--host-file: /nonexistent"),
        (["--file", "{keys}", "--host-file", "{keys}"], {}, "is no recorded host"),
        (["--file", "{binary}"], {}, "is not UTF-8"),
    ],
)
def test_wrong_arguments_are_status_64(
    arguments: list[str], environ: Mapping[str, str], message: str, keys: Path
) -> None:
    binary = keys.parent / "binary"
    binary.write_bytes(b"\xff\xfe")
    with pytest.raises(HoldfastError, match=message) as caught:
        main([word.format(keys=keys, binary=binary) for word in arguments], environ)
    assert caught.value.status == UsageError.status


@pytest.mark.parametrize("text", ['{"kvm": "perhaps"}', '{"colour": 1}', "[]"])
def test_a_host_must_be_one(text: str, keys: Path, tmp_path: Path) -> None:
    host = tmp_path / "host.json"
    host.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match="is no recorded host"):
        main(["--file", str(keys), "--host-file", str(host)], {})


def test_the_host_decides_what_auto_is() -> None:
    with_kvm = replace(HOST, kvm=Kvm.usable)
    assert value_after(command_line(MACHINE, with_kvm), "-accel") == "kvm"
    assert value_after(command_line(MACHINE, with_kvm), "-cpu") == "host"
    assert value_after(command_line(MACHINE, HOST), "-accel") == "tcg,thread=multi"
    chosen = replace(MACHINE, accelerator=Accelerator.kvm)
    assert value_after(command_line(chosen, HOST), "-accel") == "kvm"


def test_the_hosts_cpu_needs_kvm() -> None:
    with pytest.raises(ConfigError, match="cpu_model: 'host': needs KVM"):
        command_line(replace(MACHINE, cpu_model="host"), HOST)
    assert command_line(replace(MACHINE, cpu_model="host"), replace(HOST, kvm=Kvm.usable))


@pytest.mark.parametrize(
    ("path", "wiring", "driver"),
    [
        ("/dev/sda", Wiring(), "host_device"),
        ("/dev/shm/a.img", Wiring(), "file"),
        ("/images/a.img", Wiring(), "file"),
        ("/dev/sda", Wiring(disks={"d": 9}), "file"),  # the launcher has looked
        ("/images/link", Wiring(disks={"d": 9}, block_devices=frozenset({"d"})), "host_device"),
    ],
)
def test_who_opened_a_disk_knows_its_driver(path: str, wiring: Wiring, driver: str) -> None:
    machine = replace(MACHINE, disks=(Disk(name="d", backend=LocalPath(path=path)),))
    assert (
        json.loads(value_after(command_line(machine, HOST, wiring), "-blockdev"))["driver"]
        == driver
    )


def test_the_console_is_two_pipes() -> None:
    argv = command_line(MACHINE, HOST, Wiring(console=5, console_input=6))
    assert "file,id=console,path=/dev/fdset/5,input-path=/dev/fdset/6,append=on" in argv


def test_a_card_of_the_users_cannot_push_the_first_one_out_of_its_slot() -> None:
    """QEMU fills slots in the order of the command, and makes JSON devices last."""
    card = Nic(name="nic0", mode=NicMode.user, mac="52:54:00:00:00:01")
    flags = ("-device", "virtio-balloon-pci")
    machine = replace(MACHINE, machine="pc", nics=(card,), extra_flags=flags)
    argv = command_line(machine, HOST)
    devices = [after for word, after in itertools.pairwise(argv) if word == "-device"]
    assert devices[0].startswith("virtio-net-pci,")
    assert devices[-1] == "virtio-balloon-pci"
    assert not any(device.startswith("{") for device in devices)
