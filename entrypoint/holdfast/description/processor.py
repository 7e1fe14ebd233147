"""What must agree with each other among the keys of CPUs and memory."""

from holdfast.description.layers import Sources
from holdfast.machine import Machine


def refuse_contradictions(sources: Sources, machine: Machine) -> None:
    _refuse_too_few_cpus(sources, machine)
    _refuse_other_topology(sources, machine)


def _refuse_too_few_cpus(sources: Sources, machine: Machine) -> None:
    most = machine.cpus_max
    if most is not None and most < machine.cpus and "cpus" not in sources.refused:
        rule = f"must be at least cpus, which is {machine.cpus}"
        sources.refuse(sources.values["cpus_max"].label, rule, str(most))


def _refuse_other_topology(sources: Sources, machine: Machine) -> None:
    topology = machine.cpu_topology
    if sources.refused & {"cpus", "cpus_max"}:
        return
    most = machine.cpus if machine.cpus_max is None else machine.cpus_max
    if topology is not None and topology.cpus != most:
        name = "cpus" if machine.cpus_max is None else "cpus_max"
        rule = f"makes {topology.cpus} CPUs, and {name} says {most}"
        sources.refuse(sources.values["cpu_topology"].label, rule)
