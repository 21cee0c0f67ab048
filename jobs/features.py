"""Compute the configured indicators of every ticker.

python -m jobs.features --config run.toml --store URL --run NAME
"""

import pandas as pd

from jobs import market
from jobs.stage import Context, FanOut, Item, Produced, Stage, fan_out, items_of, run_stage
from quant import features
from quant.schemas import FEATURES
from storage.manifest import Manifest

STAGE = Stage("features", 1, ("ingest",), (FEATURES,))


def run(context: Context, fan_out: FanOut = fan_out) -> Manifest:
    """Bring the features of the run up to date."""
    name = context.config.features.set
    return run_stage(
        context,
        STAGE,
        items_of(market.of(context)),
        produce,
        settings={"set": name, "versions": features.versions(name)},
        fan_out=fan_out,
    )


def produce(context: Context, item: Item, _extra: None) -> Produced:
    """Features of one ticker, as 32-bit floats; warm-up rows stay, as NaN."""
    frame = features.compute(market.bars(context, item.ticker), context.config.features.set)
    return Produced({FEATURES: frame.astype("float32")}, {"rows": len(frame), "complete": _complete(frame)})


def _complete(frame: pd.DataFrame) -> int:
    return int(frame.notna().all(axis=1).sum())


if __name__ == "__main__":
    from jobs.runner import main

    main("features")
