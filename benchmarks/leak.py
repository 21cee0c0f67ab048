"""What the article's labels leak: the CNN on random walks, once with honest labels, once with the article's.

    .venv/bin/python -m benchmarks.leak

Nothing in a random walk tells its future. The article's label of bar t starts at open[t], and the features of t have
seen that bar; the honest one starts at open[t+1]. All else is the same: the article's target of 1 % with a limit of
half of it within three bars, walks as volatile as its bars, one network trained on the first half of all tickers and
judged on the last. Prints the block-bootstrap intervals of the AUC of long against short.
"""

import argparse
import time
from dataclasses import dataclass

import numpy as np
import pandas as pd

from quant import evaluation, features, labels, network, scaling, splits, training, windows

BAR = pd.Timedelta("15min")
STEPS_OF_A_BAR = 24
FRACTIONS = {"fit": 0.45, "validate": 0.1, "judge": 0.45}


@dataclass(frozen=True)
class Size:
    """How much to train and judge: the benchmark's by default."""

    tickers: int = 12
    bars: int = 6_000
    feature_set: str = "ta193_relative"
    volatility: float = 0.006
    length: int = 15
    take: float = 0.01
    ratio: float = 2.0
    horizon: int = 3
    filters: int = 8
    dense: int = 32
    epochs: int = 6
    learning_rate: float = 3e-4


@dataclass(frozen=True)
class Verdict:
    """The interval of the judged AUC, and how many judged windows were long and short."""

    auc: evaluation.Interval
    long: int
    short: int


def walk(bars: int, volatility: float, seed: int) -> pd.DataFrame:
    """Bars of a random walk, each of them the open, highest, lowest and last price of its own steps.

    Volatility is the standard deviation of a bar's log return.
    """
    generator = np.random.default_rng(seed)
    steps = generator.standard_normal((bars, STEPS_OF_A_BAR)) * (volatility / np.sqrt(STEPS_OF_A_BAR))
    path = np.cumsum(steps).reshape(steps.shape)
    path = np.column_stack([np.append(0.0, path[:-1, -1]), path])  # a bar opens where the one before closed
    path = 100.0 * np.exp(path)
    prices = {"open": path[:, 0], "high": path.max(axis=1), "low": path.min(axis=1), "close": path[:, -1]}
    return pd.DataFrame(
        {**prices, "volume": generator.lognormal(5.0, 1.0, bars)},
        index=pd.date_range("2024-01-01", periods=bars, freq=BAR, tz="UTC", unit="us", name="time"),
    )


def market(size: Size, seed: int) -> list[tuple[pd.DataFrame, pd.DataFrame]]:
    """Bars and features of each ticker."""
    walks = [walk(size.bars, size.volatility, seed * 1_000 + ticker) for ticker in range(size.tickers)]
    return [(bars, features.compute(bars, size.feature_set)) for bars in walks]


def judged(tickers: list[tuple[pd.DataFrame, pd.DataFrame]], alignment: labels.Alignment, size: Size) -> Verdict:
    """Train on the fit part of all tickers and judge on the last, with labels of an alignment."""
    index = tickers[0][0].index
    # the article's labels look a bar less far ahead, so that this purge holds for both
    parts = splits.split(index[0], index[-1] + BAR, BAR, FRACTIONS, purge=size.horizon + 1, embargo=size.length)
    columns = features.columns(size.feature_set)
    fitted = [rows[parts["fit"].rows(pd.DatetimeIndex(rows.index))] for _, rows in tickers]
    scaler = scaling.fit("robust", pd.concat(fitted), columns)
    answers = [labels.first_touch(bars, size.take, size.ratio, size.horizon, alignment, bar=BAR) for bars, _ in tickers]
    rows = np.concatenate([scaler.transform(each) for _, each in tickers])
    ends: dict[str, list[np.ndarray]] = {name: [] for name in parts}
    for ticker, answer in enumerate(answers):
        own = rows[ticker * size.bars : (ticker + 1) * size.bars]
        complete = np.isfinite(own).all(axis=1)
        last = windows.ends(complete, np.zeros(size.bars, dtype=np.int64), size.length)
        last = last[answer.notna().to_numpy()[last]]
        for name, part in parts.items():
            ends[name].append(ticker * size.bars + last[part.rows(index[last])])
    every = pd.concat(answers)
    feeds = {}
    for name in parts:
        chosen = np.concatenate(ends[name])
        feeds[name] = training.Windows(rows, chosen, every.to_numpy()[chosen].astype(np.int8))
    learner = network.Learner(
        lambda: network.build(
            "cnn_whole", size.length, len(columns), filters=size.filters, dense=size.dense, dropout=0.2, seed=0
        ),
        learning_rate=size.learning_rate,
    )
    training.fit(learner, feeds["fit"], feeds["validate"], training.Settings(length=size.length, epochs=size.epochs))
    judge = feeds["judge"]
    given = training.probabilities(learner.model, judge, size.length)
    times = pd.DatetimeIndex(every.index[judge.ends])
    auc = evaluation.interval("direction_auc", judge.labels, given, times, seed=0)
    return Verdict(auc, int((judge.labels == 1).sum()), int((judge.labels == 2).sum()))


def main() -> None:
    """Print both intervals of every seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--features", default=Size.feature_set, choices=sorted(features.FEATURE_SETS))
    parser.add_argument("--tickers", type=int, default=Size.tickers)
    parser.add_argument("--bars", type=int, default=Size.bars)
    parser.add_argument("--volatility", type=float, default=Size.volatility)
    arguments = parser.parse_args()
    size = Size(arguments.tickers, arguments.bars, arguments.features, arguments.volatility)
    network.configure(threads=1)
    for seed in range(arguments.first, arguments.first + arguments.seeds):
        tickers = market(size, seed)
        for alignment in ("honest", "seed"):
            started = time.perf_counter()
            found = judged(tickers, alignment, size)
            print(
                f"seed {seed}, labels {alignment}: AUC {found.auc.estimate:.4f}, 95 % {found.auc.low:.4f} to "
                f"{found.auc.high:.4f}; judged {found.long:,} long and {found.short:,} short; "
                f"{time.perf_counter() - started:.0f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
