"""Feature sets against the two programs that define them, side by side in one process.

``pattern8``: the notebook's pylabwons calls on the wide frame of 446 tickers × 3,000 bars, against ``compute`` on each
ticker, slicing included. ``ta193``: the article's double loop on one asset of 100,000 bars, against one ``compute``.
The sides take turns, so that a busy machine slows both; the ratio is taken within each turn, of processor time (which a
busy machine disturbs less) and of elapsed time. Compilation is timed apart, in a fresh process with an empty cache.

Run from the checkout, with the market data's directory in ASSAY_MARKET_DATA (default ../shared/data):

    python -m benchmarks.features [turns]
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from quant import features
from tests.conftest import random_walk
from tests.quant.features_reference import article_frame, notebook_indicators, pylabwons_tester

MARKET_DATA = Path(os.environ.get("ASSAY_MARKET_DATA", "../shared/data"))
FIRST_COMPUTE = """
import time
from tests.conftest import random_walk
from quant import features
bars = random_walk(500)
begun = time.perf_counter()
features.compute(bars, "pattern8")
features.compute(bars, "pattern8_relative")
print(time.perf_counter() - begun)
"""


def main(turns: int) -> None:
    """Print the ratios of both comparisons and the time of compilation."""
    wide = pd.read_parquet(MARKET_DATA / "binance_um_1h_3000x6x446.parquet")
    tickers = wide.columns.get_level_values(0).unique()
    pylabwons_tester()
    features.compute(wide[tickers[0]], "pattern8")
    compare(
        "pattern8, 446 × 3,000 bars, against pylabwons",
        lambda: notebook_indicators(wide),
        lambda: [features.compute(wide[ticker], "pattern8") for ticker in tickers],
        turns,
    )
    bars = random_walk(100_000)
    article = "the article's double loop"
    compare(
        f"ta193, 100,000 bars, against {article}",
        lambda: article_frame(bars),
        lambda: features.compute(bars, "ta193"),
        turns,
    )
    for name in ("pattern8", "pattern8_relative", "ta193", "ta193_relative"):
        print(f"{name}: {fastest(lambda name=name: features.compute(bars, name), turns):.3f} s for 100,000 bars")
    with tempfile.TemporaryDirectory() as cache:
        print(f"first compute of both pattern sets, compiling: {first_compute(cache):.2f} s")
        print(f"first compute of both pattern sets, compiled before: {first_compute(cache):.2f} s")


def compare(title: str, theirs: Callable[[], object], ours: Callable[[], object], turns: int) -> None:
    """Time both sides in turn and print the median and range of the ratios."""
    times = np.array([(seconds(theirs), seconds(ours)) for _ in range(turns)])
    ratios = times[:, 0] / times[:, 1]
    middle = np.median(times, axis=0)
    print(f"{title}, {turns} turns:")
    for column, clock in enumerate(("processor", "elapsed")):
        ratio = ratios[:, column]
        print(
            f"  {clock} time: {np.median(ratio):.1f} times as fast ({ratio.min():.1f} to {ratio.max():.1f}), "
            f"{middle[0, column]:.2f} s against {middle[1, column]:.3f} s"
        )


def seconds(action: Callable[[], object]) -> tuple[float, float]:
    """Processor and elapsed seconds of one call."""
    processor, elapsed = time.process_time(), time.perf_counter()
    action()
    return time.process_time() - processor, time.perf_counter() - elapsed


def fastest(action: Callable[[], object], turns: int) -> float:
    """Least processor time of ``turns`` calls, in seconds, after one that may compile."""
    action()
    return min(seconds(action)[0] for _ in range(turns))


def first_compute(cache: str) -> float:
    """Seconds of the first compute in a fresh process that keeps its machine code in ``cache``."""
    environment = os.environ | {"NUMBA_CACHE_DIR": cache}
    command = [sys.executable, "-c", FIRST_COMPUTE]
    return float(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 7)
