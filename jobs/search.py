"""Try strategy parameters on the choose part of every ticker, and choose one set.

python -m jobs.search --config run.toml --store URL --run NAME
"""

from typing import Any

import pandas as pd

from jobs import market
from jobs.stage import Context, FanOut, Item, Produced, Stage, fan_out, items_of, require, run_stage
from quant import engine, search
from quant.costs import Costs
from quant.parameters import BracketParameters, to_row
from quant.schemas import SIGNALS, TRIALS, frame
from quant.splits import Part
from storage.manifest import Manifest
from storage.tables import read_table

STAGE = Stage("search", 2, ("ingest", "predict"), (TRIALS,), seconds_per_row=1e-6)
FEWEST_BARS = 3


def run(context: Context, fan_out: FanOut = fan_out) -> Manifest:
    """Bring the trials of the run up to date."""
    part = market.parts(context, market.of(context))["choose"]
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
    candidates = parameter_sets(context) if len(bars) >= FEWEST_BARS else []
    results = figures(bars, signal, candidates, context)
    scores = [search.score(result, settings.objective, settings.minimum_trades) for result in results]
    chosen = search.choose(scores) if scores else None
    rows = [
        {"trial": number, **to_row(parameters), **result, "score": score, "chosen": number == chosen}
        for number, (parameters, result, score) in enumerate(zip(candidates, results, scores, strict=True))
    ]
    return Produced(
        {TRIALS: frame(TRIALS, rows)},
        {
            "rows": len(bars),
            "trials": len(rows),
            "signals": int((signal != 0).sum()),
            "chosen": None if chosen is None else rows[chosen],
        },
    )


def parameter_sets(context: Context) -> list[BracketParameters]:
    """Parameter sets of the run, the same for every ticker."""
    settings = context.config.search
    space = settings.model_dump(exclude={"policy", "objective", "trials", "seed", "minimum_trades"})
    return search.grid(space, settings.trials, settings.seed)


def bars_and_signal(context: Context, ticker: str, part: Part) -> tuple[pd.DataFrame, pd.Series]:
    """Bars of a part and the signal decided at the close of each."""
    bars = market.bars(context, ticker)
    bars = bars[part.rows(bars.index)]
    signals = read_table(context.store, context.run, SIGNALS, ticker, columns=["signal"])["signal"]
    return bars, signals.reindex(bars.index).fillna(0).astype("int8")


def figures(
    bars: pd.DataFrame, signal: pd.Series, candidates: list[BracketParameters], context: Context
) -> list[dict[str, Any]]:
    """Figures of every parameter set over a part, nothing carried over its border."""
    if not candidates:
        return []
    columns = engine.sweep_metrics(
        bars, signal, candidates, costs(context), context.config.search.policy, close_at_end=True
    )
    return pd.DataFrame(columns).to_dict("records")


def costs(context: Context) -> Costs:
    """Costs of trading as configured."""
    return Costs(**context.config.costs.model_dump())


if __name__ == "__main__":
    from jobs.runner import main

    main("search")
