"""Ways of starting the same VM: Holdfast's, and those that it is measured against."""

import contextlib
import os
import select
import shlex
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import boot
from bench.lab import RAM, Lab, Vm

HERE = Path(__file__).parent
PATIENCE = 60.0  # seconds; a way that takes longer is broken
AGAIN = 0.1  # seconds between two signals to one that ends
SERIAL = ["-serial", "stdio", "-display", "none"]


@dataclass(frozen=True, kw_only=True)
class Start:
    """Both on time.monotonic()."""

    began: float  # the command
    ran: float  # the guest's first instruction
    pid: int = 0  # of the command, where the launch is its work

    @property
    def seconds(self) -> float:
        return self.ran - self.began


class Way(ABC):
    """One way to the guest's first instruction."""

    name: str
    in_ceph = True  # whether it can have its disk there, too

    def __init__(self, lab: Lab) -> None:
        self.lab = lab

    @abstractmethod
    def command(self, vm: Vm) -> Sequence[str]: ...

    def environ(self, vm: Vm) -> Mapping[str, str]:
        return {}

    def prepare(self, vm: Vm) -> None:  # noqa: B027 - most need nothing
        """What is not measured."""

    @contextlib.contextmanager
    def started(self, vm: Vm) -> Iterator[Start]:
        """Inside, the guest runs; behind, all is gone."""
        self.prepare(vm)
        with (self.lab.directory / f"{vm.name}.log").open("wb") as log:
            began = time.monotonic()
            process = subprocess.Popen(
                self.command(vm),
                env={**os.environ, **self.environ(vm)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        try:
            assert process.stdout
            ran = first_instruction(process.stdout.fileno(), Path(log.name))
            yield Start(began=began, ran=ran, pid=process.pid)
        finally:
            end(process)


def first_instruction(console: int, log: Path | None = None) -> float:
    """When the guest has said that it runs, on time.monotonic(). `log` tells why it does not."""
    said, deadline = b"", time.monotonic() + PATIENCE
    while boot.FIRST not in said:
        ready, _, _ = select.select([console], [], [], max(0, deadline - time.monotonic()))
        data = os.read(console, 4096) if ready else b""
        assert data, f"no guest: {said!r} {log.read_text() if log else ''}"
        said += data
    return time.monotonic()


def end(process: "subprocess.Popen[bytes]") -> None:
    """A second signal ends what waits for a guest that hears no power button."""
    deadline = time.monotonic() + PATIENCE
    while process.poll() is None:
        assert time.monotonic() < deadline, f"{process.args!r} does not end"
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(AGAIN)
    if process.stdout:
        process.stdout.close()


class Bare(Way):
    """QEMU by hand, with nothing around it: the least that is possible."""

    name = "bare QEMU"

    def command(self, vm: Vm) -> Sequence[str]:
        return ["qemu-system-x86_64", *self.options(vm)]

    def options(self, vm: Vm) -> list[str]:
        machine = ["-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "max"]
        return [*machine, "-m", str(RAM), "-nodefaults", *SERIAL, "-drive", self.drive(vm)]

    def drive(self, vm: Vm) -> str:
        if vm.file:
            return f"if=virtio,format=raw,cache=none,file={vm.file}"
        return f"if=virtio,format=raw,file=rbd:{vm.image}:id=holdfast:conf={self.lab.conf}"


class Libvirt(Way):
    """`virsh create`; its daemon runs already."""

    name = "libvirt"
    in_ceph = False  # its secrets would be a set-up of their own

    @contextlib.contextmanager
    def started(self, vm: Vm) -> Iterator[Start]:
        console = self.lab.directory / f"{vm.name}.fifo"
        os.mkfifo(console)
        reader = os.open(console, os.O_RDONLY | os.O_NONBLOCK)
        keeper = os.open(console, os.O_WRONLY)  # without a writer a reader sees its end
        xml = self.lab.directory / f"{vm.name}.xml"
        disk = f'<disk type="file" device="disk"><driver name="qemu" type="raw" cache="none"/><source file="{vm.file}"/><target dev="vda" bus="virtio"/></disk>'
        text = (HERE / "libvirt.xml").read_text(encoding="utf-8")
        xml.write_text(text.format(name=vm.name, ram=RAM, disk=disk, console=console))
        began = time.monotonic()
        try:
            with subprocess.Popen(self.command(vm), stdout=subprocess.DEVNULL):
                yield Start(began=began, ran=first_instruction(reader))
        finally:
            subprocess.run(["virsh", "destroy", vm.name], check=True, capture_output=True)
            for descriptor in (reader, keeper):
                os.close(descriptor)

    def command(self, vm: Vm) -> Sequence[str]:
        return ["virsh", "create", str(self.lab.directory / f"{vm.name}.xml")]


class Origin(Way):
    """The shell entrypoint that this project continues."""

    name = "the origin's entrypoint"

    def prepare(self, vm: Vm) -> None:
        self.lab.etcd.put(vm.name, host="bench")
        if vm.image:
            self.lab.etcd.put(vm.name, rbd=vm.image)

    def command(self, vm: Vm) -> Sequence[str]:
        return [str(HERE / "origin.sh"), vm.name]

    def environ(self, vm: Vm) -> Mapping[str, str]:
        drive = ["-drive", f"file={vm.file},format=raw,cache=writeback,if=virtio"]
        extra = shlex.join([*(drive if vm.file else []), *SERIAL])
        return {**self.lab.host, "EXTRA_FLAGS": extra}


class Holdfast(Way):
    """`holdfast run`, without a container."""

    name = "Holdfast"

    def command(self, vm: Vm) -> Sequence[str]:
        return ["holdfast", "run", vm.name]

    def environ(self, vm: Vm) -> Mapping[str, str]:
        return self.lab.host


class InContainer:
    """`docker run` of the product's image."""

    def docker(self, lab: Lab, *more: str) -> list[str]:
        mounts = [f"--volume={lab.directory}:{lab.directory}"]
        return ["docker", "run", "--rm", "--network=host", *mounts, *more]


class BareInContainer(InContainer, Bare):
    name = "docker run of bare QEMU"

    def command(self, vm: Vm) -> Sequence[str]:
        entry = "--entrypoint=/usr/bin/qemu-system-x86_64"
        return [*self.docker(self.lab, entry), "holdfast", *self.options(vm)]


class HoldfastInContainer(InContainer, Holdfast):
    name = "docker run of Holdfast"

    def command(self, vm: Vm) -> Sequence[str]:
        variables = [f"--env={name}={value}" for name, value in self.lab.host.items()]
        return [*self.docker(self.lab, *variables), "holdfast", "run", vm.name]


def ways(lab: Lab) -> list[Way]:
    kinds = (Bare, Libvirt, Origin, Holdfast, BareInContainer, HoldfastInContainer)
    return [kind(lab) for kind in kinds]


@contextlib.contextmanager
def libvirtd(directory: Path) -> Iterator[None]:
    """Its daemon, with what cannot work in a container switched off: that makes it quicker, not slower."""
    conf = Path("/etc/libvirt/qemu.conf")
    conf.parent.mkdir(exist_ok=True)
    conf.write_text(
        'user = "root"\ngroup = "root"\ndynamic_ownership = 0\nremember_owner = 0\n'
        'security_driver = "none"\nnamespaces = []\ncgroup_controllers = []\n'
        'stdio_handler = "file"\n',
        encoding="utf-8",
    )
    with (directory / "libvirtd.log").open("wb") as log:
        daemon = subprocess.Popen(["libvirtd"], stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + PATIENCE
        while subprocess.run(["virsh", "list"], capture_output=True, check=False).returncode:
            assert daemon.poll() is None, "libvirtd ended"
            assert time.monotonic() < deadline, "libvirtd does not answer"
            time.sleep(0.1)
        yield
    finally:
        daemon.terminate()
        daemon.wait(PATIENCE)
