"""Keys written as a file are read back as they were."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.errors import ConfigError
from holdfast.keys.vm_file import raw_from_file
from holdfast.keys.yaml_text import yaml_text

NAMES = st.sampled_from(
    [
        "ram",
        "a",
        "a/b",
        "a/b/c",
        "disks/root/size",
        "x/n/1/2/3/4/5/6",
        "true",
        "1",
        "x/ü",
        "power",
        "~",
        "- a",
    ]
)
PLAIN = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30)
AWKWARD = st.text("ab \n\t\r:#-'\"\\|>&*!%{}[],~\u2028\x85\xa0", max_size=30)


@given(
    st.dictionaries(
        NAMES, (PLAIN | AWKWARD).filter(lambda text: not text.startswith("\ufeff")), min_size=1
    )
)
def test_there_and_back(texts: dict[str, str]) -> None:
    raw = {name: text.encode() for name, text in texts.items()}
    expected = {name: value.removesuffix(b"\n") for name, value in raw.items()}
    assert raw_from_file(yaml_text(raw)) == expected


def test_it_is_a_text_for_people() -> None:
    keys = {
        "ram": b"2G",
        "disks/root/size": b"20G",
        "user_data": b"#cloud-config\npackages: [nginx]\n",
        "title": b"a: b",
    }
    assert yaml_text(keys) == (
        'disks:\n  root:\n    size: 20G\nram: 2G\ntitle: "a: b"\n'
        "user_data: |-\n  #cloud-config\n  packages: [nginx]\n"
    )


def test_what_is_no_text_is_refused_together() -> None:
    with pytest.raises(ConfigError) as refused:
        yaml_text({"a": b"\xff", "b": b"\0", "c": b"1"})
    assert [fault.key for fault in refused.value.faults] == ["a", "b"]
