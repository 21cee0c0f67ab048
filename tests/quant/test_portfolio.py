"""The picks together, by hand."""

import numpy as np
import pandas as pd
import pytest

from quant.engine import Costs, replay
from quant.parameters import BracketParameters
from quant.portfolio import MOST, capacity, correlations, equal_weights, summary
from quant.schemas import CORRELATIONS, PORTFOLIO

DAYS = pd.date_range("2024-01-01", periods=4, freq="D", tz="UTC", name="time")
RETURNS = pd.DataFrame({"A": [0.1, -0.2, 0.0, 0.1], "B": [np.nan, 0.0, 0.1, -0.1]}, index=DAYS)


def test_equal_weights_are_the_mean_of_those_that_trade() -> None:
    found = equal_weights(RETURNS)
    np.testing.assert_allclose(found["equity"], [1.1, 1.1 * 0.9, 1.1 * 0.9 * 1.05, 1.1 * 0.9 * 1.05])
    np.testing.assert_allclose(found["drawdown"], [0.0, -0.1, -0.055, -0.055])
    assert found["members"].tolist() == [1, 2, 2, 2]
    assert [found.index.name, *found.columns] == [column.name for column in PORTFOLIO.columns]


def test_a_fall_from_the_start_is_a_drawdown() -> None:
    assert equal_weights(RETURNS[["A"]].iloc[1:])["drawdown"].iloc[0] == pytest.approx(-0.2)


def test_correlations_are_of_the_days_that_both_have() -> None:
    found = correlations(RETURNS)
    assert list(found.columns) == [column.name for column in CORRELATIONS.columns]
    assert found[["ticker", "other"]].to_numpy().tolist() == [["A", "B"]]
    assert found["correlation"].iloc[0] == pytest.approx(np.corrcoef([-0.2, 0.0, 0.1], [0.0, 0.1, -0.1])[0, 1])


def test_of_many_picks_the_first_are_compared() -> None:
    many = pd.DataFrame(np.random.default_rng(0).normal(size=(5, MOST + 2)), index=pd.RangeIndex(5))
    found = correlations(many.rename(columns=str))
    assert len(found) == MOST * (MOST - 1) / 2
    assert set(found["other"]) == {str(number) for number in range(1, MOST)}
    assert summary(many)["mean_correlation"] == pytest.approx(found["correlation"].mean())


def test_the_summary_is_of_the_combined_equity() -> None:
    found = summary(RETURNS)
    assert found["total_return"] == pytest.approx(1.1 * 0.9 * 1.05 - 1)
    assert found["max_drawdown"] == pytest.approx(-0.1)
    daily = np.array([0.1, -0.1, 0.05, 0.0])
    assert found["sharpe"] == pytest.approx(daily.mean() / daily.std(ddof=1) * np.sqrt(365))
    assert np.isnan(summary(RETURNS[["A"]])["mean_correlation"])


def test_without_picks_there_is_nothing() -> None:
    nothing = pd.DataFrame(index=DAYS[:0])
    assert equal_weights(nothing).empty
    assert correlations(nothing).empty
    assert summary(nothing) == {}


def test_capacity_grows_with_the_volume_and_not_with_the_cash(bars: pd.DataFrame) -> None:
    signal = np.resize([0, 1, 0, 0, 2, 0], len(bars))

    def found(volume: float, cash: float) -> float:
        market = bars.assign(volume=volume)
        costs = Costs(cash=cash, lot_size=1e-6)
        # out after three bars, so that the equity stays near the cash
        trades = replay(market, signal, BracketParameters(minimum_profit=((3, -1.0),)), costs).trades
        return capacity(trades, market, cash)

    once = found(1_000.0, 10_000.0)
    assert found(3_000.0, 10_000.0) == pytest.approx(3 * once)
    assert found(1_000.0, 50_000.0) == pytest.approx(once, rel=1e-3)


def test_capacity_by_hand() -> None:
    trades = pd.DataFrame({"size": [10.0, -20.0, 30.0], "entry_price": [5.0, 5.0, 5.0], "entry_bar": [0, 1, 2]})
    bars = pd.DataFrame({"close": [5.0, 5.0, 5.0], "volume": [100.0, 100.0, 0.0]})
    # entries of 10 % and 20 % of their bar, and one whose bar has no volume
    assert capacity(trades, bars, 1_000.0) == pytest.approx(1_000 * 0.01 / 0.15)
    assert np.isnan(capacity(trades.iloc[:0], bars, 1_000.0))
