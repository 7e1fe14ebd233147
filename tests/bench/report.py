"""The raw figures as a page to read."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2

from bench import plots
from bench.costs import STARTS
from bench.disk import JOBS, ROUNDS, SIZE
from bench.firewall import WITH, WITHOUT
from bench.lab import RAM
from bench.spread import Spread, quartiles, ratio, slope

HERE = Path(__file__).parent
BARE, BARE_IN_CONTAINER = "bare QEMU", "docker run of bare QEMU"
SMALL = 1.0  # MB; packages below are added up

Raw = Mapping[str, Any]


def write(raw: Raw, docs: Path) -> None:
    pictures = docs / "benchmarks"
    plots.launch(raw["launch"], pictures / "launch.svg")
    plots.phases(raw["costs"]["phases"], pictures / "phases.svg")
    plots.growth(raw["density"], pictures / "growth.svg")
    plots.disk(raw["disk"], pictures / "disk.svg")
    (docs / "benchmarks.md").write_text(page(raw), encoding="utf-8")


def page(raw: Raw) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - Markdown of our own figures
    )
    return environment.get_template("report.md.j2").render(
        raw=raw,
        launch={kind: compared(ways) for kind, ways in raw["launch"].items()},
        budgets=budgets(raw),
        firewall={what: fenced(raw["firewall"][what]) for what in ("times", "work")},
        growth=growth(raw["density"]),
        disk={kind: rates(ways) for kind, ways in raw["disk"].items()},
        jobs=list(JOBS),
        packages=packages(raw["image"]["packages"]),
        takeover={what: quartiles(times) for what, times in raw["takeover"].items()},
        phases=phases(raw["costs"]["phases"]),
        ram=RAM,
        starts=STARTS,
        size=SIZE >> 20,
        rounds=ROUNDS,
    )


def compared(ways: Mapping[str, list[float]]) -> dict[str, tuple[Spread, Spread]]:
    """The times of each way, and their ratio to QEMU alone: in a container where it is in one."""
    return {
        name: (
            quartiles(times),
            ratio(times, ways[BARE_IN_CONTAINER if name.startswith("docker") else BARE]),
        )
        for name, times in ways.items()
    }


def fenced(ways: Mapping[str, list[float]]) -> tuple[Spread, Spread]:
    """What the firewall takes of a launch: in milliseconds, and the ratio to one without."""
    more = [1000 * (one - other) for one, other in zip(ways[WITH], ways[WITHOUT], strict=True)]
    return quartiles(more), ratio(ways[WITH], ways[WITHOUT])


def budgets(raw: Raw) -> list[tuple[str, str, str, bool]]:
    """What, the limit, what was measured, whether it is kept."""
    launch = {kind: compared(ways) for kind, ways in raw["launch"].items()}
    many = raw["density"]["containers"][-1]
    rows = [
        ("launch, over bare QEMU", 2.0, launch["file"]["Holdfast"][1].middle, "x"),
        (
            "`docker run`, over `docker run` of bare QEMU",
            1.5,
            launch["file"]["docker run of Holdfast"][1].middle,
            "x",
        ),
        (
            "the same with its disk in Ceph",
            1.5,
            launch["Ceph"]["docker run of Holdfast"][1].middle,
            "x",
        ),
        ("the firewall, of a launch", 10.0, fenced(raw["firewall"]["times"])[0].middle, "ms"),
        (f"memory beside QEMU, {many['vms']} VMs", 20.0, many["beside"], "MiB"),
        ("requests to etcd for a start", 8, raw["costs"]["start"]["requests to etcd"], ""),
        ("takeover after a clean stop", 1.0, max(raw["takeover"]["stopped"]), "s at the most"),
        ("image, compressed", 110, raw["image"]["compressed"], "MB"),
        ("a launcher's processor time while its VM is idle", 0.1, many["processor"], "% of one"),
    ]
    return [
        (what, f"{limit:g} {unit}".strip(), f"{found:.3g} {unit}".strip(), found <= limit)
        for what, limit, found, unit in rows
    ]


def growth(density: Raw) -> dict[str, dict[str, tuple[float, float]]]:
    """Of each series the line through its points: by VM, and how much of the spread that explains."""
    found = {}
    for name, rows in density.items():
        counts = [row["vms"] for row in rows]
        total = [row["vms"] * row["beside"] for row in rows]
        found[name] = {
            "memory": slope(counts, total),
            "requests": slope(counts, [row["requests"] for row in rows]),
            "launch": slope(counts, [row["launch"] for row in rows]),
        }
    return found


def rates(
    ways: Mapping[str, Mapping[str, list[float]]],
) -> dict[str, dict[str, tuple[float, float]]]:
    """The better round of each, in MiB/s, and what part of the best by hand that is."""
    best = {job: max(found) for job, found in ways["by hand"].items()}
    return {
        name: {job: (max(found), max(found) / best[job]) for job, found in jobs.items()}
        for name, jobs in ways.items()
    }


def packages(sizes: Mapping[str, float]) -> list[tuple[str, float]]:
    large = sorted(
        ((name, size) for name, size in sizes.items() if size >= SMALL), key=lambda pair: -pair[1]
    )
    small = [size for size in sizes.values() if size < SMALL]
    return [*large, (f"{len(small)} smaller ones", sum(small))]


def phases(kinds: Mapping[str, Mapping[str, float]]) -> list[tuple[str, dict[str, float]]]:
    steps = {step for spent in kinds.values() for step in spent}
    rows = [(step, {kind: spent.get(step, 0) for kind, spent in kinds.items()}) for step in steps]
    return sorted(rows, key=lambda row: -row[1]["file"])
