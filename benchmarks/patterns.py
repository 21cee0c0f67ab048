"""The clustering notebook's steps beside ours: bars of 446 tickers → windows → plane → clusters.

    .venv/bin/python -m benchmarks.patterns

Both run in this process on the same file. Each side is warmed before: umap-learn and our UMAP on 5,000 rows. The
notebook's loop over windows takes minutes, so it is timed on ``--sample`` of its answers, drawn over all, and scaled up
(``--whole`` runs all of it); the windows that it cuts are compared with ours. Prints each step's seconds and share, and
last the ratios from bars to windows and from bars to clusters.
"""

import argparse
import importlib
import os
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.cluster import KMeans

from quant import clusters, embedding, notebook
from tests.quant import notebook_reference as reference

MARKET_DATA = Path(os.environ.get("ASSAY_MARKET_DATA", "../shared/data"))
FILE = "binance_um_1h_3000x6x446.parquet"
WARM = 5_000


def timed(times: dict[str, float], name: str, function: Callable[[], Any]) -> Any:
    """What a function returns; its seconds are kept."""
    started = time.perf_counter()
    value = function()
    times[name] = time.perf_counter() - started
    return value


def show(side: str, times: dict[str, float]) -> None:
    """Print each step's seconds and its share."""
    whole = sum(times.values())
    steps = ", ".join(f"{name} {seconds:.2f} s ({seconds / whole:.0%})" for name, seconds in times.items())
    print(f"{side}: {steps}; {whole:.2f} s in all")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--sample", type=int, default=2_000, help="answers given to the notebook's loop")
    parser.add_argument("--whole", action="store_true", help="let the notebook's loop cut all windows")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    umap: Any = importlib.import_module("umap")

    wide = pd.read_parquet(MARKET_DATA / FILE)
    frames = {str(ticker): wide[ticker] for ticker in sorted(wide.columns.get_level_values(0).unique())}
    found = notebook.windows(frames)  # compiles
    flat = found.values.reshape(len(found), -1)

    def theirs(rows: Any) -> Any:
        return umap.UMAP(n_neighbors=30, min_dist=0.0, n_components=2, random_state=42).fit_transform(rows)

    def ours(rows: Any) -> Any:
        return embedding.fit(rows, neighbours=30, seed=42, threads=arguments.threads)

    theirs(flat[:WARM])
    ours(flat[:WARM])

    windows_ratios, clusters_ratios = [], []
    for turn in range(arguments.turns):
        slow: dict[str, float] = {}
        stack = timed(slow, "indicators", partial(reference.notebook_stack, wide))
        scaled, _ = timed(slow, "scaling", partial(reference.notebook_scaled, stack))
        answers = reference.chosen(scaled)
        place = np.sort(np.random.default_rng(turn).choice(len(answers), arguments.sample, replace=False))
        asked = answers if arguments.whole else answers[place]
        cut, _, index = timed(slow, "windows", partial(reference.extract_windows, scaled, asked))
        slow["windows"] *= len(answers) / len(asked)
        plane = timed(slow, "UMAP", partial(theirs, flat))
        timed(slow, "KMeans", partial(KMeans(8, random_state=42, n_init=10).fit_predict, plane))
        show(f"turn {turn + 1}, notebook", slow)

        fast: dict[str, float] = {}
        mine = timed(fast, "bars to windows", partial(notebook.windows, frames))
        rows = mine.values.reshape(len(mine), -1)
        plane = timed(fast, "UMAP", partial(ours, rows))
        timed(fast, "KMeans", partial(clusters.kmeans, plane, 8, 42))
        show(f"turn {turn + 1}, ours", fast)

        order = {key: row for row, key in enumerate(zip(mine.times, mine.tickers, strict=True))}
        same = mine.values[[order[pd.Timestamp(moment), ticker] for moment, ticker in index]]
        if not np.allclose(same, cut, rtol=1e-9, atol=1e-6):
            raise SystemExit("the two disagree on the windows")
        to_windows = sum(slow[name] for name in ("indicators", "scaling", "windows"))
        windows_ratios.append(to_windows / fast["bars to windows"])
        clusters_ratios.append(sum(slow.values()) / sum(fast.values()))
    print(f"{len(mine):,} windows; the loop timed on {len(asked):,} of {len(answers):,} answers, equal where compared")
    for name, ratios in (("bars to windows", windows_ratios), ("bars to clusters", clusters_ratios)):
        print(f"ratio, {name}: median {np.median(ratios):.1f}, {min(ratios):.1f} to {max(ratios):.1f}")


if __name__ == "__main__":
    main()
