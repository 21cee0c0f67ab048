"""Labels: what came after each bar, as the answer that a model learns or a cluster is judged by.

A label at t uses only bars after t (``forward_max`` and ``outcome`` use a price known at t or the next open as their
reference) and is null where those bars are missing. No label looks further than t + ``horizon``, so a purge of
``horizon`` bars keeps the parts of a split apart.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numba
import numpy as np
import numpy.typing as npt
import pandas as pd

from quant.bars import Bar, segments

Alignment = Literal["honest", "seed"]
FloatArray = npt.NDArray[np.float64]
_Function = TypeVar("_Function", bound=Callable[..., pd.Series])


class LabelError(ValueError):
    """Parameters or bars from which a label cannot be made."""


@dataclass(frozen=True)
class Label:
    """One registered label.

    Parameters
    ----------
    version
        Raised whenever values change; it enters a stage's fingerprint.
    classes
        The values of a classification (0 neutral, 1 long, 2 short), or none where the label is a return.
    compute
        Function of bars, of the label's own parameters by name, and of ``bar``.
    """

    name: str
    version: int
    classes: tuple[int, ...]
    compute: Callable[..., pd.Series]


LABELS: dict[str, Label] = {}


def register(version: int, classes: tuple[int, ...] = ()) -> Callable[[_Function], _Function]:
    """Enter a function into ``LABELS`` under its own name.

    Raises
    ------
    LabelError
        If the name is taken.
    """

    def enter(function: _Function) -> _Function:
        name = function.__name__
        if name in LABELS:
            raise LabelError(f"label {name!r} is registered twice")
        LABELS[name] = Label(name, version, classes, function)
        return function

    return enter


@register(version=1)
def forward_max(bars: pd.DataFrame, horizon: int = 5, *, bar: Bar = None) -> pd.Series:
    """Return the best close of the next ``horizon`` − 1 bars against this close, minus 1: a best case, not a return.

    max(close[t+1 … t+horizon−1]) / close[t] − 1, what pylabwons 1.3.18 calls ``return5`` for a horizon of 5.

    Parameters
    ----------
    bars
        Indexed by time, with ``close``.
    horizon
        Bars from t on, itself included; at least 2.
    bar
        Calendar of the bars: where it has a gap within the horizon, the label is null. None counts rows.

    Returns
    -------
    pandas.Series
        Fractions, float64, on the index of ``bars``; the last ``horizon`` − 1 rows are null.

    Raises
    ------
    LabelError
        If ``close`` is missing or the horizon is too short.
    """
    _check_whole("horizon", horizon, least=2)
    close = pd.Series(_prices(bars, "close")[0])
    best = close.rolling(horizon - 1).max().shift(1 - horizon)
    return _series(bars, (best / close - 1).to_numpy(dtype=np.float64), "forward_max", horizon - 1, bar)


@register(version=1)
def outcome(bars: pd.DataFrame, horizon: int = 3, *, bar: Bar = None) -> pd.Series:
    """Return what a trade from the next open to the close ``horizon`` bars ahead makes, before costs.

    close[t+horizon] / open[t+1] − 1.

    Parameters
    ----------
    bars
        Indexed by time, with ``open`` and ``close``.
    horizon
        Bars held, at least 1.
    bar
        Calendar of the bars: where it has a gap within the horizon, the label is null. None counts rows.

    Returns
    -------
    pandas.Series
        Fractions, float64, on the index of ``bars``; the last ``horizon`` rows are null.

    Raises
    ------
    LabelError
        If a column is missing or the horizon is too short.
    """
    _check_whole("horizon", horizon, least=1)
    opening, close = _prices(bars, "open", "close")
    values = np.full(len(bars), np.nan)
    values[:-horizon] = close[horizon:] / opening[1 : len(bars) - horizon + 1] - 1
    return _series(bars, values, "outcome", horizon, bar)


@register(version=1, classes=(0, 1, 2))
def first_touch(
    bars: pd.DataFrame,
    take: float = 0.01,
    ratio: float = 2.0,
    horizon: int = 3,
    alignment: Alignment = "honest",
    *,
    bar: Bar = None,
) -> pd.Series:
    """Return which side reached its target first while the other stayed within its limit.

    Entry is open[t+1]; the target is ``take`` and the limit ``take / ratio``, fractions of close[t+1]. Walking
    t+1 … t+horizon with the lowest low and highest high so far: 2 at the first bar where the fall has reached the
    target and the rise is within the limit, 1 at the mirror image, 0 where neither comes. Reaching is inclusive; if
    both hold on one bar (possible only for ``ratio`` ≤ 1), 2 wins.

    This is the CNN article's ``mytarget(barsupfront)`` with ``horizon`` = barsupfront + 1: its (0.01, 2, barsupfront
    2) walks three bars. As there, the last ``horizon`` + 1 rows are null, one more than the look-ahead needs.

    Parameters
    ----------
    bars
        Indexed by time, with ``open``, ``high``, ``low`` and ``close``.
    take
        Target as a fraction of the price, positive.
    ratio
        Target over limit, positive.
    horizon
        Bars walked, at least 1.
    alignment
        ``honest``; or ``seed``, which shifts the label one bar forward as the article does. That leaks: the label at
        t then starts at open[t], and the features of t have seen that bar. It exists to show this.
    bar
        Calendar of the bars: where it has a gap within the horizon, the label is null. None counts rows.

    Returns
    -------
    pandas.Series
        0.0, 1.0, 2.0 or null, on the index of ``bars``. A missing price within the horizon gives null.

    Raises
    ------
    LabelError
        If a column is missing or a parameter is out of bounds.
    """
    _check_positive("take", take)
    _check_positive("ratio", ratio)
    _check_whole("horizon", horizon, least=1)
    if alignment not in ("honest", "seed"):
        raise LabelError(f"alignment is {alignment!r}; allowed are 'honest' and 'seed'")
    values = _first_touch(*_prices(bars, "open", "high", "low", "close"), float(take), float(ratio), horizon)
    label = _series(bars, values, "first_touch", horizon, bar)
    return label if alignment == "honest" else label.shift(1)


@register(version=1, classes=(0, 1, 2))
def triple_barrier(
    bars: pd.DataFrame, take: float = 0.01, stop: float = 0.005, horizon: int = 3, *, bar: Bar = None
) -> pd.Series:
    """Return which barrier a price from the next open on meets first: 1 the upper, 2 the lower, 0 none in time.

    The barriers are open[t+1] × (1 + take) and open[t+1] × (1 − stop), touched inclusively by highs and lows of
    t+1 … t+horizon (López de Prado, Advances in Financial Machine Learning, 3.4). A bar that touches both counts as
    the lower: the order within a bar is unknown, and the backtest too takes the stop before the target.

    Parameters
    ----------
    bars
        Indexed by time, with ``open``, ``high`` and ``low``.
    take, stop
        Distances as fractions of the entry, positive; ``stop`` below 1.
    horizon
        Bars until the vertical barrier, at least 1.
    bar
        Calendar of the bars: where it has a gap within the horizon, the label is null. None counts rows.

    Returns
    -------
    pandas.Series
        0.0, 1.0, 2.0 or null, on the index of ``bars``; the last ``horizon`` rows are null. A missing price within
        the horizon gives null.

    Raises
    ------
    LabelError
        If a column is missing or a parameter is out of bounds.
    """
    _check_positive("take", take)
    _check_positive("stop", stop)
    if stop >= 1:
        raise LabelError(f"stop is {stop}; allowed are fractions below 1, as a price cannot fall further")
    _check_whole("horizon", horizon, least=1)
    values = _triple_barrier(*_prices(bars, "open", "high", "low"), float(take), float(stop), horizon)
    return _series(bars, values, "triple_barrier", horizon, bar)


def _first_touch_loop(
    opening: FloatArray,
    high: FloatArray,
    low: FloatArray,
    close: FloatArray,
    take: float,
    ratio: float,
    horizon: int,
) -> FloatArray:
    rows = len(opening)
    labels = np.full(rows, np.nan)
    for row in range(rows - horizon - 1):
        target = close[row + 1] * take
        limit = target / ratio
        fall = 0.0
        rise = 0.0
        label = 0.0
        missing = np.isnan(opening[row + 1]) or np.isnan(target)
        for ahead in range(row + 1, row + horizon + 1):
            missing = missing or np.isnan(high[ahead]) or np.isnan(low[ahead])
            fall = max(fall, opening[row + 1] - low[ahead])
            rise = max(rise, high[ahead] - opening[row + 1])
            if label == 0.0 and fall >= target and rise <= limit:
                label = 2.0
            elif label == 0.0 and fall <= limit and rise >= target:
                label = 1.0
        if not missing:
            labels[row] = label
    return labels


def _triple_barrier_loop(
    opening: FloatArray, high: FloatArray, low: FloatArray, take: float, stop: float, horizon: int
) -> FloatArray:
    rows = len(opening)
    labels = np.full(rows, np.nan)
    for row in range(rows - horizon):
        upper = opening[row + 1] * (1.0 + take)
        lower = opening[row + 1] * (1.0 - stop)
        label = 0.0
        missing = np.isnan(upper)
        for ahead in range(row + 1, row + horizon + 1):
            missing = missing or np.isnan(high[ahead]) or np.isnan(low[ahead])
            if label == 0.0 and low[ahead] <= lower:
                label = 2.0
            elif label == 0.0 and high[ahead] >= upper:
                label = 1.0
        if not missing:
            labels[row] = label
    return labels


_first_touch = numba.njit(cache=True)(_first_touch_loop)
_triple_barrier = numba.njit(cache=True)(_triple_barrier_loop)


def _prices(bars: pd.DataFrame, *columns: str) -> list[FloatArray]:
    for column in columns:
        if column not in bars.columns:
            raise LabelError(f"bars have no column {column!r}; they have {', '.join(map(str, bars.columns))}")
    return [np.ascontiguousarray(bars[column].to_numpy(dtype=np.float64)) for column in columns]


def _series(bars: pd.DataFrame, values: FloatArray, name: str, reach: int, bar: Bar) -> pd.Series:
    """Return values on the index of the bars, null where the ``reach`` bars ahead cross a gap."""
    if bar is not None:
        number = segments(pd.DatetimeIndex(bars.index), bar)
        crossing = np.append(number[reach:] != number[:-reach], np.zeros(min(reach, len(number)), dtype=bool))
        values = np.where(crossing, np.nan, values)
    return pd.Series(values, index=bars.index, name=name)


def _check_whole(name: str, value: Any, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise LabelError(f"{name} is {value!r}; allowed are whole numbers from {least}")


def _check_positive(name: str, value: Any) -> None:
    if not np.isfinite(value) or value <= 0:
        raise LabelError(f"{name} is {value!r}; allowed are positive finite numbers")
