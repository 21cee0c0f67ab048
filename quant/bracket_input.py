"""What both the reference and the engine are given: policies, bars and signals, checked, and the filter by trend."""

from itertools import pairwise
from numbers import Integral
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
import talib
from numpy.typing import NDArray

from quant.parameters import BracketError

Policy = Literal["reverse", "exclusive", "stack"]
POLICIES: tuple[Policy, ...] = get_args(Policy)

PRICES = ["open", "high", "low", "close"]
TREND_PERIODS = (22, 55, 108)


def check_policy(policy: str, limit_bars: int) -> None:
    """Refuse a policy or a number of bars that no order can wait for.

    Raises
    ------
    BracketError
        Naming what is allowed.
    """
    if policy not in POLICIES:
        raise BracketError(f"policy is {policy!r}; allowed: {', '.join(POLICIES)}")
    if not isinstance(limit_bars, Integral) or limit_bars < 1:
        raise BracketError(f"limit_bars is {limit_bars!r}; allowed: a whole number, 1 or more")


def prices(bars: pd.DataFrame) -> tuple[NDArray[np.float64], ...]:
    """Open, high, low and close of the bars, each contiguous.

    Raises
    ------
    BracketError
        If a column is missing, the index is not of strictly increasing times, or a price is not finite and above 0.
    """
    missing = [column for column in PRICES if column not in bars.columns]
    if missing:
        raise BracketError(f"bars lack the column {missing[0]!r}; needed: {', '.join(PRICES)}")
    index = bars.index
    if len(bars) < 2:
        raise BracketError(f"bars have {len(bars)} row(s); needed: 2 or more, one to decide on and one to act on")
    if not isinstance(index, pd.DatetimeIndex) or index.hasnans or not (np.diff(index.asi8) > 0).all():
        raise BracketError(f"bars are indexed by {type(index).__name__}; needed: strictly increasing times")
    # copies: what pandas hands out may be read-only, for which everything would be compiled once more
    found = tuple(np.array(bars[column], dtype=np.float64) for column in PRICES)
    for column, values in zip(PRICES, found, strict=True):
        if not (values.min() > 0 and values.max() < np.inf):
            row = int(np.argmin(np.isfinite(values) & (values > 0)))
            raise BracketError(f"bars hold {column} = {values[row]} at {index[row]}; allowed: finite prices above 0")
    return found


def signals(bars: pd.DataFrame, signal: pd.Series | np.ndarray[Any, Any]) -> NDArray[np.int8]:
    """Signal of each bar: 0 none, 1 long, 2 short.

    Raises
    ------
    BracketError
        If there is not one for each bar, a series has another index, or a value is none of the three.
    """
    if len(signal) != len(bars):
        raise BracketError(f"the signal has {len(signal)} values and the bars have {len(bars)} rows; needed: one each")
    if isinstance(signal, pd.Series) and not signal.index.equals(bars.index):
        pairs = enumerate(zip(signal.index, bars.index, strict=True))
        row = next((row for row, (given, needed) in pairs if given != needed), 0)
        raise BracketError(
            f"the signal is indexed by {signal.index[row]!r} in row {row}, where the bars are by {bars.index[row]!r}; "
            "needed: the index of the bars"
        )
    if isinstance(signal, np.ndarray) and signal.dtype == np.int8 and signal.min() >= 0 and signal.max() <= 2:
        return signal.copy()
    column = pd.Series(signal)
    wanted = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    bad = ~np.isin(wanted, (0, 1, 2))
    if bad.any():
        row = int(np.argmax(bad))
        raise BracketError(f"the signal is {column.iloc[row]} at {bars.index[row]}; allowed: 0 none, 1 long, 2 short")
    return wanted.astype(np.int8)


def trend_filter(bars: pd.DataFrame, signal: pd.Series | np.ndarray[Any, Any]) -> pd.Series:
    """Return the signal without entries against the trend: the article's EMA filter.

    A long needs close > EMA(22) > EMA(55) > EMA(108), a short the mirror image, all at the deciding close;
    other signals become 0. EMAs are TA-Lib's, so the first 107 bars have none and no signal passes.

    Raises
    ------
    BracketError
        If bars or signal are not as :func:`prices` and :func:`signals` need them.
    """
    close = prices(bars)[-1]
    ladder = [close, *(talib.EMA(close, timeperiod=period) for period in TREND_PERIODS)]
    rising = np.logical_and.reduce([above > below for above, below in pairwise(ladder)])
    falling = np.logical_and.reduce([above < below for above, below in pairwise(ladder)])
    wanted = signals(bars, signal)
    passes = ((wanted == 1) & rising) | ((wanted == 2) & falling)
    return pd.Series(np.where(passes, wanted, 0).astype(np.int8), index=bars.index, name="signal")
