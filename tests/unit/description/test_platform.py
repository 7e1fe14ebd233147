"""Architecture, board and firmware: what follows from what, and what does not go together."""

from dataclasses import replace

import pytest
from describing import HOST_TOML, Keys, described, faults, machine

from holdfast.config import settings
from holdfast.description import describe
from holdfast.errors import ConfigError
from holdfast.machine import Arch, Firmware, RbdVolume, Volume
from holdfast.storage.variables import KIND, unfit

UEFI = {"firmware": "uefi"}
HEADER = bytes(range(64))
KEYED = HEADER + "PK\0".encode("utf-16-le")


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"ram": "1G"}, (Arch.x86_64, "pc", Firmware.bios)),
        ({"cpus": "2"}, (Arch.x86_64, "q35", Firmware.bios)),
        ({"arch": "x86_64"}, (Arch.x86_64, "q35", Firmware.bios)),
        ({"arch": "aarch64", "disks/a/rbd": "p/i"}, (Arch.aarch64, "virt", Firmware.uefi)),
        ({"arch": "qemu-system-aarch64", "disks/a/rbd": "p/i"}, (Arch.aarch64, "virt", Firmware.uefi)),
    ],
)  # fmt: skip
def test_q3_the_defaults_follow_from_arch(
    keys: Keys, expected: tuple[Arch, str, Firmware]
) -> None:
    found = machine(keys)
    assert (found.arch, found.machine, found.firmware) == expected


def test_without_the_key_it_is_the_hosts() -> None:
    config = settings.parse({"VM": "7"}, host_toml=HOST_TOML)
    arm = replace(config, arch="aarch64")
    found = describe(arm, {"disks/a/rbd": b"p/i"}, {}).machine
    assert (found.arch, found.machine) == (Arch.aarch64, "virt")


def test_q3_an_unknown_architecture() -> None:
    assert faults({"arch": "qemu-system-vax"}) == [
        "arch: 'qemu-system-vax': must be one of x86_64, aarch64"
    ]


@pytest.mark.parametrize("listed", ["x86_64", "qemu-system-x86_64"])
def test_q4_the_allow_list_takes_both_spellings(listed: str) -> None:
    toml = f'emulators_allowlist = ["{listed}"]\n' + HOST_TOML
    for keys in ({"ram": "1G"}, {"arch": "x86_64"}, {"arch": "qemu-system-x86_64"}):
        assert described(keys, host_toml=toml).machine.arch is Arch.x86_64
    with pytest.raises(ConfigError, match=r"emulators_allowlist of host.toml \(x86_64\)"):
        described({"arch": "aarch64"}, host_toml=toml)


def test_q4_the_allow_list_holds_for_the_default_too() -> None:
    toml = 'emulators_allowlist = ["aarch64"]\n' + HOST_TOML
    with pytest.raises(ConfigError, match="arch: 'x86_64': is not given, and this host's own is"):
        described({"ram": "1G"}, host_toml=toml)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (UEFI | {"machine": "virt"}, "machine: 'virt': is no board of x86_64"),
        ({"arch": "aarch64", "machine": "q35", "disks/a/rbd": "p/i"}, "machine: 'q35': is no board of aarch64"),
        ({"arch": "aarch64", "firmware": "bios"}, "firmware: 'bios': is not there for aarch64: use uefi"),
        ({"arch": "aarch64", "firmware": "uefi-secure"}, "firmware: 'uefi-secure': is not there for aarch64: use uefi"),
        ({"firmware": "uefi-secure", "machine": "pc", "disks/a/rbd": "p/i"},
         "firmware: 'uefi-secure': needs machine q35: no other protects its keys"),
        ({"firmware": "uefi-secure", "kernel": "/images/vmlinuz", "disks/a/rbd": "p/i"},
         "kernel: is not signed for firmware uefi-secure; boot from a disk"),
        (UEFI, ("firmware: 'uefi': keeps its variables in the primary disk's pool, "
               "and this VM's is in none: set default_pool in host.toml")),
        ({"disks/vars/rbd": "p/i"}, "disks/vars: must have another name: the volume <vm>-vars is the firmware's"),
        (UEFI | {"disks/a/rbd": "p/i", "disks/b/rbd": "p/7-vars", "disks/a/primary": "on"},
         "firmware: 'p/7-vars': is the same disk as disks/b"),
    ],
)  # fmt: skip
def test_what_does_not_go_together(keys: Keys, said: str) -> None:
    assert said in faults(keys)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"disks/a/rbd": "p/i"}, RbdVolume(pool="p", image="7-vars")),
        ({"disks/a/rbd": "p/n/i"}, RbdVolume(pool="p", namespace="n", image="7-vars")),
        (
            {"disks/a/pool": "default", "disks/a/size": "1G"},
            Volume(pool="default", directory="/pool", name="7-vars.raw"),
        ),
    ],
)
def test_the_variables_are_in_the_primary_disks_pool(
    keys: Keys, expected: RbdVolume | Volume
) -> None:
    found = machine({**UEFI, **keys})
    assert found.variables
    assert found.variables.backend == expected
    assert found.storage == (*found.disks, found.variables)


def test_a_file_of_the_users_has_none_and_the_default_pool_is_taken() -> None:
    toml = 'default_pool = "default"\n' + HOST_TOML
    found = described(UEFI | {"disks/a/path": "/images/a"}, host_toml=toml).machine
    assert found.variables
    assert str(found.variables.backend) == "/pool/7-vars.raw"


@pytest.mark.parametrize(
    ("found", "size", "said"),
    [
        (HEADER, 64, "holds no keys of Secure Boot"),
        (KEYED, 65, "has 65 bytes, and the variables of this firmware have 64"),
        (bytes(64), 64, "does not hold the variables of this firmware"),
        (KEYED, 64, ""),
    ],
)
def test_variables_that_do_not_fit(found: bytes, size: int, said: str) -> None:
    assert unfit(found, size, KEYED, 64).startswith(said)
    assert HEADER[KIND] == KEYED[KIND]
    assert not unfit(HEADER, 64, HEADER, 64)
