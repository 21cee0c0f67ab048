"""Funding of perpetuals: rates at their hours, brought onto the bars, and what of them is missing.

A rate that is not known is never 0 without a word: :func:`missing` counts the payments that a stretch of time lacks.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd

LONGEST_INTERVAL = pd.Timedelta(hours=8)


class FundingError(ValueError):
    """Rates that cannot be used, or that do not cover what was traded."""


class Missing(NamedTuple):
    """Payments without a rate: how many, of how many in all, and when the first was due."""

    payments: int
    due: int
    first: pd.Timestamp | None


def on_bars(rates: pd.Series, index: pd.DatetimeIndex) -> pd.Series:
    """Return the rate due at the start of each bar, 0 where none is.

    A payment within a bar is due at the start of the next one, and several add up, as on daily bars. One in a gap of
    the bars is due at the next bar that there is. Seconds do not count, since exchanges stamp payments late by
    milliseconds. Rates before the first bar or after the last are left out.

    Parameters
    ----------
    rates
        Fraction of the position's value that longs pay, indexed by time (UTC).
    index
        Times of the bars.

    Raises
    ------
    FundingError
        If a rate is not finite, or times are not increasing.
    """
    check(rates)
    times = pd.DatetimeIndex(rates.index).floor("min")
    place = index.searchsorted(times, side="left")
    inside = (times >= index[0]) & (place < len(index)) if len(index) else np.zeros(len(times), dtype=bool)
    due = np.bincount(place[inside], weights=rates.to_numpy(dtype=np.float64)[inside], minlength=len(index))
    return pd.Series(due[: len(index)], index=index, name="funding")


def missing(rates: pd.Series, start: pd.Timestamp, end: pd.Timestamp) -> Missing:
    """Return how many payments from ``start`` on and before ``end`` have no rate.

    How often funding is paid is told from the rates: the most frequent distance between two of them, and 8 hours where
    there are fewer than two. A stretch of more than twelve hours (funding is paid every 8 hours or more often, and an
    asset may change from one to the other) or one and a half times that distance lacks what would fit in.

    Raises
    ------
    FundingError
        As :func:`on_bars`.
    """
    check(rates)
    times = pd.DatetimeIndex(rates.index).floor("min")
    distances = pd.Series(times[1:] - times[:-1])
    interval = distances.mode().iloc[0] if len(distances) else LONGEST_INTERVAL
    known = times[(times >= start) & (times < end)]
    # the payments next to the stretch lie one interval before and after it at most
    edges = pd.DatetimeIndex([start.ceil(interval) - interval, *known, end.ceil(interval)])
    stretches = edges[1:] - edges[:-1]
    longest = 1.5 * max(interval, LONGEST_INTERVAL)
    lacking = np.where(stretches > longest, np.round(stretches / interval).astype(int) - 1, 0)
    first = None if not lacking.any() else edges[int(np.argmax(lacking > 0))] + interval
    return Missing(int(lacking.sum()), int(lacking.sum()) + len(known), first)


def check(rates: pd.Series) -> None:
    """Refuse rates that are not finite, or not one a time in order.

    Raises
    ------
    FundingError
        Naming the first that is wrong.
    """
    bad = ~np.isfinite(rates.to_numpy(dtype=np.float64))
    if bad.any():
        raise FundingError(f"the funding rate at {rates.index[int(np.argmax(bad))]} is not a finite number")
    if not rates.index.is_monotonic_increasing or not rates.index.is_unique:
        raise FundingError("funding rates must be in order of time, one a time")
