"""`holdfast image`: what this host has fetched, and the parents that its pools hold; removed only when asked."""

import json
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

from holdfast.cli.arguments import Parser
from holdfast.config import settings
from holdfast.config.settings import Settings
from holdfast.dataclass import dataclass
from holdfast.errors import UsageError
from holdfast.grammar import Refused
from holdfast.keys import image_source
from holdfast.policy.pool import DirectoryPool, RbdPool
from holdfast.system.config_file import host_toml


@dataclass(frozen=True, kw_only=True)
class Row:
    """`users` are the volumes that sit on it; an image of the cache has none."""

    where: str
    name: str
    size: int
    users: int
    place: str = ""


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    parser = Parser("image")
    parser.add_argument("action", choices=("ls", "fetch", "prune"))
    parser.add_argument("image", nargs="?", help="fetch: a path or a URL, as in source/image")
    parser.add_argument("--checksum", help="fetch: as in source/checksum")
    parser.add_argument("--member", help="fetch: as in source/member")
    parser.add_argument("--dry-run", action="store_true", help="prune: only say what would go")
    parser.add_argument("--json", action="store_true", help="for programs")
    given = parser.parse_args(arguments)
    if (given.action == "fetch") is not bool(given.image):
        parser.error("fetch needs an image, and nothing else takes one")
    config = settings.parse(environ, host_toml=host_toml(environ))
    acts = {"ls": ls, "fetch": fetch, "prune": prune}
    return acts[given.action](given, config)


def ls(given: Namespace, config: Settings) -> int:
    return print_rows([*cached(config), *(row for row, _ in goldens(config))], given)


def fetch(given: Namespace, config: Settings) -> int:
    """Before the first start needs it. The operator's own URL may lead to this very host."""
    from holdfast.machine import Source  # noqa: PLC0415 - `ls` needs none of it
    from holdfast.runtime.uid_claim import claim  # noqa: PLC0415 - likewise
    from holdfast.runtime.worker import idle  # noqa: PLC0415 - likewise
    from holdfast.storage.image.cache import Cache  # noqa: PLC0415 - likewise
    from holdfast.storage.pathname import ANYWHERE  # noqa: PLC0415 - likewise
    from holdfast.storage.volume import MOST  # noqa: PLC0415 - likewise

    try:
        source = Source(
            image=image_source.image(given.image),
            member=image_source.member(given.member) if given.member else "",
            checksum=image_source.checksum(given.checksum) if given.checksum else None,
            trusted=True,
        )
    except Refused as refused:
        raise UsageError([refused.fault("image fetch", given.image)]) from refused
    with ExitStack() as life:
        who = claim("image-fetch", None, life)
        cache = Cache(Path(config.host_config.image_cache), who, idle, ANYWHERE)
        found = cache.image(source, key="image fetch", limit=MOST)
    return print_rows(
        [Row(where="cache", name=found.name, size=found.size, users=0, place=found.place)], given
    )


def prune(given: Namespace, config: Settings) -> int:
    """Delete what can be fetched again; a parent goes only when no volume sits on it."""
    rows = [row for row in cached(config) if remove_cached(config, row, given)]
    rows += [row for row, remove in goldens(config) if not row.users and remove(given)]
    return print_rows(rows, given)


def cached(config: Settings) -> list[Row]:
    from holdfast.storage.image.cache import read_entry  # noqa: PLC0415 - each action loads its own

    root = Path(config.host_config.image_cache)
    places: dict[str, list[str]] = {}
    for entry in (root / "sources").glob("*.json"):
        if (found := read_entry(entry)) is not None:
            places.setdefault(found.name, []).append(found.place)
    images = [path for path in sorted(root.glob("*.*")) if path.is_file()]
    return [
        Row(
            where="cache",
            name=path.name,
            size=path.stat().st_blocks * 512,
            users=0,
            place=" ".join(sorted(places.get(path.name, ()))),
        )
        for path in images
    ]


def remove_cached(config: Settings, row: Row, given: Namespace) -> bool:
    """Whoever reads it has it open, and notices nothing. Its notes are passed over without it."""
    if not given.dry_run:
        (Path(config.host_config.image_cache) / row.name).unlink(missing_ok=True)
    return True


class Parent:
    """How one is removed: called with the arguments; False where somebody sits on it after all."""

    def __init__(self, pool: DirectoryPool | RbdPool, name: str, config: Settings) -> None:
        self._pool = pool
        self._name = name
        self._config = config

    def __call__(self, given: Namespace) -> bool:
        if isinstance(self._pool, DirectoryPool):
            from holdfast.storage.image.golden import is_open, remove  # noqa: PLC0415 - each action loads its own

            folder = Path(self._pool.path)
            if given.dry_run:
                return not is_open(folder / self._name)
            return remove(folder, self._name)
        if given.dry_run:
            return True
        with closing(Reach(self._pool, self._config)) as reach:
            return reach.cluster.remove_golden(reach.disk, self._name)


class Reach:
    """A pool of Ceph, as the disk of a VM that is none."""

    def __init__(self, pool: RbdPool, config: Settings) -> None:
        from holdfast.machine import Disk, RbdVolume  # noqa: PLC0415 - each action loads its own
        from holdfast.storage.ceph.cluster import Cluster  # noqa: PLC0415 - each action loads its own
        from holdfast.storage.ceph.keyring import find  # noqa: PLC0415 - each action loads its own

        volume = RbdVolume(
            pool=pool.pool, namespace=pool.namespace, image="none", access=pool.access
        )
        self.disk = Disk(name="none", backend=volume)
        self.cluster = Cluster([self.disk], find(Path(config.ceph_conf), access=pool.access))

    def close(self) -> None:
        self.cluster.close()


def goldens(config: Settings) -> Iterator[tuple[Row, Parent]]:
    for pool in config.host_config.pools.values():
        for name, size, users in of_pool(pool, config):
            yield (
                Row(where=pool.name, name=name, size=size, users=users),
                Parent(pool, name, config),
            )


def of_pool(pool: DirectoryPool | RbdPool, config: Settings) -> list[tuple[str, int, int]]:
    if isinstance(pool, DirectoryPool):
        from holdfast.storage.image.golden import found  # noqa: PLC0415 - each action loads its own

        there = found(Path(pool.path)) if Path(pool.path).is_dir() else []
        return [(one.path.name, one.size, len(one.children)) for one in there]
    with closing(Reach(pool, config)) as reach:
        return [
            (one["name"], one["size"], one["children"])
            for one in reach.cluster.goldens(reach.disk)
        ]


def print_rows(rows: Sequence[Row], given: Namespace) -> int:
    if given.json:
        print(json.dumps([vars(row) for row in rows]))
        return 0
    for row in rows:
        used = f"{row.users} volumes" if row.where != "cache" else row.place
        print(f"{row.where}\t{row.name}\t{row.size // 1024**2} MiB\t{used}")
    return 0
