"""The seeded UMAP of this project beside umap-learn's, on the clustering notebook's windows: 26,721 × 144.

    .venv/bin/python -m benchmarks.bench_umap --turns 3

Both run in this process, turn by turn, on the same rows and all cores that they take: umap-learn's seeded call keeps to
one. Both are warmed on 5,000 rows before. Prints the seconds of each, what ours is made of, trustworthiness (on a
seeded sample of 4,000 rows), how alike the clusters are, and whether one and two threads give the same bytes. The last
line is the ratio with its spread. Without the market data, windows of the market with planted shapes are taken.
"""

import argparse
import importlib
import os
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
if __package__ in (None, ""):
    sys.path.insert(0, str(ROOT))  # run by its path, too

import numpy as np  # noqa: E402  (after the path)
import numpy.typing as npt  # noqa: E402
import pandas as pd  # noqa: E402
from sklearn.manifold import trustworthiness  # noqa: E402

from quant import clusters, demo_shapes, embedding, features, notebook, windows  # noqa: E402
from quant.neighbours import nearest  # noqa: E402
from quant.umap_layout import layout  # noqa: E402

MARKET_DATA = Path(os.environ.get("ASSAY_MARKET_DATA", ROOT.parent / "shared" / "data"))
FILE = "binance_um_1h_3000x6x446.parquet"
ROWS = 26_721
WARM = 5_000
SAMPLE = 4_000
NEIGHBOURS = 30

Rows = npt.NDArray[np.float32]


def rows() -> Rows:
    """As many windows as the notebook has, scaled as there: drawn from those of the 446-ticker file if it is there."""
    generator = np.random.default_rng(0)
    path = MARKET_DATA / FILE
    if path.exists():
        wide = pd.read_parquet(path)
        frames = {str(ticker): wide[ticker] for ticker in sorted(wide.columns.get_level_values(0).unique())}
        flat = notebook.windows(frames).values
        print(f"{len(flat):,} windows of {len(frames)} tickers end with a rise of 5 %; {ROWS:,} of them are embedded")
    else:
        market = demo_shapes.ShapeMarket()
        cuts = []
        for ticker in demo_shapes.names(market):
            table = features.compute(demo_shapes.bars(market, ticker), "pattern8_relative").to_numpy()
            ends = windows.ends(np.isfinite(table).all(axis=1), np.zeros(len(table), dtype=np.int64), 18)
            cuts.append(windows.cut(table, ends[:: max(1, len(ends) * 20 // ROWS)], 18))
        flat = np.concatenate(cuts)
        middle, spread = np.median(flat, axis=(0, 1)), np.subtract(*np.percentile(flat, [75, 25], axis=(0, 1)))
        flat = (flat - middle) / spread
        print(f"{path} is not there: {len(flat):,} windows of the market with planted shapes")
    flat = flat.reshape(len(flat), -1).astype(np.float32)
    return flat[np.sort(generator.choice(len(flat), size=min(ROWS, len(flat)), replace=False))]


def timed(function: Callable[[], Any]) -> tuple[Any, float]:
    """What a function returns, and its seconds."""
    started = time.perf_counter()
    value = function()
    return value, time.perf_counter() - started


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    umap: Any = importlib.import_module("umap")

    given = rows()
    print(f"{len(given):,} × {given.shape[1]}, {NEIGHBOURS} neighbours, minimum distance 0, seed 42")

    def theirs(some: Rows, seed: int | None = 42) -> Any:
        return umap.UMAP(n_neighbors=NEIGHBOURS, min_dist=0.0, n_components=2, random_state=seed).fit_transform(some)

    def ours(some: Rows, threads: int = arguments.threads, seed: int = 42) -> Any:
        return embedding.fit(some, neighbours=NEIGHBOURS, seed=seed, threads=threads)

    for warm in (theirs, ours):
        warm(given[:WARM])
    theirs(given[:WARM], None)
    ratios = []
    for turn in range(arguments.turns):
        expected, slow = timed(lambda: theirs(given))
        found, fast = timed(lambda: ours(given))
        ratios.append(slow / fast)
        print(f"turn {turn + 1}: umap-learn {slow:.2f} s, ours {fast:.2f} s on {arguments.threads} threads")
    _, unseeded = timed(lambda: theirs(given, None))
    alone, single = timed(lambda: ours(given, 1))
    print(f"umap-learn without a seed, on all cores: {unseeded:.2f} s; ours on one thread: {single:.2f} s")
    print(f"one thread and {arguments.threads}, and repeated: the same bytes: {alone.tobytes() == found.tobytes()}")

    neighbours, first = timed(lambda: nearest(given, given, NEIGHBOURS, threads=arguments.threads))
    graph, second = timed(lambda: embedding.graph_of(neighbours))
    start, third = timed(lambda: embedding.start(graph, given, 42))
    _, fourth = timed(
        lambda: layout(graph, start, minimum_distance=0.0, epochs=200, seed=42, threads=arguments.threads)
    )
    print(f"ours: exact neighbours {first:.2f} s, graph {second:.2f} s, start {third:.2f} s, layout {fourth:.2f} s")

    sample = np.sort(np.random.default_rng(1).choice(len(given), size=min(SAMPLE, len(given)), replace=False))
    trusted = {
        name: trustworthiness(given[sample], places[sample], n_neighbors=15)
        for name, places in (("umap-learn", expected), ("ours", found))
    }
    print("trustworthiness: " + ", ".join(f"{name} {value:.4f}" for name, value in trusted.items()))
    labels = {name: clusters.kmeans(places, 8, 42).labels for name, places in (("theirs", expected), ("ours", found))}
    other = clusters.kmeans(theirs(given, 43), 8, 42).labels
    again = clusters.kmeans(ours(given, seed=43), 8, 42).labels
    print(
        "8 clusters of k-means, adjusted Rand index: "
        f"ours and umap-learn's {clusters.agreement(labels['theirs'], labels['ours']):.2f}, "
        f"umap-learn's with another seed {clusters.agreement(labels['theirs'], other):.2f}, "
        f"ours with another seed {clusters.agreement(labels['ours'], again):.2f}"
    )
    print(f"ratio: median {statistics.median(ratios):.2f}, {min(ratios):.2f} to {max(ratios):.2f}")


if __name__ == "__main__":
    main()
