"""No value can break out of its place in QEMU's command."""

import json
import random

import pytest

from holdfast.errors import UsageError
from holdfast.qemu import printable
from holdfast.qemu.option import Option, nested, parsed, scan, split
from holdfast.qemu.spelling import as_json, escaped, keyed

ALPHABET = ",,,,==. -'\"\\:/@{}[]%$`\té€x"
ROUNDS = 2000


def values() -> list[str]:
    dice = random.Random(20)  # noqa: S311 - the same values at every run
    return ["".join(dice.choices(ALPHABET, k=dice.randrange(12))) for _ in range(ROUNDS)]


def read_value(text: str) -> tuple[str, str]:
    """QEMU's own rule, said differently from ours: letter by letter, two commas are one."""
    value, place = "", 0
    while place < len(text):
        if text[place] == ",":
            if text[place + 1 : place + 2] != ",":
                return value, text[place + 1 :]
            place += 1
        value += text[place]
        place += 1
    return value, ""


def test_qemu_reads_back_any_escaped_value() -> None:
    for value in values():
        assert read_value(f"{escaped(value)},next=1") == (value, "next=1")


def test_any_values_come_back_from_the_keyed_form() -> None:
    texts = values()
    for first, second in zip(texts, reversed(texts), strict=True):
        text = keyed("driver", a=first, b_c=second)
        assert split(text, "driver") == [("driver", "driver"), ("a", first), ("b-c", second)]


def test_any_value_comes_back_from_json() -> None:
    for value in values():
        assert json.loads(as_json({"driver": "raw", "file": value})) == {
            "driver": "raw",
            "file": value,
        }


def test_keyed_form_spells_switches_and_leaves_out_none() -> None:
    assert keyed("d", a=True, b=False, c=None, d=0, e="") == "d,a=on,b=off,d=0,e="
    assert keyed("", guest="a") == "guest=a"


def test_split_reads_a_later_bare_word_as_a_switch() -> None:
    assert split("bridge,br=x,helper", "type") == [
        ("type", "bridge"),
        ("br", "x"),
        ("helper", "on"),
    ]


def test_nested_follows_the_dots() -> None:
    assert nested([("driver", "raw"), ("file.driver", "file")]) == {
        "driver": "raw",
        "file": {"driver": "file"},
    }


def test_scan_knows_which_options_have_a_value() -> None:
    assert scan(["-S", "--name", "-x", "disk.img", "-snapshot", "-m", "1"]) == [
        Option("S"),
        Option("name", "-x"),
        Option("image", "disk.img"),
        Option("snapshot"),
        Option("m", "1"),
    ]


def test_scan_refuses_an_option_without_its_value() -> None:
    with pytest.raises(UsageError, match="-drive: needs a value"):
        scan(["-drive"])


def test_pairs_are_the_same_in_both_forms() -> None:
    keys = Option("blockdev", "driver=raw,file.driver=file,read-only=on")
    members = Option(
        "blockdev", '{"driver": "raw", "file": {"driver": "file"}, "read-only": true}'
    )
    assert keys.pairs() == members.pairs()


def test_broken_json_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="is not JSON"):
        Option("blockdev", "{").pairs()


def test_json_that_is_no_object_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="is not a JSON object"):
        parsed("[]")


@pytest.mark.parametrize(
    ("words", "shown"), [(["a.img"], "a.img"), (["--S"], "-S"), (["-m", "1"], "-m 1")]
)
def test_an_option_is_shown_as_it_is_typed(words: list[str], shown: str) -> None:
    assert str(scan(words)[0]) == shown


def test_printable_is_for_a_shell_one_option_a_line() -> None:
    text = printable(["qemu", "-name", "a b", "-S", "-append", "it's"])
    assert text == "qemu \\\n  -name 'a b' \\\n  -S \\\n  -append 'it'\"'\"'s'"
