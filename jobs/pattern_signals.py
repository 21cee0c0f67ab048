"""Clusters in place of the model: long or short at the end of each window of a cluster that differs on validate."""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from jobs import market
from jobs.rates import Rate
from jobs.stage import Context, FanOut, Item, Produced, Stage, fan_out, items_of, require, run_stage
from quant.schemas import BARS, PATTERNS, SIGNALS
from quant.splits import Part
from storage.manifest import Manifest
from storage.tables import read_table

STAGE = Stage(
    "predict",
    1,
    ("ingest", "patterns", "pattern_outcomes"),
    (SIGNALS,),
    rate=Rate(ticker=0.012, row=2.5e-7, requests=3, read_row=35, written_row=6, memory_row=330),
)
SIGNAL = {"long": 1, "short": 2}


class Task(NamedTuple):
    """What a worker is told: from when to when a signal is due, and what each cluster says."""

    parts: dict[str, Part]
    sides: dict[int, int]


def run(context: Context, fan_out: FanOut = fan_out) -> Manifest:
    """Bring the signals of the run up to date with its clusters."""
    parts = market.parts(context, market.of(context))
    sides: dict[str, Any] = require(context, "pattern_outcomes").details["sides"]
    return run_stage(
        context,
        STAGE,
        items_of(require(context, "patterns")),
        produce,
        settings={
            "sides": dict(sides),
            "parts": {name: [str(part.start), str(part.end)] for name, part in parts.items()},
        },
        extra=Task(parts, {int(cluster): SIGNAL[side] for cluster, side in sides.items()}),
        fan_out=fan_out,
    )


def produce(context: Context, item: Item, task: Task) -> Produced:
    """Signals of one ticker from the start of the choose part to the end of the judge part, as a model's are."""
    index = pd.DatetimeIndex(read_table(context.store, context.run, BARS, item.ticker, columns=["close"]).index)
    due = index[(index >= task.parts["choose"].start) & (index < task.parts["judge"].end)]
    found = read_table(context.store, context.run, PATTERNS, item.ticker, columns=["cluster"])["cluster"]
    signal = found.map(task.sides).reindex(due).fillna(0).astype("int8")
    frame = signal.rename("signal").to_frame()
    frame["probability_long"] = frame["probability_short"] = np.float32(np.nan)
    counts = np.bincount(frame["signal"], minlength=3)
    return Produced({SIGNALS: frame}, {"rows": len(frame), "long": int(counts[1]), "short": int(counts[2])})
