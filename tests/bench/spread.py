"""Figures with their spread. The statistics are scipy's and numpy's."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats


@dataclass(frozen=True, kw_only=True)
class Spread:
    middle: float
    low: float
    high: float


def quartiles(values: Sequence[float]) -> Spread:
    """The median, and the middle half of all."""
    low, middle, high = (float(one) for one in np.percentile(values, [25, 50, 75]))
    return Spread(middle=middle, low=low, high=high)


def ratio(values: Sequence[float], base: Sequence[float]) -> Spread:
    """The median of the rounds' ratios, and where it lies with 95 % confidence (bootstrap)."""
    ratios = np.divide(values, base)
    found = stats.bootstrap(
        (ratios,), np.median, confidence_level=0.95, method="percentile", rng=1
    )
    interval = found.confidence_interval
    return Spread(
        middle=float(np.median(ratios)), low=float(interval.low), high=float(interval.high)
    )


def slope(x: Sequence[float], y: Sequence[float]) -> tuple[float, float]:
    """By how much y grows for each of x, and the share of y's variance that this explains."""
    found = stats.linregress(x, y)
    return float(found.slope), float(found.rvalue) ** 2
