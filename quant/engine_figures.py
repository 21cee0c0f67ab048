"""Figures from the sums that the compiled loops leave of a run: backtesting.py's, and those of `quant.metrics`."""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from quant import engine_kernels as kernels
from quant.statistics import DAYS as DAYS_A_YEAR

WEEK, MONTH, YEAR = 7, 31, 365  # days of a bar for which backtesting.py resamples by week, month and year
_FREQUENCIES = {WEEK: "W", MONTH: "ME", YEAR: "YE"}
_A_YEAR = {WEEK: 52, MONTH: 12, YEAR: 1}
_SATURDAY, _DAY_0 = 5, 3  # weekdays from Monday; day 0 of the epoch was a Thursday


class Calendar(NamedTuple):
    """What the figures need to know of the times of the bars.

    ``day_ends`` are the positions of the last bar of each day (week, month, year for bars as long), ``days_a_year``
    how many of them make a year, and ``step`` is what durations are rounded up to, in units of the index.
    """

    times: NDArray[np.int64]
    day_ends: NDArray[np.int64]
    days_a_year: int
    step: int


def calendar(index: pd.DatetimeIndex) -> Calendar:
    """Calendar of the bars, as backtesting.py derives it: the length of a bar is the median of the last hundred."""
    times = index.asi8.copy()
    last = np.diff(times[-100:])
    length = pd.Timedelta(np.timedelta64(int(np.median(last)), index.unit))
    day = index.tz_localize(None).asi8 // _in_units(pd.Timedelta(days=1), index)
    weekends = ((day + _DAY_0) % 7 >= _SATURDAY).mean() > 2 / 7 * 0.6
    frequency = _FREQUENCIES.get(length.days)
    if frequency is None:
        ends = np.append(np.flatnonzero(np.diff(day)), len(index) - 1)
    else:
        positions = pd.Series(np.arange(len(index)), index=index).resample(frequency).last()
        ends = positions.dropna().to_numpy(dtype=np.int64)
    step = pd.Timedelta(f"1{length.resolution_string}")
    return Calendar(times, ends, _A_YEAR.get(length.days, 365 if weekends else 252), _in_units(step, index))


def metrics_calendar(index: pd.DatetimeIndex) -> Calendar:
    """Calendar of `quant.metrics`: UTC days from the first to the last, the first return against the starting cash."""
    day = index.asi8 // _in_units(pd.Timedelta(days=1), index)
    ends = np.append(np.flatnonzero(np.diff(day)), len(index) - 1)
    # the cash holds at bar 0; a day that ends there has a return of 0, as all days without bars
    return Calendar(index.asi8.copy(), np.append(0, ends[ends > 0]), DAYS_A_YEAR, 1)


def on_every_day(changes: NDArray[np.float64], days: Calendar, index: pd.DatetimeIndex) -> NDArray[np.float64]:
    """Put the changes between the day ends of :func:`metrics_calendar` on all days from the first to the last.

    Parameters
    ----------
    changes
        Runs × (day ends − 1).

    Returns
    -------
    Runs × days, 0 on days without bars.
    """
    number = index.asi8[days.day_ends] // _in_units(pd.Timedelta(days=1), index)
    first, last = number[0], number[-1]
    if len(number) - 1 == last - first + 1:
        return changes
    returns = np.zeros((len(changes), int(last - first) + 1))
    returns[:, number[1:] - first] = changes
    return returns


def metrics_figures(sums: NDArray[np.float64], index: pd.DatetimeIndex, cash: float) -> dict[str, NDArray[Any]]:
    """The columns `quant.schemas.FIGURES`, by the definitions of `quant.metrics`, of each row of sums.

    Parameters
    ----------
    sums
        Runs × `quant.engine_kernels.SUMS`, over the days of :func:`metrics_calendar`.
    index
        Times of the bars.
    cash
        Equity at the start.
    """
    run = {name: sums[:, column] for column, name in enumerate(kernels.SUMS)}
    day = _in_units(pd.Timedelta(days=1), index)
    days = int(index.asi8[-1] // day - index.asi8[0] // day) + 1
    changes, year = run["day_changes"], np.sqrt(DAYS_A_YEAR)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        mean = run["day_mean"] * changes / days
        around = np.where(changes > 1, run["day_variance"] * (changes - 1), 0.0)
        squares = around + changes * run["day_mean"] ** 2 - days * mean**2
        deviation = np.sqrt(np.maximum(squares, 0.0) / (days - 1)) if days > 1 else np.full(len(sums), np.nan)
        downside = np.sqrt(run["day_downside"] * changes / days)
        total = run["equity_final"] / cash - 1
        annual = (1 + total) ** (DAYS_A_YEAR / days) - 1
        return {
            "trades": run["trades"].astype(np.int64),
            "total_return": total,
            "annual_return": np.where(np.isinf(annual), np.nan, annual),
            "annual_volatility": deviation * year,
            "sharpe": _ratio(mean, deviation) * year,
            "sortino": _ratio(mean, downside) * year,
            "max_drawdown": -run["max_drawdown"],
            "win_rate": _ratio(run["wins"], run["trades"]),
            "profit_factor": _ratio(run["return_won"], -run["return_lost"]),
            "expectancy": _ratio(run["return_sum"], run["trades"]),
            "exposure": run["bars_held"] / len(index),
            "commission": run["commission"],
        }


def _ratio(numerator: NDArray[np.float64], denominator: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(denominator > 0, numerator / denominator, np.nan)


def figures(
    sums: NDArray[np.float64],
    index: pd.DatetimeIndex,
    days: Calendar,
    close: NDArray[np.float64],
    cash: float,
) -> dict[str, Any]:
    """Figures of backtesting.py, under its own names, of each row of sums.

    Left out are ``Alpha [%]`` and ``Beta``, which need two logarithms a bar, and ``_strategy``.

    Parameters
    ----------
    sums
        Runs × `quant.engine_kernels.SUMS`.
    index, days
        Times of the bars, and what :func:`calendar` makes of them.
    close
        Their closing prices.
    cash
        Equity at the start.

    Returns
    -------
    figures
        By backtesting.py's names, an array over the runs or one value for all of them: percentages where it has them,
        durations as timedeltas rounded up to the resolution of a bar. Where a run has no drawdown longer than its last
        bar, backtesting.py puts that drawdown itself into the durations; here they are NaT.
    """
    run = {name: sums[:, column] for column, name in enumerate(kernels.SUMS)}
    year = days.days_a_year
    span = index[-1] - index[0]
    years = (span.days + span.seconds / 86400) / 365.25
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        day = np.where(np.isneginf(run["day_log"]), 0.0, np.exp(run["day_log"]) - 1)
        annual = (1 + day) ** year - 1
        volatility = np.sqrt((run["day_variance"] + (1 + day) ** 2) ** year - (1 + day) ** (2 * year))
        trades = run["trades"]
        win_rate = run["wins"] / trades
        growth = np.where(np.isneginf(run["return_log"]), 0.0, np.exp(run["return_log"] / trades) - 1)
        deviation = np.sqrt(run["pnl_squares"] / (trades - 1))
        columns: dict[str, Any] = {
            "Start": index[0],
            "End": index[-1],
            "Duration": span,
            "Exposure Time [%]": run["bars_held"] / len(index) * 100,
            "Equity Final [$]": run["equity_final"],
            "Equity Peak [$]": run["equity_peak"],
            "Commissions [$]": run["commission"],
            "Return [%]": (run["equity_final"] - cash) / cash * 100,
            "Buy & Hold Return [%]": (close[-1] - close[0]) / close[0] * 100,
            "Return (Ann.) [%]": annual * 100,
            "Volatility (Ann.) [%]": volatility * 100,
            "CAGR [%]": ((run["equity_final"] / cash) ** (1 / years) - 1) * 100 if years else np.nan,
            "Sharpe Ratio": annual * 100 / _or_nan(volatility * 100),
            "Sortino Ratio": annual / (np.sqrt(run["day_downside"]) * np.sqrt(year)),
            "Calmar Ratio": annual / _or_nan(run["max_drawdown"]),
            "Max. Drawdown [%]": -run["max_drawdown"] * 100,
            "Avg. Drawdown [%]": -_average_drawdown(run) * 100,
            "Max. Drawdown Duration": _durations(run["drawdown_duration_max"], run["drawdown_count"], index, days.step),
            "Avg. Drawdown Duration": _durations(
                run["drawdown_duration_sum"] / run["drawdown_count"], run["drawdown_count"], index, days.step
            ),
            "# Trades": trades.astype(np.int64),
            "Win Rate [%]": win_rate * 100,
            "Best Trade [%]": np.where(trades > 0, run["return_best"], np.nan) * 100,
            "Worst Trade [%]": np.where(trades > 0, run["return_worst"], np.nan) * 100,
            "Avg. Trade [%]": growth * 100,
            "Max. Trade Duration": _durations(run["duration_max"], trades, index, days.step),
            "Avg. Trade Duration": _durations(run["duration_sum"] / trades, trades, index, days.step),
            "Profit Factor": run["return_won"] / _or_nan(np.abs(run["return_lost"])),
            "Expectancy [%]": run["return_sum"] / trades * 100,
            "SQN": np.sqrt(trades) * np.where(trades > 0, run["pnl_mean"], np.nan) / _or_nan(deviation),
            "Kelly Criterion": win_rate
            - (1 - win_rate) / ((run["pnl_won"] / run["wins"]) / -(run["pnl_lost"] / run["losses"])),
        }
    return columns


def _average_drawdown(run: dict[str, NDArray[np.float64]]) -> NDArray[np.float64]:
    spans = run["drawdown_count"]
    # a fall on the very last bar is no span; backtesting.py then averages over it alone
    alone = np.where(run["last_drawdown"] > 0, run["last_drawdown"], np.nan)
    return np.where(spans > 0, run["drawdown_sum"] / spans, alone)


def _durations(
    values: NDArray[np.float64], counts: NDArray[np.float64], index: pd.DatetimeIndex, step: int
) -> NDArray[np.timedelta64]:
    """Timedeltas in the index's own unit, rounded up to a step; NaT where there was nothing to measure."""
    known = np.where(counts > 0, values, 0).astype(np.int64)
    raised = -(-known // step) * step
    raised[counts == 0] = np.iinfo(np.int64).min  # NaT
    return raised.view(f"m8[{index.unit}]")


def _in_units(delta: pd.Timedelta, index: pd.DatetimeIndex) -> int:
    return int(delta.to_timedelta64().astype(f"m8[{index.unit}]").astype(np.int64))


def _or_nan(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(values == 0, np.nan, values)
