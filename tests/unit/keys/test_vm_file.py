"""A file instead of etcd's keys."""

from itertools import pairwise

import pytest

from holdfast.errors import ConfigError
from holdfast.keys.vm_file import raw_from_file


def test_a_file_has_the_same_keys() -> None:
    text = """
        ram: 512
        power: off
        rng: true
        cpus: 010
        extra_flags: -name 'a b'
        mac: 52:54:00:12:34:56
        disks:
          root: {path: /images/a.raw, size: 1G}
          data/pool: default
        nics:
          nic0:
            dns: [1.1.1.1, 8.8.8.8]
        user_data: |
          #cloud-config
          packages: [nginx]
    """
    assert raw_from_file(text) == {
        "ram": b"512",
        "power": b"off",
        "rng": b"true",
        "cpus": b"010",
        "extra_flags": b"-name 'a b'",
        "mac": b"52:54:00:12:34:56",
        "disks/root/path": b"/images/a.raw",
        "disks/root/size": b"1G",
        "disks/data/pool": b"default",
        "nics/nic0/dns": b"1.1.1.1\n8.8.8.8",
        "user_data": b"#cloud-config\npackages: [nginx]\n",
    }


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("ram: 1\nram: 2\n", "ram: stands in the file twice (line 2)"),
        ("a: {b: 1}\na/b: 2\n", "a/b: stands in the file twice (line 2)"),
        ("a: {b: 1}\na: {b: 2}\n", "a/b: stands in the file twice (line 2)"),
        ("", "the file: must hold keys: `ram: 2G` and the like"),
        ("- a\n", "the file: must hold keys: `ram: 2G` and the like"),
        ("a: [[b]]\n", "a: must be text or a list of texts (line 1)"),
        ("[a]: b\n", "the file: must be text or a list of texts (line 1)"),
        ("a: &a {b: *a}\n", "the file: has an alias that holds itself (line 1)"),
        ("a: *b\n", "the file: is not YAML: found undefined alias (line 1)"),
        ("a: b\n c: d\n", "the file: is not YAML: mapping values are not allowed here (line 2)"),
        ("a: b\n---\nc: d\n", "the file: has a second document (line 2)"),
        ("a: \0", "the file: is not YAML"),
    ],
)
def test_a_bad_file(text: str, line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        raw_from_file(text)
    assert caught.value.lines() == [line]


def test_a_file_makes_no_objects() -> None:
    assert raw_from_file("ram: !!python/object/apply:os.getcwd []") == {"ram": b""}


def test_aliases_in_aliases_do_not_fill_the_memory() -> None:
    letters = "abcde"
    lines = ["a: &a {" + ", ".join(f"k{n}: x" for n in range(30)) + "}"]
    lines += [
        f"{letter}: &{letter} {{" + ", ".join(f"k{n}: *{before}" for n in range(30)) + "}"
        for before, letter in pairwise(letters)
    ]
    with pytest.raises(ConfigError, match="more than 20000 parts"):
        raw_from_file("\n".join(lines))
