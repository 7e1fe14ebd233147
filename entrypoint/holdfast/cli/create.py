"""`holdfast create`: a VM from an image, in one transaction."""

import time
from argparse import Namespace
from collections.abc import Mapping, Sequence

from holdfast.cli import definition
from holdfast.cli.arguments import Parser
from holdfast.cli.definition import Definition
from holdfast.cli.outcome import started
from holdfast.cli.power import START
from holdfast.cli.set import pair, written
from holdfast.cli.subject import connected
from holdfast.cli.waiting import Switched, told
from holdfast.errors import UsageError
from holdfast.system.config_file import read

# An option, the key that it stands for, what it is.
OPTIONS = (
    ("--image", "disks/root/source/image", "URL or path of what the disk begins as"),
    ("--checksum", "disks/root/source/checksum", "of the image, as sha256sum prints it"),
    ("--disk", "disks/root/size", "the disk's size, such as 20G"),
    ("--pool", "disks/root/pool", "where the disk is made; without it in the host's default_pool"),
    ("--ram", "ram", "memory, such as 2G"),
    ("--cpus", "cpus", "virtual CPUs"),
    ("--bridge", "nics/nic0/bridge", "the bridge that its network card is on"),
    ("--host", "host", "the only hosts that may run it"),
)
KEY = "ssh_authorized_keys"


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    parser = Parser("create")
    parser.add_argument("vm", metavar="VM")
    for option, key, meaning in OPTIONS:
        parser.add_argument(option, dest=key, metavar="VALUE", help=f"{meaning} ({key})")
    parser.add_argument("--key", metavar="FILE", help=f"ssh keys that may log in ({KEY})")
    parser.add_argument("--set", metavar="KEY=VALUE", nargs="+", default=[], help="any other keys")
    parser.add_argument("--start", action="store_true", help="switched on; and wait until it runs")
    parser.add_argument("-m", "--why", default="", help="for `holdfast history`")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be written")
    given = parser.parse_args(arguments)
    given.json, given.no_wait, given.timeout = False, False, START
    with connected(given.vm, environ) as (config, store):
        base = definition.read(store, config)
        refuse_existing(base)
        began = time.monotonic()
        status = written(given, base, keys(given), store, environ, "create")
        if given.dry_run or not given.start:
            print(f"then: holdfast start {given.vm}")
            return status
        switched = Switched(base=base, revision=base.seen.revision, since=began, left=START)
        return told(given, store, switched, started)


def refuse_existing(base: Definition) -> None:
    if base.own or base.runs:
        raise UsageError(
            f"there is a VM {base.vm} already",
            hint=f"`holdfast show {base.vm}` prints it, `holdfast set {base.vm} KEY=VALUE` changes it",
        )


def keys(given: Namespace) -> dict[str, bytes]:
    found = {
        key: value.encode() for _, key, _ in OPTIONS if (value := getattr(given, key)) is not None
    }
    found["power"] = b"on" if given.start else b"off"
    if given.key:
        found[KEY] = read(given.key, "--key").encode()
    for name, value in map(pair, given.set):
        if name in found and name != "power":
            raise UsageError(f"{name} is given twice: once by its option, once by --set")
        found[name] = value
    return found
