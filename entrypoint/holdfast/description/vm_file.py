"""A VM's keys from a YAML file: nested mappings are the slashes of the keys, lists become lines."""

from collections.abc import Iterator, Mapping
from typing import Any

from holdfast.errors import ConfigError, Fault

DEEPEST = 6  # disks/<name>/source/image has four; an alias that holds itself has no end
MOST_KEYS = 10_000  # aliases in aliases make short files long


def raw_from_file(text: str) -> Mapping[str, bytes]:
    """All scalars stay as they are written: `power: off` is off, a MAC is no sexagesimal number."""
    import yaml  # noqa: PLC0415 - 13 ms, for VM_FILE only

    try:
        root = yaml.compose(text, Loader=yaml.BaseLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or "cannot be read"
        where = f"line {mark.line + 1}" if mark else "the file"
        raise ConfigError([Fault(key=where, rule=f"is not YAML: {problem}")]) from None
    if not isinstance(root, yaml.MappingNode):
        raise ConfigError([Fault(key="the file", rule="must hold keys: `ram: 2G` and the like")])
    return _collected(_leaves(root, ()))


def _collected(leaves: Iterator[tuple[str, Any, str]]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    faults = []
    for key, node, text in leaves:
        if key in found:
            rule = f"stands in the file twice (line {node.start_mark.line + 1})"
            faults.append(Fault(key=key, rule=rule))
        found[key] = text.encode()
        if len(found) > MOST_KEYS:
            raise ConfigError([Fault(key="the file", rule=f"has more than {MOST_KEYS} keys")])
    if faults:
        raise ConfigError(faults)
    return found


def _leaves(node: Any, path: tuple[str, ...]) -> Iterator[tuple[str, Any, str]]:
    for name_node, value in node.value:
        name = _scalar(name_node, path)
        here = (*path, name.strip("/"))
        if value.id == "mapping" and len(here) < DEEPEST:
            yield from _leaves(value, here)
        elif value.id == "sequence":
            yield "/".join(here), name_node, "\n".join(_scalar(item, here) for item in value.value)
        else:
            yield "/".join(here), name_node, _scalar(value, here)


def _scalar(node: Any, path: tuple[str, ...]) -> str:
    if node.id != "scalar":
        rule = f"must be text or a list of texts (line {node.start_mark.line + 1})"
        raise ConfigError([Fault(key="/".join(path) or "the file", rule=rule)])
    return str(node.value)
