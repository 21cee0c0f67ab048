"""What came after the windows of each cluster, against what came after all windows, and whether it is more than luck.

Two outcomes of a window are looked at: a hit, yes or no, and a forward return, a fraction. They are added up by day and
cluster in whole numbers, so that the sum of many tickers is the same in any order (:func:`tally`); what is judged are
these sums (:func:`judged`). Noise, the label −1, is the last column of them.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import betainc, betaincinv
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from quant.clusters import NOISE, Integers
from quant.statistics import benjamini_hochberg

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

RETURN_UNIT = 1e-9
"""Of the sums of returns, as a fraction."""
FEWEST_DAYS = 10
"""Days with a window of a cluster, below which nothing is said of it."""
OUTCOMES = ("hit", "return")
COLUMNS = (
    *("cluster", "windows", "episodes", "days"),
    *("hit_rate", "base_rate", "hit_difference", "hit_low", "hit_high", "hit_p_value", "hit_q_value", "hit_differs"),
    *("mean_return", "base_return", "return_difference", "return_low", "return_high"),
    *("return_p_value", "return_q_value", "return_differs"),
)

_LEVEL = 0.95
_HIGHEST_RETURN = 10_000.0  # the sum of 900,000 of them is still a 64-bit number of units
_SECONDS_OF_A_DAY = 86_400
_ROUNDING = 1e-9
_STREAM = 1969
_CHUNK = 2**22  # numbers in one temporary array


class OutcomeError(ValueError):
    """Windows, outcomes or options from which no outcome of a cluster can be had."""


@dataclass(frozen=True, eq=False)
class Tally:
    """Sums of outcomes by day and cluster; those of several tickers are added by ``+``, exactly.

    Attributes
    ----------
    windows, hits
        Number of windows, and of those among them with a hit (days × count + 1); the last column is noise.
    returns
        Sum of the forward returns (days × count + 1), in units of `RETURN_UNIT`.
    episodes
        Of each cluster (count + 1): runs of windows in which each shares bars with the one before it.
    disjoint
        Of each cluster (count + 1): the most windows that can be picked of which no two share a bar; from the episodes
        up to the windows.
    """

    windows: Integers
    hits: Integers
    returns: Integers
    episodes: Integers
    disjoint: Integers

    def __add__(self, other: "Tally") -> "Tally":
        """Add the windows of other tickers over the same days and clusters.

        Raises
        ------
        OutcomeError
            If days or clusters are of another number.
        """
        if self.windows.shape != other.windows.shape:
            raise OutcomeError(
                f"tallies have the shapes {self.windows.shape} and {other.windows.shape}; allowed: one shape"
            )
        return Tally(
            self.windows + other.windows,
            self.hits + other.hits,
            self.returns + other.returns,
            self.episodes + other.episodes,
            self.disjoint + other.disjoint,
        )


def nothing(count: int, days: int) -> Tally:
    """Return the tally of no window, to begin a sum with.

    Raises
    ------
    OutcomeError
        If ``count`` is not a whole number from 0, or ``days`` not one from 1.
    """
    _check_whole("count", count, 0)
    _check_whole("days", days, 1)
    sums = [np.zeros((days, count + 1), dtype=np.int64) for _ in range(3)]
    runs = [np.zeros(count + 1, dtype=np.int64) for _ in range(2)]
    return Tally(*sums, *runs)


def tally(
    times: pd.DatetimeIndex,
    positions: npt.NDArray[np.integer[Any]],
    labels: npt.NDArray[np.integer[Any]],
    hit: Flags,
    forward_return: npt.NDArray[np.floating[Any]],
    *,
    count: int,
    first_day: pd.Timestamp,
    days: int,
    length: int,
) -> Tally:
    """Add up the outcomes of the windows of one ticker.

    All windows of the ticker over these days are given at once: an episode that is cut in two counts as two. Windows
    whose outcome is unknown are left out by the caller.

    Parameters
    ----------
    times
        Of the last bar of each window (n), with a time zone; a window belongs to its day in UTC.
    positions
        Row of that bar among the bars of the ticker (n), rising.
    labels
        Cluster of each window (n), 0 … count − 1, or −1 for noise.
    hit
        Whether the outcome was reached (n).
    forward_return
        Return after each window (n), as a fraction; rounded to `RETURN_UNIT`.
    count
        Number of clusters.
    first_day
        Midnight in UTC of the first day.
    days
        Number of days from then on.
    length
        Bars of a window: of two windows of one cluster whose ends lie fewer rows apart, both are of one episode.

    Raises
    ------
    OutcomeError
        If an array is of another length or kind, a time lies outside the days, a position is not above the one before
        it, a label is none, a return is not finite or above 10,000, or an option is out of bounds.
    """
    whole = nothing(count, days)
    _check_whole("length", length, 1)
    day = _days(times, first_day, days)
    rows, clusters = np.asarray(positions), np.asarray(labels)
    hits, given = np.asarray(hit), np.asarray(forward_return)
    for name, values, kinds in (
        ("positions", rows, "iu"),
        ("labels", clusters, "iu"),
        ("hit", hits, "b"),
        ("forward_return", given, "f"),
    ):
        if values.shape != day.shape or values.dtype.kind not in kinds:
            raise OutcomeError(
                f"{name} has the type {values.dtype} and the shape {values.shape}; "
                f"allowed: kind {' or '.join(kinds)} and one a time, {day.shape}"
            )
    unordered = np.flatnonzero(np.diff(rows) <= 0)
    if len(unordered):
        before, after = rows[unordered[0] : unordered[0] + 2]
        raise OutcomeError(f"positions hold {after} after {before}; allowed: each above the one before it")
    strange = np.flatnonzero((clusters < NOISE) | (clusters >= count))
    if len(strange):
        raise OutcomeError(f"labels hold {clusters[strange[0]]}; allowed: {NOISE} to {count - 1}")
    unusable = np.flatnonzero(~(np.abs(given) <= _HIGHEST_RETURN))
    if len(unusable):
        raise OutcomeError(
            f"forward_return is {given[unusable[0]]} at {times[unusable[0]]}; "
            f"allowed: finite numbers up to {_HIGHEST_RETURN:,.0f}"
        )
    columns = np.where(clusters == NOISE, count, clusters).astype(np.int64)
    units = np.rint(given.astype(np.float64) / RETURN_UNIT).astype(np.int64)
    places = (day, columns)
    np.add.at(whole.windows, places, 1)
    np.add.at(whole.hits, places, hits.astype(np.int64))
    np.add.at(whole.returns, places, units)
    _count_runs(rows, columns, length, whole)
    return whole


def judged(
    tally: Tally, *, resamples: int = 1000, block: int | None = None, seed: int = 0, rate: float = 0.1
) -> pd.DataFrame:
    """Compare the outcome of each cluster with that of all windows.

    A difference is that of the cluster's hit rate, or mean return, from that of all windows, noise included. Windows
    overlap and one factor moves all tickers, so the days, with the windows of all tickers, are what is drawn, in blocks
    of neighbouring ones. The null hypothesis is that a window's cluster says nothing of its outcome. Each block then
    adds to the difference as likely what it did as the opposite, so the signs of the blocks are drawn, with the bounds
    between blocks elsewhere each time, and the p-value is the share of draws whose sum is as far from 0 (the drawn
    signs as they are among them). It holds for few blocks, blocks of very unequal weight and heavy tails alike, and the
    interval is the set of differences that the same test does not reject at 5 %. Sources: Cameron, Gelbach and Miller,
    "Bootstrap-Based Improvements for Inference with Clustered Errors", Review of Economics and Statistics 90 (2008),
    for this wild bootstrap with the null imposed; Canay, Romano and Shaikh, "Randomization Tests under an Approximate
    Symmetry Assumption", Econometrica 85 (2017), for why it holds for few blocks; Hartigan, "Using Subsample Values as
    Typical Values", Journal of the American Statistical Association 64 (1969), for the interval.

    Rare hits are far from symmetric: of 30 windows none hits often enough where 5 % do. So a hit rate has, besides, to
    differ by the exact binomial test of as many independent draws as there are windows without a bar in common, and its
    interval holds that of Clopper and Pearson, "The Use of Confidence or Fiducial Limits Illustrated in the Case of the
    Binomial", Biometrika 26 (1934). The larger p-value counts.

    q-values are those of Benjamini and Hochberg over all clusters and both outcomes together, untestable ones counted
    with a p-value of 1: a table in which nothing differs shows a difference at most as often as ``rate``. Clusters
    depend on each other, some negatively, since together they are all windows; Reiner-Benaim, "FDR Control by the BH
    Procedure for Two-Sided Correlated Tests", Biometrical Journal 49 (2007), finds the rate kept for correlations of
    any sign, and so do the simulations in this module's tests. The correction of Benjamini and Yekutieli, which covers
    dependence of any kind, asks for p-values a few times as small, more than that dependence needs.

    ``rate`` is out of reach of a single difference unless ``resamples`` is above twice the clusters over the rate.

    Parameters
    ----------
    tally
        Of all tickers.
    resamples
        Draws of signs.
    block
        Days of a block, longer than a window and its horizon together. By default the square root of the number of
        days, rounded. Days without any window are no days: their neighbours count as neighbours. Volatility, and with
        it the rate of hits, stays high or low for weeks, and so do the clusters that are about. In simulated markets of
        120 and 240 days in which both do and nothing differs, blocks of 5 days found a difference in 22 and 32 % of the
        markets at a rate of 10 %, the square root in 7 and 10 %. The price is that few days tell little: of k blocks no
        p-value is much below 2^(1 − k).
    seed
        Equal seeds give equal figures.
    rate
        False discovery rate up to which a difference counts as one.

    Returns
    -------
    A row a cluster, and one of noise (−1) where there is any; columns `COLUMNS`: ``windows``, ``episodes`` and ``days``
    (with a window) count; ``hit_rate`` and ``mean_return`` are the cluster's, ``base_rate`` and ``base_return`` those
    of all windows, the ``…_difference`` is the one less the other, from ``…_low`` to ``…_high`` at 95 %, for each
    cluster by itself; ``…_differs`` is whether ``…_q_value`` is at most ``rate``. NaN: rates and returns of a cluster
    without windows; p-values, q-values and intervals of one with windows on fewer than `FEWEST_DAYS` days, or if there
    is nothing to tell apart, all windows being alike or of one cluster; intervals without an end, for too few blocks.

    Raises
    ------
    OutcomeError
        If an option is out of bounds.
    """
    _check_whole("resamples", resamples, 1)
    _check_whole("seed", seed, 0)
    if block is not None:
        _check_whole("block", block, 1)
    if not 0 < rate < 1:
        raise OutcomeError(f"rate is {rate}; allowed: above 0 and below 1")
    shown = np.arange(tally.windows.shape[1])
    if not tally.windows[:, -1].any():
        shown = shown[:-1]
    open_days = tally.windows.any(axis=1)
    windows = tally.windows[open_days].astype(np.float64)
    amounts = [sums[open_days].astype(np.float64) for sums in (tally.hits, tally.returns)]
    amounts[1] *= RETURN_UNIT
    signs = _Signs(len(windows), round(len(windows) ** 0.5) if block is None else block, resamples, seed)
    compared = [_compared(windows, amount, shown, signs) for amount in amounts]
    compared[0] = _bounded(compared[0], tally.disjoint[shown])
    p_values = np.concatenate([each.p_value for each in compared])
    q_values = benjamini_hochberg(np.nan_to_num(p_values, nan=1.0))
    q_values[np.isnan(p_values)] = np.nan
    table: dict[str, Any] = {
        "cluster": np.where(shown == tally.windows.shape[1] - 1, NOISE, shown),
        "windows": tally.windows[:, shown].sum(axis=0),
        "episodes": tally.episodes[shown],
        "days": (tally.windows[:, shown] > 0).sum(axis=0),
    }
    names = (("hit_rate", "base_rate"), ("mean_return", "base_return"))
    for outcome, (own, base), each, q_value in zip(OUTCOMES, names, compared, np.split(q_values, 2), strict=True):
        table |= {
            own: each.mean,
            base: each.base,
            f"{outcome}_difference": each.mean - each.base,
            f"{outcome}_low": each.low,
            f"{outcome}_high": each.high,
            f"{outcome}_p_value": each.p_value,
            f"{outcome}_q_value": q_value,
            f"{outcome}_differs": q_value <= rate,
        }
    return pd.DataFrame(table, columns=list(COLUMNS))


@dataclass(frozen=True, eq=False)
class _Compared:
    """Of one outcome: means of clusters and of all windows, and what is known of the difference."""

    mean: Floats
    base: float
    low: Floats
    high: Floats
    p_value: Floats


@dataclass(frozen=True)
class _Signs:
    """How signs are drawn: the same ones for all clusters and outcomes, so that these depend as they do."""

    days: int
    block: int
    resamples: int
    seed: int

    def sums(self, values: Floats) -> Floats:
        """Return resamples × columns: sums over the days with the signs drawn, of values days × columns."""
        generator = np.random.default_rng([self.seed, _STREAM])
        phases = generator.integers(0, self.block, self.resamples)
        blocks = (self.days + self.block - 2) // self.block + 1
        drawn = generator.integers(0, 2, (self.resamples, blocks), dtype=np.int8) * 2 - 1
        day = np.arange(self.days)
        size = max(_CHUNK // max(self.days, 1), 1)
        pieces = []
        # with several threads sums may differ in the last digit
        with threadpool_limits(1):
            for start in range(0, self.resamples, size):
                piece = slice(start, start + size)
                numbers = (day + phases[piece, None]) // self.block
                pieces.append(np.take_along_axis(drawn[piece], numbers, axis=1).astype(np.float64) @ values)
        return np.concatenate(pieces)


def _compared(windows: Floats, amounts: Floats, shown: npt.NDArray[np.intp], signs: _Signs) -> _Compared:
    total = windows.sum()
    base = float(amounts.sum() / total) if total else float("nan")
    own, count = amounts[:, shown], windows[:, shown].sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        weights = windows[:, shown] / count
        # what each day adds to the difference; the days add up to it
        parts = (own - base * windows[:, shown]) / count
        parts -= ((amounts.sum(axis=1) - base * windows.sum(axis=1)) / total)[:, None]
        mean = own.sum(axis=0) / count
        scale = np.abs(amounts).max(initial=0.0) / count
    low, high, p_value = (np.full(len(shown), np.nan) for _ in range(3))
    enough = (windows[:, shown] > 0).sum(axis=0) >= FEWEST_DAYS
    # what rounding leaves of nothing is no difference
    tested = enough & (np.abs(parts).max(axis=0, initial=0.0) > _ROUNDING * scale)
    if tested.any():
        low[tested], high[tested], p_value[tested] = _tested(parts[:, tested], weights[:, tested], signs)
    return _Compared(mean, base, low, high, p_value)


def _tested(parts: Floats, weights: Floats, signs: _Signs) -> tuple[Floats, Floats, Floats]:
    """Return the ends of the intervals and the p-values of differences, of which each day adds a part.

    Were the difference d, each day's part would be too high by its weight times d. So a draw with the sums a of the
    parts and b of the weights is as far from the centre as the difference s if |a − b·d| ≥ |s − d|: for all d from one
    of (s − a) / (1 − b) and (s + a) / (1 + b) to the other, s between them. The interval is where the draws that reach
    that far are more than 5 % of all.
    """
    difference = parts.sum(axis=0)
    both = signs.sums(np.concatenate([parts, weights], axis=1))
    drawn, share = np.split(both, 2, axis=1)
    reached = (np.abs(drawn) >= np.abs(difference) * (1 - _ROUNDING)).sum(axis=0)
    p_value = (1 + reached) / (signs.resamples + 1)
    alike = np.abs(share) >= 1 - _ROUNDING  # all windows of the cluster with one sign: any difference is possible
    with np.errstate(divide="ignore", invalid="ignore"):
        ends = np.stack([(difference - drawn) / (1 - share), (difference + drawn) / (1 + share)])
    lower = np.where(alike, -np.inf, ends.min(axis=0))
    upper = np.where(alike, np.inf, ends.max(axis=0))
    place = int((1 - _LEVEL) * (signs.resamples + 1) + _ROUNDING) - 1
    if place < 0:
        return np.full(len(difference), np.nan), np.full(len(difference), np.nan), p_value
    low, high = np.partition(lower, place, axis=0)[place], -np.partition(-upper, place, axis=0)[place]
    endless = ~(np.isfinite(low) & np.isfinite(high))
    return np.where(endless, np.nan, low), np.where(endless, np.nan, high), p_value


def _bounded(hits: _Compared, disjoint: Integers) -> _Compared:
    """Return what is known of hit rates, no surer than as many independent windows as share no bar would be."""
    tested = ~np.isnan(hits.p_value)
    number = disjoint[tested].astype(np.float64)
    # a number of hits need not be whole here; the distribution goes on between whole ones as the beta function does
    reached = hits.mean[tested] * number
    missed = number - reached
    with np.errstate(divide="ignore", invalid="ignore"):
        as_many = np.where(reached > 0, betainc(reached, missed + 1, hits.base), 1.0)
        as_few = np.where(missed > 0, betainc(missed, reached + 1, 1 - hits.base), 1.0)
        lowest = np.where(reached > 0, betaincinv(reached, missed + 1, (1 - _LEVEL) / 2), 0.0)
        highest = np.where(missed > 0, betaincinv(reached + 1, missed, (1 + _LEVEL) / 2), 1.0)
    low, high, p_value = hits.low.copy(), hits.high.copy(), hits.p_value.copy()
    p_value[tested] = np.maximum(p_value[tested], np.minimum(2 * np.minimum(as_many, as_few), 1.0))
    # no rate is below 0 or above 1
    low[tested] = np.maximum(np.minimum(low[tested], lowest - hits.base), -hits.base)
    high[tested] = np.minimum(np.maximum(high[tested], highest - hits.base), 1 - hits.base)
    return _Compared(hits.mean, hits.base, low, high, p_value)


def _count_runs(rows: npt.NDArray[Any], columns: Integers, length: int, into: Tally) -> None:
    """Count episodes, and windows without a bar in common picked from the first on: no other pick gives more."""
    joined: dict[int, int] = {}
    taken: dict[int, int] = {}
    for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
        if row - joined.get(column, row - length) >= length:
            into.episodes[column] += 1
        joined[column] = row
        if row - taken.get(column, row - length) >= length:
            into.disjoint[column] += 1
            taken[column] = row


def _days(times: pd.DatetimeIndex, first_day: pd.Timestamp, days: int) -> Integers:
    """Return the number of the day of each time."""
    if not isinstance(times, pd.DatetimeIndex) or times.tz is None or bool(times.isna().any()):
        raise OutcomeError(
            f"times are {getattr(times, 'dtype', type(times).__name__)}, some maybe missing; allowed: a DatetimeIndex "
            "with a time zone and no missing time"
        )
    if first_day.tz is None or first_day != first_day.tz_convert("UTC").normalize():
        raise OutcomeError(f"first_day is {first_day}; allowed: midnight in UTC, with the time zone")
    first = int(first_day.timestamp()) // _SECONDS_OF_A_DAY
    day: Integers = times.as_unit("s").asi8 // _SECONDS_OF_A_DAY - first
    outside = np.flatnonzero((day < 0) | (day >= days))
    if len(outside):
        raise OutcomeError(f"times hold {times[outside[0]]}; allowed: {days} days from {first_day:%Y-%m-%d} on")
    return day


def _check_whole(name: str, value: Any, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise OutcomeError(f"{name} is {value!r}; allowed: whole numbers from {least}")
