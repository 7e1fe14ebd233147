"""Whatever a VM's keys say, QEMU is told nothing that was not meant, and a fault is a ConfigError.

Every hostile value carries a canary: a word that no option and no property of ours has. It may stand
in a value; where it comes out as the name of something, a value has broken out of its place.
"""

import os
import shlex
import string
from collections.abc import Mapping

import pytest
import yaml
from describing import encoded
from golden.case import CASES, wiring
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from unit.keys.test_keys import GOOD

from holdfast.cloudinit.nocloud import documents
from holdfast.config import settings as variables
from holdfast.description import describe
from holdfast.errors import ConfigError
from holdfast.host import Host, Kvm
from holdfast.keys import FAMILIES, KEYS
from holdfast.keys.extra_flags import DENIED
from holdfast.keys.vm_file import raw_from_file
from holdfast.machine import Machine
from holdfast.qemu import command_line
from holdfast.qemu.argv.refused import REASONS
from holdfast.qemu.option import SWITCHES, scan

HOST_TOML = """
image_paths = ["/images"]
share_paths = ["/srv"]
default_pool = "default"
[pools.default]
kind = "directory"
path = "/pool"
"""
HOST = Host(
    name="a",
    machine_id="m",
    boot_id="b",
    kvm=Kvm.usable,
    emulators={"aarch64": "/usr/bin/qemu-system-aarch64"},
)
CANARY = "canary"
# `make test-unit` tries a part of the values; `make test` all of them.
SHARE = int(os.environ.get("EXAMPLES_SHARE", "1"))
# Their value is one word to QEMU, whatever is in it.
OPAQUE = {"append", "initrd", "kernel", "uuid"}

FRAGMENTS = (
    f",{CANARY}=on", f",,{CANARY}=on", f",,,{CANARY}=on", f"\n-{CANARY}", f" -{CANARY}", f"-{CANARY}",
    f"--{CANARY}", f'json:{{"{CANARY}":1}}', f'","{CANARY}":"', f":{CANARY}", f"={CANARY}", f"{CANARY}=1",
    f",{CANARY}", "\0", "\n", "\r", "\t", "'", '"', "\\", "{", "}", "[", "%", "{{", "$(id)", "`", "#", "..",
    "/", ":", "\ufeff", "\u2028", "\u202e", "é", "😀", ",", "=", "-", "+", "0", "9" * 30, "file.locking=off",
)  # fmt: skip
MEMBERS = ("root", "root", "nic0", "b2", "a", f"a,{CANARY}=1", "-")


SOUND = {"disks/root/path": "/images/root", "nics/nic0/mode": "user", "shares/a/path": "/srv"}


def filled(name: str) -> st.SearchStrategy[str]:
    family, slash, _ = name.partition("/")
    if not slash:
        return st.just(name)
    assert family in FAMILIES
    return st.sampled_from([name.replace("<name>", member) for member in MEMBERS])


def broken(text: str) -> st.SearchStrategy[str]:
    """A good value with something in front, in the middle or behind."""
    pieces = st.sampled_from(FRAGMENTS)
    place = st.integers(0, len(text))
    return st.builds(lambda at, piece: text[:at] + piece + text[at:], place, pieces)


def value(name: str) -> st.SearchStrategy[str]:
    anything = st.lists(st.sampled_from([*FRAGMENTS, *string.ascii_lowercase]), max_size=6)
    return st.one_of(
        st.just(GOOD[name]), st.just(GOOD[name]), broken(GOOD[name]), anything.map("".join)
    )


def pair(name: str) -> st.SearchStrategy[tuple[str, str]]:
    return st.tuples(filled(name), value(name))


# Without extra_flags, which are QEMU's own options by intention: see below.
PAIRS = st.sampled_from(sorted(KEYS.keys() - {"extra_flags"})).flatmap(pair)
VMS = st.lists(PAIRS, min_size=1, max_size=3).map(lambda pairs: {**SOUND, **dict(pairs)})


@pytest.fixture(scope="module")
def names() -> set[str]:
    """The options that goldens have."""
    return {option.name for case in CASES for option in scan(case.argv()[1:])} | {"add-fd"}


def machine(own: Mapping[str, str]) -> Machine | None:
    config = variables.parse({"VM": "7"}, host_toml=HOST_TOML)
    try:
        return describe(config, encoded(own), {}).machine
    except ConfigError:
        return None


def built(subject: Machine, *, pasted: bool) -> list[str]:
    try:
        handed = () if pasted else (wiring(subject),)
        return command_line(subject, HOST, *handed)
    except ConfigError:
        return []


def no_canary_is_a_name(argv: list[str], names: set[str]) -> None:
    for option in scan(argv[1:]):
        assert option.name in names
        pairs = [] if option.name in OPAQUE or option.value is None else option.pairs("head")
        assert not [key for key, _ in pairs if CANARY in key], option


def vendor_data_is_what_was_said(subject: Machine) -> None:
    """Read back from its YAML it is what the keys said."""
    try:
        made = documents(subject, "")
    except ConfigError:
        return
    said = yaml.safe_load(made.vendor_data) or {}
    assert said.get("password", "") == subject.guest.password
    assert list(said.get("ssh_authorized_keys", [])) == list(subject.guest.ssh_authorized_keys)
    assert said.get("runcmd", [])[bool(subject.guest.env) :] == list(subject.guest.commands)
    assert CANARY not in said


@settings(
    max_examples=400 // SHARE,
    deadline=None,
    derandomize=True,  # the same everywhere: a fault is found by who makes it
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(own=VMS, pasted=st.booleans())
def test_no_value_breaks_out_of_its_place(
    own: dict[str, str], pasted: bool, names: set[str]
) -> None:
    subject = machine(own)
    if subject is not None:
        no_canary_is_a_name(built(subject, pasted=pasted), names)
        vendor_data_is_what_was_said(subject)


HOST_FILE = "/etc/shadow"
OPTIONS = (*sorted({*DENIED, *REASONS}), "device", "object", "chardev", "netdev", "machine", "global", "set", "serial", "fw_cfg",
           "spice", "vnc", "tpmdev", "append", "name", "smbios", "usb", "k", "unheard-of")  # fmt: skip
PLACES = (
    "", "file=", "a,file=", "a,file.filename=", "a,b,,c=", "driver=x,property=romfile,value=", "a.b.path=", "unix:",
    "a,b=c,,file=", "a=b,unheard=", "file:", "nofile=", "a,,", "x=json:", '{"a":"b","file":"', '{"a":[{"str":"',
)  # fmt: skip
# Here it is the guest's text, or a person's, and QEMU opens nothing.
SHOWN = {"append", "name", "smbios"}


def flag(name: str, place: str, dashes: str) -> list[str]:
    end = '"}]}' if "[" in place else '"}' if place.startswith("{") else ""
    return [f"{dashes}{name}", *([] if name in SWITCHES else [f"{place}{HOST_FILE}{end}"])]


FLAGS = st.lists(
    st.builds(flag, st.sampled_from(OPTIONS), st.sampled_from(PLACES), st.sampled_from(("-", "--"))),
    min_size=1, max_size=3,
)  # fmt: skip


@settings(max_examples=600 // SHARE, deadline=None, derandomize=True, database=None)
@given(flags=FLAGS)
def test_no_extra_flag_opens_a_file_or_takes_over(flags: list[list[str]]) -> None:
    """They stand at the end as they were given, or the VM is refused."""
    words = [word for one in flags for word in one]
    subject = machine({**SOUND, "extra_flags": shlex.join(words)})
    if subject is None:
        return
    argv = built(subject, pasted=True)
    assert argv[-len(words) :] == words
    for option in scan(words):
        assert option.name not in {*DENIED, *REASONS}
        assert option.name in SHOWN or HOST_FILE not in (option.value or ""), option


@settings(max_examples=100 // SHARE, deadline=None, derandomize=True, database=None)
@given(text=st.lists(st.sampled_from([*FRAGMENTS, "ram", "disks", "a", " ", "- ", "&a ", "*a"])).map("".join))  # fmt: skip
def test_no_file_of_keys_ends_otherwise_than_with_a_fault(text: str) -> None:
    try:
        raw = raw_from_file(text)
    except ConfigError:
        return
    assert all(isinstance(content, bytes) for content in raw.values())


def test_the_canary_would_be_seen(names: set[str]) -> None:
    for argv in (
        ["-drive", f"file=a,{CANARY}=on"],
        ["-blockdev", f'{{"driver":"raw","file":{{"{CANARY}":1}}}}'],
        ["-device", f"virtio-blk-pci,,,{CANARY}=1"],
        [f"-{CANARY}", "1"],
    ):
        with pytest.raises(AssertionError):
            no_canary_is_a_name(["qemu", *argv], {*names, "drive"})
