"""The windows of the clustering notebook, from the bars of a run: one task holds the whole market, as it does."""

import logging

import numpy as np
import numpy.typing as npt
import pandas as pd

from jobs import market
from jobs.stage import Context
from quant import labels, notebook
from quant.patterns import Drawn
from quant.scaling import Scaler
from quant.schemas import BARS, QUARANTINE
from storage.tables import read_table

FEWEST = 10  # windows that can be laid out and cut into eight
NEVER = float(np.finfo(np.float32).max)  # the notebook clips nothing

logger = logging.getLogger("assay")


class SeedError(ValueError):
    """A market from which the notebook's windows cannot be cut."""


def windows(context: Context) -> tuple[Drawn, Scaler, npt.NDArray[np.float64]]:
    """The notebook's windows: in real units, the scaler, and scaled and flat as the notebook embeds them.

    A ticker with an infinite feature, which the notebook's scaler refuses the whole market for, is left out.

    Raises
    ------
    SeedError
        If no window is followed by a rise as large as asked, or too few for UMAP.
    """
    settings = context.config.patterns
    frames = on_one_grid(context)
    for ticker in list(frames):
        if found := notebook.infinite(frames[ticker]):
            logger.warning("patterns: %s is left out: %s", ticker, found)
            del frames[ticker]
    found = notebook.windows(frames, horizon=settings.horizon, answer=settings.answer, length=settings.length)
    if len(found) < FEWEST:
        raise SeedError(
            f"{len(found)} windows of {len(frames)} tickers end with a rise of {settings.answer:g} or more; needed are "
            f"{FEWEST}. Set patterns.answer lower, or give more bars."
        )
    forward = np.empty(len(found))
    for ticker, frame in frames.items():
        mine = found.tickers == ticker
        forward[mine] = labels.outcome(frame, settings.horizon - 1).loc[found.times[mine]]
    drawn = Drawn(
        found.unscaled(found.values),
        found.tickers.astype(object),
        found.times,
        found.outcome,
        forward,
        eligible=len(found),
    )
    scaler = Scaler("robust", found.columns, tuple(found.center.tolist()), tuple(found.scale.tolist()), clip=NEVER)
    return drawn, scaler, found.values.reshape(len(found), -1)


def on_one_grid(context: Context) -> dict[str, pd.DataFrame]:
    """The bars of every ticker at every time that any row of the market has, NaN where it has no bar.

    A row without prices is no bar, and was put into quarantine; to the notebook it is a time all the same, over which
    its windows and averages run.
    """
    tickers = sorted(market.of(context).tickers)
    frames = {ticker: market.bars(context, ticker) for ticker in tickers}
    times = pd.DatetimeIndex([], tz="UTC")
    for ticker, frame in frames.items():
        rejected = read_table(context.store, context.run, QUARANTINE, ticker)
        empty = rejected.loc[rejected["reason"] == "missing price", "time"].dropna()
        times = times.union(pd.DatetimeIndex(frame.index)).union(pd.DatetimeIndex(empty))
    columns = [column.name for column in BARS.columns if column.name != "time"]
    return {ticker: frame[columns].reindex(times) for ticker, frame in frames.items()}
