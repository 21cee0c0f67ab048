"""Files of candles that a quant has: where the tickers are, and how one of them is read.

A source is a file or a directory at any store URL. What a file holds its content tells (``quant.candle_files``), and
whose it is its name (``quant.candle_names``), or its columns where it is Parquet with many tickers.
"""

import logging
import posixpath
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from jobs import parquet_markets
from jobs.archive import Archive
from jobs.config_data import OWN_FUNDING, Ingest
from quant import bars, candle_files, candle_names, tickers
from quant.candle_files import CandleFileError, Parsed
from quant.candle_names import SUFFIXES, CandleName
from storage import keys, layout
from storage.store import Store, open_store

SAMPLES = ("GOOG", "EURUSD", "BTCUSD")
LARGEST_FILE = 2 << 30  # bytes, unpacked
LARGEST_POINTER = 1 << 10  # bytes; a git-LFS pointer has about 130
LARGEST_RATE = 1.0
PEEKS = 16  # files looked into at once: each is a round trip or two, and hardly any work
# about what a candle takes in files without a footer
ROW_BYTES = {".csv": 70.0, ".csv.gz": 25.0, ".json": 60.0, ".json.gz": 15.0, ".zip": 45.0, ".feather": 50.0}
LOOKS = 8  # files looked into to foresee the rows of all

logger = logging.getLogger("assay")

Format = Literal["samples", "files", "wide", "long"]


class SourceError(ValueError):
    """A source that cannot be read: what and where."""


class File(NamedTuple):
    """A file that may hold candles: where it lies, a text that changes when it does, and what its name is read as."""

    url: str
    key: str
    stamp: str
    name: str

    @property
    def size(self) -> int:
        """Bytes, with which the stamp of every store begins."""
        return int(self.stamp.partition("-")[0])

    @property
    def address(self) -> str:
        """What an error names."""
        return f"{self.url.rstrip('/')}/{self.key}"


class Found(NamedTuple):
    """What a file holds of one ticker, as far as its name and its columns say; ``flaw``: why it cannot be read."""

    ticker: str
    symbol: str
    format: Format
    file: File
    name: CandleName
    rows: float
    flaw: str = ""


@dataclass(frozen=True)
class Source:
    """Where the bars and the funding rates of one ticker lie.

    ``files`` are parts of one history, the more important first. ``flaw`` says why it cannot be read, which costs no
    other ticker. ``rows`` is how many it has, where it is Parquet, and otherwise about how many.
    """

    ticker: str
    symbol: str
    format: Format
    files: tuple[File, ...] = ()
    rates: tuple[File, ...] = ()
    flaw: str = ""
    rows: float = 0.0

    @property
    def address(self) -> str:
        """What an error names."""
        every = (*self.files, *self.rates)
        if not every:
            return f"{self.format}:{self.symbol}"
        return every[0].address + (f" and {len(every) - 1} more" if len(every) > 1 else "")


class Content(NamedTuple):
    """What a source holds: rows for ``quant.bars.validate``, funding rates by time, and what was assumed."""

    bars: pd.DataFrame | None
    rates: pd.Series | None = None
    notes: tuple[str, ...] = ()


def files(url: str, settings: Ingest) -> list[File]:
    """Files behind a URL, sorted: itself, or all below it that may hold candles of the configured length.

    One listing, and no file is opened.

    Raises
    ------
    SourceError
        If nothing is there, or no file in it is of a known format.
    """
    folder, name = posixpath.split(url.rstrip("/"))
    in_a_store = name and not folder.endswith(":")  # and not a bucket's own name
    if in_a_store and keys.flaw(name) is None and (store := open_store(folder or ".")).exists(name):
        _warn_of_names({name: candle_names.read(name)})
        return [File(store.url, name, store.stamp(name), name)]
    if name.endswith(SUFFIXES):
        raise SourceError(f"There is no file at {url}. Give a file, a directory or a store URL.")
    store = open_store(url)
    every = sorted(store.stamps().items())
    candles = [File(store.url, key, stamp, key) for key, stamp in every if key.endswith(SUFFIXES)]
    if not candles:
        raise SourceError(
            f"There are no candles at {url}: no such directory, or no file in it ends in {', '.join(SUFFIXES)}."
        )
    _warn_of_names({file.key: candle_names.read(file.name) for file in candles})
    fitting = [file for file in candles if _fits(candle_names.read(file.name), settings)]
    if not fitting:
        raise SourceError(
            f"None of the {len(candles)} files at {url} has bars of {settings.bar or 'any length'} (--ingest.bar) "
            "from the days asked for."
        )
    if len(fitting) < len(every):
        logger.info(
            "%d of the %d files at %s are read; the others end otherwise or hold other lengths or days",
            len(fitting),
            len(every),
            url,
        )
    return fitting


def archived(store: Store, archive: Archive, settings: Ingest) -> list[File]:
    """Files of an archive that may hold what is asked for, sorted; one listing."""
    fitting = []
    for key, stamp in sorted(store.stamps(archive.prefix).items()):
        name = "/".join(map(layout.unquote, key.removeprefix(archive.prefix).strip("/").split("/")))
        read = candle_names.read(name)
        if not name.endswith(SUFFIXES) or (read.kind == "funding" and settings.funding != OWN_FUNDING):
            continue  # a mark of the service's own, or what other runs have fetched
        if _fits(read, settings) and (settings.quote is None or read.symbol.endswith(settings.quote.upper())):
            fitting.append(File(store.url, key, stamp, name))
    return fitting


def _fits(name: CandleName, settings: Ingest) -> bool:
    """Whether a file may hold what is asked for, as far as its name says."""
    if name.kind == "mark" or (settings.bar and name.bar not in (None, settings.length)):
        return False
    if not name.period:
        return True
    first = pd.Timestamp(name.period)
    last = first + (pd.offsets.MonthEnd() if len(name.period) == len("2024-01") else pd.Timedelta(0))
    return (settings.since is None or last.date() >= settings.since) and (
        settings.until is None or first.date() <= settings.until
    )


def _warn_of_names(found: Mapping[str, CandleName]) -> None:
    strange = [key for key, name in found.items() if key.endswith((".json", ".json.gz", ".feather")) and not name.form]
    if strange:
        logger.warning(
            "%s%s is not named like freqtrade's files (ETH_USDT_USDT-15m-futures); its name is its ticker",
            strange[0],
            _more(strange),
        )
    marks = [key for key, name in found.items() if name.kind == "mark"]
    if marks:
        logger.warning("%s%s holds mark prices, which nobody traded at; left out", marks[0], _more(marks))


def of_files(some: list[File], settings: Ingest) -> list[Found]:
    """What some files hold, judged by their names and, for Parquet, by their columns."""
    with ThreadPoolExecutor(PEEKS) as threads:
        return [found for each in threads.map(lambda file: _in_file(file, settings), some) for found in each]


def by_ticker(found: Iterable[Found]) -> list[Source]:
    """One source a ticker, sorted by ticker; a ticker that two files hold has a flaw, unless they are parts of one."""
    grouped: dict[str, list[Found]] = defaultdict(list)
    for each in sorted(found, key=lambda each: (each.file.key, each.symbol)):
        grouped[each.ticker].append(each)
    return [_source(ticker, grouped[ticker]) for ticker in sorted(grouped)]


def of_the_library() -> list[Source]:
    """The markets that come with backtesting.py."""
    return [Source(f"samples:{name}", name, "samples", rows=len(_sample(name))) for name in SAMPLES]


def _sample(name: str) -> pd.DataFrame:
    from backtesting import test  # half a second to import, which all other sources can do without

    sample: pd.DataFrame = getattr(test, name)
    return sample


def read(source: Source, settings: Ingest) -> Content:
    """Rows of a source as they are; validation comes later.

    Where parts of a history overlap, the row of a longer part counts: a month's before a day's.

    Raises
    ------
    SourceError
        If a file cannot be read, or two hold the ticker.
    """
    if source.flaw:
        raise SourceError(source.flaw)
    if source.format == "samples":
        frame = _sample(source.symbol).rename_axis("time").reset_index()
        return Content(_asked_for(frame, settings, source))
    parsed = [(file, _parsed(source, file, settings)) for file in (*source.files, *source.rates)]
    parts = [each.frame for _, each in parsed if each.kind == "bars"]
    rates = [(file, each.frame) for file, each in parsed if each.kind == "funding"]
    misnamed = [file for file, each in parsed[len(source.files) :] if each.kind == "bars"]
    if misnamed:
        raise SourceError(f"{misnamed[0].address} is named as funding rates and holds bars. Rename it.")
    frame, left_out = _joined(parts, source.address) if len(parts) > 1 else (parts[0] if parts else None, 0)
    notes = list(dict.fromkeys(note for _, each in parsed for note in each.notes))
    if left_out:
        notes.append(f"{left_out} rows of shorter parts were left out, which longer parts hold too")
    return Content(_asked_for(frame, settings, source), _rates(rates) if rates else None, tuple(notes))


def _asked_for(frame: pd.DataFrame | None, settings: Ingest, source: Source) -> pd.DataFrame | None:
    """The rows of the days asked for; those whose time cannot be read stay, for validation to tell of them."""
    if frame is None or (settings.since is None and settings.until is None):
        return frame
    times = bars.instants(frame, source.address)
    outside = np.zeros(len(times), dtype=bool)
    if settings.since is not None:
        outside |= np.asarray(times < pd.Timestamp(settings.since, tz="UTC"))
    if settings.until is not None:
        outside |= np.asarray(times >= pd.Timestamp(settings.until, tz="UTC") + pd.Timedelta(days=1))
    if outside.all():
        raise SourceError(
            f"{source.address} has no bars of the days asked for (--ingest.since, --ingest.until): they go from "
            f"{times.min()} to {times.max()}."
        )
    return frame[~outside].reset_index(drop=True)


def expected_rows(some: list[File], settings: Ingest) -> dict[str, float]:
    """About how many rows the files hold of each ticker: by looking into a few of them, and by the size of the rest."""
    looked_into = some[:: -(-len(some) // LOOKS)]
    known = of_files(looked_into, settings)
    rows_of_byte = sum(each.rows for each in known) / max(1, sum(file.size for file in looked_into))
    rows: dict[str, float] = defaultdict(float)
    for each in known:
        rows[each.ticker] += each.rows
    for file in some:
        if file not in set(looked_into):
            name = candle_names.read(file.name)
            rows[canonical(name.symbol, settings, name.market)[0]] += file.size * rows_of_byte
    return dict(rows)


def _in_file(file: File, settings: Ingest) -> list[Found]:
    """What one file holds."""
    name = candle_names.read(file.name)
    ticker, flaw = canonical(name.symbol, settings, name.market)
    store = open_store(file.url)
    if file.size <= LARGEST_POINTER and store.read(file.key).startswith(candle_files.POINTER):
        stem = posixpath.basename(file.key)  # the data itself may lie beside it, under the name that it bears
        flaw = f"{file.address} is a git-LFS pointer, not the data itself. Fetch the file with `git lfs pull`."
        return [Found(canonical(stem, settings)[0], stem, "files", file, name, 0.0, flaw)]
    if not file.key.endswith(".parquet"):
        bytes_of_row = next((size for suffix, size in ROW_BYTES.items() if file.key.endswith(suffix)), 60.0)
        return [Found(ticker, name.symbol, "files", file, name, file.size / bytes_of_row, flaw)]
    market = parquet_markets.look(store, file.key, settings.columns)
    if market.format == "file":
        return [Found(ticker, name.symbol, "files", file, name, market.rows[""], flaw)]
    return [
        Found(ticker, symbol, market.format, file, CandleName(symbol), rows, flaw)
        for symbol, rows in market.rows.items()
        for ticker, flaw in [canonical(symbol, settings)]
    ]


def canonical(symbol: str, settings: Ingest, market: str | None = None) -> tuple[str, str]:
    """The canonical ticker of a symbol, and why it is none; a name for the failure then, whatever the symbol is."""
    market = market or settings.market
    try:
        return tickers.canonical(symbol, settings.venue, market), ""
    except tickers.TickerError as error:
        return f"{settings.venue}-{market}:{symbol}", f"{error} (--ingest.venue, --ingest.market)"


def _source(ticker: str, found: Sequence[Found]) -> Source:
    """The source of one ticker from all that was found of it, in the order of the keys."""
    bars = [each for each in found if each.name.kind != "funding"]
    rates = tuple(each.file for each in found if each.name.kind == "funding")
    parts = sorted(bars, key=lambda each: (len(each.name.period), each.name.period, each.file.key))
    flaw = next((each.flaw for each in found if each.flaw), "")
    if len(bars) > 1 and not (all(each.name.period for each in bars) and len({each.name.bar for each in bars}) == 1):
        flaw = (
            f"both {bars[0].file.address} and {bars[1].file.address} hold {ticker}. "
            "Keep one of them, choose a length by --ingest.bar, or ingest them as two runs"
        )
    leading = (bars or found)[0]
    return Source(
        ticker, leading.symbol, leading.format, tuple(each.file for each in parts), rates, flaw,
        sum(each.rows for each in bars or found),
    )  # fmt: skip


def _parsed(source: Source, file: File, settings: Ingest) -> Parsed:
    store = open_store(file.url)
    try:
        if source.format in ("wide", "long") and file in source.files:
            return parquet_markets.read(
                store, file.key, file.stamp, source.format, source.symbol, settings.columns, settings.zone
            )
        data = store.read(file.key)
        return candle_files.parse(data, limit=LARGEST_FILE, columns=settings.columns, zone=settings.zone)
    except CandleFileError as error:
        raise SourceError(f"{file.address}: {str(error).rstrip('.')}.") from error


def _joined(parts: Sequence[pd.DataFrame], address: str) -> tuple[pd.DataFrame, int]:
    """One frame of parts of a history, and how many rows of later parts were left out since earlier ones hold them."""
    kept: list[pd.DataFrame] = []
    times: list[np.ndarray] = []
    left_out = 0
    for part in parts:
        own = bars.instants(part, address).asi8
        # months come in order and days after them, so that most parts have nothing in common with any before
        before = [other for other in times if other.min() <= own.max() and own.min() <= other.max()]
        fresh = ~np.isin(own, np.concatenate(before)) if before else np.ones(len(own), dtype=bool)
        if fresh.any():
            kept.append(part if fresh.all() else part[fresh])
            times.append(own[fresh])
        left_out += int(np.sum(~fresh))
    frame = pd.DataFrame({name: np.concatenate([part[name].to_numpy() for part in kept]) for name in bars.COLUMNS})
    frame.insert(0, "time", pd.DatetimeIndex(np.concatenate(times).view("datetime64[us]"), tz="UTC"))
    return frame, left_out


def _rates(parts: Sequence[tuple[File, pd.DataFrame]]) -> pd.Series:
    """Funding rates of all files by time; a payment that several of them hold counts once."""
    address = parts[0][0].address
    frame = pd.concat(
        [pd.DataFrame({"time": bars.instants(each, address), "rate": each["rate"].to_numpy()}) for _, each in parts]
    )
    wrong = frame["time"].isna() | ~(frame["rate"].abs() < LARGEST_RATE)
    if wrong.any():
        first = frame[wrong].iloc[0]
        raise SourceError(
            f"{address}: the funding rate at {first['time']} is {first['rate']}; allowed are times that can be read, "
            "and fractions of the position's value such as 0.0001."
        )
    rates = frame.drop_duplicates().set_index("time")["rate"].sort_index(kind="stable")
    if not rates.index.is_unique:
        twice = rates.index[rates.index.duplicated()][0]
        raise SourceError(f"{address} has two funding rates at {twice}, {rates[twice].tolist()}; there must be one.")
    return rates


def _more(names: Sequence[str]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""
