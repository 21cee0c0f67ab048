"""What a worker does for a symbol of an exchange: fetch what its archive lacks, and say what is wrong with it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from actors.budget import Budget
from jobs.exchange_chunks import DAY, Chunks, Series, milliseconds
from jobs.exchange_client import Access, Client, ExchangeSilentError, ExchangeUnavailableError
from jobs.exchange_universe import ExchangeError
from quant.candle_pages import Page, PageError, Voids, forward, page, usual_rest
from storage.errors import StoreError, StoreUnavailableError
from storage.store import Store

HOUR = 3_600_000  # milliseconds: rates are charged no oftener


class Want(NamedTuple):
    """What is asked for of every symbol, in ms: rows with ``since <= time < stop``, and the rates likewise."""

    timeframe: str
    step: int
    since: int
    stop: int
    rates_stop: int
    with_funding: bool


class Task(NamedTuple):
    """A symbol to bring up to date, and what of it the archive holds."""

    symbol: str
    unified: str
    candles: Series
    rates: Series
    requests: int = 1


@dataclass(frozen=True)
class Fetching:
    """What is put once into the object store and shared by all tasks."""

    store: Store
    access: Access
    budget: Budget
    want: Want


def fetch(some: list[Task], job: Fetching) -> dict[str, str]:
    """Bring some symbols up to date, and return why others are not: one that fails costs no other.

    Raises
    ------
    ExchangeUnavailableError, StoreUnavailableError
        If none could be fetched.
    """
    client = Client(job.access, job.budget)
    flaws: dict[str, str] = {}
    silent = 0
    for task in some:
        try:
            _update(client, job, task)
        except (ExchangeUnavailableError, StoreUnavailableError):
            raise
        except Exception as error:  # whatever an exchange answers for a symbol is that symbol's flaw
            silent += isinstance(error, ExchangeSilentError)
            if silent > 1:
                raise ExchangeUnavailableError(
                    f"{error}. What was fetched is kept; run the same command later."
                ) from error
            flaws[task.symbol] = _words(error)
    return flaws


def _update(client: Client, job: Fetching, task: Task) -> None:
    want = job.want
    limit = client.candle_limit(task.unified)

    def candles(timeframe: str, since: int) -> Page:
        return page(client.candles(task.unified, timeframe, since), len(task.candles.columns))

    voids = None
    for name, length in _coarse(client, want.step):  # days, and then months
        voids = Voids(partial(candles, name), length, length * limit, want.stop, voids)
    span = want.step * limit
    fetched = partial(forward, partial(candles, want.timeframe), step=want.step, span=span)
    if voids:
        fetched = partial(fetched, leap=voids.leap)
    months = _extend(job.store, task.candles, fetched, want.since, want.stop, lambda _: want.step)
    if want.with_funding and months:

        def rates(since: int) -> Page:
            return page(client.rates(task.unified, since), len(task.rates.columns))

        span = HOUR * client.funding_limit(task.unified)
        charged = partial(forward, rates, step=1, span=span, rest=_rest)
        first = milliseconds(months[0], "M")  # rates before the first candle are of no use
        _extend(job.store, task.rates, charged, max(want.since, first), want.rates_stop, _rest)


def _rest(rates: Page) -> int:
    """How long after the last rates no other is due; one that comes sooner for once is fetched with the next."""
    return max(HOUR, usual_rest(rates))


def _extend(
    store: Store,
    series: Series,
    pages: Callable[[int, int], Iterator[Page]],
    since: int,
    stop: int,
    rest: Callable[[Page], int],
) -> list[str]:
    """Fetch what a series lacks between two instants, and return the months that it then has.

    ``rest`` says for how long after its last rows nothing new can lie, so that nothing is asked. The last
    row is fetched once more, and counts as it is then.
    """
    chunks = Chunks(store, series)
    whole, newest = series.since, chunks.newest()
    if whole is None:
        if newest is None:
            chunks.mark(since)  # first of all: rows without a mark would be fetched again
        chunks.add(pages(since, stop))
        if newest is not None:
            chunks.mark(since)
        return chunks.months
    if since < whole:
        chunks.add(pages(since, min(whole, stop)))
        chunks.mark(since)
    if newest is None:
        chunks.add(pages(whole, stop))
    elif (last := int(newest.times[-1])) + rest(newest) < stop:
        chunks.add(pages(last, stop))
    return chunks.months


def _coarse(client: Client, step: int) -> list[tuple[str, int]]:
    """Bars of a day and the longest that the exchange has, as far as they are longer than those asked for."""
    lengths = sorted(client.lengths().items(), key=lambda each: each[1])
    days = [each for each in lengths if each[1] == DAY]
    return [each for each in dict.fromkeys([*days, lengths[-1]]) if each[1] > step]


def _words(error: Exception) -> str:
    if isinstance(error, ExchangeError | PageError | StoreError):
        return str(error)
    return f"the answer cannot be read: {type(error).__name__}: {error}"
