"""Train the CNN on the fit part by Ray Train, watched on the validate part, and keep it as one model folder.

python -m jobs.train --config run.toml --store URL --run NAME
"""

import hashlib
import importlib.metadata
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from actors.progress import Progress
from jobs import market
from jobs.config import RunConfig
from jobs.config_model import Train
from jobs.dataset import TrainingData, load
from jobs.rates import Meter, Rate
from jobs.stage import Context, Stage, require, require_training, stage_fingerprint, up_to_date, write_whole
from quant import decision, demo, network, training
from quant.features import columns
from storage import layout
from storage.manifest import Manifest

if TYPE_CHECKING:
    from actors.train import Context as Rank

STAGE = Stage("train", 1, ("ingest", "features", "labels"), ())
OPERATIONS = 3.5e10  # a second and core that training reaches (docs/benchmarks.md)
LEAST_WINDOW = 1e-5  # seconds of a core that a window takes however small the network
CHECKPOINT = "state.npz"
MODEL, SCALER, CARD = "model.keras", "scaler.json", "model.json"

logger = logging.getLogger("assay")


class TrainingTickersError(ValueError):
    """Tickers to train on that the run does not have."""


class AnotherTuningError(ValueError):
    """A tuning that was done on other data, or for another network."""


class AnotherModelError(ValueError):
    """The model of the run that is judged again is not the configured one."""


def run(context: Context) -> Manifest:
    """Bring the model of the run up to date; where an earlier run is judged again, it is that run's."""
    require_training(context, STAGE.name)
    before = market.earlier(context)
    if before and (rule := require(before, "predict").config.get("rule")):
        raise AnotherModelError(
            f"run '{before.run}' has no model: its signals are those of the rule {rule}. "
            "Judge it again with the configuration of that run."
        )
    context = context if before else tuned(context)
    settings: dict[str, Any] = (
        {"adopted": require(before, STAGE.name).result_hash}
        if before
        else {
            **context.config.train.model_dump(),
            "features": context.config.features.set,
            "round_trip": round_trip(context),
            "parts": {
                name: [str(p.start), str(p.end)] for name, p in market.parts(context, market.of(context)).items()
            },
            "versions": {"architecture": network.ARCHITECTURES[context.config.train.architecture].version},
        }
    )
    identity = stage_fingerprint(context, STAGE, settings)
    if done := up_to_date(context, STAGE, identity):
        return done
    meter = Meter()
    if before:
        card, cost = adopt(context, before), 0.0
    else:
        tickers = training_tickers(context)
        cost = expected_seconds(context, tickers)
        logger.info("train: learning from %s", ", ".join(tickers))
        card = _train(context, identity, tickers)
    manifest = write_whole(
        context, STAGE, settings, {}, hashes={"model": card["hash"]}, details=card, usage=meter.usage(cost)
    )
    context.store.delete_prefix(layout.checkpoints(context.run, STAGE.name))
    return manifest


def stage(config: RunConfig) -> Stage:
    """The stage with its cost, by the bars of the tickers learned from: the passes over the windows of two parts."""
    settings, split = config.train, config.split
    windows = settings.epochs * (split.fit + split.validate_ / 3)  # watching costs a third of learning
    return replace(STAGE, rate=Rate(ticker=0.2, row=windows * window_seconds(config), memory=2.9e9, start=20.0))


def expected_seconds(context: Context, tickers: Sequence[str]) -> float:
    """Seconds that the training on some tickers is expected to take, the start of its worker included."""
    known = require(context, "features").tickers
    rows = sum(float(known[ticker]["rows"]) for ticker in tickers)
    cores = max(1, min(context.config.train.threads, context.workers))
    rate = stage(context.config).rate
    return rate.start + rate.seconds(rows, len(tickers)) / cores


def window_seconds(config: RunConfig) -> float:
    """Seconds in which a core learns from a window: thrice the operations of looking at it."""
    settings = config.train
    width, dense = len(columns(config.features.set)), settings.dense
    area, pooled = settings.steps * width, ((settings.steps + 1) // 2) * ((width + 1) // 2)
    pixels = settings.filters * dense + dense**2 if settings.architecture == "cnn_tuned" else settings.filters * dense
    kernel = 25 if settings.architecture == "cnn_tuned" else 9
    operations = 2 * (area * kernel * settings.filters + pooled * pixels)
    if settings.architecture == "causal":
        operations = 2 * settings.steps * 3 * settings.filters * (width + 5 * settings.filters)
    return 3 * operations / OPERATIONS + LEAST_WINDOW


def tuned(context: Context) -> Context:
    """Put the best hyperparameters of the run's tuning into the configuration, where it asks for them.

    Raises
    ------
    StageMissingError
        If the run has not been tuned.
    AnotherTuningError
        If it was, on other features or labels or for another architecture or length of window.
    """
    settings = context.config.train
    if not settings.tuned:
        return context
    found = require(context, "tune")
    theirs = {**found.inputs, **{name: found.config["train"][name] for name in ("architecture", "steps")}}
    ours = {
        **{name: require(context, name).result_hash for name in found.inputs},
        "architecture": settings.architecture,
        "steps": settings.steps,
    }
    for name, value in theirs.items():
        if ours[name] != value:
            raise AnotherTuningError(
                f"train.tuned is set, and run '{context.run}' was tuned with other {name} ({value}, now {ours[name]}). "
                "Run `python -m jobs.tune` with the same --config, --store and --run again."
            )
    best = found.details["best"]
    logger.info("train: tuned, %s", ", ".join(f"{name} {value:g}" for name, value in best.items()))
    return replace(context, config=context.config.model_copy(update={"train": settings.model_copy(update=best)}))


def adopt(context: Context, before: Context) -> dict[str, Any]:
    """Copy the model folder of an earlier run, and return its card.

    Raises
    ------
    AnotherModelError
        If the configuration names other features, another architecture or another length of window than the model's.
    """
    card = require(before, STAGE.name).details
    settings = context.config.train
    theirs = {"features.set": card["features"]["set"], **{f"train.{n}": card[n] for n in ("architecture", "steps")}}
    ours = {"features.set": context.config.features.set}
    ours |= {"train.architecture": settings.architecture, "train.steps": settings.steps}
    for name, value in theirs.items():
        if ours[name] != value:
            raise AnotherModelError(
                f"{name} is {ours[name]!r}, and the model of run '{before.run}' was made with {value!r}. "
                "Judge it again with the configuration of that run."
            )
    for name in (MODEL, SCALER, CARD):
        content = context.store.read(layout.model(before.run, settings.architecture, name))
        context.store.write(layout.model(context.run, settings.architecture, name), content)
    logger.info("train: the model is that of run '%s'", before.run)
    return card


def round_trip(context: Context) -> float:
    """What a trade has to earn before it pays, as a fraction of its value: fees and slippage, in and out."""
    return 2 * (context.config.costs.commission + context.config.costs.slippage)


def training_tickers(context: Context) -> list[str]:
    """Tickers that the model learns from, as configured by canonical ticker or by symbol.

    Raises
    ------
    TrainingTickersError
        If a configured ticker is not in the run.
    """
    known = sorted(require(context, "labels").tickers)
    wanted = context.config.train.tickers
    if not wanted:
        majors = [ticker for ticker in demo.MAJORS if ticker in known]
        return majors if context.config.source == "demo" and majors else known
    named = {name: ticker for ticker in known for name in (ticker, ticker.partition(":")[2])}
    missing = [name for name in wanted if name not in named]
    if missing:
        raise TrainingTickersError(
            f"train.tickers names {', '.join(missing)}, which run '{context.run}' does not have. "
            f"It has {len(known)} tickers: {', '.join(known[:5])}{', …' if len(known) > 5 else ''}."
        )
    return sorted({named[name] for name in wanted})


def fit(config: dict[str, Any], rank: "Rank") -> dict[str, Any] | None:
    """Train on one rank; rank 0 writes the model folder and returns the model's card.

    ``config`` holds the context of the run and the tickers to learn from.
    """
    context: Context = config["context"]
    settings = context.config.train
    network.configure(settings.threads, deterministic=not settings.compiled)
    data = load(context, config["tickers"])
    learner = learner_of(settings, len(data.scaler.columns), rank.world_size)
    checkpoint = rank.latest_checkpoint()
    course = training.fit(
        learner,
        data.fit,
        data.validate,
        settings_of(settings),
        rank=rank.rank,
        ranks=rank.world_size,
        state=checkpoint[CHECKPOINT] if checkpoint else None,
        on_epoch=lambda metrics, state: rank.report(asdict(metrics), {CHECKPOINT: state()} if not rank.rank else {}),
    )
    if rank.rank:
        return None
    return _save(context, config["tickers"], data, learner, course)


def learner_of(settings: Train, features: int, ranks: int = 1) -> network.Learner:
    """Make the network as configured, for windows of so many features, and what trains it."""
    return network.Learner(
        lambda: network.build(
            settings.architecture,
            settings.steps,
            features,
            filters=settings.filters,
            dense=settings.dense,
            dropout=settings.dropout,
            seed=settings.seed,
            precision=settings.precision,
        ),
        learning_rate=settings.learning_rate,
        ranks=ranks,
        compiled=settings.compiled,
    )


def settings_of(settings: Train) -> training.Settings:
    """Give the training loop its part of the configuration."""
    return training.Settings(
        settings.steps,
        settings.epochs,
        batch=settings.batch,
        schedule=settings.schedule,
        warmup=settings.warmup,
        patience=settings.patience,
        metric=settings.watch,
        class_weights=settings.class_weights,
        seed=settings.seed,
    )


def _train(context: Context, identity: str, tickers: list[str]) -> dict[str, Any]:
    # half a second to import, which whoever only applies a model can do without
    from actors.train import run_training

    settings = context.config.train
    with Progress(settings.epochs, STAGE.name, unit="epochs") as progress:
        card: dict[str, Any] = run_training(
            fit,
            {"context": context, "tickers": tickers},
            workers=settings.workers,
            storage_url=f"{context.store.url.rstrip('/')}/{layout.checkpoints(context.run, STAGE.name).rstrip('/')}",
            name=identity[:16],
            cpus_per_worker=min(settings.threads, max(1, context.workers // settings.workers)),
            use_gpu=settings.gpu,
            settings="train.workers, train.threads, train.gpu",
            on_report=lambda metrics: progress.advance(
                note=f"validation loss {metrics['validation_loss']:.4f}, macro-F1 {metrics['macro_f1']:.3f}"
            ),
        )
    return card


def _save(
    context: Context, tickers: list[str], data: TrainingData, learner: network.Learner, course: training.Course
) -> dict[str, Any]:
    """Write the model folder, its card last, and return the card."""
    settings = context.config.train
    probabilities = training.probabilities(learner.model, data.validate, settings.steps)
    threshold = decision.choose_threshold(
        probabilities, data.validate.outcomes, round_trip(context), groups=data.validate.days
    )
    weights = hashlib.sha256(data.scaler.to_json().encode())
    for array in learner.model.get_weights():
        weights.update(np.ascontiguousarray(array).tobytes())
    card = {
        "architecture": settings.architecture,
        "parameters": int(learner.model.count_params()),
        "hash": weights.hexdigest(),
        "features": {"set": context.config.features.set, "columns": list(data.scaler.columns)},
        "steps": settings.steps,
        "tickers": tickers,
        "span": {name: [str(part.start), str(part.end)] for name, part in data.spans.items()},
        "versions": {library: importlib.metadata.version(library) for library in ("keras", "numpy")},
        "windows": {name: len(part.labels) for name, part in data.parts.items()},
        "classes": {
            name: np.bincount(part.labels, minlength=network.CLASSES).tolist() for name, part in data.parts.items()
        },
        "threshold": float(threshold),
        "validate": decision.figures(data.validate.labels, probabilities),
        "history": [asdict(metrics) for metrics in course.history],
        "best_epoch": course.best_epoch,
    }
    files = {
        MODEL: network.save(learner.model),
        SCALER: data.scaler.to_json().encode(),
        CARD: json.dumps(card, indent=2).encode(),
    }
    for name, content in files.items():
        context.store.write(layout.model(context.run, settings.architecture, name), content)
    return card


if __name__ == "__main__":
    from jobs.runner import main

    main("train")
