"""The search over a whole market: through Ray on one and two workers, in two plain processes, and its memory by trials.

    .venv/bin/python -m benchmarks.search ../shared/data/binance_um_15m

Every asset of a folder, nearly all of its bars in the choose part, random signals on 5 % of them, stops and targets
drawn by the Sobol' sequence; the statistics of each search (effective trials, deflated Sharpe, CSCV, stability) and
three walk-forward folds are included. Each turn uses another seed, so that nothing is kept from the one before;
reading, writing and the manifest are included, too. All processes use one thread each for linear algebra, as Ray's
workers do.
"""

import argparse
import contextlib
import logging
import multiprocessing
import os
import resource
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from actors.connect import connect
from jobs import ingest, predict, search
from jobs.config import RunConfig
from jobs.stage import Context, items_of, require
from storage.store import open_store


def context(folder: str, source: Path, trials: int, seed: int, workers: int) -> Context:
    """The run as configured for a turn."""
    config = RunConfig.model_validate(
        {
            "store": folder,
            "source": str(source),
            "signals": f"{folder}/signals.parquet",
            "run": "search",
            "split": {"fit": 0.02, "validate": 0.02, "choose": 0.94, "judge": 0.02},
            "search": {
                "sampler": "sobol",
                "trials": trials,
                "seed": seed,
                "stop_loss": {"low": 0.005, "high": 0.06},
                "take_profit": {"low": 0.005, "high": 0.1},
                "minimum_profit": ((),),
            },
        }
    )
    return Context(config, open_store(folder), workers=workers)


def write_signals(folder: str, source: Path) -> None:
    """Longs and shorts on 5 % of the bars of every asset."""
    frames = []
    for number, path in enumerate(sorted(source.glob("*.parquet"))):
        generator = np.random.default_rng(number)
        times = pd.read_parquet(path, columns=["time"])["time"]
        drawn = times[generator.random(len(times)) < 0.05]
        frames.append(
            pd.DataFrame({"ticker": path.stem, "time": drawn, "signal": generator.integers(1, 3, len(drawn))})
        )
    pd.concat(frames).to_parquet(f"{folder}/signals.parquet")


class Memory(threading.Thread):
    """Largest resident size of any of Ray's workers, looked at ten times a second."""

    def __init__(self) -> None:
        """Start looking."""
        super().__init__(daemon=True)
        self.peak, self.ended = 0, threading.Event()
        self.start()

    def run(self) -> None:
        """Look until told to end."""
        while not self.ended.wait(0.1):
            for process in Path("/proc").glob("[0-9]*"):
                with contextlib.suppress(OSError):
                    if (process / "cmdline").read_bytes().startswith(b"ray::search"):
                        pages = int((process / "statm").read_text().split()[1])
                        self.peak = max(self.peak, pages * resource.getpagesize())


def through_ray(run: Context, workers: int) -> tuple[float, float]:
    """Seconds of the search, and the peak of a worker in MB; starting Ray is not counted."""
    with connect(None, workers):
        memory = Memory()
        started = time.perf_counter()
        search.run(run)
        seconds = time.perf_counter() - started
        memory.ended.set()
    return seconds, memory.peak / 2**20


def plainly(arguments: tuple[Any, ...]) -> float:
    """Every second ticker, in this process, without Ray; seconds from the first to the last."""
    folder, source, trials, seed, half = arguments
    run = context(folder, source, trials, seed, 1)
    parts = search.parts(run)
    started = time.perf_counter()
    for item in items_of(require(run, "predict"))[half::2]:
        search.produce(run, item, parts)
    return time.perf_counter() - started


def main() -> None:
    """Print all turns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("--trials", type=int, default=500)
    parser.add_argument("--turns", type=int, default=3)
    arguments = parser.parse_args()
    logging.disable(logging.INFO)
    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as folder:
        write_signals(folder, arguments.source)
        first = context(folder, arguments.source, 1, 0, 2)
        with connect(None, 2):
            ingest.run(first)
            predict.run(first)
        seed = 1
        for turn in range(arguments.turns):
            seconds = {}
            for workers in (1, 2):
                run = context(folder, arguments.source, arguments.trials, seed, workers)
                seconds[workers], peak = through_ray(run, workers)
                seed += 1
                print(f"turn {turn}: {workers} worker(s) {seconds[workers]:.1f} s, peak {peak:.0f} MB", flush=True)
            halves = [(folder, arguments.source, arguments.trials, seed, half) for half in (0, 1)]
            with multiprocessing.get_context("spawn").Pool(2) as pool:
                started = time.perf_counter()
                pool.map(plainly, halves, chunksize=1)
                plain = time.perf_counter() - started
            seed += 1
            print(
                f"turn {turn}: two plain processes {plain:.1f} s; two workers are {seconds[1] / seconds[2]:.2f} times "
                f"as fast as one, and take {seconds[2] / plain:.2f} times as long as the plain ones",
                flush=True,
            )
        for trials in (100, 2000):
            run = context(folder, arguments.source, trials, seed, 2)
            seconds_of, peak = through_ray(run, 2)
            seed += 1
            print(f"{trials} trials: {seconds_of:.1f} s, peak {peak:.0f} MB", flush=True)


if __name__ == "__main__":
    main()
