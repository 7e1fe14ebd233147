"""A VM's keys at one revision of etcd; and a change of them, judged as a whole and written in one transaction."""

from collections.abc import Mapping
from contextlib import suppress

from holdfast.cli.check import check
from holdfast.config.settings import Settings
from holdfast.dataclass import dataclass, replace
from holdfast.errors import ConfigError
from holdfast.etcd.store import Denied, Store
from holdfast.etcd.txn import (
    Item,
    Range,
    Reply,
)
from holdfast.keys import is_passed_over
from holdfast.ownership.names import Names
from holdfast.policy.anywhere import anywhere

NOTE = "x/"
LONGEST = 1024 * 1024  # bytes of a value

Edit = Mapping[str, bytes | None]  # None: the key goes


@dataclass(frozen=True, kw_only=True)
class Definition:
    """`own` are the operator's keys. `defaults` and `pinned` are empty where a user of etcd may not read them."""

    settings: Settings
    names: Names
    seen: Reply
    own: Mapping[str, Item]
    defaults: Mapping[str, bytes]
    pinned: bytes = b""

    @property
    def vm(self) -> str:
        return self.settings.vm

    @property
    def runs(self) -> bool:
        return self.names.lock in self.seen.items

    def values(self) -> dict[str, bytes]:
        return {name: item.value for name, item in self.own.items()}

    def after(self, edit: Edit) -> dict[str, bytes]:
        together = {**self.values(), **edit}
        return {name: value for name, value in together.items() if value is not None}


def read(store: Store, settings: Settings, vm: str = "", *, revision: int = 0) -> Definition:
    """`vm` where it is another one than that of the settings; `revision` for how it was then."""
    if vm:
        settings = settings_of(settings, vm)
    names = Names.of(settings.prefix, settings.vm, settings.lock)
    keys = [
        Range(key=names.keys, prefix=True, revision=revision),
        Range(key=names.log, prefix=True, keys_only=True),
    ]
    if not names.lock.startswith(names.keys):
        keys.append(Range(key=names.lock))
    seen = store.read(*keys)
    more = _more(store, settings, names)
    return Definition(
        settings=replace(settings, overrides={}),
        names=names,
        seen=seen,
        own=_operators(seen, names),
        defaults=_below(settings.defaults_prefix, more),
        pinned=more[names.pinned].value if names.pinned in more else b"",
    )


def settings_of(settings: Settings, vm: str) -> Settings:
    """The same tree's, for another VM."""
    if vm == settings.vm:
        return settings
    return replace(settings, vm=vm, lock=f"{settings.prefix}/{vm}/lock")


def _operators(seen: Reply, names: Names) -> dict[str, Item]:
    return {
        name: item
        for key, item in sorted(seen.items.items())
        if key.startswith(names.keys) and key != names.lock
        for name in [key.removeprefix(names.keys)]
        if name.startswith(NOTE) or not is_passed_over(name)
    }


def _more(store: Store, settings: Settings, names: Names) -> Mapping[str, Item]:
    """What a tenant's user may not read, he need not have: launchers judge by it all the same."""
    found: dict[str, Item] = {}
    for one in (Range(key=settings.defaults_prefix, prefix=True), Range(key=names.pinned)):
        with suppress(Denied):
            found |= store.read(one).items
    return found


def _below(prefix: str, items: Mapping[str, Item]) -> dict[str, bytes]:
    return {
        key.removeprefix(prefix): item.value
        for key, item in items.items()
        if key.startswith(prefix)
    }


# -- judging


def edit_of(before: Mapping[str, bytes], after: Mapping[str, bytes]) -> dict[str, bytes | None]:
    """What makes the one of the other. A newline at the end of a value says nothing."""
    gone = {name: None for name in before if name not in after}
    changed = {
        name: value
        for name, value in after.items()
        if name not in before or _text(before[name]) != _text(value)
    }
    return {**gone, **changed}


def _text(value: bytes) -> bytes:
    return value.removesuffix(b"\n")


def faults(base: Definition, after: Mapping[str, bytes]) -> list[str]:
    """All that is wrong with the keys as they would be, wherever the VM may run."""
    keys = {**after, "pinned": base.pinned} if base.pinned else after
    everywhere = replace(base.settings, host_config=anywhere())
    return check(everywhere, keys, base.defaults)


def refuse_faults(base: Definition, after: Mapping[str, bytes]) -> list[str]:
    """What was wrong before hinders no change, and is returned."""
    found = faults(base, after)
    before = set(faults(base, base.values())) if found and base.own else set()
    if new := [line for line in found if line not in before]:
        told = "\n".join(f"VM {base.vm}: {line}" for line in new)
        raise ConfigError(told, hint="nothing was written")
    return [f"VM {base.vm}: {line} (as before)" for line in found]


def refuse_absent(base: Definition) -> None:
    if not base.own:
        raise ConfigError(
            f"there is no VM {base.vm}: no key is below {base.names.keys}",
            hint="`holdfast ls` names all; `holdfast create` makes one",
        )
