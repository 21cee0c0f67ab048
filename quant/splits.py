"""Parts of the calendar: fit, validate, choose and judge, in this order and at the same instants for every ticker.

A factor common to the market makes one coin's future another coin's leak, so parts are never cut per ticker. A purge
at the end of a part drops the rows whose labels look into the next one; an embargo at the start of a part drops those
whose features still remember the one before.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pandas as pd

NAMES = ("fit", "validate", "choose", "judge")


class SplitError(ValueError):
    """Parts that cannot be cut as asked."""


@dataclass(frozen=True)
class Part:
    """A stretch of the calendar: rows from ``start`` on and before ``end``, both in UTC."""

    name: str
    start: pd.Timestamp
    end: pd.Timestamp

    def rows(self, index: pd.DatetimeIndex) -> npt.NDArray[np.bool_]:
        """Return which times lie in the part; times without a zone are UTC."""
        aware = index.tz_localize("UTC") if index.tz is None else index
        return np.asarray((aware >= self.start) & (aware < self.end))


def split(
    start: datetime | str,
    end: datetime | str,
    bar: pd.Timedelta | pd.DatetimeIndex,
    fractions: Mapping[str, float],
    purge: int,
    embargo: int = 0,
) -> dict[str, Part]:
    """Cut the bars of a span into parts by their shares.

    Parameters
    ----------
    start, end
        The span: bars that open at ``start`` or later, and before ``end``. Without a zone they are UTC.
    bar
        Length of a bar, or the sessions of the market.
    fractions
        Share of the bars by name, in time order; positive, 1 in all.
    purge
        Bars dropped at the end of every part but the last: at least the horizon of the label.
    embargo
        Bars dropped at the start of every part but the first.

    Returns
    -------
    dict
        ``Part`` by name, in time order.

    Raises
    ------
    SplitError
        If the span, a share, the purge or the embargo makes no sense, or a part would be left without a bar.
    """
    total = sum(fractions.values())
    for name, fraction in fractions.items():
        if not fraction > 0:
            raise SplitError(f"the share of part {name!r} is {fraction}; allowed are positive fractions")
    if not np.isclose(total, 1.0, rtol=0, atol=1e-9):
        raise SplitError(f"the shares of {', '.join(fractions) or 'no parts'} add up to {total}; they must add up to 1")
    grid = bar_openings(utc(start), utc(end), bar)
    # Rounded before flooring, so that 0.1 + 0.2 of ten bars are three of them.
    shares = np.round(np.cumsum([0.0, *fractions.values()]) * (len(grid) - 1), 6)
    return _parts(list(fractions), np.floor(shares).astype(int), grid, purge, embargo)


def split_at(
    starts: Mapping[str, datetime | str],
    end: datetime | str,
    bar: pd.Timedelta | pd.DatetimeIndex,
    purge: int,
    embargo: int = 0,
) -> dict[str, Part]:
    """Cut parts at given instants: ``starts`` holds each part's first instant by name, in time order.

    The other parameters, the result and the errors are those of ``split``. A start between two bars means the later.

    Raises
    ------
    SplitError
        If the starts are not increasing or not before ``end``, or a part would be left without a bar.
    """
    if not starts:
        raise SplitError("there are no parts; give at least one start")
    instants = {name: utc(start) for name, start in starts.items()}
    for (earlier, before), (later, after) in pairwise(instants.items()):
        if after <= before:
            raise SplitError(f"part {later!r} starts at {after}, not after part {earlier!r} at {before}")
    last = list(instants)[-1]
    if instants[last] >= utc(end):
        raise SplitError(f"part {last!r} starts at {instants[last]}, not before the end of the span at {utc(end)}")
    grid = bar_openings(min(instants.values()), utc(end), bar)
    borders = [*np.searchsorted(grid, pd.DatetimeIndex(list(instants.values()))), len(grid) - 1]
    return _parts(list(instants), borders, grid, purge, embargo)


def utc(instant: datetime | str) -> pd.Timestamp:
    """Return an instant in UTC; without a zone it is taken as UTC.

    Raises
    ------
    SplitError
        If it is none.
    """
    stamp = pd.to_datetime(instant, errors="coerce")
    if pd.isna(stamp):
        raise SplitError(f"{instant!r} is no instant; the form is 2024-01-31 or 2024-01-31T12:00Z")
    return stamp.tz_localize("UTC") if stamp.tz is None else stamp.tz_convert("UTC")


def bar_openings(start: pd.Timestamp, end: pd.Timestamp, bar: pd.Timedelta | pd.DatetimeIndex) -> pd.DatetimeIndex:
    """Return the openings of all bars of a span, and the end of the span after them.

    Raises
    ------
    SplitError
        If the span is empty, or the length of a bar is not positive.
    """
    if not start < end:
        raise SplitError(f"the span starts at {start} and ends at {end}; it must end later than it starts")
    if isinstance(bar, pd.DatetimeIndex):
        sessions = (bar.tz_localize("UTC") if bar.tz is None else bar.tz_convert("UTC")).unique().sort_values()
        inside = sessions[(sessions >= start) & (sessions < end)]
        return pd.DatetimeIndex(inside.append(pd.DatetimeIndex([end])))
    if bar <= pd.Timedelta(0):
        raise SplitError(f"the length of a bar is {bar}; it must be positive")
    openings = pd.date_range(start, end, freq=bar, inclusive="left")
    return pd.DatetimeIndex(openings.append(pd.DatetimeIndex([end])))


def _parts(
    names: Sequence[str],
    borders: Sequence[int] | npt.NDArray[np.int_],
    grid: pd.DatetimeIndex,
    purge: int,
    embargo: int,
) -> dict[str, Part]:
    """Return parts between neighbouring borders, which are positions in the grid, less purge and embargo."""
    for what, bars in (("purge", purge), ("embargo", embargo)):
        if isinstance(bars, bool) or not isinstance(bars, int | np.integer) or bars < 0:
            raise SplitError(f"{what} is {bars!r}; allowed are whole numbers of bars from 0")
    parts = {}
    for number, name in enumerate(names):
        first = int(borders[number]) + (embargo if number else 0)
        after = int(borders[number + 1]) - (purge if number < len(names) - 1 else 0)
        if after <= first:
            raise SplitError(
                f"part {name!r} has {borders[number + 1] - borders[number]} bars of {len(grid) - 1}, and none is left "
                f"after a purge of {purge} and an embargo of {embargo}; give it a larger share or a longer span"
            )
        parts[name] = Part(name, grid[first], grid[after])
    return parts
