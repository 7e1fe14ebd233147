"""The report's pictures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")
mpl.rcParams.update(
    {
        "svg.hashsalt": "holdfast",
        "font.size": 9,
        "axes.spines.right": False,
        "axes.spines.top": False,
    }
)
from matplotlib import pyplot as plt  # noqa: E402 - the back end is chosen before

OURS, OTHERS = "#0b6e4f", "#9aa5b1"
MARGIN = 1.08


def launch(times: Mapping[str, Mapping[str, Sequence[float]]], path: Path) -> None:
    """A box a way: the middle half, and all rounds."""
    figure, panels = plt.subplots(
        len(times),
        1,
        figsize=(7, 1 + 0.45 * sum(map(len, times.values()))),
        sharex=True,
        height_ratios=[len(ways) for ways in times.values()],
    )
    for panel, (kind, ways) in zip(panels, times.items(), strict=True):
        names = list(ways)[::-1]
        boxes = panel.boxplot(
            [ways[name] for name in names],
            vert=False,
            whis=(0, 100),
            patch_artist=True,
            medianprops={"color": "black"},
        )
        for box, name in zip(boxes["boxes"], names, strict=True):
            box.set_facecolor(OURS if "Holdfast" in name else OTHERS)
        panel.set_yticklabels(names)
        panel.set_title(f"disk: {kind}", loc="left")
        panel.set_xlim(left=0)
    panels[-1].set_xlabel("seconds from the command to the guest's first instruction")
    _save(figure, path)


def growth(series: Mapping[str, Sequence[Mapping[str, float]]], path: Path) -> None:
    wanted = {
        "beside": "MiB beside QEMU, a VM (PSS)",
        "launch": "seconds to start one more",
        "requests": "requests to etcd a second, all",
    }
    figure, panels = plt.subplots(1, len(wanted), figsize=(9, 2.8))
    for panel, (field, label) in zip(panels, wanted.items(), strict=True):
        for name, rows in series.items():
            panel.plot(
                [row["vms"] for row in rows], [row[field] for row in rows], marker="o", label=name
            )
        panel.set_xlabel("VMs")
        panel.set_title(label, fontsize=9)
        panel.set_ylim(bottom=0, top=panel.get_ylim()[1] * MARGIN)
    panels[0].legend(frameon=False)
    _save(figure, path)


def phases(kinds: Mapping[str, Mapping[str, float]], path: Path) -> None:
    """One bar a storage, in milliseconds."""
    figure, panel = plt.subplots(figsize=(7, 2.2))
    steps = sorted(
        {step for spent in kinds.values() for step in spent},
        key=lambda step: -kinds["file"].get(step, 0),
    )
    left = dict.fromkeys(kinds, 0.0)
    for number, step in enumerate(steps):
        widths = [spent.get(step, 0) for spent in kinds.values()]
        panel.barh(
            list(kinds),
            widths,
            left=list(left.values()),
            label=step,
            color=mpl.colormaps["tab20"](number),
        )
        left = {kind: left[kind] + width for kind, width in zip(kinds, widths, strict=True)}
    panel.set_xlabel("milliseconds")
    panel.legend(
        frameon=False, ncols=5, fontsize=7, loc="upper center", bbox_to_anchor=(0.5, 1.75)
    )
    _save(figure, path)


def disk(rates: Mapping[str, Mapping[str, Mapping[str, Sequence[float]]]], path: Path) -> None:
    figure, panels = plt.subplots(1, len(rates), figsize=(9, 2.8))
    for panel, (kind, ways) in zip(panels, rates.items(), strict=True):
        for number, (name, jobs) in enumerate(ways.items()):
            best = {job: max(ways["by hand"][job]) for job in jobs}
            places = [place + 0.25 * number for place in range(len(jobs))]
            heights = [max(rates) / best[job] for job, rates in jobs.items()]
            panel.bar(
                places, heights, width=0.22, label=name, color=OURS if name == "Holdfast" else None
            )
        panel.set_xticks([place + 0.25 for place in range(len(jobs))], list(jobs), fontsize=8)
        panel.axhline(1, color="black", linewidth=0.5)
        panel.set_title(f"disk: {kind}; 1 is the best by hand", fontsize=9)
    panels[-1].legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    _save(figure, path)


def _save(figure: Any, path: Path) -> None:
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None}, bbox_inches="tight")
    plt.close(figure)
