"""What keys may have of QEMU's options: by themselves, and where host.toml says more."""

import shlex

import pytest
from describing import described, machine

from holdfast.errors import ConfigError, UsageError

ALL = 'args_allowlist = ["any"]'


def line(flags: str, host_toml: str = "") -> str:
    with pytest.raises(ConfigError) as caught:
        described({"extra_flags": flags}, host_toml=host_toml)
    (found,) = caught.value.lines()
    return found


@pytest.mark.parametrize(
    "flags",
    [
        # the units of the old images, and Nomad's documents
        "-nodefaults -usbdevice tablet -usb",
        "-name 9 -cpu qemu64,+ssse3,+sse4.1,+sse4.2,+x2apic -vga qxl -k en-us -m 2048",
        "-device virtio-net,netdev=net0,mac=52:54:00:12:34:56 -machine accel=kvm -enable-kvm",
        "-watchdog-action debug",
        "-device e1000,netdev=user.0 -smp 2 -machine type=pc,accel=tcg -nographic",
        "-smp cpus=4,sockets=1,cores=2,threads=2 -M q35 -rtc base=localtime,clock=host -boot order=cd,menu=on",
        "-device virtio-serial -no-reboot -no-user-config",
        # what else is the guest's own
        "-device virtio-balloon-pci,id=a",
        "-device qemu-xhci,id=x -device usb-tablet,bus=x.0",
        """-device '{"driver":"virtio-rng-pci","rng":"a"}' -object rng-random,id=a,filename=/dev/urandom""",
        "-device virtio-net-pci,netdev=a,romfile=",
        "-chardev spicevmc,id=v,name=vdagent -device virtserialport,chardev=v,name=com.redhat.spice.0",
        "-chardev ringbuf,id=r,size=64k -serial chardev:r",
        "-serial none -serial null -parallel none",
        "-netdev user,id=u,restrict=on,net=10.9.0.0/24 -device e1000,netdev=u",
        "-fw_cfg name=opt/org.example/a,string=b",
        "-smbios type=1,manufacturer=A/B",
        "-append 'root=/dev/vda1 {x}'",
        "-audiodev none,id=snd -device intel-hda -device hda-duplex,audiodev=snd",
        "-global ICH9-LPC.disable_s3=1 -global driver=cfi.pflash01,property=secure,value=on",
        "-numa node,nodeid=0,memdev=m -object memory-backend-ram,id=m,size=1G",
        "-object secret,id=s,data=a -object iothread,id=t",
        "-nic none -net none -display none -cpu host,hv_relaxed,model-id='A B'",
        "-overcommit cpu-pm=on -icount shift=auto -uuid 6f2c0f7e-5d0c-4b61-9d49-3c1ddc5ac8d5",
    ],
)  # fmt: skip
def test_what_passes_by_itself(flags: str) -> None:
    assert machine({"extra_flags": flags}).extra_flags == tuple(shlex.split(flags))


@pytest.mark.parametrize(
    ("flags", "today"),
    [
        ("-nodefaults -nodefconfig", "-nodefaults -no-user-config"),
        ("-balloon virtio -watchdog i6300esb", "-device virtio-balloon -device i6300esb"),
        ("-balloon none -usb", "-usb"),
        ("-no-acpi -no-hpet -nographic", "-machine acpi=off -machine hpet=off -nographic"),
    ],
)
def test_what_has_another_name_today(flags: str, today: str) -> None:
    """As the units of the old images have it: QEMU would end with "invalid option"."""
    assert machine({"extra_flags": flags}).extra_flags == tuple(shlex.split(today))


@pytest.mark.parametrize(
    ("flags", "part"),
    [
        # connects or listens
        ("-serial tcp:127.0.0.1:2379", "-serial"),
        ("-serial pty", "-serial"),
        ("-chardev socket,id=a,host=a,port=1", "-chardev socket"),
        ("-chardev udp,id=a,host=a,port=1", "-chardev udp"),
        ("-chardev backend=null,id=a,backend=stdio", "-chardev"),
        ("-netdev user,id=a", "restrict=on"),
        ("-netdev user,id=a,restrict=off", "restrict"),
        ("-netdev user,id=a,restrict=on,restrict=off", "restrict"),
        ("-netdev user,id=a,restrict=on,hostfwd=tcp::1-:1", "hostfwd"),
        ("-netdev user,id=a,restrict=on,norestrict", "norestrict"),
        *((f"-netdev {kind},id=a", kind) for kind in ("socket", "stream", "dgram", "l2tpv3", "tap", "bridge", "vde")),
        ("-nic user", "-nic"),
        ("-net user", "-net user"),
        ("-spice port=5900,disable-ticketing=on", "spice_port"),
        ("-vnc 0.0.0.0:7", "vnc_port"),
        ("-display vnc=:1", "-display"),
        ("-audiodev pa,id=a,server=tcp:a", "-audiodev pa"),
        ("-object input-barrier,id=a,name=a", "input-barrier"),
        ("-object dbus-vmstate,id=a,addr=tcp:a", "dbus-vmstate"),
        ("-accel kvm,rapl=on,rapl-helper-socket=x", "rapl"),
        ("-usbdevice braille", "braille"),
        # opens, or names what another key allows
        ("-device vfio-pci,host=03:00.0", "pci/<name>"),
        ("-device usb-host,vendorid=0x951,productid=0x1666", "usb/<name>"),
        ("-device u2f-passthru", "u2f-passthru"),
        ("-device vhost-vsock-pci,guest-cid=3", "vhost-vsock-pci"),
        ("-device usb-braille", "usb-braille"),
        ("-tpmdev passthrough,id=a", "a TPM is tpm"),
        ("-object can-host-socketcan,id=a,if=can0,canbus=b", "can-host-socketcan"),
        ("-object qtest,id=a,chardev=qmp", "qtest"),
        ("-accel qtest", "qtest"),
        ("-accel kvm,device=kvm2", "device"),
        ("-machine accel=qtest", "accel"),
        ("-machine x-remote", "x-remote"),
        ("-M type=pc,type=x-remote", "x-remote"),
        ("-machine q35,memory-backend=ram", "memory-backend"),
        ("-device ipmi-bmc-sim,id=a,sdrfile=x", "sdrfile"),
        ("-device cxl-upstream,cdat=x", "cdat"),
        ("-device usb-tablet,pcap=x", "pcap"),
        ("-device e1000,driver=loader", "-device"),
        ("-device loader,data=1,data-len=1,addr=0", "loader"),
        ("-device scsi-generic,drive=disk-root", "scsi-generic"),
        ("-device virtio-blk-pci,drive=disk-root", "virtio-blk-pci"),
        # the launcher's own
        ("-set chardev.qmp.mux=on -device isa-serial,chardev=qmp", "-set"),
        ("-device isa-serial,chardev=qmp", "chardev"),
        ("""-device '{"driver":"isa-serial","chardev":"qmp"}'""", "chardev"),
        ("-global isa-serial.chardev=qmp", "isa-serial.chardev"),
        ("-global migration.multifd=on", "migration.multifd"),
        ("-serial chardev:qmp", "-serial"),
        # floods, or is not known
        ("-device qxl,guestdebug=9", "guestdebug"),
        ("-global qxl-vga.cmdlog=1", "cmdlog"),
        ("-d exec,cpu", "-d"),
        ("-trace x", "-trace"),
        ("-shim x", "-shim"),
        ("-snapshot", "-snapshot"),
        ("-unheard-of", "-unheard-of"),
        ("-device unheard-of", "unheard-of"),
        ("-device e1000,unheard=1", "unheard"),
        ("-device e1000,x-unheard=1", "x-unheard"),
        ("-compat a", "-compat"),
        ("-boot =a", "-boot"),
    ],
)  # fmt: skip
def test_what_does_not(flags: str, part: str) -> None:
    found = line(flags)
    assert found.startswith("extra_flags: ")
    assert part in found
    assert 'args_allowlist = ["any"] in host.toml' in found


FREE = "-serial tcp:127.0.0.1:4444 -netdev user,id=u -unheard-of 1"


def test_the_old_free_form_is_one_line_away() -> None:
    assert described({"extra_flags": FREE}, host_toml=ALL).machine.extra_flags
    assert "file" in line("-serial file:/x", ALL)  # what nobody may, keys may not either


def test_the_built_in_list_and_more() -> None:
    toml = 'args_allowlist = ["default", "-netdev user,id=u", "-unheard-of"]'
    flags = "-netdev user,id=u -unheard-of 1 -nodefaults"
    assert described({"extra_flags": flags}, host_toml=toml).machine.extra_flags
    assert "restrict" in line("-netdev user,id=b", toml)


def test_the_operators_own_need_no_list() -> None:
    assert machine({}, environ={"EXTRA_FLAGS": FREE}).extra_flags


def test_an_entry_that_would_allow_nothing() -> None:
    with pytest.raises(UsageError, match="must be an option"):
        described({}, host_toml='args_allowlist = ["usb"]')


GOVERNED = 'args_allowlist = ["any"]\nusb = ["0951:*"]\npci = ["03:00.0"]\nbridges = ["br7"]\n'


@pytest.mark.parametrize(
    "flags",
    [
        "-device vfio-pci,host=0000:03:00.0",
        """-device '{"driver":"vfio-pci","host":"03:00.0"}'""",
        "-device usb-host,vendorid=0x951,productid=0x1666",
        """-device '{"driver":"usb-host","vendorid":2385,"productid":5734}'""",
        "-netdev bridge,id=a,br=br7",
        "-netdev tap,id=a,ifname=br7,script=no,downscript=no",
    ],
)
def test_what_other_keys_of_host_toml_allow(flags: str) -> None:
    assert described({"extra_flags": flags}, host_toml=GOVERNED).machine.extra_flags


@pytest.mark.parametrize(
    ("flags", "rule"),
    [
        ("-device vfio-pci,host=04:00.0", "pci of host.toml"),
        ("-device driver=vfio-pci,host=04:00.0", "pci of host.toml"),
        ("""-device '{"driver":"vfio-pci","host":"04:00.0"}'""", "pci of host.toml"),
        ("-device vfio-pci-nohotplug,host=04:00.0", "pci of host.toml"),
        ("-device vfio-pci,host=03:00.0,host=04:00.0", "host once"),
        ("-device vfio-pci", "host once"),
        ("-device e1000,driver=vfio-pci,host=04:00.0", "pci of host.toml"),
        ("-device usb-host,vendorid=0x1234,productid=1", "usb of host.toml"),
        ("-device usb-host,hostbus=1,hostaddr=2", "vendorid once"),
        ("-device usb-host,vendorid=a,productid=b", "as numbers"),
        ("-device usb-host,id=a,vendorid=0x951,productid=1 -set device.a.vendorid=1", "-set"),
        ("-global usb-host.vendorid=1", "-global"),
        ("-global driver=vfio-pci,property=host,value=04:00.0", "-global"),
        ("-netdev bridge,id=a,br=docker0", "bridges of host.toml"),
        ("-netdev bridge,id=a", "bridges of host.toml"),
        ("-nic bridge,br=docker0", "bridges of host.toml"),
        ("-net tap,ifname=tap0", "bridges of host.toml"),
        ("-netdev tap,id=a,ifname=tap0,script=no,downscript=no,queues=2", "bridges of host.toml"),
    ],
)
def test_what_they_govern_stays_governed(flags: str, rule: str) -> None:
    assert rule in line(flags, GOVERNED)
