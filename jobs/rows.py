"""Files of rows (ticker, time, value) that a quant brings along: own signals, funding rates."""

import hashlib
import io
import posixpath
from typing import NamedTuple

import numpy as np
import pandas as pd

from storage.store import open_store


class RowsError(ValueError):
    """Rows that cannot be used: which file, row and value."""


class Rows(NamedTuple):
    """Rows by the ticker that the file names, indexed by time (UTC)."""

    url: str
    by_ticker: dict[str, pd.Series]

    def named(self, tickers: list[str]) -> dict[str, pd.Series]:
        """Return the rows by canonical ticker; the file may name a ticker or its symbol. Unknown names are kept.

        Raises
        ------
        RowsError
            If the file names a ticker both ways, so that the rows of one name would be lost.
        """
        known = {name: ticker for ticker in tickers for name in (ticker, ticker.partition(":")[2])}
        found: dict[str, pd.Series] = {}
        for name, rows in self.by_ticker.items():
            ticker = known.get(name, name)
            if ticker in found:
                raise RowsError(f"{self.url} names {ticker} also as {name}; allowed: one name a ticker.")
            found[ticker] = rows
        return found


class File(NamedTuple):
    """A file as it lies there: its bytes, and the hash of them."""

    url: str
    data: bytes
    content: str


def fetch(url: str) -> File:
    """Read a file, and leave for later what is in it."""
    folder, name = posixpath.split(url)
    data = open_store(folder or ".").read(name)
    return File(url, data, hashlib.sha256(data).hexdigest())


def parse(file: File, value: str) -> Rows:
    """Rows of a Parquet or CSV file with the columns ticker, time and ``value``.

    Raises
    ------
    RowsError
        If the file cannot be read, a column is missing, a time cannot be read, a value is no finite number, or a ticker
        has two values at one time.
    """
    url, data = file.url, file.data
    try:
        frame = pd.read_csv(io.BytesIO(data)) if url.endswith(".csv") else pd.read_parquet(io.BytesIO(data))
    except (ValueError, OSError) as error:
        raise RowsError(f"{url} is not a readable Parquet or CSV file ({len(data):,} bytes): {error}") from error
    needed = ("ticker", "time", value)
    missing = [column for column in needed if column not in frame.columns]
    if missing:
        raise RowsError(f"{url} lacks the column {', '.join(missing)}; it needs {', '.join(needed)}.")
    times = pd.to_datetime(frame["time"], utc=True, errors="coerce")
    if times.isna().any():
        row = int(np.flatnonzero(times.isna())[0])
        raise RowsError(f"{url}, row {row}: time {frame['time'].iloc[row]!r} cannot be read; give UTC times.")
    numbers = pd.to_numeric(frame[value], errors="coerce")
    wrong = ~np.isfinite(numbers.to_numpy(dtype=np.float64, na_value=np.nan))
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise RowsError(
            f"{url}, row {row}: {value} {frame[value].iloc[row]!r} of {frame['ticker'].iloc[row]}; "
            "allowed: finite numbers."
        )
    # millions of rows: as arrays, which take a quarter of what a sorted and grouped frame does
    codes, names = pd.factorize(frame["ticker"].astype(str), sort=True)
    moments, values = times.dt.as_unit("us").to_numpy("datetime64[us]"), numbers.to_numpy()
    del frame, times, numbers, wrong
    order = np.lexsort((moments, codes))
    codes, moments, values = codes[order], moments[order], values[order]
    twice = np.flatnonzero((codes[1:] == codes[:-1]) & (moments[1:] == moments[:-1]))
    if len(twice):
        time = pd.Timestamp(moments[twice[0]], tz="UTC")
        raise RowsError(f"{url} has two rows for {names[codes[twice[0]]]} at {time}; give one a ticker and time.")
    borders = np.searchsorted(codes, np.arange(len(names) + 1))
    return Rows(
        url,
        {
            str(name): pd.Series(
                values[start:end], index=pd.DatetimeIndex(moments[start:end], tz="UTC", name="time"), name=value
            )
            for name, start, end in zip(names, borders[:-1], borders[1:], strict=True)
        },
    )
