"""`-cpu` and `-smp`."""

from holdfast.errors import ConfigError, Fault
from holdfast.host import X86, Host
from holdfast.machine import Accelerator, Machine
from holdfast.qemu.spelling import Part, Setting, keyed

# All that Windows profits from and every KVM since Linux 5.0 has; each needs some of those before it.
# Left out: what binds a VM to one maker's CPUs (evmcs, avic), and what is for debuggers.
HYPERV: dict[str, str | bool] = {
    "hv_relaxed": True,
    "hv_vapic": True,
    "hv_spinlocks": "0x1fff",
    "hv_vpindex": True,
    "hv_runtime": True,
    "hv_time": True,
    "hv_synic": True,
    "hv_stimer": True,
    "hv_stimer_direct": True,
    "hv_tlbflush": True,
    "hv_ipi": True,
    "hv_frequencies": True,
}


def processor(machine: Machine, host: Host) -> list[Part]:
    return [Setting("cpu", cpu(machine, host)), Setting("smp", smp(machine))]


def cpu(machine: Machine, host: Host) -> str:
    accelerator = host.accelerator(machine)
    kvm = accelerator is Accelerator.kvm
    enlightened = HYPERV if machine.hyperv and kvm and host.arch in X86 else {}
    return keyed(model(machine, accelerator), **topoext(machine, host), **enlightened)


def model(machine: Machine, accelerator: Accelerator) -> str:
    if machine.cpu_model == "host" and accelerator is not Accelerator.kvm:
        fault = Fault(key="cpu_model", value="host", rule="needs KVM; use max without it")
        raise ConfigError([fault])
    return machine.cpu_model or ("host" if accelerator is Accelerator.kvm else "max")


def topoext(machine: Machine, host: Host) -> dict[str, bool]:
    """AMD's CPUs show threads by this feature only, and `host` leaves it out unless it is asked for."""
    threads = machine.cpu_topology is not None and machine.cpu_topology.threads > 1
    kvm = host.accelerator(machine) is Accelerator.kvm
    return {"topoext": True} if threads and kvm and host.topoext else {}


def smp(machine: Machine) -> str:
    topology = machine.cpu_topology
    most = machine.cpus_max if machine.cpus_max not in (None, machine.cpus) else None
    if topology is None:
        return keyed(str(machine.cpus), maxcpus=most)
    return keyed(
        str(machine.cpus),
        maxcpus=most,
        sockets=topology.sockets,
        cores=topology.cores,
        threads=topology.threads,
    )
