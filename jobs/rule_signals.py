"""A registered rule in place of the model: what it decides on every bar of the choose and judge parts."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from jobs import market
from jobs.rates import Rate
from jobs.stage import Context, FanOut, Item, Produced, Stage, fan_out, items_of, require, run_stage
from quant import rules
from quant.schemas import FEATURES, SIGNALS
from quant.splits import Part
from storage.manifest import Manifest
from storage.tables import read_table

STAGE = Stage(
    "predict",
    1,
    ("ingest", "features"),
    (SIGNALS,),
    rate=Rate(ticker=0.01, row=2.5e-7, requests=2, read_row=20, written_row=3, memory_row=330),
)


class AnotherRuleError(ValueError):
    """The rule of the run that is judged again is not the configured one."""


@dataclass(frozen=True)
class Task:
    """What a worker is told: from when to when a signal is due, and what the next bar is."""

    parts: dict[str, Part]
    calendar: market.Calendar


def run(context: Context, fan_out: FanOut = fan_out) -> Manifest:
    """Bring the signals of the run up to date with its rule.

    Raises
    ------
    AnotherRuleError
        If an earlier run is judged again that had another rule, or none.
    """
    ingested = market.of(context)
    identity = identity_of(context)
    if before := market.earlier(context):
        refuse_another(before, identity)
    parts = market.parts(context, ingested)
    return run_stage(
        context,
        STAGE,
        items_of(require(context, "features")),
        produce,
        settings={
            **identity,
            "calendar": context.config.ingest.calendar,
            "parts": {name: [str(part.start), str(part.end)] for name, part in parts.items()},
        },
        extra=Task(parts, market.calendar(context, ingested)),
        fan_out=fan_out,
    )


def identity_of(context: Context) -> dict[str, Any]:
    """Everything that makes the configured rule the one it is."""
    rule = rules.get(str(context.config.rule))
    return {
        "rule": rule.name,
        "version": rule.version,
        "parameters": context.config.rules.of(rule.name),
        "side": context.config.rules.side,
        "features": context.config.features.set,
    }


def refuse_another(before: Context, ours: dict[str, Any]) -> None:
    """Refuse to judge an earlier run by a rule that its parameters were not chosen for."""
    theirs = require(before, STAGE.name).config
    for name, value in ours.items():
        if theirs.get(name) != value:
            raise AnotherRuleError(
                f"{name} of the rule is {value!r}, and run '{before.run}' was made with {theirs.get(name)!r}. "
                "Judge it again with the configuration of that run."
            )


def produce(context: Context, item: Item, task: Task) -> Produced:
    """Signals of one ticker from the start of the choose part to the end of the judge part, as a model's are."""
    name, settings = str(context.config.rule), context.config.rules
    feature_set = context.config.features.set
    columns = list(rules.columns(name, feature_set).values())
    features = read_table(context.store, context.run, FEATURES, item.ticker, columns=columns)
    # on all bars, since what came before the choose part is known at its start
    signal = rules.signals(name, features, feature_set, settings.of(name), bar=task.calendar, side=settings.side)
    due = (features.index >= task.parts["choose"].start) & (features.index < task.parts["judge"].end)
    frame = signal[due].to_frame()
    frame["probability_long"] = frame["probability_short"] = np.float32(np.nan)
    counts = np.bincount(frame["signal"], minlength=3)
    return Produced({SIGNALS: frame}, {"rows": len(frame), "long": int(counts[1]), "short": int(counts[2])})
