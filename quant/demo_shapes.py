"""A demo market in which recurring shapes are planted: seeded 15m candles for whoever looks for patterns.

Every ticker is the walk of ``quant.demo``, into which shapes of ``LENGTH`` bars are written now and then, each with a
price path and a volume of its own, of varying size and under noise. After two of them the price drifts, after the
others nothing follows. An honest clustering of windows finds the shapes, and of them tells the two.

A shape is not known before it ends, but it is known in parts: once a crash has halted, the recovery is to come. So a
window that ends within a shape foretells the rest of it, at an edge of 0 too. The market in which nothing can be
found is the one without shapes.
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from quant import demo
from quant.demo import BAR, DemoMarketError, Floats, Positions

__all__ = [
    "BAR",
    "FOLLOWING",
    "LENGTH",
    "SHAPES",
    "DemoMarketError",
    "Shape",
    "ShapeMarket",
    "bars",
    "names",
    "planted",
]

VERSION = 1

LENGTH = 18
"""Bars of every shape."""

FOLLOWING = 5
"""Bars over which the price drifts after a shape."""

DRIFT = 0.012
"""The drift over all those bars at edge 1, as a log return: one and a fifth of the usual deviation of five bars."""

SPACING = 80.0
"""Mean bars from the end of one shape to that of the next."""

_LEAST_SPACING = 44
_SIZES = (0.8, 1.25)  # of a planted shape, times its path

Knots = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Shape:
    """A shape of ``LENGTH`` bars.

    Parameters
    ----------
    name
        In words.
    path
        Corners (bars passed, log price) of its price path, in units of the usual deviation of a bar.
    volume
        Corners (bar from 1, factor) of its volume, in times the usual.
    noise
        Corners (bar from 1, factor) of the deviation of its bars about the path, in times the usual.
    follows
        Side of the drift after it: 1 up, −1 down, 0 none.
    """

    name: str
    path: Knots
    volume: Knots
    noise: Knots
    follows: int

    def moves(self) -> Floats:
        """Log return of each bar (``LENGTH``), in units of the usual deviation of a bar."""
        return np.diff(_between(self.path, np.arange(LENGTH + 1)))

    def noises(self) -> Floats:
        """Deviation of each bar about the path over the usual (``LENGTH``)."""
        return _between(self.noise, np.arange(1, LENGTH + 1))

    def louder(self) -> Floats:
        """Natural logarithm of each bar's volume over the usual (``LENGTH``)."""
        corners = tuple((bar, float(np.log(factor))) for bar, factor in self.volume)
        return _between(corners, np.arange(1, LENGTH + 1))


SHAPES = (
    Shape(
        "crash and recovery",
        path=((0, 0), (2, -1), (8, -12), (10, -12), (18, -4)),
        volume=((1, 1), (4, 2), (8, 8), (10, 8), (18, 1)),
        noise=((1, 0.6), (18, 0.6)),
        follows=1,
    ),
    Shape(
        "distribution top",
        path=((0, 0), (5, 6), (13, 6), (18, -8)),
        volume=((1, 2), (5, 4), (12, 3), (13, 1), (18, 6)),
        noise=((1, 0.6), (18, 0.6)),
        follows=-1,
    ),
    Shape(
        "slow climb on drying volume",
        path=((0, 0), (18, 7)),
        volume=((1, 1), (18, 0.1)),
        noise=((1, 0.3), (18, 0.3)),
        follows=0,
    ),
    Shape(
        "squeeze that ends in a burst",
        path=((0, 0), (15, 0), (18, 7)),
        volume=((1, 0.5), (15, 0.25), (16, 4), (18, 6)),
        noise=((1, 0.25), (15, 0.25), (16, 0.8), (18, 0.8)),
        follows=0,
    ),
)
"""The kinds: ``planted`` names the first 1."""


class _Stream(IntEnum):
    """As in ``quant.demo``, beyond those of the walk."""

    ENDS = 100
    KINDS = 101
    SIZES = 102


@dataclass(frozen=True)
class ShapeMarket:
    """A market of shapes; equal values give equal candles.

    Parameters
    ----------
    seed
        Not negative.
    tickers
        How many; all have shapes.
    bars
        Length in bars of 15 minutes.
    edge
        Strength of the drift after a shape: 1 as designed, 0 for none.
    start
        Open of the first bar, UTC.
    shapes
        False for the walk alone, in which there is nothing to find.

    Raises
    ------
    DemoMarketError
        If a value is out of range.
    """

    seed: int = 0
    tickers: int = 20
    bars: int = 20_000
    edge: float = 1.0
    start: str = "2021-01-01"
    shapes: bool = True

    def __post_init__(self) -> None:
        """Refuse a market that cannot be."""
        for name, least in (("seed", 0), ("tickers", 1), ("bars", 1)):
            if getattr(self, name) < least:
                raise DemoMarketError(f"the shape market's {name} is {getattr(self, name)}; allowed: {least} or more")
        if not 0 <= self.edge < np.inf:
            raise DemoMarketError(f"the shape market's edge is {self.edge}; allowed: 0 or more, and finite")
        if pd.isna(pd.to_datetime(self.start, errors="coerce", utc=True)):
            raise DemoMarketError(f"the shape market's start is {self.start!r}; the form is 2021-01-01")


def names(market: ShapeMarket) -> list[str]:
    """Canonical tickers of the market."""
    return [f"demo:SHAPE{number:02d}USDT" for number in range(1, market.tickers + 1)]


def bars(market: ShapeMarket, ticker: str) -> pd.DataFrame:
    """Candles of one ticker: open, high, low, close and volume by time, without a gap.

    Raises
    ------
    DemoMarketError
        If the market has no such ticker.
    """
    number = _number(market, ticker)
    course = demo.walk(market, number)
    louder = np.zeros(market.bars)
    ends, kinds, sizes = _plantings(market, number)
    for kind, shape in enumerate(SHAPES):
        chosen = kinds == kind
        at, which, bar = _rows(ends[chosen] - LENGTH, LENGTH, market.bars)
        noise = shape.noises()[bar]
        course.moves[at] = noise * course.moves[at] + course.level * sizes[chosen][which] * shape.moves()[bar]
        course.volatility[at] *= noise
        # the walk's volume follows its volatility, a shape's only its own corners
        louder[at] = shape.louder()[bar] - np.log(noise)
        after, _, _ = _rows(ends[chosen], FOLLOWING, market.bars)
        course.moves[after] += shape.follows * market.edge * DRIFT / FOLLOWING
    return demo.candles(market, number, course, louder)


def planted(market: ShapeMarket, ticker: str) -> pd.Series:
    """Kind of the shape that ends with each bar: 0 none, k the k-th of ``SHAPES`` (int8 by time).

    Raises
    ------
    DemoMarketError
        If the market has no such ticker.
    """
    ends, kinds, _ = _plantings(market, _number(market, ticker))
    whole = ends <= market.bars
    kind = np.zeros(market.bars, dtype=np.int8)
    kind[ends[whole] - 1] = kinds[whole] + 1
    return pd.Series(kind, index=demo.times(market), name="planted")


def _number(market: ShapeMarket, ticker: str) -> int:
    known = names(market)
    if ticker not in known:
        raise DemoMarketError(f"the shape market has no ticker {ticker!r}; it has {known[0]} … {known[-1]}")
    return known.index(ticker) + 1


def _plantings(market: ShapeMarket, number: int) -> tuple[Positions, NDArray[np.int64], Floats]:
    """Return the bar after each shape's last, its kind from 0, and its size; the last may end after the market does."""
    if not market.shapes:
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64), np.empty(0)
    beyond = market.bars + LENGTH
    ends = demo.occurrences(demo.stream(market, number, _Stream.ENDS), beyond, SPACING, _LEAST_SPACING)
    kinds = demo.stream(market, number, _Stream.KINDS).integers(len(SHAPES), size=len(ends))
    sizes = demo.stream(market, number, _Stream.SIZES).uniform(*_SIZES, size=len(ends))
    return ends, kinds, sizes


def _rows(first: Positions, count: int, length: int) -> tuple[Positions, Positions, Positions]:
    """Return the rows of stretches of ``count`` as far as the market goes, and of each its stretch and place."""
    rows = first[:, np.newaxis] + np.arange(count)
    which, place = np.nonzero(rows < length)
    return rows[which, place], which, place


def _between(corners: Knots, bar: NDArray[np.int64]) -> Floats:
    at, values = zip(*corners, strict=True)
    return np.asarray(np.interp(bar, at, values), dtype=np.float64)
