"""Find the shapes that recur before a bar, and say what follows each, on later bars than they were found on.

python -m jobs.patterns --config run.toml --store URL --run NAME

Windows of the fit part are laid out in the plane and clustered (`jobs.pattern_fit`); here every window of every ticker
is given to a cluster, and then (`jobs.pattern_outcomes`) each cluster is held against all windows. `patterns.html`
shows it. With `patterns.protocol` "seed" it is the clustering notebook, step for step.
"""

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from jobs import features, ingest, market, pattern_fit, pattern_outcomes, pattern_page
from jobs.config import RunConfig
from jobs.pattern_fit import PatternsError
from jobs.rates import Rate
from jobs.stage import (
    Context,
    FanOut,
    Item,
    Produced,
    Stage,
    fan_out,
    items_of,
    require,
    run_stage,
    stage_fingerprint,
    up_to_date,
)
from quant import features as feature_sets
from quant import windows
from quant.pattern_model import PatternModel
from quant.schemas import FEATURES, LANDMARKS, PATTERNS
from quant.splits import Part
from storage.manifest import Manifest, read_manifest
from storage.tables import read_table

STAGE = Stage("patterns", 1, ("ingest", "features", "pattern_fit"), (PATTERNS,))
SEED_STAGE = Stage("patterns", 1, ("ingest", "pattern_fit"), (PATTERNS,))
AT_ONCE = 4_096  # windows


class Task(NamedTuple):
    """What a worker is told: the fitted patterns, the parts of the calendar, and what the next bar is."""

    model: PatternModel
    parts: dict[str, Part]
    calendar: market.Calendar


def run(context: Context, fan_out: FanOut = fan_out) -> Manifest:
    """Bring the patterns of the run up to date, bars and features first, and write their page.

    Raises
    ------
    PatternsError
        Where an earlier run is judged again: this one has no fit part.
    """
    if context.config.rejudge:
        raise PatternsError(
            f"run '{context.run}' judges '{context.config.rejudge}' again and has no bars to find patterns on; "
            "leave rejudge out"
        )
    seed = context.config.patterns.protocol == "seed"
    if not ingested_as_configured(context):
        ingest.run(context, fan_out)
    if not seed:
        features.run(context, fan_out)
    pattern_fit.run(context, fan_out)
    manifest = of_the_notebook(context, fan_out) if seed else placed(context, fan_out)
    pattern_outcomes.run(context, fan_out)
    pattern_page.run(context, fan_out)
    return manifest


def ingested_as_configured(context: Context) -> bool:
    """Whether the run has bars of the configured source, so that it need not be listed again."""
    known = read_manifest(context.store, context.run, ingest.STAGE.name)
    settings = {"source": context.config.source, **context.config.ingest.model_dump(mode="json")}
    return known is not None and all(known.config.get(name) == value for name, value in settings.items())


def stage(config: RunConfig) -> Stage:
    """The stage with its cost: the fit before any window is placed, then a product with every fitted one for each."""
    if config.patterns.protocol == "seed":
        return SEED_STAGE
    values = config.patterns.length * len(feature_sets.columns(config.features.set))
    landmarks = config.patterns.landmarks
    return replace(
        STAGE,
        rate=Rate(
            ticker=0.02,
            row=3e-6 + landmarks * (1.2e-9 + 1.8e-11 * values),
            requests=4,
            read_row=43 + 4 * values / config.patterns.length,
            written_row=24,
            memory=6e8 + 110 * landmarks * values,
            memory_row=500,
            start=landmarks * (7e-4 + 4e-4 * config.patterns.refits),
        ),
    )


def placed(context: Context, fan_out: FanOut) -> Manifest:
    """Give every window of every ticker to a cluster."""
    ingested, settings = market.of(context), context.config.patterns
    parts = market.parts(context, ingested)
    decisive = {
        "horizon": settings.horizon,
        "calendar": context.config.ingest.calendar,
        "parts": {name: [str(part.start), str(part.end)] for name, part in parts.items()},
    }
    # before the model is read, which may be large
    if done := up_to_date(context, STAGE, stage_fingerprint(context, STAGE, decisive)):
        return done
    return run_stage(
        context,
        stage(context.config),
        items_of(require(context, "features")),
        produce,
        settings=decisive,
        extra=Task(pattern_fit.read_model(context), parts, market.calendar(context, ingested)),
        fan_out=fan_out,
    )


def produce(context: Context, item: Item, task: Task) -> Produced:
    """The cluster of every window of one ticker, from the start of the fit part to the end of the judge part."""
    settings, model = context.config.patterns, task.model
    table = read_table(context.store, context.run, FEATURES, item.ticker, columns=list(model.scaler.columns))
    times = pd.DatetimeIndex(table.index)
    ends = pattern_fit.window_ends(table, task.calendar, settings.length)
    first, last = min(part.start for part in task.parts.values()), max(part.end for part in task.parts.values())
    ends = ends[(times[ends] >= first) & (times[ends] < last)]
    scaled = model.scaler.transform(table)
    pieces = [
        model.join(windows.cut(scaled, ends[start : start + AT_ONCE], settings.length))
        for start in range(0, len(ends), AT_ONCE)
    ]
    followed = pattern_fit.outcomes(market.bars(context, item.ticker), settings, task.calendar)
    frame = pd.DataFrame(
        {
            "cluster": _joined([piece.labels for piece in pieces], np.int64).astype(np.int8),
            "x": _joined([piece.places[:, 0] for piece in pieces], np.float32),
            "y": _joined([piece.places[:, 1] for piece in pieces], np.float32),
            "distance": _joined([piece.distances for piece in pieces], np.float32),
        },
        index=times[ends].rename("time"),
    ).join(followed)
    return Produced({PATTERNS: frame}, {"rows": len(frame)})


def of_the_notebook(context: Context, fan_out: FanOut) -> Manifest:
    """The notebook's windows by ticker: it has no way to place others."""
    table = read_table(context.store, context.run, LANDMARKS).assign(distance=np.float32(0))
    columns = [column.name for column in PATTERNS.columns]
    found = {str(ticker): mine[columns].set_index("time") for ticker, mine in table.groupby("ticker")}
    return run_stage(
        context,
        SEED_STAGE,
        [Item(ticker, payload=mine, rows=len(mine)) for ticker, mine in sorted(found.items())],
        kept,
        settings={"protocol": "seed"},
        fan_out=fan_out,
    )


def kept(_context: Context, item: Item, _extra: None) -> Produced:
    """The notebook's windows of one ticker, as they came."""
    return Produced({PATTERNS: item.payload.sort_index()}, {"rows": len(item.payload)})


def _joined(pieces: list[Any], dtype: Any) -> np.ndarray[Any, Any]:
    return np.concatenate(pieces) if pieces else np.empty(0, dtype)


if __name__ == "__main__":
    from jobs.runner import main

    main("patterns")
