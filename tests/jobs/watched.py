"""A driver that is watched: ``python -m tests.jobs.watched STORE SCRATCH TOLD`` works, and keeps what its Ray tells."""

import json
import logging
import re
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pandas as pd
import ray

from actors.connect import connect
from actors.fan_out import fan_out
from actors.metrics import of_run
from jobs.stage import Context, Item, Produced, Stage, run_stage
from quant.schemas import LABELS
from tests.actors import work
from tests.jobs.conftest import make_context

STAGE = Stage("toy", 1, (), (LABELS,))
TICKERS = ("A", "B", "币/USDT", "bad")
SECONDS = 60.0
BYTES = "ray_assay_bytes_written_total"
EXPECTED = {
    "ray_assay_shards_done_total": {"toy": 1.0, "die": 4.0, "fails": 1.0},
    "ray_assay_shards_failed_total": {"fails": 1.0},
    "ray_assay_shards_retried_total": {"die": 1.0, "poison": 1.0},
    "ray_assay_shards_lost_total": {"poison": 1.0},
    "ray_assay_tickers_done_total": {"toy": 4.0},
    "ray_assay_tickers_failed_total": {"toy": 1.0},
    "ray_assay_rows_total": {"toy": 9.0},
    "ray_assay_shard_seconds_count": {"toy": 1.0, "die": 4.0, "fails": 1.0},
}


def produce(context: Context, item: Item, extra: Any) -> Produced:
    if item.ticker == "bad":
        raise ValueError("a bad ticker")
    index = pd.date_range("2024-01-01", periods=3, freq="15min", tz="UTC", unit="us", name="time")
    return Produced({LABELS: pd.DataFrame({"label": [0, 1, 2], "outcome": 1.0}, index=index).astype({"label": "Int8"})})


def worked(store: str, scratch: Path) -> None:
    """A stage with a ticker that fails; shards that lose a worker once, lose every worker, and fail."""
    context = make_context(store, run="watched")
    with of_run(context.run):
        run_stage(context, STAGE, [Item(ticker) for ticker in TICKERS], produce, settings={})
        list(fan_out(work.die_the_first_time, range(4), name="die", shared=scratch))
        list(fan_out(work.die_of_poison, [[5]], name="poison", shared=scratch, retries=1))
        list(fan_out(work.square_unless_three, [3], name="fails", shared=scratch))


def scraped() -> dict[str, dict[str, float]]:
    """Values of our series by name and stage, as they are at the node's metrics port."""
    (node,) = ray.nodes()
    url = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    with urllib.request.urlopen(url, timeout=10) as answer:
        text = answer.read().decode()
    found: dict[str, dict[str, float]] = {}
    for name, labels, value in re.findall(r"^(ray_assay_\w+)\{(.*)\} (\S+)$", text, re.MULTILINE):
        tags = dict(re.findall(r'(\w+)="([^"]*)"', labels))
        if tags["run"] == "watched" and name in {*EXPECTED, BYTES}:
            found.setdefault(name, {})[tags["stage"]] = float(value)
    return found


def complete(metrics: dict[str, dict[str, float]]) -> bool:
    return {name: values for name, values in metrics.items() if name != BYTES} == EXPECTED and BYTES in metrics


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    with connect("local", 2):
        worked(sys.argv[1], Path(sys.argv[2]))
        deadline = time.monotonic() + SECONDS
        while not complete(metrics := scraped()) and time.monotonic() < deadline:
            time.sleep(0.1)
        logs = Path(ray._private.worker._global_node.get_logs_dir_path())
        lines = [line for path in logs.glob("assay-shards-*.log") for line in path.read_text("utf-8").splitlines()]
        (node,) = ray.nodes()
        told = {"metrics": metrics, "worker": lines, "node": node["NodeID"]}
        Path(sys.argv[3]).write_text(json.dumps(told), encoding="utf-8")  # Ray writes to standard output, too


if __name__ == "__main__":
    main()
