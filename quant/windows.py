"""Windows: the last ``length`` rows before a moment, as views of the rows or cut when a batch is fed.

Windows overlap, so those of a whole market are ``length`` times its rows; they are never all laid out in memory.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from numpy.lib.stride_tricks import sliding_window_view

from quant.bars import Bar, segments

Positions = npt.NDArray[np.intp]


class WindowError(ValueError):
    """Rows from which windows cannot be cut as asked."""


def select(
    features: pd.DataFrame, chosen: pd.Series, length: int, bar: Bar = None
) -> tuple[npt.NDArray[Any], pd.DatetimeIndex]:
    """Return the windows of one ticker that end where ``chosen`` is true, and the times they end at.

    Rows with a null feature are dropped; infinities are kept (``quant.scaling`` clips them).

    Parameters
    ----------
    features
        Indexed by strictly increasing time, one column a feature, of one numeric type.
    chosen
        Boolean, indexed by time; where it is null or has no row, nothing is chosen.
    length
        Rows of a window, at least 1.
    bar
        Calendar of the bars: no window spans a gap in it or a dropped row. None cuts by position after dropping, as
        the clustering notebook does, straight across both.

    Returns
    -------
    windows
        n × length × features, oldest row first, in time order, of the features' type. Where the windows follow one
        another without a break this is a read-only view of the features' own memory, otherwise a copy.
    times
        The n times of the windows' last rows.

    Raises
    ------
    WindowError
        If the length is out of bounds, a feature is not numeric, ``chosen`` is not boolean, or only one of the two
        indexes has a time zone.
    BarsError
        If the times are not strictly increasing, or ``bar`` is no calendar of theirs.
    """
    mask = _aligned(chosen, features)
    values = _numbers(features)
    complete = ~np.isnan(values).any(axis=1)
    times = pd.DatetimeIndex(features.index)
    if bar is None and not complete.all():
        values, mask, times = values[complete], mask[complete], times[complete]
        complete = complete[complete]
    last = ends(complete, segments(times, bar), length)
    last = last[mask[last]]
    if len(last) and last[-1] - last[0] == len(last) - 1:
        return _views(values[last[0] - length + 1 : last[-1] + 1], length), times[last]
    return cut(values, last, length), times[last]


def ends(complete: npt.NDArray[np.bool_], segment: npt.NDArray[np.int64], length: int) -> Positions:
    """Return the positions where a window may end: ``length`` complete rows of one segment up to and with it.

    Parameters
    ----------
    complete
        Whether each row has all its values.
    segment
        Number of the stretch without a gap that each row belongs to (``quant.bars.segments``).
    length
        Rows of a window, at least 1.

    Raises
    ------
    WindowError
        If the length is out of bounds or the arrays differ in length.
    """
    _check_length(length)
    if len(complete) != len(segment):
        raise WindowError(f"there are {len(complete)} rows but segments of {len(segment)}; they must be the same rows")
    position = np.arange(len(complete))
    starts = np.append(True, segment[1:] != segment[:-1])[: len(complete)]
    # The first row of the unbroken stretch that a row lies in: where its segment starts, or after the last null row.
    first = np.maximum.accumulate(np.where(complete, np.where(starts, position, 0), position + 1))
    return np.flatnonzero(position - first + 1 >= length)


def cut(rows: npt.NDArray[Any], ends: Positions, length: int) -> npt.NDArray[Any]:
    """Return a batch of windows, len(ends) × length × features, each a copy of ``length`` rows up to and with its end.

    Parameters
    ----------
    rows
        Rows × features. Fastest when C-contiguous, as the rows of a window then lie side by side.
    ends
        Positions of the windows' last rows, in any order (``ends``).
    length
        Rows of a window, at least 1.

    Raises
    ------
    WindowError
        If the length is out of bounds, or a window would begin before the first row or end after the last.
    """
    _check_length(length)
    ends = np.asarray(ends, dtype=np.intp)
    if len(ends) and (ends.min() < length - 1 or ends.max() >= len(rows)):
        raise WindowError(
            f"windows of {length} rows that end at rows {ends.min()} to {ends.max()} do not fit into {len(rows)} rows"
        )
    return np.ascontiguousarray(rows).take(ends[:, np.newaxis] + np.arange(1 - length, 1), axis=0)


def _views(rows: npt.NDArray[Any], length: int) -> npt.NDArray[Any]:
    return sliding_window_view(rows, length, axis=0).swapaxes(1, 2)


def _numbers(features: pd.DataFrame) -> npt.NDArray[Any]:
    values = features.to_numpy()
    if values.dtype.kind not in "fiu":
        wrong = next(name for name, dtype in features.dtypes.items() if dtype.kind not in "fiu")
        raise WindowError(f"feature {wrong!r} has type {features[wrong].dtype}; features must be numbers")
    return values


def _aligned(chosen: pd.Series, features: pd.DataFrame) -> npt.NDArray[np.bool_]:
    if not pd.api.types.is_bool_dtype(chosen.dtype):
        raise WindowError(f"the choice of windows has type {chosen.dtype}; it must be boolean, as in label >= 0.05")
    if chosen.index.equals(features.index):
        return chosen.to_numpy(dtype=np.bool_, na_value=False)
    if (pd.DatetimeIndex(chosen.index).tz is None) != (pd.DatetimeIndex(features.index).tz is None):
        raise WindowError("one of features and choice has a time zone and the other has none; give both the same")
    return np.asarray(features.index.isin(chosen.index[chosen.to_numpy(dtype=np.bool_, na_value=False)]))


def _check_length(length: int) -> None:
    if isinstance(length, bool) or not isinstance(length, int | np.integer) or length < 1:
        raise WindowError(f"the length of a window is {length!r}; allowed are whole numbers of rows from 1")
