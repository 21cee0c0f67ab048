"""An exchange asked through ccxt: every request takes from the budget of all workers, and is borne with patiently.

ccxt knows the addresses, the forms and the weights; pauses, retries and limits are ours, since only the budget is
shared by all workers.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple, Protocol, TypeVar

import ccxt
import requests

from jobs.archive import ServiceAwayError
from jobs.exchange_http import MalformedError, check, checked, date, moved, retry_after
from jobs.exchange_universe import ExchangeError
from storage.patience import GaveUpError, patiently

T = TypeVar("T")

ATTEMPTS = 8
SECONDS = 900.0  # in which all attempts of a request begin, waiting for the budget and its holds included
LONGEST_HOLD = 330.0  # seconds that a service may make us wait; Binance counts some requests over five minutes
SHORTEST_HOLD = 1.0  # seconds, where a service refuses and does not say for how long
TIMEOUT = 20_000  # milliseconds
FALLBACK_LIMIT = 500  # rows that ccxt is asked for where it does not know how many an exchange gives
FUNDING_LIMIT = 100
LONGEST_BAR = 31 * 86_400_000  # milliseconds
# Binance weighs candles by the size of a page, and 499 are the most for their weight
CANDLE_LIMITS = {"binanceusdm": 499}
FUNDING_LIMITS = {"binanceusdm": 1000, "binance": 1000}
# ... and lets 500 requests for funding rates pass in five minutes, which ccxt does not know of
FUNDING_WEIGHTS = {"binanceusdm": 12.0, "binance": 12.0}
LIMITED = (418, 425, 429)
SHUT = (401, 403, 451)


class ExchangeUnavailableError(ExchangeError, ServiceAwayError):
    """An exchange that lets nobody in, for now or from here: no symbol is at fault, and the run ends."""


class ExchangeSilentError(ExchangeError):
    """A request that was not answered at any attempt; others may be."""


class Taker(Protocol):
    """What a client needs of `actors.budget.Budget`."""

    def take(self, weight: float = 1.0) -> None:
        """Return once so much may be asked for."""

    def hold(self, seconds: float) -> None:
        """Let nobody take for so long."""


class Access(NamedTuple):
    """How an exchange is reached; it travels to workers with the markets that they need.

    ``rate`` is in requests a second, of all workers together; None: the exchange's own limit, by weight.
    """

    exchange: str
    endpoint: str | None = None
    rate: float | None = None
    markets: tuple[dict[str, Any], ...] = ()


class _Weight(Exception):  # noqa: N818  stops ccxt before a request leaves
    """Carries what a request would weigh."""


class Client:
    """An exchange as ccxt speaks to it, in one process; public data alone."""

    def __init__(self, access: Access, budget: Taker | None = None) -> None:
        """Takes no request yet, and needs no budget until then."""
        self.access = access
        self.ccxt: Any = getattr(ccxt, access.exchange)({"timeout": TIMEOUT})
        self._budget = budget
        self._least = 0.0
        self._answer: requests.Response | None = None
        # ccxt's own limiter counts the requests of one process: in its place the budget of all is asked
        self.ccxt.enableRateLimit = True
        self.ccxt.throttle = self._take
        # it leaves out rows whose time it cannot read, as if there were none
        if type(self.ccxt).parse_ohlcvs is ccxt.Exchange.parse_ohlcvs:  # one exchange has another form
            self.ccxt.parse_ohlcvs = self._rows
        self.ccxt.session.max_redirects = 0  # an exchange has no reason to send us elsewhere
        self.ccxt.session.hooks["response"].append(self._received)
        if access.endpoint:
            self.ccxt.urls["api"] = moved(self.ccxt.urls["api"], self.ccxt.hostname, checked(access.endpoint))
        if access.markets:
            self.ccxt.set_markets(list(access.markets))

    @property
    def rate(self) -> float:
        """Weight a second that the budget is to give."""
        return self.access.rate or 1000.0 / self.ccxt.rateLimit

    def markets(self) -> dict[str, Any]:
        """Ask for what ccxt knows of all symbols."""
        return dict(self.ask(self.ccxt.load_markets))

    def now(self) -> int:
        """Milliseconds since 1970 by the exchange's clock: asked for, else as its last answer was dated, else ours."""
        if self.ccxt.has.get("fetchTime") is True:
            given = self.ask(self.ccxt.fetch_time)
            if isinstance(given, int) and given > 0:
                return given
        if self._answer is not None and (dated := date(self._answer.headers.get("Date", ""))):
            return int(dated.timestamp() * 1000)
        return int(time.time() * 1000)

    def lengths(self) -> dict[str, int]:
        """Bars that the exchange has, by its names, in ms; those longer than a month are left out."""
        lengths = {}
        for name in self.ccxt.timeframes or {}:
            with suppress(ccxt.NotSupported, ValueError):  # some list a bar that ccxt itself cannot read
                lengths[name] = int(self.ccxt.parse_timeframe(name)) * 1000
        return {name: length for name, length in lengths.items() if 0 < length <= LONGEST_BAR}

    def candles(self, unified: str, timeframe: str, since: int) -> list[Any]:
        """Ask for a page of candles (time in ms, open, high, low, close, volume) from a moment on."""
        return list(self.ask(self.ccxt.fetch_ohlcv, unified, timeframe, since, self.candle_limit(unified)))

    def rates(self, unified: str, since: int) -> list[Any]:
        """Ask for a page of funding rates (time in ms, rate) from a moment on."""
        with self._weighing(FUNDING_WEIGHTS.get(self.access.exchange, 0.0)):
            found = self.ask(self.ccxt.fetch_funding_rate_history, unified, since, self.funding_limit(unified))
        return [[each.get("timestamp"), each.get("fundingRate")] for each in found]

    def candle_limit(self, unified: str) -> int:
        """Most candles of a page."""
        return CANDLE_LIMITS.get(self.access.exchange) or self._limit(unified, "fetchOHLCV") or FALLBACK_LIMIT

    def funding_limit(self, unified: str) -> int:
        """Most funding rates of a page."""
        known = FUNDING_LIMITS.get(self.access.exchange)
        return known or self._limit(unified, "fetchFundingRateHistory") or FUNDING_LIMIT

    def candle_weight(self, unified: str, timeframe: str) -> float:
        """Return what a page of candles takes from the budget; nothing is asked."""
        if self.access.rate:
            return 1.0

        def weighed(cost: float | None = None) -> None:
            raise _Weight(float(cost or 1.0))

        self.ccxt.throttle = weighed
        try:
            self.ccxt.fetch_ohlcv(unified, timeframe, 0, self.candle_limit(unified))
        except _Weight as weight:
            return float(weight.args[0])
        finally:
            self.ccxt.throttle = self._take
        return 1.0

    def ask(self, call: Callable[..., T], *arguments: Any) -> T:
        """Call ccxt until there is an answer.

        Raises
        ------
        ExchangeUnavailableError
            If the exchange lets us in no more, or not from here.
        ExchangeSilentError
            If no attempt was answered.
        ExchangeError
            If the exchange refused this request.
        """

        def once() -> T:
            self._answer = None
            try:
                return call(*arguments)
            except ccxt.BaseError as error:
                self._obey(error)
                raise

        try:
            return patiently(once, passing=self._passing, attempts=ATTEMPTS, seconds=SECONDS, said=_told)
        except GaveUpError as error:
            words = f"{error.attempts} attempts in {error.seconds:.0f} s, the last: {_told(error.error)}"
            if self._limited(error.error):
                raise ExchangeUnavailableError(
                    f"{self.access.exchange} asks us again and again to slow down ({words}). What was fetched is kept; "
                    f"run the same command later, with a lower ingest.rate than {self.rate:g}."
                ) from error
            if isinstance(error.error.__cause__, MalformedError):
                raise ExchangeError(f"{self.access.exchange} gave no answer that can be read: {words}") from error
            raise ExchangeSilentError(f"{self.access.exchange} does not answer: {words}") from error
        except ccxt.BaseError as error:
            raise ExchangeError(f"{self.access.exchange} refused: {_told(error)}") from error

    def _take(self, cost: float | None = None) -> None:
        assert self._budget is not None  # noqa: S101  (whoever asks has one)
        self._budget.take(1.0 if self.access.rate else max(float(cost or 1.0), self._least))

    def _rows(self, rows: Iterable[Any] | None, market: Any = None, *_: Any, **__: Any) -> list[Any]:
        """All candles of an answer, as they come."""
        return [self.ccxt.parse_ohlcv(each, market) for each in rows or []]

    @contextmanager
    def _weighing(self, least: float) -> Iterator[None]:
        self._least = least
        try:
            yield
        finally:
            self._least = 0.0

    def _received(self, answer: requests.Response, **_: Any) -> requests.Response:
        """Look at an answer before ccxt does, which takes a page that is no JSON for an empty one."""
        self._answer = answer
        check(answer)
        return answer

    def _obey(self, error: Exception) -> None:
        """Let all workers wait where the service asks for it; end where that is too long, or it lets nobody in."""
        status = self._status()
        if self._limited(error):
            headers = {} if self._answer is None else self._answer.headers
            seconds = retry_after(headers.get("Retry-After", ""), date(headers.get("Date", "")))
            if seconds > LONGEST_HOLD:
                raise ExchangeUnavailableError(
                    f"{self.access.exchange} has shut us out for {seconds:,.0f} s ({_told(error)}), longer than the "
                    f"{LONGEST_HOLD:g} s that are waited for. What was fetched is kept; run the same command after "
                    f"that, with a lower ingest.rate than {self.rate:g}."
                ) from error
            assert self._budget is not None  # noqa: S101  (it was taken from)
            self._budget.hold(max(seconds, SHORTEST_HOLD))
        elif status in SHUT:
            raise ExchangeUnavailableError(
                f"{self.access.exchange} lets nobody in from here, with status {status} ({_told(error)}). It may be "
                "closed to this country or network; name a mirror by ingest.endpoint."
            ) from error

    def _passing(self, error: Exception) -> bool:
        status = self._status()
        if isinstance(error, ExchangeError):
            return False
        if self._limited(error) or isinstance(error.__cause__, MalformedError):
            return True
        if status is not None and 400 <= status < 500:
            return status == 408
        return isinstance(error, ccxt.NetworkError) or (status is not None and status >= 500)

    def _limited(self, error: Exception) -> bool:
        return self._status() in LIMITED or isinstance(error, ccxt.RateLimitExceeded | ccxt.DDoSProtection)

    def _status(self) -> int | None:
        return None if self._answer is None else self._answer.status_code

    def _limit(self, unified: str, method: str) -> int | None:
        market = self.ccxt.markets[unified]
        features = self.ccxt.features or {}
        kind = (features.get("swap") or {}).get("linear") if market.get("swap") else features.get("spot")
        limit = ((kind or {}).get(method) or {}).get("limit")
        return limit if isinstance(limit, int) and limit > 0 else None


def _told(error: Exception) -> str:
    """An error of ccxt in one short line; what it met is its cause."""
    cause = error.__cause__
    words = f"{error}: {cause}" if isinstance(cause, MalformedError) else str(error)
    return " ".join(f"{type(error).__name__}: {words}".split())[:300]
