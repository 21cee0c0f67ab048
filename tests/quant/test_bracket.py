"""Every rule of the strategy on cases computed by hand, then its properties on random walks."""

import warnings
from collections.abc import Sequence
from typing import Any

import backtesting._util
import backtesting.backtesting as library
import numpy as np
import pandas as pd
import pytest
import talib
from backtesting import Backtest, Strategy
from hypothesis import given, settings
from hypothesis import strategies as st

from quant.bracket import POLICIES, BracketError, BracketParameters, Costs, Policy, reference
from quant.bracket_input import trend_filter
from quant.parameters import CombinationError
from tests.conftest import random_walk

CASH = 1_050.0  # ten units at 100
FLAT = (100.0, 100.5, 99.5, 100.0)
EVERYTHING = BracketParameters(
    0.02, 0.025, 0.01, 0.015, 0.03, 0.01, 2.0, 0.008, 0.006, ((10, 0.01), (40, 0.0), (80, -1.0))
)
RANDOM = BracketParameters(0.02, 0.025, None, 0.015, 0.03, None)


def candles(*rows: tuple[float, float, float, float]) -> pd.DataFrame:
    index = pd.date_range("2024-01-01", periods=len(rows), freq="15min", tz="UTC", unit="us", name="time")
    return pd.DataFrame(rows, columns=["open", "high", "low", "close"], index=index).assign(volume=1.0)


def closes(*values: float) -> pd.DataFrame:
    """Bars that open at the close before, with no wicks."""
    opens = (values[0], *values[:-1])
    return candles(*((o, max(o, c), min(o, c), c) for o, c in zip(opens, values, strict=True)))


def signals(rows: int, **at: int) -> np.ndarray[Any, Any]:
    """Signals by bar: ``signals(5, b1=1)`` is a long decided at the close of bar 1."""
    values = np.zeros(rows, dtype=np.int8)
    for bar, value in at.items():
        values[int(bar[1:])] = value
    return values


def mirrored(bars: pd.DataFrame) -> pd.DataFrame:
    """The market turned over at 100, so that a long's levels from a close of 100 become a short's."""
    turned = bars.assign(open=200 - bars["open"], high=200 - bars["low"], low=200 - bars["high"])
    return turned.assign(close=200 - bars["close"])


def bracket(
    stop: float | None = None, take: float | None = None, limit: float | None = None, **rest: Any
) -> BracketParameters:
    return BracketParameters(stop, take, limit, stop, take, limit, **rest)


def trades_of(stats: pd.Series) -> list[tuple[int, int, float, float]]:
    """(entry bar, exit bar, entry price, exit price) of each closed trade."""
    table = stats["_trades"][["EntryBar", "ExitBar", "EntryPrice", "ExitPrice"]]
    return [tuple(row) for row in table.itertuples(index=False)]


def run(
    bars: pd.DataFrame,
    signal: np.ndarray[Any, Any],
    parameters: BracketParameters,
    policy: Policy = "reverse",
    commission: float = 0.0,
    **rest: Any,
) -> pd.Series:
    return reference(bars, signal, parameters, Costs(commission, CASH), policy, **rest)


def both_sides(
    rows: Sequence[tuple[float, float, float, float]], parameters: BracketParameters, **rest: Any
) -> list[tuple[int, int, float, float]]:
    """Trades of a long decided at the close of bar 1, after checking that the mirrored short has the same."""
    bars = candles(*rows)
    long = trades_of(run(bars, signals(len(rows), b1=1), parameters, **rest))
    short = trades_of(run(mirrored(bars), signals(len(rows), b1=2), parameters, **rest))
    assert [(a, b, pytest.approx(200 - c), pytest.approx(200 - d)) for a, b, c, d in short] == long
    return long


# Entry -------------------------------------------------------------------------------------------------------------


def test_entry_is_at_the_open_after_the_deciding_close() -> None:
    rows = [FLAT, FLAT, (101.0, 101.0, 99.0, 100.0), (90.0, 91.0, 89.0, 90.0)]
    assert both_sides(rows, bracket(stop=0.05)) == [(2, 3, 101.0, 90.0)]


def test_signal_of_the_first_bar_is_never_seen_and_one_on_the_last_has_no_bar_to_act_on() -> None:
    stats = run(candles(*[FLAT] * 4), np.array([1, 0, 0, 1]), bracket(0.02))
    assert trades_of(stats) == []
    assert (stats["_equity_curve"]["Equity"] == CASH).all()


def test_flat_signal_makes_no_trade_and_costs_nothing(bars: pd.DataFrame) -> None:
    stats = reference(bars, np.zeros(len(bars)), EVERYTHING, Costs(0.01))
    assert len(stats["_trades"]) == 0
    assert (stats["_equity_curve"]["Equity"] == 100_000).all()


def test_limit_fills_at_the_open_where_that_is_better() -> None:
    rows = [FLAT, FLAT, (100.4, 100.5, 99.5, 100.0), (90.0, 91.0, 89.0, 90.0)]
    assert both_sides(rows, bracket(0.05, limit=0.01)) == [(2, 3, 100.4, 90.0)]


def test_limit_fills_at_its_price_where_the_bar_comes_back_to_it() -> None:
    rows = [FLAT, FLAT, (103.0, 104.0, 101.0, 103.0), (90.0, 91.0, 89.0, 90.0)]
    assert both_sides(rows, bracket(0.05, limit=0.01)) == [(2, 3, 101.0, 90.0)]


@pytest.mark.parametrize(("limit_bars", "expected"), [(1, []), (2, [(3, 4, 100.5, 90.0)])])
def test_unfilled_limit_is_cancelled_after_its_bars(limit_bars: int, expected: list[tuple[float, ...]]) -> None:
    rows = [FLAT, FLAT, (103.0, 104.0, 101.5, 103.0), (100.5, 101.0, 99.5, 100.0), (90.0, 91.0, 89.0, 90.0)]
    assert both_sides(rows, bracket(0.05, limit=0.01), limit_bars=limit_bars) == expected


def test_new_signal_replaces_a_waiting_limit() -> None:
    away = (103.0, 104.0, 102.5, 103.0)
    bars = candles(FLAT, FLAT, away, away, (90.0, 91.0, 89.0, 90.0))
    # The limit of bar 1 is 101, which no bar before the last touches; that of bar 2 is 104.03.
    stats = run(bars, signals(5, b1=1, b2=1), bracket(0.05, limit=0.01), limit_bars=3)
    assert trades_of(stats) == [(3, 4, 103.0, 90.0)]


def test_stop_on_the_fill_bar_of_a_limit_waits_for_the_next_bar() -> None:
    rows = [FLAT, FLAT, (103.0, 104.0, 94.0, 100.0), (99.0, 99.5, 98.5, 99.0), (90.0, 91.0, 89.0, 90.0)]
    assert both_sides(rows, bracket(0.05, limit=0.01)) == [(2, 4, 101.0, 90.0)]


# Stop and target ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("low", "expected"), [(98.0, [(2, 3, 100.0, 98.0)]), (98.01, [])])
def test_stop_is_touched_inclusively(low: float, expected: list[tuple[float, ...]]) -> None:
    assert both_sides([FLAT, FLAT, FLAT, (100.0, 100.5, low, 99.0)], bracket(stop=0.02)) == expected


@pytest.mark.parametrize(("high", "expected"), [(102.0, [(2, 3, 100.0, 102.0)]), (101.99, [])])
def test_target_is_touched_inclusively(high: float, expected: list[tuple[float, ...]]) -> None:
    assert both_sides([FLAT, FLAT, FLAT, (100.0, high, 99.5, 101.0)], bracket(take=0.02)) == expected


def test_levels_are_of_the_deciding_close_and_not_of_the_entry() -> None:
    rows = [FLAT, FLAT, (101.5, 101.6, 99.0, 100.0), (100.0, 102.0, 99.5, 100.0)]
    assert both_sides(rows, bracket(take=0.02)) == [(2, 3, 101.5, 102.0)]


def test_gap_through_the_stop_fills_at_the_open() -> None:
    assert both_sides([FLAT, FLAT, FLAT, (95.0, 99.0, 94.0, 96.0)], bracket(stop=0.02)) == [(2, 3, 100.0, 95.0)]


def test_gap_beyond_the_target_is_kept() -> None:
    assert both_sides([FLAT, FLAT, FLAT, (105.0, 106.0, 104.0, 105.0)], bracket(take=0.02)) == [(2, 3, 100.0, 105.0)]


def test_stop_comes_before_target_in_one_bar() -> None:
    rows = [FLAT, FLAT, FLAT, (100.0, 103.0, 97.0, 100.0)]
    assert both_sides(rows, bracket(0.02, 0.02)) == [(2, 3, 100.0, 98.0)]


def test_stop_meets_the_bar_of_the_entry() -> None:
    assert both_sides([FLAT, FLAT, (100.0, 100.5, 97.0, 99.0)], bracket(0.02)) == [(2, 2, 100.0, 98.0)]


def test_gap_through_the_stop_on_the_bar_of_the_entry_exits_at_the_entry() -> None:
    assert both_sides([FLAT, FLAT, (97.0, 98.5, 96.0, 97.0)], bracket(0.02)) == [(2, 2, 97.0, 97.0)]


def test_long_and_short_have_their_own_levels() -> None:
    bars = candles(FLAT, FLAT, FLAT, (100.0, 103.0, 97.0, 100.0), (100.0, 104.0, 96.0, 100.0))
    stops = BracketParameters(stop_loss_long=0.02, stop_loss_short=0.04)
    assert trades_of(run(bars, signals(5, b1=1), stops)) == [(2, 3, 100.0, 98.0)]
    assert trades_of(run(bars, signals(5, b1=2), stops)) == [(2, 4, 100.0, 104.0)]
    targets = BracketParameters(take_profit_long=0.02, take_profit_short=0.04)
    assert trades_of(run(bars, signals(5, b1=1), targets)) == [(2, 3, 100.0, 102.0)]
    assert trades_of(run(bars, signals(5, b1=2), targets)) == [(2, 4, 100.0, 96.0)]


# Costs and size ----------------------------------------------------------------------------------------------------


def test_commission_is_paid_at_entry_and_at_exit() -> None:
    bars = candles(FLAT, FLAT, FLAT, (100.0, 102.0, 99.5, 101.0), FLAT)
    stats = run(bars, signals(5, b1=1), bracket(take=0.02), commission=0.01)
    trade = stats["_trades"].iloc[0]
    assert trade["Size"] == 10  # 1,050 buys ten at 100 + 1
    assert trade["Commission"] == pytest.approx(10.0 + 10.2)
    assert trade["PnL"] == pytest.approx(20.0 - 20.2)
    assert trade["ReturnPct"] == pytest.approx(-0.2 / 1_000)
    equity = stats["_equity_curve"]["Equity"].to_list()
    assert equity == pytest.approx([CASH, CASH, CASH - 10, CASH - 0.2, CASH - 0.2])


def test_leverage_multiplies_the_units_and_not_the_moves() -> None:
    bars = candles(FLAT, FLAT, FLAT, (100.0, 102.0, 99.5, 101.0))
    stats = run(bars, signals(4, b1=1), bracket(take=0.02, leverage=3.0))
    assert stats["_trades"]["Size"].to_list() == [31]
    assert trades_of(stats) == [(2, 3, 100.0, 102.0)]


def test_ruin_ends_the_run_at_zero() -> None:
    bars = candles(FLAT, FLAT, FLAT, (60.0, 60.0, 60.0, 60.0), FLAT)
    equity = run(bars, signals(5, b1=1), bracket(leverage=10.0))["_equity_curve"]["Equity"]
    assert equity.to_list() == [CASH, CASH, CASH, 0.0, 0.0]


# Policies ----------------------------------------------------------------------------------------------------------


def test_repeated_signal() -> None:
    bars = candles(*[FLAT] * 4, (101.0, 101.5, 100.5, 101.0), FLAT, (90.0, 90.0, 90.0, 90.0))
    repeated = signals(7, b1=1, b3=1)
    assert trades_of(run(bars, repeated, bracket(0.05), "reverse")) == [(2, 6, 100.0, 90.0)]
    assert trades_of(run(bars, repeated, bracket(0.05), "exclusive")) == [(2, 4, 100.0, 101.0), (4, 6, 101.0, 90.0)]
    # Stacking has no cash left for a second unit.
    assert trades_of(run(bars, repeated, bracket(0.05), "stack")) == [(2, 6, 100.0, 90.0)]


@pytest.mark.parametrize("policy", ["reverse", "exclusive"])
def test_opposite_signal_closes_and_reverses_at_the_next_open(policy: Policy) -> None:
    bars = candles(*[FLAT] * 4, (101.0, 101.5, 100.5, 101.0), (110.0, 110.0, 110.0, 110.0))
    stats = run(bars, signals(6, b1=1, b3=2), bracket(0.05), policy)
    assert trades_of(stats) == [(2, 4, 100.0, 101.0), (4, 5, 101.0, 110.0)]
    assert np.sign(stats["_trades"]["Size"]).to_list() == [1, -1]


def test_opposite_signal_under_stack_is_cancelled_for_lack_of_margin() -> None:
    bars = candles(*[FLAT] * 4, (101.0, 101.5, 100.5, 101.0), FLAT, (90.0, 90.0, 90.0, 90.0))
    stats = run(bars, signals(7, b1=1, b3=2), bracket(0.05), "stack")
    assert trades_of(stats) == [(2, 6, 100.0, 90.0)]


def test_reversal_by_an_unfilled_limit_leaves_no_position() -> None:
    bars = candles(*[FLAT] * 4, (97.0, 97.5, 96.5, 97.0), (97.0, 120.0, 97.0, 97.0))
    parameters = BracketParameters(limit_short=0.01)  # sells at 99 or more
    stats = run(bars, signals(6, b1=1, b3=2), parameters)
    assert trades_of(stats) == [(2, 4, 100.0, 97.0)]
    assert not stats["_strategy"].trades


# Trailing stop -----------------------------------------------------------------------------------------------------


def test_trailing_stop_starts_at_the_close_that_reaches_the_activation() -> None:
    trailing = bracket(trailing_activation=0.25, trailing_distance=0.1)
    # 124.9 is not enough; at 125, which is 0.25 without a rounding error, the stop goes to 112.5.
    bars = closes(100, 100, 100, 124.9, 125, 112)
    assert trades_of(run(bars, signals(6, b1=1), trailing)) == [(2, 5, 100.0, 112.5)]
    below = closes(100, 100, 100, 124.9, 124.9, 112)
    assert trades_of(run(below, signals(6, b1=1), trailing)) == []


def test_trailing_stop_acts_from_the_bar_after_its_close() -> None:
    # The low of bar 3 lies below the stop that its own close sets.
    bars = candles(FLAT, FLAT, FLAT, (100.0, 103.0, 99.5, 103.0), (103.0, 103.5, 102.5, 103.0))
    trailing = bracket(trailing_activation=0.02, trailing_distance=0.01)
    stats = run(bars, signals(5, b1=1), trailing)
    assert trades_of(stats) == []
    assert stats["_strategy"].trades[0].sl == pytest.approx(103 * 0.99)


def test_trailing_stop_follows_the_highest_close_and_never_goes_back() -> None:
    trailing = bracket(stop=0.02, trailing_activation=0.02, trailing_distance=0.03)
    bars = closes(100, 100, 100, 102, 104, 102.5, 100)
    # 102 would give 98.94, 104 gives 100.88, 102.5 would give 99.4.
    assert trades_of(run(bars, signals(7, b1=1), trailing)) == [(2, 6, 100.0, pytest.approx(104 * 0.97))]


def test_trailing_stop_never_widens_the_first_stop() -> None:
    trailing = bracket(stop=0.01, trailing_activation=0.005, trailing_distance=0.05)
    bars = closes(100, 100, 100, 101, 98)
    assert trades_of(run(bars, signals(5, b1=1), trailing)) == [(2, 4, 100.0, 99.0)]


def test_trailing_stop_of_a_short_comes_down() -> None:
    trailing = bracket(trailing_activation=0.02, trailing_distance=0.01)
    bars = closes(100, 100, 100, 98, 97, 99)
    assert trades_of(run(bars, signals(6, b1=2), trailing)) == [(2, 5, 100.0, pytest.approx(97 * 1.01))]


# Time table --------------------------------------------------------------------------------------------------------


def test_plain_time_exit_holds_for_its_bars() -> None:
    rows = [*[FLAT] * 6, (97.0, 97.0, 97.0, 97.0), FLAT]
    assert both_sides(rows, bracket(minimum_profit=((4, -1.0),))) == [(2, 6, 100.0, 97.0)]


def test_time_table_asks_for_the_fraction_of_the_largest_bars_reached() -> None:
    table = ((2, 0.03), (4, 0.01))
    # 2 % is not enough after two and three bars, and is after four: out at the open of bar 6.
    bars = closes(100, 100, 100, 102, 102, 102, 102, 102)
    assert trades_of(run(bars, signals(8, b1=1), bracket(minimum_profit=table))) == [(2, 6, 100.0, 102.0)]


@pytest.mark.parametrize(("close", "trades"), [(125.0, 1), (124.99, 0)])
def test_time_table_is_met_by_exactly_its_fraction(close: float, trades: int) -> None:
    bars = closes(100, 100, 100, close, close, close)  # 125 / 100 − 1 is 0.25 without a rounding error
    assert len(run(bars, signals(6, b1=1), bracket(minimum_profit=((1, 0.25),)))["_trades"]) == trades


def test_time_table_counts_the_move_of_the_price_before_leverage() -> None:
    bars = closes(100, 100, 100, 101, 101, 101)
    parameters = bracket(minimum_profit=((1, 0.02),), leverage=5.0)
    assert len(run(bars, signals(6, b1=1), parameters)["_trades"]) == 0


def test_time_exit_closes_before_the_stop_of_that_bar() -> None:
    rows = [*[FLAT] * 4, (99.0, 99.5, 95.0, 96.0), FLAT]
    assert both_sides(rows, bracket(stop=0.02, minimum_profit=((2, -1.0),))) == [(2, 4, 100.0, 99.0)]


def test_time_exit_closes_before_a_trailing_stop_of_the_same_close() -> None:
    bars = candles(FLAT, FLAT, FLAT, (100.0, 103.0, 99.5, 103.0), (103.0, 103.5, 95.0, 96.0))
    parameters = bracket(minimum_profit=((2, -1.0),), trailing_activation=0.02, trailing_distance=0.01)
    assert trades_of(run(bars, signals(5, b1=1), parameters)) == [(2, 4, 100.0, 103.0)]


def test_repeated_signal_at_the_close_of_a_time_exit() -> None:
    bars, repeated = candles(*[FLAT] * 8), signals(8, b1=1, b3=1)
    parameters = bracket(minimum_profit=((2, -1.0),))
    ignored = run(bars, repeated, parameters, "reverse")
    assert trades_of(ignored) == [(2, 4, 100.0, 100.0)]
    assert not ignored["_strategy"].trades
    stacked = run(bars, repeated, parameters, "stack")
    assert trades_of(stacked) == [(2, 4, 100.0, 100.0), (4, 6, 100.0, 100.0)]


# The end -----------------------------------------------------------------------------------------------------------


def test_open_last_trade_is_marked_and_not_listed() -> None:
    stats = run(closes(100, 100, 100, 110), signals(4, b1=1), bracket())
    assert trades_of(stats) == []
    assert stats["_equity_curve"]["Equity"].iloc[-1] == CASH + 100


def test_nothing_crosses_the_end_when_it_is_a_border() -> None:
    bars = candles(*[FLAT] * 4, (101.0, 101.5, 100.5, 101.0))
    stats = run(bars, signals(5, b1=1, b3=2, b4=1), bracket(), commission=0.01, close_at_end=True)
    assert trades_of(stats) == [(2, 4, 100.0, 101.0)]
    assert stats["_equity_curve"]["Equity"].iloc[-1] == pytest.approx(CASH + 10 - 10 - 10.1)
    assert not stats["_strategy"].trades


def test_waiting_limit_does_not_cross_the_border() -> None:
    away = (103.0, 104.0, 102.5, 103.0)
    bars = candles(FLAT, FLAT, away, away, FLAT)
    stats = run(bars, signals(5, b1=1), bracket(limit=0.01), limit_bars=9, close_at_end=True)
    assert not stats["_strategy"].trades
    assert not stats["_strategy"].orders


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("parameters", [RANDOM, EVERYTHING])
def test_cash_and_profits_make_the_equity(bars: pd.DataFrame, policy: Policy, parameters: BracketParameters) -> None:
    signal = np.random.default_rng(3).choice(3, len(bars), p=[0.9, 0.05, 0.05])
    stats = reference(bars, signal, parameters, Costs(0.001), policy, close_at_end=True)
    assert len(stats["_trades"]) > 50
    assert stats["_equity_curve"]["Equity"].iloc[-1] == pytest.approx(100_000 + stats["_trades"]["PnL"].sum(), rel=1e-9)
    gross = stats["_trades"].eval("Size * (ExitPrice - EntryPrice)").sum()
    assert stats["_trades"]["PnL"].sum() == pytest.approx(gross - stats["_trades"]["Commission"].sum(), rel=1e-9)


# Properties --------------------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    cut=st.integers(2, 399),
    policy=st.sampled_from(POLICIES),
    parameters=st.sampled_from([RANDOM, EVERYTHING]),
)
def test_truncating_the_future_changes_nothing_before_it(
    seed: int, cut: int, policy: Policy, parameters: BracketParameters
) -> None:
    bars = random_walk(400, seed=seed)
    signal = np.random.default_rng(seed).choice(3, 400, p=[0.8, 0.1, 0.1])
    whole = reference(bars, signal, parameters, Costs(0.001), policy)
    part = reference(bars[:cut], signal[:cut], parameters, Costs(0.001), policy)
    assert part["_equity_curve"]["Equity"].equals(whole["_equity_curve"]["Equity"][:cut])
    known = whole["_trades"].query("ExitBar < @cut").drop(columns=["SL", "TP", "Tag"])
    assert part["_trades"].drop(columns=["SL", "TP", "Tag"]).to_dict("list") == known.to_dict("list")


class Article(Strategy):  # type: ignore[misc]
    """The article's ``MyCandlesStrat``."""

    def init(self) -> None:
        self.signal = self.I(lambda: self.data.Signal, name="signal")

    def next(self) -> None:
        close = self.data.Close[-1]
        if self.signal[-1] == 1:
            self.buy(sl=close * (1 - 0.025), tp=close * (1 + 0.025))
        elif self.signal[-1] == 2:
            self.sell(sl=close * (1 + 0.025), tp=close * (1 - 0.025))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("exclusive", [True, False])
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
def test_plain_policies_equal_the_strategy_of_the_article(seed: int, exclusive: bool) -> None:
    bars = random_walk(1_500, seed=seed)
    signal = np.random.default_rng(seed).choice(3, len(bars), p=[0.9, 0.05, 0.05])
    data = bars.rename(columns=str.title).assign(Signal=signal)
    expected = Backtest(data, Article, cash=100_000, commission=0.001, exclusive_orders=exclusive).run()
    policy: Policy = "exclusive" if exclusive else "stack"
    found = reference(bars, signal, bracket(0.025, 0.025), Costs(0.001), policy)
    assert len(found["_trades"]) > 5
    columns = ["Size", "EntryBar", "ExitBar", "EntryPrice", "ExitPrice", "PnL", "Commission", "ReturnPct"]
    pd.testing.assert_frame_equal(found["_trades"][columns], expected["_trades"][columns], check_exact=True)
    assert found["_equity_curve"].equals(expected["_equity_curve"])
    assert found["Sharpe Ratio"] == expected["Sharpe Ratio"]


@pytest.mark.parametrize("tz", [None, "Asia/Seoul"])
@pytest.mark.parametrize("unit", ["s", "ns"])
def test_time_zone_and_unit_of_the_index_change_nothing(bars: pd.DataFrame, tz: str | None, unit: str) -> None:
    signal = pd.Series(np.arange(500) % 3, index=bars.index[:500])
    expected = reference(bars[:500], signal, RANDOM, Costs())
    index = bars.index[:500].tz_convert(tz).as_unit(unit)
    found = reference(bars[:500].set_axis(index), signal.set_axis(index), RANDOM, Costs())
    assert trades_of(found) == trades_of(expected)
    assert found["_equity_curve"].index.equals(index)


# The EMA filter ----------------------------------------------------------------------------------------------------


def test_trend_filter_keeps_entries_with_the_trend_only() -> None:
    rising = closes(*np.linspace(100, 200, 150))
    assert trend_filter(rising, np.full(150, 1)).to_list() == [0] * 107 + [1] * 43
    assert trend_filter(rising, np.full(150, 2)).to_list() == [0] * 150
    falling = closes(*np.linspace(200, 100, 150))
    assert trend_filter(falling, np.full(150, 2)).to_list() == [0] * 107 + [2] * 43
    assert trend_filter(falling, np.full(150, 1)).to_list() == [0] * 150


def test_trend_filter_needs_the_whole_ladder(bars: pd.DataFrame) -> None:
    close = bars["close"].to_numpy()
    fast, middle, slow = (talib.EMA(close, timeperiod=period) for period in (22, 55, 108))
    kept = trend_filter(bars, np.ones(len(bars)))
    assert kept.index.equals(bars.index)
    assert (kept == 1).to_numpy().tolist() == ((close > fast) & (fast > middle) & (middle > slow)).tolist()


# What is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("stop_loss_long", 0.0),
        ("stop_loss_long", 1.0),
        ("take_profit_short", -0.1),
        ("take_profit_long", "0.1"),
        ("limit_short", float("nan")),
        ("trailing_distance", 2.5),
        ("stop_loss_short", True),
        ("leverage", 0.5),
        ("leverage", None),
        ("leverage", float("inf")),
        ("minimum_profit", ((50, 0.01), (50, 0.02))),
        ("minimum_profit", ((100, 0.01), (50, 0.02))),
        ("minimum_profit", ((1.5, 0.01),)),
        ("minimum_profit", ((-1, 0.01),)),
        ("minimum_profit", ((1, float("nan")),)),
        ("minimum_profit", (50, 0.01)),
        ("minimum_profit", "[[50, 0.01]]"),
    ],
)
def test_parameter_out_of_range_is_named(field: str, value: object) -> None:
    with pytest.raises(BracketError, match=rf"^{field} .*allowed: "):
        BracketParameters(**{field: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("side", ["long", "short"])
@pytest.mark.parametrize("limit", [0.02, 0.03])
def test_limit_must_be_below_the_take_profit(side: str, limit: float) -> None:
    with pytest.raises(CombinationError, match=rf"limit_{side} is {limit} and take_profit_{side} is 0.02"):
        BracketParameters(**{f"limit_{side}": limit, f"take_profit_{side}": 0.02})  # type: ignore[arg-type]
    assert BracketParameters(**{f"limit_{side}": limit})  # type: ignore[arg-type]


@pytest.mark.parametrize("field", ["trailing_activation", "trailing_distance"])
def test_half_a_trailing_stop_is_refused(field: str) -> None:
    with pytest.raises(CombinationError, match=r"trailing_activation is .* and trailing_distance is "):
        BracketParameters(**{field: 0.01})  # type: ignore[arg-type]


def test_parameters_have_one_normal_form() -> None:
    given = BracketParameters(np.float64(0.02), leverage=2, minimum_profit=[[np.int64(4), -1]])  # type: ignore[arg-type, list-item]
    assert given == BracketParameters(0.02, leverage=2.0, minimum_profit=((4, -1.0),))
    assert hash(given) == hash(BracketParameters(0.02, leverage=2.0, minimum_profit=((4, -1.0),)))
    assert BracketParameters(minimum_profit=()).minimum_profit is None


@pytest.mark.parametrize(
    ("field", "value"), [("commission", 0.1), ("commission", float("nan")), ("cash", 0), ("cash", float("inf"))]
)
def test_cost_out_of_range_is_named(field: str, value: float) -> None:
    with pytest.raises(BracketError, match=rf"^{field} is .*allowed: "):
        Costs(**{field: value})


@pytest.mark.parametrize(
    ("signal", "message"),
    [
        (np.zeros(3), "3 values and the bars have 4 rows"),
        (np.array([0, 0, 3, 0]), r"signal is 3 at 2024-01-01 00:30:00\+00:00; allowed: 0 none, 1 long, 2 short"),
        (np.array([0, np.nan, 0, 0]), "signal is nan at 2024-01-01 00:15:00"),
        (np.array([0, 0.5, 0, 0]), "signal is 0.5"),
        (pd.Series(["0", "long", "0", "0"]).to_numpy(), "signal is long"),
        (pd.Series([0, 0, 0, 0]), "indexed by 0 in row 0"),
        (pd.Series(0, index=candles(*[FLAT] * 5).index[1:]), "the index of the bars"),
        (pd.Series(0, index=candles(*[FLAT] * 4).index.tz_localize(None)), "the index of the bars"),
    ],
)
def test_bad_signal_is_named(signal: Any, message: str) -> None:
    with pytest.raises(BracketError, match=message):
        run(candles(*[FLAT] * 4), signal, bracket())


@pytest.mark.parametrize(
    ("bars", "message"),
    [
        (candles(FLAT), "1 row"),
        (candles(*[FLAT] * 3).drop(columns="low"), "lack the column 'low'"),
        (candles(*[FLAT] * 3)[::-1], "strictly increasing times"),
        (candles(*[FLAT] * 3).reset_index(drop=True), "strictly increasing times"),
        (candles(FLAT, (1.0, 1.0, 0.0, 1.0), FLAT), "low = 0.0 at 2024-01-01 00:15:00"),
        (candles(FLAT, (1.0, float("nan"), 1.0, 1.0), FLAT), "high = nan"),
    ],
)
def test_bad_bars_are_named(bars: pd.DataFrame, message: str) -> None:
    with pytest.raises(BracketError, match=message):
        run(bars, np.zeros(len(bars)), bracket())


def test_unknown_policy_and_limit_bars_are_named() -> None:
    with pytest.raises(BracketError, match="policy is 'hedge'; allowed: reverse, exclusive, stack"):
        run(candles(FLAT, FLAT), np.zeros(2), bracket(), "hedge")  # type: ignore[arg-type]
    with pytest.raises(BracketError, match="limit_bars is 0"):
        run(candles(FLAT, FLAT), np.zeros(2), bracket(), limit_bars=0)


# What leaks --------------------------------------------------------------------------------------------------------


def test_nothing_is_printed_and_nothing_stays_changed(capfd: pytest.CaptureFixture[str]) -> None:
    filters, errors = warnings.filters.copy(), np.geterr()
    dear = candles(*[tuple(price * 1_000 for price in FLAT)] * 2, *[FLAT] * 4)  # type: ignore[arg-type]
    run(dear, signals(6, b1=1, b3=1, b4=2), bracket(0.001, limit=0.01), "stack")
    assert capfd.readouterr() == ("", "")
    assert warnings.filters == filters
    assert library._tqdm is backtesting._util._tqdm
    assert np.geterr() == errors


@pytest.mark.parametrize("rows", [2, 3, 5])
@pytest.mark.parametrize("close_at_end", [False, True])
def test_few_bars_run(rows: int, close_at_end: bool) -> None:
    stats = run(candles(*[FLAT] * rows), np.ones(rows), bracket(0.02), close_at_end=close_at_end)
    assert stats["_equity_curve"]["Equity"].to_list() == [CASH] * rows
