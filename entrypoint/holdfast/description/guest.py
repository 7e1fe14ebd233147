"""How the guest is set up, from its values."""

from holdfast.dataclass import replace
from holdfast.description.layers import Sources, fields
from holdfast.grammar import Refused, identifier
from holdfast.keys.guest import GUEST
from holdfast.machine import Guest

DOCUMENTS = ("user_data", "meta_data", "network_config")
NETWORK = ("address", "gateway", "dns", "search")


def guest(sources: Sources) -> Guest:
    _refuse_two_networks(sources)
    given = fields(sources.values[key.name] for key in GUEST if key.name in sources.values)
    named = {
        name: replace(given[name], key=sources.values[name].label)
        for name in DOCUMENTS
        if given.get(name)
    }
    return Guest(env=_env(sources), **{**given, **named})


def _env(sources: Sources) -> tuple[tuple[str, str], ...]:
    given = {name: values[""] for name, values in sorted(sources.family("env").items())}
    for name, value in given.items():
        try:
            identifier.variable(name)
        except Refused as refused:
            sources.refuse(value.label, refused.rule)
    return tuple((name, value.content) for name, value in given.items())


def _refuse_two_networks(sources: Sources) -> None:
    """Of two that say different things one would be passed over without a word."""
    if "network_config" not in sources.values:
        return
    for nic, values in sources.family("nics").items():
        for name in NETWORK:
            if name in values:
                rule = f"says what nics/{nic}/{name} says: remove one of them"
                sources.refuse(sources.values["network_config"].label, rule)
