"""Figures of a backtest, computed from backtesting.py's trades and equity curve.

Risk figures are of **daily** returns, at the end of each UTC day from the first to the last, and annualised
by 365: a day without bars has a return of 0, so the year is the calendar's for every market. The first
return is measured against the starting cash, so the daily returns multiply to the total return; the first
and last day count as days even where the part covers only a piece of them.

This differs from backtesting.py's own figures in four ways: its Sharpe ratio is the geometric annual return
over a compounded volatility, ours is mean over standard deviation times √365, the quantity whose sampling
error is known (Lo 2002, "The Statistics of Sharpe Ratios"); its Sortino ratio is geometric likewise; it
annualises by 365 or 252 by the share of weekends and leaves out days without bars; and it drops the first
day's return. Trade figures are its own. What is undefined (a ratio without losses, a win rate
without trades) is NaN, never infinite.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

DAYS_A_YEAR = 365


def figures(stats: Mapping[str, Any] | pd.Series) -> dict[str, float | int]:
    """Return the columns ``quant.schemas.FIGURES`` of one run.

    Only closed trades are listed: an open last trade counts in the equity and in nothing else here. Run
    :func:`quant.bracket.reference` with ``close_at_end`` to have it listed and its exit charged.

    Parameters
    ----------
    stats
        What :func:`quant.bracket.reference` returns; its equity starts at the cash.

    Returns
    -------
    figures
        ``trades`` is an int, the rest are floats in the units of the schema. ``profit_factor`` and
        ``expectancy`` are of trade returns, as in backtesting.py, so that every trade weighs the same
        whatever the equity was.
    """
    equity: pd.Series = stats["_equity_curve"]["Equity"]
    trades: pd.DataFrame = stats["_trades"]
    total_return = float(equity.iloc[-1] / equity.iloc[0] - 1)
    returns = daily_returns(daily_equity(equity)).to_numpy()
    mean, days = float(returns.mean()), len(returns)
    deviation = float(returns.std(ddof=1)) if days > 1 else math.nan
    downside = math.sqrt(float(np.mean(np.minimum(returns, 0.0) ** 2)))
    trade_returns = trades["ReturnPct"].to_numpy(dtype=np.float64)
    return {
        "trades": len(trades),
        "total_return": total_return,
        "annual_return": _annual_return(total_return, days),
        "annual_volatility": deviation * math.sqrt(DAYS_A_YEAR),
        "sharpe": _ratio(mean, deviation) * math.sqrt(DAYS_A_YEAR),
        "sortino": _ratio(mean, downside) * math.sqrt(DAYS_A_YEAR),
        "max_drawdown": float((equity / equity.cummax() - 1).min()),
        "win_rate": _mean(trades["PnL"].to_numpy(dtype=np.float64) > 0),
        "profit_factor": _ratio(
            float(trade_returns[trade_returns > 0].sum()), -float(trade_returns[trade_returns < 0].sum())
        ),
        "expectancy": _mean(trade_returns),
        "exposure": float(stats["Exposure Time [%]"]) / 100,
        "commission": float(trades["Commission"].sum()),
    }


def daily_equity(equity: pd.Series) -> pd.Series:
    """Return the equity at the end of each UTC day as a multiple of its first value.

    Parameters
    ----------
    equity
        Equity at the close of each bar, or the ``stats`` that hold it. Its first value is the starting
        cash, which holds for backtesting.py's curve since nothing can be open on the first bar. Naive
        times are taken as UTC.

    Returns
    -------
    multiple
        Indexed by the days, each by its start, from the first to the last without a gap; a day without
        bars keeps the equity of the day before.
    """
    curve = equity if isinstance(equity.index, pd.DatetimeIndex) else equity["_equity_curve"]["Equity"]
    return _by_day(curve / curve.iloc[0])


def daily_returns(multiple: pd.Series) -> pd.Series:
    """Return the daily returns of a :func:`daily_equity`, the first against the starting cash.

    After the equity has become 0 the returns are 0.
    """
    before = multiple.shift(fill_value=1.0)
    return (multiple / before - 1).fillna(0.0)


def buy_and_hold(bars: pd.DataFrame, commission: float) -> pd.Series:
    """Return the equity of holding the asset from the first open to the last close, as :func:`daily_equity` does.

    The asset is bought in fractions of a unit with all cash at the first open and sold at the last close;
    ``commission`` (a fraction of the value) is paid both times.
    """
    units = 1 / (bars["open"].iloc[0] * (1 + commission))
    equity = units * bars["close"]
    equity.iloc[-1] *= 1 - commission
    return _by_day(equity)


def trades_frame(trades: pd.DataFrame, times: pd.DatetimeIndex) -> pd.DataFrame:
    """Return the closed trades of one run with the columns of ``quant.schemas.TRADES``, in order of exit.

    Parameters
    ----------
    trades
        As :func:`quant.engine.replay` returns them.
    times
        Those of the bars that the run was given.
    """
    trades = trades.sort_values(["exit_bar", "entry_bar"], kind="stable")
    value = trades["size"].abs() * trades["entry_price"]
    return pd.DataFrame(
        {
            "number": np.arange(len(trades), dtype=np.int64),
            "side": pd.Series(np.where(trades["size"] > 0, "long", "short"), dtype="str").array,
            "size": trades["size"].to_numpy(),
            "entry_time": times.take(trades["entry_bar"].to_numpy(dtype=np.intp)),
            "exit_time": times.take(trades["exit_bar"].to_numpy(dtype=np.intp)),
            "entry_price": trades["entry_price"].to_numpy(),
            "exit_price": trades["exit_price"].to_numpy(),
            "pnl": trades["pnl"].to_numpy(),
            "commission": trades["commission"].to_numpy(),
            "trade_return": (trades["pnl"] / value).to_numpy(),
            "funding": trades["funding"].to_numpy(),
            "exit": pd.Series(trades["exit"].to_numpy(), dtype="str").array,
        }
    )


def _by_day(multiple: pd.Series) -> pd.Series:
    index = multiple.index
    if isinstance(index, pd.DatetimeIndex) and index.tz is not None:
        multiple = multiple.tz_convert("UTC")
    days = multiple.resample("D").last().ffill()
    return days.rename_axis("time").rename("equity")


def _annual_return(total_return: float, days: int) -> float:
    try:
        return math.pow(1 + total_return, DAYS_A_YEAR / days) - 1
    except OverflowError:  # a large return within a few days has no meaningful yearly rate
        return math.nan


def _ratio(numerator: float, denominator: float) -> float:
    return numerator / denominator if denominator > 0 else math.nan


def _mean(values: np.ndarray[Any, Any]) -> float:
    return float(values.mean()) if len(values) else math.nan
