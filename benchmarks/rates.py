"""What a ticker and a row cost in each stage, for the rates in ``jobs``: seconds, bytes, requests and memory.

    python -m benchmarks.rates [--turns 3] [--features pattern8_relative]

Runs every stage that works ticker by ticker over random walks of three sizes, each stage of each size in a process of
its own and without Ray; prints the line through the sizes beside what the code says.
"""

import argparse
import json
import multiprocessing
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pandas as pd

from actors.outcome import Outcome
from jobs import backtest, compiled, features, ingest, labels, own_signals, placebo, search
from jobs.config import RunConfig
from jobs.estimate import stage_of
from jobs.rates import Rate, peak
from jobs.stage import Context
from storage.manifest import Usage
from storage.store import open_store
from tests.conftest import random_walk

SIZES = ((200, 500), (30, 20_000), (2, 400_000))  # tickers × bars
JOBS = {
    "ingest": ingest, "features": features, "labels": labels, "predict": own_signals, "search": search,
    "placebo": placebo, "backtest": backtest,
}  # fmt: skip
SIGNALS = 0.1  # share of the bars


def serially(function: Any, shards: Sequence[Any], *, shared: Any = None, **_: Any) -> Iterator[Outcome[Any, Any]]:
    """The fan-out as a plain loop."""
    for shard in shards:
        yield Outcome(shard, function(shard, shared), None)


def write_market(folder: Path, tickers: int, bars: int) -> None:
    """One Parquet file a ticker, and a file of signals beside them."""
    (folder / "market").mkdir(parents=True)
    given = []
    for number in range(tickers):
        frame = random_walk(bars, seed=number)
        frame.reset_index().to_parquet(folder / "market" / f"T{number:05d}USDT.parquet", index=False)
        drawn = np.random.default_rng(number).choice(3, bars, p=[1 - SIGNALS, SIGNALS / 2, SIGNALS / 2])
        known = drawn != 0
        given.append(pd.DataFrame({"ticker": f"T{number:05d}USDT", "time": frame.index[known], "signal": drawn[known]}))
    pd.concat(given).to_parquet(folder / "signals.parquet")


def config_of(folder: Path, feature_set: str) -> RunConfig:
    """A run with own signals on that market."""
    return RunConfig.model_validate(
        {
            "source": str(folder / "market"),
            "signals": str(folder / "signals.parquet"),
            "store": str(folder / "store"),
            "run": "rates",
            "features": {"set": feature_set},
            "split": {"embargo": 0},
        }
    )


def spent(stage: str, config: RunConfig) -> tuple[Usage, int]:
    """What a stage costs in this process, and the peak of its memory before it began."""
    compiled.ready()
    before = peak()
    manifest = JOBS[stage].run(Context(config, open_store(config.store)), fan_out=serially)
    assert not manifest.failures  # noqa: S101
    return manifest.usage, before


def measure(folder: Path, feature_set: str) -> dict[str, list[tuple[Usage, int]]]:
    """Usage of every stage at every size."""
    found: dict[str, list[tuple[Usage, int]]] = {stage: [] for stage in JOBS}
    for tickers, bars in SIZES:
        place = folder / f"{tickers}x{bars}"
        write_market(place, tickers, bars)
        for stage in JOBS:
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                found[stage].append(pool.apply(spent, (stage, config_of(place, feature_set))))
    return found


def rate_of(usages: Sequence[tuple[Usage, int]]) -> dict[str, float]:
    """The line through the first two sizes; memory by the last one."""
    (small, base), (middle, _), (large, _) = usages
    (few, short), (several, long), (_, longest) = SIZES
    found = {}
    for name, value in (
        ("seconds", lambda usage: usage.seconds),
        ("read", lambda usage: usage.bytes_read),
        ("written", lambda usage: usage.bytes_written),
    ):
        least, most = value(small) / few, value(middle) / several
        row = (most - least) / (long - short)
        found |= {f"{name}_ticker": least - row * short, f"{name}_row": row}
    found["requests"] = small.requests / few
    found["memory"] = float(base)
    found["memory_row"] = max(0.0, (large.peak_bytes - base) / longest)
    found["large_seconds_row"] = large.seconds / SIZES[2][0] / longest
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=1)
    parser.add_argument("--features", default="pattern8_relative")
    given = parser.parse_args()
    turns = []
    for _ in range(given.turns):
        with tempfile.TemporaryDirectory() as folder:
            turns.append({name: rate_of(usages) for name, usages in measure(Path(folder), given.features).items()})
    config = config_of(Path("nowhere"), given.features)
    for stage, module in JOBS.items():
        seen = {key: median(turn[stage][key] for turn in turns) for key in turns[0][stage]}
        print(f"{stage}: " + ", ".join(f"{key} {value:.3g}" for key, value in seen.items()))
        stated: Rate = stage_of(module, config).rate
        print(f"  in the code: {json.dumps(asdict(stated))}")


if __name__ == "__main__":
    main()
