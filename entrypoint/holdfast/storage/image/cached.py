"""What the cache knows of an image that it has."""

from holdfast.dataclass import dataclass
from holdfast.grammar.url import shown
from holdfast.machine import Format, Source

NOTHING = {"etag": "", "modified": ""}


@dataclass(frozen=True, kw_only=True)
class Cached:
    """`size` is what a guest sees, in bytes. `place` says where it came from, without what may be secret."""

    sha256: str
    format: Format
    size: int
    place: str
    version: dict[str, str]
    stamp: str = ""  # of a file: it is another one when this has changed

    @property
    def name(self) -> str:
        return f"{self.sha256}.{self.format}"


def place_of(source: Source) -> str:
    return shown(source.image) if source.is_url else source.place
