"""`holdfast start`, `stop`, `restart`: by the key `power`, and what has become of it."""

import time
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence

from holdfast import log
from holdfast.cli import definition, transaction
from holdfast.cli.arguments import Parser
from holdfast.cli.definition import Definition
from holdfast.cli.outcome import started, stopped
from holdfast.cli.subject import connected
from holdfast.cli.waiting import Switched, told, waited
from holdfast.errors import Changed, HoldfastError, UsageError
from holdfast.etcd.store import Store
from holdfast.etcd.txn import Delete, Operation, Put, Range, Unchanged
from holdfast.grammar import Refused, decoded
from holdfast.keys import KEYS
from holdfast.ownership.records import decode_lock

START = 120.0  # seconds
SLACK = 60.0  # beside what the guest has to power down
TTL = 60  # of the `off` of a restart: should we be gone, the VM is on again
ON, OFF = b"on", b"off"


def start(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    given = parsed("start", arguments)
    return each(given, environ, switch_on)


def stop(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    given = parsed("stop", arguments)
    return each(given, environ, switch_off)


def restart(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    given = parsed("restart", arguments)
    if given.no_wait:
        raise UsageError(
            "restart waits: it starts what it has stopped", hint="leave out --no-wait"
        )
    return each(given, environ, again)


def parsed(command: str, arguments: Sequence[str]) -> Namespace:
    parser = Parser(command)
    parser.add_argument("vms", metavar="VM", nargs="+")
    parser.add_argument("-m", "--why", default="", help="for `holdfast history`")
    parser.add_argument(
        "--timeout", type=float, metavar="SECONDS", help="how long to wait for each"
    )
    parser.add_argument("--no-wait", action="store_true", help="only write the key")
    given = parser.parse_args(arguments)
    if given.timeout is not None and not 0 < given.timeout < 10**6:
        parser.error("--timeout must be a number of seconds above 0")
    return given


def each(
    given: Namespace,
    environ: Mapping[str, str],
    act: "Callable[[Namespace, Store, Definition], int]",
) -> int:
    """One VM after the other; what one comes to hinders no other. The last status that is not 0 counts."""
    status = 0
    for vm in dict.fromkeys(given.vms):
        try:
            with connected(vm, environ) as (config, store):
                base = definition.read(store, config)
                definition.refuse_absent(base)
                status = act(given, store, base) or status
        except HoldfastError as error:
            if len(given.vms) == 1:
                raise
            for line in error.lines():
                log.error(f"{vm}: {line}")
            status = error.status
    return status


def switch_on(given: Namespace, store: Store, base: Definition) -> int:
    if base.runs and is_on(base):
        print(f"{base.vm}  runs already on {_holder(base)}")
        return 0
    revision = transaction.write(store, base, {"power": ON}, "start", given.why)
    print(f"{base.vm}  power=on written (revision {revision})", flush=True)
    left = given.timeout or START
    return told(
        given,
        store,
        Switched(base=base, revision=revision, since=time.monotonic(), left=left),
        started,
    )


def switch_off(given: Namespace, store: Store, base: Definition) -> int:
    if not base.runs and not is_on(base):
        print(f"{base.vm}  is switched off already")
        return 0
    revision = transaction.write(store, base, {"power": OFF}, "stop", given.why)
    print(f"{base.vm}  power=off written (revision {revision})", flush=True)
    left = given.timeout or patience(base)
    return told(
        given,
        store,
        Switched(base=base, revision=revision, since=time.monotonic(), left=left),
        stopped,
    )


def again(given: Namespace, store: Store, base: Definition) -> int:
    """`off` on a lease: whatever becomes of this process, the VM is not left switched off by it."""
    if not base.runs:
        raise UsageError(f"VM {base.vm} does not run", hint=f"holdfast start {base.vm}")
    lease, _ = store.grant(TTL)
    key = base.names.power
    log_ = transaction.logged(base, transaction.record(base, {"power": OFF}, "restart", given.why))
    put = Put(key=key, value=OFF, lease=lease)
    reply = store.txn([Unchanged(key=key, revision=base.seen.revision_of(key))], [put, *log_])
    if not reply.succeeded:
        raise Changed(f"the power of VM {base.vm} was switched meanwhile; nothing was written")
    print(f"{base.vm}  power=off written for its restart (revision {reply.revision})", flush=True)
    switched = Switched(
        base=base,
        revision=reply.revision,
        since=time.monotonic(),
        left=given.timeout or patience(base),
    )
    down = waited(store, switched, stopped, up=False, tick=lambda: store.keep_alive(lease))
    revision = give_back(store, base, reply.revision)
    store.revoke(lease)
    if down.status:
        print(f"{base.vm}  {down.text}; it is on again, and starts when it is down")
        return down.status
    print(
        f"{base.vm}  is down after {time.monotonic() - switched.since:.1f} s; on again (revision {revision})",
        flush=True,
    )
    return told(
        given,
        store,
        Switched(
            base=base, revision=revision, since=time.monotonic(), left=given.timeout or START
        ),
        started,
    )


def give_back(store: Store, base: Definition, revision: int) -> int:
    """`power` as it was, but on."""
    key = base.names.power
    own = "power" in base.own or not is_on(base, own=False)
    back: Operation = Put(key=key, value=ON) if own else Delete(key=key)
    reply = store.txn([Unchanged(key=key, revision=revision)], [back], [Range(key=key)])
    item = reply.items.get(key)
    if reply.succeeded or item is None:
        return reply.revision
    raise Changed(
        f"the power of VM {base.vm} was switched meanwhile ({item.value[:16].decode(errors='replace')}); it stays so"
    )


def is_on(base: Definition, *, own: bool = True) -> bool:
    raw = base.defaults.get("power", ON)
    if own and "power" in base.own:
        raw = base.own["power"].value
    try:
        return str(KEYS["power"].parse(decoded(raw))) == "on"
    except Refused:
        return True


def patience(base: Definition) -> float:
    """The guest's own time to power down, and what comes after it."""
    raw = base.values().get("stop_timeout", base.defaults.get("stop_timeout", b"300"))
    try:
        return float(KEYS["stop_timeout"].parse(decoded(raw))) + SLACK
    except Refused:
        return 300 + SLACK


def _holder(base: Definition) -> str:
    return decode_lock(base.seen.items[base.names.lock].value)
