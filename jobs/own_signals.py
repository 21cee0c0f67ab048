"""A quant's own signals in place of the model's: a Parquet or CSV file of ticker, time and signal.

Bars without a row have no signal. Every later stage treats these signals like the model's.
"""

from functools import partial

import numpy as np
import pandas as pd

from jobs import market, rows
from jobs.rates import Rate
from jobs.stage import Context, FanOut, Item, Produced, Stage, fan_out, run_stage
from quant.schemas import SIGNALS
from storage.manifest import Manifest

STAGE = Stage(
    "predict",
    1,
    ("ingest",),
    (SIGNALS,),
    rate=Rate(ticker=0.012, row=2e-7, requests=2, read_row=43, written_row=6.3, memory_row=330),
)


class SignalsError(ValueError):
    """Signals that cannot be used: which file, row and value."""


def run(context: Context, fan_out: FanOut = fan_out) -> Manifest:
    """Bring the signals of the run up to date with the file at ``signals``."""
    url = str(context.config.signals)
    ingested = market.of(context)
    file = rows.fetch(url)
    return run_stage(
        context,
        STAGE,
        partial(orders, file, ingested),
        produce,
        settings={"signals": url, "content": file.content},
        extra=frozenset(ingested.tickers),
        fan_out=fan_out,
    )


def orders(file: rows.File, ingested: Manifest) -> list[Item]:
    """One item a ticker with the signals given for it.

    Tickers that the market lacks are items of their own, so that each becomes a named failure.
    """
    given = rows.parse(file, "signal").named(list(ingested.tickers))
    items = [
        Item(ticker, payload=given.pop(ticker, NONE), rows=float(info["rows"]))
        for ticker, info in sorted(ingested.tickers.items())
    ]
    return items + [Item(ticker, payload=signal) for ticker, signal in given.items()]


NONE = pd.Series([], index=pd.DatetimeIndex([], dtype="datetime64[us, UTC]"), dtype="int8")


def produce(context: Context, item: Item, tickers: frozenset[str]) -> Produced:
    """Signals of one ticker on all of its bars.

    Raises
    ------
    SignalsError
        If the run has no such ticker, a signal is not 0, 1 or 2, or one lies on no bar of it.
    """
    if item.ticker not in tickers:
        raise SignalsError(f"{context.config.signals} names {item.ticker}, of which this run has no bars.")
    index = market.bars(context, item.ticker).index
    given: pd.Series = item.payload
    wrong = given[~given.isin([0, 1, 2])]
    if len(wrong):
        raise SignalsError(
            f"{context.config.signals}: the signal of {item.ticker} at {wrong.index[0]} is {wrong.iloc[0]}; "
            "allowed are 0 (none), 1 (long) and 2 (short)."
        )
    strange = given.index.difference(index)
    if len(strange):
        raise SignalsError(
            f"{context.config.signals}: {len(strange)} signals of {item.ticker} lie on no bar of it, the first at "
            f"{strange[0]}. A signal carries the time of the bar at whose close it is decided."
        )
    frame = pd.DataFrame({"signal": given.reindex(index).fillna(0).astype("int8")}, index=index)
    frame["probability_long"] = frame["probability_short"] = np.float32(np.nan)
    return Produced({SIGNALS: frame}, {"rows": len(frame), "signals": len(given)})
