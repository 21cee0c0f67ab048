"""The archive of one symbol of an exchange: monthly Parquet chunks, and marks that say from which day on it is whole.

archive/ccxt-EXCHANGE-MARKET/<15m or funding>/SYMBOL/
    SYMBOL-15m-2024-01.parquet      bars that opened in that month; in `funding` SYMBOL-fundingRate-2024-01.parquet
    SYMBOL-15m-2024-01-01.since     there is nothing from that day to the first chunk, and no hole behind it

Chunks are written in the order of their months after the mark, so that whatever ends a run leaves an archive that is
whole up to its last row. Older months are filled in under the old mark, and a new mark follows them.
"""

import io
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jobs.exchange_universe import ExchangeError
from quant.candle_pages import Page, by_month, merged
from storage import layout
from storage.store import Store

CANDLES = ("open", "high", "low", "close", "volume")
RATES = ("rate",)
FUNDING = "funding"
DAY = 86_400_000  # milliseconds
_END = re.compile(r"-(?:(?P<month>\d{4}-\d{2})\.parquet|(?P<day>\d{4}-\d{2}-\d{2})\.since)$")


@dataclass(frozen=True)
class Series:
    """Candles of a length, or funding rates, of one symbol; and which months and marks a listing has found."""

    source: str
    kind: str
    symbol: str
    months: tuple[str, ...] = ()
    since: int | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns beside the time."""
        return RATES if self.kind == FUNDING else CANDLES

    def key(self, ending: str) -> str:
        """Key of a chunk or a mark."""
        return layout.archive(self.source, self.kind, self.symbol, f"{self._stem}-{ending}")

    def of(self, keys: Iterable[str]) -> "Series":
        """The series with what of it is among these keys."""
        prefix = layout.archive(self.source, self.kind, self.symbol, self._stem)
        months, marks = [], []
        for key in keys:
            found = _END.fullmatch(key, len(prefix)) if key.startswith(prefix) else None
            if found and found["month"]:
                months.append(found["month"])
            elif found:
                marks.append(milliseconds(found["day"]))
        return Series(self.source, self.kind, self.symbol, tuple(sorted(months)), min(marks, default=None))

    @property
    def _stem(self) -> str:
        return f"{self.symbol}-{'fundingRate' if self.kind == FUNDING else self.kind}"


@dataclass
class Chunks:
    """Reads and writes the chunks of a series."""

    store: Store
    series: Series
    _read: dict[str, Page] = field(default_factory=dict)
    _written: set[str] = field(default_factory=set)

    @property
    def months(self) -> list[str]:
        """Months that have a chunk, sorted."""
        return sorted({*self.series.months, *self._written})

    def newest(self) -> Page | None:
        """Rows of the last chunk, or of the last two where it has but one; None where there is none."""
        months = self.series.months
        rows = self._chunk(months[-1]) if months else None
        if rows is None or len(rows.times) > 1 or len(months) == 1:
            return rows
        return merged(self._chunk(months[-2]), rows)

    def add(self, pages: Iterable[Page]) -> int:
        """Write rows, given in order, month by month as they come, and return how many were given.

        A chunk that would not change is left alone.
        """
        rows, held, month = 0, _nothing(self.series.columns), ""
        for page in pages:
            rows += len(page.times)
            for name, part in by_month(page):
                if name != month:
                    self._flush(month, held)
                    held, month = _nothing(self.series.columns), name
                held = merged(held, part)
        self._flush(month, held)
        return rows

    def mark(self, since: int) -> None:
        """Say that the archive is whole from an instant, the begin of a day, on."""
        day = str(np.datetime64(since, "ms").astype("datetime64[D]"))
        self.store.write(self.series.key(f"{day}.since"), f"whole from {day} on\n".encode())

    def _flush(self, month: str, rows: Page) -> None:
        if not len(rows.times):
            return
        old = self._chunk(month) if month in self.months else None
        rows = merged(old, rows) if old else rows
        if old is None or not _same(old, rows):
            self.store.write(self.series.key(f"{month}.parquet"), encoded(rows, self.series.columns))
        self._written.add(month)
        self._read = {month: rows}

    def _chunk(self, month: str) -> Page:
        if month not in self._read:
            key = self.series.key(f"{month}.parquet")
            try:
                self._read[month] = decoded(self.store.read(key), self.series.columns)
            except (pa.ArrowException, KeyError, ValueError, OSError) as error:
                raise ExchangeError(
                    f"{key} in the store {self.store.url} is not a chunk that can be read ({error}). Delete it and "
                    "all later ones of the symbol; the next run fetches them again."
                ) from error
        return self._read[month]


def encoded(rows: Page, columns: tuple[str, ...]) -> bytes:
    """Rows as Parquet, whose bytes depend on nothing else."""
    times = pa.array(rows.times * 1000, pa.int64()).cast(pa.timestamp("us", tz="UTC"))
    values = {name: pa.array(rows.values[:, place], pa.float64()) for place, name in enumerate(columns)}
    sink = io.BytesIO()
    pq.write_table(pa.table({"time": times, **values}), sink, compression="zstd")
    return sink.getvalue()


def decoded(data: bytes, columns: tuple[str, ...]) -> Page:
    """Rows of what ``encoded`` wrote, of which there is one at least.

    Raises
    ------
    ArrowException, KeyError, ValueError
        If it is something else.
    """
    table = pq.read_table(io.BytesIO(data))
    times = table["time"].cast(pa.timestamp("us", tz="UTC")).cast(pa.int64()).to_numpy() // 1000
    if not len(times):
        raise ValueError("it holds no rows")
    values = [table[name].cast(pa.float64()).to_numpy() for name in columns]
    return Page(times, np.column_stack(values))


def milliseconds(moment: str, unit: Literal["D", "M"] = "D") -> int:
    """Begin of a day (``2024-01-31``) or a month (``2024-01``) in UTC, in ms since 1970."""
    return int(np.datetime64(moment, unit).astype("datetime64[ms]").astype(np.int64))


def _same(one: Page, other: Page) -> bool:
    return np.array_equal(one.times, other.times) and one.values.tobytes() == other.values.tobytes()


def _nothing(columns: tuple[str, ...]) -> Page:
    return Page(np.empty(0, np.int64), np.empty((0, len(columns)), np.float64))
