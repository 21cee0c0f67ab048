"""What a worker does for symbols of Binance's bulk data: see what is missing of them, and fetch, verify and keep it."""

import hashlib
import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from functools import partial
from typing import NamedTuple, TypeVar
from urllib.parse import quote, urlencode

from actors.budget import Budget
from quant import bulk
from quant.bulk import FUNDING, BulkError, File, Listed
from storage import layout
from storage.errors import StoreUnavailableError
from storage.store import Store
from storage.web import NotThereError, RefusedError, ServiceUnavailableError, Web

T = TypeVar("T")
R = TypeVar("R")

THREADS = 8  # of a task: it waits for the network more than it works
IN_MEMORY = 512 << 20  # bytes of files that a task holds at a time
LARGEST_FILE = 1 << 30  # bytes; a month of the finest bars has a tenth of it
VERIFIED_AT_MOST = 3  # times that a file is fetched whose checksum differs: it may just be published anew
FIRST_DAY = date(2017, 1, 1)  # before Binance was


@dataclass(frozen=True)
class Job:
    """What the tasks share; ``have`` is what the archive holds: bytes by name, by interval and symbol."""

    store: Store
    source: str
    market: str
    intervals: tuple[str, ...]
    since: date | None
    until: date | None
    data: str
    listing: str
    budget: Budget
    have: dict[tuple[str, str], dict[str, int]]
    attempts: int

    def web(self) -> Web:
        """A client whose requests come out of the budget of all workers."""
        return Web(take=self.budget.take, hold=self.budget.hold, attempts=self.attempts)

    def key(self, interval: str, symbol: str, name: str) -> str:
        """Where a file is kept."""
        return layout.archive(self.source, interval, symbol, name)


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
    for page in pages(web, job, prefix):
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


def pages(web: Web, job: Job, prefix: str, delimiter: str = "") -> Iterator[bulk.Page]:
    """Yield all pages of a listing of the bucket."""
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
