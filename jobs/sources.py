"""Files of candles that a quant has: where the tickers are, and how one of them is read.

A source is a file or a directory at any store URL. Formats are told by content where the name does not say:
the wide Parquet with (ticker, field) columns, one Parquet a ticker, and freqtrade's JSON, JSON.gz and feather.
"""

import gzip
import io
import json
import logging
import posixpath
import re
import zlib
from dataclasses import dataclass, replace
from typing import Any, Literal

import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
from backtesting import test as samples

from jobs.config import Ingest
from quant import tickers
from storage.store import Store, open_store

FIELDS = ("open", "high", "low", "close", "volume")
SAMPLES = ("GOOG", "EURUSD", "BTCUSD")
LARGEST_FILE = 2 << 30
SUFFIXES = (".parquet", ".json", ".json.gz", ".feather")
ROW_BYTES = {"parquet": 43.0, "feather": 50.0, "json": 60.0, "wide": 43.0, "samples": 43.0}
TIME_NAMES = ("time", "date", "datetime", "timestamp", "open_time")


FREQTRADE_NAME = re.compile(r"[A-Z0-9]{2,}_[A-Z]{3,}(_[A-Z]{3,})?-\d+[mhdwM](-futures)?$")

logger = logging.getLogger("assay")


class SourceError(ValueError):
    """A source that cannot be read: what and where."""


@dataclass(frozen=True)
class Source:
    """Where the bars of one ticker lie.

    ``stamp`` changes when the file does. ``flaw`` says why it cannot be read, which costs no other ticker.
    """

    ticker: str
    symbol: str
    format: Literal["samples", "wide", "parquet", "json", "feather"]
    url: str = ""
    key: str = ""
    stamp: str = ""
    flaw: str = ""

    @property
    def rows(self) -> float:
        """About how many rows it has, by the size of its file."""
        return float(self.stamp.partition("-")[0] or 0) / ROW_BYTES[self.format]

    @property
    def address(self) -> str:
        """What an error names."""
        return f"{self.url.rstrip('/')}/{self.key}" if self.key else f"{self.format}:{self.symbol}"


def discover(url: str, settings: Ingest) -> list[Source]:
    """Sources behind a URL, one a ticker, sorted by ticker.

    Raises
    ------
    SourceError
        If nothing is there, or no file in it is of a known format.
    """
    if url == "samples":
        found = [Source(f"samples:{name}", name, "samples") for name in SAMPLES]
    else:
        files = _files(url)
        found = [
            replace(source, stamp=stamp) for store, key, stamp in files for source in _in_file(store, key, settings)
        ]
    seen: dict[str, Source] = {}
    for source in found:
        first = seen.setdefault(source.ticker, source)
        if first is not source:
            flaw = (
                f"both {first.address} and {source.address} hold {source.ticker}. "
                "Keep one of them, choose a length by --ingest.bar, or ingest them as two runs"
            )
            seen[source.ticker] = replace(first, flaw=flaw)
    return [seen[ticker] for ticker in sorted(seen)]


def read(source: Source) -> pd.DataFrame:
    """Rows of a source as they are, with a column ``time``; validation comes later.

    Raises
    ------
    SourceError
        If the file is empty, truncated or not what its name says, or two files hold the ticker.
    """
    if source.flaw:
        raise SourceError(source.flaw)
    if source.format == "samples":
        return _timed(getattr(samples, source.symbol), source)
    if source.format == "wide":
        return _read_wide(source)
    store = open_store(source.url)
    data = store.read(source.key)
    if data.startswith(b"version https://git-lfs"):
        raise SourceError(
            f"{source.address} is a git-LFS pointer, not the data itself. Fetch the file with `git lfs pull`."
        )
    try:
        if source.format == "parquet":
            return _timed(pq.read_table(io.BytesIO(data)).to_pandas(), source)
        if source.format == "feather":
            return _timed(pyarrow.feather.read_table(io.BytesIO(data)).to_pandas(), source)
        return _read_json(data, source)
    except (pa.ArrowException, OSError, EOFError, zlib.error, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise SourceError(
            f"{source.address} is not a readable {source.format} file ({len(data):,} bytes): {error}. "
            "It may be empty or truncated; copy it again."
        ) from error


def _files(url: str) -> list[tuple[Store, str, str]]:
    """Files behind a URL with their stamps: itself, or all below it that may hold candles."""
    folder, name = posixpath.split(url.rstrip("/"))
    if name.endswith(SUFFIXES):
        store = open_store(folder or ".")
        if not store.exists(name):
            raise SourceError(f"There is no file at {url}. Give a file, a directory or a store URL.")
        return [(store, name, store.stamp(name))]
    store = open_store(url)
    keys = sorted((key, stamp) for key, stamp in store.stamps().items() if key.endswith(SUFFIXES))
    if not keys:
        raise SourceError(
            f"There are no candles at {url}: no such directory, or no file in it ends in {', '.join(SUFFIXES)}."
        )
    return [(store, key, stamp) for key, stamp in keys]


def _in_file(store: Store, key: str, settings: Ingest) -> list[Source]:
    """Sources in one file, judged by its name and, for Parquet, by its columns."""
    name = posixpath.basename(key)
    if key.endswith((".json", ".json.gz", ".feather")):
        kind: Any = "feather" if key.endswith(".feather") else "json"
        symbol, length, market = _pair(name)
        if settings.bar and length and pd.Timedelta(length) != pd.Timedelta(settings.bar):
            return []
        return [
            Source(tickers.canonical(symbol, settings.venue, market or settings.market), symbol, kind, store.url, key)
        ]
    fields = _wide_symbols(store, key)
    if fields:
        return [
            Source(tickers.canonical(symbol, settings.venue, settings.market), symbol, "wide", store.url, key)
            for symbol in fields
        ]
    symbol = name.removesuffix(".parquet")
    return [Source(tickers.canonical(symbol, settings.venue, settings.market), symbol, "parquet", store.url, key)]


def _pair(name: str) -> tuple[str, pd.Timedelta | None, str | None]:
    """Symbol, length of a bar and market from freqtrade's file name, whatever comes before it; else the name."""
    stem = name.split(".")[0]
    found = FREQTRADE_NAME.search(stem)
    try:
        return tickers.parse_freqtrade(found[0] if found else stem)
    except tickers.TickerError:
        logger.warning(
            "%s is not named like freqtrade's files (ETH_USDT_USDT-15m-futures); its name is its ticker", name
        )
        return stem, None, None


def _wide_symbols(store: Store, key: str) -> list[str]:
    """Symbols of a wide file, from its schema alone; empty when it is not one or cannot be read."""
    try:
        with store.open(key) as file:
            names = pq.read_schema(file).names
    except (pa.ArrowException, OSError):
        return []  # reading it will say what is wrong, for this file alone
    return sorted({parts[0] for name in names if (parts := _wide_column(name)) is not None})


def _wide_column(name: str) -> tuple[str, str] | None:
    """("BTCUSDT", "open") from "('BTCUSDT', 'open')", the form in which pandas stores two levels."""
    if not (name.startswith("('") and name.endswith("')")):
        return None
    symbol, separator, field = name[2:-2].rpartition("', '")
    return (symbol, field) if separator else None


def _read_wide(source: Source) -> pd.DataFrame:
    names = {field: f"('{source.symbol}', '{field}')" for field in FIELDS}
    with open_store(source.url).open(source.key) as opened, pq.ParquetFile(opened) as file:
        present = file.schema_arrow.names
        missing = [field for field, name in names.items() if name not in present]
        if missing:
            raise SourceError(f"{source.address} has no {', '.join(missing)} for {source.symbol}.")
        index = [name for name in present if _wide_column(name) is None]
        if len(index) != 1:
            raise SourceError(
                f"{source.address} needs one time index beside its (ticker, field) columns; it has {index}."
            )
        table = file.read(columns=[*names.values(), index[0]])
    frame = pd.DataFrame({field: table[name].to_numpy() for field, name in names.items()})
    frame.insert(0, "time", table[index[0]].to_pandas().to_numpy())
    # a ticker listed later has empty rows above its first bar: not bad bars, no bars
    return frame.dropna(how="all", subset=list(FIELDS)).reset_index(drop=True)


def _read_json(data: bytes, source: Source) -> pd.DataFrame:
    """freqtrade's list of [milliseconds, open, high, low, close, volume]."""
    if data[:2] == b"\x1f\x8b":
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
            data = file.read(LARGEST_FILE + 1)
        if len(data) > LARGEST_FILE:
            raise SourceError(f"{source.address} unpacks to more than {LARGEST_FILE >> 30} GiB; split it.")
    rows = json.loads(data)
    if not isinstance(rows, list) or not rows or not all(isinstance(row, list) and len(row) == 6 for row in rows):
        raise SourceError(
            f"{source.address} is not freqtrade's JSON: a list of [milliseconds, open, high, low, close, volume]."
        )
    frame = pd.DataFrame(rows, columns=["time", *FIELDS])
    frame["time"] = pd.to_datetime(frame["time"], unit="ms", utc=True)
    return frame


def _timed(frame: pd.DataFrame, source: Source) -> pd.DataFrame:
    """The frame with its time as a column, wherever it was."""
    frame = frame.rename(columns={name: str(name).lower() for name in frame.columns})
    for name in TIME_NAMES:
        if name in frame.columns:
            return frame.rename(columns={name: "time"})
    if isinstance(frame.index, pd.DatetimeIndex):
        return frame.rename_axis("time").reset_index()
    raise SourceError(f"{source.address} has no time: none of the columns {', '.join(TIME_NAMES)}, no time index.")
