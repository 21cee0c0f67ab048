"""Binance's public bulk data, brought into the store's archive: what is missing is fetched, checked and kept whole.

Each file is one object, written after its checksum was verified. What is missing is told by the listings of the
bucket and of the store alone, so that a run that was killed anywhere goes on where it was.
"""

import logging
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from typing import Any, TypeVar

from actors.budget import Budget, shared
from actors.fan_out import Outcome
from actors.progress import Progress, amount
from actors.sharding import shards
from jobs.archive import Archive
from jobs.bulk_symbol import Job, Wanted, fetch, look, pages
from jobs.config import RunConfig
from jobs.config_data import OWN_FUNDING, Ingest
from jobs.stage import Context, FanOut, fan_out, reserved, stop_without_store
from quant import bulk
from quant.bulk import FUNDING, BulkError
from storage import layout
from storage.web import ATTEMPTS, ServiceUnavailableError, checked

T = TypeVar("T")

VENUE = "binance"
DATA = "https://data.binance.vision"
LISTING = "https://s3-ap-northeast-1.amazonaws.com/data.binance.vision"
RATE = 20.0  # requests a second, of all workers together
LISTINGS = 3.0  # requests that it takes to list a symbol, about
BYTES_A_SECOND = 5e6  # of a worker, about

logger = logging.getLogger("assay")


Spread = Callable[..., Iterator[Outcome[Any, Any]]]


def update(context: Context, fan_out: FanOut = fan_out, budget: Budget | None = None) -> Archive:
    """Bring the archive of Binance's bulk data up to date, and return it with what could not be.

    Symbols that are traded no more are fetched like all others.

    Parameters
    ----------
    budget
        Of a caller who updates again and again; None: one for this time.

    Raises
    ------
    BulkError
        If a setting is not one of the service, or nothing is there.
    ServiceUnavailableError
        If the service does not answer any more; what was fetched before is kept.
    RefusedError
        If the list of symbols is refused.
    """
    settings = context.config.ingest
    _check(settings)
    rate = settings.rate or RATE
    with nullcontext(budget) if budget else shared("bulk", rate) as budget:
        job = _job(context, settings, budget)
        flaws: dict[str, str] = {}
        symbols = _symbols(job, settings, flaws)
        wanted = _looked_at(context, job, symbols, rate, fan_out)
        flaws |= {each.symbol: each.flaw for each in wanted if each.flaw}
        if settings.tickers:
            flaws |= {each.symbol: _unknown(each.symbol, job) for each in wanted if not (each.known or each.flaw)}
        if strange := sum(each.strange for each in wanted):
            logger.warning("bulk: %d zips are left out, whose names are not of the bucket's form", strange)
        due = [each for each in wanted if each.missing or each.replaced]
        logger.info(
            "bulk: %d files (%s) of %d symbols to fetch, at %g requests a second at most; of %d nothing is missing",
            sum(len(each.missing) for each in due),
            amount(sum(each.size for each in due)),
            sum(bool(each.missing) for each in due),
            rate,
            sum(not each.flaw and not each.missing for each in wanted),
        )
        if due:
            flaws |= _fetched(context, job, due, rate, fan_out)
    return kept(context.config)._replace(flaws=dict(sorted(flaws.items())))


def kept(config: RunConfig) -> Archive:
    """The archive as it is."""
    market = bulk.checked_market(config.ingest.market)
    return Archive(layout.archive(_source(market)), VENUE, market, {})


def _check(settings: Ingest) -> None:
    bulk.checked_market(settings.market)
    bulk.checked_interval(settings.bar)
    if settings.endpoint:
        checked(settings.endpoint)
    if settings.since and settings.until and settings.since > settings.until:
        raise BulkError(f"ingest.since is {settings.since}, after ingest.until, which is {settings.until}; swap them.")


def _job(context: Context, settings: Ingest, budget: Budget) -> Job:
    interval, market = bulk.checked_interval(settings.bar), settings.market
    endpoint = (settings.endpoint or "").rstrip("/")
    have: dict[tuple[str, str], dict[str, int]] = defaultdict(dict)
    prefix = layout.archive(_source(market))
    for key, entry in context.store.entries(prefix).items():
        names = [layout.unquote(part) for part in key.removeprefix(f"{prefix}/").split("/")]
        if len(names) == 3:
            have[names[0], names[1]][names[2]] = entry.size
    return Job(
        store=context.store,
        source=_source(market),
        market=market,
        intervals=(interval, *([FUNDING] if settings.funding == OWN_FUNDING and market in bulk.FUNDED else [])),
        since=settings.since,
        until=settings.until,
        data=endpoint or DATA,
        listing=endpoint or LISTING,
        budget=budget,
        have=dict(have),
        attempts=ATTEMPTS,
    )


def _symbols(job: Job, settings: Ingest, flaws: dict[str, str]) -> list[str]:
    """Symbols asked for, or all that the bucket has, sorted; those that cannot be one become flaws."""
    if settings.tickers:
        found = {name.removeprefix(f"{job.source}:") for name in settings.tickers}
    else:
        with job.web() as web:
            prefixes = [bulk.folder(job.market, period) for period in ("monthly", "daily")]
            found = {
                name
                for prefix in prefixes
                for page in pages(web, job, prefix, delimiter="/")
                for name in bulk.names(page.folders, prefix)
            }
        found = {name for name in found if settings.quote is None or name.endswith(settings.quote.upper())}
        if not found:
            ending = f" that end with {settings.quote} (ingest.quote)" if settings.quote else ""
            raise BulkError(
                f"{job.listing} has no symbols{ending} below {prefixes[0]} and {prefixes[1]}. Check ingest.market "
                f"({job.market}) and ingest.endpoint ({settings.endpoint})."
            )
    for name in list(found):
        if flaw := bulk.symbol_flaw(name):
            flaws[name if name.strip() else ascii(name)] = flaw
            found.remove(name)
    return sorted(found)


def _looked_at(context: Context, job: Job, symbols: list[str], rate: float, fan_out: Spread) -> list[Wanted]:
    seconds = LISTINGS * len(job.intervals) / rate
    parts = shards(symbols, [seconds] * len(symbols), workers=context.workers, seconds_per_weight=1.0)
    found: list[Wanted] = []
    with Progress(len(symbols), "listing") as progress:
        for outcome in fan_out(look, parts, name="listing", shared=job, split=_singles):
            lost = _lost(outcome, outcome.shard)
            some = outcome.value if lost is None else [Wanted(symbol, flaw=flaw) for symbol, flaw in lost]
            found += some
            progress.advance(len(some), failed=sum(bool(each.flaw) for each in some))
    return sorted(found)


def _fetched(context: Context, job: Job, due: list[Wanted], rate: float, fan_out: Spread) -> dict[str, str]:
    seconds = [max(2 * len(each.missing) / rate, each.size / BYTES_A_SECOND) for each in due]
    parts = shards(due, seconds, workers=context.workers, seconds_per_weight=1.0)
    flaws: dict[str, str] = {}
    size = sum(each.size for each in due)
    with Progress(len(due), "bulk", weight=float(size)) as progress:
        for outcome in fan_out(fetch, parts, name="bulk", shared=job, split=_singles, memory=reserved(context)):
            lost = _lost(outcome, [each.symbol for each in outcome.shard])
            some = dict(outcome.value if lost is None else lost)
            flaws |= some
            weight = sum(each.size for each in outcome.shard)
            progress.advance(len(outcome.shard), failed=len(some), weight=float(weight))
    return flaws


def _lost(outcome: Outcome[Any, Any], symbols: Sequence[str]) -> list[tuple[str, str]] | None:
    """What is told of symbols whose task failed, None where it did not; a service or a store that is gone ends all."""
    stop_without_store(outcome)
    if outcome.error is None:
        return None
    if outcome.error.type_name == ServiceUnavailableError.__name__:
        raise ServiceUnavailableError(outcome.error.message)
    return [(symbol, f"{outcome.error.type_name}: {outcome.error.message}") for symbol in symbols]


def _singles(shard: list[T]) -> list[list[T]]:
    return [[item] for item in shard]


def _unknown(symbol: str, job: Job) -> str:
    kinds = " or ".join(job.intervals)
    return f"{job.listing} has no {kinds} files of {symbol} ({job.market}); check ingest.tickers and ingest.market"


def _source(market: str) -> str:
    return f"{VENUE}-{market}"
