"""The sessions of a market that closes: every instant at which any of its tickers has a bar, found once by tasks.

Written behind the bars where `ingest.calendar` is "sessions", and read from there by whoever needs the calendar.
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from jobs.gather import gather
from jobs.stage import Context, FanOut, Stage, StageMissingError, require, stage_fingerprint, up_to_date, write_whole
from quant.schemas import BARS, SESSIONS
from storage.manifest import read_manifest
from storage.tables import read_table

STAGE = Stage("sessions", 1, ("ingest",), (SESSIONS,))

Instants = NDArray[np.int64]


def run(context: Context, fan_out: FanOut) -> None:
    """Bring the sessions of the run up to date."""
    if context.config.ingest.calendar != "sessions" or up_to_date(
        context, STAGE, stage_fingerprint(context, STAGE, {})
    ):
        return
    found = np.empty(0, dtype=np.int64)
    tickers = sorted(require(context, "ingest").tickers)
    for some in gather(instants, tickers, context, name=STAGE.name, shared=context, fan_out=fan_out):
        found = np.union1d(found, some)
    times = pd.DatetimeIndex(found.view("datetime64[us]"), tz="UTC")
    write_whole(context, STAGE, {}, {SESSIONS: pd.DataFrame({"time": times})})


def instants(tickers: list[str], context: Context) -> Instants:
    """Times of all bars of some tickers, in microseconds, each once."""
    found = np.empty(0, dtype=np.int64)
    for ticker in tickers:
        index = read_table(context.store, context.run, BARS, ticker, columns=["close"]).index
        found = np.union1d(found, pd.DatetimeIndex(index).as_unit("us").asi8)
    return found


def read(context: Context) -> pd.DatetimeIndex:
    """The sessions of the run, as its bars have them.

    Raises
    ------
    StageMissingError
        If they were not found for these bars.
    """
    done, ingested = read_manifest(context.store, context.run, STAGE.name), require(context, "ingest")
    if done is None or done.inputs["ingest"] != ingested.result_hash:
        raise StageMissingError(
            f"Run '{context.run}' in {context.store.url} has no sessions of its bars. Run `python -m jobs.ingest` "
            "with the same --config, --store and --run first."
        )
    return pd.DatetimeIndex(read_table(context.store, context.run, SESSIONS).index).rename(None)
