"""Which QEMU options a VM's key `extra_flags` may have: a built-in list, or what host.toml's `args_allowlist` says.

A variable and the arguments are the operator's own: for them there is only what `extra_flags` refuses to everybody.
"""

from collections.abc import Sequence

from holdfast.grammar import Refused, identifier
from holdfast.keys import extra_flags
from holdfast.keys.extra_flags import Pair
from holdfast.policy.host_config import ANY, DEFAULT, HostConfig
from holdfast.qemu.argv import harmless
from holdfast.qemu.argv.bridge import DEFAULT_BRIDGE
from holdfast.qemu.argv.harmless import Form
from holdfast.qemu.option import Option

_NOT_LISTED = "is not in args_allowlist of host.toml"
_NOT_HARMLESS = (
    "is not among the options that a VM's keys may have by themselves (docs/keys.md)"
    '{instead}; args_allowlist = ["any"] in host.toml allows them all'
)
VFIO = "vfio-"
NONE: frozenset[str] = frozenset()
HEADS = {"device": "driver", "net": "type", "netdev": "type", "nic": "type"}


def permit(words: Sequence[str], allowed: Sequence[str] | None) -> None:
    """Each word that may be an option must be in the list, letter by letter: alone, and then with any
    value, or with the one value that it may have.
    """
    listed = frozenset((DEFAULT,) if allowed is None else allowed)
    if ANY in listed:
        return
    chardevs = _own_chardevs(words) if DEFAULT in listed else NONE
    for word, value in zip(words, [*words[1:], ""], strict=False):
        if not word.strip().startswith("-") or {word, f"{word} {value}"} & listed:
            continue
        if DEFAULT not in listed:
            raise Refused(_NOT_LISTED, part=word)
        name = extra_flags.bare(word)
        strange = _strange(name, value, chardevs)
        if strange is not None:
            instead = harmless.INSTEAD.get(strange) or harmless.INSTEAD.get(name)
            rule = _NOT_HARMLESS.format(instead=f": {instead}" if instead else "")
            raise Refused(rule, part=f"{word} {strange}".rstrip())


def _own_chardevs(words: Sequence[str]) -> frozenset[str]:
    """The ids of those that these flags make."""
    return frozenset(
        text
        for word, value in extra_flags.options(words)
        if extra_flags.bare(word) == "chardev"
        for key, text in Option("chardev", value).pairs("backend")
        if key == "id"
    )


def _strange(name: str, value: str, chardevs: frozenset[str]) -> str | None:
    """What is not known to be harmless: "" is the option itself; None: nothing."""
    if name in harmless.SWITCHES | harmless.TEXTS:
        return None
    if name in harmless.FORMS:
        return _of_form(name, harmless.FORMS[name], value, chardevs)
    if name == "global":
        return _of_global(value)
    if name == "cpu":
        return None if all(map(_is_feature, value.split(","))) else value
    known = (
        value in harmless.CHOICES.get(name, ())
        or (name in harmless.NUMBERS and _is_number(value))
        or (name in harmless.PLAIN and identifier.consists_of(value, identifier.WORD))
        or (name in harmless.CHARACTER_DEVICES and value in {f"chardev:{one}" for one in chardevs})
    )
    return None if known else _shown(name, value)


def _shown(name: str, value: str) -> str:
    """A value that may hold a password stays unsaid."""
    return value if name in harmless.CHOICES else ""


def _of_form(name: str, form: Form, value: str, chardevs: frozenset[str]) -> str | None:
    pairs = Option(name, value).pairs(form.head)
    heads = [text for key, text in pairs if form.head and key == form.head]
    kind = heads[0] if heads else ""
    if form.kinds is not None and (len(heads) != 1 or kind not in form.kinds):
        return kind
    if form.head == "type" and form.kinds is None and not all(map(_is_board, heads)):
        return ",".join(heads)
    known = form.properties | (form.kinds or {}).get(kind, NONE) | {"id", form.head or "id"}
    for key, text in pairs:
        if key not in known or not _is_harmless(name, key, text, chardevs):
            return f"{kind},{key}".lstrip(",")
    needed = harmless.NEEDED.get((name, kind), "")
    return f"{kind} without {needed}=on" if needed and needed not in dict(pairs) else None


def _is_harmless(name: str, key: str, value: str, chardevs: frozenset[str]) -> bool:
    if key in harmless.CHARDEVS:
        return value in chardevs
    if key == "id":
        return identifier.consists_of(value, identifier.WORD)
    return value in harmless.VALUES.get((name, key), (value,))


def _is_board(name: str) -> bool:
    """x-remote serves devices of its own to whoever holds its socket; xenpv is no machine of ours."""
    return identifier.consists_of(name, identifier.WORD) and not name.startswith(
        ("none", "x-", "xen")
    )


def _of_global(value: str) -> str | None:
    """`driver.property=value`, or the same as three properties."""
    pairs = Option("global", value).pairs()
    if len(pairs) == 1:
        ((name, text),) = pairs
        driver, _, key = name.partition(".")
    elif sorted(key for key, _ in pairs) == ["driver", "property", "value"]:
        driver, key, text = (text for _, text in sorted(pairs))
    else:
        return ""
    known = key in harmless.PROPERTIES | harmless.GLOBALS and key != "driver"
    if known and driver and _is_harmless("global", key, text, NONE):
        return None
    return f"{driver}.{key}"


def _is_feature(text: str) -> bool:
    """Of a CPU: its model, `+feature`, `-feature` or `feature=value`; no CPU has a property that names a file."""
    name, _, value = text.removeprefix("+").removeprefix("-").partition("=")
    allowed = identifier.WORD | {"+", ":", " "}
    return identifier.consists_of(name, identifier.WORD) and allowed.issuperset(value)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def govern(words: Sequence[str], host_config: HostConfig) -> None:
    """What host.toml allows by `usb`, `pci` and `bridges` is not allowed by `args_allowlist` as well."""
    for word, value in extra_flags.options(words):
        name = extra_flags.bare(word)
        if name in HEADS:
            _govern(name, word, Option(name, value).pairs(HEADS[name]), host_config)
        elif name in ("set", "global"):
            _refuse_afterthought(word, value)


def _govern(name: str, word: str, pairs: Sequence[Pair], host_config: HostConfig) -> None:
    for kind in [text for key, text in pairs if key == HEADS[name]]:
        try:
            _permit_kind(kind if name == "device" else f"net {kind}", pairs, host_config)
        except Refused as refused:
            raise Refused(refused.rule, part=f"{word} {kind}") from None


def _permit_kind(kind: str, pairs: Sequence[Pair], host_config: HostConfig) -> None:
    if kind.startswith(VFIO):
        for host in _values(pairs, "host"):
            host_config.permit_pci(identifier.pci_address(host))
    elif kind == "usb-host":
        vendors, products = _values(pairs, "vendorid"), _values(pairs, "productid")
        for vendor, product in zip(vendors, products, strict=False):
            host_config.permit_usb(f"{_digits(vendor)}:{_digits(product)}")
    elif kind in ("net tap", "net bridge"):
        for bridge in _named(pairs, kind):
            host_config.permit_bridge(bridge)


def _named(pairs: Sequence[Pair], kind: str) -> list[str]:
    found = [value for key, value in pairs if key in ("br", "ifname")]
    return found or ([DEFAULT_BRIDGE] if kind == "net bridge" else [])


def _values(pairs: Sequence[Pair], key: str) -> list[str]:
    found = [value for name, value in pairs if name == key]
    if len(found) != 1:
        raise Refused(f"must have {key} once: host.toml goes by it")
    return found


def _digits(number: str) -> str:
    """As lsusb has it: QEMU takes 0x951, and 2385 likewise."""
    try:
        return f"{int(number, 0):04x}"
    except ValueError:
        raise Refused(
            "must have vendorid and productid as numbers: host.toml goes by them"
        ) from None


def _refuse_afterthought(word: str, value: str) -> None:
    """It would name another device than the one that was looked at."""
    for key, text in Option("set", value).pairs():
        name = text if key == "property" else key
        if name.rpartition(".")[2] in ("br", "host", "ifname", "productid", "vendorid"):
            raise Refused(
                "is governed by usb, pci and bridges of host.toml: say it in -device or -netdev",
                part=word,
            )
