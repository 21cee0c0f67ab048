"""Whether the engine equals backtesting.py to the last bit, on generated runs and on real assets.

    .venv/bin/python -m benchmarks.engine_equality --generated 10000
    .venv/bin/python -m benchmarks.engine_equality --real ../shared/data/binance_um_15m --sets 20

Generated runs are those of `tests/quant/engine_cases.py`; a thousand more lie on a grid of whole prices, full of exact
ties. On real assets every set is replayed under every policy, with signals on 5 % of the bars. Prints what differs, and
how many runs and trades were compared.
"""

import argparse
import multiprocessing
import sys
import time
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from quant.costs import Costs
from quant.engine import POLICIES
from tests.quant.engine_cases import Case, case, differences, parameters

# what the two sides are compared on, and how many trades that was
Outcome = tuple[str, int]


def generated(seed: int, kind: str | None = None) -> list[Outcome]:
    """One generated run."""
    warnings.simplefilter("ignore")
    found, trades = differences(case(seed, kind))
    return [(f"{kind or 'any'} {seed}: {found}" if found else "", trades)]


def real(path: Path, sets: int) -> list[Outcome]:
    """All sets and policies over one asset."""
    warnings.simplefilter("ignore")
    bars = pd.read_parquet(path)
    if "time" in bars:
        bars = bars.set_index("time")
    bars.index = pd.DatetimeIndex(bars.index)
    outcomes = []
    for number in range(sets):
        generator = np.random.default_rng([number, *path.stem.encode()])
        drawn = generator.random(len(bars)) < 0.05
        signal = np.where(drawn, generator.integers(1, 3, len(bars)), 0).astype(np.int8)
        chosen = parameters(generator)
        for policy in POLICIES:
            options = {"limit_bars": 1 + number % 3, "close_at_end": bool(number % 2)}
            run = Case(bars, signal, chosen, Costs(0.0005, 1_000_000.0), policy, options)
            found, trades = differences(run)
            outcomes.append((f"{path.stem} set {number} {policy}: {found}" if found else "", trades))
    return outcomes


def main() -> None:
    """Compare, and exit with 1 where anything differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--generated", type=int, default=0)
    parser.add_argument("--real", type=Path)
    parser.add_argument("--sets", type=int, default=20)
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    started = time.perf_counter()
    runs = trades = different = 0
    with multiprocessing.get_context("spawn").Pool(arguments.processes) as pool:
        if arguments.real:
            files = sorted(arguments.real.glob("*.parquet"))
            results = pool.imap_unordered(partial(real, sets=arguments.sets), files)
        else:
            ties = partial(generated, kind="grid")
            free = pool.imap_unordered(generated, range(arguments.generated), chunksize=50)
            tied = pool.imap_unordered(ties, range(10**6, 10**6 + arguments.generated // 10), chunksize=50)
            results = (outcome for part in (free, tied) for outcome in part)  # type: ignore[assignment]
        for outcomes in results:
            for found, count in outcomes:
                runs, trades, different = runs + 1, trades + count, different + bool(found)
                if found:
                    print(found, flush=True)
    print(f"{runs:,} runs, {trades:,} trades: {different} runs differ; {time.perf_counter() - started:,.0f} s")
    sys.exit(different > 0)


if __name__ == "__main__":
    main()
