"""Turn the model's view of every bar into signals, by actors that load the model once; or take others in their place.

python -m jobs.predict --config run.toml --store URL --run NAME
"""

import functools
import hashlib
import logging
import posixpath
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd

from actors.outcome import Outcome
from actors.pool import map_actors
from jobs import market, own_signals, pattern_signals, rule_signals
from jobs.config import RunConfig
from jobs.rates import Rate
from jobs.stage import Context, FanOut, Item, Produced, ShardJob, Stage, items_of, require, reserved, run_stage
from jobs.train import LEAST_WINDOW, MODEL, SCALER, window_seconds
from quant import decision, network, windows
from quant.bars import segments
from quant.features import columns
from quant.model_file import ModelError
from quant.scaling import Scaler
from quant.schemas import FEATURES, SIGNALS
from quant.splits import Part
from storage import layout
from storage.errors import KeyMissing
from storage.manifest import Manifest, Receipt
from storage.store import open_store
from storage.tables import read_table

STAGE = Stage("predict", 1, ("ingest", "features", "train"), (SIGNALS,))

logger = logging.getLogger("assay")

ShardFunction = Callable[[list[Item], ShardJob], Receipt]
Load = Callable[[ShardFunction, ShardJob], Callable[[list[Item]], Receipt]]


@dataclass(frozen=True)
class Task:
    """What an actor is told: when a signal is due, what the next bar is, and the model once it is loaded."""

    parts: dict[str, Part]
    calendar: market.Calendar
    threshold: float
    model: Any = None
    scaler: Scaler | None = None
    steps: int = 0


def run(context: Context, fan_out: FanOut | None = None) -> Manifest:
    """Bring the signals of the run up to date."""
    if source := without_a_model(context.config):
        found: Manifest = source.run(context, **({"fan_out": fan_out} if fan_out else {}))
        return found
    ingested = market.of(context)
    parts = market.parts(context, ingested)
    own = own_files(context)
    threshold = context.config.predict.threshold or float(require(context, "train").details["threshold"])
    if threshold > 1:
        logger.warning(
            "predict: no confidence of the model earned its costs on validate, so it gives no signal at all; "
            "set predict.threshold to see what a level of your own would have done"
        )
    task = Task(parts, market.calendar(context, ingested), threshold)
    return run_stage(
        context,
        stage(context.config),
        items_of(require(context, "features")),
        produce,
        settings={
            "files": {url: hashlib.sha256(content).hexdigest() for url, content in own.items()},
            "threshold": task.threshold,
            "parts": {name: [str(part.start), str(part.end)] for name, part in parts.items()},
            "batch": context.config.predict.batch,
        },
        extra=task,
        fan_out=fan_out or through_actors,
    )


def stage(config: RunConfig) -> Stage:
    """The stage with its cost: the network's view of every window of the choose and judge parts, if there is one."""
    if source := without_a_model(config):
        found: Stage = source.STAGE
        return found
    width, seen = len(columns(config.features.set)), config.split.choose + config.split.judge
    return replace(
        STAGE,
        inputs=("ingest", "features") if config.model else STAGE.inputs,
        rate=Rate(
            ticker=0.01,
            # looking is a third of learning, and in large batches twice as fast
            row=3e-7 + seen * (window_seconds(config) - LEAST_WINDOW) / 6,
            requests=2,
            read_row=4.4 * width,
            written_row=8,
            memory=2.9e9,
            memory_row=16 * width,
            start=15.0,
        ),
    )


def without_a_model(config: RunConfig) -> ModuleType | None:
    """The module that the signals are from where no model gives them."""
    sources = {own_signals: config.signals, rule_signals: config.rule, pattern_signals: config.patterns.trade}
    return next((module for module, set_ in sources.items() if set_), None)


def through_actors(
    function: Callable[[list[Item], ShardJob], Receipt],
    shards: list[list[Item]],
    *,
    name: str,
    shared: ShardJob,
    load: Load | None = None,
    **_: Any,
) -> Iterator[Outcome[list[Item], Receipt]]:
    """Spread shards over actors, each of which loads the model once, by ``loaded`` or by another function."""
    settings, workers = shared.context.config, shared.context.workers
    threads = min(settings.train.threads, workers)
    actors = settings.predict.actors or max(1, workers // threads)
    yield from map_actors(
        functools.partial(load or loaded, function, shared),
        shards,
        name=name,
        actors=actors,
        # as many as the model's threads: a share of all CPUs may be more than any node of a cluster has
        cpus=min(threads, max(1, workers // actors)),
        # of several, only those that there is memory for are started
        memory=reserved(shared.context) or (int(shared.stage.rate.memory) if actors > 1 else None),
        gpus=1 if settings.train.gpu else 0,
        settings="train.threads, train.gpu",
    )


def loaded(function: ShardFunction, job: ShardJob) -> Callable[[list[Item]], Receipt]:
    """The shard function with the model of the run in its hands; called once an actor."""
    context = job.context
    network.configure(context.config.train.threads)
    folder = functools.partial(layout.model, context.run, context.config.train.architecture)
    files = own_files(context) or {
        context.store.address(folder(name)): context.store.read(folder(name)) for name in (MODEL, SCALER)
    }
    (model_source, model_file), (scaler_source, scaler_file) = files.items()
    model = network.load(model_file, source=model_source)
    scaler = Scaler.from_json(scaler_file.decode())
    steps, width = network.window_of(model, model_source)
    if width != len(scaler.columns):
        raise ModelError(f"{model_source} takes {width} features and {scaler_source} scales {len(scaler.columns)}")
    known = columns(context.config.features.set)
    strange = [name for name in scaler.columns if name not in known]
    if strange:
        raise ModelError(
            f"{scaler_source} scales {strange[0]!r}, which is no feature of {context.config.features.set}; "
            f"allowed: {', '.join(known[:5])}{', …' if len(known) > 5 else ''}, or another --features.set"
        )
    ready = replace(job, extra=replace(job.extra, model=model, scaler=scaler, steps=steps))
    return functools.partial(function, job=ready)


def own_files(context: Context) -> dict[str, bytes]:
    """A quant's own model and its scaler by URL, in this order; empty where the model is the run's."""
    files = {}
    for url in (context.config.model, context.config.scaler):
        if url:
            folder, name = posixpath.split(url)
            try:
                files[url] = open_store(folder or ".").read(name)
            except KeyMissing:
                raise ModelError(f"{url}: there is no such file; --model and --scaler name one each") from None
    return files


def produce(context: Context, item: Item, task: Task) -> Produced:
    """Signals of one ticker from the start of the choose part to the end of the judge part."""
    assert task.scaler is not None  # noqa: S101  (set by ``loaded`` in the actor)
    features = read_table(context.store, context.run, FEATURES, item.ticker)
    due = (features.index >= task.parts["choose"].start) & (features.index < task.parts["judge"].end)
    rows = task.scaler.transform(features[list(task.scaler.columns)])
    complete = ~np.isnan(rows).any(axis=1)
    ends = windows.ends(complete, segments(features.index, task.calendar), task.steps)
    ends = ends[due[ends]].astype(np.int64)
    probabilities = np.full((len(features), 3), np.nan, dtype=np.float32)
    probabilities[ends] = network.predict(task.model, rows, ends, task.steps, batch=context.config.predict.batch)
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
