"""Try strategy parameters on the choose part of every ticker, and choose one set.

python -m jobs.search --config run.toml --store URL --run NAME
"""

from typing import Any

import pandas as pd

from jobs import market
from jobs.config import Search
from jobs.stage import Context, FanOut, Item, Produced, Stage, fan_out, items_of, require, run_stage
from quant import engine, samplers, search
from quant.costs import Costs
from quant.parameters import to_row
from quant.samplers import Sampler
from quant.schemas import SIGNALS, TRIALS, frame
from quant.splits import Part
from storage.manifest import Manifest
from storage.tables import read_table

STAGE = Stage("search", 3, ("ingest", "predict"), (TRIALS,), seconds_per_row=1e-6)
FEWEST_BARS = 3
NOT_PARAMETERS = {"sampler", "batch", "policy", "objective", "trials", "seed", "minimum_trades"}


def run(context: Context, fan_out: FanOut = fan_out) -> Manifest:
    """Bring the trials of the run up to date."""
    part = market.parts(context, market.of(context))["choose"]
    sampler(context.config.search, "")  # a space without a single set is one error, not one a ticker
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
    settings = context.config.search
    bars, signal = bars_and_signal(context, item.ticker, part)
    tried = trials(bars, signal, sampler(settings, item.ticker), context) if len(bars) >= FEWEST_BARS else []
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


def sampler(settings: Search, ticker: str) -> Sampler:
    """Sampler of one ticker: its own for tpe, which learns from its scores; otherwise the same sets for all."""
    space = settings.model_dump(exclude=NOT_PARAMETERS)
    seed = samplers.ticker_seed(settings.seed, ticker) if settings.sampler == "tpe" else settings.seed
    return samplers.make(settings.sampler, space, trials=settings.trials, seed=seed)


def trials(bars: pd.DataFrame, signal: pd.Series, sampler: Sampler, context: Context) -> list[dict[str, Any]]:
    """Every set that the sampler asks for, its figures over a part with nothing carried over the border, its score."""
    settings = context.config.search
    count = settings.batch if settings.sampler == "tpe" else settings.trials
    tried: list[dict[str, Any]] = []
    while candidates := sampler.ask(count):
        columns = engine.sweep_metrics(bars, signal, candidates, costs(context), settings.policy, close_at_end=True)
        figures = pd.DataFrame(columns).to_dict("records")
        scores = [search.score(result, settings.objective, settings.minimum_trades) for result in figures]
        sampler.tell(candidates, scores)
        tried += [
            {**to_row(parameters), **result, "score": score}
            for parameters, result, score in zip(candidates, figures, scores, strict=True)
        ]
    return tried


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
