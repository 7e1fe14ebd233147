"""A change as it is told before it is written: each key now and then, and when it acts."""

from collections.abc import Mapping

from holdfast.cli import change_record
from holdfast.cli.definition import NOTE, Definition, Edit
from holdfast.cli.sheet import Sheet


def acts(name: str, *, runs: bool, vm: str) -> str:
    """When a change of the key shows. Of a VM that runs the launcher follows `power`; all else is read at a start.

    >>> acts("ram", runs=True, vm="7"), acts("power", runs=True, vm="7"), acts("ram", runs=False, vm="7")
    ('at the next start: holdfast restart 7', 'now', 'when it starts')
    """
    if name.startswith(NOTE):
        return "a note: nothing acts on it"
    if name == "power":
        return "now"
    return f"at the next start: holdfast restart {vm}" if runs else "when it starts"


def rows(base: Definition, edit: Edit) -> list[list[str]]:
    before = base.values()
    found = change_record.changes(base.vm, before, edit)
    return [
        [
            name,
            change_record.brief(old),
            change_record.brief(new),
            acts(name, runs=base.runs, vm=base.vm),
        ]
        for name, (old, new) in found.items()
    ]


def lines(base: Definition, edit: Edit, sheet: Sheet) -> list[str]:
    return sheet.lines((base.vm, "NOW", "THEN", "ACTS"), rows(base, edit))


def as_json(base: Definition, edit: Edit, revision: int | None) -> Mapping[str, object]:
    found = change_record.changes(base.vm, base.values(), edit)
    told = {
        name: {"before": old, "after": new, "acts": acts(name, runs=base.runs, vm=base.vm)}
        for name, (old, new) in found.items()
    }
    return {"vm": base.vm, "revision": revision, "changes": told}
