"""Binance's public bulk data, brought into the store's archive: what is missing is fetched, checked and kept whole.

Each file is one object, written after its checksum was verified. What is missing is told by the listings of the
bucket and of the store alone, so that a run that was killed anywhere goes on where it was.
"""

import hashlib
import logging
import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from typing import Any, NamedTuple, TypeVar
from urllib.parse import quote, urlencode

from actors.budget import Budget, shared
from actors.fan_out import Outcome
from actors.progress import Progress, amount
from actors.sharding import shards
from jobs.archive import Archive
from jobs.config import OWN_FUNDING, Ingest, RunConfig
from jobs.stage import Context, FanOut, fan_out, reserved, stop_without_store
from quant import bulk
from quant.bulk import FUNDING, BulkError, File, Listed
from storage import layout
from storage.errors import StoreUnavailableError
from storage.store import Store
from storage.web import ATTEMPTS, NotThereError, RefusedError, ServiceUnavailableError, Web, checked

T = TypeVar("T")
R = TypeVar("R")

VENUE = "binance"
DATA = "https://data.binance.vision"
LISTING = "https://s3-ap-northeast-1.amazonaws.com/data.binance.vision"
RATE = 20.0  # requests a second, of all workers together
THREADS = 8  # of a task: it waits for the network more than it works
IN_MEMORY = 512 << 20  # bytes of files that a task holds at a time
LARGEST_FILE = 1 << 30  # bytes; a month of the finest bars has a tenth of it
VERIFIED_AT_MOST = 3  # times that a file is fetched whose checksum differs: it may just be published anew
FIRST_DAY = date(2017, 1, 1)  # before Binance was
LISTINGS = 3.0  # requests that it takes to list a symbol, about
BYTES_A_SECOND = 5e6  # of a worker, about

logger = logging.getLogger("assay")


@dataclass(frozen=True)
class Job:
    """What the tasks share; ``have`` is what the archive holds: bytes by name, by interval and symbol."""

    store: Store
    market: str
    intervals: tuple[str, ...]
    since: date | None
    until: date | None
    data: str
    listing: str
    budget: Budget
    have: dict[tuple[str, str], dict[str, int]] = field(default_factory=dict)
    attempts: int = ATTEMPTS

    def web(self) -> Web:
        """A client whose requests come out of the budget of all workers."""
        return Web(take=self.budget.take, hold=self.budget.hold, attempts=self.attempts)

    def key(self, interval: str, symbol: str, name: str) -> str:
        """Where a file is kept."""
        return layout.archive(_source(self.market), interval, symbol, name)


class Wanted(NamedTuple):
    """What a symbol lacks, by interval, and its daily files that a month replaces or will replace.

    ``known`` is whether there is anything of it at all; ``strange`` counts zips whose names are of no known form.
    """

    symbol: str
    missing: tuple[tuple[str, File], ...] = ()
    replaced: tuple[tuple[str, File], ...] = ()
    known: bool = True
    strange: int = 0
    flaw: str = ""

    @property
    def size(self) -> int:
        """Bytes to fetch."""
        return sum(file.size for _, file in self.missing)


Spread = Callable[..., Iterator[Outcome[Any, Any]]]


def update(context: Context, fan_out: FanOut = fan_out) -> Archive:
    """Bring the archive of Binance's bulk data up to date, and return it with what could not be.

    Symbols that are traded no more are fetched like all others.

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
    with shared("bulk", rate) as budget:
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


def look(symbols: list[str], job: Job) -> list[Wanted]:
    """What some symbols lack, by the bucket's listings; run by tasks."""
    with job.web() as web, ThreadPoolExecutor(THREADS) as threads:
        return list(threads.map(_unless_gone(partial(_look, web, job), _flawed), symbols))


def fetch(some: list[Wanted], job: Job) -> list[tuple[str, str]]:
    """Fetch what some symbols lack, and return what went wrong, by symbol; run by tasks."""
    pieces = [(each.symbol, interval, file) for each in some for interval, file in each.missing]
    largest = max((file.size for _, _, file in pieces), default=0)
    count = max(1, min(THREADS, IN_MEMORY // max(1, largest)))
    with job.web() as web, ThreadPoolExecutor(count) as threads:
        attempt = _unless_gone(lambda piece: _fetch(web, job, *piece), lambda piece, flaw: flaw)
        flaws = list(threads.map(attempt, pieces))
    failed = {(*piece[:2], bulk.month(piece[2].first)) for piece, flaw in zip(pieces, flaws, strict=True) if flaw}
    for each in some:
        # a month takes the place of its days once it is there
        gone = [pair for pair in each.replaced if (each.symbol, pair[0], bulk.month(pair[1].first)) not in failed]
        job.store.delete_all([job.key(interval, each.symbol, file.name) for interval, file in gone])
    told: dict[str, str] = {}
    for (symbol, _, _), flaw in zip(pieces, flaws, strict=True):
        if flaw:
            told.setdefault(symbol, flaw)
    return list(told.items())


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
        found = {name.removeprefix(f"{_source(job.market)}:") for name in settings.tickers}
    else:
        with job.web() as web:
            prefixes = [bulk.folder(job.market, period) for period in ("monthly", "daily")]
            found = {
                name
                for prefix in prefixes
                for page in _pages(web, job, prefix, delimiter="/")
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


def _flawed(symbol: str, flaw: str) -> Wanted:
    return Wanted(symbol, flaw=flaw)


def _unless_gone(ask: Callable[[T], R], flawed: Callable[[T, str], R]) -> Callable[[T], R]:
    """The function, with its errors as flaws: what is wrong with one costs no other.

    Where the service fell silent for two, and for all others meanwhile, the error is raised, at once for all that
    follow: none of them is at fault, and each would wait in its turn.
    """
    silent: list[ServiceUnavailableError] = []
    answered = [-math.inf]  # when the service last did

    def asked(item: T) -> R:
        if len(silent) > 1:
            raise silent[0]
        began = time.monotonic()
        try:
            answer = ask(item)
        except ServiceUnavailableError as error:
            if answered[0] < began:
                silent.append(error)
            if len(silent) > 1:
                raise
            return flawed(item, str(error))
        except StoreUnavailableError:
            raise
        except (ValueError, OSError) as error:
            answer = flawed(item, str(error))
        answered[0] = time.monotonic()
        return answer

    return asked


def _look(web: Web, job: Job, symbol: str) -> Wanted:
    missing: list[tuple[str, File]] = []
    replaced: list[tuple[str, File]] = []
    known, strange = False, 0
    for interval in job.intervals:
        have = job.have.get((interval, symbol), {})
        kept, _ = bulk.files([Listed(name, size) for name, size in have.items()], "", symbol, interval)
        found, odd = _files(web, job, symbol, interval, bulk.covered(kept))
        taken = bulk.chosen(found, job.since, job.until, bulk.covered(kept))
        missing += [(interval, file) for file in taken if have.get(file.name) != file.size]
        months = bulk.covered(kept) | bulk.covered(taken)
        replaced += [(interval, file) for file in kept if not file.monthly and bulk.month(file.first) in months]
        known, strange = known or bool(found), strange + odd
    return Wanted(symbol, tuple(missing), tuple(replaced), known, strange)


def _files(web: Web, job: Job, symbol: str, interval: str, kept: set[tuple[int, int]]) -> tuple[list[File], int]:
    """Monthly files of a symbol, and the daily ones that may be wanted beside them; how many zips are strange."""
    prefix = bulk.folder(job.market, "monthly", interval, symbol)
    found, strange = [], 0
    for page in _pages(web, job, prefix):
        some, odd = bulk.files(page.objects, prefix, symbol, interval)
        found += some
        strange += len(odd)
    if interval == FUNDING:  # which there are no daily files of
        return found, strange
    months = bulk.covered(found) | kept
    prefix = bulk.folder(job.market, "daily", interval, symbol)
    after = ""
    if job.since is not None:
        after = bulk.marker(symbol, interval, bulk.first_uncovered(max(job.since, FIRST_DAY), months), prefix)
    while True:
        page = _page(web, job, prefix, after)
        some, odd = bulk.files(page.objects, prefix, symbol, interval)
        found += some
        strange += len(odd)
        last = some[-1].last if some else None
        if not page.following or (last and job.until and last >= job.until):
            return found, strange
        after = page.following
        if last and bulk.month(last) in months:  # years of days that lie in monthly files need not be listed
            after = max(after, bulk.marker(symbol, interval, bulk.first_uncovered(last, months), prefix))


def _pages(web: Web, job: Job, prefix: str, delimiter: str = "") -> Iterator[bulk.Page]:
    after = ""
    while True:
        page = _page(web, job, prefix, after, delimiter)
        yield page
        if not page.following:
            return
        after = page.following


def _page(web: Web, job: Job, prefix: str, after: str, delimiter: str = "") -> bulk.Page:
    asked = {"delimiter": delimiter, "prefix": prefix, "marker": after}
    url = f"{job.listing}?{urlencode({name: value for name, value in asked.items() if value})}"
    try:
        page = bulk.page(web.get(url, bulk.LARGEST_LISTING))
    except BulkError as error:
        raise BulkError(f"{url}: {error}.") from error
    if page.following and page.following <= after:
        raise BulkError(f"{url}: the listing goes on from {page.following[:200]!a}, which it has passed; try later.")
    return page


def _fetch(web: Web, job: Job, symbol: str, interval: str, file: File) -> str:
    """Fetch a file, verify it and keep it; an empty text, since nothing is wrong with it."""
    if file.size > LARGEST_FILE:
        raise RefusedError(f"{job.data}/{file.key} has {file.size:,} bytes; allowed are {LARGEST_FILE:,}.")
    url = f"{job.data}/{quote(file.key)}"
    for _ in range(VERIFIED_AT_MOST):
        try:
            stated = web.get(url + bulk.CHECKSUM, bulk.LARGEST_CHECKSUM)
        except NotThereError as error:
            raise NotThereError(f"{url} has no checksum beside it, so that it cannot be verified: {error}") from error
        digest = bulk.digest(stated, file.name)
        data = web.get(url, file.size)
        found = hashlib.sha256(data).hexdigest()
        if found == digest:
            job.store.write(job.key(interval, symbol, file.name), data)
            return ""
    raise BulkError(
        f"{url} has the checksum {found}, fetched {VERIFIED_AT_MOST} times, where {digest} is stated beside it; it is "
        f"{'a web page' if data.lstrip()[:1] == b'<' else 'damaged there, or on its way'}. Run again later."
    )


def _unknown(symbol: str, job: Job) -> str:
    kinds = " or ".join(job.intervals)
    return f"{job.listing} has no {kinds} files of {symbol} ({job.market}); check ingest.tickers and ingest.market"


def _source(market: str) -> str:
    return f"{VENUE}-{market}"
