"""Parquet files of many tickers: wide, with a column for each (ticker, field), or long, with a column of tickers."""

from collections.abc import Mapping
from typing import BinaryIO, Literal, NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from quant import candle_columns
from quant.bars import COLUMNS
from quant.candle_columns import CandleFileError
from quant.candle_files import Parsed, parse_table
from storage.store import Store

LARGEST_GROUP = 2 << 30  # bytes of the columns that are read of a ticker, unpacked
# what Arrow raises for bytes that somebody has changed, in its own words and in Python's
_BROKEN = (pa.ArrowException, OSError, ValueError, TypeError, KeyError, IndexError, OverflowError, MemoryError)


class Market(NamedTuple):
    """Tickers of a file with the number of rows of each; none, and format "file", where it is of one ticker."""

    format: Literal["wide", "long", "file"]
    rows: dict[str, float]


def look(store: Store, key: str, columns: Mapping[str, str]) -> Market:
    """Tell what a Parquet file holds, by its footer, and for a long one by its column of tickers.

    A file that cannot be read is of one ticker: reading it will say what is wrong, for that ticker alone.
    """
    try:
        with store.open(key) as opened:
            file = _opened(opened)
            names = [str(name) for name in file.schema_arrow.names]
            wide = sorted({parts[0] for name in names if (parts := _wide_column(name)) is not None})
            if wide:
                return Market("wide", dict.fromkeys(wide, float(file.metadata.num_rows)))
            place = candle_columns.choose(names, columns).positions.get("symbol")
            if place is None:
                return Market("file", {"": float(file.metadata.num_rows)})
            table = file.read(columns=[names[place]])
            table.validate(full=True)  # nothing from a broken file is touched before
            counted = pc.value_counts(table[names[place]]).to_pylist()
            return Market("long", {str(each["values"]): float(each["counts"]) for each in counted})
    except _BROKEN:
        return Market("file", {"": 0.0})


class Wide:
    """A wide file, opened: its footer and its times are read once for all the tickers that a worker reads from it."""

    def __init__(self, store: Store, key: str, columns: Mapping[str, str], zone: str | None) -> None:
        """Open the file; columns have their names already."""
        self._opened = store.open(key)
        try:
            self._file = _opened(self._opened)
            names = [str(name) for name in self._file.schema_arrow.names]
            self._names = frozenset(names)
            index = [name for name in names if _wide_column(name) is None]
            if len(index) != 1:
                raise CandleFileError(f"it needs one time index beside its (ticker, field) columns; it has {index}")
            times, notes = candle_columns.times(self._file.read(columns=index)[index[0]], zone, closing=False)
            self._times, self._notes = times, tuple(notes)
        except BaseException:
            self.close()
            raise

    def read(self, symbol: str) -> Parsed:
        """Rows of one ticker. Empty ones, above its first bar and below its last, are no bad bars but no bars."""
        columns = {field: f"('{symbol}', '{field}')" for field in COLUMNS}
        missing = [field for field, name in columns.items() if name not in self._names]
        if missing:
            raise CandleFileError(f"it has no {', '.join(missing)} for {symbol}")
        table = self._file.read(columns=list(columns.values()))
        table.validate(full=True)
        frame = pd.DataFrame({field: table[name].to_numpy() for field, name in columns.items()})
        frame.insert(0, "time", self._times)
        frame = frame.dropna(how="all", subset=list(COLUMNS)).reset_index(drop=True)
        return Parsed("bars", frame, "wide Parquet", self._notes, symbol)

    def close(self) -> None:
        """Close the file."""
        self._opened.close()


class Long:
    """A long file, opened; of a ticker only those row groups are read whose statistics do not rule it out."""

    def __init__(self, store: Store, key: str, columns: Mapping[str, str], zone: str | None) -> None:
        """Open the file."""
        self._opened = store.open(key)
        self._columns, self._zone = columns, zone
        try:
            self._file = _opened(self._opened)
            names = [str(name) for name in self._file.schema_arrow.names]
            positions = candle_columns.choose(names, columns).positions
            self._symbol = names[positions["symbol"]]
            self._read = [names[place] for place in sorted(set(positions.values()))]
            footer = self._file.metadata
            leaf = next(i for i in range(footer.num_columns) if footer.schema.column(i).path == self._symbol)
            self._ranges = [footer.row_group(group).column(leaf).statistics for group in range(footer.num_row_groups)]
        except BaseException:
            self.close()
            raise

    def read(self, symbol: str) -> Parsed:
        """Rows of one ticker."""
        groups = [
            group
            for group, known in enumerate(self._ranges)
            if known is None or not known.has_min_max or str(known.min) <= symbol <= str(known.max)
        ]
        parts = [self._of(symbol, group) for group in groups]
        return parse_table(pa.concat_tables(parts), columns=self._columns, zone=self._zone)

    def _of(self, symbol: str, group: int) -> pa.Table:
        table = self._file.read_row_group(group, columns=self._read)
        table.validate(full=True)
        return table.filter(pc.equal(table[self._symbol].cast(pa.string()), symbol))

    def close(self) -> None:
        """Close the file."""
        self._opened.close()


_last: dict[tuple[str, str, str], Wide | Long] = {}  # the one that this process has read from last


def read(
    store: Store, key: str, stamp: str, form: str, symbol: str, columns: Mapping[str, str], zone: str | None
) -> Parsed:
    """Rows of one ticker of a file with many.

    Raises
    ------
    CandleFileError
        If it cannot be read.
    """
    place = (store.url, key, stamp)
    try:
        if place not in _last:
            _close()
            _last[place] = (Wide if form == "wide" else Long)(store, key, columns, zone)
        return _last[place].read(symbol)
    except CandleFileError:
        raise
    except _BROKEN as error:
        _close()  # whatever it was, the next ticker begins with a fresh one
        raise CandleFileError(f"it cannot be read: {' '.join(str(error).split())[:200]}; copy it again") from error


def _opened(file: BinaryIO) -> pq.ParquetFile:
    found = pq.ParquetFile(file, page_checksum_verification=True)
    groups = [found.metadata.row_group(group).num_rows for group in range(found.num_row_groups)]
    if max(groups, default=0) * 8 * (len(COLUMNS) + 2) > LARGEST_GROUP:
        raise CandleFileError(f"a row group has {max(groups):,} rows, more than fit; write it in smaller ones")
    return found


def _close() -> None:
    for opened in _last.values():
        opened.close()
    _last.clear()


def _wide_column(name: str) -> tuple[str, str] | None:
    """("BTCUSDT", "open") from "('BTCUSDT', 'open')", the form in which pandas stores two levels."""
    if not (name.startswith("('") and name.endswith("')")):
        return None
    symbol, separator, field = name[2:-2].rpartition("', '")
    return (symbol, field) if separator else None
