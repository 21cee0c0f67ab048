"""Columns of a file of candles: which of them is what, and their times and numbers as ``quant.bars`` takes them."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from quant.bars import COLUMNS, BarsError, infer_bar

# The first that is there is taken, so the most explicit come first.
OPEN_TIMES = ("opentime", "time", "timestamp", "datetime", "date", "unix", "starttime", "calctime", "fundingtime")
CLOSE_TIMES = ("closetime", "endtime")
RATES = ("rate", "fundingrate", "lastfundingrate")
SYMBOLS = ("symbol", "ticker", "pair")
MAPPED = ("time", "close_time", *COLUMNS, "rate", "symbol")
MISSING = ("", "nan", "NaN", "none", "None", "null", "NULL")

_ZONED = r"(?:Z|:\d.*[+-]\d\d(?::?\d\d)?)$"
_LARGEST_EPOCH = 9e18
_SMALLEST_LAST_EPOCH = 1e8  # 1973 in seconds; below are numbers of rows, and dates written 20240131
_CALENDAR = ((190001010000, 210001010000), (19000101000000, 21000101000000))  # written 202401312345 and 20240131234500


class CandleFileError(ValueError):
    """A file that cannot be read as candles or funding rates: what is wrong with it."""


class Choice(NamedTuple):
    """Position of each column that is read, by its standard name; ``closing`` where the time is that of the close."""

    kind: Literal["bars", "funding"]
    positions: dict[str, int]
    closing: bool


def choose(names: Sequence[str], columns: Mapping[str, str] | None) -> Choice:
    """Tell which column is what, by names in any order and case, with or without spaces and underscores.

    Parameters
    ----------
    names
        Of the file's columns, in their order.
    columns
        The file's own names by the standard ones in ``MAPPED``, for names that cannot be told.

    Raises
    ------
    CandleFileError
        If a column is missing, or two have the name of one.
    """
    given = dict(columns or {})
    for name, theirs in given.items():
        if name not in MAPPED:
            raise CandleFileError(f"column {name!r} of the mapping is unknown; allowed are {', '.join(MAPPED)}")
        if theirs not in names:
            raise CandleFileError(f"column {theirs!r} (for {name}) is missing; the columns are {_listed(names)}")
    plain = [_plain(name) for name in names]

    def found(name: str, known: Sequence[str]) -> int | None:
        if name in given:
            return _only(list(names), given[name])
        return next((_only(plain, each) for each in known if each in plain), None)

    places = {name: found(name, (name,)) for name in COLUMNS}
    rate = found("rate", RATES)
    kind: Literal["bars", "funding"] = "bars" if rate is None or places["close"] is not None else "funding"
    wanted = places if kind == "bars" else {"rate": rate}
    missing = [name for name, place in wanted.items() if place is None]
    if missing:
        raise CandleFileError(
            f"column {missing[0]!r} is missing; the columns are {_listed(names)}; needed are a time and "
            f"{', '.join(COLUMNS)}, or a time and a funding rate; name others by a mapping of columns"
        )
    time, close_time = found("time", OPEN_TIMES), found("close_time", CLOSE_TIMES)
    closing = (time is None or "close_time" in given) and "time" not in given and close_time is not None
    chosen = {"time": close_time if closing else time, **wanted, "symbol": found("symbol", SYMBOLS)}
    if chosen["time"] is None:
        raise CandleFileError(f"there is no column of times; the columns are {_listed(names)}")
    return Choice(kind, {name: place for name, place in chosen.items() if place is not None}, closing)


def has_time(names: Sequence[str]) -> bool:
    """Whether one of the names is known to be that of a time."""
    return any(_plain(name) in (*OPEN_TIMES, *CLOSE_TIMES) for name in names)


def numbers(values: pa.ChunkedArray, name: str) -> npt.NDArray[np.float64]:
    """Return a column as float64, NaN where it is empty.

    Raises
    ------
    CandleFileError
        Naming the first value that is no number.
    """
    if _is_text(values.type):
        text = pc.utf8_trim_whitespace(values)
        values = pc.if_else(pc.is_in(text, pa.array(MISSING, text.type)), pa.scalar(None, text.type), text)
    elif not (pa.types.is_integer(values.type) or pa.types.is_floating(values.type) or pa.types.is_null(values.type)):
        raise CandleFileError(f"column {name!r} holds {values.type}, not numbers")
    try:
        cast = values.cast(pa.float64(), safe=False)
    except pa.ArrowException as error:
        texts = pd.Series(values.to_pylist(), dtype="object")
        bad = np.flatnonzero((pd.to_numeric(texts, errors="coerce").isna() & texts.notna()).to_numpy())
        where = f"; row {bad[0]} holds {str(texts.iloc[bad[0]])[:40]!r}" if len(bad) else ""
        raise CandleFileError(f"column {name!r} is not numeric{where}") from error
    return np.asarray(cast.to_numpy(), dtype=np.float64)


def times(values: pa.ChunkedArray, zone: str | None, *, closing: bool) -> tuple[pd.Series, list[str]]:
    """Return the opens of bars as ``quant.bars.validate`` takes times, and what is to be noted about them.

    Numbers since 1970 stay numbers. Text that is no time stays text, so that quarantine shows it.

    Raises
    ------
    CandleFileError
        If no value is a time, some have a zone and others none, or closes do not tell the length of a bar.
    """
    given, notes = _given_times(values, zone)
    if not closing:
        return given, notes
    known = _instants(given)
    if known.isna().any():
        raise CandleFileError("a time of close is missing or unreadable, so the opens of the bars cannot be told")
    return _opens(known), [*notes, "times of close were shifted to the opens of the bars"]


def _given_times(values: pa.ChunkedArray, zone: str | None) -> tuple[pd.Series, list[str]]:
    if pa.types.is_date(values.type):
        values = values.cast(pa.timestamp("us"))
    if pa.types.is_timestamp(values.type):
        whole = values.type.unit != "ns"  # parts of a microsecond are cut; a time too far away is refused
        instants = pd.DatetimeIndex(np.asarray(values.cast(pa.timestamp("us", values.type.tz), safe=whole)))
        if values.type.tz is not None:
            return pd.Series(instants.tz_localize("UTC") if instants.tz is None else instants.tz_convert("UTC")), []
        local, note = _localized(instants, zone)
        return pd.Series(local), [note]
    if pa.types.is_integer(values.type) or pa.types.is_floating(values.type):
        return _epoch(numbers(values, "time"), values), []
    if not _is_text(values.type):
        raise CandleFileError(f"the column of times holds {values.type}; allowed are text, times and numbers")
    text = pc.fill_null(pc.utf8_trim_whitespace(values), "")
    if pc.all(pc.match_substring_regex(text, r"^-?\d+(\.\d*)?([eE]\+?\d+)?$")).as_py():
        return _epoch(numbers(text, "time"), text), []
    return _written_times(pd.Series(text.to_pylist(), dtype="str"), zone)


def _written_times(texts: pd.Series, zone: str | None) -> tuple[pd.Series, list[str]]:
    aware = texts.str.contains(_ZONED, regex=True).to_numpy(dtype=bool)
    try:
        instants = pd.DatetimeIndex(pd.to_datetime(texts, format="ISO8601", utc=True, errors="coerce")).as_unit("us")
    except (ValueError, OverflowError) as error:
        raise CandleFileError(f"times like {texts.iloc[0][:40]!r} cannot be read: {error}") from error
    known = ~np.asarray(instants.isna(), dtype=bool) & ~texts.str.fullmatch(r"\d+").to_numpy(dtype=bool)
    if not known.any():
        raise CandleFileError(
            f"times like {texts.iloc[0][:40]!r} cannot be read; allowed are ISO 8601 (2024-01-31 23:45:00) and "
            "numbers since 1970"
        )
    notes = []
    if not aware[known].any():
        instants, note = _localized(instants.tz_localize(None), zone)
        notes.append(note)
    elif not aware[known].all():
        bare = texts[known & ~aware].iloc[0]
        raise CandleFileError(f"some times have a zone and others, {bare!r} for example, have none")
    lost = np.asarray(instants.isna(), dtype=bool) | ~known
    if not lost.any():
        return pd.Series(instants), notes
    # text that no reader takes for a time: one that its zone skips or repeats would else pass for UTC
    kept = texts.mask(known, texts + f" in {zone}")
    return pd.Series(instants.astype("str"), dtype="str").where(~lost, kept), notes


def _localized(instants: pd.DatetimeIndex, zone: str | None) -> tuple[pd.DatetimeIndex, str]:
    """Naive times in a zone; those that its clock change skips or repeats are lost."""
    if zone is None:
        return instants.tz_localize("UTC"), "times have no zone and were read as UTC"
    try:
        local = instants.tz_localize(zone, ambiguous="NaT", nonexistent="NaT")
    except (KeyError, ValueError, TypeError, OSError) as error:
        raise CandleFileError(f"zone {zone!r} is unknown; allowed are names such as Europe/Berlin or UTC") from error
    return local.tz_convert("UTC"), f"times have no zone and were read as {zone}"


def _epoch(floats: npt.NDArray[np.float64], values: pa.ChunkedArray) -> pd.Series:
    """Whole numbers exactly where the file has them so."""
    if np.isnan(floats).any() or (np.abs(floats) > _LARGEST_EPOCH).any():
        row = int(np.argmax(np.isnan(floats) | (np.abs(floats) > _LARGEST_EPOCH)))
        raise CandleFileError(f"row {row} has the time {str(values[row].as_py())[:40]!r}; it is no number since 1970")
    least, most = floats.min(initial=np.inf), floats.max(initial=-np.inf)
    if most < _SMALLEST_LAST_EPOCH or any(first <= least and most < end for first, end in _CALENDAR):
        raise CandleFileError(
            f"times like {str(values[0].as_py())[:40]!r} are not numbers since 1970, but of rows or of a calendar; "
            "write them as 2024-01-31 23:45:00"
        )
    try:
        return pd.Series(np.asarray(values.cast(pa.int64()).to_numpy(), dtype=np.int64))
    except pa.ArrowException:
        return pd.Series(floats)


def _instants(given: pd.Series) -> pd.DatetimeIndex:
    if pd.api.types.is_numeric_dtype(given):
        # the same bounds by which quant.bars tells a unit
        sizes = np.abs(given.to_numpy())
        scale = np.select([sizes < 10**11, sizes < 10**14, sizes < 10**17], [1e6, 1e3, 1.0], 1e-3)
        return pd.DatetimeIndex((given.to_numpy() * scale).astype("int64").view("datetime64[us]"), tz="UTC")
    return pd.DatetimeIndex(pd.to_datetime(given, utc=True, errors="coerce", format="ISO8601")).as_unit("us")


def _opens(closes: pd.DatetimeIndex) -> pd.Series:
    """Opens of bars from their closes, whether these are written 13:15:00, 13:14:59 or 13:14:59.999."""
    try:
        bar = infer_bar(closes)
    except BarsError as error:
        raise CandleFileError(f"times of close cannot be shifted to opens: {error}") from error
    ends = closes.ceil("s")
    ends = ends.where(ends.second != 59, ends + pd.Timedelta(seconds=1))
    return pd.Series(ends - bar)


def _is_text(kind: Any) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _plain(name: str) -> str:
    return name.strip().lower().replace("_", "").replace(" ", "")


def _only(names: list[str], name: str) -> int:
    if names.count(name) > 1:
        raise CandleFileError(f"{names.count(name)} columns are named {name!r}; there must be one")
    return names.index(name)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(str(name)[:40] for name in names[:20]) + (
        f" and {len(names) - 20} more" if len(names) > 20 else ""
    )
