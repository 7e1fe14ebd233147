"""What is known of this host, as values. `probe` finds it out; the builder of QEMU's command only reads it."""

from collections.abc import Mapping
from enum import StrEnum, auto

from holdfast.dataclass import dataclass, field
from holdfast.errors import HostLacks
from holdfast.machine import Accelerator, Arch, Machine

VIRTUALIZATION_FLAGS = frozenset({"vmx", "svm"})  # Intel's and AMD's, in /proc/cpuinfo
X86 = ("x86_64", "i386", "i686")


CONTAINER_ID, HEX_DIGITS = 12, frozenset("0123456789abcdef")
CONTAINERS_NAME = "a container's id: pass the host's name with -e HOSTNAME=$(hostname)"


def is_container_id(name: str) -> bool:
    """Docker calls a container by the first digits of its id unless it is told otherwise."""
    return len(name) == CONTAINER_ID and HEX_DIGITS.issuperset(name)


class Access(StrEnum):
    """What came of opening a device node, which was made first if need be."""

    open = auto()
    absent = auto()  # the kernel does not have the device
    unmade = auto()  # there is no node, and mknod is not allowed
    forbidden = auto()  # EPERM: the device cgroup of the container says no
    denied = auto()  # EACCES: owner and mode say no, or the mount is nodev
    foreign = auto()  # something else stands where the node belongs


class Kvm(StrEnum):
    """Whether KVM can run a guest here, and if not, the first reason why."""

    usable = auto()
    no_extension = auto()  # the CPU has neither vmx nor svm
    not_nested = auto()  # this is itself a VM, and its host does not pass vmx or svm on
    no_module = auto()  # the kernel offers no kvm: not in /proc/misc
    no_node = auto()  # /dev/kvm is missing and may not be made
    forbidden = auto()  # the device cgroup keeps /dev/kvm from being opened
    denied = auto()  # the mode of /dev/kvm does
    foreign = auto()  # /dev/kvm is something else
    no_group = auto()  # root may open it, but QEMU, which is not root, may not


@dataclass(frozen=True, kw_only=True)
class KvmFacts:
    """What `judge` goes by. `mode` and `gid` are those of the node, where there is one."""

    arch: str
    flags: frozenset[str]
    node: Access
    mode: int = 0
    gid: int = 0


@dataclass(frozen=True, kw_only=True)
class Host:
    """`kvm_gid` is the group QEMU must be in to open /dev/kvm; None: it needs none, or it is no use."""

    name: str
    machine_id: str
    boot_id: str
    arch: str = "x86_64"
    qemu: str = "/usr/bin/qemu-system-x86_64"
    kvm: Kvm = Kvm.no_module
    kvm_gid: int | None = None
    topoext: bool = False  # an AMD CPU that can show threads to a guest
    io_uring: bool = False  # whether its system calls work here
    emulators: Mapping[str, str] = field(default_factory=dict)  # the programs, by architecture

    def wrote(self, machine_id: str, boot_id: str) -> bool:
        """Whether a record is of this machine. One kernel is one machine, whatever its containers call it."""
        return machine_id == self.machine_id or (boot_id != "" and boot_id == self.boot_id)

    def accelerator(self, machine: Machine) -> Accelerator:
        """The accelerator that `auto` stands for here; an explicit choice stays what it is."""
        if machine.accelerator is not Accelerator.auto:
            return machine.accelerator
        usable = self.kvm is Kvm.usable and not self.is_foreign(machine.arch)
        return Accelerator.kvm if usable else Accelerator.tcg

    def is_foreign(self, arch: Arch) -> bool:
        """KVM runs what this CPU can run itself."""
        return arch != self.arch

    def emulator(self, arch: Arch) -> str:
        """The program; `qemu` is that of the host's own architecture, wherever it lies."""
        if not self.is_foreign(arch):
            return self.qemu
        if arch not in self.emulators:
            raise HostLacks(
                f"qemu-system-{arch} is not installed here",
                hint="Use an image with it: docker build --build-arg "
                f'EMULATORS="{arch}" --tag holdfast:full, or the packages of Debian on a host.',
            )
        return self.emulators[arch]


def judge(facts: KvmFacts) -> Kvm:
    """The first reason why KVM is no use, the deepest one first: no right helps without a CPU that can."""
    if facts.arch in X86 and not facts.flags & VIRTUALIZATION_FLAGS:
        return Kvm.not_nested if "hypervisor" in facts.flags else Kvm.no_extension
    if facts.node is not Access.open:
        return _REFUSALS[facts.node]
    return Kvm.usable if _others_may_open(facts) or _group_may_open(facts) else Kvm.no_group


def kvm_group(facts: KvmFacts) -> int | None:
    """The group that opens the node to QEMU. None where everybody may open it."""
    needed = judge(facts) is Kvm.usable and not _others_may_open(facts)
    return facts.gid if needed else None


def _others_may_open(facts: KvmFacts) -> bool:
    return facts.mode & 0o006 == 0o006  # noqa: PLR2004 - rw for others


def _group_may_open(facts: KvmFacts) -> bool:
    # QEMU is never put into group 0: files such as keyrings are often readable by it.
    return facts.mode & 0o060 == 0o060 and facts.gid != 0  # noqa: PLR2004 - rw for the group


_REFUSALS: Mapping[Access, Kvm] = {
    Access.absent: Kvm.no_module,
    Access.unmade: Kvm.no_node,
    Access.forbidden: Kvm.forbidden,
    Access.denied: Kvm.denied,
    Access.foreign: Kvm.foreign,
}

_KVM_ADVICE: Mapping[Kvm, tuple[str, str]] = {
    Kvm.no_extension: (
        "KVM: the CPU shows neither vmx nor svm in /proc/cpuinfo",
        "Switch virtualization (Intel VT-x, AMD-V or SVM) on in this machine's firmware.",
    ),
    Kvm.not_nested: (
        "KVM: this machine is itself a VM, and its host does not pass vmx or svm on to it",
        (
            "Enable nested virtualization on the outer host: load kvm_intel (or kvm_amd) with nested=1 "
            "there, and give this VM the CPU model of its host (for QEMU `-cpu host`)."
        ),
    ),
    Kvm.no_module: (
        "KVM: the kernel does not offer it (no kvm in /proc/misc)",
        (
            "Run `modprobe kvm_intel` or `modprobe kvm_amd` on the host; if that fails, `dmesg` says "
            "whether the firmware has virtualization switched off."
        ),
    ),
    Kvm.no_node: (
        "KVM: /dev/kvm is missing, and this process may not create it",
        "Add `--device /dev/kvm` to docker run.",
    ),
    Kvm.forbidden: (
        "KVM: /dev/kvm exists, but the device cgroup of this container does not let it be opened",
        "Add `--device-cgroup-rule 'c 10:232 rwm'` or `--device /dev/kvm` to docker run.",
    ),
    Kvm.denied: (
        "KVM: /dev/kvm exists, but may not be opened for reading and writing",
        (
            "Start Holdfast as root (docker run: `--user 0`), or look at the owner and mode of /dev/kvm; "
            "its file system must not be mounted nodev."
        ),
    ),
    Kvm.foreign: (
        "KVM: /dev/kvm is not a character device",
        (
            "docker makes a folder of a `--volume` that is missing on the host: "
            "use `--device /dev/kvm` instead."
        ),
    ),
    Kvm.no_group: (
        "KVM: only root may open /dev/kvm, and QEMU does not run as root",
        (
            "Run `chgrp kvm /dev/kvm; chmod 660 /dev/kvm` on the host; or replace `--device /dev/kvm` by "
            "`--device-cgroup-rule 'c 10:232 rwm'`: Holdfast then makes a node of its own."
        ),
    ),
}


def kvm_lack(kvm: Kvm) -> HostLacks:
    """Why KVM cannot be used and what to do: raised for `accelerator=kvm`, a warning for `auto`."""
    message, hint = _KVM_ADVICE[kvm]
    return HostLacks(message, hint=hint)
