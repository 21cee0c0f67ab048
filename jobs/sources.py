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
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
from backtesting import test as samples

from jobs.config import Ingest
from quant import tickers
from storage.store import open_store

FIELDS = ("open", "high", "low", "close", "volume")
SAMPLES = ("GOOG", "EURUSD", "BTCUSD")
LARGEST_FILE = 2 << 30
PEEKS = 16  # files looked into at once: each is a round trip or two, and hardly any work
NAMED_SUFFIXES = (".json", ".json.gz", ".feather")  # named by freqtrade: pair, length of a bar, market
SUFFIXES = (".parquet", *NAMED_SUFFIXES)
ROW_BYTES = {"json": 60.0, "feather": 50.0}  # about what a candle takes in files without a footer
LOOKS = 8  # files looked into to foresee the rows of all
TIME_NAMES = ("time", "date", "datetime", "timestamp", "open_time")


FREQTRADE_NAME = re.compile(r"[A-Z0-9]{2,}_[A-Z]{3,}(_[A-Z]{3,})?-\d+[mhdwM](-futures)?$")

logger = logging.getLogger("assay")


class SourceError(ValueError):
    """A source that cannot be read: what and where."""


@dataclass(frozen=True)
class Source:
    """Where the bars of one ticker lie.

    ``stamp`` changes when the file does. ``flaw`` says why it cannot be read, which costs no other ticker. ``rows`` is
    how many it has, where it is Parquet, and otherwise about how many.
    """

    ticker: str
    symbol: str
    format: Literal["samples", "wide", "parquet", "json", "feather"]
    url: str = ""
    key: str = ""
    stamp: str = ""
    flaw: str = ""
    rows: float = 0.0

    @property
    def address(self) -> str:
        """What an error names."""
        return f"{self.url.rstrip('/')}/{self.key}" if self.key else f"{self.format}:{self.symbol}"


class File(NamedTuple):
    """A file that may hold candles: where it lies, and a text that changes when it does."""

    url: str
    key: str
    stamp: str

    @property
    def size(self) -> int:
        """Bytes, with which the stamp of every store begins."""
        return int(self.stamp.partition("-")[0])


def files(url: str, settings: Ingest) -> list[File]:
    """Files behind a URL, sorted: itself, or all below it that may hold candles of the configured length.

    One listing, and no file is opened.

    Raises
    ------
    SourceError
        If nothing is there, or no file in it is of a known format.
    """
    folder, name = posixpath.split(url.rstrip("/"))
    if name.endswith(SUFFIXES):
        store = open_store(folder or ".")
        if not store.exists(name):
            raise SourceError(f"There is no file at {url}. Give a file, a directory or a store URL.")
        return [File(store.url, name, store.stamp(name))]
    store = open_store(url)
    found = sorted((key, stamp) for key, stamp in store.stamps().items() if key.endswith(SUFFIXES))
    if not found:
        raise SourceError(
            f"There are no candles at {url}: no such directory, or no file in it ends in {', '.join(SUFFIXES)}."
        )
    strange = [key for key, _ in found if key.endswith(NAMED_SUFFIXES) and _pair(key)[1] is None]
    if strange:
        logger.warning(
            "%s%s is not named like freqtrade's files (ETH_USDT_USDT-15m-futures); its name is its ticker",
            strange[0],
            f" (and {len(strange) - 1} more)" if len(strange) > 1 else "",
        )
    fitting = [File(store.url, key, stamp) for key, stamp in found if _fits(key, settings)]
    if not fitting:
        raise SourceError(f"None of the {len(found)} files at {url} has bars of {settings.bar} (--ingest.bar).")
    return fitting


def of_files(some: list[File], settings: Ingest) -> list[Source]:
    """Sources in some files, judged by their names and, for Parquet, by their columns."""
    with ThreadPoolExecutor(PEEKS) as threads:
        return [found for each in threads.map(lambda file: _in_file(file, settings), some) for found in each]


def by_ticker(found: Iterable[Source]) -> list[Source]:
    """One source a ticker, sorted by ticker; a ticker that two files hold has a flaw."""
    seen: dict[str, Source] = {}
    for source in sorted(found, key=lambda source: (source.key, source.symbol)):
        first = seen.setdefault(source.ticker, source)
        if first is not source:
            flaw = (
                f"both {first.address} and {source.address} hold {source.ticker}. "
                "Keep one of them, choose a length by --ingest.bar, or ingest them as two runs"
            )
            seen[source.ticker] = replace(first, flaw=flaw)
    return [seen[ticker] for ticker in sorted(seen)]


def of_the_library() -> list[Source]:
    """The markets that come with backtesting.py."""
    return [Source(f"samples:{name}", name, "samples", rows=len(getattr(samples, name))) for name in SAMPLES]


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


def _fits(key: str, settings: Ingest) -> bool:
    """Whether a file may hold bars of the configured length, as far as its name says."""
    if not settings.bar or not key.endswith(NAMED_SUFFIXES):
        return True
    length = _pair(key)[1]
    return not length or pd.Timedelta(length) == pd.Timedelta(settings.bar)


def _in_file(file: File, settings: Ingest) -> list[Source]:
    """Sources in one file."""
    kind: Any
    if file.key.endswith(NAMED_SUFFIXES):
        kind = "feather" if file.key.endswith(".feather") else "json"
        symbol, _, market = _pair(file.key)
        ticker = tickers.canonical(symbol, settings.venue, market or settings.market)
        return [Source(ticker, symbol, kind, *file, rows=file.size / ROW_BYTES[kind])]
    symbols, rows = _wide_symbols(file)
    kind = "wide" if symbols else "parquet"
    return [
        Source(tickers.canonical(symbol, settings.venue, settings.market), symbol, kind, *file, rows=rows)
        for symbol in symbols or [_stem(file.key)]
    ]


def _pair(key: str) -> tuple[str, pd.Timedelta | None, str | None]:
    """Symbol, length of a bar and market from freqtrade's file name, whatever comes before it; else the name."""
    stem = posixpath.basename(key).split(".")[0]
    found = FREQTRADE_NAME.search(stem)
    try:
        return tickers.parse_freqtrade(found[0] if found else stem)
    except tickers.TickerError:
        return stem, None, None


def _wide_symbols(file: File) -> tuple[list[str], float]:
    """Symbols of a wide file, none when it is not one or cannot be read, and its rows, from its footer alone."""
    try:
        with open_store(file.url).open(file.key) as opened:
            footer = pq.read_metadata(opened)
    except (pa.ArrowException, OSError):
        return [], 0.0  # reading it will say what is wrong, for this file alone
    names = footer.schema.to_arrow_schema().names
    return sorted({parts[0] for name in names if (parts := _wide_column(name)) is not None}), float(footer.num_rows)


def expected_rows(some: list[File], settings: Ingest) -> dict[str, float]:
    """About how many rows the files hold of each ticker: by looking into a few of them, and by the size of the rest."""
    looked_into = some[:: -(-len(some) // LOOKS)]
    known = of_files(looked_into, settings)
    rows_of_byte = sum(source.rows for source in known) / max(1, sum(file.size for file in looked_into))
    left = [file for file in some if file not in set(looked_into)]
    return {
        **{_named(file, settings): file.size * rows_of_byte for file in left},
        **{source.ticker: source.rows for source in known},
    }


def _named(file: File, settings: Ingest) -> str:
    """Ticker of a file that nobody has looked into."""
    symbol, _, market = _pair(file.key) if file.key.endswith(NAMED_SUFFIXES) else (_stem(file.key), None, None)
    return tickers.canonical(symbol, settings.venue, market or settings.market)


def _stem(key: str) -> str:
    return posixpath.basename(key).removesuffix(".parquet")


def _wide_column(name: str) -> tuple[str, str] | None:
    """("BTCUSDT", "open") from "('BTCUSDT', 'open')", the form in which pandas stores two levels."""
    if not (name.startswith("('") and name.endswith("')")):
        return None
    symbol, separator, field = name[2:-2].rpartition("', '")
    return (symbol, field) if separator else None


class Wide:
    """A wide file, opened: its footer and its times are read once for all the tickers that a worker reads from it."""

    def __init__(self, source: Source) -> None:
        """Open the file that a source lies in."""
        self._file = open_store(source.url).open(source.key)
        try:
            self._parquet = pq.ParquetFile(self._file)
            self.names = frozenset(self._parquet.schema_arrow.names)
            self._index = [name for name in self._parquet.schema_arrow.names if _wide_column(name) is None]
            if len(self._index) != 1:
                raise SourceError(
                    f"{source.address} needs one time index beside its (ticker, field) columns; it has {self._index}."
                )
            self._times = self._parquet.read(columns=self._index)[self._index[0]].to_pandas().to_numpy()
        except BaseException:
            self._file.close()
            raise

    def rows(self, columns: dict[str, str]) -> pd.DataFrame:
        """Rows with the time and these columns, by what each is to be called."""
        table = self._parquet.read(columns=list(columns.values()))
        frame = pd.DataFrame({field: table[name].to_numpy() for field, name in columns.items()})
        frame.insert(0, "time", self._times)
        return frame

    def close(self) -> None:
        """Close the file."""
        self._file.close()


_wide: dict[tuple[str, str, str], Wide] = {}  # the last one that this process has read from


def _read_wide(source: Source) -> pd.DataFrame:
    place = (source.url, source.key, source.stamp)
    names = {field: f"('{source.symbol}', '{field}')" for field in FIELDS}
    try:
        if place not in _wide:
            _close_wide()
            _wide[place] = Wide(source)
        missing = [field for field, name in names.items() if name not in _wide[place].names]
        if missing:
            raise SourceError(f"{source.address} has no {', '.join(missing)} for {source.symbol}.")
        frame = _wide[place].rows(names)
    except (pa.ArrowException, OSError) as error:
        _close_wide()  # whatever it was, the next ticker begins with a fresh one
        raise SourceError(f"{source.address} cannot be read: {error}. Copy the file again.") from error
    # a ticker listed later has empty rows above its first bar: not bad bars, no bars
    return frame.dropna(how="all", subset=list(FIELDS)).reset_index(drop=True)


def _close_wide() -> None:
    for opened in _wide.values():
        opened.close()
    _wide.clear()


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
