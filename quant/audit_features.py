"""Whether features rest on the past alone: they are computed again with the future cut off, and from a later start."""

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

from quant import features
from quant.audit import Finding, Floats, Mask, not_applicable
from quant.feature_registry import Start

Compute = Callable[[pd.DataFrame], pd.DataFrame]
"""From bars to features, float64, on the index of the bars."""

TOLERANCE = 2e-6
"""Relative difference, to the value or to the column's mean magnitude, that 32-bit floats and rounding explain."""
LEAST = 1e-4
"""Difference from another start, in spreads of the column, below which rounding alone is at work."""
ROWS_COMPARED = 5_000
AT_ONCE = 16
"""Columns compared at a time, as those of hundreds in double precision would not fit beside one another."""


def future_cut(stored: pd.DataFrame, again: pd.DataFrame, rerun: Compute, bars: pd.DataFrame) -> Finding:
    """Compare the features that a run has with those computed from the bars up to a cut.

    Parameters
    ----------
    stored
        Features of the run, of all its bars.
    again
        Features of the bars before the cut.
    rerun
        Computes the features of all bars: called only where something differs, to tell what looks ahead from what is
        merely not what this code makes of the bars.
    bars
        All bars.
    """
    cut = len(again)
    there = stored.iloc[:cut]
    if strangers := set(again.columns) ^ set(there.columns):
        return Finding(
            "features_future",
            "leak",
            f"the table's columns are not those of the feature set: {sorted(strangers)[0]!r} is in one of them only; "
            "run the features again",
            column=sorted(strangers)[0],
        )
    if not there.index.equals(again.index):
        return Finding(
            "features_future", "leak", "the rows of the table are not the run's bars; run the features again"
        )
    found = [
        one
        for start in range(0, there.shape[1], AT_ONCE)
        for one in _apart(there.iloc[:, start : start + AT_ONCE], again)
    ]
    if not found:
        return Finding("features_future", "passed", "")
    effect, column, row = max(found)
    first, count = there.index[row], len(found)
    stale = differing(
        stored[[column]].to_numpy(np.float64), rerun(bars)[[column]].astype(np.float32).to_numpy(np.float64)
    ).any()
    others = f" and {count - 1} more columns" if count > 1 else ""
    if stale:
        detail = (
            f"{column}{others}: the table is not what this code makes of the bars, whole or cut; it was written by "
            "other code or libraries, or from other bars"
        )
    else:
        detail = (
            f"{column}{others} changed when the bars from {bars.index[cut]} on were cut off, by up to {effect:.3g} "
            "spreads of the column: it knows what comes later"
        )
    return Finding("features_future", "leak", detail, column, first, effect, "spreads of the column")


def moved_start(
    bars: pd.DataFrame, cut: int, whole: pd.DataFrame, compute: Compute, starts: Mapping[str, Start]
) -> Finding:
    """Compare features up to a cut with those computed from bars of which the first are dropped.

    Parameters
    ----------
    cut
        Number of bars before it.
    whole
        Features of these bars, float64.
    starts
        What each column says of its start.
    """
    settled = max(start.settled for start in starts.values())
    dropped = max(1, cut - settled - ROWS_COMPARED)
    if cut - dropped < settled + 50:
        return not_applicable(
            "features_start", f"{cut:,} bars before the cut are too few: the features settle after {settled:,}"
        )
    later = compute(bars.iloc[dropped:cut])
    found = []
    for column, start in starts.items():
        expected, actual = (
            table[column].to_numpy(np.float64)[skipped:] for table, skipped in ((whole, dropped), (later, 0))
        )
        agree = features.matches(start, expected, actual)
        size = _spread(expected)
        if start.kind == "cumulative":
            expected, actual = np.diff(expected, prepend=np.nan), np.diff(actual, prepend=np.nan)
        apart = np.abs(expected - actual) / size
        wrong = ~agree & ~(apart < LEAST)
        wrong[: start.settled] = False
        if wrong.any():
            effect = float(np.nanmax(np.where(wrong & np.isfinite(apart), apart, 0.0)))
            found.append((effect, column, int(np.flatnonzero(wrong)[0])))
    if not found:
        return Finding("features_start", "passed", "")
    effect, column, row = max(found)
    return Finding(
        "features_start",
        "warning",
        f"{column} depends on the start: {starts[column].settled} bars after it, where the registry says that it has "
        f"settled, it still differs by up to {effect:.3g} spreads when the first {dropped:,} bars are dropped",
        column,
        later.index[row],
        effect,
        "spreads of the column",
    )


def differing(one: Floats, other: Floats) -> Mask:
    """Where two tables of one shape, rows × columns, differ by more than rounding; a null equals a null."""
    magnitude = np.where(np.isfinite(one), np.abs(one), np.nan)
    scale = np.zeros(one.shape[1])
    some = np.isfinite(magnitude).any(axis=0)
    scale[some] = np.nanmean(magnitude[:, some], axis=0)
    with np.errstate(invalid="ignore"):
        close = np.abs(one - other) <= TOLERANCE * np.maximum(np.abs(one), scale)
    return np.asarray(~((one == other) | (np.isnan(one) & np.isnan(other)) | close))


def _apart(there: pd.DataFrame, again: pd.DataFrame) -> list[tuple[float, str, int]]:
    """Of each column that differs: by how many of its spreads at most, its name, and the first row that does."""
    one = there.to_numpy(np.float64)
    other = again[list(there.columns)].astype(np.float32).to_numpy(np.float64)
    wrong = differing(one, other)
    found = []
    for place in np.flatnonzero(wrong.any(axis=0)):
        rows = wrong[:, place]
        apart = np.abs(one[rows, place] - other[rows, place]) / _spread(one[:, place])
        # a value where there should be none, or the other way round, is as wrong as a whole spread
        effect = float(np.max(np.where(np.isfinite(apart), apart, 1.0)))
        found.append((effect, str(there.columns[int(place)]), int(np.flatnonzero(rows)[0])))
    return found


def _spread(values: Floats) -> float:
    """Interquartile range of a column; of one without any, its mean magnitude, else 1."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return 1.0
    low, high = np.percentile(finite, [25.0, 75.0])
    return float(high - low) or float(np.abs(finite).mean()) or 1.0
