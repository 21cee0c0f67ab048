"""The demo market: seeded 15m candles whose right answer is known.

Every ticker has fat tails, clustered volatility, a share in a common factor, and now and then a *climax*: one bar
that falls on many times the usual volume, or one that rises on a small part of it. In a few planted tickers the price
then drifts back; in all others nothing follows, so that whoever trades them pays the fees for nothing. A pipeline that
works shortlists the planted tickers and hardly any other.

Where nothing is planted, the next bar's direction hangs on nothing before it: a climax comes without warning and to
either side. Every ticker is generated on its own from the seed, so that each shard makes its own, and a longer market
is a shorter one continued.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Positions = NDArray[np.int64]

VERSION = 2
BAR = pd.Timedelta(minutes=15)

MAJORS = ("demo:MAJOR1USDT", "demo:MAJOR2USDT", "demo:MAJOR3USDT", "demo:MAJOR4USDT")
"""Planted in every market: the tickers that a model is developed on. The other planted ones are to be discovered."""

DISCOVERABLE = 2
"""Planted tickers beside the majors, drawn by the seed."""

HOLD = 1
"""Bars over which the price drifts back after a climax: in at the next open, out at the one after it."""

DRIFT = 0.0034
"""The drift over all those bars at edge 1, as a log return; a round trip at 0.1 % a side costs 0.002."""

CLIMAX_SPACING = 400.0
"""Mean bars from one climax to the next."""

_LEAST_CLIMAX_SPACING = 16
_CLIMAX_MOVE = 6.0  # in standard deviations of the bar
_CLIMAX_NOISE = 0.4
_CLIMAX_VOLUME = 20.0  # times the usual in a fall, a 20th of it in a rise
_OUTAGE_SPACING = 10_000.0
_LEAST_OUTAGE_SPACING = 1_000
_OUTAGE_BARS = (4, 32)
_VOLATILITY = (0.0041, 0.0051)  # of a bar's log return
_BETA = (0.4, 0.7)
_PRICE_DECADES = (-1.0, 1.5)
_TURNOVER = 100_000.0  # quote currency a bar
_VOLATILITY_PERSISTENCE = 0.985
_VOLATILITY_SPREAD = 0.3  # standard deviation of its logarithm
_DEGREES_OF_FREEDOM = 6.0
_VOLUME_PERSISTENCE = 0.99
_VOLUME_STEP = 0.06
_VOLUME_NOISE = 0.15
_VOLUME_OF_MOVE = 0.15
_OPENING_GAP = 0.05  # in standard deviations of the bar


class DemoMarketError(ValueError):
    """A demo market that cannot be, or a ticker that it does not have."""


class Seeded(Protocol):
    """What the walk beneath every made-up market hangs on: a seed, a length in bars and the open of the first one."""

    @property
    def seed(self) -> int: ...  # noqa: D102
    @property
    def bars(self) -> int: ...  # noqa: D102
    @property
    def start(self) -> str: ...  # noqa: D102


@dataclass(eq=False)
class Walk:
    """The walk of one ticker, which a market then writes its patterns into.

    Parameters
    ----------
    price
        Of the first bar's open, about.
    level
        Usual volatility of a bar's log return.
    moves
        Log return of each bar.
    volatility
        Of each bar's log return.
    """

    price: float
    level: float
    moves: Floats
    volatility: Floats


class _Stream(IntEnum):
    """What a stream of random numbers is for; each has its own, so that drawing more of one moves no other."""

    PLANTED = 0
    OUTAGES = 1
    OUTAGE_LENGTHS = 2
    SHOCKS = 3
    TAILS = 4
    CHARACTER = 5
    CLIMAXES = 6
    SIDES = 7
    ACTIVITY = 8
    VOLUME = 9
    OPENINGS = 10
    HIGHS = 11
    LOWS = 12


_COMMON = 0  # the market's own number beside those of its tickers, which start at 1


@dataclass(frozen=True)
class DemoMarket:
    """A market; equal values give equal candles.

    Parameters
    ----------
    seed
        Not negative.
    tickers
        How many in all, the majors and the other planted ones included.
    bars
        Length in bars of 15 minutes, those that fall into an outage included.
    edge
        Strength of the planted drift: 1 as designed, 0 for a market in which there is nothing to find.
    start
        Open of the first bar, UTC.

    Raises
    ------
    DemoMarketError
        If a value is out of range.
    """

    seed: int = 0
    tickers: int = 40
    bars: int = 420_480
    edge: float = 1.0
    start: str = "2014-01-01"

    def __post_init__(self) -> None:
        """Refuse a market that cannot be."""
        least = len(MAJORS) + DISCOVERABLE
        if self.seed < 0:
            raise DemoMarketError(f"the demo market's seed is {self.seed}; allowed: 0 or more")
        if self.tickers < least:
            raise DemoMarketError(f"the demo market has {self.tickers} tickers; allowed: {least} or more")
        if self.bars < 1:
            raise DemoMarketError(f"the demo market has {self.bars} bars; allowed: 1 or more")
        if not 0 <= self.edge < np.inf:
            raise DemoMarketError(f"the demo market's edge is {self.edge}; allowed: 0 or more, and finite")
        if pd.isna(pd.to_datetime(self.start, errors="coerce", utc=True)):
            raise DemoMarketError(f"the demo market's start is {self.start!r}; the form is 2021-01-01")


def names(market: DemoMarket) -> list[str]:
    """Canonical tickers of the market, the majors first."""
    others = range(len(MAJORS) + 1, market.tickers + 1)
    return [*MAJORS, *(f"demo:COIN{number:02d}USDT" for number in others)]


def planted(market: DemoMarket) -> tuple[str, ...]:
    """Tickers whose climaxes are followed by a drift: the majors, and `DISCOVERABLE` others drawn by the seed."""
    others = names(market)[len(MAJORS) :]
    drawn = stream(market, _COMMON, _Stream.PLANTED).choice(len(others), size=DISCOVERABLE, replace=False)
    return (*MAJORS, *(others[position] for position in sorted(drawn)))


def bars(market: DemoMarket, ticker: str) -> pd.DataFrame:
    """Candles of one ticker: open, high, low, close and volume by time, without those lost in outages.

    Raises
    ------
    DemoMarketError
        If the market has no such ticker.
    """
    number = _number(market, ticker)
    course = walk(market, number)
    at, sides = _climaxes(market, number)
    course.moves[at] = _CLIMAX_NOISE * course.moves[at] - sides * _CLIMAX_MOVE * course.volatility[at]
    if ticker in planted(market):
        _drift_back(course.moves, at, sides, market.edge)
    louder = np.zeros(market.bars)
    louder[at] = sides * np.log(_CLIMAX_VOLUME)
    return candles(market, number, course, louder)[_trading(market)]


def oracle(market: DemoMarket, ticker: str) -> pd.Series:
    """Signals of one who knows the pattern: 1 at the close of a falling climax, 2 of a rising one, else 0 (int8).

    Where nothing is planted, these are the climaxes that nothing follows.

    Raises
    ------
    DemoMarketError
        If the market has no such ticker.
    """
    at, sides = _climaxes(market, _number(market, ticker))
    signal = np.zeros(market.bars, dtype=np.int8)
    signal[at] = np.where(sides > 0, 1, 2)
    return pd.Series(signal, index=times(market), name="signal")[_trading(market)]


def walk(market: Seeded, number: int) -> Walk:
    """Return the walk of a market's ticker by its number from 1: fat tails, clustered volatility, a common factor."""
    character = stream(market, number, _Stream.CHARACTER)
    level, beta = character.uniform(*_VOLATILITY), character.uniform(*_BETA)
    price = 10 ** character.uniform(*_PRICE_DECADES)
    common, common_volatility = _noise(market, _COMMON)
    own, own_volatility = _noise(market, number)
    volatility = level * np.sqrt((beta * common_volatility) ** 2 + (1 - beta**2) * own_volatility**2)
    moves = level * (beta * common + np.sqrt(1 - beta**2) * own)
    return Walk(price=price, level=level, moves=moves, volatility=volatility)


def candles(market: Seeded, number: int, course: Walk, louder: Floats) -> pd.DataFrame:
    """Return the candles of a walk: open, high, low, close and volume by time.

    Parameters
    ----------
    number
        Of the ticker, from 1.
    course
        As ``walk`` returns it, with the market's patterns in its moves and volatility.
    louder
        What the patterns add to the natural logarithm of each bar's volume.
    """
    prices = _log_prices(market, number, course)
    turnover = _log_volume(market, number, course) + louder + np.log(_TURNOVER)
    return pd.DataFrame(
        {
            **{name: course.price * np.exp(values) for name, values in prices.items()},
            "volume": np.exp(turnover) / course.price,
        },
        index=times(market),
    )


def _number(market: DemoMarket, ticker: str) -> int:
    known = names(market)
    if ticker not in known:
        raise DemoMarketError(f"the demo market has no ticker {ticker!r}; it has {known[0]} … {known[-1]}")
    return known.index(ticker) + 1


def stream(market: Seeded, number: int, purpose: int) -> np.random.Generator:
    """Return the random numbers of a ticker, by its number from 1, for one purpose; those from 100 on are free."""
    sequence = np.random.SeedSequence(market.seed, spawn_key=(number, int(purpose)))
    return np.random.Generator(np.random.PCG64(sequence))


def _noise(market: Seeded, number: int) -> tuple[Floats, Floats]:
    """Return noise of variance 1, and its volatility: Student's t times a log-normal autoregression."""
    shocks = stream(market, number, _Stream.SHOCKS).standard_normal(market.bars)
    tails = stream(market, number, _Stream.TAILS).standard_t(_DEGREES_OF_FREEDOM, market.bars)
    tails *= np.sqrt((_DEGREES_OF_FREEDOM - 2) / _DEGREES_OF_FREEDOM)
    step = _VOLATILITY_SPREAD * np.sqrt(1 - _VOLATILITY_PERSISTENCE**2)
    volatility = np.exp(_autoregression(shocks, step, _VOLATILITY_PERSISTENCE) - _VOLATILITY_SPREAD**2)
    return volatility * tails, volatility


def _autoregression(shocks: Floats, step: float, persistence: float) -> Floats:
    from scipy.signal import lfilter  # most of a second to import, which all but the demo can do without

    return np.asarray(lfilter([step], [1.0, -persistence], shocks), dtype=np.float64)


def occurrences(generator: np.random.Generator, length: int, mean: float, least: int) -> Positions:
    """Return the positions, below length, of a Poisson process with a dead time after each event."""
    waits = least + np.floor(generator.exponential(mean - least, length // least + 1)).astype(np.int64)
    at = np.cumsum(waits)
    return at[at < length]


def _climaxes(market: DemoMarket, number: int) -> tuple[Positions, Positions]:
    """Return positions of the climaxes, and the side of the drift where one follows: 1 up, −1 down."""
    generator = stream(market, number, _Stream.CLIMAXES)
    at = occurrences(generator, market.bars, CLIMAX_SPACING, _LEAST_CLIMAX_SPACING)
    sides = np.where(stream(market, number, _Stream.SIDES).random(len(at)) < 0.5, 1, -1)
    return at, sides


def _drift_back(moves: Floats, at: Positions, sides: Positions, edge: float) -> None:
    for ahead in range(1, HOLD + 1):
        inside = at + ahead < len(moves)
        moves[at[inside] + ahead] += sides[inside] * edge * DRIFT / HOLD


def _log_prices(market: Seeded, number: int, course: Walk) -> dict[str, Floats]:
    """Return log prices, with highs and lows as a Brownian bridge from open to close has them."""
    moves, volatility = course.moves, course.volatility
    gaps = stream(market, number, _Stream.OPENINGS).standard_normal(market.bars) * _OPENING_GAP * volatility
    closing = np.cumsum(moves)
    opening = closing - moves + gaps
    body = closing - opening
    upper, lower = (
        np.sqrt(body**2 - 2 * volatility**2 * np.log1p(-stream(market, number, purpose).random(market.bars)))
        for purpose in (_Stream.HIGHS, _Stream.LOWS)
    )
    return {
        "open": opening,
        # the sums may miss the body's end by a rounding
        "high": np.maximum(opening + (body + upper) / 2, np.maximum(opening, closing)),
        "low": np.minimum(opening + (body - lower) / 2, np.minimum(opening, closing)),
        "close": closing,
    }


def _log_volume(market: Seeded, number: int, course: Walk) -> Floats:
    activity = stream(market, number, _Stream.ACTIVITY).standard_normal(market.bars)
    noise = stream(market, number, _Stream.VOLUME).standard_normal(market.bars)
    volume = _autoregression(activity, _VOLUME_STEP, _VOLUME_PERSISTENCE) + _VOLUME_NOISE * noise
    volume += _VOLUME_OF_MOVE * np.abs(course.moves) / course.volatility + np.log(course.volatility / course.level)
    return volume


def times(market: Seeded) -> pd.DatetimeIndex:
    """Return the opens of a market's bars, UTC."""
    start = pd.to_datetime(market.start, utc=True)
    return pd.date_range(start, periods=market.bars, freq=BAR, unit="us", name="time")


def _trading(market: DemoMarket) -> NDArray[np.bool_]:
    """Tell which bars exist: an outage of the exchange takes some hours of all tickers."""
    generator = stream(market, _COMMON, _Stream.OUTAGES)
    at = occurrences(generator, market.bars, _OUTAGE_SPACING, _LEAST_OUTAGE_SPACING)
    least, most = _OUTAGE_BARS
    lengths = stream(market, _COMMON, _Stream.OUTAGE_LENGTHS).integers(least, most + 1, len(at))
    trading = np.ones(market.bars, dtype=bool)
    for first, length in zip(at, lengths, strict=True):
        trading[first : first + length] = False
    return trading
