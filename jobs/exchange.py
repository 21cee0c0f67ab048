"""Bring the archive of an exchange up to date through ccxt: what is missing is fetched, by all workers at one rate."""

import datetime
import logging
import math
from contextlib import nullcontext

import pandas as pd

from actors.budget import Budget, shared
from actors.fan_out import fan_out
from actors.progress import Progress, duration
from actors.sharding import shards
from jobs.archive import Archive
from jobs.config import RunConfig
from jobs.config_data import OWN_FUNDING, Ingest
from jobs.exchange_chunks import FUNDING, Series, milliseconds
from jobs.exchange_client import Access, Client, ExchangeUnavailableError
from jobs.exchange_symbol import HOUR, Fetching, Task, Want, fetch
from jobs.exchange_universe import ExchangeError, Listed, named, universe, venue
from jobs.stage import Context, FanOut, reserved, stop_without_store
from storage import layout

__all__ = ["ExchangeError", "ExchangeUnavailableError", "update"]

NAME = "exchange"
CORES = 0.5  # of a task, which mostly waits for answers
OLDEST = milliseconds("2017-07-01")  # before it hardly anything was listed; for the estimate alone

logger = logging.getLogger("assay")


def update(context: Context, fan_out: FanOut = fan_out, budget: Budget | None = None) -> Archive:
    """Fetch what the archive lacks of the symbols that the run asks for.

    Parameters
    ----------
    budget
        Of a caller who updates again and again, at the rate of ``Client.rate``; None: one for this time.

    Raises
    ------
    ExchangeError
        If the exchange, its market or its bars cannot be had as configured.
    ExchangeUnavailableError
        If the exchange lets us in no more, or does not answer; what was fetched is kept.
    StoreUnavailableError
        If the store does not work any more.
    """
    settings = context.config.ingest
    exchange = named(context.config.source)
    access = Access(exchange, settings.endpoint, settings.rate)
    client = Client(access)
    timeframe, step = bar(client, settings)
    archive = kept(context.config)
    source = archive.prefix.rpartition("/")[2]
    with nullcontext(budget) if budget else shared(NAME, client.rate) as budget:
        client = Client(access, budget)
        listed, flaws = universe(exchange, client.markets(), settings.market, settings.quote, settings.tickers)
        want = wanted(settings, timeframe, step, client.now())
        if want.with_funding and client.ccxt.has.get("fetchFundingRateHistory") is not True:
            logger.warning("%s gives no funding rates; candles alone are fetched", exchange)
            want = want._replace(with_funding=False)
        keys = context.store.list(archive.prefix)
        todo = tasks(source, listed, keys, want, client)
        seconds = sum(each.requests for each in todo) * client.candle_weight(listed[0].unified, timeframe) / client.rate
        logger.info(
            "%s: %d symbols in bars of %s, about %d requests, %s at %g a second",
            *(exchange, len(todo), timeframe, sum(each.requests for each in todo), duration(seconds), client.rate),
        )
        markets = tuple(each.market for each in listed)
        job = Fetching(context.store, access._replace(markets=markets), budget, want)
        flaws |= _spread(context, job, todo, seconds, fan_out)
    return archive._replace(flaws=flaws)


def kept(config: RunConfig) -> Archive:
    """The archive as it is."""
    exchange, market = named(config.source), config.ingest.market
    return Archive(layout.archive(f"ccxt-{exchange}-{market}"), venue(exchange), market, {})


def bar(client: Client, settings: Ingest) -> tuple[str, int]:
    """The exchange's name of the configured bar, and its length in ms.

    Raises
    ------
    ExchangeError
        If no bar is configured, or the exchange has none of that length.
    """
    lengths = client.lengths()
    if client.ccxt.has.get("fetchOHLCV") is not True or not lengths:
        raise ExchangeError(f"{client.access.exchange} gives no candles through ccxt; name another exchange by source.")
    allowed = f"{client.access.exchange} has bars of {', '.join(lengths)}"
    if not settings.bar:
        raise ExchangeError(f"ingest.bar is not set, and an exchange must be told which bars to give; {allowed}.")
    for name, step in lengths.items():
        if pd.Timedelta(step, "ms") == settings.length and not name.endswith("M"):
            return name, step
    raise ExchangeError(f"ingest.bar is {settings.bar!r}; {allowed}.")


def wanted(settings: Ingest, timeframe: str, step: int, now: int) -> Want:
    """What to fetch: by the exchange's clock, all symbols end with the last bar finished when the run began."""
    since = milliseconds(str(settings.since)) if settings.since else 0
    stop = milliseconds(str(settings.until + datetime.timedelta(days=1))) if settings.until else now + 1
    if stop <= since:
        raise ExchangeError(
            f"ingest.since is {settings.since} and ingest.until {settings.until or 'not set'}, so that nothing lies "
            "between them; allowed is a first day that is past, and no later than the last one."
        )
    return Want(timeframe, step, since, min(stop, now - step + 1), min(stop, now + 1), settings.funding == OWN_FUNDING)


def tasks(source: str, listed: list[Listed], keys: list[str], want: Want, client: Client) -> list[Task]:
    """One task a symbol, with what a listing of the archive holds of it and about how many requests it takes."""
    below: dict[str, list[str]] = {}
    for key in keys:
        below.setdefault(key.rpartition("/")[0], []).append(key)
    found = []
    for each in listed:
        candles, rates = (
            Series(source, kind, each.symbol).of(below.get(layout.archive(source, kind, each.symbol), []))
            for kind in (want.timeframe, FUNDING)
        )
        begin = max(want.since, int(each.market.get("created") or OLDEST))
        requests = _requests(candles, begin, want.stop, want.step * client.candle_limit(each.unified))
        if want.with_funding:
            requests += _requests(rates, begin, want.rates_stop, 4 * HOUR * client.funding_limit(each.unified))
        found.append(Task(each.symbol, each.unified, candles, rates, requests))
    return found


def _requests(series: Series, begin: int, stop: int, span: int) -> int:
    """About how many pages are missing; of a month that has begun all count."""
    if not series.months or series.since is None:
        return max(1, math.ceil((stop - begin) / span))
    newer = math.ceil(max(0, stop - milliseconds(series.months[-1], "M")) / span)
    older = math.ceil(max(0, min(series.since, milliseconds(series.months[0], "M")) - begin) / span)
    return newer + (older if begin < series.since else 0)


def _spread(context: Context, job: Fetching, todo: list[Task], seconds: float, fan_out: FanOut) -> dict[str, str]:
    flaws: dict[str, str] = {}
    total = sum(each.requests for each in todo)
    weights = [float(each.requests) for each in todo]
    each_second = context.workers * max(seconds, 1.0) / max(total, 1)  # the rate is shared: a worker gets its part
    parts = shards(todo, weights, workers=context.workers, seconds_per_weight=each_second)
    with Progress(len(todo), NAME, before=0, weight=sum(weights)) as progress:
        for outcome in fan_out(
            fetch, parts, name=NAME, shared=job, split=_singles, cpus=CORES, memory=reserved(context)
        ):
            stop_without_store(outcome)
            if outcome.error is not None and outcome.error.type_name == ExchangeUnavailableError.__name__:
                raise ExchangeUnavailableError(outcome.error.message)
            found = outcome.value
            if outcome.error is not None:
                found = {each.symbol: f"{outcome.error.type_name}: {outcome.error.message}" for each in outcome.shard}
            flaws |= found
            weight = sum(each.requests for each in outcome.shard)
            progress.advance(len(outcome.shard), failed=len(found), weight=weight)
    return flaws


def _singles(some: list[Task]) -> list[list[Task]]:
    return [[each] for each in some]
