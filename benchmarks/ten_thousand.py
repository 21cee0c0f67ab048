"""Ten thousand tickers through the whole path on two cores: memory, requests and time of the driver, beside few.

    .venv/bin/python -m benchmarks.ten_thousand
    .venv/bin/python -m benchmarks.ten_thousand --tickers 1000 --few 100 -- --search.trials 4

A market of random walks of 500 daily bars, one Parquet a ticker, goes through `jobs.pipeline` in a process of its own;
what follows `--` is handed to it. Without that the signals are a file of our own, and `jobs.features` runs beside.
The memory is that of the driver alone, by stage, and the largest of any worker; the requests are those that the driver
itself makes of the store and of the source. Time by ticker is that of the stages, without the start of Ray.
"""

import argparse
import contextlib
import json
import logging
import os
import resource
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from actors.sharding import shards
from jobs import gather, runner, stage
from storage.local import LocalBackend

MOST_DRIVER_GB = 1.5
MOST_RATIO = 1.5
LARGEST_REPORT_MB = 20
MARK = "measured: "
WARM = 8  # tickers of a market that goes first
# not "stamp": the listing of a directory looks at each file of it, which is no request of its own where the store is S3
METHODS = ("read", "open", "write", "exists", "names", "stamps", "folders", "delete", "delete_prefix")
SETTINGS = (
    *("--split.fit", "0.1", "--split.validate", "0.1", "--split.choose", "0.4", "--split.judge", "0.4"),
    *("--split.embargo", "5", "--placebo.repetitions", "0", "--search.minimum_trades", "5"),
)


def write_market(folder: Path, tickers: int, bars: int) -> None:
    """Write a Parquet a ticker: daily candles of random walks."""
    folder.mkdir(parents=True, exist_ok=True)
    times = pd.date_range("2023-01-01", periods=bars, freq="D", tz="UTC", unit="us")
    for number in range(tickers):
        generator = np.random.default_rng(number)
        close = 100 * np.exp(np.cumsum(generator.normal(0, 0.02, bars)))
        opening = np.concatenate([[100.0], close[:-1]])
        wick = np.abs(generator.normal(0, 0.01, (2, bars))) * close
        columns = {
            "time": times,
            "open": opening,
            "high": np.maximum(opening, close) + wick[0],
            "low": np.maximum(np.minimum(opening, close) - wick[1], 1e-6),
            "close": close,
            "volume": generator.lognormal(5, 1, bars),
        }
        pq.write_table(pa.table(columns), folder / f"{name(number)}.parquet")


def write_signals(path: Path, tickers: int, bars: int) -> None:
    """Write a file of signals: long and short in turn on every fifth bar."""
    times = pd.date_range("2023-01-01", periods=bars, freq="D", tz="UTC", unit="us")[::5]
    sides = np.where(np.arange(len(times)) % 2, 1, 2).astype(np.int8)
    columns = {
        "ticker": np.repeat([name(number) for number in range(tickers)], len(times)),
        "time": np.tile(times, tickers),
        "signal": np.tile(sides, tickers),
    }
    pd.DataFrame(columns).to_parquet(path)


def name(number: int) -> str:
    """Symbol of a ticker of the market."""
    return f"T{number:05d}USDT"


class Watch(logging.Filter):
    """What the driver does in each stage, as its log lines tell them: seconds, peak of memory, requests by kind."""

    def __init__(self) -> None:
        """Begin before the first stage."""
        super().__init__()
        self.stage = "start"
        self.seconds: dict[str, float] = {}
        self.peaks: dict[str, float] = {}
        self.requests: dict[str, Counter[str]] = {}
        self.tasks: Counter[str] = Counter()

    def filter(self, record: logging.LogRecord) -> bool:
        """Note the beginning and the end of a stage; every line passes."""
        if str(record.msg).startswith("stage %d of %d"):
            self.enter(str(record.args[2]))  # type: ignore[index]
        elif record.msg == "%s: done in %.1f s":
            done, seconds = record.args  # type: ignore[misc]
            self.seconds[str(done)] = float(seconds)  # type: ignore[arg-type]
            self.enter("report")
        return True

    def enter(self, stage: str) -> None:
        """Count from here on for another stage."""
        self.peaks[self.stage] = max(peak(), self.peaks.get(self.stage, 0.0))
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak starts anew
        self.stage = stage

    def counted(self, kind: str, method: Callable[..., Any]) -> Callable[..., Any]:
        """The method of a store, counting itself."""

        def call(*arguments: Any) -> Any:
            self.requests.setdefault(self.stage, Counter())[kind] += 1
            return method(*arguments)

        return call

    def tasked(self, *arguments: Any, **options: Any) -> list[list[Any]]:
        """Shards as `actors.sharding` makes them, counted as the tasks of the stage."""
        found: list[list[Any]] = shards(*arguments, **options)
        self.tasks[self.stage] += len(found)
        return found


def peak() -> float:
    """Largest resident size of this process since the peak was last set back, in MB."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def drive(job: str, arguments: list[str]) -> None:
    """Run a job as ``python -m jobs.<job>`` does, and print what its driver needed."""
    watch = Watch()
    logging.getLogger("assay").addFilter(watch)
    for kind in METHODS:
        setattr(LocalBackend, kind, watch.counted(kind, getattr(LocalBackend, kind)))
    stage.shards = gather.shards = watch.tasked  # type: ignore[attr-defined, assignment]
    used = resource.getrusage(resource.RUSAGE_SELF)
    try:
        runner.main(job, arguments)
    finally:
        watch.enter("end")
        spent = resource.getrusage(resource.RUSAGE_SELF)
        figures = {"seconds": watch.seconds, "peaks": watch.peaks, "requests": watch.requests, "tasks": watch.tasks}
        print(MARK + json.dumps({**figures, "cpu": spent.ru_utime - used.ru_utime}), flush=True)


class Workers(threading.Thread):
    """Largest resident size of any of Ray's workers below a process, looked at four times a second."""

    def __init__(self) -> None:
        """Start looking."""
        super().__init__(daemon=True)
        self.peak, self.ended = 0, threading.Event()
        self.start()

    def run(self) -> None:
        """Look until told to end."""
        while not self.ended.wait(0.25):
            for process in Path("/proc").glob("[0-9]*"):
                with contextlib.suppress(OSError):
                    if (process / "cmdline").read_bytes().startswith(b"ray::"):
                        pages = int((process / "statm").read_text().split()[1])
                        self.peak = max(self.peak, pages * resource.getpagesize())


def measured(job: str, arguments: list[str]) -> dict[str, Any]:
    """Run a job in a process of its own, and return what its driver and its workers needed."""
    workers = Workers()
    command = [sys.executable, "-m", "benchmarks.ten_thousand", "--drive", job, "--", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    workers.ended.set()
    if done.returncode:
        raise SystemExit(f"{job} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    line = next(line for line in done.stdout.splitlines() if line.startswith(MARK))
    return {**json.loads(line.removeprefix(MARK)), "worker": workers.peak / 2**20}


def whole_path(folder: Path, tickers: int, bars: int, extra: list[str]) -> dict[str, Any]:
    """Make a market, run the path over it, and return the figures."""
    market, store = folder / f"market{tickers}", folder / f"store{tickers}"
    write_market(market, tickers, bars)
    common = ["--source", str(market), "--store", str(store), "--run", "wide", "--workers", "2", *SETTINGS, *extra]
    if not extra:
        write_signals(folder / f"signals{tickers}.parquet", tickers, bars)
        common += ["--signals", str(folder / f"signals{tickers}.parquet")]
    found = measured("pipeline", common)
    if not extra:
        found["features"] = measured("features", common)["peaks"]
    again = measured("pipeline", common)
    root = store / "runs" / "wide"
    manifests = {path.stem: path.stat().st_size / 2**20 for path in sorted((root / "manifests").glob("*.json"))}
    return found | {"again": again, "manifests": manifests, "report": (root / "report.html").stat().st_size / 2**20}


def show(tickers: int, found: dict[str, Any]) -> None:
    """Print the figures of one market, a line a stage."""
    print(f"\n{tickers:,} tickers:")
    for part, peak_mb in found["peaks"].items():
        seconds = found["seconds"].get(part)
        counts = ", ".join(f"{kind} {count:,}" for kind, count in sorted(found["requests"].get(part, {}).items()))
        timed = "" if seconds is None else f"{seconds:.1f} s, {1000 * seconds / tickers:.1f} ms a ticker, "
        print(
            f"  {part:<10} {timed}{found['tasks'].get(part, 0)} tasks, driver {peak_mb:.0f} MB at most; "
            f"requests by the driver: {counts or 'none'}"
        )
    again = found["again"]
    requests = sum(sum(kinds.values()) for kinds in again["requests"].values())
    print(f"  manifests: {', '.join(f'{part} {size:.1f} MB' for part, size in found['manifests'].items())}")
    print(f"  the report {found['report']:.1f} MB; the largest worker {found['worker']:.0f} MB")
    print(
        f"  the driver itself {found['cpu']:.1f} s of CPU; the same run again, nothing to do: "
        f"{sum(again['seconds'].values()):.1f} s, {max(again['peaks'].values()):.0f} MB, {requests:,} requests",
        flush=True,
    )


def main() -> None:
    """Print the figures of few and of many tickers, and then what is held of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tickers", type=int, default=10_000)
    parser.add_argument("--few", type=int, default=500)
    parser.add_argument("--bars", type=int, default=500)
    parser.add_argument("--folder", type=Path, help="where to keep markets and stores; a temporary one otherwise")
    parser.add_argument("--drive", metavar="JOB", help=argparse.SUPPRESS)
    parser.add_argument("extra", nargs="*", help="settings of the pipeline, after --")
    arguments = parser.parse_args()
    if arguments.drive:
        drive(arguments.drive, arguments.extra)
        return
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        counts = (arguments.few, arguments.tickers)
        whole_path(folder, WARM, arguments.bars, arguments.extra)  # what is compiled once a machine is no cost of few
        few, many = (whole_path(folder, count, arguments.bars, arguments.extra) for count in counts)
    for count, found in zip(counts, (few, many), strict=True):
        show(count, found)
    each = {count: sum(found["seconds"].values()) / count for count, found in zip(counts, (few, many), strict=True)}
    ratio = each[arguments.tickers] / each[arguments.few]
    driver = max(many["peaks"].values()) / 1024
    requests = sum(sum(kinds.values()) for kinds in many["requests"].values())
    print(f"\nrequests by the driver: {requests:,} for {counts[1]:,} tickers, {requests / counts[1]:.3f} a ticker")
    print(f"report: {many['report']:.1f} MB (at most {LARGEST_REPORT_MB})")
    print(f"driver: {driver:.2f} GB (at most {MOST_DRIVER_GB})")
    print(f"time by ticker: {ratio:.2f} times that of {counts[0]:,} tickers (at most {MOST_RATIO})")


if __name__ == "__main__":
    main()
