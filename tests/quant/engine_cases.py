"""Generated runs on which the engine must equal backtesting.py: gaps, exact ties, ruin, and any parameters."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from quant.bracket import reference
from quant.costs import Costs
from quant.engine import POLICIES, TRADES, Policy, replay
from quant.parameters import BracketParameters

OF_THE_LIBRARY = ["Size", "EntryBar", "ExitBar", "EntryPrice", "ExitPrice", "PnL", "Commission"]
MARKETS = ("walk", "grid", "gaps", "violent", "cents")


@dataclass(frozen=True)
class Case:
    """One run, as both sides take it."""

    bars: pd.DataFrame
    signal: np.ndarray[Any, Any]
    parameters: BracketParameters
    costs: Costs
    policy: Policy
    options: dict[str, Any]

    def reference(self) -> pd.Series:
        return reference(self.bars, self.signal, self.parameters, self.costs, self.policy, **self.options)


def case(seed: int, kind: str | None = None, bars: int | None = None) -> Case:
    """The run of a seed."""
    generator = np.random.default_rng(seed)
    kind = kind or str(generator.choice(MARKETS))
    count = bars or int(generator.integers(2, 400))
    return Case(
        market(generator, kind, count),
        signals(generator, count),
        parameters(generator, kind),
        Costs(
            float(generator.choice([0.0, 0.0005, 0.002, 0.05, -0.0001])),
            float(generator.choice([1_000.0, 100_000.0, 12_345.6, 10_000_000.0])),
        ),
        str(generator.choice(POLICIES)),  # type: ignore[arg-type]
        {"limit_bars": int(generator.integers(1, 5)), "close_at_end": bool(generator.integers(2))},
    )


def market(generator: np.random.Generator, kind: str, count: int) -> pd.DataFrame:
    """Candles of one kind."""
    if kind == "grid":  # whole numbers around 100: opens, levels and extremes meet exactly, all the time
        close = 100 + np.cumsum(generator.integers(-2, 3, count))
        close = np.maximum(close, 5)
        opened = np.maximum(np.r_[100, close[:-1]] + generator.choice([0, 0, 0, -1, 1], count), 1)
        high = np.maximum(opened, close) + generator.integers(0, 3, count)
        low = np.maximum(np.minimum(opened, close) - generator.integers(0, 3, count), 1)
        table = np.c_[opened, high, low, close].astype(np.float64)
    else:
        scale = {"walk": 0.005, "gaps": 0.004, "violent": 0.08, "cents": 0.01}[kind]
        first = {"walk": 100.0, "gaps": 37.3, "violent": 250.0, "cents": 0.000123}[kind]
        close = first * np.exp(np.cumsum(generator.standard_t(3, count) * scale))
        gap = generator.normal(0, scale, count) * (generator.random(count) < (0.5 if kind == "gaps" else 0.1))
        opened = np.r_[first, close[:-1]] * np.exp(gap)
        high = np.maximum(opened, close) * np.exp(np.abs(generator.normal(0, scale / 2, count)))
        low = np.minimum(opened, close) * np.exp(-np.abs(generator.normal(0, scale / 2, count)))
        table = np.c_[opened, high, low, close]
    step = str(generator.choice(["15min", "1h", "1D"]))
    index = pd.date_range("2024-01-01", periods=2 * count, freq=step, tz="UTC", unit="us")
    kept = np.sort(generator.choice(2 * count, count, replace=False)) if kind == "gaps" else np.arange(count)
    return pd.DataFrame(table, columns=["open", "high", "low", "close"], index=index[kept])


def signals(generator: np.random.Generator, count: int) -> np.ndarray[Any, Any]:
    """Longs and shorts on 2 to 80 % of the bars, at times one side alone."""
    share = float(generator.choice([0.02, 0.1, 0.3, 0.8]))
    sides = generator.choice([1, 2], count, p=generator.choice([(0.5, 0.5), (1.0, 0.0), (0.0, 1.0)]))
    return np.where(generator.random(count) < share, sides, 0).astype(np.int8)


def parameters(generator: np.random.Generator, kind: str = "walk") -> BracketParameters:
    """Any parameters; on the grid often whole percents, so that levels lie on it."""

    def fraction(high: float, off: float = 0.25) -> float | None:
        if generator.random() < off:
            return None
        return int(generator.integers(1, 6)) / 100 if kind == "grid" else float(generator.uniform(0.0005, high))

    def limit(target: float | None) -> float | None:
        drawn = fraction(0.01, off=0.6)
        return drawn if drawn is None or target is None else min(drawn, target / 2)

    take_long, take_short = fraction(0.08), fraction(0.08)
    trails = generator.random() < 0.35
    table = generator.random() < 0.35
    bars = np.sort(generator.choice(60, int(generator.integers(1, 4)), replace=False))
    return BracketParameters(
        fraction(0.06),
        take_long,
        limit(take_long),
        fraction(0.06),
        take_short,
        limit(take_short),
        float(generator.choice([1.0, 1.0, 2.0, 3.0, 10.0, 50.0])),
        fraction(0.03, off=0.0) if trails else None,
        fraction(0.02, off=0.0) if trails else None,
        tuple((int(bar), float(generator.choice([-1.0, -0.01, 0.0, 0.01]))) for bar in bars) if table else None,
    )


def difference(run: Case) -> str:
    """What differs between both sides, trade by trade and bar by bar; empty where all is equal to the last bit."""
    return differences(run)[0]


def differences(run: Case) -> tuple[str, int]:
    """What differs, and how many trades were compared."""
    stats = run.reference()
    found = replay(run.bars, run.signal, run.parameters, run.costs, run.policy, **run.options)
    expected = stats["_trades"][OF_THE_LIBRARY].set_axis(list(TRADES), axis=1).astype(np.float64)
    got = found.trades[list(TRADES)].astype(np.float64)
    count = len(expected)
    if count != len(got):
        return f"{len(got)} trades, backtesting.py has {count}", count
    unequal = np.argwhere(expected.to_numpy() != got.to_numpy())
    if len(unequal):
        row, column = unequal[0]
        return f"trade {row}, {TRADES[column]}: {got.iloc[row, column]!r}, not {expected.iloc[row, column]!r}", count
    equity = stats["_equity_curve"]["Equity"].to_numpy()
    bars = np.flatnonzero(equity != found.equity.to_numpy())
    if len(bars):
        return f"equity at bar {bars[0]}: {found.equity.iloc[bars[0]]!r}, not {equity[bars[0]]!r}", count
    return "", count
