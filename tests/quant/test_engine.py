"""The engine against backtesting.py: every trade and bar of equity with ``==``, every figure to rtol 1e-9."""

import re
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant import metrics
from quant.bracket import POLICIES, BracketError, BracketParameters, Policy, reference
from quant.costs import Costs
from quant.engine import TRADES, prepare, replay, sweep, sweep_assets, sweep_metrics
from tests.conftest import ROOT, random_walk
from tests.quant.engine_cases import MARKETS, Case, case, difference, market, parameters, signals

LEFT_OUT = {"Alpha [%]", "Beta", "_strategy", "_equity_curve", "_trades"}


def unequal_figures(stats: pd.Series, row: pd.Series) -> list[str]:
    """Figures of one run that differ from backtesting.py's."""
    found = []
    for name in stats.index.difference(list(LEFT_OUT)):
        expected, got = stats[name], row[name]
        if isinstance(expected, pd.Timedelta | pd.Timestamp):
            same = expected == got
        elif got is pd.NaT:
            # the library has NaN here, or the last bar's drawdown in place of a duration
            same = pd.isna(expected) or "Drawdown Duration" in name
        else:
            same = bool(np.isclose(got, expected, rtol=1e-9, atol=1e-10, equal_nan=True))
        if not same:
            found.append(f"{name}: {got!r}, not {expected!r}")
    return found


@pytest.mark.parametrize("kind", MARKETS)
def test_every_trade_and_bar_equals_backtesting(kind: str) -> None:
    different = {seed: found for seed in range(120) if (found := difference(case(seed, kind)))}
    assert not different


PRICES = st.integers(96, 104).map(float)


@st.composite
def tiny_markets(draw: st.DrawFn) -> pd.DataFrame:
    """A few bars on a grid of whole prices, where everything touches everything."""
    rows = draw(st.lists(st.tuples(PRICES, PRICES, PRICES, PRICES), min_size=2, max_size=14))
    table = [(o, max(o, h, low, c), min(o, h, low, c), c) for o, h, low, c in rows]
    index = pd.date_range("2024-01-01", periods=len(table), freq="15min", tz="UTC", unit="us")
    return pd.DataFrame(table, columns=["open", "high", "low", "close"], index=index)


OFF_OR_PERCENT = st.one_of(st.none(), st.sampled_from([0.01, 0.02, 0.03, 0.005, 1 / 98]))


@settings(max_examples=300, deadline=None)
@given(
    tiny_markets(),
    st.data(),
    st.tuples(*[OFF_OR_PERCENT] * 4),
    st.sampled_from([None, 0.004, 0.01]),
    st.sampled_from([1.0, 2.0, 25.0, 100.0]),
    st.one_of(st.none(), st.tuples(st.sampled_from([0.005, 0.01]), st.sampled_from([0.01, 0.02]))),
    st.sampled_from([None, ((1, 0.01),), ((2, -1.0),), ((0, 0.02), (3, 0.0))]),
    st.sampled_from([0.0, 0.001, 0.02]),
    st.sampled_from(POLICIES),
    st.booleans(),
    st.integers(1, 3),
)
def test_tiny_markets_equal_backtesting(
    bars: pd.DataFrame,
    data: st.DataObject,
    levels: tuple[float | None, ...],
    limit: float | None,
    leverage: float,
    trailing: tuple[float, float] | None,
    table: tuple[tuple[int, float], ...] | None,
    commission: float,
    policy: Policy,
    close_at_end: bool,
    limit_bars: int,
) -> None:
    signal = np.array(data.draw(st.lists(st.sampled_from([0, 0, 1, 2]), min_size=len(bars), max_size=len(bars))))
    stop_long, take_long, stop_short, take_short = levels
    chosen = BracketParameters(
        stop_long,
        take_long,
        limit if take_long is None or limit is None or limit < take_long else None,
        stop_short,
        take_short,
        limit if take_short is None or limit is None or limit < take_short else None,
        leverage,
        *(trailing or (None, None)),
        table,
    )
    options = {"limit_bars": limit_bars, "close_at_end": close_at_end}
    assert not difference(Case(bars, signal, chosen, Costs(commission, 1_000.0), policy, options))


def long_market(seed: int, rows: int = 3_000) -> tuple[pd.DataFrame, np.ndarray[Any, Any]]:
    generator = np.random.default_rng(seed)
    return market(generator, "walk", rows), signals(generator, rows)


@pytest.mark.parametrize("policy", POLICIES)
def test_every_figure_equals_backtesting(policy: Policy) -> None:
    found = []
    for seed in range(12):
        bars, signal = long_market(seed, 1_500)
        chosen = parameters(np.random.default_rng(seed))
        costs = Costs(0.0005, 1e6)
        stats = reference(bars, signal, chosen, costs, policy)
        found += unequal_figures(stats, sweep(bars, signal, [chosen], costs, policy).iloc[0])
    assert not found


@pytest.mark.parametrize("policy", ["reverse", "exclusive"])
@pytest.mark.parametrize("close_at_end", [False, True])
def test_figures_of_many_sets_at_once_equal_backtesting(policy: Policy, close_at_end: bool) -> None:
    """Stops and targets alone take the way of the lanes; 140 sets are more than one block of them."""
    found = []
    for seed in range(4):
        bars, signal = long_market(100 + seed)
        generator = np.random.default_rng(seed)
        sets = [
            replace(parameters(generator), limit_long=None, limit_short=None, minimum_profit=None, **NO_TRAILING)
            for _ in range(140)
        ]
        costs = Costs(0.0005, 1e6)
        rows = sweep(bars, signal, sets, costs, policy, close_at_end=close_at_end)
        for place in generator.choice(140, 10, replace=False):
            stats = reference(bars, signal, sets[place], costs, policy, close_at_end=close_at_end)
            found += unequal_figures(stats, rows.iloc[place])
    assert not found


NO_TRAILING = {"trailing_activation": None, "trailing_distance": None}


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(MARKETS), st.sampled_from(["reverse", "exclusive"]), st.booleans())
def test_lanes_equal_one_set_at_a_time(seed: int, kind: str, policy: Policy, close_at_end: bool) -> None:
    """Ruin, sizes next to whole numbers and lone trades included: those lanes are done again."""
    generator = np.random.default_rng(seed)
    rows = int(generator.integers(2, 500))
    bars, signal = market(generator, kind, rows), signals(generator, rows)
    sets = [
        replace(parameters(generator, kind), limit_long=None, limit_short=None, minimum_profit=None, **NO_TRAILING)
        for _ in range(int(generator.integers(1, 20)))
    ]
    costs = Costs(float(generator.choice([0.0, 0.001, 0.05])), float(generator.choice([500.0, 1e5, 1e7])))
    together = sweep(bars, signal, sets, costs, policy, close_at_end=close_at_end)
    # a time table that never closes anything sends a set the slow way
    apart = [replace(chosen, minimum_profit=((10**6, 0.0),)) for chosen in sets]
    alone = sweep(bars, signal, apart, costs, policy, close_at_end=close_at_end)
    together, alone = together.drop(columns="minimum_profit"), alone.drop(columns="minimum_profit")
    pd.testing.assert_frame_equal(together, alone, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("kind", ["walk", "gaps", "violent"])
def test_metrics_of_a_sweep_are_those_of_the_reference(kind: str, policy: Policy) -> None:
    for seed in range(6):
        generator = np.random.default_rng(seed)
        bars, signal = market(generator, kind, 700), signals(generator, 700)
        sets = [parameters(generator, kind) for _ in range(3)]
        sets.append(replace(sets[0], limit_long=None, limit_short=None, minimum_profit=None, **NO_TRAILING))
        costs = Costs(0.001, float(generator.choice([2_000.0, 1e6])))
        found, returns = sweep_metrics(bars, signal, sets, costs, policy, close_at_end=True)
        stats = [reference(bars, signal, chosen, costs, policy, close_at_end=True) for chosen in sets]
        expected = pd.DataFrame([metrics.figures(run) for run in stats])
        pd.testing.assert_frame_equal(pd.DataFrame(found), expected, rtol=1e-9, atol=1e-12)
        daily = [metrics.daily_returns(metrics.daily_equity(run)) for run in stats]
        np.testing.assert_allclose(returns, daily, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("first", ["2024-01-01 23:45", "2024-01-02"], ids=["alone on its day", "with its day"])
@pytest.mark.parametrize("table", [None, ((7, -1.0),)], ids=["lanes", "plain"])
def test_daily_returns_fall_on_their_days(first: str, table: tuple[tuple[int, float], ...] | None) -> None:
    bars = random_walk(900, seed=3)
    bars.index = pd.date_range(first, periods=900, freq="15min", tz="UTC", unit="us")
    bars = bars[~bars.index.day.isin([3, 6, 7])]
    signal = np.resize([0, 1, 0, 0, 2, 0, 0], len(bars))
    sets = [BracketParameters(stop, 0.02, None, stop, None, None, minimum_profit=table) for stop in (0.003, 0.01)]
    _, returns = sweep_metrics(bars, signal, sets, Costs(0.001), close_at_end=True)
    stats = [reference(bars, signal, chosen, Costs(0.001), close_at_end=True) for chosen in sets]
    expected = pd.DataFrame([metrics.daily_returns(metrics.daily_equity(run)) for run in stats])
    without = expected.columns.day.isin([3, 6, 7])
    assert without.sum() == 3
    assert ((expected.loc[:, ~without] != 0).sum(axis=1) > 5).all()
    np.testing.assert_allclose(returns, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kinds", [("lanes",), ("plain",), ("plain", "lanes", "plain")])
def test_prepared_sets_can_be_swept_again_and_again(bars: pd.DataFrame, kinds: tuple[str, ...]) -> None:
    signal = np.resize([0, 1, 0, 0, 2, 0, 0], len(bars))
    tables = {"lanes": [None] * 3, "plain": [((7, -1.0),), None, ((3, 0.01), (9, 0.0))]}
    sets = [
        BracketParameters(0.01, 0.02, None if kind == "lanes" else 0.004, 0.02, minimum_profit=table)
        for kind in kinds
        for table in tables[kind]
    ]
    prepared = prepare(sets)
    for some in (bars, bars.iloc[:500]):
        run = (some, signal[: len(some)])
        figures, returns = sweep_metrics(*run, sets, Costs())
        found = sweep_metrics(*run, prepared, Costs())
        np.testing.assert_array_equal(found.returns, returns)
        pd.testing.assert_frame_equal(pd.DataFrame(found.figures), pd.DataFrame(figures))
        pd.testing.assert_frame_equal(sweep(*run, prepared, Costs()), sweep(*run, sets, Costs()))


def test_equity_is_cash_and_position(bars: pd.DataFrame) -> None:
    signal = np.resize([0, 1, 0, 0, 2, 0, 0], len(bars))
    trades, equity = replay(bars, signal, BracketParameters(), Costs(0.001), close_at_end=True)
    assert equity.iloc[-1] == pytest.approx(100_000 + trades["pnl"].sum())
    assert not trades["commission"].eq(0).any()


def test_exits_are_named(bars: pd.DataFrame) -> None:
    signal = np.resize([0, 1, 0, 0, 0, 2, 0], len(bars))
    trades, _ = replay(bars, signal, BracketParameters(0.004, 0.004, None, 0.004, 0.004, None), Costs())
    assert set(trades["exit"]) == {"order", "stop", "target"}
    by_target = trades[trades["exit"] == "target"]
    assert (by_target["pnl"] > 0).all()


def test_the_result_has_the_promised_columns(bars: pd.DataFrame) -> None:
    signal = np.resize([0, 1, 2], len(bars))
    trades, equity = replay(bars, signal, BracketParameters(), Costs())
    assert list(trades.columns[: len(TRADES)]) == [
        *("size", "entry_bar", "exit_bar", "entry_price", "exit_price", "pnl", "commission")
    ]
    assert equity.index.equals(bars.index)
    table = sweep(bars, signal, [BracketParameters(), BracketParameters(0.01)], Costs())
    assert list(table["stop_loss_long"].isna()) == [True, False]
    assert {"Sharpe Ratio", "Win Rate [%]", "# Trades", "Max. Drawdown Duration"} <= set(table.columns)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"policy": "hedge"}, "policy is 'hedge'; allowed: reverse, exclusive, stack"),
        ({"limit_bars": 0}, "limit_bars is 0; allowed"),
        ({"policy": "stack", "costs": Costs(slippage=0.001)}, "slippage is set with the policy stack"),
        ({"signal": np.full(4, 3)}, "the signal is 3 at"),
        ({"funding": pd.Series([0.0, 0.1])}, "funding has 2 rates on an index of its own"),
    ],
)
def test_what_cannot_be_run_is_named(change: dict[str, Any], message: str) -> None:
    bars = market(np.random.default_rng(0), "walk", 4)
    given = {"signal": np.zeros(4), "parameters": BracketParameters(), "costs": Costs(), **change}
    with pytest.raises(BracketError, match=message):
        replay(bars, **given)


def test_a_missing_funding_rate_is_refused() -> None:
    bars = market(np.random.default_rng(0), "walk", 4)
    funding = pd.Series([0.0, np.nan, 0.0, 0.0], index=bars.index)
    with pytest.raises(BracketError, match=re.escape(f"funding is nan at {bars.index[1]}")):
        replay(bars, np.zeros(4), BracketParameters(), Costs(), funding=funding)


def test_no_sets_are_refused(bars: pd.DataFrame) -> None:
    with pytest.raises(BracketError, match="no parameter sets"):
        sweep(bars, np.zeros(len(bars)), [], Costs())


def test_the_reference_refuses_what_backtesting_does_not_know(bars: pd.DataFrame) -> None:
    with pytest.raises(BracketError, match=r"slippage is 0\.001, which backtesting\.py does not know"):
        reference(bars, np.zeros(len(bars)), BracketParameters(), Costs(slippage=0.001))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"commission": 0.1}, r"commission is 0\.1; allowed: a fraction from -0\.1 to below 0\.1"),
        ({"maker_commission": -0.2}, r"maker_commission is -0\.2"),
        ({"cash": 0}, "cash is 0; allowed: a finite number above 0"),
        ({"lot_size": float("nan")}, "lot_size is nan"),
        ({"minimum_notional": -1}, "minimum_notional is -1"),
        ({"maintenance_margin": -0.1}, r"maintenance_margin is -0\.1"),
        ({"slippage": 1}, "slippage is 1; allowed: a fraction from 0 to below 1"),
    ],
)
def test_costs_out_of_range_are_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(BracketError, match=message):
        Costs(**values)


def test_a_maintenance_margin_that_would_liquidate_at_once_is_refused(bars: pd.DataFrame) -> None:
    costs = Costs(maintenance_margin=0.1)
    with pytest.raises(BracketError, match=r"maintenance_margin is 0\.1 at leverage 10; allowed: below 1 / leverage"):
        replay(bars, np.zeros(len(bars)), BracketParameters(leverage=10), costs)


@pytest.mark.parametrize("threads", [1, 3])
def test_several_assets_in_one_call_are_those_one_by_one(threads: int) -> None:
    generator = np.random.default_rng(0)
    assets = {name: (market(generator, "walk", 400), signals(generator, 400)) for name in ("B", "A", "C")}
    sets = [parameters(generator, "walk") for _ in range(3)] + [BracketParameters(0.01, 0.01)]
    funding = {"A": pd.Series(np.resize([0.0, 0.001], 400), index=assets["A"][0].index)}
    found = sweep_assets(assets, sets, Costs(0.001), funding=funding, threads=threads)
    expected = {name: sweep(*assets[name], sets, Costs(0.001), funding=funding.get(name)) for name in assets}
    assert found["ticker"].tolist() == [name for name in assets for _ in sets]
    for name, table in expected.items():
        one = found[found["ticker"] == name].drop(columns="ticker").reset_index(drop=True)
        pd.testing.assert_frame_equal(one, table)


def test_an_asset_that_cannot_be_replayed_is_named(bars: pd.DataFrame) -> None:
    signal = np.zeros(len(bars))
    with pytest.raises(BracketError, match=r"^B: the signal is 7"):
        sweep_assets({"A": (bars, signal), "B": (bars, signal + 7)}, [BracketParameters()], Costs())
    with pytest.raises(BracketError, match="there are 0 assets"):
        sweep_assets({}, [BracketParameters()], Costs())


def test_all_loops_are_compiled_by_the_warm_up() -> None:
    """In a process of its own, in which nothing is compiled yet."""
    program = (
        "from quant import engine, engine_kernels as kernels; engine.warm_up(); "
        "print(all(f.signatures for f in (kernels.single, kernels.stack, kernels.sweep_plain, kernels.sweep_lanes)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "True"


def test_lots_of_a_cheap_coin_may_be_more_than_an_integer_holds(bars: pd.DataFrame) -> None:
    signal = np.resize([0, 1, 0, 0, 2, 0], len(bars))
    cheap = bars.assign(**{name: bars[name] * 1e-6 for name in ("open", "high", "low", "close")})
    fine, finest = (
        replay(cheap, signal, BracketParameters(), Costs(cash=1e6, lot_size=lot)).trades for lot in (1e-4, 1e-12)
    )
    assert len(finest) == len(fine) > 100
    np.testing.assert_allclose(finest["size"], fine["size"], rtol=1e-9)
