"""Windows of 18 rows that end where the label is at least 5 %: ``quant.windows.select`` beside the notebook's loop.

    .venv/bin/python -m benchmarks.windows --turns 5

Both run in this process, in turns, on the same features of the 446-ticker file: the clustering notebook's
``groupby``/``get_loc`` loop on a few tickers' answers (looked up in the frame of all tickers, as the notebook does),
``select`` on all tickers, gap-aware. Prints microseconds a window for both, and their ratio with its spread. What both
need beforehand (features, labels, for the loop also stacking and ``dropna``) is not counted; ``select`` drops null rows
within its time. Times are of the processor, so that other work on the machine does not
count. The windows themselves are compared, and counted with and without the gap rule.
"""

import argparse
import os
import statistics
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from quant.bars import Bar
from quant.features import compute
from quant.labels import forward_max
from quant.windows import select

MARKET_DATA = Path(os.environ.get("ASSAY_MARKET_DATA", "../shared/data"))
FILE = "binance_um_1h_3000x6x446.parquet"
BAR = pd.Timedelta(hours=1)
LENGTH = 18
ANSWER = 0.05

Windows = npt.NDArray[np.float64]


def notebook(stacked: pd.DataFrame, answers: pd.MultiIndex) -> Windows:
    """The notebook's ``extract_windows`` over the given answers (time, ticker)."""
    windows, targets = [], []
    grouped = stacked[[column for column in stacked.columns if column != "answer"]].groupby(level=1)
    for moment, ticker in answers:
        try:
            unit = grouped.get_group(ticker)
            current = unit.index.get_loc((moment, ticker))
            if current >= LENGTH - 1:
                windows.append(unit.iloc[current - (LENGTH - 1) : current + 1].to_numpy())
                targets.append(stacked.loc[(moment, ticker), "answer"])
        except KeyError:
            continue
    return np.array(windows)


def fast(features: dict[str, pd.DataFrame], chosen: dict[str, pd.Series], bar: Bar) -> dict[str, Windows]:
    """Windows of every ticker by ``select``."""
    return {ticker: select(frame, chosen[ticker], LENGTH, bar)[0] for ticker, frame in features.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--sample", type=int, default=4, help="tickers given to the notebook's loop in each turn")
    arguments = parser.parse_args()

    wide = pd.read_parquet(MARKET_DATA / FILE)
    tickers = list(wide.columns.get_level_values(0).unique())
    features = {ticker: compute(wide[ticker], "pattern8") for ticker in tickers}
    labels = {ticker: forward_max(wide[ticker], 5) for ticker in tickers}
    chosen = {ticker: label >= ANSWER for ticker, label in labels.items()}
    joined = {ticker: frame.assign(answer=labels[ticker]) for ticker, frame in features.items()}
    stacked = pd.concat(joined, axis=1).stack(level=0, future_stack=True).dropna()  # noqa: PD013  as the notebook does
    answers = stacked.index[stacked["answer"] >= ANSWER]

    by_position = fast(features, chosen, None)
    counted = sum(map(len, by_position.values()))
    total = sum(map(len, fast(features, chosen, BAR).values()))
    print(f"{len(tickers)} tickers: {counted:,} windows without the gap rule, {total:,} gap-aware")

    generator = np.random.default_rng(0)
    ratios = []
    for turn in range(arguments.turns):
        sample = generator.choice(tickers, arguments.sample, replace=False)
        place = pd.Index(sample).get_indexer(answers.get_level_values(1))
        asked = answers[np.argsort(place, kind="stable")][-np.count_nonzero(place >= 0) :]
        started = time.process_time()
        found = notebook(stacked, asked)
        slow_each = (time.process_time() - started) / len(found)
        started = time.process_time()
        fast(features, chosen, BAR)
        fast_each = (time.process_time() - started) / total
        expected = np.concatenate([by_position[ticker] for ticker in sample])
        if not np.array_equal(found, expected):
            raise SystemExit(f"the two disagree on {', '.join(sample)}")
        ratios.append(slow_each / fast_each)
        print(
            f"turn {turn + 1}: loop {slow_each * 1e6:,.0f} µs a window ({len(found)} windows), "
            f"select {fast_each * 1e6:.2f} µs a window ({total:,} windows): {ratios[-1]:,.0f} times"
        )
    print(f"ratio: median {statistics.median(ratios):,.0f}, {min(ratios):,.0f} to {max(ratios):,.0f}")


if __name__ == "__main__":
    main()
