"""A VM's keys from a YAML file: nested mappings are the slashes of the keys, lists become lines."""

from collections.abc import Iterator, Mapping
from typing import Any

from holdfast.errors import ConfigError, Fault
from holdfast.grammar import Refused

DEEPEST = 6  # disks/<name>/source/image has four
MOST_KEYS = 10_000


def raw_from_file(text: str) -> Mapping[str, bytes]:
    """All scalars stay as they are written: `power: off` is off, a MAC is no sexagesimal number."""
    from holdfast.grammar import bounded_yaml  # noqa: PLC0415 - for a VM without etcd

    try:
        root = bounded_yaml.composed(text)
    except Refused as refused:
        raise ConfigError([refused.fault("the file")]) from None
    if root is None or root.id != "mapping":
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
