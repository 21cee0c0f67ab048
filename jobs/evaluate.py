"""Judge the model on windows it never saw, beside the simple models that it has to beat, by month and by ticker.

python -m jobs.evaluate --config run.toml --store URL --run NAME

The windows are those of the choose part: no weight, no early stopping and no threshold rests on them, and the judge
part stays unseen. A model of one's own has no fit part here, on which simple models could be fitted: it is not judged.
"""

import logging
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from actors.fan_out import Outcome, fan_out
from actors.sharding import shards
from jobs import market
from jobs.dataset import load
from jobs.rates import Meter, Rate
from jobs.stage import (
    Context,
    FanOut,
    Stage,
    no_store,
    require,
    require_training,
    stage_fingerprint,
    stop_without_store,
    up_to_date,
    write_whole,
)
from quant import baselines
from quant import evaluation_tables as tables
from quant.decision import CLASSES
from quant.evaluation_tables import CNN, Judged
from quant.scaling import Scaler
from quant.schemas import EVALUATION, EVALUATION_CURVES, EVALUATION_GROUPS, FEATURES, LABELS, SIGNALS, frame
from quant.splits import Part
from quant.training import Windows, drawn
from storage.manifest import Failure, Manifest
from storage.tables import read_table

STAGE = Stage(
    "evaluate",
    1,
    ("ingest", "features", "labels", "train", "predict"),
    (EVALUATION, EVALUATION_CURVES, EVALUATION_GROUPS),
    rate=Rate(ticker=5e-2, row=4e-6, start=20.0),
)
FITTED = ("boosting", "logistic")  # the slow one first
CURVES, MONTHS = "curves", "months"

logger = logging.getLogger("assay")

Probabilities = npt.NDArray[np.floating[Any]]
Labelled = tuple[npt.NDArray[np.int8], pd.DatetimeIndex, Probabilities]


class EvaluateError(ValueError):
    """An evaluation that could not be computed."""


@dataclass(frozen=True)
class Task:
    """What a worker is told.

    Parameters
    ----------
    choose
        The part that is judged.
    learned
        Tickers that the model learned from.
    stride
        Of their windows, every so manieth is judged.
    span_days
        Days that a window and its horizon reach over.
    """

    context: Context
    choose: Part
    learned: tuple[str, ...]
    training_counts: tuple[int, ...]
    stride: int
    span_days: float


@dataclass(frozen=True)
class Shard:
    """A piece of work: tickers to judge, the windows of the tickers learned from, or a simple model on these."""

    kind: str
    tickers: tuple[str, ...] = ()


def run(context: Context, fan_out: FanOut = fan_out) -> Manifest:
    """Bring the evaluation of the run's model up to date."""
    require_training(context, STAGE.name)
    task = _task(context)
    settings = {
        **context.config.evaluate.model_dump(),
        "choose": [str(task.choose.start), str(task.choose.end)],
        "span_days": task.span_days,
    }
    if done := up_to_date(context, STAGE, stage_fingerprint(context, STAGE, settings)):
        return done
    meter = Meter()
    found = judge(task, fan_out) if context.config.evaluate.enabled else _Found(reason="evaluate.enabled is false")
    frames = {
        EVALUATION: frame(EVALUATION, found.statistics),
        EVALUATION_CURVES: frame(EVALUATION_CURVES, found.curves),
        EVALUATION_GROUPS: frame(EVALUATION_GROUPS, found.groups),
    }
    details = {
        "reason": found.reason,
        "tickers": list(task.learned),
        "part": [str(task.choose.start), str(task.choose.end)],
        "stride": task.stride,
        "confusions": found.confusions,
        "left_out": found.left_out,
    }
    return write_whole(context, STAGE, settings, frames, failures=found.failures, details=details, usage=meter.usage())


@dataclass
class _Found:
    """What comes of an evaluation; ``reason`` where nothing does, ``left_out`` why a simple model is missing."""

    reason: str | None = None
    statistics: list[tables.Row] = field(default_factory=list)
    curves: list[tables.Row] = field(default_factory=list)
    groups: list[tables.Row] = field(default_factory=list)
    confusions: dict[str, list[list[int]]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)


def judge(task: Task, fan_out: FanOut) -> _Found:
    """Fit and judge on the cluster; the driver holds a few probabilities a window and no features."""
    context, found = task.context, _Found()
    fitted: tuple[str, ...] = FITTED
    if context.config.rejudge:
        fitted = ()
        found.left_out = dict.fromkeys(FITTED, f"the fit part is that of run '{context.config.rejudge}'")
    values: dict[str, Any] = {}
    for outcome in fan_out(work, _pieces(task, fitted), name=STAGE.name, shared=task):
        stop_without_store(outcome)
        shard: Shard = outcome.shard
        if shard.kind == "tickers":
            rows, failures = outcome.value if outcome.error is None else ([], _failures(outcome))
            found.groups += rows
            found.failures += failures
        elif outcome.error is None:
            values[shard.kind] = outcome.value
        elif shard.kind == CNN:
            raise EvaluateError(f"evaluate: {outcome.error.type_name}: {outcome.error.message}")
        else:
            found.left_out[shard.kind] = outcome.error.message
            logger.warning("evaluate: no %s to compare with: %s", shard.kind, outcome.error.message)
    labels, times, given = values.pop(CNN)
    if not len(labels):
        found.left_out = {}
        found.reason = "the choose part holds no labelled window of the tickers that the model learned from"
        return found
    counts = np.array(task.training_counts)
    models = {CNN: given, "majority": np.tile(counts / counts.sum(), (len(labels), 1)), **values}
    judged = Judged(
        labels,
        times,
        {name: models[name] for name in tables.MODELS if name in models},
        task.training_counts,
        context.config.train.class_weights,
    )
    _judged(task, judged, found, fan_out)
    return found


def _judged(task: Task, judged: Judged, found: _Found, fan_out: FanOut) -> None:
    """Add the statistics, curves and months of all models, each computed by a task of its own."""
    pieces = [*reversed(tables.STATISTICS), CURVES, MONTHS]
    for outcome in fan_out(figures, pieces, name=STAGE.name, shared=(task, judged)):
        if outcome.error is not None:
            raise EvaluateError(f"{outcome.shard} of the models: {outcome.error.type_name}: {outcome.error.message}")
        rows = outcome.value
        if outcome.shard == CURVES:
            found.curves = rows
        elif outcome.shard == MONTHS:
            found.groups += rows
        else:
            found.statistics += rows
    found.confusions = tables.confusions(judged)


def work(shard: Shard, task: Task) -> Any:
    """One piece of the first round; called in a worker."""
    if shard.kind == "tickers":
        return by_ticker(task, shard.tickers)
    if shard.kind == CNN:
        return pooled(task)
    return simple(task, shard.kind)


def figures(piece: str, shared: tuple[Task, Judged]) -> list[tables.Row]:
    """One piece of the second round: a statistic, the curves or the months; called in a worker."""
    task, judged = shared
    if piece == CURVES:
        return tables.curve_rows(judged)
    if piece == MONTHS:
        return tables.month_rows(judged)
    return tables.statistic_rows(piece, judged, **_bootstrap(task, judged.times))


def windows_of(
    task: Task, ticker: str, stride: int = 1
) -> tuple[npt.NDArray[np.int8], pd.DatetimeIndex, Probabilities]:
    """Labels, times and the model's probabilities of the labelled windows of a ticker on the choose part."""
    context = task.context
    signals = read_table(context.store, context.run, SIGNALS, ticker, columns=["probability_long", "probability_short"])
    signals = signals[task.choose.rows(pd.DatetimeIndex(signals.index))]
    known = read_table(context.store, context.run, LABELS, ticker, columns=["label"])["label"]
    label = known.reindex(signals.index).to_numpy(dtype=np.float64, na_value=np.nan)
    usable = np.flatnonzero(signals.notna().all(axis=1).to_numpy() & ~np.isnan(label))[::stride]
    sides = signals.to_numpy(dtype=np.float64)[usable]
    times = pd.DatetimeIndex(signals.index[usable])
    return label[usable].astype(np.int8), times, tables.probabilities(sides[:, 0], sides[:, 1])


def pooled(task: Task) -> Labelled:
    """The windows of all tickers that the model learned from, one ticker after another."""
    found = [windows_of(task, ticker, task.stride) for ticker in task.learned]
    if not found:
        return np.empty(0, np.int8), pd.DatetimeIndex([], tz="UTC"), np.empty((0, len(CLASSES)))
    labels, times, given = zip(*found, strict=True)
    return np.concatenate(labels), times[0].append(list(times[1:])), np.concatenate(given)


def by_ticker(task: Task, tickers: tuple[str, ...]) -> tuple[list[tables.Row], list[Failure]]:
    """The model on each ticker by itself; one that fails costs no other."""
    rows: list[tables.Row] = []
    failures: list[Failure] = []
    for ticker in tickers:
        try:
            labels, times, given = windows_of(task, ticker)
            judged = Judged(labels, times, {CNN: given}, task.training_counts)
            rows.append(tables.ticker_row(ticker, judged, ticker in task.learned, **_bootstrap(task, times)))
        except Exception as error:  # whatever is wrong with one ticker is that ticker's failure
            if no_store(error, failures):
                raise
            failures.append(Failure(ticker, STAGE.name, type(error).__name__, str(error)))
    return rows, failures


def simple(task: Task, name: str) -> Probabilities:
    """Probabilities of a simple model, fitted on the fit part, for the same windows; a ticker's rows at a time."""
    settings, learning = task.context.config.evaluate, task.context.config.train
    fit, scaler = fit_windows(task)
    given = {"class_weights": learning.class_weights, "seed": settings.seed}
    predict = (
        baselines.logistic_last_bar(fit, most=len(fit.ends), **given)
        if name == "logistic"
        else baselines.gradient_boosting(fit, learning.steps, most=len(fit.ends), **given)
    )
    del fit
    return np.concatenate([_applied(task, ticker, scaler, predict) for ticker in task.learned])


def fit_windows(task: Task) -> tuple[Windows, Scaler]:
    """Windows drawn from the fit part as the model learned from it, and the scaler of their rows."""
    settings, learning = task.context.config.evaluate, task.context.config.train
    data = load(task.context, list(task.learned))
    window = learning.steps * len(data.scaler.columns) * np.dtype(np.float32).itemsize
    most = min(settings.baseline_windows, max(1, int(learning.memory * 1e9 / window)))
    return drawn(data.fit, learning.steps, most, settings.seed), data.scaler


def _applied(task: Task, ticker: str, scaler: Scaler, predict: baselines.Predictor) -> Probabilities:
    _, times, _ = windows_of(task, ticker, task.stride)
    table = read_table(task.context.store, task.context.run, FEATURES, ticker, columns=list(scaler.columns))
    table = table[table.index < task.choose.end]
    return predict(scaler.transform(table), table.index.get_indexer(times))


def _task(context: Context) -> Task:
    ingested, trained = market.of(context), require(context, "train").details
    parts = market.parts(context, ingested)
    choose, judge = parts["choose"], parts["judge"]
    predicted = require(context, "predict").tickers
    learned = tuple(ticker for ticker in trained["tickers"] if ticker in predicted)
    # signals cover choose and judge; about this share of their windows are on choose
    share = (choose.end - choose.start) / ((choose.end - choose.start) + (judge.end - judge.start))
    expected = share * sum(int(predicted[ticker]["windows"]) for ticker in learned)
    bars = context.config.train.steps + context.config.labels.horizon
    return Task(
        context,
        choose,
        learned,
        tuple(trained["classes"]["fit"]),
        max(1, math.ceil(expected / context.config.evaluate.windows)),
        bars * (market.bar_length(ingested) / pd.Timedelta(days=1)),
    )


def _pieces(task: Task, fitted: tuple[str, ...]) -> list[Shard]:
    predicted = require(task.context, "predict").tickers
    known = require(task.context, "labels").tickers
    names = [ticker for ticker in sorted(predicted) if ticker in known]
    weights = [float(predicted[ticker]["rows"]) for ticker in names]
    groups = shards(names, weights, workers=task.context.workers, seconds_per_weight=STAGE.rate.row)
    return [*(Shard(name) for name in fitted), Shard(CNN), *(Shard("tickers", tuple(group)) for group in groups)]


def _bootstrap(task: Task, times: pd.DatetimeIndex) -> dict[str, int]:
    settings = task.context.config.evaluate
    block = tables.block_days(times.normalize().nunique(), task.span_days)
    return {"resamples": settings.resamples, "block": block, "seed": settings.seed}


def _failures(outcome: Outcome[Shard, Any]) -> list[Failure]:
    error = outcome.error
    assert error is not None  # noqa: S101  (asked for of failed outcomes only)
    return [Failure(ticker, STAGE.name, error.type_name, error.message) for ticker in outcome.shard.tickers]


if __name__ == "__main__":
    from jobs.runner import main

    main("evaluate")
