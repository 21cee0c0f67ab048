"""Turn the model's view of every bar into signals, by actors that load the model once; or take a quant's own.

python -m jobs.predict --config run.toml --store URL --run NAME
"""

import functools
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from actors.outcome import Outcome
from actors.pool import map_actors
from jobs import market, own_signals
from jobs.stage import Context, FanOut, Item, Produced, ShardJob, Stage, items_of, require, run_stage
from jobs.train import MODEL, SCALER
from quant import decision, network, windows
from quant.bars import segments
from quant.scaling import Scaler
from quant.schemas import FEATURES, SIGNALS
from quant.splits import Part
from storage import layout
from storage.manifest import Manifest, Receipt
from storage.tables import read_table

STAGE = Stage("predict", 1, ("ingest", "features", "train"), (SIGNALS,), seconds_per_row=4e-5)

logger = logging.getLogger("assay")

ShardFunction = Callable[[list[Item], ShardJob], Receipt]


@dataclass(frozen=True)
class Task:
    """What an actor is told: when a signal is due, what the next bar is, and the model once it is loaded."""

    parts: dict[str, Part]
    calendar: market.Calendar
    threshold: float
    model: Any = None
    scaler: Scaler | None = None


def run(context: Context, fan_out: FanOut | None = None) -> Manifest:
    """Bring the signals of the run up to date."""
    if context.config.signals:
        return own_signals.run(context, **({"fan_out": fan_out} if fan_out else {}))
    ingested = market.of(context)
    parts, trained = market.parts(context, ingested), require(context, "train")
    threshold = context.config.predict.threshold or float(trained.details["threshold"])
    if threshold > 1:
        logger.warning(
            "predict: no confidence of the model earned its costs on validate, so it gives no signal at all; "
            "set predict.threshold to see what a level of your own would have done"
        )
    task = Task(parts, market.calendar(context, ingested), threshold)
    return run_stage(
        context,
        STAGE,
        items_of(require(context, "features")),
        produce,
        settings={
            "threshold": task.threshold,
            "parts": {name: [str(part.start), str(part.end)] for name, part in parts.items()},
            "batch": context.config.predict.batch,
        },
        extra=task,
        fan_out=fan_out or through_actors,
    )


def through_actors(
    function: Callable[[list[Item], ShardJob], Receipt],
    shards: list[list[Item]],
    *,
    name: str,
    shared: ShardJob,
    **_: Any,
) -> Iterator[Outcome[list[Item], Receipt]]:
    """Spread shards over actors, each of which loads the model once."""
    settings = shared.context.config
    yield from map_actors(
        functools.partial(loaded, function, shared),
        shards,
        name=name,
        actors=settings.predict.actors,
        cpus=max(1, shared.context.workers // settings.predict.actors),
        gpus=1 if settings.train.gpu else 0,
    )


def loaded(function: ShardFunction, job: ShardJob) -> Callable[[list[Item]], Receipt]:
    """The shard function with the model of the run in its hands; called once an actor."""
    context = job.context
    network.configure(context.config.train.threads)
    folder = functools.partial(layout.model, context.run, context.config.train.architecture)
    model = network.load(context.store.read(folder(MODEL)), source=context.store.address(folder(MODEL)))
    scaler = Scaler.from_json(context.store.read(folder(SCALER)).decode())
    ready = replace(job, extra=replace(job.extra, model=model, scaler=scaler))
    return functools.partial(function, job=ready)


def produce(context: Context, item: Item, task: Task) -> Produced:
    """Signals of one ticker from the start of the choose part to the end of the judge part."""
    assert task.scaler is not None  # noqa: S101  (set by ``loaded`` in the actor)
    features = read_table(context.store, context.run, FEATURES, item.ticker)
    due = (features.index >= task.parts["choose"].start) & (features.index < task.parts["judge"].end)
    rows = task.scaler.transform(features[list(task.scaler.columns)])
    complete = ~np.isnan(rows).any(axis=1)
    ends = windows.ends(complete, segments(features.index, task.calendar), context.config.train.steps)
    ends = ends[due[ends]].astype(np.int64)
    probabilities = np.full((len(features), 3), np.nan, dtype=np.float32)
    probabilities[ends] = network.predict(
        task.model, rows, ends, context.config.train.steps, batch=context.config.predict.batch
    )
    frame = pd.DataFrame(
        {
            "signal": decision.signals(probabilities, task.threshold),
            "probability_long": probabilities[:, 1],
            "probability_short": probabilities[:, 2],
        },
        index=features.index,
    )[due]
    counts = np.bincount(frame["signal"], minlength=3)
    return Produced(
        {SIGNALS: frame}, {"rows": len(frame), "windows": len(ends), "long": int(counts[1]), "short": int(counts[2])}
    )


if __name__ == "__main__":
    from jobs.runner import main

    main("predict")
