"""Ingest of monthly zips of klines, as Binance publishes them, against ``pandas.read_csv`` on the same files.

    .venv/bin/python -m benchmarks.bulk_ingest                # 40 symbols x 36 months of 15m
    .venv/bin/python -m benchmarks.bulk_ingest --symbols 250  # 26 million rows; makes 1.2 GB of zips first

The zips hold real bars: each symbol's 20,000 latest, repeated with their times moved on until the months are full, and
with every column that Binance writes. pandas reads one file after another in one process and throws the frame away.
Ingest reads, joins, checks, flags, hashes and writes Parquet, with one worker and with two. Turns begin with another
side each. Beside them: what inflating the zips takes alone, and what our reader takes alone, both in one process.
"""

import argparse
import io
import multiprocessing
import os
import shutil
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import pandas as pd

from actors.connect import connect
from jobs import ingest
from jobs.config import RunConfig
from jobs.stage import Context
from quant import candle_files
from storage.store import open_store

MARKET = Path(os.environ.get("ASSAY_MARKET_DATA", "../shared/data")) / "binance_um_15m"
BAR = pd.Timedelta("15min")
LIMIT = 1 << 30


def make(folder: Path, source: Path, months: pd.PeriodIndex) -> None:
    """The monthly zips of one symbol."""
    real = pd.read_parquet(source)
    times = pd.date_range(months[0].start_time, months[-1].end_time, freq=BAR)
    bars = real.iloc[np.arange(len(times)) % len(real)].set_axis(times)
    opens = times.as_unit("ms").asi8
    value = (bars["volume"] * bars["close"]).round(4).to_numpy()
    table = pd.DataFrame(
        {
            "open_time": opens, "open": bars["open"].to_numpy(), "high": bars["high"].to_numpy(),
            "low": bars["low"].to_numpy(), "close": bars["close"].to_numpy(), "volume": bars["volume"].to_numpy(),
            "close_time": opens + 899_999, "quote_volume": value, "count": np.arange(len(times)) % 9_973,
            "taker_buy_volume": (bars["volume"] * 0.4).round(3).to_numpy(),
            "taker_buy_quote_volume": (value * 0.4).round(5), "ignore": 0,
        },
        index=times,
    )  # fmt: skip
    for month in months:
        rows = table.loc[str(month)].to_csv(index=False)
        with zipfile.ZipFile(folder / f"{source.stem}-15m-{month}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(f"{source.stem}-15m-{month}.csv", rows)


def by_pandas(files: list[Path]) -> int:
    """Rows that pandas reads, one file after another."""
    return sum(len(pd.read_csv(file, compression="zip")) for file in files)


def by_our_reader(files: list[Path]) -> int:
    """Rows that our reader reads, one file after another."""
    return sum(len(candle_files.parse(file.read_bytes(), limit=LIMIT).frame) for file in files)


def inflated(files: list[Path]) -> int:
    """Bytes of the files, unpacked by Python's own zlib and thrown away."""
    total = 0
    for file in files:
        with zipfile.ZipFile(io.BytesIO(file.read_bytes())) as archive:
            total += len(archive.read(archive.namelist()[0]))
    return total


def by_ingest(folder: Path, store: Path, workers: int) -> int:
    """Rows of bars that ingest leaves in a fresh store."""
    shutil.rmtree(store, ignore_errors=True)
    config = RunConfig(source=str(folder), store=str(store), run="bulk", ingest={"bar": "15m", "venue": "binance"})
    manifest = ingest.run(Context(config, open_store(config.store), workers=workers))
    assert not manifest.failures  # noqa: S101
    return manifest.rows["bars"]


def timed(work: Callable[[], int]) -> tuple[float, int]:
    """Seconds of a piece of work, and what it returned."""
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result


def main() -> None:
    """Make the files, take the turns, print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--symbols", type=int, default=40)
    parser.add_argument("--months", type=int, default=36)
    parser.add_argument("--turns", type=int, default=3)
    chosen = parser.parse_args()
    months = pd.period_range("2022-01", periods=chosen.months, freq="M")
    with tempfile.TemporaryDirectory() as place:
        folder, store = Path(place) / "zips", Path(place) / "store"
        folder.mkdir()
        sources = sorted(MARKET.glob("*.parquet"))[: chosen.symbols]
        with multiprocessing.get_context("spawn").Pool() as pool:
            pool.starmap(make, [(folder, source, months) for source in sources])
        files = sorted(folder.iterdir())
        packed = sum(file.stat().st_size for file in files)
        inflating, unpacked = min(timed(lambda: inflated(files)) for _ in range(2))
        print(f"{len(files):,} zips, {packed / 1e6:,.0f} MB, {unpacked / 1e6:,.0f} MB unpacked")
        by_our_reader(files[:1])
        seconds: dict[str, list[float]] = {name: [] for name in ("pandas", "reader", "1 worker", "2 workers")}
        rows: set[int] = set()
        for turn in range(chosen.turns):
            for name in list(seconds)[turn % 4 :] + list(seconds)[: turn % 4]:
                if name in ("pandas", "reader"):
                    spent, count = timed(lambda name=name: (by_pandas if name == "pandas" else by_our_reader)(files))
                else:
                    with connect("local", int(name[0])):
                        by_ingest(folder, store, int(name[0]))  # all workers have started and compiled
                        spent, count = timed(lambda name=name: by_ingest(folder, store, int(name[0])))
                seconds[name].append(spent)
                rows.add(count)
        assert len(rows) == 1  # noqa: S101
        (count,) = rows
        print(f"inflating alone, by zlib: {inflating:.1f} s, {unpacked / inflating / 1e6:,.0f} MB/s unpacked")
        for name, spent in seconds.items():
            ratios = sorted(other / own for other, own in zip(seconds["pandas"], spent, strict=True))
            print(
                f"{name}: {median(spent):.1f} s, {count / median(spent):,.0f} rows/s, "
                f"{packed / median(spent) / 1e6:,.1f} MB/s packed, {unpacked / median(spent) / 1e6:,.0f} unpacked; "
                f"{median(ratios):.2f} times as fast as pandas ({ratios[0]:.2f} to {ratios[-1]:.2f})"
            )


if __name__ == "__main__":
    main()
