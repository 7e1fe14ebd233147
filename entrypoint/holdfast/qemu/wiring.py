"""What the launcher hands to QEMU beside the command: descriptors and private files.

All numbers are descriptors that QEMU inherits. One that stands for a file goes in with
`-add-fd fd=N,set=N` and is named /dev/fdset/N (QEMU opens it again by that name); a tap, a socket
are used as `fd=N`. The empty Wiring belongs to a command that a person pastes: paths and `bridge`.
"""

from collections.abc import Mapping

from holdfast.dataclass import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Ceph:
    """How QEMU reaches the cluster. `key_file` holds the base64 cephx key, readable by QEMU only.

    `user` is "" where a person pastes the command: the pool's, or admin.
    """

    user: str = ""
    conf: str = "/etc/ceph/ceph.conf"
    key_file: str = ""


@dataclass(frozen=True, kw_only=True)
class Tap:
    """A card's cable into the kernel: a descriptor for each queue.

    `mtu` is what the guest has to be told of it, 0 where it will guess right.
    """

    queues: tuple[int, ...]
    vhost: tuple[int, ...] = ()  # /dev/vhost-net, likewise
    mtu: int = 0


@dataclass(frozen=True, kw_only=True)
class Wiring:
    """`agent` is a listening unix socket, `qmp` is a connected one.

    `console` is the end of a pipe that takes all the guest prints on its serial port, `console_input` that of one
    which has what is typed there.
    """

    qmp: int | None = None
    agent: int | None = None
    console: int | None = None
    console_input: int | None = None
    taps: Mapping[str, Tap] = field(default_factory=dict)  # by NIC name
    disks: Mapping[str, int] = field(default_factory=dict)  # by disk name, all but RBD
    parents: Mapping[str, int] = field(default_factory=dict)  # by disk name: what it sits on
    block_devices: frozenset[str] = frozenset()  # which of `disks` are not regular files
    missing: frozenset[str] = frozenset()  # CD-ROMs of a user's options whose file is not there
    seed: int | None = None
    tpm: int | None = None  # connected to swtpm
    shares: Mapping[str, int] = field(default_factory=dict)  # connected to virtiofsd, by name
    usb: Mapping[str, int] = field(default_factory=dict)  # usbfs nodes, by name
    pci: Mapping[str, int] = field(default_factory=dict)  # vfio's nodes, by name
    iommu: int | None = None  # /dev/iommu, for them
    kernel: str = ""  # a copy that QEMU's uid can read; "": the machine's own path
    initrd: str = ""
    spice_password_file: str = ""
    vnc_password_file: str = ""
    screen_tls: str = (
        ""  # a folder with certificate and key that QEMU's uid can read; "": the machine's own
    )
    ceph: Ceph = Ceph()
    confined: bool = False  # add the sandbox; False only for a command that a person pastes
    paused: bool = False  # add -S
