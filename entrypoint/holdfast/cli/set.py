"""`holdfast get`, `set`, `unset`: the keys of one VM."""

import json
import sys
from argparse import Namespace
from collections.abc import Mapping, Sequence

from holdfast import keys, log
from holdfast.cli import change_record, definition, edition, terminal, transaction
from holdfast.cli.arguments import Parser
from holdfast.cli.definition import Definition, Edit
from holdfast.cli.subject import connected
from holdfast.errors import ConfigError, Fault, UsageError
from holdfast.etcd.store import Store
from holdfast.system.config_file import read

SECRET = "(secret)"  # noqa: S105 - in place of one


def get(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    parser = Parser("get")
    parser.add_argument("vm", metavar="VM")
    parser.add_argument("key", metavar="KEY", nargs="?", help="its value, as it stands there")
    parser.add_argument(
        "--origin", action="store_true", help="with those of _defaults, and where each is from"
    )
    parser.add_argument("--json", action="store_true", help="an object: key, value, origin")
    given = parser.parse_args(arguments)
    with connected(given.vm, environ) as (config, store):
        base = definition.read(store, config)
    definition.refuse_absent(base)
    if given.key:
        return value(given, base)
    shown = listed(base, origin=given.origin)
    if given.json:
        print(
            json.dumps([dict(zip(("key", "value", "origin"), row, strict=True)) for row in shown])
        )
        return 0
    width = 3 if given.origin else 2
    head = ("KEY", "VALUE", "ORIGIN")[:width]
    print(*terminal.sheet(environ).lines(head, [row[:width] for row in shown]), sep="\n")
    return 0


def value(given: Namespace, base: Definition) -> int:
    """One that is asked for by its name is told, be it secret."""
    own, default = base.own.get(given.key), base.defaults.get(given.key)
    found = own.value if own else default
    if found is None:
        raise ConfigError(absent(base, given.key))
    origin = "own" if own else "_defaults"
    text = found.decode(errors="backslashreplace")
    if given.json:
        print(json.dumps({"key": given.key, "value": text, "origin": origin}))
        return 0
    sys.stdout.write(text if text.endswith("\n") else f"{text}\n")
    if given.origin:
        print(f"({origin})")
    return 0


def absent(base: Definition, key: str) -> str:
    row = keys.find(key)
    if row is None:
        return f"{key} {keys.complaint(key)}"
    return f"VM {base.vm} has no key {key}: it is as without one, {row.default}"


def listed(base: Definition, *, origin: bool) -> list[tuple[str, str, str]]:
    own = [(name, text(name, item.value), "own") for name, item in base.own.items()]
    others = [
        (name, text(name, raw), "_defaults")
        for name, raw in sorted(base.defaults.items())
        if origin and name not in base.own
    ]
    return own + others


def text(name: str, raw: bytes) -> str:
    return (
        SECRET
        if change_record.is_secret(name)
        else raw.decode(errors="backslashreplace").removesuffix("\n")
    )


def set_(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    parser = changing("set")
    parser.add_argument(
        "values",
        metavar="KEY=VALUE",
        nargs="+",
        help="KEY=@FILE takes a file's text, KEY=@- stdin's",
    )
    given = parser.parse_args(arguments)
    edit = dict(map(pair, given.values))
    if len(edit) != len(given.values):
        raise UsageError("a key is given twice")
    return changed(given, edit, environ, "set")


def unset(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    parser = changing("unset")
    parser.add_argument("keys", metavar="KEY", nargs="+")
    given = parser.parse_args(arguments)
    return changed(given, dict.fromkeys(given.keys), environ, "unset")


def changing(command: str) -> Parser:
    parser = Parser(command)
    parser.add_argument("vm", metavar="VM")
    parser.add_argument("-m", "--why", default="", help="for `holdfast history`")
    parser.add_argument(
        "--dry-run", action="store_true", help="only say what would change, and when it acts"
    )
    parser.add_argument("--json", action="store_true", help="what has changed, for programs")
    return parser


def pair(given: str) -> tuple[str, bytes]:
    """A key and its value, which may be a file's."""
    name, equals, content = given.partition("=")
    if not equals or not name:
        raise UsageError(
            f"{given}: must be KEY=VALUE",
            hint="an empty value is KEY=; `holdfast unset` deletes a key",
        )
    if content == "@-":
        return name.strip("/"), sys.stdin.buffer.read(definition.LONGEST + 1)
    if content.startswith("@"):
        return name.strip("/"), read(content[1:], name).encode()
    return name.strip("/"), content.encode(errors="surrogateescape")


def changed(given: Namespace, edit: Edit, environ: Mapping[str, str], command: str) -> int:
    with connected(given.vm, environ) as (config, store):
        base = definition.read(store, config)
        definition.refuse_absent(base)
        if missing := [name for name, to in edit.items() if to is None and name not in base.own]:
            raise ConfigError(
                [Fault(key=name, rule="is no key of the VM's own") for name in missing]
            )
        return written(given, base, edit, store, environ, command)


def written(
    given: Namespace,
    base: Definition,
    edit: Edit,
    store: Store,
    environ: Mapping[str, str],
    command: str,
) -> int:
    """Judged, told, and written if it is to be."""
    wanted = base.after(edit)
    real = definition.edit_of(base.values(), wanted)
    for line in definition.refuse_faults(base, wanted):
        log.warning(line)
    revision = None
    if real and not given.dry_run:
        revision = transaction.write(store, base, real, command, given.why)
    if given.json:
        print(json.dumps(edition.as_json(base, real, revision)))
    elif not real:
        print(f"{base.vm}: nothing to do")
    else:
        print(*edition.lines(base, real, terminal.sheet(environ)), sep="\n")
        print(f"written at revision {revision}" if revision else "nothing was written")
    return 0
