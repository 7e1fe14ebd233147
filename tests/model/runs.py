"""The bounds at which spin checks the model, the mutants that it must catch, and how to run it.

A run passes when the search was complete: every state reached, none left out by a limit. All are
lossless (no hash compaction, no bitstate hashing) unless `compact` says otherwise.
"""

import re
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

MODEL = Path(__file__).with_name("ownership.pml")
MOVED = Path(__file__).with_name("move.pml")  # a VM of an older launcher
DEPTH = 20_000_000

OLDER_WROTE = (
    "older_has_written"  # an older tenure wrote after a newer one, or two VMs wrote a disk
)
SHUT_OUT = "owner_was_shut_out"  # an older owner, or another VM, put the owner on the blocklist
KILLED = "owner_was_killed"  # by itself, though etcd knew of no higher epoch
HIDDEN = "newer_was_hidden"  # a newer owner, by the records that an older one wrote back
BACK = "older_took_a_moved_vm"  # an older launcher, that nobody had given it back to
STANDS_STILL = "stands_still"  # nothing is left to do, and the VM does not run


@dataclass(frozen=True, kw_only=True)
class Bound:
    """What a search may take; the small ones need less than a minute."""

    memory: int = 8000  # MiB
    minutes: int = 30


@dataclass(frozen=True, kw_only=True)
class Run:
    """One search. Without FAULTS, any number of expiries, crashes, lost requests, ... happens."""

    name: str
    switches: Mapping[str, int] = field(default_factory=dict)
    cycles: bool = (
        False  # look for cycles: with FAULTS there must be none, so each run comes to its end
    )
    collapse: bool = False  # states are stored in parts: lossless, smaller and slower
    compact: bool = False  # hash-compacted: a state may be missed, with a small probability
    model: Path = MODEL


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """A rule left out, the run that passes with it, and what must be violated without it."""

    name: str
    base: Run
    violates: str = OLDER_WROTE
    deep: bool = False  # it is found late: that the compiler optimises pays


@dataclass(frozen=True, kw_only=True)
class Outcome:
    states: int
    depth: int
    complete: bool
    errors: int
    limits: tuple[str, ...]  # that the search has reached
    violated: str  # the assertion, in the model's words
    seconds: float
    said: str

    @property
    def passed(self) -> bool:
        return self.complete and not self.errors


LIMITS = {
    "time": "Time limit of",
    "memory": "reached -DMEMLIM bound",
    "depth": "max search depth too small",
}

ANY = {"UNBOUNDED": 1}
CORE = Run(name="two launchers, one late copy", switches=ANY)
COPIES = Run(name="two launchers, two late copies", switches={**ANY, "COPIES": 2})
CODE = Run(name="the record gathered with the lock", switches={**ANY, "GATHER_AT_LOCK": 1})
TWO_VMS = Run(name="two VMs, one disk", switches={**ANY, "VMS": 2, "CLIENTS": 5})
EPOCHS = Run(name="four epochs, numbered", switches={"EPOCHS": 4})
TWO_EPOCHS = Run(name="two epochs, numbered", switches={"EPOCHS": 2, "CLIENTS": 3})
ADDED = Run(
    name="a disk added, five faults",
    switches={"FAULTS": 5, "EPOCHS": 9, "DISKS": 2, "CLIENTS": 5},
)
PROGRESS = Run(name="the VM runs again, five faults", switches={"FAULTS": 5, "EPOCHS": 9})
ENDS = Run(name="every run ends, four faults", switches={"FAULTS": 4, "EPOCHS": 9}, cycles=True)
THREE = Run(
    name="three launchers, three faults",
    switches={"FAULTS": 3, "EPOCHS": 9, "LAUNCHERS": 3, "CLIENTS": 5},
)
# Past one tree of one etcd.
BOTH = {"VMS": 2, "GATHER_AT_LOCK": 1, "CLIENTS": 5}
FEW = {"FAULTS": 3, "EPOCHS": 9}
CLAIMED = {**BOTH, "TREES": 1, "IMAGE": 1}
LOOKED = {**BOTH, "TREES": 1, "LOOKS": 1}
CLONED = {**BOTH, "CLONES": 1}
RESTORED = {"IMAGE": 1, "GATHER_AT_LOCK": 1, "RESTORE": 1}
TREES = Run(name="two trees, claim in the image, three faults", switches={**CLAIMED, **FEW})
LOOKS = Run(name="two trees, the second look, two epochs", switches={**LOOKED, "EPOCHS": 2})
CLONES = Run(name="a clone with old copies, three faults", switches={**CLONED, **FEW})
RESTORE = Run(
    name="etcd restored or wiped, two faults", switches={**RESTORED, "FAULTS": 2, "EPOCHS": 9}
)

MOVE = Run(
    name="moved from older launchers, three faults", switches={"OLD": 1, "FAULTS": 3}, model=MOVED
)
MOVES = Run(name="two older launchers, two faults", switches={"FAULTS": 2}, model=MOVED)

SMALL = (
    *(CORE, COPIES, CODE, TWO_VMS, EPOCHS, TWO_EPOCHS, ADDED, PROGRESS, ENDS, THREE),
    *(TREES, LOOKS, CLONES, RESTORE, MOVE, MOVES),
)

LARGE = (
    Run(name="moved from two older launchers, four faults", switches={"FAULTS": 4}, model=MOVED),
    Run(name="two launchers, three late copies", switches={**ANY, "COPIES": 3}),
    Run(name="two VMs, two late copies", switches={**TWO_VMS.switches, "COPIES": 2}),
    Run(
        name="a disk added, any number of faults",
        switches={**ANY, "DISKS": 2, "CLIENTS": 5},
        collapse=True,
    ),
    Run(
        name="the VM runs again, eight faults",
        switches={**PROGRESS.switches, "FAULTS": 8, "EPOCHS": 12},
    ),
    Run(name="three launchers, four faults", switches={**THREE.switches, "FAULTS": 4}),
    Run(name="every run ends, six faults", switches={**ENDS.switches, "FAULTS": 6}, cycles=True),
    Run(
        name="every run ends, a disk added, four faults",
        switches={**ADDED.switches, "FAULTS": 4},
        cycles=True,
    ),
    Run(
        name="the VM runs again, ten faults",
        switches={**PROGRESS.switches, "FAULTS": 10, "EPOCHS": 14},
        collapse=True,
    ),
    Run(name="two trees, claim in the image", switches={**CLAIMED, **ANY}, collapse=True),
    Run(name="two trees, the second look", switches={**LOOKED, **ANY}),
    Run(name="a clone with old copies", switches={**CLONED, **ANY}),
    Run(name="one tree, claim in the image", switches={**ANY, "IMAGE": 1, "GATHER_AT_LOCK": 1}),
    Run(
        name="etcd restored or wiped, three faults",
        switches={**RESTORED, "FAULTS": 3, "EPOCHS": 14, "CLIENTS": 5},
        collapse=True,
    ),
    Run(
        name="etcd restored or wiped, two epochs",
        switches={**RESTORED, "EPOCHS": 2, "CLIENTS": 5},
        collapse=True,
    ),
    # These have not come to an end yet: docs/reliability.md says how far they came.
    Run(
        name="three launchers, five faults",
        switches={**THREE.switches, "FAULTS": 5},
        collapse=True,
    ),
    Run(
        name="two VMs, one adds the other's disk",
        switches={**ANY, "VMS": 2, "DISKS": 2, "CLIENTS": 6},
        compact=True,
    ),
    Run(
        name="three launchers, any number of faults",
        switches={**ANY, "LAUNCHERS": 3, "CLIENTS": 5},
        compact=True,
    ),
    Run(
        name="three launchers, two VMs",
        switches={**ANY, "LAUNCHERS": 3, "VMS": 2, "CLIENTS": 6},
        compact=True,
    ),
)

MUTANTS = (
    Mutant(name="NO_FENCE", base=CORE),
    Mutant(name="RECORD_AFTER_CONT", base=CORE),
    Mutant(name="FENCE_BEFORE_LOCK", base=CORE),
    Mutant(name="RECORD_UNCOMPARED", base=CORE),
    Mutant(name="EPOCH_UNCOMPARED", base=EPOCHS, deep=True),
    Mutant(name="DELETE_UNGUARDED", base=CORE),
    Mutant(name="CLAIMS_UNCOMPARED", base=TWO_VMS),
    Mutant(name="STORAGE_UNRECORDED", base=CORE),
    Mutant(name="ENTRY_EXPIRES", base=TWO_EPOCHS),
    Mutant(name="AGAIN_LOCK_ONLY", base=CORE),
    # beyond the ten that the protocol's text names
    Mutant(name="RESTART_UNFENCED", base=CORE, deep=True),
    Mutant(name="RELEASE_UNFENCED", base=CORE),
    Mutant(name="RECORD_LIVE_ONLY", base=ADDED, deep=True),
    Mutant(name="RELEASE_LEFTOVER", base=ADDED, deep=True),
    Mutant(name="TAKE_OVER_NOT_JOINED", base=TWO_VMS),
    Mutant(name="VERIFY_BEFORE_GATHER", base=CORE, violates=SHUT_OUT),
    Mutant(name="FENCE_BEFORE_CLAIM", base=TWO_VMS, violates=SHUT_OUT),
    Mutant(name="LEASE_STAYS", base=PROGRESS, violates=STANDS_STILL),
    # past one tree of one etcd
    Mutant(name="MARK_CHECKED", base=TREES),
    Mutant(name="MARK_RELEASED_EARLY", base=TREES),
    Mutant(name="FOREIGN_IGNORED", base=TREES, violates=SHUT_OUT),
    Mutant(name="FENCE_BEFORE_MARK", base=TREES, violates=SHUT_OUT),
    Mutant(name="NO_SECOND_LOOK", base=LOOKS),
    Mutant(name="OLD_COPIES_BELIEVED", base=CLONES, violates=SHUT_OUT),
    Mutant(name="NAME_UNCOMPARED", base=RESTORE),
    Mutant(name="STORAGE_UNNAMED", base=RESTORE),
    Mutant(name="VERIFIED_AT_ETCD_ONLY", base=RESTORE, violates=SHUT_OUT),
    Mutant(name="JUDGED_BY_REVISION", base=RESTORE, violates=KILLED),
    Mutant(name="WRITE_BACK_UNCOMPARED", base=RESTORE, violates=HIDDEN),
    # from older launchers
    Mutant(name="EPOCH_LEFT", base=MOVE, violates=BACK),
    Mutant(name="TOMBSTONES_RELEASED", base=MOVE, violates=BACK),
    Mutant(name="RECORD_LEFT_OUT", base=MOVE),
    Mutant(name="MOVED_IN_TWO", base=MOVE),
    Mutant(name="OLD_PLACES_UNCOMPARED", base=MOVE),
    Mutant(name="DOWNGRADE_UNCLEAN", base=MOVE),
)


def search(
    run: Run, mutant: str = "", bound: Bound = Bound(), *, quickly: bool = False
) -> Outcome:
    """Translate, compile and search, in a directory that goes away afterwards.

    `quickly` for a search that ends before the compiler's work would have paid.
    """
    switches = [f"-D{name}={value}" for name, value in run.switches.items()]
    if mutant:
        switches += ["-DMUTANT", f"-DM_{mutant}"]
    flags = ["-DNP" if run.cycles else "-DSAFETY", f"-DMEMLIM={bound.memory}"]
    flags += ["-DHC4"] if run.compact else []
    flags += ["-DCOLLAPSE"] if run.collapse else []
    with tempfile.TemporaryDirectory(prefix="model.") as directory:
        where = Path(directory)
        _done(["spin", "-a", *switches, str(run.model)], where)
        _done(["cc", "-O0" if quickly else "-O1", "-w", *flags, "-o", "pan", "pan.c"], where)
        limits = [*_limits(run), f"-Q{bound.minutes}"]
        return _outcome(_done(["./pan", *limits, *(["-l"] if run.cycles else [])], where))


def _limits(run: Run) -> list[str]:
    """The stack is taken at the start, 28 bytes a step; only runs without FAULTS are deep."""
    depth = 10_000 if "FAULTS" in run.switches else DEPTH if run.compact else 3_000_000
    return [f"-m{depth}"]


def _done(command: list[str], where: Path) -> str:
    """Its output. With the lowest priority: a search takes a core for itself."""
    done = subprocess.run(
        ["nice", "-n", "15", *command],
        cwd=where,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{command[0]} ended with {done.returncode}:\n{done.stdout[-4000:]}")
    return done.stdout


def _outcome(said: str) -> Outcome:
    limits = tuple(name for name, words in LIMITS.items() if words in said)
    violated = re.search(r"assertion violated\s+!\((\w+)\)", said)
    return Outcome(
        states=int(float(_number(r"([\d.e+]+) states, stored", said))),
        depth=int(_number(r"depth reached (\d+)", said)),
        errors=int(_number(r"errors: (\d+)", said)),
        complete="Search not completed" not in said and not limits,
        limits=limits,
        violated=violated[1] if violated else "",
        seconds=float(_number(r"elapsed time ([\d.e+]+) seconds", said)),
        said=said,
    )


def _number(pattern: str, said: str) -> str:
    found = re.search(pattern, said)
    return found[1] if found else "0"
