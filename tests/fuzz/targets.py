"""What reads other people's words, each with what it may say to them: a fault of ours, and nothing else."""

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from describing import HOST_TOML
from fuzz.agents import Agent
from fuzz.corpus import CORPORA, MEMBER, WORDS
from fuzz.fetched import fetcher
from fuzz.inputs import OURS, SCRATCH, pairs, text
from fuzz.kept import claims, moved, records

from holdfast import keys
from holdfast.cloudinit import document
from holdfast.config import settings
from holdfast.description import describe
from holdfast.description.template import rendered
from holdfast.errors import HoldfastError
from holdfast.etcd import message, response
from holdfast.grammar.url import Target as Url
from holdfast.keys import args_allowlist, extra_flags
from holdfast.keys.vm_file import raw_from_file
from holdfast.network import agent
from holdfast.policy.host_config import HostConfig
from holdfast.qmp.client import Qmp
from holdfast.qmp.monitor import Monitor
from holdfast.storage import image_head, qcow2
from holdfast.storage.image import unpack


@dataclass(frozen=True, kw_only=True)
class Target:
    """`weight`: how many executions for each one of the slowest, in a run of a given length."""

    name: str
    corpus: Sequence[bytes]
    run: Callable[[bytes], object]
    words: Sequence[bytes] = ()
    weight: int = 10


CONFIG = settings.parse({"VM": "7", "HOSTNAME": "a"}, host_toml=HOST_TOML)


def description(data: bytes) -> None:
    describe(CONFIG, pairs(data), {})


def defaults(data: bytes) -> None:
    describe(CONFIG, {"ram": b"1G"}, pairs(data))


def flags(data: bytes) -> None:
    """What passes has no word of what opens, connects or names: judged by text, not by our own tables."""
    words = extra_flags.parse(text(data))
    args_allowlist.permit(words, None)
    args_allowlist.govern(words, HostConfig())
    for option, value in zip(words, [*words[1:], ""], strict=False):
        assert option not in FORBIDDEN, words
        if option.lstrip("-") in ("append", "name", "smbios", "fw_cfg"):
            continue
        assert not any(part.startswith(HARMFUL) for part in value.split(",")), words
        assert option != "-device" or not value.startswith(("vhost", "usb-host")), words


FORBIDDEN = (
    "-drive",
    "-blockdev",
    "-qmp",
    "-mon",
    "-spice",
    "-vnc",
    "-set",
    "-tpmdev",
    "-fsdev",
    "-S",
    "-gdb",
)
HARMFUL = (
    "file=",
    "path=",
    "tcp:",
    "unix:",
    "socket",
    "fd=",
    "hostfwd",
    "/etc",
    "share-rw",
)


def grammars(data: bytes) -> None:
    """Each key's own parser, of the value behind its name."""
    name, _, value = data.partition(b"=")
    row = keys.KEYS.get(name.decode(errors="replace"))
    if row is not None:
        row.parse(value.decode())


def yaml(data: bytes) -> None:
    with suppress(*OURS):
        document.mapping(data.decode())
    raw_from_file(data.decode())


def url(data: bytes) -> None:
    Url.parsed(text(data))


def gateway(data: bytes) -> None:
    for decode in (
        message.reply,
        message.lease,
        message.remaining,
        message.revision,
        message.token,
    ):
        with suppress(*OURS), message.understood():
            decode(message.answer(200, data))
    with message.understood():
        message.change(data)


def http(data: bytes) -> None:
    """What a server says, in pieces that end anywhere; the connection takes OSError and ValueError for no answer."""
    pieces = iter([data[at : at + 7] for at in range(0, len(data), 7)])
    reader = response.Reader(lambda: next(pieces, b""))
    with suppress(OSError, ValueError):
        while True:
            head = response.head(reader)
            body = response.whole(reader, head)
            assert len(body) <= response.LARGEST
            list(response.lines([body]))


class _Loop:
    def watch(self, *_: object) -> None: ...

    def forget(self, *_: object) -> None: ...


def monitor(data: bytes) -> None:
    qmp = Qmp()
    try:
        qmp.theirs.sendall(data + b"\n")
        Monitor(qmp, _Loop(), lambda event, data: None).hear()  # type: ignore[arg-type]
    finally:
        qmp.close()


def greeting(data: bytes) -> None:
    """Of a QEMU that is being started."""
    qmp = Qmp()
    with qmp._ours, qmp.theirs.dup() as theirs:
        theirs.sendall(data + b"\n")
        theirs.shutdown(1)
        with suppress(HoldfastError):
            qmp.connect(5.0)


AGENT = Agent()


def guest(data: bytes) -> None:
    AGENT.say(data)
    agent.interfaces(AGENT.path)
    with suppress(ValueError, RecursionError):
        agent.parsed(json.loads(data))


def header(data: bytes) -> None:
    disk = SCRATCH / "disk.qcow2"
    disk.write_bytes(data)
    qcow2.header(disk)
    qcow2.parent(disk)


def archive(data: bytes) -> None:
    """A published image, packed or in an archive; the process that reads it has no rights, and one fault to tell."""
    image_head.unfit(data[: image_head.HEAD])
    (SCRATCH / "packed").write_bytes(data)
    with (SCRATCH / "packed").open("rb") as source, (SCRATCH / "image").open("wb") as target:
        for member in ("", MEMBER):
            with suppress(*OURS):
                unpack.unpack(source.fileno(), target.fileno(), member, 1 << 20, lambda _: None)


def host_toml(data: bytes) -> None:
    settings.parse({"VM": "7"}, host_toml=text(data))


def environment(data: bytes) -> None:
    settings.parse({name: text(value) for name, value in pairs(data).items()})


def template(data: bytes) -> None:
    rendered(text(data), vm="7", host="a", key="title")


RUNS: dict[str, tuple[int, Callable[[bytes], object]]] = {
    "keys": (4, description),
    "defaults": (3, defaults),
    "extra_flags": (10, flags),
    "grammars": (40, grammars),
    "records": (10, records),
    "moved": (10, moved),
    "claims": (10, claims),
    "fetcher": (10, fetcher),
    "yaml": (1, yaml),
    "url": (20, url),
    "gateway": (10, gateway),
    "http": (10, http),
    "monitor": (5, monitor),
    "greeting": (5, greeting),
    "agent": (2, guest),
    "qcow2": (10, header),
    "archives": (2, archive),
    "host.toml": (4, host_toml),
    "environment": (10, environment),
    "templates": (1, template),
}
TARGETS = tuple(
    Target(name=name, corpus=CORPORA[name], run=run, words=WORDS.get(name, ()), weight=weight)
    for name, (weight, run) in RUNS.items()
)
