"""A VM's keys as the text of a YAML file, which `vm_file` reads back as they were."""

from collections.abc import Iterator, Mapping

from holdfast.errors import ConfigError
from holdfast.grammar import Refused, decoded, identifier
from holdfast.keys.vm_file import DEEPEST

PLAIN = identifier.WORD | {"/", "+", "@"}  # what needs no quotes between letters and digits
BARE = identifier.LETTERS | identifier.DIGITS

Nested = dict[str, "Nested | str"]


def yaml_text(keys: Mapping[str, bytes]) -> str:
    """Raises ConfigError for a value that is no text. One newline at the end of a value says nothing, and goes."""
    faults, texts = [], {}
    for name, raw in sorted(keys.items()):
        try:
            texts[name] = decoded(raw)
        except Refused as refused:
            faults.append(refused.fault(name))
    if faults:
        raise ConfigError(faults, hint="a file of keys is text")
    return "".join(_lines(_nested(texts), ""))


def _nested(texts: Mapping[str, str]) -> Nested:
    """Slashes are mappings, unless one name would be both a value and a mapping."""
    root: Nested = {}
    for name, text in texts.items():
        parts = name.split("/")
        if not _is_nestable(name, texts):
            root[name] = text
            continue
        here = root
        for part in parts[:-1]:
            below = here.setdefault(part, {})
            assert isinstance(below, dict)  # noqa: S101 - `_is_nestable`
            here = below
        here[parts[-1]] = text
    return root


def _is_nestable(name: str, texts: Mapping[str, str]) -> bool:
    parts = name.split("/")
    above = ("/".join(parts[:end]) for end in range(1, len(parts)))
    clean = all(part and part == part.strip("/") for part in parts)
    return clean and len(parts) <= DEEPEST and not any(one in texts for one in above)


def _lines(level: Nested, indent: str) -> Iterator[str]:
    for name, value in level.items():
        if isinstance(value, dict):
            yield f"{indent}{_scalar(name)}:\n"
            yield from _lines(value, f"{indent}  ")
        elif _is_block(value):
            yield f"{indent}{_scalar(name)}: |-\n"
            yield from (f"{indent}  {line}\n" if line else "\n" for line in value.split("\n"))
        else:
            yield f"{indent}{_scalar(name)}: {_scalar(value)}\n"


def _is_block(value: str) -> bool:
    """Text of several lines that stays as it is when it is only indented."""
    first, *rest = value.split("\n")
    plain = all(line.replace("\t", " ").isprintable() for line in (first, *rest))
    return (
        bool(rest) and plain and bool(first) and first[0] not in " \t" and bool(rest[-1].strip())
    )


def _scalar(text: str) -> str:
    if text and text[0] in BARE and all(letter in PLAIN for letter in text):
        return text
    return '"' + "".join(map(_escaped, text)) + '"'


def _escaped(letter: str) -> str:
    if letter in '"\\':
        return f"\\{letter}"
    if letter.isprintable():
        return letter
    return f"\\U{ord(letter):08x}"
