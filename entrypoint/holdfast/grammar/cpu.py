"""How CPUs are written: which ones of the host, and how the guest's are arranged."""

from holdfast.dataclass import fields
from holdfast.grammar import Refused, whole
from holdfast.machine import Topology

MOST_CPUS = 255  # of `pc`; more need an IOMMU
LONGEST = 1024  # of a list: each of its ranges may be of thousands
HIGHEST = 8191  # the kernel's NR_CPUS on amd64, less one

_PARTS = tuple(field.name for field in fields(Topology))


def topology(text: str) -> Topology:
    """`sockets:1,cores:2,threads:2`, in any order; a part that is left out is 1."""
    given: dict[str, int] = {}
    for part in text.split(","):
        name, _, number = part.partition(":")
        if name not in _PARTS or name in given:
            raise Refused("must be like sockets:1,cores:2,threads:2, each of them once")
        given[name] = whole(1, MOST_CPUS)(number)
    return Topology(**given)


def cpu_set(text: str) -> tuple[int, ...]:
    """A list as in cpuset(7): `0-3,8`."""
    if len(text) > LONGEST:
        raise Refused(f"is longer than {LONGEST} characters", hidden=True)
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.partition("-")
        begin = _number(first)
        end = _number(last) if dash else begin
        if begin > end:
            raise Refused("has a range whose end is before its beginning", part=part)
        found.update(range(begin, end + 1))
    return tuple(sorted(found))


def _number(text: str) -> int:
    try:
        return whole(0, HIGHEST)(text)
    except Refused:
        rule = f"must be CPUs such as 0-3,8, from 0 to {HIGHEST}, without blanks"
        raise Refused(rule, part=text) from None


def spelled(cpus: tuple[int, ...]) -> str:
    """The shortest list of them.

    >>> spelled((0, 1, 2, 3, 8))
    '0-3,8'
    """
    runs: list[list[int]] = []
    for cpu in cpus:
        if runs and runs[-1][-1] == cpu - 1:
            runs[-1][-1:] = [runs[-1][-1], cpu] if len(runs[-1]) == 1 else [cpu]
        else:
            runs.append([cpu])
    return ",".join("-".join(map(str, run)) for run in runs)
