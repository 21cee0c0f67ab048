"""Run the article's protocol and the honest one on the same assets, and say what each trap between them is worth.

python -m jobs.protocols --config run.toml --store URL --run NAME

The honest protocol is the run itself, which is brought up to date first. The article's models are trained on the same
ticker, bars and instants, as runs of their own (NAME-seed_…). Then every asset is traded by each protocol between the
two, one trap removed at a time (docs/protocols.md).
"""

import functools
import logging
from dataclasses import replace
from typing import Any

import pandas as pd

from jobs import compiled, features, ingest, labels, market, pipeline, plan, predict, report, train, variants
from jobs.config import RunConfig
from jobs.gather import gather
from jobs.protocol_trades import ARTICLE_LABEL, Task, Traps, loaded, produce
from jobs.rates import Rate
from jobs.stage import (
    Context,
    FanOut,
    Item,
    Stage,
    fan_out,
    require,
    require_training,
    run_stage,
    stage_fingerprint,
    up_to_date,
    write_whole,
)
from quant import protocols, report_protocols
from quant.schemas import PROTOCOL_STEPS, PROTOCOLS, SHORTLIST
from storage.manifest import Manifest
from storage.tables import read_table

STAGE = Stage(
    "protocols",
    1,
    ("ingest", "train", "predict", "search", "backtest", "shortlist"),
    (PROTOCOLS,),
    prepare=compiled.ready,
)
SUMMARY = Stage("protocol_steps", 1, (STAGE.name,), (PROTOCOL_STEPS,))
PATH = (ingest, features, labels, train)

IN_PLACE: dict[str, variants.Change] = {
    "whole_numbers": {"features": {"whole_numbers": True}},
    "label": {"labels": ARTICLE_LABEL},
    "scaler": {"train": {"scaler_rows": "all"}},
    # the smallest network of the article's search, whose outcome it does not print
    "window": {
        "train": {
            "architecture": "cnn_tuned",
            "steps": 1,
            "filters": 16,
            "dense": 100,
            "learning_rate": 1e-3,
            "schedule": "constant",
            "warmup": 0,
            "batch": 64,
            "class_weights": False,
            "scaler": "minmax",
            "clip": 1e6,
        }
    },
    "price_levels": {"features": {"set": "ta193"}},
}
"""What each trap that makes another model sets."""

SEEDS = {trap: f"seed_{trap}" for trap in protocols.OF_THE_MODEL}
"""What the run of a model is called behind the name of the run, by the first trap in it."""

logger = logging.getLogger("assay")


class ProtocolsError(ValueError):
    """A run whose protocol cannot be held against the article's."""


def run(context: Context, fan_out: FanOut = fan_out, actors: FanOut | None = None) -> Manifest:
    """Bring the run, the article's models and every protocol between the two up to date."""
    refuse_without_training(context)
    plan.announce(context, STAGE.name)
    pipeline.run_stages(context)
    runs = seeds(context)
    for number, (traps, config) in enumerate(runs.items(), start=1):
        logger.info("protocols: model %d of %d, with %s", number, len(runs), ", ".join(sorted(traps)))
        for job in PATH:
            job.run(replace(context, config=config))
    manifest = trade(context, actors)
    if not up_to_date(context, SUMMARY, stage_fingerprint(context, SUMMARY, {})):
        tickers = list(manifest.tickers)
        rows = pd.concat(gather(tables, tickers, context, name="protocols", shared=context, fan_out=fan_out))
        learned = set(require(context, "train").details["tickers"])
        steps = protocols.waterfall(rows, sorted(learned & set(tickers)))
        write_whole(context, SUMMARY, {}, {PROTOCOL_STEPS: steps})
    report.write(context)
    show(context)
    return manifest


def refuse_without_training(context: Context) -> None:
    """Refuse a run that has no model of its own.

    Raises
    ------
    NoModelError, ProtocolsError
        If its signals or its model are given, or are those of an earlier run.
    """
    require_training(context, STAGE.name)
    if context.config.rejudge:
        raise ProtocolsError("protocols: this run trained no model of its own (rejudge is set)")


def trade(context: Context, actors: FanOut | None = None) -> Manifest:
    """Trade every asset by each protocol, where the run and the models are there."""
    trained = require(context, "train").details
    ingested = market.of(context)
    runs = seeds(context)
    task = Task(
        market.parts(context, ingested),
        market.calendar(context, ingested),
        context.config.predict.threshold or float(trained["threshold"]),
        frozenset(trained["tickers"]),
        runs,
    )
    return run_stage(
        context,
        stage(context.config),
        functools.partial(items, context),
        produce,
        settings={
            "traps": protocols.NAMES,
            "criteria": context.config.protocols.model_dump(),
            "models": {
                config.run: require(replace(context, config=config), "train").result_hash for config in runs.values()
            },
            "threshold": task.threshold,
            "search": context.config.search.model_dump(),
            "costs": context.config.costs.model_dump(),
            "parts": {name: [str(part.start), str(part.end)] for name, part in task.parts.items()},
        },
        extra=task,
        fan_out=actors or functools.partial(predict.through_actors, load=loaded),
    )


def show(context: Context) -> None:
    """Print what the article would have claimed, and what is left of it."""
    if told := report.protocols(context):
        print("\n".join(report_protocols.lines(told)))


def stage(config: RunConfig) -> Stage:
    """The stage with its cost: looking at every bar by each model, backtesting.py's runs and a search for each step."""
    return replace(
        STAGE,
        rate=Rate(
            ticker=0.5,
            row=1.5e-4 + protocols.STEPS * config.search.trials * 1.5e-8,
            requests=4,
            read_row=60,
            written=9_000,
            memory=3.9e9,
            memory_row=4_000,
            start=25.0,
        ),
    )


def seeds(context: Context) -> dict[Traps, RunConfig]:
    """Configuration of each model that has traps in it, the article's first; one that is the run's own is left out."""
    return {
        traps: variants.changed(context, name_of(traps), change).config
        for traps, change in changes(context.config).items()
    }


def changes(config: RunConfig) -> dict[Traps, variants.Change]:
    """What each of these models changes."""
    found: dict[Traps, variants.Change] = {}
    for traps in protocols.models():
        change: dict[str, dict[str, Any]] = {}
        for trap in protocols.OF_THE_MODEL:
            for section, values in IN_PLACE[trap].items() if trap in traps else ():
                change.setdefault(section, {}).update(values)
        # the first is applied to bars that the run itself does not predict
        if not found or variants.differs(config, change):
            found[traps] = change
    return found


def name_of(traps: Traps) -> str:
    """What the run of a model is called behind the name of the run."""
    return SEEDS[next(name for name in protocols.OF_THE_MODEL if name in traps)]


def items(context: Context) -> list[Item]:
    """One item for each judged ticker, with its figures and whether it was shortlisted."""
    verdicts = read_table(context.store, context.run, SHORTLIST)
    shortlisted = set(verdicts.loc[verdicts["shortlisted"], "ticker"])
    judged = require(context, "backtest").tickers
    rows = require(context, "predict").tickers
    return [
        Item(
            ticker,
            payload={"metrics": info["metrics"], "shortlisted": ticker in shortlisted},
            rows=float(rows[ticker]["rows"]),
        )
        for ticker, info in sorted(judged.items())
    ]


def tables(tickers: list[str], context: Context) -> pd.DataFrame:
    """What each protocol made of some tickers, as a task reads it."""
    return pd.concat(
        read_table(context.store, context.run, PROTOCOLS, ticker).assign(ticker=ticker) for ticker in tickers
    )


if __name__ == "__main__":
    from jobs.runner import main

    main("protocols")
