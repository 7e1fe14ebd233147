"""What a guest gets out of its disk, by fio inside it: Holdfast's defaults, the best by hand, the origin's."""

import os
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.lab import Lab, Vm
from bench.ways import SERIAL, end

HERE = Path(__file__).parent
ROUNDS = 3  # they differ by a third: the best one counts
SECONDS = 2  # each job; before it one to warm up
PATIENCE = 120.0
SIZE = 256 << 20
JOBS = {
    "seq-read": 6,
    "seq-write": 47,
    "rand-read": 6,
    "rand-write": 47,
}  # field of KiB/s, terse 3
CMDLINE = f"console=ttyS0 rdinit=/fio-init quiet no_timer_check seconds={SECONDS}"
MACHINE = [
    "-machine",
    "q35",
    "-accel",
    "tcg,thread=multi",
    "-cpu",
    "max",
    "-m",
    "512",
    "-nodefaults",
]

Rates = dict[str, list[float]]  # MiB/s by job, a round each


@dataclass(frozen=True, kw_only=True)
class Guest:
    kernel: Path
    initrd: Path

    @property
    def boot(self) -> list[str]:
        return ["-kernel", str(self.kernel), "-initrd", str(self.initrd), "-append", CMDLINE]


def measure(lab: Lab) -> dict[str, dict[str, Rates]]:
    """By storage, then by way."""
    guest = built(lab.directory)
    disk = lab.directory / "filled.raw"
    disk.write_bytes(
        os.urandom(1 << 20) * (SIZE >> 20)
    )  # no holes: they would be read for nothing
    lab.ceph.put("rbd/filled", disk)
    vms = {"file": Vm(name="fio-file", file=disk), "Ceph": Vm(name="fio-ceph", image="rbd/filled")}
    return {kind: by_way(lab, guest, vm) for kind, vm in vms.items()}


Command = Callable[[Lab, Guest, Vm], Sequence[str]]


def by_way(lab: Lab, guest: Guest, vm: Vm) -> dict[str, Rates]:
    every: dict[str, Command] = {"by hand": by_hand, "Holdfast": holdfast, "the origin's": origins}
    found: dict[str, Rates] = {name: {job: [] for job in JOBS} for name in every}
    for turn in range(ROUNDS):
        for name in sorted(every, reverse=bool(turn % 2)):
            for job, rate in run(every[name](lab, guest, vm), lab.host).items():
                found[name][job].append(rate)
    return found


def run(command: Sequence[str], environ: Mapping[str, str]) -> dict[str, float]:
    process = subprocess.Popen(
        command,
        env={**os.environ, **environ},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    said, deadline = b"", time.monotonic() + PATIENCE
    try:
        assert process.stdout
        while b"FIO-END" not in said:
            data = os.read(process.stdout.fileno(), 65536)
            said += data
            assert data, f"{shlex.join(command)}: {said.decode(errors='replace')}"
            assert time.monotonic() < deadline, said.decode(errors="replace")
    finally:
        end(process)
    lines = re.findall(r"FIO (3;.*)", said.decode(errors="replace"))
    fields = [line.split(";") for line in lines]
    assert [line[2] for line in fields] == list(JOBS), said.decode(errors="replace")
    return {line[2]: float(line[JOBS[line[2]]]) / 1024 for line in fields}


def by_hand(lab: Lab, guest: Guest, vm: Vm) -> list[str]:
    """The best that we know: no page cache of the host, io_uring, a thread of its own."""
    file = f"driver=file,filename={vm.file},aio=io_uring,cache.direct=on,node-name=disk"
    ceph = f"driver=rbd,pool=rbd,image={vm.image.partition('/')[2]},conf={lab.conf},user=holdfast,node-name=disk"
    device = "virtio-blk-pci,drive=disk,iothread=io"
    disk = ["-object", "iothread,id=io", "-blockdev", file if vm.file else ceph, "-device", device]
    return ["qemu-system-x86_64", *MACHINE, *guest.boot, *SERIAL, *disk]


def origins(lab: Lab, guest: Guest, vm: Vm) -> list[str]:
    ceph = f"rbd:{vm.image}:id=holdfast:conf={lab.conf}"
    drive = f"format=raw,file={vm.file or ceph},cache=writeback,if=virtio"
    return ["qemu-system-x86_64", *MACHINE, *guest.boot, *SERIAL, "-drive", drive]


def holdfast(lab: Lab, guest: Guest, vm: Vm) -> list[str]:
    disk = {"disks__root__path": str(vm.file)} if vm.file else {"disks__root__rbd": vm.image}
    keys = {"kernel": str(guest.kernel), "initrd": str(guest.initrd), "cmdline": CMDLINE}
    lab.etcd.put(vm.name, ram="512", nics__nic0__mode="none", **keys, **disk)
    return ["holdfast", "run", vm.name]


# -- the guest: the small one of the tests, with fio


def built(directory: Path) -> Guest:
    said = subprocess.run(
        [HERE.parent / "guest" / "busybox"], capture_output=True, text=True, check=True
    )
    small = Path(said.stdout.strip())
    initrd = directory / "fio.initrd"
    # The kernel takes archives one behind the other; what comes later is added.
    first = (small / "initrd.img").read_bytes()
    padding = b"\0" * (-len(first) % 4)
    initrd.write_bytes(first + padding + archive(directory / "fio-root"))
    # Where host.toml lets kernels be.
    kernel = Path(shutil.copy(small / "vmlinuz", directory))
    return Guest(kernel=kernel, initrd=initrd)


def archive(root: Path) -> bytes:
    for path in ["/usr/bin/fio", *libraries("/usr/bin/fio")]:
        target = root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    shutil.copy(HERE / "fio-init", root / "fio-init")
    names = "\n".join(str(path.relative_to(root)) for path in sorted(root.rglob("*")))
    done = subprocess.run(
        ["cpio", "--create", "--format=newc", "--quiet"],
        cwd=root,
        input=names.encode(),
        capture_output=True,
        check=True,
    )
    return done.stdout


def libraries(program: str) -> list[str]:
    said = subprocess.run(["ldd", program], capture_output=True, text=True, check=True)
    return re.findall(r"(/\S+) \(0x", said.stdout)
