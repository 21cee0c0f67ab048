"""Search where there is nothing to find, on shuffled signals and on random walks: how much luck alone would pass.

python -m jobs.placebo --config run.toml --store URL --run NAME
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from jobs import compiled, market
from jobs.config import RunConfig
from jobs.market import Stretch
from jobs.rates import Rate
from jobs.search import replay_seconds, tested, tune
from jobs.stage import Context, FanOut, Item, Produced, Stage, fan_out, items_of, require, run_stage
from quant import placebo, statistics
from quant.schemas import PLACEBOS, frame
from quant.splits import Part
from storage.manifest import Manifest

STAGE = Stage("placebo", 1, ("ingest", "predict"), (PLACEBOS,), prepare=compiled.ready)
KINDS = ("shuffled", "walk")
# what the shortlist needs of each search, kept in the manifest so that it needs no round trip a ticker
KEPT = (
    *("kind", "repetition", "choose_return", "trades", "total_return", "sharpe", "sharpe_error", "days"),
    *("win_rate", "profit_factor", "expectancy", "max_drawdown"),
)


def run(context: Context, fan_out: FanOut = fan_out) -> Manifest:
    """Bring the placebos of the run up to date."""
    parts = market.parts(context, market.of(context))
    choose, judge = parts["choose"], parts["judge"]
    return run_stage(
        context,
        stage(context.config),
        items_of(require(context, "predict")) if context.config.placebo.repetitions else [],
        produce,
        settings={
            "placebo": context.config.placebo.model_dump(),
            "search": context.config.search.model_dump(exclude={"folds"}),
            "costs": context.config.costs.model_dump(),
            "parts": [str(time) for part in (choose, judge) for time in (part.start, part.end)],
        },
        extra=(choose, judge),
        fan_out=fan_out,
    )


def stage(config: RunConfig) -> Stage:
    """The stage with its cost: so many searches on made-up bars or signals, and a test of each."""
    searches = len(KINDS) * config.placebo.repetitions
    return replace(
        STAGE,
        rate=Rate(
            ticker=0.01 + 7e-3 * searches,
            row=1e-7 + searches * (7e-8 + replay_seconds(config)),
            requests=5,
            read_row=100,
            written=5_500,
            memory_row=330,
        ),
    )


def produce(context: Context, item: Item, parts: tuple[Part, Part]) -> Produced:
    """The search of one ticker, as often as asked where it can find nothing, and what it chose on the judge part."""
    choose, judge = (market.stretch(context, item.ticker, part) for part in parts)
    rows: list[dict[str, Any]] = []
    if choose and judge:
        rows = [
            {"kind": kind, "repetition": repetition, **searched(context, f"{item.ticker} {kind} {repetition}", *drawn)}
            for kind in KINDS
            for repetition, drawn in enumerate(placebos(context, item.ticker, kind, choose, judge))
        ]
    return Produced(
        {PLACEBOS: frame(PLACEBOS, rows)},
        {"rows": len(choose.bars), "columns": {name: [row[name] for row in rows] for name in KEPT}},
    )


def placebos(
    context: Context, ticker: str, kind: str, choose: Stretch, judge: Stretch
) -> Iterator[tuple[Stretch, Stretch]]:
    """Both parts with nothing to be found in them, for each repetition."""
    settings = context.config.placebo
    seeds = placebo.seeds(settings.seed, f"{ticker} {kind}", 2 * settings.repetitions)
    for first, second in zip(seeds[::2], seeds[1::2], strict=True):
        if kind == "shuffled":
            yield (
                choose._replace(signal=placebo.shuffled_signal(choose.signal, settings.block, first)),
                judge._replace(signal=placebo.shuffled_signal(judge.signal, settings.block, second)),
            )
        else:
            yield (
                choose._replace(bars=placebo.random_walk(choose.bars, first)),
                judge._replace(bars=placebo.random_walk(judge.bars, second)),
            )


def searched(context: Context, name: str, choose: Stretch, judge: Stretch) -> dict[str, Any]:
    """What the search chooses on the one part, and its figures on the other."""
    found = tune(context, name, choose)
    figures, returns = tested(context, found.parameters, judge)
    chosen = None if found.chosen is None else found.trials.iloc[found.chosen]
    return {
        "trial": found.chosen,
        "choose_return": None if chosen is None else float(chosen["total_return"]),
        "choose_trades": None if chosen is None else int(chosen["trades"]),
        **figures,
        "days": len(returns),
        "sharpe_error": statistics.sharpe_error(returns),
        "probabilistic_sharpe": statistics.probabilistic_sharpe(returns),
    }


if __name__ == "__main__":
    from jobs.runner import main

    main("placebo")
