"""Paired bootstrap over users: intervals of means and of differences, and detectable differences.

Users are drawn, not examples, since the examples of one user are correlated. All columns are computed
from the same draws, so that a difference of two columns is paired.

Shape legend
    X  examples     U  users     F  columns (one mean each)     S  bootstrap samples
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

import numpy as np

from model.arrays import Flags, Floats, Ints

SEED = 20260301
"""Seed of the draws, fixed so that the same ranks give the same intervals."""
CHUNK_WEIGHTS = 4_000_000
"""User weights held at once; bounds memory at any number of samples and users."""
DETECTION = 1.6449 + 0.8416
"""Standard errors of the difference that a one-sided 5 % test detects with a power of 80 %."""


@dataclass(frozen=True)
class Columns:
    """Means over users' sums: column f is Σ numerator[:, f] / Σ denominator[:, f]."""

    numerator: Floats
    """float64 [U, F]."""
    denominator: Floats
    """float64 [U, F]."""


@dataclass(frozen=True)
class Resampled:
    """Means of the columns, and of each bootstrap sample; NaN where no user has a value."""

    point: Floats
    """float64 [F]."""
    samples: Floats
    """float64 [S, F]."""


@dataclass(frozen=True)
class Interval:
    """A value with its two-sided 95 % percentile interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """A paired difference of two means, absolute and relative to the second."""

    absolute: Interval
    relative: Interval
    """(first − second) / second."""
    lower_bound: float
    """One-sided 95 % lower bound of the relative difference."""
    upper_bound: float
    """One-sided 95 % upper bound of the relative difference."""
    detectable: float
    """Relative difference that this many users would detect with a power of 80 %."""


def pooled(
    user: Ints, value: Floats, mask: Flags, users: int, weight: Floats | None = None
) -> tuple[Floats, Floats]:
    """A column that is the mean over the masked examples: each user's sum and number of examples, [U]; with
    `weight` [X] the weighted mean, of sums and weights.

    Excludes examples whose value is NaN.
    """
    kept = mask & ~np.isnan(value)
    weights = np.ones(int(kept.sum())) if weight is None else weight[kept]
    total = np.bincount(user[kept], weights=weights * value[kept], minlength=users)
    return total, np.bincount(user[kept], weights=weights, minlength=users)


def by_user(user: Ints, value: Floats, mask: Flags, users: int) -> tuple[Floats, Floats]:
    """A column that is the mean over users of each user's own mean: [U] each, as `pooled`."""
    total, count = pooled(user, value, mask, users)
    return total / np.maximum(count, 1), (count > 0).astype(np.float64)


def stack(columns: list[tuple[Floats, Floats]]) -> Columns:
    """Columns from `pooled` and `by_user`, side by side."""
    numerators, denominators = zip(*columns, strict=True)
    return Columns(np.stack(numerators, axis=1), np.stack(denominators, axis=1))


def resample(columns: Columns, samples: int, seed: int = SEED) -> Resampled:
    """Draws U users with replacement `samples` times; every column sees the same draws.

    Costs S · U draws and S · U · F multiply-adds in float32: intervals are rounded at 10⁻⁶ of their
    value, points are exact. A sample without any user of a column is NaN there and does not count for its
    intervals.
    """
    users, width = columns.numerator.shape
    # Many columns share a denominator (one per group of examples): sum each distinct one once.
    distinct, column = _distinct(columns.denominator)
    both = np.concatenate([columns.numerator, columns.denominator[:, distinct]], axis=1).astype(np.float32)
    generator = np.random.default_rng(seed)
    drawn = np.empty((samples, width))
    step = max(1, CHUNK_WEIGHTS // max(users, 1))
    for start in range(0, samples, step):
        size = min(step, samples - start)
        chosen = generator.integers(0, users, (size, users)) + users * np.arange(size)[:, None]
        weight = np.bincount(chosen.reshape(-1), minlength=size * users).reshape(size, users)
        sums = (weight.astype(np.float32) @ both).astype(np.float64)  # [size, F + kinds of denominator]
        drawn[start : start + size] = _ratio(sums[:, :width], sums[:, width:][:, column])
    return Resampled(_ratio(columns.numerator.sum(axis=0), columns.denominator.sum(axis=0)), drawn)


def _distinct(denominator: Floats) -> tuple[list[int], list[int]]:
    """One column of each kind, and for every column the place of its kind among them; [U, F] → F at most.

    By digest: sorting the columns, as `np.unique` does, costs more than all the draws.
    """
    first: dict[bytes, int] = {}
    kinds = [
        first.setdefault(sha256(values).digest(), len(first))
        for values in np.ascontiguousarray(denominator.T)
    ]
    return [kinds.index(kind) for kind in range(len(first))], kinds


def interval(point: float, samples: Floats) -> Interval:
    """The 95 % percentile interval of one column; `samples` [S]. The bounds are NaN where all samples are."""
    low, high = _quantiles(samples, (0.025, 0.975))
    return Interval(float(point), low, high)


def difference(point: tuple[float, float], samples: tuple[Floats, Floats]) -> Difference:
    """First column minus second, paired: `samples` are two [S] from the same draws."""
    first, second = point
    absolute = samples[0] - samples[1]
    relative = _ratio(absolute, samples[1])
    lower, upper = _quantiles(relative, (0.05, 0.95))
    known = relative[np.isfinite(relative)]
    return Difference(
        absolute=interval(first - second, absolute),
        relative=interval(float(_ratio(np.float64(first - second), np.float64(second))), relative),
        lower_bound=lower,
        upper_bound=upper,
        detectable=float(DETECTION * known.std()) if known.size > 1 else float("nan"),
    )


def _ratio(numerator: Floats, denominator: Floats) -> Floats:
    """numerator / denominator, NaN where the denominator is zero."""
    safe = np.where(denominator == 0, 1.0, denominator)
    return np.where(denominator == 0, np.nan, numerator / safe)


def _quantiles(samples: Floats, at: tuple[float, float]) -> tuple[float, float]:
    known = samples[~np.isnan(samples)]
    if known.size < 2:
        return float("nan"), float("nan")
    low, high = np.quantile(known, at)
    return float(low), float(high)
