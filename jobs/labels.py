"""Label every bar of every ticker by what came after it.

python -m jobs.labels --config run.toml --store URL --run NAME
"""

import pandas as pd

from jobs import market
from jobs.config_data import Labels
from jobs.rates import Rate
from jobs.stage import Context, FanOut, Item, Produced, Stage, fan_out, items_of, run_stage
from quant import labels
from quant.schemas import LABELS
from storage.manifest import Manifest

STAGE = Stage(
    "labels",
    1,
    ("ingest",),
    (LABELS,),
    rate=Rate(ticker=8e-3, row=2.5e-7, requests=2, read_row=43, written_row=14, memory_row=290),
)


def run(context: Context, fan_out: FanOut = fan_out) -> Manifest:
    """Bring the labels of the run up to date."""
    ingested = market.of(context)
    settings = context.config.labels
    return run_stage(
        context,
        STAGE,
        items_of(ingested),
        produce,
        settings={
            **settings.model_dump(),
            "calendar": context.config.ingest.calendar,
            "versions": {name: labels.LABELS[name].version for name in (settings.kind, "outcome")},
        },
        extra=market.calendar(context, ingested),
        fan_out=fan_out,
    )


def produce(context: Context, item: Item, calendar: market.Calendar) -> Produced:
    """Label and outcome of one ticker's bars; null where what follows is missing."""
    bars = market.bars(context, item.ticker)
    settings = context.config.labels
    frame = pd.DataFrame(
        {
            "label": classes(bars, settings, calendar).round().astype("Int8"),
            "outcome": labels.outcome(bars, settings.horizon, bar=calendar),
        },
        index=bars.index,
    )
    counts = frame["label"].value_counts()
    return Produced(
        {LABELS: frame},
        {"rows": len(frame), "counts": {str(label): int(counts.get(label, 0)) for label in (0, 1, 2)}},
    )


def classes(bars: pd.DataFrame, settings: Labels, calendar: market.Calendar) -> pd.Series:
    """Class of every bar under the configured label: 0, 1, 2 or NaN."""
    if settings.kind == "first_touch":
        return labels.first_touch(
            bars, settings.take, settings.ratio, settings.horizon, alignment=settings.alignment, bar=calendar
        )
    if settings.kind == "triple_barrier":
        return labels.triple_barrier(
            bars, settings.take, settings.take / settings.ratio, settings.horizon, bar=calendar
        )
    best = labels.forward_max(bars, settings.horizon, bar=calendar)
    return (best >= settings.take).astype("float64").where(best.notna())


if __name__ == "__main__":
    from jobs.runner import main

    main("labels")
