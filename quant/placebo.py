"""Placebos: signals and bars in which there is nothing to find, and which look like the real ones otherwise.

The same search on them shows how much it finds by luck alone.
"""

import math

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import expit

from quant.bars import PRICES
from quant.samplers import ticker_seed

FARTHEST = math.log(1e6)  # how far a walk may go from its first price either way, as a logarithm

_SIGNALS = (0, 1, 2)

Floats = npt.NDArray[np.float64]


class PlaceboError(ValueError):
    """Signals, bars or settings that no placebo can be made of."""


def seeds(base: int, ticker: str, count: int) -> list[int]:
    """Return the seeds of a ticker's placebos, 0 … 2⁶³ − 1.

    They rest on the ticker's own seed, :func:`quant.samplers.ticker_seed`; the first of many are those of few.

    Raises
    ------
    PlaceboError
        If ``count`` is not a whole number from 0.
    """
    _check_whole("the number of placebos", count, 0)
    own = ticker_seed(base, ticker)
    return [ticker_seed(own, f"placebo {number}") for number in range(count)]


def shuffled_signal(signal: pd.Series, block: int, seed: int) -> pd.Series:
    """Return the signals at other times: turned by a random number of bars, cut into blocks, the blocks permuted.

    Every signal is kept, and so are the runs and the pauses within a block; what the signals know of the prices at
    their time is lost as soon as they know less than a block ahead. The last block is shorter where the length is no
    multiple of ``block``; with a single block, the signals are turned only.

    Parameters
    ----------
    signal
        Series of 0 (none), 1 (long) and 2 (short), a row a bar; it is not changed.
    block
        Bars a block, 1 or more: several times the pauses between signals, and far below the length of the series.
    seed
        Whole, 0 or more; equal seeds give equal signals.

    Returns
    -------
    Series of the index, the name and the dtype of ``signal``.

    Raises
    ------
    PlaceboError
        If ``block`` or ``seed`` is out of range, or a signal is not 0, 1 or 2.
    """
    _check_whole("block", block, 1)
    _check_whole("seed", seed, 0)
    values = signal.to_numpy()
    foreign = ~np.isin(values, _SIGNALS)
    if foreign.any():
        raise PlaceboError(f"signal holds {values[foreign][0]!r}; allowed: 0, 1 and 2")
    generator = np.random.default_rng(seed)
    turned = np.roll(values, generator.integers(max(len(values), 1)))
    blocks = [turned[first : first + block] for first in range(0, len(turned), block)]
    shuffled = [blocks[number] for number in generator.permutation(len(blocks))]
    return pd.Series(np.concatenate([values[:0], *shuffled]), index=signal.index, name=signal.name)


def random_walk(bars: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Return bars whose every move goes up or down by chance, as far as the real bar's moved.

    The bar as a whole is kept or mirrored at the close before it, on the logarithmic scale: open, high, low and close
    together, so that gaps, ranges and the size of every return, hence the clustering of volatility, are those of the
    asset. A move of size a goes up with probability 1 / (1 + exp(a)), a little less than one half: then the price
    expected after it is the price before, and what is held from one close to a later one, long or short, gains nothing
    on average. An even coin would pay the long side σ²/2 a bar, a Sharpe ratio of 0.5 at a volatility of 100 % a year.

    What is in the bar stays in it: a gap that tends to close by the end of its bar still does, and a target that the
    wicks of the asset reach is reached as often. Where the walk would leave a millionth to a million times its first
    price, which takes squared returns that add up to about twenty, the sign that leads back is taken.

    Parameters
    ----------
    bars
        open, high, low and close above 0, the high above and the low below the other two or equal; in time order.
        Not changed.
    seed
        Whole, 0 or more; equal seeds give equal bars.

    Returns
    -------
    Bars of the same index and the same first open; volume and other columns are those of ``bars``.

    Raises
    ------
    PlaceboError
        If ``seed`` is out of range, a column is missing, or prices are not as described.
    """
    _check_whole("seed", seed, 0)
    opens, highs, lows, closes = _prices(bars)
    walk = bars.copy()
    if bars.empty:
        return walk
    before = np.append(opens[0], closes[:-1])  # the first bar is mirrored at its own open
    gap, up, down, move = (np.log(price / before) for price in (opens, highs, lows, closes))
    rises = np.random.default_rng(seed).random(len(bars)) < expit(-np.abs(move))
    steps = _within_reach(np.where(rises, np.abs(move), -np.abs(move)))
    kept = np.where(move == 0, rises, np.sign(steps) == np.sign(move))
    level = np.append(0.0, np.cumsum(steps))

    def price(from_before: Floats) -> Floats:
        return np.asarray(opens[0] * np.exp(level[:-1] + from_before))

    walk["open"] = price(np.where(kept, gap, -gap))
    walk["close"] = opens[0] * np.exp(level[1:])
    # rounding must not leave the open or the close beyond the high or the low
    walk["high"] = np.maximum(price(np.where(kept, up, -down)), walk[["open", "close"]].max(axis=1))
    walk["low"] = np.minimum(price(np.where(kept, down, -up)), walk[["open", "close"]].min(axis=1))
    return walk


def _within_reach(steps: Floats) -> Floats:
    """Return the steps with those turned round that would lead too far from where the walk began."""
    if np.abs(np.cumsum(steps)).max() <= FARTHEST:
        return steps
    level, turned = 0.0, steps.tolist()
    for number, step in enumerate(turned):
        if abs(level + step) > FARTHEST and abs(level - step) < abs(level + step):
            turned[number] = -step
        level += turned[number]
    return np.array(turned)


def _prices(bars: pd.DataFrame) -> tuple[Floats, Floats, Floats, Floats]:
    missing = [name for name in PRICES if name not in bars.columns]
    if missing:
        raise PlaceboError(f"bars lack {', '.join(missing)}; they have {', '.join(map(str, bars.columns))}")
    opens, highs, lows, closes = (bars[name].to_numpy(np.float64) for name in PRICES)
    sound = (lows > 0) & (lows <= np.minimum(opens, closes)) & (highs >= np.maximum(opens, closes)) & (highs < np.inf)
    if not sound.all():
        worst = bars.loc[~sound, list(PRICES)].iloc[0]
        raise PlaceboError(
            f"the bar at {worst.name} has {', '.join(f'{name} {worst[name]}' for name in PRICES)}; "
            "allowed: 0 < low ≤ open, close ≤ high, all finite"
        )
    return opens, highs, lows, closes


def _check_whole(what: str, value: object, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise PlaceboError(f"{what} is {value!r}; allowed: whole numbers from {least}")
