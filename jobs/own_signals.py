"""A quant's own signals in place of the model's: a Parquet or CSV file of ticker, time and signal.

Bars without a row have no signal. Every later stage treats these signals like the model's.
"""

import hashlib
import io
import posixpath

import numpy as np
import pandas as pd

from jobs import market
from jobs.stage import Context, FanOut, Item, Produced, Stage, fan_out, run_stage
from quant.schemas import SIGNALS
from storage.manifest import Manifest
from storage.store import open_store

STAGE = Stage("predict", 1, ("ingest",), (SIGNALS,))
COLUMNS = ("ticker", "time", "signal")


class SignalsError(ValueError):
    """Signals that cannot be used: which file, row and value."""


def run(context: Context, fan_out: FanOut = fan_out) -> Manifest:
    """Bring the signals of the run up to date with the file at ``signals``."""
    url = str(context.config.signals)
    folder, name = posixpath.split(url)
    data = open_store(folder or ".").read(name)
    frame = parse(data, url)
    ingested = market.of(context)
    known = {name: ticker for ticker in ingested.tickers for name in (ticker, ticker.partition(":")[2])}
    given = {known.get(str(name), str(name)): group for name, group in frame.groupby("ticker", sort=True)}
    empty = frame.iloc[:0]
    items = [
        Item(ticker, payload=given.pop(ticker, empty), weight=float(info["rows"]))
        for ticker, info in sorted(ingested.tickers.items())
    ]
    # tickers that the market lacks stay as items of their own, so that each becomes a named failure
    items += [Item(ticker, payload=group) for ticker, group in given.items()]
    return run_stage(
        context,
        STAGE,
        items,
        produce,
        settings={"signals": url, "content": hashlib.sha256(data).hexdigest()},
        extra=frozenset(ingested.tickers),
        fan_out=fan_out,
    )


def parse(data: bytes, url: str) -> pd.DataFrame:
    """Frame of ticker, time (UTC) and signal (0, 1, 2) from the bytes of a Parquet or CSV file.

    Raises
    ------
    SignalsError
        If a column is missing, a time cannot be read, a signal is not 0, 1 or 2, or a bar has two signals.
    """
    try:
        frame = pd.read_csv(io.BytesIO(data)) if url.endswith(".csv") else pd.read_parquet(io.BytesIO(data))
    except (ValueError, OSError) as error:
        raise SignalsError(f"{url} is not a readable Parquet or CSV file ({len(data):,} bytes): {error}") from error
    missing = [name for name in COLUMNS if name not in frame.columns]
    if missing:
        raise SignalsError(f"{url} lacks the column {', '.join(missing)}; it needs {', '.join(COLUMNS)}.")
    frame = frame[list(COLUMNS)]
    times = pd.to_datetime(frame["time"], utc=True, errors="coerce")
    if times.isna().any():
        row = int(np.flatnonzero(times.isna())[0])
        raise SignalsError(f"{url}, row {row}: time {frame['time'].iloc[row]!r} cannot be read; give UTC times.")
    wrong = ~frame["signal"].isin([0, 1, 2])
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise SignalsError(
            f"{url}, row {row}: signal {frame['signal'].iloc[row]!r} of {frame['ticker'].iloc[row]}; "
            "allowed are 0 (none), 1 (long) and 2 (short)."
        )
    frame = frame.assign(time=times.dt.as_unit("us"), signal=frame["signal"].astype("int8"))
    twice = frame.duplicated(["ticker", "time"])
    if twice.any():
        row = frame[twice].iloc[0]
        raise SignalsError(f"{url} has two signals for {row['ticker']} at {row['time']}; give one a bar.")
    return frame


def produce(context: Context, item: Item, tickers: frozenset[str]) -> Produced:
    """Signals of one ticker on all of its bars.

    Raises
    ------
    SignalsError
        If the run has no such ticker, or a signal lies on no bar of it.
    """
    if item.ticker not in tickers:
        raise SignalsError(f"{context.config.signals} names {item.ticker}, of which this run has no bars.")
    index = market.bars(context, item.ticker).index
    given = item.payload.set_index("time")["signal"]
    strange = given.index.difference(index)
    if len(strange):
        raise SignalsError(
            f"{context.config.signals}: {len(strange)} signals of {item.ticker} lie on no bar of it, the first at "
            f"{strange[0]}. A signal carries the time of the bar at whose close it is decided."
        )
    frame = pd.DataFrame({"signal": given.reindex(index).fillna(0).astype("int8")}, index=index)
    frame["probability_long"] = frame["probability_short"] = np.float32(np.nan)
    return Produced({SIGNALS: frame}, {"rows": len(frame), "signals": len(given)})
