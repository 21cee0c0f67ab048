"""What the jobs share about the market of a run: its bars, its calendar and the four parts of time."""

from dataclasses import replace
from typing import NamedTuple

import pandas as pd

from jobs import sessions
from jobs.stage import Context, require
from quant.bracket_input import trend_filter
from quant.funding import FundingError, Missing, missing, on_bars
from quant.schemas import BARS, FUNDING, SIGNALS
from quant.splits import Part, split, utc
from storage.manifest import Manifest
from storage.tables import read_table

FEWEST_BARS = 3

Calendar = pd.Timedelta | pd.DatetimeIndex


class MarketError(ValueError):
    """The market of a run does not allow what was asked."""


class NoLaterBarsError(MarketError):
    """There are no bars yet after those that were judged."""


def bars(context: Context, ticker: str) -> pd.DataFrame:
    """Validated bars of a ticker, indexed by time."""
    return read_table(context.store, context.run, BARS, ticker)


class Stretch(NamedTuple):
    """What is traded on one part: bars, the signal decided at the close of each, and what is due at its start.

    ``funding`` is None where it is not charged; ``missing`` says what of it is not known.
    """

    bars: pd.DataFrame
    signal: pd.Series
    funding: pd.Series | None = None
    missing: Missing | None = None

    def __bool__(self) -> bool:
        """Whether there are bars enough to trade: something is decided on one, and done on a later one."""
        return len(self.bars) >= FEWEST_BARS

    def within(self, part: Part) -> "Stretch":
        """What of it lies in a part."""
        inside = part.rows(pd.DatetimeIndex(self.bars.index))
        funding = None if self.funding is None else self.funding[inside]
        return Stretch(self.bars[inside], self.signal[inside], funding, self.missing)


def stretch(context: Context, ticker: str, part: Part) -> Stretch:
    """Everything that the trading of a ticker on a part rests on.

    Raises
    ------
    FundingError
        If payments of the part have no rate, and the configuration refuses that.
    """
    history = bars(context, ticker)
    inside = part.rows(pd.DatetimeIndex(history.index))
    signals = read_table(context.store, context.run, SIGNALS, ticker, columns=["signal"])["signal"]
    signal = signals.reindex(history.index).fillna(0).astype("int8")
    if context.config.search.trend_filter and len(history):
        signal = trend_filter(history, signal)  # on all bars, since the averages need what came before the part
    found = Stretch(history[inside], signal[inside])
    if context.config.ingest.funding is None or not found:
        return found
    rates = read_table(context.store, context.run, FUNDING, ticker)["rate"]
    index = pd.DatetimeIndex(found.bars.index)
    lacking = missing(rates, index[0], index[-1] + pd.Timedelta(minutes=1))
    if lacking.payments and context.config.costs.missing_funding == "refuse":
        raise FundingError(
            f"{context.config.ingest.funding} lacks {lacking.payments} of the {lacking.due} payments of {ticker} on "
            f"the {part.name} part, the first at {lacking.first}. Complete the file, or let them count as 0 by "
            "--costs.missing_funding zero; their number is then reported."
        )
    return found._replace(funding=on_bars(rates, index), missing=lacking)


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
    return bar_length(market) if context.config.ingest.calendar == "continuous" else sessions.read(context)


def parts(context: Context, market: Manifest) -> dict[str, Part]:
    """Fit, validate, choose and judge: the same instants for every ticker.

    The calendar starts where half of the tickers have bars, unless the configuration says otherwise, so that
    one old asset does not push all others out of the fit part. Where an earlier run is judged again, its choose part
    is this one's, and the judge part begins where that run's ended.

    Raises
    ------
    NoLaterBarsError
        If there are no bars after the judge part of the run that is judged again.
    SplitError
        If the calendar cannot be cut as configured.
    """
    settings = context.config.split
    length = bar_length(market)
    firsts = sorted(pd.Timestamp(info["first"]) for info in market.tickers.values())
    lasts = [pd.Timestamp(info["last"]) for info in market.tickers.values()]
    start = utc(settings.start) if settings.start else firsts[(len(firsts) - 1) // 2]
    end = utc(settings.end) if settings.end else max(lasts) + length
    if before := earlier(context):
        return _after(before, end)
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


def earlier(context: Context) -> Context | None:
    """The run whose shortlist is judged again, if this run is there for that."""
    name = context.config.rejudge
    return replace(context, config=context.config.model_copy(update={"run": name, "rejudge": None})) if name else None


def _after(before: Context, end: pd.Timestamp) -> dict[str, Part]:
    chosen, judged = (require(before, stage).config["part"] for stage in ("search", "backtest"))
    start = utc(judged[1])
    if end <= start:
        raise NoLaterBarsError(
            f"the bars of this run end at {end}, and run '{before.run}' has judged all until {start}. "
            "Give bars that go on after that by --source."
        )
    return {"choose": Part("choose", utc(chosen[0]), utc(chosen[1])), "judge": Part("judge", start, end)}


def of(context: Context) -> Manifest:
    """Manifest of the ingested market, without the tickers of which there are only funding rates.

    Raises
    ------
    MarketError
        If there are bars of none.
    """
    manifest = require(context, "ingest")
    tickers = {ticker: info for ticker, info in manifest.tickers.items() if info["rows"]}
    if not tickers:
        raise MarketError(
            f"run '{context.run}' has funding rates and no bars. Give a source with bars by --source; the rates can be "
            "given beside it by --ingest.funding."
        )
    return replace(manifest, tickers=tickers)
