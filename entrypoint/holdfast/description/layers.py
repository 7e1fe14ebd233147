"""Where a value comes from: a variable, else the VM's own key, else `_defaults`."""

from collections.abc import Iterable, Mapping
from enum import IntEnum
from typing import Any

from holdfast import keys
from holdfast.config.environment import advice
from holdfast.config.settings import OVERRIDES, Settings
from holdfast.dataclass import dataclass, field, replace
from holdfast.description import template
from holdfast.errors import ConfigError, Fault, legible
from holdfast.grammar import Refused, decoded
from holdfast.keys import Key

MOST_UNKNOWN = 32  # told of one by one
MOST_MEMBERS = (
    64  # of a family but `env`: more than any board has room for, each judged beside each other
)
MOST_KEYS = 1000  # all that can be said of 40 disks
VARIABLES = {key: variable for variable, key in OVERRIDES.items()}


class Layer(IntEnum):
    """The higher one counts."""

    defaults = 0
    own = 1
    variable = 2


@dataclass(frozen=True, kw_only=True)
class Value:
    """A parsed value. `label` is how a fault names its place, `fills` the field it is for, if any."""

    label: str
    layer: Layer
    fills: str
    is_hardware: bool
    content: Any = field(repr=False)


class Sources:
    """The layers, added from the highest to the lowest.

    `values` are by what they are for: `rbd` is found as `disks/root/rbd`.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.values: dict[str, Value] = {}
        self.refused: set[str] = set()
        self.unknown: list[str] = []
        self.faults: list[Fault] = []

    def add(self, layer: Layer, raw: Mapping[str, bytes]) -> None:
        names = sorted(name for name in raw if not self.is_passed_over(name))
        if len(names) > MOST_KEYS:
            place = (
                self.settings.defaults_prefix
                if layer is Layer.defaults
                else self.settings.vm_prefix
            )
            rule = f"{len(names)} keys, and a VM may have {MOST_KEYS}; notes belong under x/"
            raise ConfigError([*self.faults, Fault(key=place, rule=rule)])
        self.refuse_crowds(names)
        decided = {*self.values, *self.refused}
        for name in names:
            row = keys.find(name)
            if row is None:
                self.complain(layer, name)
            elif (row.same_as or name) not in decided and self.is_heeded(row):
                self.read(layer, name, row, raw[name])

    def refuse_crowds(self, names: Iterable[str]) -> None:
        members: dict[str, set[str]] = {}
        for name in names:
            family, _, rest = name.partition("/")
            members.setdefault(family, set()).add(rest.partition("/")[0])
        for family in keys.FAMILIES:
            if family != "env" and len(found := members.get(family, ())) > MOST_MEMBERS:
                rule = f"{len(found)} of them, and a VM may have {MOST_MEMBERS}"
                raise ConfigError([*self.faults, Fault(key=family, rule=rule)])

    def complain(self, layer: Layer, name: str) -> None:
        """To look for what was meant takes a while, and says nothing new in the end."""
        if len(self.unknown) < MOST_UNKNOWN:
            self.unknown.append(f"{labelled(name, layer)}: {keys.complaint(name)}")
        elif len(self.unknown) == MOST_UNKNOWN:
            self.unknown.append("and more keys that are none of a VM")

    def is_passed_over(self, name: str) -> bool:
        return keys.is_passed_over(name) or self.settings.key(name) == self.settings.lock

    def is_heeded(self, row: Key) -> bool:
        """QEMU's own options replace the description, but not whether the VM is to run, and where."""
        return row.with_options or not self.settings.options

    def read(self, layer: Layer, name: str, row: Key, raw: bytes) -> None:
        purpose, label = row.same_as or name, labelled(name, layer)
        try:
            content = self.parsed(layer, name, row, raw)
        except Refused as refused:
            fault = refusal(label, row, raw, refused)
            if layer is Layer.variable and (
                hint := advice(VARIABLES[name], raw.decode(errors="replace"))
            ):
                fault = replace(fault, rule=f"{fault.rule} ({hint})")
            self.faults.append(fault)
            self.refused.add(purpose)
            return
        other = self.values.get(purpose)
        if other and other.content != content:
            rule = f"says something else than {other.label}, another name of the same thing"
            self.refuse(label, rule)
        self.values[purpose] = Value(
            label=label,
            layer=layer,
            fills=keys.KEYS[keys.row_name(purpose)].field,
            is_hardware=row.hardware,
            content=content,
        )

    def parsed(self, layer: Layer, name: str, row: Key, raw: bytes) -> Any:
        text = decoded(raw)
        if layer is Layer.defaults:
            text = template.rendered(text, vm=self.settings.vm, host=self.settings.host, key=name)
        content = row.parse(text)
        # What a variable says is the operator's own word, as host.toml is.
        if row.permit and layer is not Layer.variable:
            row.permit(self.settings.host_config, content)
        return content

    def family(self, name: str) -> dict[str, dict[str, Value]]:
        """The values of all disks, or of all network cards: by member, then by property."""
        members: dict[str, dict[str, Value]] = {}
        for key, value in self.values.items():
            family, _, rest = key.partition("/")
            if family == name:
                member, _, tail = rest.partition("/")
                members.setdefault(member, {})[tail] = value
        return members

    def refuse(self, label: str, rule: str, value: str | None = None) -> None:
        self.faults.append(Fault(key=label, value=value, rule=rule))

    def is_faulty(self, prefix: str) -> bool:
        return any(name.startswith(prefix) for name in self.refused)


def gather(settings: Settings, own: Mapping[str, bytes], defaults: Mapping[str, bytes]) -> Sources:
    sources = Sources(settings)
    overrides = {
        key: text.encode(errors="surrogateescape") for key, text in settings.overrides.items()
    }
    sources.add(Layer.variable, overrides)
    sources.add(Layer.own, own)
    sources.add(Layer.defaults, defaults)
    return sources


def refusal(label: str, row: Key, raw: bytes, refused: Refused) -> Fault:
    if row.secret:
        # What follows a colon may quote the value.
        return Fault(key=label, rule=refused.rule.partition(":")[0])
    return refused.fault(label, raw.decode(errors="backslashreplace"))


def labelled(name: str, layer: Layer) -> str:
    """The key as the reader of a fault has to look for it."""
    plain = legible(name, keys.LONGEST_NAME)
    if layer is Layer.variable:
        return f"{plain} ({VARIABLES[name]})"
    return f"{plain} (_defaults)" if layer is Layer.defaults else plain


def fields(values: Iterable[Value]) -> dict[str, Any]:
    return {value.fills: value.content for value in values if value.fills}
