"""The article's tuned CNN judged on real candles, by the article's protocol and by an honest one, side by side.

    .venv/bin/python -m benchmarks.protocols --source ../shared/data/binance_um_15m_btc_eth
    .venv/bin/python -m benchmarks.protocols --source … --bars 151721 --epochs 20 --filters 64 --dense 300 --gpu

The same network, search space, candles and borders; the latest bars of one ticker. By default ten trials of at most 6
epochs in the lower half of the article's space, for a machine without a GPU (its largest network has 70 million
parameters); the second line is the article's search over all bars. A run that is killed goes on by the same command.
Prints the table of the two. What trading by each comes to, `jobs.protocols` says.
"""

import argparse
import logging
import tempfile
from typing import Any

import pandas as pd

from actors.connect import connect
from jobs import evaluate, features, ingest, labels, market, predict, train, tune
from jobs.config import RunConfig
from jobs.stage import Context, require
from quant.schemas import EVALUATION, LABELS, TUNING
from storage.store import open_store
from storage.tables import read_table

PATH = (ingest, features, labels, tune, train, predict, evaluate)
FRACTIONS = {"fit": 0.56, "validate": 0.14, "choose": 0.29, "judge": 0.01}  # the article judges the last 30 %
PROTOCOLS: dict[str, dict[str, Any]] = {
    "seed": {
        "features": {"set": "ta193"},
        "labels": {"alignment": "seed"},
        "split": {"embargo": 0},
        "train": {"steps": 1, "scaler": "minmax", "scaler_rows": "all", "class_weights": False, "clip": 1.0},
    },
    "honest": {
        "features": {"set": "ta193_relative"},
        "labels": {"alignment": "honest"},
        "split": {"embargo": 96},
        "train": {"steps": 15, "clip": 5.0},
    },
}


def main() -> None:
    """Run both protocols and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", required=True, help="directory or URL of candles")
    parser.add_argument("--ticker", default="ETHUSDT")
    parser.add_argument("--bars", type=int, default=40_000)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--iterations", type=int, default=2)
    parser.add_argument("--filters", type=int, default=32, help="most filters tried, from 16 by 16")
    parser.add_argument("--dense", type=int, default=200, help="most dense units tried, from 100 by 50")
    parser.add_argument("--gpu", action="store_true")
    parser.add_argument("--store", help="where to keep the runs; a temporary folder otherwise")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    with tempfile.TemporaryDirectory() as folder, connect(None, None) as cluster:
        columns = {}
        for name in PROTOCOLS:
            config = configured(name, arguments, arguments.store or folder)
            context = Context(config, open_store(config.store), int(cluster.cpus))
            for stage in PATH:
                logging.info("%s: %s", name, stage.__name__)
                stage.run(context)
            columns[name] = figures(context)
    table = pd.DataFrame(columns)
    print("\n| | " + " | ".join(table.columns) + " |")
    print("|---|" + "---|" * len(table.columns))
    for row in table.itertuples():
        print("| " + " | ".join(map(str, row)) + " |")


def configured(protocol: str, arguments: argparse.Namespace, store: str) -> RunConfig:
    """The configuration of one protocol: what both share, and where they differ."""
    last = pd.Timestamp(market_end(arguments))
    shared: dict[str, dict[str, Any]] = {
        "ingest": {"bar": "15m", "venue": "binance", "tickers": (arguments.ticker,)},
        "labels": {"kind": "first_touch", "take": 0.01, "ratio": 2, "horizon": 3},
        "split": {**FRACTIONS, "start": last - arguments.bars * pd.Timedelta("15min"), "end": last},
        "train": {
            "architecture": "cnn_tuned",
            "tuned": True,
            "epochs": arguments.epochs,
            "patience": arguments.epochs,
            "batch": 64,
            "watch": "macro_f1",
            "gpu": arguments.gpu,
        },
        "tune": {
            "epochs": arguments.epochs,
            "iterations": arguments.iterations,
            "concurrent": 1,
            "filters": {"low": 16, "high": arguments.filters, "step": 16},
            "dense": {"low": 100, "high": arguments.dense, "step": 50},
            "gpus": float(arguments.gpu),
        },
    }
    own = PROTOCOLS[protocol]
    sections = {name: {**shared.get(name, {}), **own.get(name, {})} for name in {**shared, **own}}
    return RunConfig.model_validate({"source": arguments.source, "store": store, "run": protocol, **sections})


def market_end(arguments: argparse.Namespace) -> pd.Timestamp:
    """The instant after the last bar."""
    times = pd.read_parquet(f"{arguments.source.rstrip('/')}/{arguments.ticker}.parquet", columns=["time"])["time"]
    return pd.Timestamp(times.max()) + pd.Timedelta("15min")


def figures(context: Context) -> dict[str, str]:
    """What one protocol says of its model."""
    (ticker,) = require(context, "train").details["tickers"]
    table = read_table(context.store, context.run, EVALUATION).set_index(["model", "statistic"])
    part = market.parts(context, market.of(context))["choose"]
    label = read_table(context.store, context.run, LABELS, ticker, columns=["label"])["label"]
    best = require(context, "tune").details["best"]
    return {
        "trials, best": f"{len(read_table(context.store, context.run, TUNING))}: "
        + ", ".join(f"{name} {value:g}" for name, value in best.items()),
        **{
            f"{statistic}, {model}": shown(table.loc[(model, statistic)])
            for statistic in ("accuracy", "macro_f1", "direction_auc", "log_loss_at_shares")
            for model in ("cnn", "logistic", "boosting", "majority")
        },
        "windows judged (long, short)": counted(label[part.rows(pd.DatetimeIndex(label.index))]),
    }


def shown(row: pd.Series) -> str:
    """An estimate with its interval."""
    return f"{row['estimate']:.3f} ({row['low']:.3f} to {row['high']:.3f})"


def counted(label: pd.Series) -> str:
    """How many windows there are, and of each side."""
    return f"{label.notna().sum():,} ({(label == 1).sum():,}, {(label == 2).sum():,})"


if __name__ == "__main__":
    main()
