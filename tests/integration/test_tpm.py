"""A TPM as a guest sees it, and what it has in it after its host has died."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from etcd import Etcd
from launcher import Launcher, gone, told

pytestmark = pytest.mark.integration

Launch = Callable[..., Launcher]
KEY, OTHER = "1f" * 32, "2e" * 32
KEYS = {"ram": "192", "tpm": "2.0", "machine": "q35"}
# TPM 2.0 Library, Part 3: an index of eight bytes in its non-volatile memory, and a look at it.
DEFINE = "8002 0000002d 0000012a 40000001 00000009 40000009 0000 00 0000 0000 000e 01500000 000b 02060006 0000 0008"
LOOK = "8001 0000000e 00000169 01500000"


def sent(vm: str, name: str, command: str) -> str:
    """A command to the guest's TPM, and the code that it answers with."""
    octal = "".join(f"\\{byte:03o}" for byte in bytes.fromhex(command))
    line = (
        f"printf '{octal}' >/tmp/c; exec 3<>/dev/tpm0; cat /tmp/c >&3; "
        f"echo {name} $(dd bs=4096 count=1 <&3 2>/dev/null | od -An -v -tx1 | head -n 1); exec 3>&-"
    )
    found = told(vm, line, rf"^{name}((?: [0-9a-f]{{2}}){{10}})")
    return "".join(found[1].split()[6:])


def host_toml(path: Path, guest: Path, key: str) -> str:
    path.write_text(f'image_paths = ["{guest}"]\nstate_key = "{key}"\n', encoding="utf-8")
    return str(path)


def test_a_takeover_keeps_it(
    launch: Launch, etcd_server: Etcd, guest: Path, tmp_path: Path
) -> None:
    vm, stored = "tpm1", "/kvm/_secret/tpm1/tpm"
    booted = {"kernel": f"{guest}/vmlinuz", "initrd": f"{guest}/initrd.img"}
    etcd_server.put(vm, **KEYS, **booted, cmdline="console=ttyS0 quiet no_timer_check")
    environ = {
        "VM": vm,
        "ETCD_ENDPOINTS": etcd_server.url,
        "TTL": "10",
        "HOLDFAST_CONFIG": host_toml(tmp_path / "a.toml", guest, KEY),
    }
    first = launch({**environ, "HOSTNAME": "host-a"})
    first.says("GUEST-READY", where="console")
    assert sent(vm, "LOOK", LOOK) != "00000000"
    before = etcd_server.get(stored)
    assert sent(vm, "DEFINE", DEFINE) == "00000000"
    deadline = time.monotonic() + 30
    while etcd_server.get(stored) == before:
        assert time.monotonic() < deadline, first.story()
        time.sleep(0.05)
    assert KEY not in first.log
    qemu = first.qemu()
    first.signal(signal.SIGKILL)
    assert gone(qemu)
    second = launch({**environ, "HOSTNAME": "host-b"})
    second.says("GUEST-READY", where="console")
    assert sent(vm, "LOOK", LOOK) == "00000000"
    lose(etcd_server, vm, second)
    second.signal()
    assert second.ends() == 0, second.story()
    assert etcd_server.get(stored)
    other = host_toml(tmp_path / "c.toml", guest, OTHER)
    third = launch({**environ, "HOSTNAME": "host-c", "HOLDFAST_CONFIG": other})
    assert third.ends() == 78
    assert "encrypted with another state_key" in third.log


def lose(etcd: Etcd, vm: str, launcher: Launcher) -> None:
    """An etcd that has lost the TPM's state, with the VM's epoch and then without, gets it back."""
    for key in (f"/kvm/_secret/{vm}/tpm", f"/kvm/_own/{vm}/epoch"):
        etcd.ctl("del", key)
    launcher.says("its records are written back")
    assert etcd.get(f"/kvm/_secret/{vm}/tpm")
    etcd.ctl("del", f"/kvm/_secret/{vm}/tpm")


def test_without_etcd_it_is_a_file_in_the_pool(
    launch: Launch, guest: Path, tmp_path: Path, pool: Path
) -> None:
    file = tmp_path / "tpm2.yaml"
    keys = {**KEYS, "kernel": f"{guest}/vmlinuz", "initrd": f"{guest}/initrd.img"}
    keys["cmdline"] = "console=ttyS0 quiet no_timer_check"
    file.write_text("".join(f"{key}: '{text}'\n" for key, text in keys.items()))
    vm = {"VM": "tpm2", "VM_FILE": str(file)}
    first = launch(vm)
    first.says("GUEST-READY", where="console")
    assert sent("tpm2", "DEFINE", DEFINE) == "00000000"
    first.signal()
    assert first.ends() == 0, first.story()
    assert (pool / "tpm2-tpm").stat().st_mode & 0o777 == 0o600
    again = launch(vm)
    again.says("GUEST-READY", where="console")
    assert sent("tpm2", "LOOK", LOOK) == "00000000"
    # Its TPM is gone, the VM is not.
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        words = path.read_bytes().split(b"\0") if path.exists() else []
        if words[:2] == [b"swtpm", b"socket"] and b"/tpm2/" in b"\0".join(words):
            os.kill(int(path.parent.name), signal.SIGKILL)
    again.says("swtpm has ended")
    again.signal()
    assert again.ends() == 0, again.story()
