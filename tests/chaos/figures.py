"""What the suite counts, and prints at its end."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass
class Figures:
    rounds: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    stamps: int = 0
    violations: int = 0
    samples: int = 0
    sampled: float = 0.0  # seconds
    takeovers: dict[str, list[float]] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)

    def took(self, what: str, seconds: float) -> None:
        self.takeovers.setdefault(what, []).append(seconds)

    def lines(self) -> list[str]:
        rate = self.samples / self.sampled if self.sampled else 0
        return [
            f"rounds {self.rounds}, faults injected {self.faults.total()} of {len(self.faults)} kinds",
            f"stamps checked {self.stamps}, violations {self.violations}",
            f"process samples {self.samples} ({rate:.0f} a second)",
            *(f"{what}: {spread(times)}" for what, times in sorted(self.takeovers.items())),
            *(f"{what}: {note}" for what, note in sorted(self.notes.items())),
        ]


def spread(seconds: Sequence[float]) -> str:
    ordered = sorted(seconds)
    p50, p99 = (quantile(ordered, share) for share in (0.5, 0.99))
    return f"p50 {p50:.2f} s, p99 {p99:.2f} s, max {ordered[-1]:.2f} s, {len(ordered)} measured"


def quantile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that so large a share of them does not exceed.

    >>> quantile([1, 2, 3, 4], 0.5)
    2
    """
    return ordered[max(0, -(-int(share * 1000 * len(ordered)) // 1000) - 1)]
