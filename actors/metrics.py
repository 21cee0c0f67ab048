"""Counters of the work for Prometheus, through Ray: what is done, failed, lost and retried, by run and stage.

They are counted in the driver, so that they make one series a run and stage however many workers there are, and come
out at the metrics port of the driver's node with the prefix ``ray_`` and, counters, the suffix ``_total``. Nothing is
counted where Ray is not initialised.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

import ray
from ray.util.metrics import Counter, Histogram

TAGS = ("run", "stage")
SECONDS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
COUNTERS = {
    "shards_done": "Shards that came back, with a result or with an error of their own.",
    "shards_failed": "Shards that came back with an error of their own, which are not tried again.",
    "shards_lost": "Shards given up: their workers died as often as is allowed.",
    "shards_retried": "Further attempts at shards whose worker or node was lost.",
    "tickers_done": "Tickers that were handled, failed ones included.",
    "tickers_failed": "Tickers that failed.",
    "rows": "Rows of tables that shards wrote.",
    "bytes_read": "Bytes that shards read from object storage.",
    "bytes_written": "Bytes that shards wrote to object storage.",
}


_runs = [""]


@contextmanager
def of_run(run: str) -> Iterator[None]:
    """Says which run the work of this process is for."""
    _runs.append(run)
    try:
        yield
    finally:
        _runs.pop()


def count(stage: str, **amounts: float) -> None:
    """Adds to counters by name (`COUNTERS`); zeros add nothing."""
    if ray.is_initialized():
        for name, amount in amounts.items():
            if amount > 0:
                _counter(name).inc(amount, tags=_tags(stage))


def seconds(stage: str, value: float) -> None:
    """Adds how long a shard took on its worker."""
    if ray.is_initialized():
        _histogram().observe(value, tags=_tags(stage))


def _tags(stage: str) -> Mapping[str, str]:
    return {"run": _runs[-1], "stage": stage}


@cache
def _counter(name: str) -> Any:
    return Counter(f"assay_{name}", COUNTERS[name], tag_keys=TAGS)


@cache
def _histogram() -> Any:
    return Histogram("assay_shard_seconds", "Seconds of a shard on its worker.", list(SECONDS), TAGS)
