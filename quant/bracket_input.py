"""What both the reference and the engine are given: policies, bars and signals, checked."""

from numbers import Integral
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from quant.parameters import BracketError

Policy = Literal["reverse", "exclusive", "stack"]
POLICIES: tuple[Policy, ...] = get_args(Policy)

PRICES = ["open", "high", "low", "close"]


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


def candles(bars: pd.DataFrame) -> pd.DataFrame:
    """Prices of the bars as float64: columns open, high, low, close, indexed by strictly increasing times.

    Raises
    ------
    BracketError
        Naming the column, the time and the value that is not as needed.
    """
    missing = [column for column in PRICES if column not in bars.columns]
    if missing:
        raise BracketError(f"bars lack the column {missing[0]!r}; needed: {', '.join(PRICES)}")
    index = bars.index
    if len(bars) < 2:
        raise BracketError(f"bars have {len(bars)} row(s); needed: 2 or more, one to decide on and one to act on")
    if not isinstance(index, pd.DatetimeIndex) or index.hasnans or not (np.diff(index.asi8) > 0).all():
        raise BracketError(f"bars are indexed by {type(index).__name__}; needed: strictly increasing times")
    prices = bars[PRICES].astype(np.float64)
    found = prices.to_numpy()
    if not (found.min() > 0 and found.max() < np.inf):
        bad = ~(np.isfinite(found) & (found > 0))
        row, column = np.argwhere(bad)[0]
        raise BracketError(
            f"bars hold {PRICES[column]} = {found[row, column]} at {index[row]}; allowed: finite prices above 0"
        )
    return prices


def values(bars: pd.DataFrame, signal: pd.Series | np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.int8]]:
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
    column = pd.Series(signal)
    wanted = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    bad = ~np.isin(wanted, (0, 1, 2))
    if bad.any():
        row = int(np.argmax(bad))
        raise BracketError(f"the signal is {column.iloc[row]} at {bars.index[row]}; allowed: 0 none, 1 long, 2 short")
    return wanted.astype(np.int8)
