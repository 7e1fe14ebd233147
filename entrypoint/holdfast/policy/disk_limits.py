"""[vms] and [templates] of host.toml: which disks, folders and pools a VM's keys may name.

A pattern is compared part by part: `*` stands for anything but a slash, `{vm}` for the VM's name. In a part with
`{vm}` a `*` stands for no `-` either: `{vm}-*` of the VM `a` is not `a-b-root`, which is the VM `a-b`'s.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from holdfast.dataclass import dataclass, fields
from holdfast.errors import Fault
from holdfast.grammar import Refused, identifier

VM = "{vm}"
BESIDE_VM = frozenset("-._")  # a sign that no `*` and no other VM's name can take for its own
VOLUME_PARTS, RBD_PARTS = (2,), (2, 3)


@dataclass(frozen=True, kw_only=True)
class Reach:
    """`paths` and `shares` name a file, or a folder with all in it; `rbd` images, `volumes` those of other VMs, that
    may be copied, as `pool/volume`; `take` the VMs whose disks may be taken over when they have crashed.
    """

    paths: tuple[str, ...] = ()
    shares: tuple[str, ...] = ()
    rbd: tuple[str, ...] = ()
    pools: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    take: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class DiskLimits:
    """`vms` are by patterns of VMs' names; None where host.toml has no [vms]: it leaves them all that the other
    limits do. `templates` anybody may read, and nobody writes to.
    """

    templates: Reach = Reach()
    vms: Mapping[str, Reach] | None = None

    def is_template(self, volume: str) -> bool:
        """`pool/volume`."""
        return names(self.templates.volumes, volume, "")

    def may_take(self, vm: str, owner: str) -> bool:
        """A disk that `owner` did not give up."""
        return self.vms is None or any(fits(one, owner, vm) for one in self.of(vm).take)

    def of(self, vm: str) -> Reach:
        """All tables whose pattern the name fits, together, with the name in its place."""
        found = [reach for name, reach in (self.vms or {}).items() if fits(name, vm)]
        return Reach(
            **{
                field.name: tuple(one for reach in found for one in getattr(reach, field.name))
                for field in fields(Reach)
            }
        )


def fits(pattern: str, text: str, vm: str = "") -> bool:
    """Of one part, without slashes.

    >>> fits("{vm}-*", "a-root", "a"), fits("{vm}-*", "a-b-root", "a"), fits("web*", "web-1")
    (True, False, True)
    """
    anything = "[^-]*" if VM in pattern else ".*"
    named = pattern.replace(VM, vm)
    words = anything.join(map(re.escape, named.split("*")))
    return re.fullmatch(words, text, flags=re.DOTALL) is not None


def names(patterns: Collection[str], place: str, vm: str) -> bool:
    """Whether one of the patterns is for this very place: `pool/image`."""
    return any(_all_fit(pattern.split("/"), place.split("/"), vm) for pattern in patterns)


def holds(patterns: Collection[str], path: str, vm: str) -> bool:
    """The same, of a path: what lies below what is named is named, too."""
    found = path.split("/")
    return any(
        _all_fit(wanted, found[: len(wanted)], vm)
        for wanted in (pattern.rstrip("/").split("/") for pattern in patterns)
    )


def _all_fit(wanted: list[str], found: list[str], vm: str) -> bool:
    return len(wanted) == len(found) and all(map(fits, wanted, found, [vm] * len(found)))


def overlaps(shares: Iterable[str], kept: Iterable[tuple[str, str]]) -> list[Fault]:
    """A guest writes into its share as root: links that lead elsewhere, and whatever it likes into what lies there.
    `kept` are folders with their names.
    """
    return [
        Fault(
            key="host.toml share_paths",
            value=share,
            rule=f"overlaps {name} ({path}): a guest that writes there would decide what other VMs open",
        )
        for name, path in kept
        for share in shares
        if f"{share}/".startswith(f"{path.rstrip('/')}/")
        or f"{path.rstrip('/')}/".startswith(f"{share}/")
    ]


def disk_limits(
    table: Mapping[str, Any], pools: Collection[str], faults: list[Fault]
) -> DiskLimits:
    """Of host.toml as a whole. Faults are added to the list."""
    templates = _Reading("templates", ("paths", "rbd", "volumes"), pools, faults)
    given = table.get("vms")
    if given is not None and not isinstance(given, Mapping):
        faults.append(Fault(key="host.toml vms", rule='must be tables: [vms."web-*"]'))
        given = {}
    known = tuple(field.name for field in fields(Reach))
    return DiskLimits(
        templates=templates.reach(table.get("templates", {})),
        vms=None
        if given is None
        else {
            name: _Reading(f'vms."{name}"', known, pools, faults).reach(one, name)
            for name, one in given.items()
        },
    )


class _Reading:
    def __init__(
        self, where: str, known: Collection[str], pools: Collection[str], faults: list[Fault]
    ) -> None:
        self.where = where
        self.known = known
        self.pools = pools
        self.faults = faults

    def reach(self, table: object, vms: str = "") -> Reach:
        if VM in vms:
            self.fault("", f"has no VM yet for {VM}: a * stands for anything", vms)
        self.judged("", vms, _vms)
        if not isinstance(table, Mapping):
            self.fault("", f"must be a table: [{self.where}]", table)
            return Reach()
        for name in sorted(table.keys() - set(self.known)):
            self.fault("", f"is none of {', '.join(self.known)}", name)
        return Reach(**{name: self.patterns(table, name) for name in self.known if name in table})

    def patterns(self, table: Mapping[str, Any], name: str) -> tuple[str, ...]:
        given = table[name]
        if not isinstance(given, list) or not all(isinstance(one, str) for one in given):
            self.fault(name, "must be a list of strings", given)
            return ()
        return tuple(one for one in given if self.judged(name, one, self.rule(name)))

    def rule(self, name: str) -> Callable[[str], None]:
        rules: dict[str, Callable[[str], None]] = {
            "paths": _path,
            "shares": _path,
            "rbd": _in_ceph,
            "pools": self.pool,
            "volumes": self.volume,
            "take": _vms,
        }
        return rules[name]

    def judged(self, name: str, pattern: str, rule: Callable[[str], None]) -> bool:
        try:
            rule(pattern)
            _marked(pattern, allowed=self.where != "templates")
        except Refused as refused:
            self.fault(name, refused.rule, pattern)
            return False
        return True

    def pool(self, name: str) -> None:
        if name not in self.pools:
            raise Refused(f"is not a pool of host.toml ({', '.join(self.pools) or 'none'})")

    def volume(self, pattern: str) -> None:
        _parts(pattern, VOLUME_PARTS, "pool/volume")
        self.pool(pattern.partition("/")[0])

    def fault(self, name: str, rule: str, value: object) -> None:
        key = f"host.toml {self.where}{'.' if name else ''}{name}"
        self.faults.append(Fault(key=key, value=str(value), rule=rule))


def _path(pattern: str) -> None:
    identifier.path(pattern.rstrip("/") or "/.")


def _in_ceph(pattern: str) -> None:
    _parts(pattern, RBD_PARTS, "pool/image or pool/namespace/image")


def _parts(pattern: str, numbers: tuple[int, ...], form: str) -> None:
    parts = pattern.split("/")
    if len(parts) not in numbers or not all(parts):
        raise Refused(f"must be {form}")


def _vms(pattern: str) -> None:
    allowed = identifier.LOWER | identifier.DIGITS | {"-", "*"}
    if not allowed.issuperset(pattern.replace(VM, "")):
        raise Refused("must be a VM's name, in which a * stands for anything")


def _marked(pattern: str, *, allowed: bool) -> None:
    """`{vm}` stands alone: of `{vm}*` nobody knows where the name ends."""
    first, *rest = pattern.split(VM)
    if rest and not allowed:
        raise Refused(f"is for all VMs, and has no place for {VM}")
    if any("{" in part or "}" in part for part in (first, *rest)):
        raise Refused(f"has braces: {VM} is all that may stand in them")
    for before, after in zip((first, *rest), rest, strict=False):
        signs = {before[-1:], after[:1]} - {"", "/"}
        if not signs <= BESIDE_VM:
            raise Refused(f"must have /, -, . or _ before and behind {VM}, or nothing")
