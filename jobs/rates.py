"""What work costs on one core: seconds, bytes and memory of a ticker and of each of its rows, as measured.

Every stage states its own rate; ``benchmarks/rates.py`` measures them. Shards are sized by them, and `jobs.plan`
foresees a run with them, corrected by what earlier runs of the store have really cost.
"""

import resource
import sys
import time
from dataclasses import dataclass

from jobs.config import RunConfig
from storage.manifest import Usage
from storage.meter import traffic

WORKER_BYTES = 430e6  # of a worker that has imported this project, before its first ticker


@dataclass(frozen=True)
class Rate:
    """Cost of a ticker and of a row.

    Parameters
    ----------
    ticker, row
        Seconds on one core.
    requests
        Of object storage, for each ticker.
    read_row, written_row
        Bytes for each row.
    written
        Bytes for each ticker, however few rows it has.
    memory, memory_row
        Bytes that a worker holds, and beyond that for each row of its largest ticker.
    start
        Seconds that a worker takes before its first ticker, beyond what every worker takes.
    """

    ticker: float = 1e-3
    row: float = 0.0
    requests: float = 1.0
    read_row: float = 0.0
    written_row: float = 0.0
    written: float = 0.0
    memory: float = WORKER_BYTES
    memory_row: float = 0.0
    start: float = 0.0

    def seconds(self, rows: float, tickers: int = 1) -> float:
        """Seconds on one core for tickers of so many rows in all."""
        return self.ticker * tickers + self.row * rows


def share(config: RunConfig, part: str) -> float:
    """Share of a part in the rows of the signals: those of both parts, or of all time where they are a quant's own."""
    split = config.split
    lengths = {"choose": split.choose, "judge": split.judge}
    return lengths[part] / (1.0 if config.signals else sum(lengths.values()))


class Meter:
    """What this process spends from here on."""

    def __init__(self) -> None:
        """Starts to count."""
        self._started = time.perf_counter()
        self._before = traffic()

    def usage(self, expected: float = 0.0) -> Usage:
        """What was spent since the start on work that was expected to take so many seconds."""
        used = traffic() - self._before
        return Usage(
            shards=1,
            seconds=round(time.perf_counter() - self._started, 4),
            expected_seconds=round(expected, 4),
            requests=used.requests,
            bytes_read=used.bytes_read,
            bytes_written=used.bytes_written,
            peak_bytes=peak(),
        )


def peak() -> int:
    """Largest resident memory that this process has ever had, in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
