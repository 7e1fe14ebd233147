"""Roles for etcd's users, by what of a tree each may read and write. docs/security.md says what each is for.

etcd only ever allows, and ranges only: what is not to be written is a gap between two of them.
"""

from collections.abc import Sequence

from holdfast.dataclass import dataclass

READ, WRITE = "read", "readwrite"


@dataclass(frozen=True, kw_only=True)
class Grant:
    """All keys from `start` on, before `end`. Without one: the key `start`; or, if `below`, all that begin with it."""

    may: str
    start: str
    end: str = ""
    below: bool = False

    def words(self, role: str) -> list[str]:
        """Spell it for etcdctl."""
        what = ["--prefix", self.start] if self.below else [self.start, *filter(None, [self.end])]
        return ["role", "grant-permission", role, self.may, *what]


@dataclass(frozen=True, kw_only=True)
class Role:
    name: str
    user: str
    grants: Sequence[Grant]

    def commands(self) -> list[list[str]]:
        """Spell what makes it, and a user who has it, for etcdctl: a list of words for each command."""
        grants = [grant.words(self.name) for grant in self.grants]
        user = [["user", "add", self.user], ["user", "grant-role", self.user, self.name]]
        return [["role", "add", self.name], *grants, *user]


def after(text: str) -> str:
    """Return the first key behind all that begin with `text`."""
    return text[:-1] + chr(ord(text[-1]) + 1)


def launcher(tree: str) -> Role:
    """Describe a host that may run any VM: all but to write what is there for all VMs."""
    top, defaults = f"{tree}/", f"{tree}/_defaults/"
    grants = [
        Grant(may=WRITE, start=top, end=defaults),
        Grant(may=READ, start=defaults, below=True),
        Grant(may=WRITE, start=after(defaults), end=after(top)),
    ]
    return Role(name="launcher", user="launcher", grants=grants)


def operator(tree: str) -> Role:
    """Describe who defines VMs, and goes on where one waits."""
    grants = [Grant(may=WRITE, start=f"{tree}/", below=True)]
    return Role(name="operator", user="operator", grants=grants)


def operator_of(tree: str, start: str) -> Role:
    """Describe who defines all VMs whose names begin with `start`."""
    name = start.rstrip("-")
    kinds = {"": WRITE, "_run/": READ, "_last/": READ, "_log/": WRITE}
    ranges = {f"{tree}/{kind}{start}": may for kind, may in kinds.items()}
    grants = [Grant(may=may, start=key, end=after(key)) for key, may in ranges.items()]
    return Role(name=f"operator-{name}", user=name, grants=grants)


def tenant(tree: str, vm: str) -> Role:
    """Describe who writes the keys of one VM. The gaps are its lock, and what keeps older launchers off."""
    top = f"{tree}/{vm}/"
    gaps = [f"{top}{name}" for name in ("epoch", "fence", "lock")]
    starts, ends = [top, *map(after, gaps)], [*gaps, after(top)]
    grants = [
        Grant(may=READ, start=top, below=True),
        *(Grant(may=WRITE, start=one, end=end) for one, end in zip(starts, ends, strict=True)),
        Grant(may=WRITE, start=f"{tree}/_log/{vm}/", below=True),
        Grant(may=READ, start=f"{tree}/_run/{vm}"),
        Grant(may=READ, start=f"{tree}/_last/{vm}"),
    ]
    return Role(name=f"tenant-{vm}", user=f"tenant-{vm}", grants=grants)


def reader(tree: str) -> Role:
    """Describe who sees everything but the state of TPMs."""
    top, secret = f"{tree}/", f"{tree}/_secret/"
    grants = [
        Grant(may=READ, start=top, end=secret),
        Grant(may=READ, start=after(secret), end=after(top)),
    ]
    return Role(name="reader", user="reader", grants=grants)
