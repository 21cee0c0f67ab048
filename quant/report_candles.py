"""Candles and trades of one ticker as the report draws them: few enough to draw, small enough to be in the page."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from quant.schemas import TRADES

MOST = 1_500
"""Candles that are drawn of a ticker: of a longer stretch each stands for several bars."""
MOST_TRADES = 400
"""Trades that are drawn of a ticker, the latest: more would hide each other, and make the page too large to open."""
PRICES = ("open", "high", "low", "close")
DIGITS = 5  # of the lowest price, so that no price is off by more than 0.005 %


@dataclass(frozen=True, eq=False)
class Picture:
    """What is drawn of one ticker on the judge part.

    Parameters
    ----------
    candles
        ``PRICES`` by time of the first bar (UTC), ``MOST`` rows at most.
    bars
        Bars that a candle stands for; the last may have fewer.
    trades
        ``schemas.TRADES``, the ``MOST_TRADES`` that ended last.
    traded
        How many there were.
    """

    candles: pd.DataFrame
    bars: int
    trades: pd.DataFrame
    traded: int


def picture(bars: pd.DataFrame, trades: pd.DataFrame, most: int = MOST) -> Picture:
    """Candles of equally many bars each, at most ``most``, and the latest trades as they were.

    Parameters
    ----------
    bars
        ``schemas.BARS`` by time. Gaps are not filled: the bars of a candle are those that there are.
    trades
        ``schemas.TRADES``, in order of exit.
    """
    each = max(1, math.ceil(len(bars) / most))
    groups = bars[list(PRICES)].groupby(np.arange(len(bars)) // each)
    candles = groups.agg({"open": "first", "high": "max", "low": "min", "close": "last"})
    latest = trades[[column.name for column in TRADES.columns]].tail(MOST_TRADES)
    return Picture(candles.set_axis(bars.index[::each]), each, latest, len(trades))


def compact(drawn: Picture) -> dict[str, Any]:
    """The picture as whole numbers that compress well, for the browser to add up.

    Prices are counted in units of ``10 ** -digits``: each open from the close before it, each close likewise, each high
    and low from the body of its candle. Times are seconds, those of candles and entries from the one before.
    """
    candles, trades = drawn.candles, drawn.trades
    if candles.empty:
        return {"candles": None, "trades": None, "traded": drawn.traded, "bars": drawn.bars}
    prices = {name: candles[name].to_numpy(np.float64) for name in PRICES}
    digits = DIGITS - 1 - math.floor(math.log10(prices["low"].min()))
    units = {name: np.round(values * 10.0**digits).astype(np.int64) for name, values in prices.items()}
    before = np.concatenate([[0], units["close"][:-1]])
    body = np.sort([units["open"], units["close"]], axis=0)
    entries = _seconds(trades["entry_time"])
    return {
        "bars": drawn.bars,
        "traded": drawn.traded,
        "candles": {
            "digits": digits,
            "time": _changes(_seconds(candles.index.to_series())),
            "open": (units["open"] - before).tolist(),
            "close": (units["close"] - before).tolist(),
            "high": (units["high"] - body[1]).tolist(),
            "low": (body[0] - units["low"]).tolist(),
        },
        "trades": {
            "side": trades["side"].tolist(),
            "entry": _changes(entries),
            "held": (_seconds(trades["exit_time"]) - entries).tolist(),
            "entry_price": _shortened(trades["entry_price"], 7),
            "exit_price": _shortened(trades["exit_price"], 7),
            "return": _shortened(trades["trade_return"], 4),
            "exit": trades["exit"].tolist(),
        },
    }


def _seconds(moments: "pd.Series[Any]") -> np.ndarray[Any, np.dtype[np.int64]]:
    return pd.DatetimeIndex(moments).as_unit("s").asi8


def _changes(numbers: np.ndarray[Any, np.dtype[np.int64]]) -> list[int]:
    changes: list[int] = np.diff(numbers, prepend=0).tolist()
    return changes


def _shortened(values: "pd.Series[Any]", digits: int) -> list[float]:
    return [float(f"{value:.{digits}g}") for value in values]
