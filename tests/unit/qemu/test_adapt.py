"""Argv mode: what the launcher finds in a user's options, and what it gives to QEMU."""

import shlex

import pytest

from holdfast.errors import UsageError
from holdfast.machine import Accelerator, Cache, DiskKind, LocalPath, RbdImage
from holdfast.qemu.argv.adapt import Adapted, adapt, serve
from holdfast.qemu.wiring import Ceph, Tap, Wiring

# The fork's unit, as it stood in /etc/systemd/system.
FORK = """
    -name 7 -cpu qemu64,+ssse3,+sse4.1,+sse4.2,+x2apic -vga qxl
    -spice port=5907,addr=127.0.0.1,disable-ticketing -k en-us -m 1024
    -drive format=rbd,file=rbd:vms/vm7,cache=writeback,if=virtio
    -drive file=/iso/virtio-win.iso,media=cdrom
    -netdev bridge,br=qemu0,id=net0 -device virtio-net,netdev=net0,mac=52:54:00:12:34:56
    -balloon virtio -machine accel=kvm -watchdog i6300esb -watchdog-action debug
"""
KEY = Ceph(conf="/run/ceph.conf", key_file="/run/ceph.key")


def adapted(text: str) -> Adapted:
    return adapt(tuple(shlex.split(text)))


def served(text: str, wiring: Wiring | None = None) -> list[str]:
    return serve(adapted(text), wiring or Wiring())


def value_after(argv: list[str], option: str) -> str:
    return argv[argv.index(option) + 1]


def test_what_the_fork_needs_is_found() -> None:
    found = adapted(FORK)
    assert found.bridges == {"net0": "qemu0"}
    assert [(use.image, use.user, use.writable) for use in found.rbd] == [
        (RbdImage(pool="vms", image="vm7"), "admin", True)
    ]
    assert [(disk.backend, disk.kind) for disk in found.files] == [
        (LocalPath(path="/iso/virtio-win.iso"), DiskKind.cdrom)
    ]
    assert found.wants_kvm
    assert found.warnings == (
        "-balloon virtio: taken as -device virtio-balloon",
        "-watchdog i6300esb: taken as -device i6300esb",
    )


def test_what_the_fork_needs_is_served() -> None:
    wiring = Wiring(
        taps={"net0": Tap(queues=(9,))},
        missing=frozenset({"file0"}),
        ceph=KEY,
        confined=True,
        paused=True,
    )
    argv = served(FORK, wiring)
    assert value_after(argv, "-netdev") == "tap,id=net0,fd=9"
    assert "media=cdrom" in argv  # an empty drive
    assert value_after(argv, "-drive") == (
        "format=rbd,file=rbd:vms/vm7,cache=writeback,if=virtio,werror=stop,rerror=stop,"
        "conf=/run/ceph.conf,key-secret=ceph-key"
    )
    assert "-S" in argv
    assert value_after(argv, "-sandbox").startswith("on,")
    assert not any("ceph.key" in word for word in argv if "secret" not in word)


@pytest.mark.parametrize(
    ("option", "path", "writable"),
    [
        ("-drive file=/a,format=raw", "/a", True),
        ("-drive file=/a,format=raw,readonly=on", "/a", False),
        ("-drive file=/a,format=raw,read-only=off", "/a", True),
        ("-drive file=/a,,b", "/a,b", True),
        ("-drive file=file:/a", "/a", True),
        ("-drive file=/a,snapshot=on", "/a", False),
        ("-snapshot -hda /a", "/a", False),
        ("-hda /a", "/a", True),
        ("-fda a:b.img", "", True),
        ("-fda ./a:b.img", "./a:b.img", True),
        ("-cdrom /a", "/a", False),
        ("-pflash /a", "/a", True),
        ("/a", "/a", True),
        ("-drive driver=host_device,filename=/dev/sda", "/dev/sda", True),
        ("-drive format=raw,file.driver=file,file.filename=/a", "/a", True),
        ("-drive file=nbd:localhost:1", "", True),
        ("-drive file=http://host/a.iso,media=cdrom", "", True),
        ("-drive if=none,id=a", "", True),
        ("-blockdev driver=file,node-name=a,filename=/a", "/a", True),
        (
            "-blockdev driver=raw,node-name=a,read-only=on,file.driver=file,file.filename=/a",
            "/a",
            False,
        ),
        (
            """-blockdev '{"driver":"raw","read-only":true,"file":{"driver":"file","filename":"/a"}}'""",
            "/a",
            False,
        ),
        ("""-blockdev '{"driver":"raw","file":{"driver":"file","filename":"/a"}}'""", "/a", True),
        (
            """-blockdev '{"driver":"raw","backing":{"driver":"file","filename":"/a"}}'""",
            "/a",
            False,
        ),
        ("-blockdev driver=null-co,node-name=a", "", True),
    ],
)
def test_files_are_found(option: str, path: str, writable: bool) -> None:
    files = adapted(option).files
    assert [str(disk.backend) for disk in files] == ([path] if path else [])
    assert all(disk.writable == writable for disk in files)


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        (
            "-drive file=/a,,b,format=qcow2,if=virtio",
            "-drive file.driver=file,file.filename=/dev/fdset/5,format=qcow2,if=virtio,werror=stop,rerror=stop,auto-read-only=off",
        ),
        (
            "-drive file=/a,werror=enospc",
            "-drive file.driver=file,file.filename=/dev/fdset/5,werror=enospc,rerror=stop,auto-read-only=off",
        ),
        (
            "-fda /a",
            "-drive file.driver=file,file.filename=/dev/fdset/5,if=floppy,index=0,auto-read-only=off",
        ),
        ("-cdrom /a", "-drive file.driver=file,file.filename=/dev/fdset/5,index=2,media=cdrom"),
        (
            "/a",
            "-drive file.driver=file,file.filename=/dev/fdset/5,index=0,media=disk,werror=stop,rerror=stop,auto-read-only=off",
        ),
        (
            "-drive driver=file,filename=/a,readonly=on",
            "-drive driver=file,filename=/dev/fdset/5,readonly=on",
        ),
        (
            "-blockdev driver=raw,node-name=n,file.driver=file,file.filename=/a",
            "-blockdev driver=raw,node-name=n,file.driver=file,file.filename=/dev/fdset/5",
        ),
        (
            """-blockdev '{"driver":"file","node-name":"n","filename":"/a","locking":"on"}'""",
            """-blockdev '{"driver":"file","node-name":"n","filename":"/dev/fdset/5","locking":"on"}'""",
        ),
    ],
)
def test_files_become_descriptors(option: str, expected: str) -> None:
    argv = served(option, Wiring(disks={"file0": 5}))
    assert shlex.join(argv).startswith(f"-add-fd fd=5,set=5 {shlex.join(shlex.split(expected))}")


def test_a_block_device_is_called_one() -> None:
    argv = served("-hda /dev/sdx", Wiring(disks={"file0": 5}, block_devices=frozenset({"file0"})))
    assert value_after(argv, "-drive").startswith("file.driver=host_device,")


def test_without_descriptors_the_paths_stay() -> None:
    assert (
        value_after(served("-drive file=/a,,b,readonly=on"), "-drive") == "file=/a,,b,readonly=on"
    )
    words = """-blockdev '{"driver":"file","filename":"/a"}'"""
    assert value_after(served(words), "-blockdev") == '{"driver":"file","filename":"/a"}'


@pytest.mark.parametrize(
    ("option", "image", "user", "writable"),
    [
        ("-drive file=rbd:p/i,format=raw", "p/i", "admin", True),
        ("-drive file=rbd:p/n/i:id=vm:conf=/c", "p/n/i", "vm", True),
        (r"-drive 'file=rbd:p/a\:b\@c:id=x'", "p/a:b@c", "x", True),
        ("-drive file=rbd:p/i@snap", "p/i", "admin", False),
        ("-drive file=rbd:p/i,media=cdrom", "p/i", "admin", False),
        ("-cdrom rbd:isos/ubuntu", "isos/ubuntu", "admin", False),
        ("-drive driver=rbd,pool=p,image=i,user=u", "p/i", "u", True),
        (
            "-drive format=raw,file.driver=rbd,file.pool=p,file.image=i,file.user=u",
            "p/i",
            "u",
            True,
        ),
        ("-blockdev driver=rbd,pool=p,namespace=n,image=i,node-name=x", "p/n/i", "admin", True),
        (
            """-blockdev '{"driver":"raw","file":{"driver":"rbd","pool":"p","image":"i"}}'""",
            "p/i",
            "admin",
            True,
        ),
    ],
)
def test_rbd_images_are_found(option: str, image: str, user: str, writable: bool) -> None:
    assert [(str(use.image), use.user, use.writable) for use in adapted(option).rbd] == [
        (image, user, writable)
    ]


@pytest.mark.parametrize(
    ("option", "added"),
    [
        ("-drive file=rbd:p/i,media=cdrom", ",file.conf=/run/ceph.conf,file.key-secret=ceph-key"),
        ("-drive file=rbd:p/i:conf=/c,media=cdrom", ",file.key-secret=ceph-key"),
        ("-drive driver=rbd,pool=p,image=i,readonly=on,key-secret=mine", ""),
        ("-blockdev driver=rbd,pool=p,image=i,conf=/c", ",key-secret=ceph-key"),
    ],
)
def test_rbd_images_get_the_key(option: str, added: str) -> None:
    name, value = option.split(" ", 1)
    assert value_after(served(option, Wiring(ceph=KEY)), name) == value + added


def test_an_incomplete_rbd_name_is_refused() -> None:
    with pytest.raises(UsageError, match="must be rbd:pool/image"):
        adapted("-drive file=rbd:image")


@pytest.mark.parametrize(
    ("option", "name", "expected"),
    [
        ("-netdev bridge,br=b,id=n,helper=/h", "n", "-netdev tap,id=n,fd=4"),
        (
            """-netdev '{"type":"bridge","br":"b","id":"n"}'""",
            "n",
            """-netdev '{"type":"tap","id":"n","fd":"4"}'""",
        ),
        ("-nic bridge,br=b,model=e1000", "nic0", "-nic tap,model=e1000,fd=4"),
        ("-net bridge,br=b", "net0", "-net tap,fd=4"),
    ],
)
def test_bridges_become_taps(option: str, name: str, expected: str) -> None:
    assert adapted(option).bridges == {name: "b"}
    argv = served(option, Wiring(taps={name: Tap(queues=(4,))}))
    assert shlex.join(argv).startswith(shlex.join(shlex.split(expected)))


def test_a_bridge_without_a_name_is_qemus_own() -> None:
    assert adapted("-netdev bridge,id=n").bridges == {"n": "br0"}


def test_other_networks_stay() -> None:
    assert adapted("-netdev user,id=n").bridges == {}
    assert value_after(served("-netdev user,id=n"), "-netdev") == "user,id=n"


@pytest.mark.parametrize(
    "option",
    [
        "-daemonize",
        "--daemonize",
        "-incoming defer",
        "-pidfile /run/q.pid",
        "-runas nobody",
        "-chroot /",
        "-run-with user=nobody",
        "-S",
        "-s",
        "-gdb tcp::1",
        "-qmp unix:/q,server",
        "-qmp-pretty stdio",
        "-mon chardev=c",
        "-monitor stdio",
        "-add-fd fd=3,set=1",
        "-sandbox off",
        "-preconfig",
        "-no-shutdown",
        "-readconfig /f",
        "-netdev tap,id=n,ifname=tap0,script=no",
        "-drive file=/x,file.locking=off",
        "-drive file=/x,format=qcow2,backing.file.locking=off",
        "-device virtio-blk-pci,drive=d,share-rw=on",
        "-device virtio-blk-pci,drive=d,share-rw",
        """-blockdev '{"driver":"raw","file":{"driver":"file","filename":"/x","locking":"off"}}'""",
        r"""-blockdev '{"driver":"raw","\u0066orce-share":true}'""",
        "-set drive.d.file.locking=off",
        "-global virtio-blk-pci.share-rw=on",
    ],
)
def test_what_ends_supervision_or_ownership_is_refused(option: str) -> None:
    with pytest.raises(UsageError) as refusal:
        adapted(option)
    assert refusal.value.status == 64
    assert refusal.value.hint


@pytest.mark.parametrize(
    "option", ["-monitor none", "-append -daemonize", "-name -S", "-drive file=/x,file.locking=on"]
)
def test_what_only_looks_like_it_is_not(option: str) -> None:
    adapted(option)


@pytest.mark.parametrize(
    ("option", "today"),
    [
        ("-nodefconfig", "-no-user-config"),
        ("-balloon virtio,addr=5", "-device virtio-balloon,addr=5"),
        ("-balloon none", ""),
        ("-no-kvm", "-accel tcg"),
        ("-no-acpi", "-machine acpi=off"),
        ("-localtime", "-rtc base=localtime"),
        ("-serial mon:stdio", "-serial stdio"),
        ("-enable-fips", ""),
    ],
)
def test_dropped_options_are_translated_with_a_warning(option: str, today: str) -> None:
    assert shlex.join(served(option)) == f"{today} -monitor none -display none".strip()
    assert len(adapted(option).warnings) == 1


def test_nographic_keeps_its_meaning_without_a_monitor() -> None:
    argv = served("-nographic", Wiring(console=3))
    assert argv[argv.index("-display") :] == [
        "-display", "none", "-monitor", "none",
        "-chardev", "file,id=console,path=/dev/fdset/3,append=on", "-serial", "chardev:console",
    ]  # fmt: skip
    assert adapted("-nographic").warnings == ()


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("-serial stdio", "-chardev file,id=console,path=/dev/fdset/3,append=on -serial chardev:console"),
        ("-serial mon:stdio", "-chardev file,id=console,path=/dev/fdset/3,append=on -serial chardev:console"),
        ("-chardev stdio,id=a,signal=off", "-chardev file,id=a,path=/dev/fdset/3,append=on"),
        ("-chardev id=a,backend=stdio,mux=on", "-chardev file,id=a,path=/dev/fdset/3,append=on,mux=on"),
        ("-chardev stdio", "-chardev stdio"),  # QEMU says what is wanting
        ("-chardev file,id=stdio,path=/dev/null", "-chardev file,id=stdio,path=/dev/null"),
    ],
)  # fmt: skip
def test_stdio_is_the_console(option: str, expected: str) -> None:
    assert expected in " ".join(served(option, Wiring(console=3)))
    assert option.removeprefix("-serial mon:") in " ".join(served(option))


@pytest.mark.parametrize("option", ["-serial pty", "-nodefaults"])
def test_a_serial_port_of_the_users_own_is_left_alone(option: str) -> None:
    assert "chardev:console" not in served(option, Wiring(console=3))


@pytest.mark.parametrize(
    ("option", "wants", "names"),
    [
        ("-m 1", False, False),
        ("-enable-kvm", True, True),
        ("-machine accel=kvm", True, True),
        ("-M pc,accel=kvm:tcg", False, True),
        ("-accel kvm", True, True),
        ("-accel accel=tcg,thread=multi", False, True),
        ("-accel kvm -accel tcg", False, True),
    ],
)
def test_the_accelerator_is_the_users_where_named(option: str, wants: bool, names: bool) -> None:
    found = adapted(option)
    assert (found.wants_kvm, found.names_accelerator) == (wants, names)
    argv = serve(found, Wiring(), Accelerator.kvm)
    assert (argv[:2] == ["-accel", "kvm"] and not names) or names


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("-device virtio-blk-pci,drive=n", "virtio-blk-pci,drive=n,werror=stop,rerror=stop"),
        (
            "-device virtio-blk-pci,drive=n,werror=report,rerror=stop",
            "virtio-blk-pci,drive=n,werror=report,rerror=stop",
        ),
        (
            """-device '{"driver":"scsi-hd","drive":"n"}'""",
            '{"driver":"scsi-hd","drive":"n","werror":"stop","rerror":"stop"}',
        ),
        ("-device virtio-net-pci,netdev=n", "virtio-net-pci,netdev=n"),
        ("-device ide-cd,drive=n", "ide-cd,drive=n"),
        ("-device virtio-blk-pci,drive=n -drive if=none,id=n", "virtio-blk-pci,drive=n"),
    ],
)
def test_a_disk_on_a_node_stops_on_errors(option: str, expected: str) -> None:
    assert value_after(served(option), "-device") == expected


def test_kernel_and_initrd_are_copies() -> None:
    found = adapted("-kernel /k -initrd /i -append x=1")
    assert (found.kernel, found.initrd) == ("/k", "/i")
    argv = serve(found, Wiring(kernel="/run/k", initrd="/run/i"))
    assert argv[:6] == ["-kernel", "/run/k", "-initrd", "/run/i", "-append", "x=1"]


def test_the_seed_takes_no_slot_of_the_users_devices() -> None:
    argv = served("-device virtio-net", Wiring(seed=6))
    assert argv[-1].startswith('{"driver":"virtio-blk-pci"')


@pytest.mark.parametrize("option", ["-spice port=1", "-vnc :1", "-display none", "-nographic"])
def test_no_display_is_added_to_the_users_own(option: str) -> None:
    assert served(option).count("-display") <= 1
    assert "-display" in served("-m 1")


def test_a_node_begins_with_the_access_it_has() -> None:
    words = "-blockdev driver=file,node-name=n,filename=/a,auto-read-only=on"
    assert value_after(served(words, Wiring(disks={"file0": 5})), "-blockdev").endswith(
        "auto-read-only=off"
    )


@pytest.mark.parametrize(
    ("option", "direct"),
    [
        ("-hda /a", False),
        ("-drive file=/a,cache=none", True),
        ("-drive file=/a,cache=writeback", False),
        ("-drive file=/a,cache.direct=on", True),
        ("-blockdev driver=file,node-name=n,filename=/a,cache.direct=on", True),
        (
            """-blockdev '{"driver":"raw","cache":{"direct":true},"file":{"driver":"file","filename":"/a"}}'""",
            True,
        ),
        ("""-blockdev '{"driver":"file","filename":"/a"}'""", False),
    ],
)
def test_direct_access_is_known_before_the_file_is_opened(option: str, direct: bool) -> None:
    assert [disk.cache is Cache.none for disk in adapted(option).files] == [direct]


@pytest.mark.parametrize("option", ["-netdev bridge,br=b,id=n", "-nic bridge,br=b"])
def test_without_a_tap_the_bridge_stays(option: str) -> None:
    assert shlex.join(served(option)).startswith(option)


def test_what_is_refused_is_named_as_it_was_given() -> None:
    with pytest.raises(UsageError, match=r"^-monitor stdio: the launcher alone speaks"):
        adapted("--monitor stdio")
