"""Tune the CNN's hyperparameters by Ray Tune: learn from the fit part, score on the validate part, keep the best.

python -m jobs.tune --config run.toml --store URL --run NAME
"""

import logging
import math
import os
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from actors.trials import Result, Study, Trial, best
from jobs import market
from jobs.config import RunConfig
from jobs.config_model import Tune
from jobs.config_parts import Span
from jobs.dataset import TrainingData, load
from jobs.rates import Meter
from jobs.stage import Context, Stage, require_training, stage_fingerprint, up_to_date, write_whole
from jobs.train import CHECKPOINT, learner_of, settings_of, training_tickers
from jobs.train import stage as trained
from quant import network, training
from quant.hyperband import brackets
from quant.samplers import Range
from quant.schemas import TUNING, frame
from quant.space import Space
from storage import layout
from storage.manifest import Manifest

if TYPE_CHECKING:
    from actors.train import Context as Rank

STAGE = Stage("tune", 1, ("ingest", "features", "labels"), (TUNING,))
AXES = ("filters", "dense", "dropout", "learning_rate")
WHOLE = ("filters", "dense")
CONTROLLER = 0.01  # CPUs of a trial whose ranks do the work: Ray Tune refuses 0

logger = logging.getLogger("assay")

_loaded: dict[str, TrainingData] = {}  # of this process, which serves many trials


class TuneError(ValueError):
    """A run whose network cannot be tuned."""


def run(context: Context) -> Manifest:
    """Bring the tuning of the run up to date."""
    require_training(context, STAGE.name)
    if market.earlier(context):
        raise TuneError(
            f"run '{context.run}' judges run '{context.config.rejudge}' again, with its model: there is nothing to "
            "tune. Leave rejudge out."
        )
    settings = {**_settings(context), "tune": _decisive(context.config.tune)}
    if done := up_to_date(context, STAGE, stage_fingerprint(context, STAGE, settings)):
        return done
    if context.store.url.startswith("memory://"):
        raise TuneError(
            f"trials cannot keep their records in {context.store.url}, which their processes do not see; allowed: a "
            "path, file:// or s3://"
        )
    meter = Meter()
    study = _study(context, settings["tickers"])
    _forget_others(context, study)
    results = _tuned(context, study)
    chosen = best(study, results)
    for result in results:
        if result.error:
            logger.warning("%s: trial %d failed: %s", STAGE.name, result.number, result.error)
    rows = [_row(result, chosen) for result in results]
    details = {
        "best": _values(chosen.configuration),
        "number": chosen.number,
        "metrics": chosen.metrics,
        "best_epoch": chosen.best_epoch,
        "errors": {str(result.number): result.error for result in results if result.error},
    }
    manifest = write_whole(
        context, STAGE, settings, {TUNING: frame(TUNING, rows)}, details=details, usage=meter.usage()
    )
    logger.info("tune: the best of %d trials is %s", len(rows), _values(chosen.configuration))
    return manifest


def stage(config: RunConfig) -> Stage:
    """The stage with its cost: so many passes of the network in the middle of the space over the fit part."""
    settings = config.tune
    if settings.algorithm == "hyperband":
        rungs = [rung for bracket in brackets(settings.epochs, settings.factor) for rung in bracket.rungs]
        passes = settings.iterations * sum(rung.trials * rung.epochs for rung in rungs)
    else:
        passes = settings.trials * settings.epochs // settings.factor
    each = config.model_copy(update={"train": config.train.model_copy(update={"epochs": passes})})
    return replace(STAGE, rate=trained(each).rate)


def train(context: Context, trial: Trial) -> None:
    """Train a trial as far as it is asked to, in this process or on ranks of its own."""
    context = _configured(context, trial)
    if context.config.tune.workers > 1:
        _on_ranks(context, trial)
        return
    settings = context.config.train
    # several processes may share a GPU, of which TensorFlow would take all the memory
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    network.configure(settings.threads, deterministic=not settings.compiled)
    network.forget()
    data = _data(context)
    training.fit(
        learner_of(settings, len(data.scaler.columns)),
        data.fit,
        data.validate,
        replace(settings_of(settings), until=trial.until),
        state=trial.state,
        on_epoch=lambda metrics, state: trial.report(metrics.epoch, _metrics(metrics), state),
    )


def on_rank(config: dict[str, Any], rank: "Rank") -> list[dict[str, Any]]:
    """Train a trial on one of several ranks, and return the metrics of every epoch."""
    context: Context = config["context"]
    settings = context.config.train
    network.configure(settings.threads, deterministic=not settings.compiled)
    data = load(context, training_tickers(context))
    checkpoint = rank.latest_checkpoint()
    course = training.fit(
        learner_of(settings, len(data.scaler.columns), rank.world_size),
        data.fit,
        data.validate,
        replace(settings_of(settings), until=config["until"]),
        rank=rank.rank,
        ranks=rank.world_size,
        state=checkpoint[CHECKPOINT] if checkpoint else None,
        on_epoch=lambda metrics, state: rank.report(asdict(metrics), {CHECKPOINT: state()} if not rank.rank else {}),
    )
    return [asdict(metrics) for metrics in course.history]


def _on_ranks(context: Context, trial: Trial) -> None:
    from actors.train import run_training  # as in `jobs.train`

    settings, reported = context.config.tune, trial.reported

    def report(metrics: dict[str, Any]) -> None:
        nonlocal reported
        # an epoch may come twice after a rank was lost; one that got lost with the driver comes with the course
        if metrics["epoch"] == reported + 1:
            reported += 1
            trial.report(reported, _metrics(training.Metrics(**metrics)))

    for metrics in run_training(
        on_rank,
        {"context": context, "until": trial.until},
        workers=settings.workers,
        storage_url=f"{context.store.url.rstrip('/')}/{trial.folder}",
        name="ranks",
        cpus_per_worker=_cpus(context),
        use_gpu=settings.gpus > 0,
        on_report=report,
    ):
        report(metrics)


def _tuned(context: Context, study: Study) -> list[Result]:
    # half a second to import, which a run that tunes nothing can do without
    from actors.tune import Resources, run_asha, run_hyperband

    settings = context.config.tune
    alone = settings.workers == 1
    resources = Resources(
        cpus=min(context.config.train.threads, context.workers) if alone else CONTROLLER,
        gpus=settings.gpus if alone else 0,
        concurrent=settings.concurrent if alone else settings.concurrent or 1,
        reuse=alone,
        ranks=0 if alone else settings.workers,
        rank_cpus=_cpus(context),
        rank_gpus=int(settings.gpus > 0),
        settings="tune.workers, tune.gpus, train.threads",
    )
    if settings.algorithm == "hyperband":
        return run_hyperband(study, resources, iterations=settings.iterations, name=STAGE.name)
    return run_asha(study, resources, trials=settings.trials, name=STAGE.name)


def _study(context: Context, tickers: Sequence[str]) -> Study:
    settings = context.config.tune
    # a number of trials, or of those side by side, decides nothing about a single one: more of them reuse the records
    identity = stage_fingerprint(
        context,
        STAGE,
        {**_settings(context), **settings.model_dump(include={"objective", "epochs", "workers", "gpus"})},
    )
    logger.info("tune: learning from %s", ", ".join(tickers))
    return Study(
        objective=train,
        shared=context,
        space=space(settings),
        metric=settings.objective,
        mode="max" if settings.objective == "macro_f1" else "min",
        epochs=settings.epochs,
        factor=settings.factor,
        seed=settings.seed,
        records=context.store,
        prefix=f"{layout.checkpoints(context.run, STAGE.name)}/{identity[:16]}",
        identity=identity,
    )


def space(settings: Tune) -> Space:
    """Give the configured space."""
    return {name: _axis(getattr(settings, name)) for name in AXES}


def _axis(axis: Any) -> Sequence[Any] | Range:
    if not isinstance(axis, Span):
        return tuple(axis)
    return Range(axis.low, axis.high, axis.step, axis.log)


def _settings(context: Context) -> dict[str, Any]:
    """Whatever decides the course of a trial besides its configuration."""
    ours = {*AXES, "epochs", "watch", "tuned", "workers"}
    return {
        "train": context.config.train.model_dump(mode="json", exclude=ours),
        "features": context.config.features.set,
        "tickers": training_tickers(context),
        "parts": {
            name: [str(part.start), str(part.end)]
            for name, part in market.parts(context, market.of(context)).items()
            if name in ("fit", "validate")
        },
        "architecture": network.ARCHITECTURES[context.config.train.architecture].version,
    }


def _decisive(settings: Tune) -> dict[str, Any]:
    """Settings that decide what is found, as JSON holds them."""
    hyperband = settings.algorithm == "hyperband"
    return settings.model_dump(mode="json", exclude={"trials", "concurrent"} if hyperband else {"iterations"})


def _configured(context: Context, trial: Trial) -> Context:
    """Put a trial's values into the configuration."""
    values = {
        **_values(trial.configuration),
        "epochs": context.config.tune.epochs,
        "watch": context.config.tune.objective,
    }
    settings = context.config.train.model_copy(update=values)
    return replace(context, config=context.config.model_copy(update={"train": settings}))


def _values(configuration: dict[str, Any]) -> dict[str, Any]:
    return {name: int(value) if name in WHOLE else float(value) for name, value in configuration.items()}


def _metrics(metrics: training.Metrics) -> dict[str, float]:
    return {"macro_f1": metrics.macro_f1, "log_loss": metrics.validation_loss, "loss": metrics.loss}


def _data(context: Context) -> TrainingData:
    """Windows of the run, loaded once a process."""
    tickers = training_tickers(context)
    identity = stage_fingerprint(context, STAGE, _settings(context)) + context.store.url + context.run
    if identity not in _loaded:
        _loaded.clear()
        _loaded[identity] = load(context, tickers)
    return _loaded[identity]


def _cpus(context: Context) -> float:
    """CPUs of a rank, such that all trials side by side have room beside their controllers."""
    settings = context.config.tune
    share = (context.workers / (settings.concurrent or 1) - CONTROLLER) / settings.workers
    return min(float(context.config.train.threads), max(CONTROLLER, math.floor(100 * share) / 100))


def _row(result: Result, chosen: Result) -> dict[str, Any]:
    return {
        "number": result.number,
        "bracket": result.bracket,
        **_values(result.configuration),
        "epochs": result.trained,
        "best_epoch": result.best_epoch or None,
        "macro_f1": result.metrics.get("macro_f1"),
        "log_loss": result.metrics.get("log_loss"),
        "status": result.status,
        "chosen": result is chosen,
    }


def _forget_others(context: Context, study: Study) -> None:
    """Delete the records of other configurations of this run."""
    prefix = layout.checkpoints(context.run, STAGE.name)
    for folder in context.store.folders(prefix):
        if f"{prefix}/{folder}" != study.prefix:
            context.store.delete_prefix(f"{prefix}/{folder}")


if __name__ == "__main__":
    from jobs.runner import main

    main("tune")
