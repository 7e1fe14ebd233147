"""What nobody's options may be, the operator's neither: a file of the host, or a disk that nobody locks.

What keys may have by themselves is less: test_args_allowlist.py.
"""

import shlex

import pytest
from describing import faults, machine

DISK = "describe it under disks/<name>"
FILE = "files, or start programs"
KEY = "has a key of its own"
HANDED = "the launcher alone hands descriptors"
MONITOR = "the launcher alone speaks to QEMU's monitor"


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        ("-drive file=/etc/shadow,format=raw", DISK),
        ("-drive file=rbd:vms/other,format=raw", DISK),
        ("-drive driver=nbd,host=example.org", DISK),
        ("--drive if=none,id=a", DISK),
        ("-blockdev driver=file,filename=/x,node-name=a", DISK),
        ("""-blockdev '{"driver":"rbd","pool":"vms","image":"other"}'""", DISK),
        *((f"-{name} /x", DISK) for name in ("cdrom", "hda", "hdb", "hdc", "hdd", "fda", "fdb", "sd")),
        ("-pflash x", DISK),
        ("-mtdblock x", DISK),
        ("-kernel vmlinuz", KEY),
        ("-initrd initrd.img", KEY),
        ("-bios bios.bin", KEY),
        ("-dtb x", FILE),
        ("-option-rom x", FILE),
        ("-machine q35,kernel=vmlinuz", FILE),
        ("-M firmware=x", FILE),
        ("-device loader,file=x,addr=0", FILE),
        ("-device guest-loader,addr=0,kernel=x", FILE),
        ("-device virtio-net-pci,romfile=x", FILE),
        ("-device usb-mtp,rootdir=x", FILE),
        ("-device usb-host,hostdevice=/dev/bus/usb/001/001", FILE),
        ("-device vfio-pci,sysfsdev=/sys/x", FILE),
        ("-device something-new,unheard=/x", FILE),
        ("-device something-new,unheard=../x", FILE),
        ("""-device '{"driver":"loader","file":"x"}'""", FILE),
        ("-global virtio-net-pci.romfile=x", FILE),
        ("-global driver=virtio-net-pci,property=romfile,value=x", FILE),
        ("-set chardev.console.path=x", FILE),
        ("-set device.a.mem_path=x", FILE),
        ("-fw_cfg name=opt/org.example/a,file=x", FILE),
        ("-fw_cfg opt/org.example/a,file=x", FILE),
        ("-object memory-backend-file,id=a,size=1M,mem-path=x", FILE),
        ("-object filter-dump,id=a,netdev=b,file=x", FILE),
        ("-object authz-list-file,id=a,filename=x", FILE),
        ("-object rng-random,id=a,filename=/dev/sda", FILE),
        ("-object tls-creds-x509,id=a,dir=x", FILE),
        ("-object input-linux,id=a,evdev=/dev/input/event0", FILE),
        ("-chardev socket,id=a,path=x", FILE),
        ("-chardev file,id=a,path=x", FILE),
        ("-netdev stream,id=a,addr.type=unix,addr.path=x", FILE),
        ("-netdev vhost-vdpa,id=a,vhostdev=/dev/vhost-vdpa-0", FILE),
        ("-netdev user,id=a,guestfwd=tcp:10.0.2.9:1-cmd:x", FILE),
        ("""-netdev '{"type":"user","id":"a","guestfwd":[{"str":"tcp:10.0.2.9:1-cmd:x"}]}'""", FILE),
        ("-tpmdev passthrough,id=a,cancel-path=x", FILE),
        ("-audiodev wav,id=a,path=x", FILE),
        ("-spice port=5900,x509-key-file=x", FILE),
        ("-spice unix=on,addr=x", FILE),
        ("-vnc unix:x", FILE),
        ("-k ../../etc/shadow", FILE),
        ("-boot splash=x", FILE),
        ("-icount shift=1,rr=record,rrfile=x", FILE),
        ("-semihosting", FILE),
        ("-semihosting-config enable=on", FILE),
        ("-smbios type=11,path=x", FILE),
        ("-add-fd fd=3,set=1", HANDED),
        ("-chardev socket,id=a,fd=3", HANDED),
        ("-netdev tap,id=a,fds=3:4", HANDED),
        ("-netdev stream,id=a,addr.type=fd,addr.str=3", HANDED),
        ("-serial mon:tcp::4444,server=on", MONITOR),
        ("-device virtio-blk-pci,drive=a,werror=ignore", "lose what the guest was told"),
        ("-global virtio-blk-pci.werror=ignore", "lose what the guest was told"),
        ("-qtest tcp::4444", "guest's memory"),
        ("-action shutdown=pause", "out of the supervision"),
    ],
)  # fmt: skip
def test_what_is_refused(flags: str, reason: str) -> None:
    (line,) = faults({"extra_flags": flags})
    assert line.startswith("extra_flags: ")
    assert reason in line
    assert faults({}, environ={"EXTRA_FLAGS": flags})  # an operator's own disk is no safer


@pytest.mark.parametrize(
    "flags",
    [
        "-device virtio-balloon-pci,id=a",
        "-device virtio-net-pci,netdev=a,romfile=",
        "-netdev user,id=a,net=10.9.0.0/24,ipv6-net=fd00:9::/64,bootfile=/pxelinux.0",
        "-netdev tap,id=a,ifname=tap7,script=no,downscript=no",
        "-object rng-random,id=a,filename=/dev/urandom",
        "-object secret,id=a,format=base64,data=c2Vj/mV0",
        "-fw_cfg name=opt/org.example/a,string=b",
        "-smbios type=1,manufacturer=A/B",
        "-name guest=a/b",
        "-append 'root=/dev/vda1 file=x'",
        "-machine kernel-irqchip=split",
        "-chardev socket,id=a,host=127.0.0.1,port=4444,server=on,wait=off",
        "-serial tcp:127.0.0.1:4444",
        "-cpu max,+x2apic",
        "-k de",
        "-boot splash-time=5",
    ],
)
def test_what_is_not(flags: str) -> None:
    assert machine({}, environ={"EXTRA_FLAGS": flags}).extra_flags


@pytest.mark.parametrize("flags", ["", " ", "\n"])
def test_none_at_all(flags: str) -> None:
    """As in the old image; a VM that needs none of what `_defaults` say has one, too."""
    assert machine({"ram": "1G", "extra_flags": flags}).extra_flags == ()
    assert machine({"extra_flags": flags}, {"extra_flags": "-usb"}).extra_flags == ()


JSON = '{"string":",backend=file,path=/tmp/x,id=c0,host="}'


@pytest.mark.parametrize(
    "option",
    ["chardev", "fw_cfg", "fsdev", "global", "serial", "smbios", "spice", "tpmdev", "unheard-of"],
)
def test_one_reader_of_one_text(option: str) -> None:
    """QEMU reads JSON for seven options only; elsewhere a text that begins like it is made of commas."""
    flags = shlex.join([f"-{option}", JSON])
    (line,) = faults({}, environ={"EXTRA_FLAGS": flags})
    assert option == "fsdev" or "does not read JSON" in line


@pytest.mark.parametrize("depth", [17, 500, 900, 5000])
@pytest.mark.parametrize("option", ["device", "netdev", "object"])
def test_json_of_any_depth(option: str, depth: int) -> None:
    flags = shlex.join([f"-{option}", '{"a":' * depth + "1" + "}" * depth])
    (line,) = faults({"extra_flags": flags})
    assert "JSON" in line


def test_their_length_is_limited() -> None:
    flags = "-append a " * 10_000
    (line,) = faults({}, environ={"EXTRA_FLAGS": flags})
    assert "is longer than" in line
    assert len(line) < 200
