"""What the report shows of single tickers, read by tasks: equity, folds, what lies around the chosen set, candles."""

from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from jobs import market
from jobs.config_verdict import Search
from jobs.gather import gather
from jobs.search import places_for_all, space
from jobs.stage import Context, FanOut
from quant import samplers
from quant.parameters import from_row
from quant.report_candles import picture
from quant.report_parameters import Neighbourhood, neighbourhood
from quant.report_ticker import Detail
from quant.schemas import EQUITY, FOLDS, TRADES, TRIALS
from quant.splits import Part
from storage.manifest import Manifest
from storage.tables import read_table

PICTURED = 250
"""Shortlisted tickers with candles, the best by rank: more would make the page too large to open."""
REJECTED = 10
"""Rejected tickers with candles, the best by rank."""


class Task(NamedTuple):
    """What a worker is told: the judge part, which tickers have candles, how the sets were drawn (None: elsewhere)."""

    context: Context
    part: Part
    pictured: frozenset[str]
    settings: Search | None


def details(
    context: Context, shortlist: pd.DataFrame, searched: Manifest, judged: Manifest, fan_out: FanOut
) -> dict[str, Detail]:
    """Tables of the tickers of a shortlist, those left out whose judged run failed."""
    known = shortlist[shortlist["ticker"].isin(judged.tickers)]
    task = Task(
        context,
        market.parts(context, market.of(context))["judge"],
        pictured(known),
        Search.model_validate(searched.config["search"]) if "search" in searched.config else None,
    )
    found: dict[str, Detail] = {}
    for some in gather(read, known["ticker"].tolist(), context, name="details", shared=task, fan_out=fan_out):
        found |= some
    return found


def pictured(verdicts: pd.DataFrame) -> frozenset[str]:
    """Tickers with candles."""
    ranked = verdicts.sort_values("rank")
    listed = ranked["shortlisted"]
    return frozenset([*ranked.loc[listed, "ticker"].head(PICTURED), *ranked.loc[~listed, "ticker"].head(REJECTED)])


def read(tickers: Sequence[str], task: Task) -> dict[str, Detail]:
    """Tables of some tickers, as a task reads them."""
    return {ticker: detail(ticker, task) for ticker in tickers}


def detail(ticker: str, task: Task) -> Detail:
    """Tables of one ticker."""
    store, run = task.context.store, task.context.run
    found = None
    if ticker in task.pictured:
        bars = market.bars(task.context, ticker)
        inside = task.part.rows(pd.DatetimeIndex(bars.index))
        found = picture(bars[inside], read_table(store, run, TRADES, ticker))
    return Detail(
        equity=read_table(store, run, EQUITY, ticker),
        folds=read_table(store, run, FOLDS, ticker),
        neighbourhood=None if task.settings is None else around(read_table(store, run, TRIALS, ticker), task.settings),
        picture=found,
    )


def around(trials: pd.DataFrame, settings: Search) -> Neighbourhood | None:
    """What lies around the chosen set among those that were tried."""
    if settings.sampler == "tpe":
        places = samplers.coordinates(space(settings), [from_row(row) for _, row in trials.iterrows()])
    else:
        places = places_for_all(settings)
    return neighbourhood(trials, places, list(space(settings)))
