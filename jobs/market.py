"""What the jobs share about the market of a run: its bars, its calendar and the four parts of time."""

import pandas as pd

from jobs.stage import Context, require
from quant.schemas import BARS
from quant.splits import Part, split, utc
from storage.manifest import Manifest
from storage.tables import read_table

Calendar = pd.Timedelta | pd.DatetimeIndex


class MarketError(ValueError):
    """The market of a run does not allow what was asked."""


def bars(context: Context, ticker: str) -> pd.DataFrame:
    """Validated bars of a ticker, indexed by time."""
    return read_table(context.store, context.run, BARS, ticker)


def bar_length(market: Manifest) -> pd.Timedelta:
    """Length of a bar, the same for the whole market.

    Raises
    ------
    MarketError
        If the tickers of the run have bars of different lengths.
    """
    lengths: dict[float, str] = {}
    for ticker, info in market.tickers.items():
        lengths.setdefault(float(info["bar_seconds"]), ticker)
    if len(lengths) > 1:
        named = ", ".join(f"{ticker} has {pd.Timedelta(seconds=seconds)}" for seconds, ticker in lengths.items())
        raise MarketError(
            f"The tickers of this run have bars of different lengths: {named}. A run judges one length: "
            "choose tickers by --ingest.tickers."
        )
    return pd.Timedelta(seconds=next(iter(lengths)))


def calendar(context: Context, market: Manifest) -> Calendar:
    """What counts as the next bar: a fixed distance, or the next session that any ticker traded in."""
    length = bar_length(market)
    if context.config.ingest.calendar == "continuous":
        return length
    sessions = pd.DatetimeIndex([], dtype="datetime64[us, UTC]")
    for ticker in market.tickers:
        sessions = sessions.union(read_table(context.store, context.run, BARS, ticker, columns=["close"]).index)
    return sessions


def parts(context: Context, market: Manifest) -> dict[str, Part]:
    """Fit, validate, choose and judge: the same instants for every ticker.

    The calendar starts where half of the tickers have bars, unless the configuration says otherwise, so that
    one old asset does not push all others out of the fit part.
    """
    settings = context.config.split
    length = bar_length(market)
    firsts = sorted(pd.Timestamp(info["first"]) for info in market.tickers.values())
    lasts = [pd.Timestamp(info["last"]) for info in market.tickers.values()]
    start = utc(settings.start) if settings.start else firsts[(len(firsts) - 1) // 2]
    end = utc(settings.end) if settings.end else max(lasts) + length
    fractions = {
        "fit": settings.fit,
        "validate": settings.validate_,
        "choose": settings.choose,
        "judge": settings.judge,
    }
    return split(
        start,
        end,
        calendar(context, market),
        fractions=fractions,
        purge=context.config.labels.horizon + 1,
        embargo=settings.embargo,
    )


def of(context: Context) -> Manifest:
    """Manifest of the ingested market."""
    return require(context, "ingest")
