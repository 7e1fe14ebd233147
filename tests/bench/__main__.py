"""`make bench`: measure everything, keep the raw figures, write the report.

With names of parts, only these are measured anew, and the rest is taken from the figures kept.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench import costs, density, disk, firewall, image, launch, report, takeover
from bench.lab import built, machine
from bench.ways import libvirtd

DOCS = Path(__file__).parents[2] / "docs"
RAW = DOCS / "benchmarks" / "raw.json"
PARTS: dict[str, Callable[[Any], Any]] = {
    "launch": launch.measure,
    "firewall": firewall.measure,
    "costs": costs.measure,
    "takeover": takeover.measure,
    "disk": disk.measure,
    "density": density.measure,
    "image": lambda _: image.measure(),
}


def main(wanted: Iterable[str]) -> None:
    began = time.monotonic()
    RAW.parent.mkdir(exist_ok=True)
    raw = json.loads(RAW.read_text(encoding="utf-8")) if RAW.exists() else {}
    raw |= {
        "when": datetime.now(UTC).strftime("%-d %B %Y"),
        "commit": commit(),
        "machine": machine(),
    }
    scratch = Path(tempfile.gettempdir())
    with libvirtd(scratch), built(scratch) as lab:
        for part in wanted:
            print(f"bench: {part}, {time.monotonic() - began:.0f} s", flush=True)  # noqa: T201
            raw[part] = PARTS[part](lab)
            raw["minutes"] = (time.monotonic() - began) / 60
            RAW.write_text(json.dumps(raw, indent=1) + "\n", encoding="utf-8")
    report.write(raw, DOCS)
    print(f"bench: {DOCS}/benchmarks.md, after {raw['minutes']:.1f} minutes")  # noqa: T201


def commit() -> str:
    said = subprocess.run(
        ["git", "-c", f"safe.directory={DOCS.parent}", "describe", "--always", "--dirty"],
        cwd=DOCS,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ},
    )
    return said.stdout.strip() or "unknown"


if __name__ == "__main__":
    unknown = set(sys.argv[1:]) - set(PARTS)
    if unknown:
        sys.exit(f"bench: there is no {', '.join(sorted(unknown))}; parts are {', '.join(PARTS)}")
    main(sys.argv[1:] or PARTS)
