"""Fit the patterns of a run: draw windows, lay them out, cut the plane into clusters, and hold those against refits.

Windows are cut where they lie, by tasks; the driver holds the drawn ones alone, and one task fits them. Refits with
other seeds and on bootstrap samples are tasks of their own.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from jobs import market, pattern_seed
from jobs.config_model import Patterns
from jobs.gather import gather
from jobs.rates import Meter
from jobs.stage import Context, FanOut, Stage, require, stage_fingerprint, up_to_date, write_whole
from quant import clusters, labels, patterns, scaling, windows
from quant.bars import segments
from quant.clusters import NOISE
from quant.features import columns
from quant.pattern_model import MOST_CLUSTERS, PatternModel, PatternParameters
from quant.patterns import Drawn
from quant.schemas import CLUSTER_COUNTS, FEATURES, LANDMARKS, PROFILES, frame
from quant.splits import Part
from storage import layout
from storage.hashing import fingerprint
from storage.manifest import Manifest
from storage.tables import read_table

STAGE = Stage("pattern_fit", 1, ("ingest", "features"), (LANDMARKS, PROFILES, CLUSTER_COUNTS))
SEED_STAGE = Stage("pattern_fit", 1, ("ingest",), (LANDMARKS, PROFILES, CLUSTER_COUNTS))
MODEL = "patterns"
FILE = "patterns.json"
WINDOWS_OF_A_CLUSTER = 10  # on average, below which a bootstrap sample may not have them all
DECIDE_NOTHING = {
    *("trade", "threads", "shown", "page_bars"),  # of the fit; what comes after it has settings of its own
    *("resamples", "false_discovery_rate"),
}

logger = logging.getLogger("assay")


class PatternsError(ValueError):
    """Patterns that cannot be fitted."""


@dataclass(frozen=True)
class Task:
    """What a worker is told: the part to cut windows from, and what the next bar is."""

    context: Context
    part: Part
    calendar: market.Calendar


class Orders(NamedTuple):
    """Which windows of a ticker are wanted: their numbers among those of all tickers, of which its own begin at one."""

    ticker: str
    chosen: npt.NDArray[np.int64]
    first: int


class Fitted(NamedTuple):
    """What comes of the task that fits."""

    model: PatternModel
    drawn: Drawn
    counts: pd.DataFrame
    figures: dict[str, float | None]


def run(context: Context, fan_out: FanOut) -> Manifest:
    """Bring the fitted patterns of the run up to date.

    Raises
    ------
    PatternsError
        If the fit part has too few windows, or the fit failed.
    """
    settings = settings_of(context)
    stage = stage_of(context)
    if done := up_to_date(context, stage, stage_fingerprint(context, stage, settings)):
        return done
    meter = Meter()
    drawn = None if context.config.patterns.protocol == "seed" else draw(context, fan_out)
    fitted = _alone(fit, (context, drawn), context, fan_out)
    figures = {**fitted.figures, **agreement(context, fitted.model, fan_out)}
    model = fitted.model
    context.store.write(layout.model(context.run, MODEL, FILE), model.to_json().encode())
    table = pd.concat([model.to_frame(), fitted.drawn.to_frame()], axis=1)
    profiles = patterns.profiles(fitted.drawn.windows, model.labels, model.scaler.columns)
    return write_whole(
        context,
        stage,
        settings,
        {LANDMARKS: table, PROFILES: profiles, CLUSTER_COUNTS: fitted.counts},
        hashes={FILE: fingerprint({"json": model.to_json()})},
        details={
            "model": MODEL,
            "clusters": model.parameters.count,
            "windows": len(model.rows),
            "eligible": fitted.drawn.eligible,
            "reducer": model.parameters.reducer,
            "figures": figures,
        },
        usage=meter.usage(),
    )


def stage_of(context: Context) -> Stage:
    """The stage, which reads bars alone under the notebook's protocol."""
    return SEED_STAGE if context.config.patterns.protocol == "seed" else STAGE


def settings_of(context: Context) -> dict[str, Any]:
    """Whatever decides what is fitted."""
    settings = context.config.patterns
    common = settings.model_dump(mode="json", exclude=DECIDE_NOTHING)
    if settings.protocol == "seed":
        return common
    del common["answer"]  # which says what a hit is, and so decides nothing of an outcome-blind fit
    fit_part = market.parts(context, market.of(context))["fit"]
    return {
        **common,
        "features": context.config.features.set,
        "calendar": context.config.ingest.calendar,
        "fit": [str(fit_part.start), str(fit_part.end)],
    }


def read_model(context: Context) -> PatternModel:
    """The fitted patterns, as the store has them."""
    require(context, STAGE.name)
    text = context.store.read(layout.model(context.run, MODEL, FILE)).decode()
    return PatternModel.read(text, read_table(context.store, context.run, LANDMARKS))


def draw(context: Context, fan_out: FanOut) -> Drawn:
    """Draw windows from the fit part of all tickers, each as likely as any other, whatever followed it."""
    ingested = market.of(context)
    task = Task(context, market.parts(context, ingested)["fit"], market.calendar(context, ingested))
    tickers = sorted(require(context, "features").tickers)
    counted: dict[str, int] = {}
    for some in gather(counts, tickers, context, name="counting windows", shared=task, fan_out=fan_out):
        counted |= some
    sizes = np.array([counted[ticker] for ticker in tickers])
    total, wanted = int(sizes.sum()), context.config.patterns.landmarks
    neighbours = context.config.patterns.neighbours
    if total <= neighbours:
        raise PatternsError(
            f"the fit part has {total} windows of {context.config.patterns.length} bars without a gap in all "
            f"{len(tickers)} tickers; needed are more than patterns.neighbours = {neighbours}. Give more bars, a "
            "larger split.fit or a smaller patterns.length."
        )
    generator = np.random.default_rng(context.config.patterns.seed)
    chosen = np.sort(generator.choice(total, size=min(wanted, total), replace=False))
    firsts = np.cumsum(sizes) - sizes
    pieces = np.split(chosen, np.searchsorted(chosen, firsts[1:]))
    orders = [Orders(*each) for each in zip(tickers, pieces, firsts, strict=True)]
    found: dict[str, Drawn] = {}
    wanted_of = [order for order in orders if len(order.chosen)]
    for part in gather(cut, wanted_of, context, name="drawing windows", shared=task, fan_out=fan_out):
        found |= part
    return patterns.joined([found[order.ticker] for order in wanted_of], eligible=total)


def counts(tickers: list[str], task: Task) -> dict[str, int]:
    """How many windows of the fit part each ticker has."""
    return {ticker: len(_ends(task, _features(task, ticker))) for ticker in tickers}


def cut(orders: list[Orders], task: Task) -> dict[str, Drawn]:
    """The wanted windows of some tickers, in real units, with what followed each."""
    context, settings = task.context, task.context.config.patterns
    found = {}
    for order in orders:
        features = _features(task, order.ticker)
        ends = _ends(task, features)[order.chosen - order.first]
        times = pd.DatetimeIndex(features.index[ends])
        followed = outcomes(market.bars(context, order.ticker), settings, task.calendar, task.part).reindex(times)
        found[order.ticker] = Drawn(
            windows.cut(features.to_numpy(dtype=np.float32), ends, settings.length),
            np.full(len(ends), order.ticker, dtype=object),
            times,
            followed["outcome"].to_numpy(),
            followed["forward_return"].to_numpy(),
        )
    return found


def window_ends(
    features: pd.DataFrame, calendar: market.Calendar, length: int, allowed: npt.NDArray[np.bool_] | None = None
) -> npt.NDArray[np.intp]:
    """Rows at which a window of a ticker ends: all its features finite, no gap, and every row allowed."""
    complete = np.isfinite(features.to_numpy()).all(axis=1)
    if allowed is not None:
        complete &= allowed
    return windows.ends(complete, segments(pd.DatetimeIndex(features.index), calendar), length)


def outcomes(
    bars: pd.DataFrame, settings: Patterns, calendar: market.Calendar, part: Part | None = None
) -> pd.DataFrame:
    """What followed every bar: the best close ahead, and the return from the next open; null beyond a part's end."""
    ahead = settings.horizon - 1
    table = pd.DataFrame(
        {
            "outcome": labels.forward_max(bars, settings.horizon, bar=calendar),
            "forward_return": labels.outcome(bars, ahead, bar=calendar),
        },
        index=bars.index,
    )
    if part is not None:  # a bar whose last bar ahead lies in the part: positions, as gaps are null already
        last = np.searchsorted(pd.DatetimeIndex(bars.index), part.end) - ahead
        table.iloc[max(last, 0) :] = np.nan
    return table


def fit(shared: tuple[Context, Drawn | None]) -> Fitted:
    """Fit the drawn windows, in one task."""
    context, drawn = shared
    settings = context.config.patterns
    if drawn is None:
        drawn, scaler, rows = pattern_seed.windows(context)
    else:
        flat = drawn.windows.reshape(-1, drawn.windows.shape[-1])
        scaler = scaling.fit("robust", flat, columns(context.config.features.set), clip=settings.clip)
        rows = scaler.transform(drawn.windows).reshape(len(drawn.windows), -1)
    reducer = patterns.reducer(settings.reducer or ("umap-learn" if settings.protocol == "seed" else "own"))
    places = patterns.reduced(rows, reducer, settings.seed, **_reduction(settings))
    counts, count = _count(settings, places)
    found = patterns.clustered(places, settings.clustering, count, settings.smallest, settings.seed)
    if found.max(initial=NOISE) >= MOST_CLUSTERS:
        raise PatternsError(
            f"{settings.clustering} finds {found.max() + 1} clusters; allowed are {MOST_CLUSTERS}. Set "
            f"patterns.smallest above {settings.smallest}"
        )
    parameters = PatternParameters(
        settings.length,
        settings.neighbours,
        settings.minimum_distance,
        settings.seed,
        reducer,
        settings.clustering,
        int(found.max(initial=NOISE)) + 1,
    )
    model = PatternModel(parameters, scaler, np.asarray(rows, dtype=np.float32), places, found)
    return Fitted(model, drawn, counts, patterns.fit_figures(model, drawn, threads=settings.threads))


def agreement(context: Context, model: PatternModel, fan_out: FanOut) -> dict[str, float | None]:
    """How well the clusters agree with those of refits: mean adjusted Rand index, by kind of refit."""
    settings = context.config.patterns
    if len(model.rows) < WINDOWS_OF_A_CLUSTER * model.parameters.count:
        return {"seed_agreement": None, "bootstrap_agreement": None}
    orders = [(kind, number) for number in range(1, settings.refits + 1) for kind in ("seed", "bootstrap")]
    found: dict[str, list[float]] = {"seed": [], "bootstrap": []}
    for outcome in fan_out(refit, orders, name="refits", shared=(settings, model), **resources(context)):
        if outcome.error is not None:
            raise PatternsError(f"refit {outcome.shard}: {outcome.error.message} ({outcome.error.type_name})")
        found[outcome.shard[0]].append(outcome.value)
    # in order of size: tasks finish in any
    return {f"{kind}_agreement": float(np.mean(sorted(values))) if values else None for kind, values in found.items()}


def refit(order: tuple[str, int], shared: tuple[Patterns, PatternModel]) -> float:
    """Fit once more with another seed, or on a bootstrap sample, and say how well the clusters agree."""
    kind, number = order
    settings, model = shared
    seed = settings.seed + number
    rows = model.rows
    mine = np.arange(len(rows))
    if kind == "bootstrap":
        drawn = np.random.default_rng([settings.seed, number]).integers(len(rows), size=len(rows))
        mine = np.unique(drawn)  # a window that was drawn twice would be its own neighbour
    places = patterns.reduced(rows[mine], model.parameters.reducer, seed, **_reduction(settings))
    # of fewer windows a cluster has fewer
    smallest = max(2, round(settings.smallest * len(mine) / len(rows)))
    found = patterns.clustered(places, settings.clustering, model.parameters.count, smallest, seed)
    again = PatternModel(
        PatternParameters(**{**vars(model.parameters), "count": int(found.max(initial=NOISE)) + 1, "seed": seed}),
        model.scaler,
        rows[mine],
        places,
        found,
    )
    labels_again = found if len(mine) == len(rows) else again.join(rows, threads=settings.threads).labels
    return clusters.agreement(model.labels, labels_again)


def resources(context: Context) -> dict[str, float]:
    """What a task that fits asks for: cores for its threads, and a GPU for cuml."""
    settings = context.config.patterns
    wants = settings.reducer == "cuml" or (settings.reducer == "auto" and context.config.train.gpu)
    return {"cpus": min(settings.threads, context.workers), "gpus": int(wants)}


def _alone(function: Any, shared: Any, context: Context, fan_out: FanOut) -> Any:
    """Run a function in one task with as many cores as the fit may have."""
    (outcome,) = fan_out(_only, [function], name=STAGE.name, shared=shared, **resources(context))
    if outcome.error is not None:
        raise PatternsError(f"the patterns could not be fitted: {outcome.error.message} ({outcome.error.type_name})")
    return outcome.value


def _only(function: Any, shared: Any) -> Any:
    return function(shared)


def _reduction(settings: Patterns) -> dict[str, Any]:
    return {
        "neighbours": settings.neighbours,
        "minimum_distance": settings.minimum_distance,
        "threads": settings.threads,
    }


def _count(settings: Patterns, places: npt.NDArray[np.float32]) -> tuple[pd.DataFrame, int]:
    """The table of numbers of clusters that were tried, and the number that is taken."""
    given = settings.clusters or (8 if settings.protocol == "seed" else None)
    if settings.clustering == "hdbscan" or given:
        return frame(CLUSTER_COUNTS, []), given or 0
    tried: Sequence[int] = sorted({count for count in settings.counts if count < len(places)})
    table = clusters.choose_count(places, tried, settings.seed, resamples=10)
    best = clusters.best_count(table)
    return table.assign(chosen=table["count"] == best), best


def _features(task: Task, ticker: str) -> pd.DataFrame:
    names = columns(task.context.config.features.set)
    return read_table(task.context.store, task.context.run, FEATURES, ticker, columns=names)


def _ends(task: Task, features: pd.DataFrame) -> npt.NDArray[np.intp]:
    """Rows of a ticker at which a whole window ends within the part."""
    inside = task.part.rows(pd.DatetimeIndex(features.index))
    return window_ends(features, task.calendar, task.context.config.patterns.length, inside)
