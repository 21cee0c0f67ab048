"""Try strategy parameters on the choose part of every ticker, and choose one set.

python -m jobs.search --config run.toml --store URL --run NAME
"""

from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import lru_cache
from typing import Any

import numpy as np

from jobs import compiled, market
from jobs.config import RunConfig
from jobs.config_verdict import Search
from jobs.market import Stretch
from jobs.rates import Rate, share
from jobs.stage import Context, FanOut, Item, Produced, Stage, fan_out, items_of, require, run_stage
from quant import engine, samplers, search, statistics, tuning
from quant.costs import Costs
from quant.folds import walk_forward
from quant.parameters import BracketParameters
from quant.samplers import Sampler
from quant.schemas import FOLDS, SHORTLIST, TRIALS, frame
from quant.splits import Part
from quant.statistics import Floats
from quant.tuning import Goal, Tuned
from storage.manifest import Manifest
from storage.tables import read_table

STAGE = Stage("search", 4, ("ingest", "predict"), (TRIALS, FOLDS), prepare=compiled.ready)
TUNED_BEFORE = 0.4  # share of the choose part that comes before the first test of the walk-forward


class RejudgeError(ValueError):
    """An earlier run that cannot be judged again."""


Folds = Sequence[tuple[Part, Part]]


def run(context: Context, fan_out: FanOut = fan_out) -> Manifest:
    """Bring the trials of the run up to date."""
    if before := market.earlier(context):
        return adopt(context, before, fan_out)
    settings = context.config.search
    # a space without a single set is one error, not one a ticker
    sampler(settings, settings.seed)
    part, folds = parts(context)
    return run_stage(
        context,
        stage(context.config),
        items_of(require(context, "predict")),
        produce,
        settings={
            "search": settings.model_dump(),
            "costs": context.config.costs.model_dump(),
            "part": [str(part.start), str(part.end)],
        },
        extra=(part, folds),
        fan_out=fan_out,
    )


def stage(config: RunConfig) -> Stage:
    """The stage with its cost: the search, one for each fold, and the statistics of its trials."""
    searches = 1 + config.search.folds
    return replace(
        STAGE,
        rate=Rate(
            ticker=0.05 + 6e-5 * config.search.trials,  # the statistics of the trials
            row=2.5e-7 + searches * replay_seconds(config),
            requests=4,
            read_row=50,
            written=12_000,
            memory_row=310,
        ),
    )


def replay_seconds(config: RunConfig) -> float:
    """Seconds of a search for each row of a ticker's signals, of which the choose part is replayed."""
    settings = config.search
    replay = 4e-8 if settings.policy == "stack" else 4e-9
    model = 2e-7 if settings.sampler == "tpe" else 0.0  # 4 ms a trial, over the bars of a ticker
    return share(config, "choose") * settings.trials * (replay + model)


def parts(context: Context) -> tuple[Part, Folds]:
    """The choose part, and the folds within it."""
    ingested = market.of(context)
    part = market.parts(context, ingested)["choose"]
    count = context.config.search.folds
    if not count:
        return part, []
    return part, walk_forward(part.start, part.end, market.calendar(context, ingested), count, tune=TUNED_BEFORE)


def produce(context: Context, item: Item, extra: tuple[Part, Folds]) -> Produced:
    """Every trial of one ticker on the choose part, the best marked as chosen; none where it has no bars there."""
    part, folds = extra
    stretch = market.stretch(context, item.ticker, part)
    signals = int((stretch.signal != 0).sum())
    info: dict[str, Any] = {"rows": len(stretch.bars), "signals": signals, "trials": 0, "chosen": None}
    if not stretch:
        return Produced({TRIALS: frame(TRIALS, []), FOLDS: frame(FOLDS, [])}, info)
    record = tuning.Record()
    found = tune(context, item.ticker, stretch, record)
    evidence = asdict(record.evidence(found, places(context.config.search, found)))
    tests, returns = walked_forward(context, item.ticker, stretch, folds)
    info["trials"] = len(found.trials)
    if found.chosen is not None:
        info["chosen"] = found.trials.iloc[found.chosen].to_dict()
        info["evidence"] = {**evidence, "walk_forward_sharpe": statistics.sharpe(returns)}
    return Produced({TRIALS: found.trials, FOLDS: frame(FOLDS, tests)}, info)


def adopt(context: Context, before: Context, fan_out: FanOut) -> Manifest:
    """Take over the chosen sets of the tickers that an earlier run shortlisted.

    Raises
    ------
    RejudgeError
        If that run shortlisted none.
    """
    verdicts = read_table(context.store, before.run, SHORTLIST)
    searched = require(before, STAGE.name)
    listed = sorted(verdicts.loc[verdicts["shortlisted"], "ticker"])
    if not listed:
        raise RejudgeError(f"run '{before.run}' shortlisted no ticker, so there is nothing to judge again.")
    return run_stage(
        context,
        STAGE,
        [Item(ticker, payload=searched.tickers[ticker]) for ticker in listed],
        adopted,
        settings={
            "adopted": searched.result_hash,
            "tickers": listed,
            "part": searched.config["part"],
        },
        extra=(before.run, frozenset(market.of(context).tickers)),
        fan_out=fan_out,
    )


def adopted(context: Context, item: Item, extra: tuple[str, frozenset[str]]) -> Produced:
    """The chosen set of one ticker as an earlier run found it.

    Raises
    ------
    RejudgeError
        If this run has no bars of the ticker.
    """
    run, known = extra
    if item.ticker not in known:
        raise RejudgeError(
            f"{item.ticker} was shortlisted by run '{run}', and {context.config.source} has no bars of it."
        )
    trials = read_table(context.store, run, TRIALS, item.ticker)
    folds = read_table(context.store, run, FOLDS, item.ticker)
    return Produced({TRIALS: trials[trials["chosen"]], FOLDS: folds}, item.payload)


def tune(context: Context, ticker: str, stretch: Stretch, record: tuning.Record | None = None) -> Tuned:
    """The configured search over one ticker's bars of a part, nothing being carried over its border."""
    settings = context.config.search
    sets: Sampler | engine.ParameterSets
    if settings.sampler == "tpe":
        sets = sampler(settings, samplers.ticker_seed(settings.seed, ticker))
    else:
        sets = same_for_all(settings)
    return tuning.tune(stretch.bars, stretch.signal, sets, goal(context), funding=stretch.funding, record=record)


def walked_forward(
    context: Context, ticker: str, stretch: Stretch, folds: Folds
) -> tuple[list[dict[str, Any]], Floats]:
    """Rows of the folds, and the daily returns of their tests one after the other."""
    rows, joined = [], [np.empty(0)]
    for number, (before, after) in enumerate(folds, start=1):
        known, ahead = stretch.within(before), stretch.within(after)
        if not (known and ahead):
            continue
        found = tune(context, f"{ticker} fold {number}", known)
        figures, returns = tested(context, found.parameters, ahead)
        joined.append(returns)
        rows.append(
            {
                "fold": number,
                "tune_start": before.start,
                "test_start": after.start,
                "test_end": after.end,
                "trial": found.chosen,
                "score": None if found.chosen is None else found.trials["score"].iloc[found.chosen],
                **figures,
            }
        )
    return rows, np.concatenate(joined)


def tested(context: Context, chosen: BracketParameters | None, stretch: Stretch) -> tuple[dict[str, Any], Floats]:
    """Figures and daily returns of a chosen set on later bars; without one, of not trading."""
    figures, returns = engine.sweep_metrics(
        stretch.bars,
        stretch.signal if chosen else stretch.signal * 0,
        [chosen or BracketParameters()],
        costs(context),
        context.config.search.policy,
        funding=stretch.funding,
        close_at_end=True,
    )
    return {name: values[0] for name, values in figures.items()}, returns[0]


def goal(context: Context) -> Goal:
    """What the configured search maximises, and at which costs."""
    settings = context.config.search
    return Goal(
        costs=costs(context),
        policy=settings.policy,
        objective=settings.objective,
        minimum_trades=settings.minimum_trades,
        batch=settings.batch,
    )


def space(settings: Search) -> dict[str, Any]:
    """What may be tried, as the samplers take it."""
    return settings.model_dump(include={*search.FIELDS, *search.BOTH_SIDES})


def sampler(settings: Search, seed: int) -> Sampler:
    """Sampler of the configured space."""
    return samplers.make(settings.sampler, space(settings), trials=settings.trials, seed=seed)


@lru_cache(maxsize=1)
def same_for_all(settings: Search) -> engine.ParameterSets:
    """Sets that every ticker is tried with: drawn once a worker, since drawing takes as long as replaying them."""
    return engine.prepare(sampler(settings, settings.seed).ask(settings.trials))


def places(settings: Search, found: Tuned) -> Floats:
    """Where the sets that were tried lie in the space, sets × axes."""
    if settings.sampler == "tpe":
        return samplers.coordinates(space(settings), found.sets)
    return places_for_all(settings)


@lru_cache(maxsize=1)
def places_for_all(settings: Search) -> Floats:
    """Where the sets that every ticker is tried with lie in the space."""
    return samplers.coordinates(space(settings), same_for_all(settings).parameters)


def costs(context: Context) -> Costs:
    """Costs of trading as configured."""
    return Costs(**context.config.costs.model_dump(exclude={"missing_funding"}))


if __name__ == "__main__":
    from jobs.runner import main

    main("search")
