"""`make fuzz`: as many executions as are asked for, over all targets, and a table of them.

A find is written into the folder that is named, as a file of the input; it belongs into the corpus of its target.
"""

import argparse
import sys
import time
from pathlib import Path

from fuzz.running import run
from fuzz.targets import TARGETS, Target


def main() -> int:
    parser = argparse.ArgumentParser(prog="make fuzz")
    parser.add_argument("--executions", type=int, default=1_000_000, help="over all targets")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--only", help="the name of a target")
    parser.add_argument("--finds", type=Path, default=Path("fuzz-finds"))
    given = parser.parse_args()
    targets = [target for target in TARGETS if given.only in (None, target.name)]
    share = given.executions / sum(target.weight for target in targets)
    say(
        f"seed {given.seed}\n\n| target | executions | refused | finds | seconds |\n|---|---|---|---|---|"
    )
    found = [
        tried(target, given.seed, round(share * target.weight), given.finds) for target in targets
    ]
    return min(sum(found), 1)


def tried(target: Target, seed: int, executions: int, folder: Path) -> int:
    began = time.monotonic()
    outcome = run(target, seed=seed, executions=executions)
    seconds = round(time.monotonic() - began)
    say(
        f"| {target.name} | {outcome.executions:,} | {outcome.refused:,} | {len(outcome.finds)} | {seconds} |"
    )
    for number, (kind, data) in enumerate(outcome.finds.items()):
        folder.mkdir(exist_ok=True)
        path = folder / f"{target.name}-{number}"
        path.write_bytes(data)
        say(f"{target.name}: {kind}: {path}")
    return len(outcome.finds)


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
