"""What a run was made with, as its manifests tell: the audit holds its tables against that, whatever the flags say."""

from dataclasses import dataclass, field
from typing import Any

from jobs import market
from jobs.config_data import Labels
from jobs.stage import Context
from quant.splits import Part, utc
from storage.manifest import Manifest, read_manifest

READ = (
    *("ingest", "features", "labels", "train", "pattern_fit", "patterns", "pattern_outcomes", "predict"),
    *("search", "backtest"),
)
"""Stages that the audit reads, as far as they are there."""
# stages that may be left in a run by another configuration, by what its signals are from
FOREIGN = {
    "signals": {"features", "labels", "train", "pattern_fit", "patterns", "pattern_outcomes"},
    "rule": {"labels", "train", "pattern_fit", "patterns", "pattern_outcomes"},
    "patterns": {"labels", "train"},
    "own model": {"labels", "train", "pattern_fit", "patterns", "pattern_outcomes"},
    "model": {"pattern_fit", "patterns", "pattern_outcomes"},
}
# what the settings of the stage that made the signals hold, by what they are from
TOLD_BY = {"rule": "rule", "content": "signals", "sides": "patterns"}


@dataclass(frozen=True)
class Used:
    """What a run was made with.

    Parameters
    ----------
    stages
        Those that are complete.
    kind
        What the signals are from: model, own model, rule, patterns or signals.
    parts
        Parts of the calendar in order, as the stages say that they used them: what was learned from, chosen on, judged.
    stretches
        All parts that the run knows.
    feature_set, labels
        None where the run uses none.
    judge
        What the trades lie in; None where nothing was traded.
    learned
        Tickers that the scaler and the model learned from.
    adopted
        Whether the model is that of an earlier run.
    coarse
        Whether the model was applied on a GPU or in 16 bits.
    predict
        Settings of the stage that made the signals.
    funding
        Whether it is charged; and how many payments of each ticker have no rate.
    """

    stages: tuple[str, ...]
    kind: str
    calendar: market.Calendar
    parts: tuple[Part, ...]
    stretches: tuple[Part, ...]
    feature_set: str | None = None
    labels: Labels | None = None
    judge: Part | None = None
    learned: tuple[str, ...] = ()
    adopted: bool = False
    coarse: bool = False
    predict: dict[str, Any] = field(default_factory=dict)
    slippage: float = 0.0
    funding: bool = False
    funding_missing: dict[str, int] = field(default_factory=dict)


def used(context: Context) -> Used:
    """Read what the run was made with from the manifests of its stages.

    Raises
    ------
    StageMissingError
        If the run has no bars.
    """
    ingested = market.of(context)
    there = {name: manifest for name in READ if (manifest := read_manifest(context.store, context.run, name))}
    kind = _kind(context, there.get("predict"))
    found = {name: manifest for name, manifest in there.items() if name not in FOREIGN[kind]}
    settings = {name: manifest.config for name, manifest in found.items()}
    labelled, asked = settings.get("labels"), settings.get("backtest", {})
    known = _known(settings)
    every = known if {"choose", "judge"} <= set(known) else market.parts(context, ingested)
    # rules and signals of one's own learn nothing in the run
    learning = kind in ("model", "patterns") and "adopted" not in settings.get("train", {})
    names = [name for name in every if learning or name in ("choose", "judge")]
    return Used(
        stages=tuple(found),
        kind=kind,
        calendar=market.calendar(context, ingested),
        parts=tuple(every[name] for name in names),
        stretches=tuple(every.values()),
        feature_set=settings.get("features", {}).get("set"),
        labels=Labels(**{name: labelled[name] for name in Labels.model_fields}) if labelled else None,
        judge=every["judge"] if "part" in asked else None,
        learned=tuple(found["train"].details.get("tickers", ())) if "train" in found else (),
        adopted="adopted" in settings.get("train", {}),
        coarse=_coarse(settings.get("train", {})) or context.config.train.gpu,
        predict=settings.get("predict", {}),
        slippage=float(asked.get("costs", {}).get("slippage", 0.0)),
        funding=ingested.config.get("funding") is not None,
        funding_missing=_funding_missing(found.get("backtest")),
    )


def _kind(context: Context, predicted: Manifest | None) -> str:
    """What the signals are from: by the stage that made them, or by the configuration where none has yet."""
    if predicted is not None:
        told = next((kind for setting, kind in TOLD_BY.items() if setting in predicted.config), None)
        return told or ("own model" if predicted.config.get("files") else "model")
    given = {"model": "own model", "patterns.trade": "patterns"}
    return next((given.get(name, name) for name in context.config.given), "model")


def _known(settings: dict[str, dict[str, Any]]) -> dict[str, Part]:
    """The parts of the calendar in order, each as the stage that rests on it says; fewer where few are done."""
    given: dict[str, list[str]] = {**settings.get("predict", {}).get("parts", {})}
    given |= settings.get("train", {}).get("parts", {})
    for name, stage in (("choose", "search"), ("judge", "backtest")):
        if part := settings.get(stage, {}).get("part"):
            given[name] = part
    order = [name for name in ("fit", "validate", "choose", "judge") if name in given]
    return {name: Part(name, utc(given[name][0]), utc(given[name][1])) for name in order}


def _coarse(trained: dict[str, Any]) -> bool:
    return bool(trained.get("gpu")) or trained.get("precision", "float32") != "float32"


def _funding_missing(backtested: Manifest | None) -> dict[str, int]:
    if backtested is None:
        return {}
    return {
        ticker: sum(int(row.get("funding_missing") or 0) for row in info.get("metrics", ()))
        for ticker, info in backtested.tickers.items()
    }
