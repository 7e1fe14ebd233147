"""UEFI as a guest sees it, and its variables from one start to the next."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from launcher import WITNESS_READ, WITNESS_WRITTEN, Launcher, told

pytestmark = pytest.mark.integration

Launch = Callable[..., Launcher]


def described(tmp_path: Path, guest: Path, vm: str, **keys: str) -> dict[str, str]:
    """A VM in a file, with a volume and a kernel given directly."""
    given = {
        "ram": "256",
        "kernel": f"{guest}/vmlinuz",
        "initrd": f"{guest}/initrd.img",
        "cmdline": "console=ttyS0 quiet no_timer_check",
        "disks": "{root: {pool: default, size: 16M}}",
        **keys,
    }
    file = tmp_path / f"{vm}.yaml"
    file.write_text("".join(f"{key}: {text}\n" for key, text in given.items()), encoding="utf-8")
    return {"VM": vm, "VM_FILE": str(file)}


def stopped(launcher: Launcher) -> None:
    launcher.signal()
    assert launcher.ends() == 0, launcher.story()


def test_variables_outlive_a_stop(launch: Launch, guest: Path, tmp_path: Path, pool: Path) -> None:
    vm = described(tmp_path, guest, "uefi1", firmware="uefi")
    first = launch(vm)
    first.ready()
    assert f"created {pool}/uefi1-vars.raw" in first.log
    told("uefi1", WITNESS_WRITTEN, "WRITTEN 0")
    stopped(first)
    again = launch(vm)
    again.ready()
    assert "created" not in again.log
    told("uefi1", WITNESS_READ, "FOUND holdfast")
    stopped(again)


def test_variables_that_do_not_fit_are_refused_and_kept(
    launch: Launch, guest: Path, tmp_path: Path, pool: Path
) -> None:
    volume = pool / "uefi2-vars.raw"
    volume.write_bytes(b"of another firmware")
    launcher = launch(described(tmp_path, guest, "uefi2", firmware="uefi"))
    assert launcher.ends() == 78, launcher.story()
    assert re.search(r"firmware: '.*': has 19 bytes, and", launcher.log), launcher.log
    assert volume.read_bytes() == b"of another firmware"
    assert list(pool.iterdir()) == [volume]


def test_secure_boot_refuses_what_is_not_signed(
    launch: Launch, guest: Path, tmp_path: Path, pool: Path
) -> None:
    """Debian's kernel is an EFI program, but Microsoft's key knows only the shim before it."""
    disk = tmp_path / "kernel.raw"
    subprocess.run(["mformat", "-C", "-i", disk, "-T", str(64 * 2048), "::"], check=True)
    subprocess.run(["mmd", "-i", disk, "::EFI", "::EFI/BOOT"], check=True)
    subprocess.run(["mcopy", "-i", disk, guest / "vmlinuz", "::EFI/BOOT/BOOTX64.EFI"], check=True)
    keys = tmp_path / "uefi3.yaml"
    keys.write_text(f"ram: 256\nfirmware: uefi-secure\ndisks: {{root: {{path: {disk}}}}}\n")
    vm = {"VM": "uefi3", "VM_FILE": str(keys)}
    launcher = launch(vm)
    launcher.says("BdsDxe: failed to load.*Access Denied", where="console")
    launcher.signal()
    launcher.says("powering the guest down")
    launcher.signal()
    assert launcher.ends() == 0, launcher.story()
    # What firmware=uefi makes has no keys: Secure Boot would be off without a word.
    (pool / "uefi3-vars.raw").write_bytes(Path("/usr/share/OVMF/OVMF_VARS_4M.fd").read_bytes())
    refused = launch(vm)
    assert refused.ends() == 78
    assert "holds no keys of Secure Boot" in refused.log


def test_another_architecture_is_emulated(
    launch: Launch, arm_guest: Path, tmp_path: Path, pool: Path
) -> None:
    toml = tmp_path / "host.toml"
    toml.write_text(f'image_paths = ["{arm_guest}"]\n' + toml.read_text().partition("\n")[2])
    vm = described(
        tmp_path, arm_guest, "arm", arch="aarch64", cpus="2", cmdline="console=ttyAMA0 quiet"
    )
    launcher = launch(vm)
    launcher.says("emulating aarch64 on x86_64")
    ready = "GUEST-READY arch=aarch64 efi=yes cpus=2"
    launcher.says(ready, where="console")
    assert (pool / "arm-vars.raw").stat().st_size == 64 << 20
    launcher.signal()
    launcher.says("powering the guest down")
    launcher.signal()
    assert launcher.ends() == 0, launcher.story()
