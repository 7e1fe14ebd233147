"""What is known of this host, as values. `probe` finds it out; the builder of QEMU's command only reads it."""

from dataclasses import dataclass
from enum import StrEnum, auto

from holdfast.machine import Accelerator


class Kvm(StrEnum):
    """Whether KVM can run a guest here, and if not, the first reason why."""

    usable = auto()
    no_module = auto()  # the kernel offers no kvm: not in /proc/misc
    no_node = auto()  # /dev/kvm is missing and may not be made
    denied = auto()  # /dev/kvm is there and may not be opened for writing
    no_extension = auto()  # the CPU has neither vmx nor svm
    not_nested = auto()  # this is itself a VM, and its host does not pass vmx or svm on


@dataclass(frozen=True, kw_only=True)
class Host:
    """`kvm_gid` is the group of the /dev/kvm node, which QEMU must be in to open it."""

    name: str
    machine_id: str
    boot_id: str
    arch: str = "x86_64"
    qemu: str = "/usr/bin/qemu-system-x86_64"
    qemu_version: str = ""
    kvm: Kvm = Kvm.no_module
    kvm_gid: int | None = None

    def accelerator(self, wanted: Accelerator) -> Accelerator:
        """The accelerator that `auto` stands for here; an explicit choice stays what it is."""
        if wanted is not Accelerator.auto:
            return wanted
        return Accelerator.kvm if self.kvm is Kvm.usable else Accelerator.tcg
