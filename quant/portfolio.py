"""The picks together: their combined equity, how alike they are, and how much money they could take."""

import math

import numpy as np
import pandas as pd

from quant.statistics import DAYS, max_drawdown, sharpe

MOST = 300
"""Picks whose correlations are told: their pairs grow with the square, and nobody reads more."""
MODEST_SHARE = 0.01
"""Share of a bar's traded value that an entry may take before it is thought to move the price."""


def equal_weights(returns: pd.DataFrame) -> pd.DataFrame:
    """Return the equity of holding all picks with equal weights, set back every day.

    Parameters
    ----------
    returns
        Daily returns, a column a pick, indexed by day; NaN where a pick was not traded yet.

    Returns
    -------
    DataFrame
        Columns of ``quant.schemas.PORTFOLIO``: ``equity`` as a multiple of the start, ``drawdown`` from the highest
        equity so far as a negative fraction, and how many ``members`` the day had. Empty without picks.
    """
    daily = returns.mean(axis=1).fillna(0.0)
    equity = (1 + daily).cumprod()
    highest = equity.cummax().clip(lower=1.0)
    return pd.DataFrame(
        {"equity": equity, "drawdown": equity / highest - 1, "members": returns.notna().sum(axis=1).astype("int64")}
    )


def correlations(returns: pd.DataFrame) -> pd.DataFrame:
    """Return the correlation of the daily returns of every two of the first `MOST` picks, over the days of both.

    Returns
    -------
    DataFrame
        Columns of ``quant.schemas.CORRELATIONS``, a row a pair; NaN where one of the two has no spread.
    """
    table = returns.iloc[:, :MOST].corr(min_periods=3)
    one, other = np.triu_indices(len(table), k=1)
    return pd.DataFrame(
        {"ticker": table.index[one], "other": table.index[other], "correlation": table.to_numpy()[one, other]}
    )


def summary(returns: pd.DataFrame) -> dict[str, float]:
    """Return return, Sharpe ratio and drawdown of the combined equity, and the mean correlation of the first `MOST`."""
    if not len(returns.columns):
        return {}
    combined = equal_weights(returns)
    equity = combined["equity"].to_numpy()
    pairs = correlations(returns)["correlation"]
    return {
        "total_return": float(equity[-1] - 1),
        "sharpe": sharpe(returns.mean(axis=1).fillna(0.0), DAYS),
        "max_drawdown": max_drawdown(np.append(1.0, equity)),
        "mean_correlation": float(pairs.mean()) if len(pairs) else math.nan,
    }


def capacity(trades: pd.DataFrame, bars: pd.DataFrame, cash: float) -> float:
    """Return the starting cash with which half of the entries would take at most 1 % of the value traded in their bar.

    The value of an entry grows with the cash, so one run tells it for all; where units are whole and dear it is rough.

    Parameters
    ----------
    trades
        As :func:`quant.engine.replay` returns them.
    bars
        Those of the run, with close and volume (base currency).
    cash
        The starting cash of the run.

    Returns
    -------
    In quote currency; NaN without trades, or where no bar of an entry has volume.
    """
    traded = (bars["close"] * bars["volume"]).to_numpy()[trades["entry_bar"].to_numpy(dtype=np.intp)]
    value = (trades["size"].abs() * trades["entry_price"]).to_numpy()
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = np.where(traded > 0, value / traded, np.nan)
    known = shares[np.isfinite(shares) & (shares > 0)]
    return float(cash * MODEST_SHARE / np.median(known)) if len(known) else math.nan
