"""One line a shard, as JSON: what was done, where and for how long.

The driver writes it by the logger ``assay.shard`` when the shard comes back: into the log of a job or a file, and on a
terminal, where the progress bar says enough, at the level DEBUG only. The worker writes it when the shard is done, into
``assay-shards-PID.log`` in Ray's directory of logs on its node (``/tmp/ray/session_latest/logs``), beside the worker's
other logs, with all of its tickers; Ray forwards those to the driver, and not this one, so that no line comes twice.
"""

import json
import logging
import sys
from contextlib import suppress
from typing import Any

from actors import metrics
from actors.outcome import Outcome
from actors.place import Place, here, worker_logs
from storage.manifest import Receipt

NAMED = 3  # tickers of a shard that the driver's line lists: it may have a thousand

logger = logging.getLogger("assay.shard")


def in_worker(run: str, receipt: Receipt) -> None:
    """Write the line where the shard was worked on; nothing where that is no worker of Ray's."""
    folder = worker_logs()
    if folder is not None:
        place = here()
        # a full disk under the logs is no reason to fail a shard whose results are safe
        with suppress(OSError), (folder / f"assay-shards-{place.pid}.log").open("a", encoding="utf-8") as file:
            file.write(line(run, receipt, place) + "\n")


def in_driver(run: str, receipt: Receipt, outcome: Outcome[Any, Receipt]) -> None:
    """Write the line where the results are gathered, and count what the shard wrote."""
    logger.log(
        logging.DEBUG if sys.stderr.isatty() else logging.INFO,
        line(run, receipt, outcome.place, outcome.error.type_name if outcome.error else None, named=NAMED),
    )
    usage = receipt.usage
    metrics.count(receipt.stage, rows=rows(receipt), bytes_read=usage.bytes_read, bytes_written=usage.bytes_written)


def line(run: str, receipt: Receipt, place: Place | None, error: str | None = None, named: int | None = None) -> str:
    """The facts of a shard as one line of JSON; what is not known of a lost one is null.

    Of its tickers the first ``named`` are listed, all where that is None.
    """
    facts = {
        "run": run,
        "stage": receipt.stage,
        "tickers": receipt.tickers[:named],
        "count": len(receipt.tickers),
        "failed": len(receipt.failures),
        "rows": rows(receipt),
        **{name: getattr(receipt.usage, name) for name in ("bytes_read", "bytes_written", "peak_bytes")},
        "seconds": None if place is None else round(place.seconds, 3),
        "attempt": None if place is None else place.attempt,
        "node": None if place is None else place.node,
        "pid": None if place is None else place.pid,
        "error": error,
    }
    return json.dumps(facts, ensure_ascii=False)


def rows(receipt: Receipt) -> int:
    """Rows of all tables that a shard wrote."""
    return sum(table.rows for tables in receipt.items.values() for table in tables.values())
