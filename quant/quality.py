"""What is odd about valid bars: told with its place, and left as it is.

Validation sets aside what no bar can be; what is found here may be true, so nothing is changed by it. A flag is a
reason to look, not a verdict: an illiquid market is stale, and an exchange's outage is a gap.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from quant.bars import COLUMNS, Bar, BarsError, segments

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

RUN_BARS = 4
"""Bars of a run without volume or movement. One is a quiet quarter of an hour; four in a row of 15 minutes is the
shortest stretch that a copy of the exchange's data is known to have lost and filled."""

WINDOW = 20
"""Bars on either side that a jump is judged by: enough for a median, and too few for a market to change in."""
FACTORS = (2, 3, 4, 5, 8, *(10**power for power in range(1, 10)))
"""What prices are multiplied or divided by where shares are split or a coin gets another unit."""
FACTOR_TOLERANCE = 0.05
"""Distance of a jump from its factor, in log price: what a market moves while it is closed for the change."""
CERTAIN_FACTOR = 10
"""From here on the price alone tells: no market opens at a tenth of its close, and then trades quietly."""
VOLUME_SHARE = 0.5
"""Share of a smaller jump, in log, that the volume must make up for; all of it would leave the turnover as it was."""
QUIET_RANGE = 2.5
"""Times the range of the bars before, at most, that the bars after a redenomination have; those of a crash have more,
for what moves a market by half in one step does not leave it calm."""

BLOCK = 96
"""Bars of the surroundings that a spike is compared with, before, about and after it: a day of 15 minutes each."""
SPIKE_RANGES = 20.0
"""Usual ranges of a bar that a spike exceeds both of its neighbours' closes by."""
SPIKE_LEAST = 0.02
"""Least spike, in log price: below, it is no more than a stop's slippage."""
VOLUME_TIMES = 1_000.0
"""Usual volumes of a bar that an absurd one exceeds; news makes hundreds."""

_CHUNK = 100_000


@dataclass(frozen=True)
class Found:
    """Flags of one kind: first and last position of each (or times, of what is missing), bars and a value."""

    start: Indices
    end: Indices
    bars: Indices
    value: Floats


@dataclass(frozen=True)
class Series:
    """Valid bars as arrays of one length n: int64 times in µs, float64 values, int64 number of the gapless stretch."""

    times: Indices
    opening: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    segment: Indices
    bar: Bar


@dataclass(frozen=True)
class Kind:
    """One kind of flag: its name for a reader, the rule in a sentence, what its value is, and what finds it."""

    label: str
    rule: str
    value: str
    find: Callable[[Series], Found]


def flags(bars: pd.DataFrame, bar: Bar) -> pd.DataFrame:
    """Return what is odd about bars, as ``quant.schemas.QUALITY``: a row a flag, sorted by kind and start.

    Parameters
    ----------
    bars
        Valid bars as ``quant.schemas.BARS``: what ``quant.bars.validate`` returns. They are not changed.
    bar
        Length of a bar, or the sessions of a market; None, for no calendar, knows no gaps.

    Raises
    ------
    BarsError
        If a column is missing, or the times are not as ``quant.bars.segments`` wants them.
    """
    series = _series(bars, bar)
    return pd.concat([_table(name, kind, kind.find(series), series) for name, kind in KINDS.items()]).reset_index(
        drop=True
    )


def counts(found: pd.DataFrame) -> dict[str, int]:
    """Number of flags by kind, 0 where there is none."""
    return {name: int((found["kind"] == name).sum()) for name in KINDS}


def _series(bars: pd.DataFrame, bar: Bar) -> Series:
    absent = [name for name in COLUMNS if name not in bars]
    if absent:
        raise BarsError(f"column {absent[0]!r} is missing; needed are {', '.join(COLUMNS)}")
    index = pd.DatetimeIndex(bars.index)
    opening, high, low, close, volume = (bars[name].to_numpy(dtype=np.float64) for name in COLUMNS)
    return Series(_microseconds(index), opening, high, low, close, volume, segments(index, bar), bar)


def _microseconds(index: pd.DatetimeIndex) -> Indices:
    aware = index.tz_localize("UTC") if index.tz is None else index.tz_convert("UTC")
    return aware.as_unit("us").asi8


def _table(name: str, kind: Kind, found: Found, series: Series) -> pd.DataFrame:
    missing = name == "gap"
    start, end = (place if missing else series.times[place] for place in (found.start, found.end))
    return pd.DataFrame(
        {
            "kind": pd.Series([name] * len(start), dtype="str"),
            "start": pd.DatetimeIndex(start.view("datetime64[us]"), tz="UTC"),
            "end": pd.DatetimeIndex(end.view("datetime64[us]"), tz="UTC"),
            "bars": found.bars,
            "value": found.value,
            "detail": pd.Series([f"{kind.value} {value:.6g}" for value in found.value.tolist()], dtype="str"),
        }
    )


def _gaps(series: Series) -> Found:
    before = np.flatnonzero(np.diff(series.segment))
    left, right = series.times[before], series.times[before + 1]
    if isinstance(series.bar, pd.DatetimeIndex):
        sessions = np.unique(_microseconds(series.bar))
        first, last = np.searchsorted(sessions, left) + 1, np.searchsorted(sessions, right) - 1
        return Found(sessions[first], sessions[last], last - first + 1, (right - left) / 3.6e9)
    length = 1 if series.bar is None else series.bar // pd.Timedelta(microseconds=1)
    # validated bars are whole bars apart; a shorter step would leave nothing to name
    missing = np.maximum((right - left) // length - 1, 0)
    real = missing > 0
    left, right, missing = left[real], right[real], missing[real]
    return Found(left + length, left + missing * length, missing, missing * length / 3.6e9)


def _runs(member: npt.NDArray[np.bool_], same: npt.NDArray[np.bool_]) -> Iterator[Indices]:
    """Yield the first and the last position of runs of members; ``same`` tells whether one continues the one before."""
    begins = member & ~np.append(False, member[:-1] & same)
    ends = member & ~np.append(member[1:] & same, False)
    first, last = np.flatnonzero(begins), np.flatnonzero(ends)
    long = last - first + 1 >= RUN_BARS
    yield from (first[long], last[long])


def _zero_volume(series: Series) -> Found:
    first, last = _runs(series.volume == 0, np.diff(series.segment) == 0)
    return Found(first, last, last - first + 1, series.close[first])


def _stale(series: Series) -> Found:
    flat = series.high == series.low  # valid bars open and close between the two
    unchanged = (np.diff(series.close) == 0) & (np.diff(series.segment) == 0)
    first, last = _runs(flat, unchanged)
    return Found(first, last, last - first + 1, series.close[first])


def _redenominations(series: Series) -> Found:
    jump = np.log(series.opening[1:]) - np.log(series.close[:-1])
    known = np.log(np.array(FACTORS, dtype=np.float64))
    place = np.flatnonzero(np.abs(jump) >= known[0] - FACTOR_TOLERANCE) + 1
    place = place[(place >= WINDOW) & (place + WINDOW <= len(series.close))]
    near = np.abs(np.abs(jump[place - 1])[:, None] - known).min(axis=1, initial=np.inf) <= FACTOR_TOLERANCE
    place = place[near]
    real = np.concatenate([np.zeros(0, dtype=bool), *(_rescaled(series, jump, part) for part in _chunks(place))])
    place = place[real]
    return Found(place, place, np.ones_like(place), np.exp(jump[place - 1]))


def _rescaled(series: Series, jump: Floats, place: Indices) -> npt.NDArray[np.bool_]:
    """Whether prices stay where each jump took them, quietly, with the volume that the change of unit makes."""
    step = jump[place - 1]
    sides = [place[:, None] - WINDOW + np.arange(WINDOW), place[:, None] + np.arange(WINDOW)]
    before, after = (np.median(np.log(series.close[side]), axis=1) for side in sides)
    range_before, range_after = (np.median(np.log(series.high[side] / series.low[side]), axis=1) for side in sides)
    volume_before, volume_after = (np.median(series.volume[side], axis=1) for side in sides)
    stays = np.abs(after - before - step) <= np.abs(step) / 2
    quiet = range_after <= QUIET_RANGE * range_before
    traded = (volume_before > 0) & (volume_after > 0)
    change = np.log(np.where(traded, volume_after, 1.0)) - np.log(np.where(traded, volume_before, 1.0))
    inverse = traded & (np.abs(change + step) <= (1 - VOLUME_SHARE) * np.abs(step))
    certain = np.abs(step) >= np.log(CERTAIN_FACTOR) - FACTOR_TOLERANCE
    return np.asarray(stays & quiet & (inverse | certain))


def _spikes(series: Series) -> Found:
    if len(series.close) < 3:
        return _none()
    high, low, close = np.log(series.high), np.log(series.low), np.log(series.close)
    before, after = close[:-2], close[2:]
    above = high[1:-1] - np.maximum(before, after)
    below = np.minimum(before, after) - low[1:-1]
    beyond = np.maximum(above, below)
    usual = _surroundings(high - low)[1:-1]
    alone = (np.diff(series.segment)[:-1] == 0) & (np.diff(series.segment)[1:] == 0)
    reverts = np.abs(after - before) <= beyond / 2
    place = np.flatnonzero((beyond >= SPIKE_LEAST) & (beyond >= SPIKE_RANGES * usual) & alone & reverts)
    signed = np.where(above[place] >= below[place], above[place], -below[place])
    return Found(place + 1, place + 1, np.ones_like(place), np.expm1(signed))


def _volumes(series: Series) -> Found:
    usual = _surroundings(series.volume)
    place = np.flatnonzero((series.volume >= VOLUME_TIMES * usual) & (usual > 0))
    return Found(place, place, np.ones_like(place), series.volume[place] / usual[place])


def _surroundings(values: Floats) -> Floats:
    """Usual value about each of n bars: the largest median of the block of bars before, of its own and of the next.

    Where most of the surroundings are 0, as in a market that hardly trades, it is the median of all values above 0.
    """
    count = len(values) // BLOCK
    if count < 2:
        medians = np.median(values, keepdims=True) if len(values) else np.zeros(1)
    else:
        # what is left over at the end belongs to the last block, as a shorter one would have a poorer median
        medians = np.median(values[: count * BLOCK].reshape(count, BLOCK), axis=1)
        medians[-1] = np.median(values[(count - 1) * BLOCK :])
    padded = np.pad(medians, 1, mode="edge")
    largest = np.maximum(np.maximum(padded[:-2], padded[1:-1]), padded[2:])
    positive = values[values > 0]
    largest[largest == 0] = np.median(positive) if len(positive) else 0.0
    return largest[np.minimum(np.arange(len(values)) // BLOCK, len(largest) - 1)]


def _chunks(place: Indices) -> Iterator[Indices]:
    return (place[start : start + _CHUNK] for start in range(0, len(place), _CHUNK))


def _none() -> Found:
    nothing = np.zeros(0, dtype=np.int64)
    return Found(nothing, nothing, nothing, np.zeros(0))


KINDS: dict[str, Kind] = {
    "gap": Kind("Gap", "Bars are missing: one or more between two that are there.", "hours", _gaps),
    "redenomination": Kind(
        "Redenomination or split",
        f"A bar opens within {FACTOR_TOLERANCE:.0%} of 2, 3, 4, 5, 8 or a power of ten times the close before, or of "
        f"such a part of it, prices stay there for {WINDOW} bars, and the bars are at most {QUIET_RANGE:g} times as "
        f"wide as before; below {CERTAIN_FACTOR} times, volume must move the other way, by half to one and a half "
        "times as much in log. A crash makes wide bars, and is not flagged.",
        "price times",
        _redenominations,
    ),
    "spike": Kind(
        "Spike",
        f"One bar's price is {SPIKE_RANGES:g} usual ranges, and at least {SPIKE_LEAST:.0%}, beyond the closes before "
        "and after it, and half or more of that is undone by the next close.",
        "beyond its neighbours by",
        _spikes,
    ),
    "stale": Kind(
        "Stale run",
        f"{RUN_BARS} or more bars in a row whose open, high, low and close are one unchanged price.",
        "price",
        _stale,
    ),
    "volume": Kind(
        "Absurd volume", f"One bar's volume is {VOLUME_TIMES:,.0f} usual ones or more.", "usual volumes", _volumes
    ),
    "zero volume": Kind("Zero-volume run", f"{RUN_BARS} or more bars in a row without volume.", "price", _zero_volume),
}
"""Every kind of flag by its name in the table; in the order of the names, which is the order of the rows."""
