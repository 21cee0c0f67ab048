"""What a run was made with, as its manifests tell: the audit holds its tables against that."""

from dataclasses import dataclass, field
from typing import Any

from jobs import market
from jobs.config import Labels
from jobs.stage import Context
from quant.splits import Part, utc
from storage.manifest import Manifest, read_manifest

READ = (
    *("ingest", "features", "labels", "train", "pattern_fit", "patterns", "pattern_outcomes", "predict"),
    *("search", "backtest", "shortlist"),
)
"""Stages that the audit reads, as far as they are there."""


@dataclass(frozen=True)
class Used:
    """What a run was made with.

    Parameters
    ----------
    stages
        Those that are complete.
    feature_set, labels
        None where the run uses none.
    kind
        What the signals are from: model, rule, patterns or signals.
    parts
        In the order of use, as the stages say that they used them.
    judge
        What the trades lie in; None where nothing was traded.
    learned
        Tickers that the scaler and the model learned from.
    predict
        Settings of the stage that made the signals.
    """

    stages: tuple[str, ...]
    kind: str
    calendar: market.Calendar
    parts: tuple[Part, ...]
    feature_set: str | None = None
    labels: Labels | None = None
    judge: Part | None = None
    learned: tuple[str, ...] = ()
    shortlisted: tuple[str, ...] = ()
    predict: dict[str, Any] = field(default_factory=dict)
    funding_missing: dict[str, int] = field(default_factory=dict)


def used(context: Context) -> Used:
    """Read what the run was made with from the manifests of its stages.

    Raises
    ------
    StageMissingError
        If the run has no bars.
    """
    ingested = market.of(context)
    config = context.config
    kind = {"signals": "signals", "rule": "rule", "patterns.trade": "patterns"}.get(
        (*config.given, "model")[0], "model"
    )
    # stages of another path may be left in the run from another configuration
    foreign = {
        "signals": {"features", "labels", "train", "pattern_fit", "patterns", "pattern_outcomes"},
        "rule": {"labels", "train", "pattern_fit", "patterns", "pattern_outcomes"},
        "patterns": {"labels", "train"},
        "model": {"pattern_fit", "patterns", "pattern_outcomes"} | ({"labels", "train"} if config.model else set()),
    }[kind]
    found = {
        name: manifest
        for name in READ
        if name not in foreign and (manifest := read_manifest(context.store, context.run, name))
    }
    settings = {name: manifest.config for name, manifest in found.items()}
    labelled = settings.get("labels")
    trained = found["train"].details if "train" in found else {}
    backtested = settings.get("backtest", {}).get("part")
    return Used(
        stages=tuple(found),
        kind=kind,
        calendar=market.calendar(context, ingested),
        parts=_parts(context, ingested, settings),
        feature_set=settings.get("features", {}).get("set"),
        labels=Labels(**{name: labelled[name] for name in Labels.model_fields}) if labelled else None,
        judge=_part("judge", backtested) if backtested else None,
        learned=tuple(trained.get("tickers", ())),
        shortlisted=tuple(found["shortlist"].details.get("shortlisted", ())) if "shortlist" in found else (),
        predict=settings.get("predict", {}),
        funding_missing=_funding_missing(found.get("backtest")),
    )


def _parts(context: Context, ingested: Manifest, settings: dict[str, dict[str, Any]]) -> tuple[Part, ...]:
    """The parts that the stages used, each as the stage says that it rests on it."""
    parts = market.parts(context, ingested)
    named = {
        name: settings.get(stage, {}).get("parts", {}) for stage, name in (("train", "fit"), ("train", "validate"))
    }
    for name, given in named.items():
        if name in given:
            parts[name] = _part(name, given[name])
    for name, stage in (("choose", "search"), ("judge", "backtest")):
        if given := settings.get(stage, {}).get("part"):
            parts[name] = _part(name, given)
    # signals of one's own and rules learn nothing in the run
    order = ("choose", "judge") if "train" not in settings and "pattern_fit" not in settings else tuple(parts)
    return tuple(parts[name] for name in order if name in parts)


def _part(name: str, given: list[str]) -> Part:
    start, end = (utc(instant) for instant in given)
    return Part(name, start, end)


def _funding_missing(backtested: Manifest | None) -> dict[str, int]:
    if backtested is None:
        return {}
    return {
        ticker: sum(int(row.get("funding_missing") or 0) for row in info.get("metrics", ()))
        for ticker, info in backtested.tickers.items()
    }
