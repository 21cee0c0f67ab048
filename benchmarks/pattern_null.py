"""How often `jobs.patterns` finds a cluster that differs where nothing can, and how well it finds what is planted.

    .venv/bin/python -m benchmarks.pattern_null --markets 40 --planted 4

The whole job runs on made-up markets, two at a time. Where nothing can be found: random walks of constant volatility
("plain"), and walks with fat tails, clustered volatility and a common factor ("wild"), in which the best close ahead
does hang on the cluster, since that knows the volatility, so that only returns may not differ. Counts the markets in
which any cluster differs at the configured rate, on the validate and on the choose part. Where shapes are planted:
the adjusted Rand index of cluster and kind over all windows that end with a shape, placed ones included, and whether
the clusters of the two kinds that something follows differ on the choose part, to the right side.
"""

import argparse
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import binomtest
from sklearn.metrics import adjusted_rand_score

from actors.outcome import Outcome
from jobs import patterns
from jobs.config import RunConfig
from jobs.stage import Context, require
from quant import demo_shapes
from quant.demo_shapes import ShapeMarket
from quant.schemas import CLUSTER_OUTCOMES, PATTERNS
from storage.store import open_store
from storage.tables import read_table

TICKERS, BARS = 20, 20_000
RATE = 0.1
PLANTED = {"kmeans, count chosen": {}, "hdbscan": {"clustering": "hdbscan", "smallest": 50}}


def serially(function: Any, shards: list[Any], *, shared: Any = None, **_: Any) -> Iterator[Outcome[Any, Any]]:
    """The fan-out as a plain loop."""
    for shard in shards:
        yield Outcome(shard, function(shard, shared), None)


def plain(seed: int, folder: Path) -> None:
    """Write a market of random walks of constant volatility with a common factor."""
    generator = np.random.default_rng(seed)
    times = pd.date_range("2021-01-01", periods=BARS, freq="15min", tz="UTC", name="time")
    common = generator.normal(size=BARS)
    for number in range(TICKERS):
        moves = 0.004 * (0.6 * common + 0.8 * generator.normal(size=BARS))
        close = 100 * np.exp(np.cumsum(moves))
        opening = np.append(100.0, close[:-1])
        reach = np.abs(generator.normal(scale=0.002, size=(2, BARS)))
        frame = pd.DataFrame(
            {
                "open": opening,
                "high": np.maximum(opening, close) * (1 + reach[0]),
                "low": np.minimum(opening, close) * (1 - reach[1]),
                "close": close,
                "volume": generator.lognormal(10, 0.5, BARS),
            },
            index=times,
        )
        frame.reset_index().to_parquet(folder / f"T{number:02d}USDT.parquet")


def written(market: ShapeMarket, folder: Path) -> None:
    """Write a market of shapes, or of the walks beneath them."""
    for ticker in demo_shapes.names(market):
        frame = demo_shapes.bars(market, ticker).reset_index()
        frame.to_parquet(folder / f"{ticker.partition(':')[2]}.parquet")


def found(folder: Path, **settings: Any) -> Context:
    """The patterns of the bars in a folder."""
    given = {"refits": 0, "answer": 0.015, "false_discovery_rate": RATE, "threads": 1, "page_bars": 1_000, "shown": 1}
    config = RunConfig.model_validate(
        {"store": str(folder / "store"), "source": str(folder / "bars"), "run": "x", "patterns": {**given, **settings}}
    )
    context = Context(config, open_store(config.store))
    patterns.run(context, fan_out=serially)
    return context


def differing(seed: int, kind: str) -> dict[tuple[str, str], bool]:
    """Whether any cluster differs in a market in which none can, by part and outcome."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "bars").mkdir()
        if kind == "plain":
            plain(seed, folder / "bars")
        else:
            written(ShapeMarket(seed=seed, tickers=TICKERS, bars=BARS, shapes=False), folder / "bars")
        context = found(folder, landmarks=3_000)
        table = read_table(context.store, context.run, CLUSTER_OUTCOMES)
    return {
        (part, outcome): bool(table.loc[table["part"] == part, f"{outcome}_differs"].any())
        for part in ("validate", "choose")
        for outcome in ("hit", "return")
    }


def recovered(seed: int, name: str) -> dict[str, float]:
    """How well planted shapes are found."""
    market = ShapeMarket(seed=seed)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "bars").mkdir()
        written(market, folder / "bars")
        context = found(folder, landmarks=10_000, **PLANTED[name])
        kinds, labels, times = [], [], []
        for ticker in demo_shapes.names(market):
            kind = demo_shapes.planted(market, ticker)
            mine = f"local-um:{ticker.partition(':')[2]}"
            cluster = read_table(context.store, context.run, PATTERNS, mine, columns=["cluster"])["cluster"]
            ends = kind.index[kind > 0].intersection(cluster.index)
            kinds.append(kind.loc[ends].to_numpy())
            labels.append(cluster.loc[ends].to_numpy())
            times.append(ends)
        kind, label = np.concatenate(kinds), np.concatenate(labels)
        table = read_table(context.store, context.run, CLUSTER_OUTCOMES)
        choose = table[table["part"] == "choose"].set_index("cluster")
        right = []
        for number, side in ((1, 1), (2, -1)):
            home = int(pd.Series(label[kind == number]).mode()[0])
            row = choose.loc[home]
            right.append(bool(row["return_differs"]) and np.sign(row["return_difference"]) == side)
        count = require(context, "pattern_fit").details["clusters"]
    return {
        "ari": adjusted_rand_score(kind, label),
        "clusters": count,
        "rise": float(right[0]),
        "fall": float(right[1]),
        "windows": len(kind),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--markets", type=int, default=40)
    parser.add_argument("--planted", type=int, default=4)
    parser.add_argument("--first", type=int, default=1000, help="seed of the first market")
    arguments = parser.parse_args()
    with ProcessPoolExecutor(2) as pool:
        for kind in ("plain", "wild"):
            seeds = range(arguments.first, arguments.first + arguments.markets)
            rows = list(pool.map(partial(differing, kind=kind), seeds))
            for part, outcome in rows[0]:
                count = sum(row[part, outcome] for row in rows)
                low, high = binomtest(count, len(rows)).proportion_ci()
                note = " (which truly hangs on the volatility)" if (kind, outcome) == ("wild", "hit") else ""
                print(
                    f"{kind} walks, {part}, {outcome}{note}: a cluster differs in {count} of {len(rows)} markets "
                    f"({count / len(rows):.1%}, 95 % interval {low:.1%} to {high:.1%}); stated {RATE:.0%}",
                    flush=True,
                )
        for name in PLANTED:
            seeds = range(arguments.first, arguments.first + arguments.planted)
            for seed, row in zip(seeds, pool.map(partial(recovered, name=name), seeds), strict=True):
                print(
                    f"planted, {name}, seed {seed}: {row['clusters']:.0f} clusters, adjusted Rand index "
                    f"{row['ari']:.2f} over {row['windows']:,.0f} shapes; what follows the first kind is found: "
                    f"{bool(row['rise'])}, the second: {bool(row['fall'])}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
