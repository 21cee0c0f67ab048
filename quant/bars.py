"""Bars as a source gives them, checked: what is safe is mended, what is not goes to quarantine with its reason.

Also what every later stage needs to know about a calendar of bars: its spacing, and where it has gaps.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pandas as pd

Bar = pd.Timedelta | pd.DatetimeIndex | None
"""Length of a bar; or the sessions of a market, whose weekends are no gap; or None, for no calendar at all."""

PRICES = ("open", "high", "low", "close")
COLUMNS = (*PRICES, "volume")
TIME_NAMES = ("time", "date", "datetime", "timestamp", "open_time", "opentime")

# Numbers since 1970 tell their unit by their size: these bounds are the year 5138 in seconds, milliseconds and
# microseconds, and 1973 in the next finer unit.
_EPOCH_BOUNDS = (10**11, 10**14, 10**17)
_NO_TIME = np.iinfo(np.int64).min
# No market's bars lie beyond; a single one that did would stretch the calendar of all.
_EARLIEST, _LATEST = pd.Timestamp("1900-01-01", tz="UTC"), pd.Timestamp("2200-01-01", tz="UTC")

BoolArray = npt.NDArray[np.bool_]


class BarsError(ValueError):
    """A source that cannot be read as bars at all."""


def validate(frame: pd.DataFrame, bar: Bar, source: str = "bars") -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the bars of a source, and the rows that are none.

    Times are put in order and duplicates removed; gaps stay gaps. Of the rows at one time that break no other rule,
    the first is kept. Prices that a bar cannot have are never repaired.

    Parameters
    ----------
    frame
        Rows with open, high, low, close and volume in any case, timed by a column named one of ``TIME_NAMES`` or by
        a DatetimeIndex: ISO 8601 text, datetimes, or numbers since 1970 in s, ms, µs or ns. Times without a zone are
        UTC. Other columns are ignored. The frame is not changed.
    bar
        Length of a bar; its grid is the phase that most rows share. Or sessions: times outside them are off the grid.
        None asks for no grid.
    source
        What errors call the data: a file, a ticker.

    Returns
    -------
    bars
        As ``quant.schemas.BARS``: float64 columns, indexed by ``time`` (datetime64[us, UTC]), increasing, unique.
    quarantine
        As ``quant.schemas.QUARANTINE``: row (position in ``frame``), time, reason, detail. Exact copies of a row are
        counted here too, as ``duplicate row``.

    Raises
    ------
    BarsError
        Where the whole source is at fault: no rows, a missing, ambiguous or non-numeric column, mixed time zones, no
        rows one bar apart, or nothing left after quarantine.
    """
    if frame.empty:
        raise BarsError(f"{source}: there are no rows")
    times = instants(frame, source)
    values = pd.DataFrame({name: _numbers(frame, name, source) for name in COLUMNS})
    _check_spacing(times, bar, source)

    reasons = [""]
    reason = np.zeros(len(times), dtype=np.int8)
    for name, broken in _rules(times, values, bar):
        reasons.append(name)
        reason[broken & (reason == 0)] = len(reasons) - 1
    kept = np.argsort(times.asi8, kind="stable")
    kept = kept[reason[kept] == 0]
    repeated = np.append(False, np.diff(times.asi8[kept]) == 0)
    if repeated.any():
        copied = values.assign(time=times).duplicated().to_numpy()[kept[repeated]]
        reason[kept[repeated]] = np.where(copied, len(reasons), len(reasons) + 1)
        kept = kept[~repeated]
    reasons += ["duplicate row", "duplicate time"]

    rows = np.flatnonzero(reason)
    quarantine = pd.DataFrame(
        {
            "row": rows,
            "time": times[rows],
            "reason": pd.Series([reasons[code] for code in reason[rows]], dtype="str"),
            "detail": pd.Series(_details(frame, values, rows, source), dtype="str"),
        }
    )
    if not len(kept):
        first = quarantine.iloc[0]
        most = quarantine["reason"].mode()[0]
        raise BarsError(
            f"{source}: none of {len(frame)} rows is a valid bar, most for {most!r}; "
            f"row {first['row']} has {first['reason']!r}: {first['detail']}"
        )
    return values.iloc[kept].set_axis(times[kept].rename("time"), axis=0), quarantine


def infer_bar(index: pd.DatetimeIndex) -> pd.Timedelta:
    """Return the most common spacing of the times, in any order; of spacings equally common, the shortest.

    Raises
    ------
    BarsError
        If there are fewer than two different times.
    """
    times = _distinct(_utc(index).dropna().asi8)
    if len(times) < 2:
        raise BarsError(f"the length of a bar cannot be told from {len(times)} different time(s); give it")
    spacings, counts = np.unique(np.diff(times), return_counts=True)
    return pd.Timedelta(microseconds=int(spacings[np.argmax(counts)]))


def segments(index: pd.DatetimeIndex, bar: Bar) -> npt.NDArray[np.int64]:
    """Number the stretches without a gap: an int64 for each time, from 0, one more after each gap.

    A gap is a spacing other than one bar; for sessions, a session left out; without a calendar there is none.

    Raises
    ------
    BarsError
        If the times are not strictly increasing, the length of a bar is not positive, or a time is no session.
    """
    times = _utc(index).asi8
    steps = np.diff(times)
    if len(steps) and steps.min() <= 0:
        position = int(np.argmax(steps <= 0)) + 1
        raise BarsError(f"times must be strictly increasing; {index[position]} follows {index[position - 1]}")
    if bar is None or not len(times):
        return np.zeros(len(times), dtype=np.int64)
    if isinstance(bar, pd.Timedelta):
        gap = steps != _length(bar)
    else:
        sessions = np.unique(_utc(bar).asi8)
        places = np.searchsorted(sessions, times)
        absent = ~np.isin(times, sessions)
        if absent.any():
            raise BarsError(f"{index[int(np.argmax(absent))]} is not one of the {len(sessions)} sessions")
        gap = np.diff(places) != 1
    return np.concatenate([[0], np.cumsum(gap)]).astype(np.int64)


def _utc(index: pd.DatetimeIndex) -> pd.DatetimeIndex:
    aware = index.tz_localize("UTC") if index.tz is None else index.tz_convert("UTC")
    return aware.as_unit("us")


def _distinct(times: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The times in order, each once; most sources have them so, and looking is much cheaper than sorting."""
    return times if len(times) < 2 or bool((times[1:] > times[:-1]).all()) else np.unique(times)


def _length(bar: pd.Timedelta) -> int:
    length = bar // pd.Timedelta(microseconds=1)
    if length <= 0:
        raise BarsError(f"the length of a bar is {bar}; it must be positive")
    return int(length)


def _column(frame: pd.DataFrame, names: tuple[str, ...], source: str) -> pd.Series | None:
    found = [position for position, name in enumerate(frame.columns) if str(name).strip().lower() in names]
    if len(found) > 1:
        given = ", ".join(repr(frame.columns[position]) for position in found)
        raise BarsError(f"{source}: columns {given} all name {names[0]!r}; there must be one")
    return frame.iloc[:, found[0]] if found else None


def _numbers(frame: pd.DataFrame, name: str, source: str) -> npt.NDArray[np.float64]:
    column = _column(frame, (name,), source)
    if column is None:
        given = ", ".join(str(column) for column in frame.columns)
        raise BarsError(
            f"{source}: column {name!r} is missing; the columns are {given}; needed are {', '.join(COLUMNS)}"
        )
    if pd.api.types.is_bool_dtype(column) or pd.api.types.is_datetime64_any_dtype(column):
        raise BarsError(f"{source}: column {name!r} holds {column.dtype}, not numbers; its first is {column.iloc[0]!r}")
    numbers = pd.to_numeric(column, errors="coerce").astype("float64")
    for row in np.flatnonzero(numbers.isna() & column.notna()):
        if str(column.iloc[row]).strip().lower() not in ("", "nan", "none", "null"):
            raise BarsError(f"{source}: column {name!r} is not numeric; row {row} holds {column.iloc[row]!r}")
    return np.asarray(numbers, dtype=np.float64)


def _given_times(frame: pd.DataFrame, source: str) -> pd.Series:
    column = _column(frame, TIME_NAMES, source)
    if column is not None:
        return column.infer_objects()
    if pd.api.types.is_numeric_dtype(frame.index):
        raise BarsError(
            f"{source}: column 'time' is missing; allowed are {', '.join(TIME_NAMES)}, or an index of times"
        )
    return frame.index.to_series()


def instants(frame: pd.DataFrame, source: str = "bars") -> pd.DatetimeIndex:
    """Return the times of a frame as :func:`validate` reads them (datetime64[us, UTC]), NaT where one is unreadable.

    Raises
    ------
    BarsError
        If there is no column of times, or its zones are mixed.
    """
    given = _given_times(frame, source)
    if pd.api.types.is_datetime64_any_dtype(given):
        return _utc(pd.DatetimeIndex(given))
    if pd.api.types.is_numeric_dtype(given) and not pd.api.types.is_bool_dtype(given):
        return _epoch(given)
    texts = given.astype("str")
    try:
        parsed = pd.to_datetime(texts, format="ISO8601", errors="coerce")
    except ValueError as error:  # pandas says so of nothing but time zones once errors are coerced
        zones = texts.str.extract(r"(Z|[+-]\d\d:?\d\d)$")[0].fillna("")
        other = texts[(zones != zones.iloc[0]).to_numpy()].iloc[0]
        raise BarsError(
            f"{source}: column {given.name or 'time'!r} mixes time zones, {texts.iloc[0]!r} and {other!r} "
            "for example; write all times in one zone, best in UTC"
        ) from error
    return _utc(pd.DatetimeIndex(parsed))


def _epoch(given: pd.Series) -> pd.DatetimeIndex:
    numbers = given.to_numpy(dtype="float64", na_value=np.nan)
    sound = np.abs(numbers) < 9e18
    whole = given.where(sound, 0).to_numpy(dtype="int64")
    sizes = np.abs(whole)
    bounds = [sizes < bound for bound in _EPOCH_BOUNDS]
    microseconds = np.select(bounds, [whole * 1_000_000, whole * 1_000, whole], whole // 1_000)
    return pd.DatetimeIndex(np.where(sound, microseconds, _NO_TIME).view("datetime64[us]"), tz="UTC")


def _check_spacing(times: pd.DatetimeIndex, bar: Bar, source: str) -> None:
    known = _distinct(times.dropna().asi8)
    if not isinstance(bar, pd.Timedelta) or len(known) < 2:
        return
    length = _length(bar)
    usual = infer_bar(times)
    if usual != bar and (usual < bar or not (np.diff(known) == length).any()):
        raise BarsError(f"{source}: bars are configured as {bar} long, but most rows are {usual} apart")


def _rules(times: pd.DatetimeIndex, values: pd.DataFrame, bar: Bar) -> Iterator[tuple[str, BoolArray]]:
    """Yield each rule's name and the rows that break it; a row is reported for the first."""
    unknown = np.asarray(times.isna())
    yield "unparsable time", unknown
    yield "time out of range", ~unknown & ((times < _EARLIEST) | (times >= _LATEST))
    if isinstance(bar, pd.Timedelta):
        phase = times.asi8 % _length(bar)
        phases, counts = np.unique(phase[~unknown], return_counts=True)
        yield "off the bar grid", np.asarray(phase != (phases[np.argmax(counts)] if len(phases) else 0))
    elif bar is not None:
        yield "off the bar grid", ~np.isin(times.asi8, _utc(bar).asi8)

    opening, high, low, close, volume = (values[name].to_numpy() for name in COLUMNS)
    prices = values[list(PRICES)].to_numpy()
    yield "missing price", np.any(np.isnan(prices), axis=1)
    yield "infinite price", np.any(np.isinf(prices), axis=1)
    yield "price not positive", np.any(prices <= 0, axis=1)
    yield "high below low", high < low
    yield "high below open or close", high < np.maximum(opening, close)
    yield "low above open or close", low > np.minimum(opening, close)
    yield "missing volume", np.isnan(volume)
    yield "infinite volume", np.isinf(volume)
    yield "negative volume", volume < 0


def _details(frame: pd.DataFrame, values: pd.DataFrame, rows: npt.NDArray[np.intp], source: str) -> list[str]:
    given = _given_times(frame, source).iloc[rows].map(str)
    return [
        f"time={time} " + " ".join(f"{name}={value!r}" for name, value in zip(COLUMNS, bad, strict=True))
        for time, bad in zip(given, values.iloc[rows].to_numpy().tolist(), strict=True)
    ]
