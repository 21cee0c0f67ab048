"""Whoever breaks a rule of the kernels is told so: each is broken here on purpose, and the generated cases must see it.

The kernels run as plain Python for this, from a source in which one expression is another.
"""

import functools
import math
import types
from dataclasses import replace
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pandas as pd
import pytest

from quant import engine, engine_figures, engine_kernels
from quant.costs import Costs
from quant.parameters import BracketParameters
from tests.quant.engine_cases import MARKETS, OF_THE_LIBRARY, Case, case

SOURCE = Path(engine_kernels.__file__).read_text(encoding="utf-8")
CASES_A_KIND = 70
NO_TRAILING = {"trailing_activation": None, "trailing_distance": None}

ONE_AT_A_TIME = [
    ("stopped = checks and lowest <= stop", "stopped = checks and lowest < stop"),
    ("stopped = checks and highest >= stop", "stopped = checks and highest > stop"),
    ("elif checks and highest >= target", "elif checks and highest > target"),
    ("elif checks and lowest <= target", "elif checks and lowest < target"),
    ("min(opened, stop)", "stop"),
    ("max(opened, stop)", "stop"),
    ("max(opened, target)", "target"),
    ("min(opened, target)", "target"),
    ("stopped = checks and lowest <= stop", "stopped = checks and lowest <= stop and not highest >= target"),
    ("checks = at_market", "checks = True"),
    ("checks = at_market", "checks = False"),
    ("FRACTION = 1.0 - np.finfo(np.float64).eps", "FRACTION = 0.9999"),
    ("FRACTION = 1.0 - np.finfo(np.float64).eps", "FRACTION = 1.0"),
    ("change = gross - fee", "change = gross"),
    ("cash -= entry_fee", "cash -= 0.0"),
    ("gross - trades[row, COMMISSION]", "gross - fee"),
    ("_fee(FRACTION, price, rate) / FRACTION\n            free = max", "price * 0.0\n            free = max"),
    ("        if worth <= 0.0:\n            if size", "        if worth < -1e18:\n            if size"),
    (
        "equity[bar:] = 0.0\n            break\n        # the strategy, at the close\n        if side",
        "pass\n        if side",
    ),
    ("until = bar + limit_bars\n            closing", "until = bar + limit_bars + 1\n            closing"),
    ("policy == REVERSE and size * wanted > 0.0", "policy == REVERSE and size * wanted < 0.0"),
    ("policy == REVERSE and size * wanted > 0.0", "size * wanted > 0.0"),
    ("move >= _least(table, bar - entry_bar + 1)", "move >= _least(table, bar - entry_bar)"),
    ("move >= _least(table, bar - entry_bar + 1)", "move > _least(table, bar - entry_bar + 1)"),
    ("elif trails and move >= activation", "elif trails and move >= activation + 0.001"),
    ("raised = closed * (1.0 - direction * distance)", "raised = highest * (1.0 - direction * distance)"),
    ("or direction * (raised - stop) > 0.0", "or direction * (raised - stop) < 0.0"),
    ("order_stop = closed *", "order_stop = opened *"),
    ("order_target = closed *", "order_target = closed * (1.0 + 2e-16) *"),
    ("limit = closed * (1.0 + wanted", "limit = closed * (1.0 - wanted"),
    ("price = min(price, limit)", "price = limit"),
    ("price = max(price, limit)", "price = limit"),
    ("(lowest <= limit if side > 0", "(lowest < limit if side > 0"),
    ("until = bar + limit_bars\n            closing = size != 0.0", "until = bar + limit_bars"),
    ("leverage = 1.0 / (1.0 / set_[LEVERAGE])", "leverage = set_[LEVERAGE]"),
    ("if bar == border:\n            closing = size != 0.0\n            continue", "if False:\n            continue"),
    ("if bar < border <= last:\n            last = border - 1", "pass"),
    ("low[following] <= below", "low[following] < below"),
    ("high[following] >= above", "high[following] > above"),
    ("(1.0 + favourable - 1e-9)", "(1.0 + favourable + 1e-3)"),
    ("(1.0 - favourable + 1e-9)", "(1.0 - favourable - 1e-3)"),
    ("entry_bar - 2 + _next_step", "entry_bar - 1 + _next_step"),
    ("quiet = 1 if size > 0.0 else 2", "quiet = 2 if size > 0.0 else 1"),
    ("return below + 1.0 if divided - below > 0.5 else below", "return math.floor(quotient)"),
]
STRICT_STOP = "if not (highest > level if side > 0 else lowest < level):\n                            c"
STACKED = [
    (
        "return _insert(queue, queued, 0, row)\n    orders[row",
        "return _insert(queue, queued, queued, row)\n    orders[row",
    ),
    ("again = again or at_market", "pass"),
    ("_margin_free(opened, listed, trading, closed", "_margin_free(opened, listed, trading, at_open"),
    ("place += 1\n            equity", "pass\n            equity"),
    ("if abs(units) >= abs(held)", "if abs(units) > abs(held)"),
    ("if not (highest >= level if side > 0 else lowest <= level):\n                            c", STRICT_STOP),
    ("price = max(at_open, level) if side > 0 else min(at_open, level)", "price = level"),
    ("cash -= _fee(units, price, rate)", "cash -= 0.0"),
    ("((_TAKE_PROFIT, target), (_STOP_LOSS, stop))", "((_TAKE_PROFIT, stop), (_STOP_LOSS, target))"),
    ("opened[listed[position], _UNITS] * side < 0", "opened[listed[position], _UNITS] * side > 0"),
    ("abs(units) * unit_cost > free * leverage or units == 0.0", "units == 0.0"),
    ("(orders[row, _UNTIL] <= bar or bar == border)", "(orders[row, _UNTIL] < bar or bar == border)"),
    ("table, bar - opened[trade, _BAR] + 1)", "table, bar - opened[trade, _BAR])"),
    ("old < 0 or direction * (raised - orders[old, _STOP]) > 0.0", "True"),
]


MANY_AT_ONCE = [
    ("lower = (is_long & below) | ((not is_long) & (not above))", "lower = below"),
    ("at_low, at_high = low if low < opened else opened,", "at_low, at_high = low,"),
    ("high if high > opened else opened", "high"),
    ("flag = 1 if (lowest <= state[_LOW + lane])", "flag = 1 if (lowest < state[_LOW + lane])"),
    ("| (highest >= state[_HIGH + lane]) else 0", "| (highest > state[_HIGH + lane]) else 0"),
    ("looked = (lowest <= low) | (highest >= high)", "looked = (lowest <= low) | (highest > high)"),
    ("looked = (lowest <= low) |", "looked = (lowest < low) |"),
    ("((best >= peak) & (not rests))", "(best > 2.0 * peak)"),
    ("worst = cash + ((bottom if size > 0.0 else top)", "worst = cash + ((top if size > 0.0 else bottom)"),
    ("lower = worst if worst < trough else trough", "lower = trough"),
    ("state[_PEAK_BAR + lane] = last if rests else peak_bar", "state[_PEAK_BAR + lane] = peak_bar"),
    ("state[_HELD_FROM + lane] = bar + 1.0 if on", "state[_HELD_FROM + lane] = bar if on"),
    ("on = (every | (not size * wanted > 0.0)) & (size", "on = (size"),
    ("acts = every | (not size * wanted > 0.0)", "acts = every | (size == 0.0)"),
    ("new_low = before * (long_low", "new_low = opened * (long_low"),
    ("state[_CASH + lane] = cash - fee if acts & waits else cash", "state[_CASH + lane] = cash"),
    ("lower = trough if ends else lower", "lower = worth if ends else lower"),
    ("every = policy == EXCLUSIVE or order == 2", "every = order == 2"),
    ("return 2 if bar - 1 == border else 0", "return 0"),
    ("if last > state[_PEAK_BAR + lane] + 1.0:", "if last > state[_PEAK_BAR + lane] + 2.0:"),
    ("fall = now[lane] if now[lane] < 0.0 else 0.0", "fall = now[lane]"),
    ("ruined = state[_DEEPEST + lane] >= 1.0 or", "ruined = False and"),
]


@functools.cache
def cases() -> list[tuple[Case, np.ndarray[Any, Any], np.ndarray[Any, Any]]]:
    """Generated runs with what backtesting.py makes of them: trades and equity."""
    # in the last two an order meets a trade of exactly its own size, which is rare
    by_hand = [*at_the_edge(), touched_limit(), touched_level(98.0), touched_level(102.0)]
    runs = [*by_hand, case(640, "violent", bars=90), case(462, "grid", bars=90)]
    for kind in MARKETS:
        for seed in range(CASES_A_KIND):
            runs.append(case(seed, kind, bars=90))
    found = []
    for run in runs:
        stats = run.reference()
        found.append((run, stats["_trades"][OF_THE_LIBRARY].to_numpy(np.float64), stats["_equity_curve"]["Equity"]))
    return found


def at_the_edge() -> list[Case]:
    """Accounts a few last bits from enough cash for one more unit, where a plain division rounds the wrong way."""
    generator = np.random.default_rng(0)
    runs = []
    for number in range(60):
        price = float(generator.integers(3, 999)) / float(generator.choice([1, 10, 7]))
        leverage, commission = float(generator.choice([1, 3, 49])), float(generator.choice([0.0, 0.001]))
        cash = float(generator.integers(2, 500)) * (price + price * commission) / leverage
        for _ in range(number % 5):
            cash = float(np.nextafter(cash, np.inf))
        runs.append(few_bars([[price] * 4] * 4, BracketParameters(leverage=leverage), Costs(commission, cash)))
    return runs


def touched_limit() -> Case:
    """A price that has run away from a limit comes back to it exactly."""
    rows = [[100.0, 100.0, 100.0, 100.0]] * 2 + [[103.0, 104.0, 101.0, 102.0], [102.0, 103.0, 101.5, 103.0]]
    return few_bars(rows, BracketParameters(limit_long=0.01), Costs())


def touched_level(level: float) -> Case:
    """A stop at 98 or a target at 102, touched to the cent on a quiet bar among quiet bars."""
    rows = [[100.0, 100.5, 99.5, 100.0]] * 4 + [[100.0, max(100.5, level), min(99.5, level), 99.8]]
    rows += [[99.8, 100.3, 99.3, 99.7]] * 6
    return few_bars(rows, BracketParameters(stop_loss_long=0.02, take_profit_long=0.02), Costs(0.001))


def few_bars(rows: list[list[float]], parameters: BracketParameters, costs: Costs) -> Case:
    """A long decided at the close of bar 1, and closed at the end."""
    index = pd.date_range("2024-01-01", periods=len(rows), freq="15min", tz="UTC", unit="us")
    bars = pd.DataFrame(rows, columns=["open", "high", "low", "close"], index=index)
    signal = np.array([0, 1] + [0] * (len(rows) - 2), dtype=np.int8)
    return Case(bars, signal, parameters, costs, "reverse", {"limit_bars": 1, "close_at_end": True})


def kernels(old: str, new: str) -> types.ModuleType:
    """The kernels as plain Python, one expression replaced by another."""
    assert old in SOURCE, f"the rule is no longer spelled {old!r}: break it here as it is spelled now"
    module = types.ModuleType("mutant")
    plain = types.SimpleNamespace(njit=lambda *_args, **_options: lambda function: function)
    # compiled, the logarithm of what is not above 0 is no error
    lenient = types.SimpleNamespace(**{**vars(math), "log": np.log})
    module.__dict__.update(numba=plain, math=lenient)
    exec(SOURCE.replace(old, new).replace("import numba\n", "").replace("import math\n", ""), module.__dict__)  # noqa: S102 - our own source
    return module


def differs(mutant: types.ModuleType, run: Case, trades: np.ndarray[Any, Any], equity: Any) -> bool:
    """Whether the kernels give other trades or another equity than backtesting.py."""
    prepared_sets = engine.prepare([run.parameters])
    sets, tables = prepared_sets.matrix, prepared_sets.tables
    bars = len(run.bars)
    found, curve = np.empty((2 * bars + 1, len(mutant.TRADE_COLUMNS))), np.empty(bars)
    prices = [run.bars[name].to_numpy() for name in ("open", "high", "low", "close")]
    costs = np.array([run.costs.cash, run.costs.commission, run.costs.commission, 0.0, 1.0, 0.0, 0.0, 0.0])
    waits, border = run.options["limit_bars"], bars - 2 if run.options["close_at_end"] else -1
    with np.errstate(all="ignore"):
        if run.policy == "stack":
            count = mutant.stack(  # noqa: PD013 - not a frame
                *prices, run.signal, sets[0], tables, costs, waits, border, False, found, curve
            )
        else:
            policy = mutant.REVERSE if run.policy == "reverse" else mutant.EXCLUSIVE
            none = np.empty(0)
            count = mutant.single(
                *prices, run.signal, none, sets[0], tables, costs, policy, waits, border, found, curve
            )
    if count != len(trades):
        return True
    return not (np.array_equal(found[:count, :7], trades) and np.array_equal(curve, equity))


def test_the_kernels_as_plain_python_equal_backtesting() -> None:
    sound = kernels("import numpy as np\n", "import numpy as np\n")
    assert not any(differs(sound, *one) for one in cases())


@pytest.mark.parametrize(("old", "new"), [*ONE_AT_A_TIME, *STACKED])
def test_a_broken_rule_is_seen(old: str, new: str) -> None:
    mutant = kernels(old, new)
    assert any(differs(mutant, *one) for one in cases())


@functools.cache
def sums_alone() -> list[tuple[Case, np.ndarray[Any, Any]]]:
    """The same runs with stops and targets alone, and the sums that one set at a time makes of them."""
    sound, found = kernels("import numpy as np\n", "import numpy as np\n"), []
    for run, *_ in cases():
        plain = replace(run.parameters, limit_long=None, limit_short=None, minimum_profit=None, **NO_TRAILING)
        simple = replace(run, parameters=plain, policy="exclusive" if run.policy == "exclusive" else "reverse")
        arguments, days = prepared(sound, simple)
        trades, equity = np.empty((len(run.bars) + 1, len(sound.TRADE_COLUMNS))), np.empty(len(run.bars))
        sums = np.empty(len(sound.SUMS))
        *prices, signal, sets, costs, policy, border = arguments
        none = np.empty((0, 2))
        with np.errstate(all="ignore"):
            count = sound.single(*prices, signal, np.empty(0), sets[0], none, costs, policy, 1, border, trades, equity)
            sound.summarise(equity, trades, count, days.times, days.day_ends, False, sums, np.empty(0))
        found.append((simple, sums))
    return found


def prepared(mutant: types.ModuleType, run: Case) -> tuple[list[Any], engine_figures.Calendar]:
    """A run as the kernels take it, and its calendar."""
    prices = [run.bars[name].to_numpy() for name in ("open", "high", "low", "close")]
    costs = np.array([run.costs.cash, run.costs.commission, run.costs.commission, 0.0, 1.0, 0.0, 0.0, 0.0])
    policy = mutant.REVERSE if run.policy == "reverse" else mutant.EXCLUSIVE
    border = len(run.bars) - 2 if run.options["close_at_end"] else -1
    sets = engine.prepare([run.parameters]).matrix
    return [*prices, run.signal, sets, costs, policy, border], engine_figures.calendar(pd.DatetimeIndex(run.bars.index))


def sums_differ(mutant: types.ModuleType, run: Case, expected: np.ndarray[Any, Any]) -> bool:
    """Whether the lanes make other sums of a run that they do not pass on."""
    (opens, high, low, close, signal, sets, costs, policy, border), days = prepared(mutant, run)
    sums, redo, returns = np.empty((1, len(expected))), np.empty(1, dtype=bool), np.empty((1, 0))
    with np.errstate(all="ignore"):
        plan = mutant.plan(high, low, close, signal, border, days.day_ends, mutant.LONGEST_STRETCH)
        calendar = days.times, days.day_ends
        mutant.sweep_lanes(opens, high, low, close, *plan, sets, costs, policy, *calendar, sums, returns, redo)
    told = sums[0] if expected[mutant.TRADES] else np.where(TRADELESS, expected, sums[0])
    return not redo[0] and not np.allclose(told, expected, rtol=1e-9, atol=1e-9, equal_nan=True)


# of a run without trades these are not looked at
TRADELESS = np.array([name in ("return_best", "return_worst") for name in engine_kernels.SUMS])


def test_the_lanes_as_plain_python_equal_one_set_at_a_time() -> None:
    sound = kernels("import numpy as np\n", "import numpy as np\n")
    assert not any(sums_differ(sound, *one) for one in sums_alone())


@pytest.mark.parametrize(("old", "new"), MANY_AT_ONCE)
def test_a_broken_rule_of_the_lanes_is_seen(old: str, new: str) -> None:
    mutant = kernels(old, new)
    assert any(sums_differ(mutant, *one) for one in sums_alone())


def test_numba_compiles_what_is_read_here() -> None:
    assert isinstance(engine_kernels.single, numba.core.dispatcher.Dispatcher)
