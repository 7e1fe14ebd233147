"""What is on its way of one source: `partial/<id>...` of the cache."""

import json
from pathlib import Path

from holdfast.dataclass import dataclass
from holdfast.machine import Source
from holdfast.storage.image.cached import NOTHING, Cached


@dataclass(frozen=True, kw_only=True)
class FetchRequest:
    """One fetch: `opened` is the file, or what has been downloaded of it; `known` what the cache has; `limit` bytes."""

    source: Source
    key: str
    limit: int
    opened: int
    stamp: str
    known: Cached | None


class Partial:
    def __init__(self, root: Path, name: str) -> None:
        self._folder = root / "partial"
        self._name = name

    def path(self, suffix: str) -> Path:
        return self._folder / f"{self._name}{suffix}"

    def version(self) -> dict[str, str]:
        """Read which version of the source this is a part of."""
        try:
            found = json.loads(self.path(".json").read_text(encoding="utf-8"))
            return {key: str(found[key]) for key in NOTHING}
        except (OSError, ValueError, KeyError, TypeError):
            return dict(NOTHING)

    def note(self, version: dict[str, str]) -> None:
        """Write down the version: a later try goes on only with the same one."""
        self.path(".json").write_text(json.dumps(version), encoding="utf-8")

    def forget(self) -> None:
        """Take away what is no good beginning, or whole by now."""
        for suffix in (".part", ".json"):
            self.path(suffix).unlink(missing_ok=True)
