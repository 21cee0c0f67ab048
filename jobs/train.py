"""Train the CNN on the fit part by Ray Train, watched on the validate part, and keep it as one model folder.

python -m jobs.train --config run.toml --store URL --run NAME
"""

import hashlib
import json
import logging
from dataclasses import asdict
from typing import Any

import numpy as np

from actors.progress import Progress
from actors.train import Context as Rank
from actors.train import run_training
from jobs import market
from jobs.dataset import TrainingData, load
from jobs.stage import Context, Stage, now, require, stage_fingerprint
from quant import decision, demo, network, training
from quant.features import columns
from storage import layout
from storage.manifest import Manifest, read_manifest, write_manifest

STAGE = Stage("train", 1, ("ingest", "features", "labels"), ())
CHECKPOINT = "state.npz"
MODEL, SCALER, CARD = "model.keras", "scaler.json", "model.json"

logger = logging.getLogger("assay")


class TrainingTickersError(ValueError):
    """Tickers to train on that the run does not have."""


class AnotherModelError(ValueError):
    """The model of the run that is judged again is not the configured one."""


def run(context: Context) -> Manifest:
    """Bring the model of the run up to date; where an earlier run is judged again, it is that run's."""
    before = market.earlier(context)
    settings: dict[str, Any] = (
        {"adopted": require(before, STAGE.name).result_hash}
        if before
        else {
            **context.config.train.model_dump(),
            "features": context.config.features.set,
            "commission": context.config.costs.commission,
            "parts": {
                name: [str(p.start), str(p.end)] for name, p in market.parts(context, market.of(context)).items()
            },
            "versions": {"architecture": network.ARCHITECTURES[context.config.train.architecture].version},
        }
    )
    identity = stage_fingerprint(context, STAGE, settings)
    done = read_manifest(context.store, context.run, STAGE.name)
    if done is not None and done.fingerprint == identity:
        logger.info("%s: unchanged", STAGE.name)
        return done
    if before:
        card = adopt(context, before)
    else:
        tickers = training_tickers(context)
        logger.info("train: learning from %s", ", ".join(tickers))
        card = _train(context, identity, tickers)
    manifest = Manifest(
        stage=STAGE.name,
        fingerprint=identity,
        config=settings,
        versions={"stage": STAGE.version},
        inputs={name: require(context, name).result_hash for name in STAGE.inputs},
        tickers={},
        rows={},
        hashes={"model": card["hash"]},
        failures=[],
        created=now(),
        details=card,
    )
    write_manifest(context.store, context.run, manifest)
    context.store.delete_prefix(layout.checkpoints(context.run, STAGE.name))
    return manifest


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


def fit(config: dict[str, Any], rank: Rank) -> dict[str, Any] | None:
    """Train on one rank; rank 0 writes the model folder and returns the model's card.

    ``config`` holds the context of the run and the tickers to learn from.
    """
    context: Context = config["context"]
    settings = context.config.train
    network.configure(settings.threads)
    data = load(context, config["tickers"])
    learner = network.Learner(
        lambda: network.build(
            settings.architecture,
            settings.steps,
            len(columns(context.config.features.set)),
            filters=settings.filters,
            dense=settings.dense,
            dropout=settings.dropout,
            seed=settings.seed,
        ),
        learning_rate=settings.learning_rate,
        ranks=rank.world_size,
    )
    checkpoint = rank.latest_checkpoint()
    course = training.fit(
        learner,
        data.fit,
        data.validate,
        training.Settings(
            settings.steps, settings.epochs, batch=settings.batch, patience=settings.patience, seed=settings.seed
        ),
        rank=rank.rank,
        ranks=rank.world_size,
        state=checkpoint[CHECKPOINT] if checkpoint else None,
        on_epoch=lambda metrics, state: rank.report(asdict(metrics), {CHECKPOINT: state()} if not rank.rank else {}),
    )
    if rank.rank:
        return None
    return _save(context, config["tickers"], data, learner, course)


def _train(context: Context, identity: str, tickers: list[str]) -> dict[str, Any]:
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
    probabilities = network.predict(learner.model, data.validate.rows, data.validate.ends, settings.steps)
    threshold = decision.choose_threshold(
        probabilities, data.outcomes, 2 * context.config.costs.commission, groups=data.days
    )
    weights = hashlib.sha256(data.scaler.to_json().encode())
    for array in learner.model.get_weights():
        weights.update(np.ascontiguousarray(array).tobytes())
    card = {
        "architecture": settings.architecture,
        "parameters": int(learner.model.count_params()),
        "hash": weights.hexdigest(),
        "features": {"set": context.config.features.set, "columns": list(columns(context.config.features.set))},
        "steps": settings.steps,
        "tickers": tickers,
        "windows": {"fit": len(data.fit.ends), "validate": len(data.validate.ends)},
        "classes": {
            name: np.bincount(windows.labels, minlength=network.CLASSES).tolist()
            for name, windows in (("fit", data.fit), ("validate", data.validate))
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
