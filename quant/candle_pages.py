"""Pages of candles or rates as a service gives them, put together: every row once, in order, and always an end.

Services differ in what a page that is asked for *from a moment on* holds: the first rows from there, the rows of a
window that begins there, or their latest rows. A page may be short, empty, unordered, and begin early or late.
"""

import bisect
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

LATEST = 2**53  # milliseconds; no clock shows that
FUTURE = 30 * 86_400_000  # milliseconds that a row may lie behind the end asked for: a run takes hours, not months
LOOKED_BACK = 12  # rows whose distances tell when the next one is due
OVERLAP = 1.1  # a coarse bar may be longer than its nominal length: months of 31 days


class PageError(ValueError):
    """A page whose rows cannot be told apart or placed in time."""


class Page(NamedTuple):
    """Rows: times in ms since 1970 (int64), and their values (float64, rows × columns)."""

    times: NDArray[np.int64]
    values: NDArray[np.float64]


def page(rows: Sequence[Any], columns: int) -> Page:
    """Read rows of (time in ms, value, …); a value that is no number is NaN, which validation will name.

    Raises
    ------
    PageError
        If a row is no list of so many values, or its time no whole number of milliseconds.
    """
    times = np.empty(len(rows), np.int64)
    values = np.empty((len(rows), columns), np.float64)
    for place, row in enumerate(rows):
        if not isinstance(row, list | tuple) or len(row) <= columns:
            raise PageError(f"row {place} of a page is {str(row)[:80]!r}; allowed is a time and {columns} values")
        time = row[0]
        if isinstance(time, bool) or not isinstance(time, int | float) or not 0 <= time <= LATEST or time != int(time):
            raise PageError(f"row {place} of a page has the time {str(time)[:40]!r}; allowed are whole ms since 1970")
        times[place] = int(time)
        values[place] = [_number(value) for value in row[1 : columns + 1]]
    return Page(times, values)


def forward(
    ask: Callable[[int], Page],
    start: int,
    stop: int,
    *,
    step: int,
    span: int,
    leap: Callable[[int], int] = lambda start: start,
    rest: Callable[[Page], int] = lambda found: 0,
) -> Iterator[Page]:
    """Yield the rows with ``start <= time < stop``: pages in order, each sorted, and no time twice.

    Of rows with the same time in a page the last one counts; a row that a later page brings once more does not. Every
    request asks from a later moment on than the one before, so that there is an end whatever is answered.

    Parameters
    ----------
    ask
        The page from a moment on.
    step
        Milliseconds from a row to the first moment at which the next one may lie: the length of a bar.
    span
        Milliseconds that an empty page shows to be empty at least: what a page has room for.
    leap
        First moment, not before the one given, from which on there may be rows.
    rest
        Milliseconds after the last row of a page in which no other lies, as far as the page tells.

    Raises
    ------
    PageError
        If a row lies more than ``FUTURE`` behind ``stop``.
    """
    while start < stop:
        given = ask(start)
        latest = int(given.times.max(initial=-1))
        if latest > stop + FUTURE:
            raise PageError(
                f"a page has a row of {_said(latest)}, long after {_said(stop)}, where all that was asked for ends"
            )
        found = _between(given, start, stop)
        if len(found.times):
            yield found
            start = int(found.times[-1]) + step
            if int(found.times[-1]) + rest(found) >= stop:
                return
        elif latest >= stop:
            return  # the first row that there is from `start` on lies behind the end
        else:
            start = max(start + span, leap(start + span))


class Voids:
    """Where there are no rows, as told by bars so long that a page of them covers years: a page then saves hundreds."""

    def __init__(
        self, ask: Callable[[int], Page], length: int, span: int, stop: int, finer: "Voids | None" = None
    ) -> None:
        """Takes how a page of long bars is asked for, the length of one in ms, and what a page of them covers.

        Nothing is asked from ``stop`` on. ``finer`` looks on with shorter bars where a long one holds rows.
        """
        self._ask, self._length, self._span, self._stop, self._finer = ask, length, span, stop, finer
        self._opens: list[int] = []
        self._known_until = -1

    def leap(self, start: int, stop: float = LATEST) -> int:
        """Return the first moment, ``start`` or later, from which on there may be rows; ``stop`` or later for none."""
        while start < min(stop, self._stop):
            if start >= self._known_until:
                begin = max(0, start - 2 * self._length)  # a service leaves out the bar that holds `start`
                self._opens = sorted(int(time) for time in self._ask(begin).times)
                last = self._opens[-1] + self._length if self._opens else 0
                self._known_until = max(begin + self._span, last, start + 1)
            holding = bisect.bisect_right(self._opens, start - OVERLAP * self._length)
            if holding == len(self._opens):
                start = self._known_until
                continue
            start, end = max(start, self._opens[holding]), self._opens[holding] + OVERLAP * self._length
            if self._finer is None:
                return start
            start = self._finer.leap(start, end)
            if start < end:
                return start
        return start


def usual_rest(rows: Page) -> int:
    """Milliseconds in which no row follows the last one, if the last ones' smallest distance holds; 0 for one row.

    A minute less than that: rates are dated some milliseconds late.
    """
    distances = np.diff(rows.times[-LOOKED_BACK:])
    return max(0, int(distances.min()) - 60_000) if len(distances) else 0


def merged(old: Page, new: Page) -> Page:
    """Rows of both, sorted; of two with the same time the new one."""
    times = np.concatenate([old.times, new.times])
    return _unique(Page(times, np.concatenate([old.values, new.values])))


def by_month(rows: Page) -> Iterator[tuple[str, Page]]:
    """Cut sorted rows into calendar months in UTC, each named ``2024-01``."""
    months = rows.times.astype("datetime64[ms]").astype("datetime64[M]")
    for month in np.unique(months):
        first, last = np.searchsorted(months, month), np.searchsorted(months, month, side="right")
        yield str(month), Page(rows.times[first:last], rows.values[first:last])


def _between(rows: Page, start: int, stop: int) -> Page:
    inside = (rows.times >= start) & (rows.times < stop)
    return _unique(Page(rows.times[inside], rows.values[inside]))


def _unique(rows: Page) -> Page:
    order = np.argsort(rows.times, kind="stable")
    times = rows.times[order]
    last = np.append(times[1:] != times[:-1], True)[: len(times)]
    return Page(times[last], rows.values[order][last])


def _number(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:
        return float("inf")
    except (TypeError, ValueError):
        return float("nan")


def _said(milliseconds: int) -> str:
    try:
        return str(np.datetime64(milliseconds, "ms"))
    except (ValueError, OverflowError):
        return f"{milliseconds} ms"
