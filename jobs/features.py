"""Compute the configured indicators of every ticker.

python -m jobs.features --config run.toml --store URL --run NAME
"""

from dataclasses import replace

import pandas as pd

from jobs import market
from jobs.config import RunConfig
from jobs.rates import Rate
from jobs.stage import Context, FanOut, Item, Produced, Stage, fan_out, items_of, run_stage
from quant import features
from quant.schemas import FEATURES
from storage.manifest import Manifest

STAGE = Stage("features", 1, ("ingest",), (FEATURES,))
ROW_SECONDS = {"pattern8": 5.5e-7, "pattern8_relative": 5.5e-7, "ta193": 8e-6, "ta193_relative": 8e-6}
COLUMN_SECONDS = 7e-8  # of a row and column, where a set has not been measured


def run(context: Context, fan_out: FanOut = fan_out) -> Manifest:
    """Bring the features of the run up to date."""
    chosen = context.config.features
    return run_stage(
        context,
        stage(context.config),
        items_of(market.of(context)),
        produce,
        settings={
            "set": chosen.set,
            "versions": features.versions(chosen.set),
            **({"whole_numbers": True} if chosen.whole_numbers else {}),
        },
        fan_out=fan_out,
    )


def stage(config: RunConfig) -> Stage:
    """The stage with its cost, which grows with the columns of the set."""
    columns = len(features.columns(config.features.set))
    return replace(
        STAGE,
        rate=Rate(
            ticker=7e-3 + 2e-4 * columns,
            row=ROW_SECONDS.get(config.features.set, COLUMN_SECONDS * columns),
            requests=2,
            read_row=43,
            written=1500,
            written_row=(4.4 if columns < 100 else 3.5) * columns,
            memory_row=250 + 20 * columns,
        ),
    )


def produce(context: Context, item: Item, _extra: None) -> Produced:
    """Features of one ticker, as 32-bit floats; warm-up rows stay, as NaN."""
    frame = features.compute(market.bars(context, item.ticker), context.config.features.set)
    if context.config.features.whole_numbers:
        frame = features.in_whole_numbers(frame)
    return Produced({FEATURES: frame.astype("float32")}, {"rows": len(frame), "complete": _complete(frame)})


def _complete(frame: pd.DataFrame) -> int:
    return int(frame.notna().all(axis=1).sum())


if __name__ == "__main__":
    from jobs.runner import main

    main("features")
