"""The engine against backtesting.py, turn by turn in one process on one core.

    .venv/bin/python -m benchmarks.engine

20,000 bars of 15m, 200 sets of stops and targets, policy reverse, figures included, everything warm but the cold start,
which is measured in a process of its own with an empty cache. A turn is one run of backtesting.py for one set and the
median of five sweeps over all sets; the ratio is between the times a set.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from quant import engine
from quant.bracket import reference
from quant.costs import Costs
from quant.parameters import BracketParameters

BARS = 20_000
COSTS = Costs(0.0005)

STOPS, TARGETS = np.linspace(0.005, 0.05, 10), np.linspace(0.005, 0.08, 20)
BOTH = [(float(stop), float(take)) for stop in STOPS for take in TARGETS]
SETS = {
    "stop and target": [BracketParameters(stop, take, None, stop, take, None) for stop, take in BOTH],
    "+ limit": [BracketParameters(stop, take, 0.001, stop, take, 0.001) for stop, take in BOTH],
    "+ trailing": [
        BracketParameters(stop, take, None, stop, take, None, trailing_activation=0.01, trailing_distance=0.005)
        for stop, take in BOTH
    ],
    "+ time table": [
        BracketParameters(stop, take, None, stop, take, None, minimum_profit=((20, 0.0), (80, -1.0)))
        for stop, take in BOTH
    ],
    "+ leverage 5": [BracketParameters(stop, take, None, stop, take, None, leverage=5) for stop, take in BOTH],
}


def market() -> pd.DataFrame:
    """A random walk with fat tails, 0.5 % a bar."""
    generator = np.random.default_rng(1)
    close = 100 * np.exp(np.cumsum(generator.standard_t(3, BARS) * 0.005))
    opened = np.r_[100.0, close[:-1]]
    high = np.maximum(opened, close) * np.exp(np.abs(generator.normal(0, 0.0025, BARS)))
    low = np.minimum(opened, close) * np.exp(-np.abs(generator.normal(0, 0.0025, BARS)))
    index = pd.date_range("2024-01-01", periods=BARS, freq="15min", tz="UTC", unit="us")
    return pd.DataFrame({"open": opened, "high": high, "low": low, "close": close}, index=index)


def signals(share: float) -> np.ndarray:
    """Longs and shorts on a share of the bars."""
    generator = np.random.default_rng(2)
    return np.where(generator.random(BARS) < share, generator.integers(1, 3, BARS), 0).astype(np.int8)


def timed(run: Callable[..., Any], *arguments: Any) -> float:
    """Seconds of one call."""
    started = time.perf_counter()
    run(*arguments)
    return time.perf_counter() - started


def compare(name: str, sets: list[BracketParameters], share: float, policy: engine.Policy, turns: int) -> None:
    """Print one row: both sides turn by turn, and the ratio with its spread."""
    bars, signal = market(), signals(share)
    engine.sweep(bars, signal, sets, COSTS, policy)
    slow, fast = [], []
    for turn in range(turns):
        chosen = sets[turn * 37 % len(sets)]
        slow.append(timed(reference, bars, signal, chosen, COSTS, policy))
        sweeps = [timed(engine.sweep, bars, signal, sets, COSTS, policy) for _ in range(5)]
        fast.append(float(np.median(sweeps)) / len(sets))
    ratios = [one / many for one, many in zip(slow, fast, strict=True)]
    print(
        f"{name:<16} {policy:<9} {share:>4.0%}  backtesting.py {np.median(slow) / BARS * 1e6:5.2f} µs a bar, "
        f"engine {np.median(fast) / BARS * 1e9:6.3f} ns a bar and set, "
        f"ratio {np.median(ratios):,.0f} ({min(ratios):,.0f} to {max(ratios):,.0f})",
        flush=True,
    )


def cold_start() -> None:
    """Print how long the first figures take with an empty cache of compiled code, and with a full one."""
    program = (
        "from benchmarks import engine as b; "
        "b.engine.sweep(b.market(), b.signals(0.1), b.SETS['+ limit'][:1] + b.SETS['stop and target'][:1], b.COSTS)"
    )
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", program], check=True, env={**os.environ, "NUMBA_CACHE_DIR": folder})
        cold = time.perf_counter() - started
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", program], check=True, env={**os.environ, "NUMBA_CACHE_DIR": folder})
        warm = time.perf_counter() - started
    print(f"first figures of a new process: {cold:.1f} s with nothing compiled before, {warm:.1f} s afterwards")


def main() -> None:
    """Print all rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=7)
    turns = parser.parse_args().turns
    for share in (0.1, 0.01):
        compare("stop and target", SETS["stop and target"], share, "reverse", turns)
        compare("stop and target", SETS["stop and target"], share, "exclusive", turns)
        for name in list(SETS)[1:]:
            compare(name, SETS[name], share, "reverse", turns)
        compare("stop and target", SETS["stop and target"][:20], share, "stack", turns)
    cold_start()


if __name__ == "__main__":
    main()
