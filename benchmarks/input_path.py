"""What a training worker holds and how fast it is fed: one pass over the windows of every ticker.

    .venv/bin/python -m benchmarks.input_path --source ../shared/data/binance_um_15m

Features (`ta193_relative`) and labels of all tickers are made once; then a process like a training worker's goes over
all windows of the fit part in shuffled batches, cutting and counting them, and prints the rows it held at most, its
peak memory and its rate. The rate is to be compared with what a network learns from (`benchmarks.train_throughput`).
"""

import argparse
import logging
import multiprocessing
import resource
import tempfile
import time
from typing import Any

import numpy as np

from actors.connect import connect
from jobs import dataset, features, ingest, labels
from jobs.config import RunConfig
from jobs.stage import Context, require
from quant.prefetch import prefetched
from quant.training import Windows, batches
from quant.windows import cut
from storage.store import open_store


def main() -> None:
    """Make the tables, go over them in a process of its own, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", required=True, help="directory or URL of candles")
    parser.add_argument("--memory", type=float, nargs="+", default=[2.0, 100.0], help="train.memory, in GB, by turn")
    parser.add_argument("--store", help="where to keep the tables; a temporary folder otherwise")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    with tempfile.TemporaryDirectory() as folder:
        config = RunConfig.model_validate(
            {
                "source": arguments.source,
                "store": arguments.store or folder,
                "run": "input",
                "ingest": {"bar": "15m"},
                "features": {"set": "ta193_relative"},
                "labels": {"take": 0.01, "ratio": 2, "horizon": 3},
                "split": {"fit": 0.8, "validate": 0.1, "choose": 0.05, "judge": 0.05},
            }
        )
        with connect(None, None) as cluster:
            context = Context(config, open_store(config.store), int(cluster.cpus))
            for stage in (ingest, features, labels):
                stage.run(context)
        for memory in arguments.memory:
            with multiprocessing.get_context("spawn").Pool(1) as process:
                print(process.apply(one_pass, (config, memory)), flush=True)


def one_pass(config: RunConfig, memory: float) -> str:
    """Go over all windows once; called in a process of its own, whose peak memory counts."""
    context = Context(
        config.model_copy(update={"train": config.train.model_copy(update={"memory": memory})}),
        open_store(config.store),
    )
    before = peak()
    started = time.perf_counter()
    data = dataset.load(context, sorted(require(context, "labels").tickers))
    loaded = time.perf_counter()
    settings, held, before_batches, groups, windows = config.train, [0], peak(), 0, 0

    def shares() -> Any:
        nonlocal groups
        for number, group in enumerate(data.fit.groups(np.random.default_rng(0))):
            groups += 1
            held.append(group.rows.nbytes)
            yield from share(group, number, settings.batch, settings.steps)

    for batch in prefetched(shares(), 2):
        windows += len(batch)
    seconds = time.perf_counter() - loaded
    most = max(one + two for one, two in zip(held, [*held[1:], 0], strict=True))
    return (
        f"memory {memory:g} GB: {windows:,} windows of {settings.steps} x {data.fit.features} in {groups} groups, rows "
        f"held at most {most / 1e9:.2f} GB; {windows / seconds:,.0f} windows/s ({seconds:.0f} s); scaler and windows "
        f"found in {loaded - started:.0f} s, with {(before_batches - before) / 1e9:.2f} GB; peak of the process "
        f"{peak() / 1e9:.2f} GB"
    )


def share(group: Windows, number: int, batch: int, steps: int) -> Any:
    """Batches of a group, as training cuts them."""
    for chosen in batches(len(group.ends), batch, [0, 1, number], 0, 1):
        yield cut(group.rows, group.ends[chosen], steps)


def peak() -> float:
    """Most memory that this process has held, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0


if __name__ == "__main__":
    main()
