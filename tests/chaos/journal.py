"""The independent checker: reads a disk from outside and says what no two writers may have left there.

The guest (tests/guest, switch `write-journal`) puts a stamp every 100 ms into the next sector of a
journal, and the same stamp into sector 41. Each boot goes on `GAP` sectors behind the last stamp that
it found. So a stamp that was written too late stays for ever: in that gap, or in the middle of a
later writer's.
"""

import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

SECTOR = 512
FIXED = 41
FIRST = 128
GAP = 64

STAMP = re.compile(
    rb"holdfast-journal writer=(?P<writer>\S+) after=(?P<after>\d+) start=(?P<start>\d+)"
    rb" n=(?P<n>\d+) at=(?P<at>\d+) uptime=(?P<uptime>[\d.]+) *\n"
)


@dataclass(frozen=True, kw_only=True)
class Stamp:
    """`after` and `start` are its boot's: the last stamp that it found, and where it went on."""

    writer: str
    after: int
    start: int
    n: int
    at: int
    uptime: float


@dataclass(frozen=True, kw_only=True)
class Findings:
    stamps: int
    violations: tuple[str, ...]
    gaps: tuple[tuple[int, float], ...]  # a boot's stamp, and the time to its next

    def gap(self, after: int = 0, until: int = sys.maxsize) -> float:
        """The longest time between two stamps of one boot, on the guest's own clock."""
        return max((gap for n, gap in self.gaps if after <= n < until), default=0)


def check(disk: bytes, epochs: Mapping[str, int]) -> Findings:
    """`epochs`: which epoch each writer belongs to, as the launchers' logs tell it."""
    stamps: list[Stamp] = []
    faults: list[str] = []
    for sector, data in written(disk):
        stamp = parse(data)
        if stamp is None or stamp.at != sector:
            faults.append(f"sector {sector} is damaged: {data[:80]!r}")
        elif stamp.writer not in epochs:
            faults.append(f"sector {sector}: a writer that no launcher has started: {stamp}")
        else:
            stamps.append(stamp)
    faults += [*backwards(stamps, epochs), *torn(stamps), *late(stamps), *last(disk, stamps)]
    gaps = tuple(
        (one.n, two.uptime - one.uptime)
        for one, two in pairwise(stamps)
        if one.writer == two.writer
    )
    return Findings(stamps=len(stamps), gaps=gaps, violations=tuple(faults))


def written(disk: bytes) -> Iterator[tuple[int, bytes]]:
    blank = bytes(SECTOR)
    for sector in range(FIRST, len(disk) // SECTOR):
        data = disk[sector * SECTOR : (sector + 1) * SECTOR]
        if data != blank:
            yield sector, data


def parse(data: bytes) -> Stamp | None:
    found = STAMP.fullmatch(data)
    if found is None:
        return None
    text = {name: value.decode() for name, value in found.groupdict().items()}
    return Stamp(
        writer=text["writer"],
        uptime=float(text["uptime"]),
        **{name: int(text[name]) for name in ("after", "start", "n", "at")},
    )


def backwards(stamps: list[Stamp], epochs: Mapping[str, int]) -> Iterator[str]:
    """Epochs never go down along the journal."""
    for one, two in pairwise(stamps):
        if epochs[two.writer] < epochs[one.writer]:
            yield (
                f"sector {two.at}: epoch {epochs[two.writer]} wrote behind a stamp of"
                f" epoch {epochs[one.writer]}"
            )


def torn(stamps: list[Stamp]) -> Iterator[str]:
    """A boot's stamps follow one on another: nobody has written over them, none has got lost."""
    expected: dict[str, int] = {}
    for stamp in stamps:
        due = expected.get(stamp.writer, stamp.start)
        if stamp.at != due or stamp.n != stamp.at - stamp.start + 1:
            yield f"sector {stamp.at}: sector {due} should hold the next stamp of {stamp.writer}"
        expected[stamp.writer] = stamp.at + 1


def late(stamps: list[Stamp]) -> Iterator[str]:
    """Nothing was written between the moment when a boot looked and its own first stamp."""
    sectors = {stamp.at: stamp for stamp in stamps}
    for after, start in {(stamp.after, stamp.start) for stamp in stamps}:
        for sector in range(after + 1, start):
            if sector in sectors:
                yield f"sector {sector}: written after the next writer had begun: {sectors[sector]}"


def last(disk: bytes, stamps: list[Stamp]) -> Iterator[str]:
    """The fixed block is the last writer's, at the end of its journal."""
    if not stamps:
        return
    fixed = parse(disk[FIXED * SECTOR : (FIXED + 1) * SECTOR])
    newest = stamps[-1]
    if fixed is None or fixed.writer != newest.writer or newest.at - fixed.at not in (0, 1):
        yield f"sector {FIXED} holds {fixed}, and the journal ends with {newest}"
