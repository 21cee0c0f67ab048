"""The clustering notebook's windows, to its last digit: what comes before a rise, tickers on one grid of times.

The notebook stacks all tickers, scales each indicator by one median and one interquartile range over all of them, drops
the rows in which an indicator or the answer is null, and cuts a window wherever the answer is high enough. Here the
same numbers come from one array. What is wrong with these windows is kept, as it is the notebook's: only winners are
chosen, the scaling has seen everything, and windows are cut by position, straight across gaps.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from quant import features, labels
from quant.feature_registry import candles_of
from quant.indicators import pandas_rolling_deviation, pandas_rolling_mean
from quant.pattern_features import BAND_WINDOW, bollinger, centred_strength, pattern8
from quant.windows import cut, ends

FEATURE_SET = "pattern8"
COLUMNS = features.columns(FEATURE_SET)

FloatArray = npt.NDArray[np.float64]


class NotebookError(ValueError):
    """Bars from which the notebook's windows cannot be made."""


@dataclass(frozen=True, eq=False)
class NotebookWindows:
    """Windows that end where the answer is high enough, by time and then in the order of the tickers.

    Parameters
    ----------
    values
        Scaled features, n × length × columns, oldest row first.
    outcome
        The answer at each window's last row (n), a fraction.
    tickers
        Of each window (n), str.
    times
        Of each window's last row (n), as the bars are indexed.
    columns
        Names of the features.
    center, scale
        Of each feature, in its unit: scaled = (value − center) / scale.
    """

    values: FloatArray
    outcome: FloatArray
    tickers: npt.NDArray[np.str_]
    times: pd.DatetimeIndex
    columns: tuple[str, ...]
    center: FloatArray
    scale: FloatArray

    def __len__(self) -> int:
        """Return the number of windows."""
        return len(self.outcome)

    def unscaled(self, values: npt.NDArray[Any]) -> FloatArray:
        """Return values in the features' own units; the last axis is the columns, as in a window or a mean of some.

        Raises
        ------
        NotebookError
            If the last axis has another length.
        """
        if values.shape[-1:] != (len(self.columns),):
            raise NotebookError(
                f"values of shape {values.shape} do not end in the {len(self.columns)} columns "
                f"{', '.join(self.columns)}"
            )
        return np.asarray(values * self.scale + self.center, dtype=np.float64)


def windows(
    bars: Mapping[str, pd.DataFrame], *, horizon: int = 5, answer: float = 0.05, length: int = 18
) -> NotebookWindows:
    """Return the windows that the notebook extracts, equal to its own bit for bit.

    ``obv_slope`` is the exception: pylabwons takes it from a product whose last digits are the machine's.

    Parameters
    ----------
    bars
        Frame with open, high, low, close and volume by ticker, in alphabetical order in the notebook; all on the same
        times, NaN where a ticker has no bar.
    horizon
        Of the answer, ``quant.labels.forward_max``, at least 2: the notebook's return5 has 5.
    answer
        The least outcome of a window, a fraction.
    length
        Rows of a window, at least 1.

    Raises
    ------
    NotebookError
        If there are no bars, a ticker is on other times, times do not increase, the answer is not a number, a feature
        is infinite (``infinite`` tells beforehand), or a feature has no value at all.
    FeatureError, LabelError, WindowError
        If a column is missing, or the horizon or the length is out of bounds.
    """
    times = _grid(bars)
    if not np.isfinite(answer):
        raise NotebookError(f"the least outcome of a window is {answer}; it must be a finite number")
    rows = np.empty((len(bars), len(times), len(COLUMNS)))
    outcome = np.empty((len(bars), len(times)))
    for place, (ticker, frame) in enumerate(bars.items()):
        rows[place] = features.compute(frame, FEATURE_SET).to_numpy()
        outcome[place] = labels.forward_max(frame, horizon).to_numpy()
        _refuse_infinite(ticker, times, rows[place])
    center, scale = _robust(rows.reshape(-1, len(COLUMNS)))

    complete = ~(np.isnan(rows).any(axis=2) | np.isnan(outcome))
    rows, outcome = rows[complete], outcome[complete]
    number, moment = np.nonzero(complete)
    # Dropped rows have left, so that only the next ticker ends a stretch.
    last = ends(np.ones(len(rows), dtype=np.bool_), number, length)
    last = last[outcome[last] >= answer]
    last = last[np.argsort(moment[last], kind="stable")]
    values = cut(rows, last, length)
    values -= center
    values /= scale
    return NotebookWindows(
        values=values,
        outcome=outcome[last],
        tickers=np.array(list(bars), dtype=np.str_)[number[last]],
        times=times[moment[last]],
        columns=COLUMNS,
        center=center,
        scale=scale,
    )


def infinite(bars: pd.DataFrame) -> str | None:
    """Say which feature of a ticker is infinite, and when first; None if none is.

    The notebook's scaler refuses the whole market for one such value: ``v_roc`` where trade follows seven bars without
    any volume, or ``log_return`` at a price of 0. Whoever leaves the ticker out can go on.

    Parameters
    ----------
    bars
        As for ``windows``, of one ticker.

    Raises
    ------
    FeatureError
        If a column is missing or not numeric.
    """
    return _first_infinite(pd.DatetimeIndex(bars.index), features.compute(bars, FEATURE_SET).to_numpy())


def viewer(bars: pd.DataFrame) -> pd.DataFrame:
    """Return what the notebook's candle viewer draws beside the candles of a ticker.

    Parameters
    ----------
    bars
        As for ``windows``, of one ticker.

    Returns
    -------
    DataFrame
        float64 on the index of ``bars``: bb_lower, bb_middle and bb_upper in price, bb_width in percent of the middle,
        rsi in points about 0; null where the 20 closes of a band are not all there, or no nine changes for the rsi.

    Raises
    ------
    FeatureError
        If a column is missing or not numeric.
    """
    candles = candles_of(bars, pattern8)
    middle = pandas_rolling_mean(candles.close, BAND_WINDOW)
    deviation = pandas_rolling_deviation(candles.close, BAND_WINDOW)
    with np.errstate(divide="ignore", invalid="ignore"):
        width, strength = bollinger(candles)[1], centred_strength(candles)
    return pd.DataFrame(
        {
            "bb_lower": middle - 2 * deviation,
            "bb_middle": middle,
            "bb_upper": middle + 2 * deviation,
            "bb_width": width,
            "rsi": strength,
        },
        index=bars.index,
    )


def _grid(bars: Mapping[str, pd.DataFrame]) -> pd.DatetimeIndex:
    """Return the times that all tickers share."""
    if not bars:
        raise NotebookError("there are no bars; give those of one ticker or more")
    first, *_ = bars
    times = bars[first].index
    if not isinstance(times, pd.DatetimeIndex):
        raise NotebookError(f"the bars of {first!r} are indexed by {times.dtype}; they must be indexed by time")
    if not (times.is_monotonic_increasing and times.is_unique):
        raise NotebookError(f"the times of {first!r} do not strictly increase; sort them and drop what is double")
    for ticker, frame in bars.items():
        if not frame.index.equals(times):
            raise NotebookError(
                f"the bars of {ticker!r} are not on the {len(times)} times of {first!r}; put all tickers on "
                "the same times, NaN where one has no bar"
            )
    return times


def _first_infinite(times: pd.DatetimeIndex, rows: FloatArray) -> str | None:
    found = np.isinf(rows)
    if not found.any():
        return None
    row, column = np.argwhere(found)[0]
    return f"feature {COLUMNS[column]!r} is {rows[row, column]} at {times[row]}"


def _refuse_infinite(ticker: str, times: pd.DatetimeIndex, rows: FloatArray) -> None:
    found = _first_infinite(times, rows)
    if found:
        raise NotebookError(f"{ticker!r}: {found}; the notebook's scaler takes finite values and NaN, leave it out")


def _robust(rows: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return medians and interquartile ranges as scikit-learn's RobustScaler has them, to the last digit.

    ``quant.scaling`` takes the median for a percentile, which rounds its last digit otherwise.
    """
    center, scale = np.empty(len(COLUMNS)), np.empty(len(COLUMNS))
    for position, column in enumerate(COLUMNS):
        values = rows[:, position]
        values = values[~np.isnan(values)]
        if not len(values):
            raise NotebookError(
                f"feature {column!r} has no value in any ticker; there are too few bars, or too many gaps"
            )
        center[position] = np.median(values)
        lower, upper = np.percentile(values, [25.0, 75.0])
        scale[position] = upper - lower
    # scikit-learn's bound below which a column counts as constant
    scale[scale < 10 * np.finfo(np.float64).eps] = 1.0
    return center, scale
