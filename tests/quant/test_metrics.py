"""Figures on equity curves and trades computed by hand."""

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from quant.bracket import BracketParameters, Costs, reference
from quant.engine import replay
from quant.metrics import buy_and_hold, daily_equity, daily_returns, figures, trades_frame
from quant.schemas import FIGURES, TRADES

PARAMETERS = BracketParameters(0.02, 0.03, None, 0.02, 0.03, None)


def stats_of(equity: pd.Series, pnl: tuple[float, ...] = (), returns: tuple[float, ...] = ()) -> dict[str, Any]:
    trades = pd.DataFrame({"PnL": pnl, "ReturnPct": returns, "Commission": [1.5] * len(pnl)}, dtype=np.float64)
    return {"_equity_curve": pd.DataFrame({"Equity": equity}), "_trades": trades, "Exposure Time [%]": 25.0}


def at_noon(*values: float, start: str = "2024-01-01") -> pd.Series:
    """Equity once a day, after a first value at midnight of the first day."""
    days = pd.date_range(start, periods=len(values) - 1, tz="UTC") + pd.Timedelta(hours=12)
    return pd.Series(values, index=pd.DatetimeIndex([pd.Timestamp(start, tz="UTC"), *days]))


def test_figures_by_hand() -> None:
    found = figures(stats_of(at_noon(100, 110, 99, 99), (10.0, -11.0, 0.0), (0.1, -0.05, 0.0)))
    returns = np.array([0.1, -0.1, 0.0])
    assert found["trades"] == 3
    assert found["total_return"] == pytest.approx(-0.01)
    assert found["annual_return"] == pytest.approx(0.99 ** (365 / 3) - 1)
    assert found["annual_volatility"] == pytest.approx(0.1 * math.sqrt(365))
    assert found["sharpe"] == pytest.approx(returns.mean() / 0.1 * math.sqrt(365))
    assert found["max_drawdown"] == pytest.approx(-0.1)
    assert found["win_rate"] == pytest.approx(1 / 3)
    assert found["profit_factor"] == pytest.approx(2.0)
    assert found["expectancy"] == pytest.approx(0.05 / 3)
    assert found["exposure"] == 0.25
    assert found["commission"] == 4.5


def test_sortino_is_over_the_downside_alone() -> None:
    found = figures(stats_of(at_noon(100, 120, 114, 114)))  # +20 %, −5 %, 0
    assert found["sortino"] == pytest.approx(0.05 / math.sqrt(0.05**2 / 3) * math.sqrt(365))


def test_what_is_undefined_is_nan_and_never_infinite() -> None:
    flat = figures(stats_of(at_noon(100, 100, 100)))
    undefined = {"sharpe", "sortino", "win_rate", "profit_factor", "expectancy"}
    assert {name for name, value in flat.items() if math.isnan(value)} == undefined
    assert flat["annual_return"] == flat["annual_volatility"] == flat["max_drawdown"] == 0
    gains = figures(stats_of(at_noon(100, 101, 103), (1.0, 2.0), (0.01, 0.02)))
    assert math.isnan(gains["profit_factor"])
    assert math.isnan(gains["sortino"])
    assert gains["win_rate"] == 1
    losses = figures(stats_of(at_noon(100, 99), (-1.0,), (-0.01,)))
    assert losses["profit_factor"] == 0
    assert math.isnan(losses["sharpe"])  # one day has no deviation
    assert math.isnan(figures(stats_of(at_noon(1, 1_000)))["annual_return"])


def test_ruin_is_a_return_of_minus_one() -> None:
    found = figures(stats_of(at_noon(100, 50, 0, 0)))
    assert found["total_return"] == found["annual_return"] == found["max_drawdown"] == -1
    assert math.isfinite(found["sharpe"])


def test_figures_are_those_of_the_schema(bars: pd.DataFrame) -> None:
    signal = np.random.default_rng(0).choice(3, len(bars), p=[0.9, 0.05, 0.05])
    stats = reference(bars, signal, PARAMETERS, Costs(0.001), close_at_end=True)
    found = figures(stats)
    assert tuple(found) == tuple(column.name for column in FIGURES)
    assert found["trades"] == stats["# Trades"]
    assert found["total_return"] == pytest.approx(stats["Return [%]"] / 100)
    assert found["max_drawdown"] == pytest.approx(stats["Max. Drawdown [%]"] / 100)
    assert found["win_rate"] == pytest.approx(stats["Win Rate [%]"] / 100)
    assert found["profit_factor"] == pytest.approx(stats["Profit Factor"])
    assert found["expectancy"] == pytest.approx(stats["Expectancy [%]"] / 100)
    assert found["commission"] == pytest.approx(stats["Commissions [$]"])
    closes = stats["_equity_curve"]["Equity"].groupby(bars.index.date).last().to_numpy() / 100_000
    returns = np.diff(closes, prepend=1.0) / np.concatenate([[1.0], closes[:-1]])
    assert found["sharpe"] == pytest.approx(returns.mean() / returns.std(ddof=1) * math.sqrt(365))


def test_figures_of_a_real_run_without_trades(bars: pd.DataFrame) -> None:
    found = figures(reference(bars[:50], np.zeros(50), PARAMETERS, Costs(0.001)))
    assert found["trades"] == found["total_return"] == found["exposure"] == found["commission"] == 0


def test_days_are_utc_and_gaps_keep_the_equity() -> None:
    times = pd.DatetimeIndex(["2024-01-01 22:00", "2024-01-01 23:45", "2024-01-02 00:00", "2024-01-05 09:00"])
    equity = pd.Series([200.0, 210.0, 220.0, 190.0], index=times)
    expected = [1.05, 1.1, 1.1, 1.1, 0.95]
    assert daily_equity(equity).to_list() == expected
    seoul = equity.set_axis(times.tz_localize("UTC").tz_convert("Asia/Seoul"))
    found = daily_equity(seoul)
    assert found.to_list() == expected
    assert found.index.equals(pd.date_range("2024-01-01", periods=5, tz="UTC"))
    assert found.index.name == "time"


def test_daily_returns_multiply_to_the_total_return(bars: pd.DataFrame) -> None:
    stats = reference(bars, np.arange(len(bars)) % 3, PARAMETERS, Costs(0.001))
    multiple = daily_equity(stats)
    assert (1 + daily_returns(multiple)).prod() == pytest.approx(1 + figures(stats)["total_return"])
    assert daily_returns(multiple).iloc[0] == pytest.approx(multiple.iloc[0] - 1)
    assert len(multiple) == 32


def test_buy_and_hold_pays_both_ways(bars: pd.DataFrame) -> None:
    held = buy_and_hold(bars, 0.01)
    price = bars["close"].iloc[-1] / bars["open"].iloc[0]
    assert held.iloc[-1] == pytest.approx(price / 1.01 * 0.99)
    day = bars["close"].loc["2024-01-02"].iloc[-1]
    assert held.iloc[1] == pytest.approx(day / bars["open"].iloc[0] / 1.01)
    assert held.index.equals(daily_equity(bars["close"]).index)


def test_trades_frame_has_the_columns_of_the_schema_in_order_of_exit(bars: pd.DataFrame) -> None:
    signal = np.random.default_rng(0).choice(3, len(bars), p=[0.9, 0.05, 0.05])
    trades = trades_frame(replay(bars, signal, PARAMETERS, Costs(0.001), "stack").trades, pd.DatetimeIndex(bars.index))
    library = reference(bars, signal, PARAMETERS, Costs(0.001), "stack")["_trades"]
    library = library.sort_values(["ExitBar", "EntryBar"], kind="stable")
    assert list(trades) == [column.name for column in TRADES.columns]
    assert trades["number"].to_list() == list(range(len(library)))
    assert trades["exit_time"].is_monotonic_increasing
    assert trades["entry_time"].dtype == trades["exit_time"].dtype == bars.index.dtype
    assert set(trades["side"]) == {"long", "short"}
    assert ((trades["size"] > 0) == (trades["side"] == "long")).all()
    assert trades["entry_time"].to_list() == library["EntryTime"].to_list()
    assert trades["trade_return"].to_numpy() == pytest.approx(library["ReturnPct"].to_numpy())


def test_trades_frame_without_trades_keeps_its_types(bars: pd.DataFrame) -> None:
    some, none = (
        trades_frame(replay(bars, signal, PARAMETERS, Costs()).trades, pd.DatetimeIndex(bars.index))
        for signal in (np.arange(len(bars)) % 3, np.zeros(len(bars)))
    )
    assert len(none) == 0
    assert none.dtypes.to_dict() == some.dtypes.to_dict()
