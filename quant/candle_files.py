"""Candles and funding rates from the bytes of a file in any of the forms that exchanges and tools write.

The form is told by content, never by the name. Checked here is that the file is whole and what it claims to be;
whether the rows are bars is for ``quant.bars.validate`` to say.
"""

import csv
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from quant import candle_columns, candle_lines
from quant.bars import COLUMNS
from quant.candle_archives import unpack
from quant.candle_columns import CandleFileError, Choice, choose

__all__ = ["CandleFileError", "Parsed", "parse", "parse_table"]

KLINE = (
    "open_time", *COLUMNS, "close_time", "quote_volume", "count", "taker_buy_volume", "taker_buy_quote_volume",
    "ignore",
)  # fmt: skip
ARROW, PARQUET, OLD_FEATHER = b"ARROW1", b"PAR1", b"FEA1"
POINTER = b"version https://git-lfs"
DELIMITERS = ",;\t|"
LONGEST_HEADER = 1 << 16
LARGEST_JSON = 128 << 20  # bytes, some two million rows
ENOUGH_ROWS = 20  # that end alike, to say of the last one that it is whole
_BROKEN = (pa.ArrowException, csv.Error, OSError, ValueError, TypeError, KeyError, OverflowError, MemoryError)


@dataclass(frozen=True)
class Parsed:
    """What a file holds.

    Parameters
    ----------
    kind
        Bars or funding rates.
    frame
        One row for each of the file's: time, open, high, low, close, volume as ``quant.bars.validate`` takes them; or
        time and rate (fraction of the position's value).
    format
        Form of the file, in words.
    notes
        Sentences about what was assumed or left out.
    symbol
        What the file itself calls its asset; None where it does not.
    """

    kind: Literal["bars", "funding"]
    frame: pd.DataFrame
    format: str
    notes: tuple[str, ...] = ()
    symbol: str | None = None


@dataclass(frozen=True)
class _Table:
    """Columns of a file that are read, before they are times and numbers."""

    choice: Choice
    columns: dict[str, pa.ChunkedArray]
    format: str
    notes: tuple[str, ...] = ()


def parse(data: bytes, *, limit: int, columns: Mapping[str, str] | None = None, zone: str | None = None) -> Parsed:
    """Return the candles or the funding rates in the bytes of one file of one asset.

    CSV with a header in any order and case, Binance's klines without one, JSON lists and records, feather (version 2)
    and long Parquet; CSV and JSON also in gzip, and in a zip with one member. A file in which all but the first of
    five values are 0 holds funding, as freqtrade keeps it.

    Parameters
    ----------
    data
        The whole file.
    limit
        Bytes that it may have, unpacked.
    columns
        The file's own names of columns by the standard ones (time, close_time, open, high, low, close, volume, rate,
        symbol), for names that cannot be told.
    zone
        Of times that have none, such as Europe/Berlin; None reads them as UTC and notes it.

    Raises
    ------
    CandleFileError
        Whatever is wrong with the file, in one sentence; no other exception is raised for any bytes.
    """
    content, archive = unpack(data, limit)
    try:
        return _parsed(_read(content, limit, columns), archive, zone)
    except CandleFileError:
        raise
    except _BROKEN as error:
        said = " ".join(str(error).split())[:200]
        raise CandleFileError(f"the file is truncated or broken: {said or type(error).__name__}") from error


def parse_table(table: pa.Table, *, columns: Mapping[str, str] | None = None, zone: str | None = None) -> Parsed:
    """Return the candles or the funding rates in a table of one asset, as :func:`parse` does for a file.

    Raises
    ------
    CandleFileError
        As there.
    """
    try:
        choice = _choose_long(table.schema, columns)
        used = sorted(set(choice.positions.values()))
        return _parsed(_arrow(choice, table.select(used), used, "Parquet"), "", zone)
    except CandleFileError:
        raise
    except _BROKEN as error:
        raise CandleFileError(f"the rows are broken: {' '.join(str(error).split())[:200]}") from error


def _parsed(table: _Table, archive: str, zone: str | None) -> Parsed:
    form = table.format + {"zip": " in a zip", "gzip": " in gzip"}.get(archive, "")
    times, notes = candle_columns.times(table.columns["time"], zone, closing=table.choice.closing)
    names = COLUMNS if table.choice.kind == "bars" else ("rate",)
    values = {name: candle_columns.numbers(table.columns[name], name) for name in names}
    kind = table.choice.kind
    if kind == "bars" and _is_funding(values):
        kind, values = "funding", {"rate": values["open"]}
    frame = pd.DataFrame({"time": times, **values})
    return Parsed(kind, frame, form, (*table.notes, *notes), _symbol(table.columns.get("symbol")))


def _read(data: bytes, limit: int, columns: Mapping[str, str] | None) -> _Table:
    start = data[:LONGEST_HEADER].removeprefix(b"\xef\xbb\xbf").lstrip()
    if not start:
        raise CandleFileError(f"the file is empty ({len(data)} bytes)")
    if start.startswith(POINTER):
        raise CandleFileError("the file is a git-LFS pointer, not the data itself; fetch it with `git lfs pull`")
    if start.startswith(b"<"):
        raise CandleFileError("the file is a web page (HTML or XML), not candles; the download went wrong")
    if start.startswith(PARQUET):
        return _parquet(data, limit, columns)
    if start.startswith(ARROW):
        return _feather(data, limit, columns)
    if start.startswith(OLD_FEATHER):
        raise CandleFileError("the file is feather of version 1, which is no longer read; write it as version 2")
    if start.startswith((b"[", b"{")):
        return _json(data, columns)
    return _csv(data.removeprefix(b"\xef\xbb\xbf"), columns)


def _csv(data: bytes, columns: Mapping[str, str] | None) -> _Table:
    data = data.lstrip(b"\r\n")
    first = data[: data.find(b"\n") if 0 <= data.find(b"\n") < LONGEST_HEADER else LONGEST_HEADER].splitlines()[0]
    try:
        header = first.decode()
    except UnicodeDecodeError as error:
        raise CandleFileError("the file is of no known form: it begins with bytes that are not text") from error
    delimiter = max(DELIMITERS, key=header.count)
    quoted = '"' in header
    names = next(csv.reader([header], delimiter=delimiter))
    bare = all(_is_number(name) for name in names)
    if len(names) < 2:
        raise CandleFileError(f"the file is of no known form; it begins with {header[:40]!r}")
    if bare and len(names) != len(KLINE):
        raise CandleFileError(
            f"the file has no header and {len(names)} columns; only Binance's klines, with {len(KLINE)}, can be read so"
        )
    choice = choose(KLINE if bare else names, None if bare else columns)
    if len(names) - 1 in choice.positions.values():
        data, notes = _whole_lines(data, delimiter, len(names))
    else:
        data, notes = _whole_lines(data, delimiter, len(names), last_is_read=False)
    form = "Binance klines (CSV without a header)" if bare else "CSV"
    if not quoted and (plain := _plain_lines(data, 0 if bare else data.find(b"\n") + 1, delimiter, len(names), choice)):
        return _table(choice, lambda at: plain[at], len(plain[choice.positions["time"]]), form, notes)
    keys = [str(position) for position in range(len(names))]
    used = [keys[position] for position in choice.positions.values()]
    table = pyarrow.csv.read_csv(
        pa.BufferReader(data),
        read_options=pyarrow.csv.ReadOptions(use_threads=False, column_names=keys, skip_rows=0 if bare else 1),
        # where the header has no quotes, one in a row is a flaw that must not swallow the rest of a line
        parse_options=pyarrow.csv.ParseOptions(delimiter=delimiter, quote_char='"' if quoted else False),
        convert_options=pyarrow.csv.ConvertOptions(
            column_types=dict.fromkeys(used, pa.string()), include_columns=list(dict.fromkeys(used)),
            strings_can_be_null=False,
        ),
    )  # fmt: skip
    return _table(choice, lambda position: table[keys[position]], table.num_rows, form, notes)


def _plain_lines(
    data: bytes, start: int, delimiter: str, width: int, choice: Choice
) -> dict[int, pa.ChunkedArray] | None:
    """Columns by their position where all values are plain numbers, which are read many times as fast; else None."""
    places = {name: place for name, place in choice.positions.items() if name != "time"}
    if "symbol" in places:
        return None
    read = candle_lines.read(data, start, delimiter, width, choice.positions["time"], list(places.values()))
    if read is None:
        return None
    columns = {choice.positions["time"]: read[0], **dict(zip(places.values(), read[1], strict=True))}
    return {place: pa.chunked_array([pa.array(values)]) for place, values in columns.items()}


def _whole_lines(
    data: bytes, delimiter: str, width: int, *, last_is_read: bool = True
) -> tuple[bytes, tuple[str, ...]]:
    """Leave out the last line where it may have been cut: a part of a number is another number."""
    if data.endswith((b"\n", b"\r")):
        return data, ()
    cut = data.rfind(b"\n") + 1
    fields = data[cut:].decode(errors="replace").count(delimiter) + 1
    if fields >= width and (not last_is_read or _ends_like(data[:cut], data[cut:], delimiter.encode())):
        return data, ()
    return data[:cut], ("the last line does not end, so it may have been cut and was left out",)


def _ends_like(before: bytes, line: bytes, delimiter: bytes) -> bool:
    """Whether the last value of a line is as long as those before, which are all alike: no part of one is."""
    endings = [row.rpartition(delimiter)[2] for row in before.splitlines()[1:]]
    last = line.rpartition(delimiter)[2]
    places = {len(ending.partition(b".")[2]) for ending in endings}
    if len(endings) < ENOUGH_ROWS or len(places) != 1:
        return False
    decimals = places.pop()
    if decimals:
        return decimals > 1 and len(last.partition(b".")[2]) == decimals
    return len(last) >= len("2024-01-31") and {len(ending) for ending in endings} == {len(last)}  # times


def _json(data: bytes, columns: Mapping[str, str] | None) -> _Table:
    if len(data) > LARGEST_JSON:
        raise CandleFileError(
            f"the JSON has {len(data):,} bytes, and takes twenty times as many to read; allowed are {LARGEST_JSON:,}: "
            "split it, or write it as Parquet or CSV"
        )
    try:
        rows = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise CandleFileError(f"the JSON is truncated or broken: {' '.join(str(error).split())[:200]}") from error
    if isinstance(rows, dict):
        raise CandleFileError(f"the JSON is a message, not candles: {json.dumps(rows)[:200]}")
    if not rows:
        raise CandleFileError("the JSON is an empty list")
    if all(isinstance(row, dict) for row in rows):
        names = [str(name) for name in rows[0]]
        choice = choose(names, columns)
        for name in choice.positions:
            key = names[choice.positions[name]]
            lacking = next((number for number, row in enumerate(rows) if key not in row), None)
            if lacking is not None:
                raise CandleFileError(f"record {lacking} of the JSON has no {key!r}")
        return _table(
            choice, lambda at: pa.chunked_array([pa.array([row[names[at]] for row in rows])]), len(rows), "JSON records"
        )
    widths = {len(row) if isinstance(row, list) else 0 for row in rows}
    if widths not in ({len(COLUMNS) + 1}, {len(KLINE)}):
        raise CandleFileError(
            "the JSON is neither a list of records nor one of [milliseconds, open, high, low, close, volume]"
        )
    choice = choose(KLINE[: widths.pop()], None)
    return _table(choice, lambda at: pa.chunked_array([pa.array([row[at] for row in rows])]), len(rows), "JSON lists")


def _feather(data: bytes, limit: int, columns: Mapping[str, str] | None) -> _Table:
    reader = pa.ipc.open_file(pa.BufferReader(data))
    # Arrow reads dictionaries of a broken file out of bounds, whichever columns are asked for
    strange = next((field for field in reader.schema if not _is_flat(field.type)), None)
    if strange is not None:
        raise CandleFileError(
            f"column {strange.name[:40]!r} holds {str(strange.type)[:60]}; "
            "in feather allowed are numbers, times and text"
        )
    choice = _choose_long(reader.schema, columns)
    used = sorted(set(choice.positions.values()))
    batches, size = [], 0
    reader = pa.ipc.open_file(pa.BufferReader(data), options=pa.ipc.IpcReadOptions(included_fields=used))
    for number in range(reader.num_record_batches):
        batches.append(reader.get_batch(number))
        batches[-1].validate(full=True)  # before anything else touches it
        size += batches[-1].nbytes
        if size > limit:
            raise CandleFileError(f"the file has more than {limit:,} bytes unpacked; split it")
    table = pa.Table.from_batches(batches, schema=reader.schema)
    return _arrow(choice, table, used, "feather")


def _parquet(data: bytes, limit: int, columns: Mapping[str, str] | None) -> _Table:
    file = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)
    groups = range(file.metadata.num_row_groups)
    names = [str(name) for name in file.schema_arrow.names]
    if sum(file.metadata.row_group(group).total_byte_size for group in groups) > limit or (
        file.metadata.num_rows * len(names) * 8 > limit
    ):
        raise CandleFileError(f"the file has more than {limit:,} bytes unpacked; split it")
    choice = _choose_long(file.schema_arrow, columns)
    used = sorted(set(choice.positions.values()))
    return _arrow(choice, file.read(columns=[names[position] for position in used], use_threads=False), used, "Parquet")


def _arrow(choice: Choice, table: pa.Table, used: list[int], form: str) -> _Table:
    table.validate(full=True)  # nothing from a broken file is touched before
    if table.num_columns != len(used):
        raise CandleFileError("columns of the file share a name or are nested; there must be one of each")
    return _table(choice, lambda at: _plain_text(table.column(used.index(at))), table.num_rows, form)


def _is_flat(kind: Any) -> bool:
    return not (pa.types.is_dictionary(kind) or pa.types.is_nested(kind))


def _plain_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    kind = column.type
    if pa.types.is_dictionary(kind):
        return column.cast(kind.value_type)
    return column.cast(pa.float64()) if pa.types.is_decimal(kind) else column


def _choose_long(schema: pa.Schema, columns: Mapping[str, str] | None) -> Choice:
    names = [str(name) for name in schema.names]
    if any(name.startswith("('") for name in names):
        raise CandleFileError("the file is wide, with a column for each (ticker, field); it holds many tickers")
    index = schema.get_field_index("__index_level_0__")  # pandas' name of an index that has none
    if index >= 0 and pa.types.is_timestamp(schema.field(index).type) and not candle_columns.has_time(names):
        names[index] = "time"
    return choose(names, columns)


def _table(
    choice: Choice,
    column: Callable[[int], pa.ChunkedArray],
    rows: int,
    form: str,
    notes: tuple[str, ...] = (),
) -> _Table:
    if not rows:
        raise CandleFileError("the file has no rows" + (f": {notes[0]}" if notes else ""))
    return _Table(choice, {name: column(position) for name, position in choice.positions.items()}, form, notes)


def _is_funding(values: Mapping[str, Any]) -> bool:
    """Whether these are freqtrade's funding rates, which it keeps as opens of candles that are 0 otherwise."""
    rest = all(not np.any(values[name]) for name in ("high", "low", "close", "volume"))
    return rest and bool(np.all(np.abs(values["open"]) < 1))


def _symbol(values: pa.ChunkedArray | None) -> str | None:
    if values is None:
        return None
    names = values.unique().to_pylist()
    if len(names) > 1:
        raise CandleFileError(
            f"the file holds {len(names)} tickers, {str(names[0])[:40]!r} and {str(names[1])[:40]!r} for example; "
            "write one file a ticker"
        )
    return None if names[0] is None else str(names[0])


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
