"""The shared folders of a VM, from their values."""

from collections.abc import Mapping

from holdfast.description.layers import Sources, Value, fields
from holdfast.grammar import Refused, identifier
from holdfast.machine import Share

MOST = 8  # functions of the slot in which they sit


def shares(sources: Sources) -> tuple[Share, ...]:
    given = sources.family("shares")
    found = [share for name, values in given.items() if (share := _share(sources, name, values))]
    if len(found) > MOST:
        sources.refuse("shares", f"{len(found)} shared folders, and there is room for {MOST}")
    _refuse_one_place(sources, found)
    return tuple(sorted(found, key=lambda share: identifier.natural(share.name)))


def _share(sources: Sources, name: str, values: Mapping[str, Value]) -> Share | None:
    if sources.is_faulty(f"shares/{name}/"):
        return None
    try:
        identifier.member(name)
    except Refused as refused:
        sources.faults.append(refused.fault(f"shares/{name}"))
        return None
    if "path" not in values:
        sources.refuse(f"shares/{name}/path", "is not set")
        return None
    return Share(name=name, **fields(values.values()))


def _refuse_one_place(sources: Sources, found: list[Share]) -> None:
    for number, share in enumerate(found):
        for other in found[:number]:
            if share.mount and share.mount == other.mount:
                rule = f"is where shares/{other.name} is mounted"
                sources.refuse(f"shares/{share.name}/mount", rule, share.mount)
