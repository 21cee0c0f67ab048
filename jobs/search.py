"""Try strategy parameters on the choose part of every ticker, and choose one set.

python -m jobs.search --config run.toml --store URL --run NAME
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import pandas as pd

from jobs import market
from jobs.config import Search
from jobs.stage import Context, FanOut, Item, Produced, Stage, fan_out, items_of, require, run_stage
from quant import engine, samplers, search
from quant.costs import Costs
from quant.parameters import BracketParameters, to_row
from quant.samplers import Sampler
from quant.schemas import SIGNALS, TRIALS, frame
from quant.splits import Part
from storage.manifest import Manifest
from storage.tables import read_table

STAGE = Stage("search", 3, ("ingest", "predict"), (TRIALS,), seconds_per_row=1e-6)
FEWEST_BARS = 3


def run(context: Context, fan_out: FanOut = fan_out) -> Manifest:
    """Bring the trials of the run up to date."""
    part = market.parts(context, market.of(context))["choose"]
    # a space without a single set is one error, not one a ticker
    sampler(context.config.search, context.config.search.seed)
    return run_stage(
        context,
        STAGE,
        items_of(require(context, "predict")),
        produce,
        settings={
            "search": context.config.search.model_dump(),
            "costs": context.config.costs.model_dump(),
            "part": [str(part.start), str(part.end)],
        },
        extra=part,
        fan_out=fan_out,
    )


def produce(context: Context, item: Item, part: Part) -> Produced:
    """Every trial of one ticker on the choose part, the best marked as chosen; none where it has no bars there."""
    bars, signal = bars_and_signal(context, item.ticker, part)
    tried = trials(bars, signal, item.ticker, context) if len(bars) >= FEWEST_BARS else []
    chosen = search.choose([trial["score"] for trial in tried])
    rows = [{"trial": number, **trial, "chosen": number == chosen} for number, trial in enumerate(tried)]
    return Produced(
        {TRIALS: frame(TRIALS, rows)},
        {
            "rows": len(bars),
            "trials": len(rows),
            "signals": int((signal != 0).sum()),
            "chosen": None if chosen is None else rows[chosen],
        },
    )


def sampler(settings: Search, seed: int) -> Sampler:
    """Sampler of the configured space."""
    return samplers.make(
        settings.sampler,
        settings.model_dump(include={*search.FIELDS, *search.BOTH_SIDES}),
        trials=settings.trials,
        seed=seed,
    )


@lru_cache(maxsize=1)
def same_for_all(settings: Search) -> tuple[BracketParameters, ...]:
    """Sets that every ticker is tried with: drawn once a worker, since drawing takes as long as replaying them."""
    return tuple(sampler(settings, settings.seed).ask(settings.trials))


def trials(bars: pd.DataFrame, signal: pd.Series, ticker: str, context: Context) -> list[dict[str, Any]]:
    """Every set tried on one ticker, its figures over a part with nothing carried over the border, its score."""
    settings = context.config.search
    if settings.sampler != "tpe":
        return scored(bars, signal, same_for_all(settings), context)
    model = sampler(settings, samplers.ticker_seed(settings.seed, ticker))
    tried: list[dict[str, Any]] = []
    while candidates := model.ask(settings.batch):
        batch = scored(bars, signal, candidates, context)
        model.tell(candidates, [trial["score"] for trial in batch])
        tried += batch
    return tried


def scored(
    bars: pd.DataFrame, signal: pd.Series, candidates: Sequence[BracketParameters], context: Context
) -> list[dict[str, Any]]:
    """Parameters, figures and score of each set."""
    settings = context.config.search
    columns = engine.sweep_metrics(bars, signal, candidates, costs(context), settings.policy, close_at_end=True)
    figures = pd.DataFrame(columns).to_dict("records")
    return [
        {**to_row(parameters), **result, "score": search.score(result, settings.objective, settings.minimum_trades)}
        for parameters, result in zip(candidates, figures, strict=True)
    ]


def bars_and_signal(context: Context, ticker: str, part: Part) -> tuple[pd.DataFrame, pd.Series]:
    """Bars of a part and the signal decided at the close of each."""
    bars = market.bars(context, ticker)
    bars = bars[part.rows(bars.index)]
    signals = read_table(context.store, context.run, SIGNALS, ticker, columns=["signal"])["signal"]
    return bars, signals.reindex(bars.index).fillna(0).astype("int8")


def costs(context: Context) -> Costs:
    """Costs of trading as configured."""
    return Costs(**context.config.costs.model_dump())


if __name__ == "__main__":
    from jobs.runner import main

    main("search")
