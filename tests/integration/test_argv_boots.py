"""The second witness of the golden files: a real QEMU takes every command, and one of them boots."""

import fcntl
import json
import os
import re
import select
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from io import FileIO
from pathlib import Path

import launcher
import pytest
from golden.case import AGENT, CASES, CONSOLE, DISKS, QMP, SEED, TYPED, Case, wiring
from processes import netns

from holdfast.devices import tpm_record
from holdfast.machine import Accelerator, Disk, Format, LocalPath, RbdImage
from holdfast.qemu import BARE, console, parts
from holdfast.qemu.argv.adapt import adapt, serve
from holdfast.qemu.spelling import (
    Chardev,
    Device,
    Part,
    Pluggable,
    Setting,
    arguments,
    keyed,
    words,
)
from holdfast.qemu.wiring import Ceph, Wiring
from holdfast.storage.local import open_for_qemu
from holdfast.storage.pathname import ANYWHERE

pytestmark = pytest.mark.integration

PATIENCE = 60.0
BOOT = 150.0  # seconds, under TCG on a busy machine
QEMU = "qemu-system-x86_64"
KEY = "QVFCRGVmaW5pdGVseU5vdEFSZWFsQ2VwaHhLZXk9PQ=="
MIB = 1024**2


class Descriptors:
    """Descriptors under the numbers that a golden names, as far as nobody has them."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self.numbers: list[int] = []

    def put(self, descriptor: int, number: int) -> None:
        with pytest.raises(OSError, match="Bad file descriptor"):
            fcntl.fcntl(number, fcntl.F_GETFD)
        os.dup2(descriptor, number)
        os.close(descriptor)
        self._stack.callback(os.close, number)
        self.numbers.append(number)

    def connected(self) -> int:
        """A socket at whose other end nobody speaks."""
        ours, theirs = socket.socketpair()
        self._stack.enter_context(ours)
        return theirs.detach()

    def hold(self, process: subprocess.Popen[bytes]) -> None:
        self._stack.callback(process.wait)
        self._stack.callback(process.kill)


class Qemu:
    """A paused QEMU at the other end of a QMP socket that it has inherited."""

    def __init__(self, argv: Sequence[str], passed: Sequence[int], qmp: socket.socket) -> None:
        self.process = subprocess.Popen(
            argv,
            pass_fds=passed,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        qmp.settimeout(PATIENCE)
        self._channel = qmp
        self._reply = qmp.makefile("r", encoding="utf-8")

    def greet(self) -> None:
        if not self._reply.readline():
            pytest.fail(f"QEMU ended: {self.process.communicate()[1]}")
        self.ask("qmp_capabilities")

    def ask(self, command: str, arguments: Mapping[str, object] | None = None) -> object:
        request = {"execute": command, "arguments": arguments or {}}
        self._channel.sendall(json.dumps(request).encode())
        for line in self._reply:
            reply = json.loads(line)
            if "event" not in reply:
                assert "return" in reply, (request, reply)
                return reply["return"]
        pytest.fail(f"QEMU ended: {self.process.communicate()[1]}")

    def listed(self, path: str) -> list[Mapping[str, object]]:
        found = self.ask("qom-list", {"path": path})
        assert isinstance(found, list)
        return found

    def quit(self) -> str:
        self.ask("quit")
        stderr = self.process.communicate(timeout=PATIENCE)[1]
        assert self.process.returncode == 0, stderr
        return stderr

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        if self.process.stderr:
            self.process.stderr.close()
        self._reply.close()
        self._channel.close()


@pytest.fixture(autouse=True)
def network() -> Iterator[None]:
    """Goldens name ports of their host: here nobody else has one."""
    with netns.namespaces():
        netns.run("ip", "link", "set", "lo", "up")
        yield


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


Start = Callable[[Sequence[str], Descriptors], Qemu]


@pytest.fixture
def start(stack: ExitStack) -> Start:
    def start(argv: Sequence[str], descriptors: Descriptors) -> Qemu:
        ours, theirs = socket.socketpair()
        # QEMU alone holds its end: its death is then seen at once.
        with theirs:
            words = [
                word.replace(f"id=qmp,fd={QMP}", f"id=qmp,fd={theirs.fileno()}") for word in argv
            ]
            qemu = Qemu(words, [*descriptors.numbers, theirs.fileno()], ours)
        stack.callback(qemu.close)
        qemu.greet()
        return qemu

    return start


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_qemu_takes_every_golden(
    case: Case, stack: ExitStack, start: Start, tmp_path: Path
) -> None:
    """Taps and Ceph are not there: their options are swapped, all others are the golden's."""
    descriptors = Descriptors(stack)
    hand_over(case, descriptors, tmp_path)
    qemu = start(as_on_this_machine(case, tmp_path), descriptors)
    status = qemu.ask("query-status")
    assert isinstance(status, Mapping)
    assert (status["status"], status["running"]) == ("prelaunch", False)
    assert qemu.ask("query-name") == {"name": case.name}
    assert read_only(qemu.ask("query-named-block-nodes")) == {
        f"disk-{disk.name}": not disk.writable for disk in case.machine.storage
    }
    assert complaints(qemu.quit()) == []


def hand_over(case: Case, descriptors: Descriptors, tmp_path: Path) -> None:
    wired = wiring(case.machine)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "agent"))
    listener.listen(1)
    descriptors.put(listener.detach(), AGENT)
    descriptors.put(os.open(tmp_path / "console", os.O_WRONLY | os.O_CREAT, 0o600), CONSOLE)
    descriptors.put(os.open(os.devnull, os.O_RDONLY), TYPED)
    if wired.seed is not None:
        descriptors.put(os.open(image(tmp_path / "seed.iso"), os.O_RDONLY), SEED)
    for disk in case.machine.storage:
        if disk.name in wired.disks:
            descriptors.put(opened(disk, tmp_path), wired.disks[disk.name])
    if wired.tpm is not None:
        descriptors.put(swtpm(tmp_path, descriptors), wired.tpm)
    hand_over_parents(case, descriptors, tmp_path)
    hand_over_stand_ins(wired, descriptors)
    for name in ("kernel", "initrd"):
        (tmp_path / name).write_bytes(bzimage())
    hand_over_screen(case, tmp_path)
    (tmp_path / "ceph.key").write_text(KEY)


def hand_over_screen(case: Case, tmp_path: Path) -> None:
    (tmp_path / "spice-password").write_text("pass,word")
    (tmp_path / "vnc-password").write_text("pass,wor")
    screen = case.machine.spice or case.machine.vnc
    if screen and screen.tls:
        certificate(tmp_path / "screen-tls")


def certificate(folder: Path) -> None:
    """An authority, and a server's certificate by it: GnuTLS takes nothing that is both."""
    folder.mkdir()
    request = (
        "openssl",
        "req",
        "-x509",
        "-nodes",
        "-newkey",
        "rsa:2048",
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
    )
    authority = (
        "-keyout",
        "ca-key.pem",
        "-out",
        "ca-cert.pem",
        "-addext",
        "basicConstraints=critical,CA:true",
    )
    server = (
        "-keyout",
        "server-key.pem",
        "-out",
        "server-cert.pem",
        "-CA",
        "ca-cert.pem",
        "-CAkey",
        "ca-key.pem",
    )
    for names in (authority, (*server, "-addext", "basicConstraints=critical,CA:false")):
        subprocess.run([*request, *names], check=True, capture_output=True, cwd=folder)


def swtpm(tmp_path: Path, descriptors: Descriptors) -> int:
    """A TPM at the other end; it ends when QEMU closes its own."""
    ours, theirs = socket.socketpair()
    (tmp_path / "tpm").mkdir()
    with theirs:
        command = tpm_record.command(str(tmp_path / "tpm"), theirs.fileno(), None)
        descriptors.hold(subprocess.Popen(command, pass_fds=[theirs.fileno()]))
    return ours.detach()


def hand_over_stand_ins(wired: Wiring, descriptors: Descriptors) -> None:
    """For devices that `swapped` takes away."""
    for number in wired.usb.values():
        descriptors.put(os.open(os.devnull, os.O_RDWR), number)
    for number in wired.shares.values():
        descriptors.put(descriptors.connected(), number)


def hand_over_parents(case: Case, descriptors: Descriptors, tmp_path: Path) -> None:
    for name, number in wiring(case.machine).parents.items():
        parent = image(tmp_path / f"{name}-parent.qcow2", Format.qcow2)
        descriptors.put(os.open(parent, os.O_RDONLY | os.O_DIRECT), number)


def opened(disk: Disk, tmp_path: Path) -> int:
    path = image(tmp_path / f"{disk.name}.{disk.format.value}", disk.format)
    if disk.template:
        shutil.copyfile(disk.template, path)
    return open_for_qemu(replace(disk, backend=LocalPath(path=str(path))), ANYWHERE)


def image(path: Path, form: Format = Format.raw) -> Path:
    subprocess.run(["qemu-img", "create", "-q", "-f", form.value, path, str(MIB)], check=True)
    return path


def bzimage() -> bytes:
    """As much of a Linux kernel as QEMU looks at before it runs: the header of boot protocol 2.12."""
    data = bytearray(16 * 1024)
    data[0x1F1] = 4  # sectors of set-up code
    data[0x202:0x208] = b"HdrS\x0c\x02"
    data[0x211] = 1  # loaded high
    data[0x22C:0x230] = (0x7FFFFFFF).to_bytes(4, "little")  # the highest address of the initrd
    return bytes(data)


def as_on_this_machine(case: Case, tmp_path: Path) -> list[str]:
    text = case.launched.read_text(encoding="utf-8")
    return as_here(shlex.split(text.replace("\\\n", "")), case, tmp_path)


def as_here(argv: Sequence[str], case: Case, tmp_path: Path) -> list[str]:
    """The command with this machine's emulator, files and devices."""
    run = f"/run/holdfast/{case.name}/"
    emulator = shutil.which(Path(argv[0]).name) or argv[0]
    return [emulator, *(swapped(word.replace(run, f"{tmp_path}/")) for word in argv[1:])]


# For devices as JSON: who stands in, and what it does not know. As `key=value`, see below.
STAND_INS = {
    "scsi-block": ("scsi-hd", ()),
    "usb-host": ("usb-mouse", ("hostdevice",)),
    "vfio-pci": ("virtio-rng-pci", ("fd", "iommufd")),
    "vhost-user-fs-pci": ("virtio-rng-pci", ("chardev", "tag")),
}


def swapped(word: str) -> str:
    if '"driver":"rbd"' in word:
        kept = ("node-name", "read-only", "discard", "cache")
        node = {key: value for key, value in json.loads(word).items() if key in kept}
        return json.dumps({"driver": "null-co", "size": MIB, **node})
    if '"hugetlb":true' in word:  # the pool of this machine is empty
        kept = ("qom-type", "id", "size", "reserve")
        return json.dumps({key: value for key, value in json.loads(word).items() if key in kept})
    if '"type":"tap"' in word:
        return json.dumps({"type": "user", "id": json.loads(word)["id"]})
    if word.startswith('{"driver":') and (driver := json.loads(word)["driver"]) in STAND_INS:
        other, gone = STAND_INS[driver]
        known = {key: value for key, value in json.loads(word).items() if key not in gone}
        return json.dumps({**known, "driver": other})
    # A file stands in for the block device, an address of this machine for the one of another.
    word = word.replace('"driver":"host_device"', '"driver":"file"').replace(
        "scsi-block,", "scsi-hd,"
    )
    word = re.sub(r"^\[::1\]:(?=\d)", "127.0.0.1:", word)
    word = re.sub(r"^192\.0\.2\.7:(?=\d)", "127.0.0.1:", word)
    word = re.sub(r"addr=(192\.0\.2\.7|::1),", "addr=127.0.0.1,", word)
    word = re.sub(r"^host(?=$|,)", "max", word)
    # test_shares has virtiofsd.
    word = re.sub(
        r"^vhost-user-fs-pci,(id=[^,]*),chardev=[^,]*,tag=[^,]*", r"virtio-rng-pci,\1", word
    )
    # No device of this machine is given away: test_hostdev has how far QEMU goes without.
    word = re.sub(r"^usb-host,(.*),hostdevice=.*", r"usb-mouse,\1", word)
    word = re.sub(r"^vfio-pci,(id=[^,]*),fd=\d+,iommufd=iommufd", r"virtio-rng-pci,\1", word)
    return "tcg" if word == "kvm" else word


def read_only(nodes: object) -> dict[str, bool]:
    assert isinstance(nodes, list)
    return {
        node["node-name"]: node["ro"] for node in nodes if node["node-name"].startswith("disk-")
    }


def complaints(stderr: str) -> list[str]:
    """What QEMU says beyond the warnings that are due."""
    due = re.compile(r"has no peer|doesn't support (requested feature|hyperthreading)")
    return [line for line in stderr.splitlines() if not due.search(line)]


# Together they have every property of every device, node, network and object that is in any golden.
IN_JSON = [
    "aarch64-shares", "aarch64-watchdog", "arch-aarch64", "boot-order", "disk-buses", "disk-buses-pc", "disk-cache",
    "disk-chained", "disk-limits", "disk-lun", "disk-pool-rbd-far", "disk-read-only", "disk-root-nvme",
    "disk-root-scsi", "disk-root-usb", "hostdevs", "hostdevs-pc", "hugepages-ram-max", "nic-e1000-pc", "nic-macvtap",
    "nic-models", "nic-user-ports", "spice-on-ipv6", "spice-video-virtio", "tpm-aarch64", "tpm-on-pc", "vnc-aarch64",
    "vnc-tls",
]  # fmt: skip


def described(case: Case) -> list[Part]:
    return parts(case.machine, case.host, wiring(case.machine))


def properties(
    cases: Sequence[Case], told: Callable[[Case], Sequence[Part]] = described
) -> set[tuple[str, str, str, type]]:
    """By command, type and name: of which type a value is."""
    pluggable = (part for case in cases for part in told(case) if isinstance(part, Pluggable))
    return {
        (part.add, part.type, name, type(value))
        for part in pluggable
        for name, value in arguments(part).items()
    }


def test_every_property_is_in_a_case_that_is_tried_in_json() -> None:
    assert properties([Case(name) for name in IN_JSON]) == properties(CASES)


@pytest.mark.parametrize("name", IN_JSON)
def test_qemu_takes_in_json_what_it_takes_as_words(
    name: str, stack: ExitStack, start: Start, tmp_path: Path
) -> None:
    """What can be plugged comes by QMP, all else at the start. In JSON QEMU wants each value of its own type."""
    case, descriptors = Case(name), Descriptors(stack)
    hand_over(case, descriptors, tmp_path)
    there, plugged = as_plugged(described(case))
    argv = [case.argv()[0], *words(there, late=True), *case.machine.extra_flags]
    qemu = start(as_here(argv, case, tmp_path), descriptors)
    for part in plugged:
        spelled = as_here(["", json.dumps(arguments(part), separators=(",", ":"))], case, tmp_path)
        qemu.ask(part.add, json.loads(spelled[1]))
    ids = {dict(part.properties).get("id") for part in there + plugged if isinstance(part, Device)}
    assert {one["name"] for one in qemu.listed("/machine/peripheral")} >= ids - {None}
    assert read_only(qemu.ask("query-named-block-nodes")) == {
        f"disk-{disk.name}": not disk.writable for disk in case.machine.storage
    }
    assert complaints(qemu.quit()) == []


def as_plugged(all_: Sequence[Part]) -> tuple[list[Part], list[Pluggable]]:
    """What is there from the start, and what can come later: devices on a bus that takes them, and what nobody but
    them speaks of.
    """
    there = [part for part in all_ if not (isinstance(part, Device) and takes_more(part))]
    for part in reversed(all_):  # who is spoken of stands before
        if not isinstance(part, Setting | Chardev | Device):
            rest = [spoken for spoken in there if spoken is not part]
            if not any(f"{name(part)}" in leaves(spoken) for spoken in rest):
                there = rest
    return there, [part for part in all_ if isinstance(part, Pluggable) and part not in there]


def takes_more(device: Device) -> bool:
    bus = str(device.properties.get("bus", ""))
    return bus in ("scsi.0", "usb.0") or (
        bus.startswith("port-") and device.type != "pcie-root-port"
    )


def name(part: Pluggable) -> object:
    return part.properties.get("id", part.properties.get("node-name"))


def leaves(part: Part) -> set[str]:
    """All words of which a part may name another by one."""
    found = [word for text in words([part]) for word in re.split(r'[",=:{}]+', text)]
    return set(found)


@pytest.mark.parametrize("emulator", [QEMU, "qemu-system-aarch64"])
def test_qemu_knows_every_property_by_its_type(
    emulator: str, stack: ExitStack, start: Start
) -> None:
    """Also of those for which something else stands in above, and of what a person pastes."""
    argv = [emulator, "-nodefaults", "-display", "none", "-S", "-machine", "none"]
    qemu = start([*argv, *words(console.qmp(Wiring(qmp=QMP)))], Descriptors(stack))
    cases = [case for case in CASES if case.argv()[0].endswith(emulator)]
    given = properties(cases) | properties(
        cases, lambda case: parts(case.machine, case.host, BARE)
    )
    asked = {"device_add": "device-list-properties", "object-add": "qom-list-properties"}
    known: dict[str, dict[str, str]] = {}
    for add, type_, property_, kind in given:
        if add not in asked or property_ in ("driver", "id", "bus", "qom-type"):
            continue
        if type_ not in known:
            listed = qemu.ask(asked[add], {"typename": type_})
            assert isinstance(listed, list)
            known[type_] = {one["name"]: one["type"] for one in listed}
        assert is_of(kind, known[type_][property_]), (type_, property_, known[type_][property_])
    assert len(known) > 10


def is_of(kind: type, name: str) -> bool:
    """Whether Python's type is QEMU's by that name, in JSON."""
    if kind is bool:
        return name == "bool"
    number = re.fullmatch(r"u?int(\d+)?|size", name) is not None
    if issubclass(kind, int):
        return number
    return kind is not str or not (number or name == "bool")


@pytest.mark.parametrize("value", [",", ",,", "a,,b=c", "x,guest=y", " '\"\\ ", "=on,", "€, {}"])
def test_qemu_reads_back_what_was_escaped(value: str, stack: ExitStack, start: Start) -> None:
    argv = [QEMU, "-nodefaults", "-display", "none", "-S", "-machine", "none"]
    named = words([Setting("name", keyed("", guest=value)), *console.qmp(Wiring(qmp=QMP))])
    qemu = start([*argv, *named], Descriptors(stack))
    assert qemu.ask("query-name") == {"name": value}


def test_a_second_qemu_does_not_get_the_image(
    stack: ExitStack, start: Start, tmp_path: Path
) -> None:
    """The lock is QEMU's own, also on an image that it has only as a descriptor."""
    case = Case("disk-path-comma-and-blank")
    descriptors = Descriptors(stack)
    hand_over(case, descriptors, tmp_path)
    start(as_on_this_machine(case, tmp_path), descriptors)
    argv = [
        QEMU, "-nodefaults", "-display", "none", "-S",
        "-drive", f"file={tmp_path}/root.raw,format=raw,if=virtio",
    ]  # fmt: skip
    second = subprocess.run(argv, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert second.returncode == 1
    assert 'Failed to get "write" lock' in second.stderr


OPTIONS = [
    "-hda {file}",
    "-drive file={file},format=raw,if=virtio",
    "-drive file={file},format=raw,if=virtio,snapshot=on",
    "-snapshot -drive file={file},format=raw",
    "-drive file={file},format=raw,media=cdrom",
    "-drive driver=file,filename={file},if=none,id=d -device virtio-blk-pci,drive=d",
    "-drive file={file},format=raw,cache=none,aio=native",
    "-blockdev driver=raw,node-name=d,cache.direct=on,file.driver=file,file.filename={file}",
    "-cdrom {file}",
    "-fda {file}",
    "{file}",
    "-blockdev driver=raw,node-name=d,file.driver=file,file.filename={file} -device virtio-blk-pci,drive=d",
    """-blockdev '{{"driver":"raw","node-name":"d","read-only":true,"file":{{"driver":"file","filename":"{file}"}}}}'
       -device '{{"driver":"virtio-blk-pci","drive":"d"}}'""",
    "-kernel {kernel} -append 'a, b'",
    "-nographic -balloon virtio -watchdog i6300esb -watchdog-action debug -nodefconfig -serial mon:stdio",
    "-no-acpi -localtime",
    # The fork's unit, with a file for the image in Ceph, and without bridge and KVM.
    """-name 7 -cpu qemu64,+ssse3,+sse4.1,+sse4.2,+x2apic -vga qxl
       -spice port=5907,addr=127.0.0.1,disable-ticketing -k en-us -m 512
       -drive format=raw,file={file},cache=writeback,if=virtio
       -drive media=cdrom -netdev user,id=net0
       -device virtio-net,netdev=net0,mac=52:54:00:12:34:56 -balloon virtio -machine accel=tcg
       -watchdog i6300esb -watchdog-action debug""",
    # Ulexus' entrypoint, likewise.
    """-vga qxl -spice port=5908,addr=127.0.0.1,disable-ticketing -k en-us -m 512 -cpu qemu64
       -netdev user,id=net0 -device virtio-net,netdev=net0,mac=52:54:00:12:34:57
       -drive format=raw,file={file},cache=writeback,if=virtio""",
    "-device i6300esb -netdev user,id=n -device virtio-net,netdev=n -vga std -k en-us -cpu qemu64",
]


@pytest.mark.parametrize("options", OPTIONS)
def test_qemu_takes_what_argv_mode_makes_of_options(
    options: str, stack: ExitStack, start: Start, tmp_path: Path
) -> None:
    path, kernel = image(tmp_path / "a.img"), tmp_path / "kernel"
    kernel.write_bytes(bzimage())
    found = adapt(shlex.split(options.format(file=path, kernel=kernel)))
    descriptors = Descriptors(stack)
    descriptors.put(os.open(tmp_path / "console", os.O_WRONLY | os.O_CREAT, 0o600), CONSOLE)
    descriptors.put(os.open(image(tmp_path / "seed.iso"), os.O_RDONLY), SEED)
    disks = {disk.name: DISKS + number for number, disk in enumerate(found.files)}
    for disk in found.files:
        descriptors.put(open_for_qemu(disk, ANYWHERE), disks[disk.name])
    wired = Wiring(qmp=QMP, console=CONSOLE, seed=SEED, disks=disks, confined=True, paused=True)
    qemu = start([QEMU, *serve(found, wired, Accelerator.tcg)], descriptors)
    status = qemu.ask("query-status")
    assert isinstance(status, Mapping)
    assert status["status"] == "prelaunch"
    qemu.quit()


@pytest.mark.parametrize(
    "options",
    [
        "-drive format=rbd,file=rbd:vms/vm7,cache=writeback,if=virtio",
        "-drive file=rbd:vms/vm7,format=raw,if=virtio",
        "-drive file.driver=rbd,file.pool=vms,file.image=vm7,format=raw",
        "-cdrom rbd:isos/debian",
        "-blockdev driver=rbd,node-name=d,pool=vms,image=vm7",
    ],
)
def test_an_rbd_image_of_the_user_takes_the_key(options: str, tmp_path: Path) -> None:
    """No Ceph here: QEMU's complaint about a key that is no base64 shows that it took the key."""
    (tmp_path / "ceph.key").write_text("this is no key")
    (tmp_path / "ceph.conf").write_text("[global]\nmon_host = 127.0.0.1:1\n")
    found = adapt(shlex.split(options))
    assert [use.image for use in found.rbd] in (
        [RbdImage(pool=p, image=i)] for p, i in (("vms", "vm7"), ("isos", "debian"))
    )
    ceph = Ceph(conf=f"{tmp_path}/ceph.conf", key_file=f"{tmp_path}/ceph.key")
    argv = [QEMU, "-display", "none", *serve(found, Wiring(ceph=ceph, paused=True))]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 1
    assert "base64" in done.stderr.lower(), done.stderr


def test_what_argv_prints_is_pasted_and_boots(
    guest: Path, host_toml: Path, tmp_path: Path
) -> None:
    """As a user does it: print, paste into a shell, see the guest on the terminal, press Ctrl-C."""
    disk = tmp_path / "a disk, with blanks.raw"
    shutil.copyfile(guest / "disk.raw", disk)
    keys = tmp_path / "vm.yaml"
    # One processor: with two, emulated ones, QEMU 10.0.13 once ended in an assertion of its own (iotlb_to_section).
    keys.write_text(f"cpus: 1\nram: 256\ndisks: {{root: {{path: '{disk}'}}}}\n", encoding="utf-8")
    command = printed(keys, host_toml)
    terminal, end = os.openpty()
    with os.fdopen(terminal, "r+b", buffering=0) as screen:
        shell = ["setsid", "--ctty", "--wait", "bash", "-c", command]
        qemu = subprocess.Popen(shell, stdin=end, stdout=end, stderr=end)
        os.close(end)
        try:
            shown = read_until(screen, b"GUEST-READY")
            screen.write(b"\x03")
            # Terminated by a signal, QEMU says so and ends with 0.
            assert qemu.wait(PATIENCE) == 0, shown
        finally:
            qemu.kill()
            qemu.wait()


def printed(keys: Path, host_toml: Path) -> str:
    environ = {**launcher.BASE, "HOLDFAST_CONFIG": str(host_toml)}
    argv = [sys.executable, "-P", "-m", "holdfast", "argv", "--file", str(keys)]
    done = subprocess.run(argv, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def read_until(screen: FileIO, text: bytes) -> str:
    shown, deadline = b"", time.monotonic() + BOOT
    while text not in shown:
        ready, _, _ = select.select([screen], [], [], max(0, deadline - time.monotonic()))
        try:
            new = screen.read(4096) if ready else b""
        except OSError:  # EIO: nobody has the terminal open any more
            new = b""
        assert new, f"the terminal never showed {text!r}: {shown.decode(errors='replace')}"
        shown += new
    return shown.decode(errors="replace")
