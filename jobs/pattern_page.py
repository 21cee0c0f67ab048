"""The page of the patterns, and what of it the report shows: the plane, the patterns, what followed, the candles."""

import datetime
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd

from actors.progress import duration
from jobs import market
from jobs.config_model import Patterns
from jobs.gather import gather
from jobs.stage import Context, FanOut, Stage, require, stage_fingerprint, up_to_date, write_whole
from quant import features, notebook
from quant.clusters import NOISE
from quant.report_patterns import PatternContent, render
from quant.schemas import CLUSTER_COUNTS, CLUSTER_HISTOGRAMS, CLUSTER_OUTCOMES, LANDMARKS, PROFILES
from storage import layout
from storage.manifest import Manifest, read_manifest
from storage.tables import read_table

STAGE = Stage("pattern_page", 1, ("ingest", "pattern_fit", "patterns", "pattern_outcomes"), ())
BEFORE = 3  # lengths of a window that are shown before its last bar, as in the notebook
OF_A_CLUSTER = 12  # windows that the report lets one look at


class View(NamedTuple):
    """Windows of a ticker to be looked at: the times of their last bars, in the order in which they are kept."""

    ticker: str
    times: pd.DatetimeIndex


class Task(NamedTuple):
    """What a worker is told; ``most`` is how many bars of a ticker it may return."""

    context: Context
    most: int


def run(context: Context, fan_out: FanOut) -> Manifest:
    """Bring the page up to date."""
    settings = context.config.patterns.model_dump(mode="json", include={"shown", "page_bars"})
    if done := up_to_date(context, STAGE, stage_fingerprint(context, STAGE, settings)):
        return done
    table = shown(context)
    page = render(content(context, table, table, context.config.patterns.page_bars, fan_out))
    context.store.write(layout.patterns(context.run), page.encode())
    return write_whole(context, STAGE, settings, {}, details={"bytes": len(page)})


def of_the_report(context: Context, fan_out: FanOut) -> PatternContent | None:
    """What the report shows of the patterns, with a few windows of each cluster to look at; None where there are none.

    Patterns of other bars than the run has are not its. They may have been found by hand, with other settings than the
    run's: those that they were found with are shown.
    """
    fitted, judged = (read_manifest(context.store, context.run, name) for name in ("pattern_fit", "pattern_outcomes"))
    if fitted is None or judged is None or judged.inputs["ingest"] != market.of(context).result_hash:
        return None
    if judged.inputs["pattern_fit"] != fitted.result_hash:
        return None
    found = as_found(context, fitted, judged)
    table = shown(found)
    few = table.groupby("cluster", sort=True).head(OF_A_CLUSTER)
    return content(found, table, few, found.config.patterns.page_bars, fan_out)


def as_found(context: Context, fitted: Manifest, judged: Manifest) -> Context:
    """The run with the settings that its patterns were fitted and judged with."""
    recorded = {name: value for name, value in (fitted.config | judged.config).items() if name in Patterns.model_fields}
    settings = Patterns.model_validate(context.config.patterns.model_dump() | recorded)
    features = context.config.features.model_copy(update={"set": fitted.config.get("features", notebook.FEATURE_SET)})
    return replace(context, config=context.config.model_copy(update={"patterns": settings, "features": features}))


def shown(context: Context) -> pd.DataFrame:
    """The fitted windows that a page shows, in an order drawn by the seed."""
    columns = ["ticker", "time", "x", "y", "cluster", "outcome"]
    table = read_table(context.store, context.run, LANDMARKS, columns=columns)
    settings = context.config.patterns
    drawn = np.random.default_rng(settings.seed).permutation(len(table))[: settings.shown]
    return table.iloc[drawn].assign(
        hit=lambda rows: (rows["outcome"] >= settings.answer).where(rows["outcome"].notna())
    )


def content(context: Context, points: pd.DataFrame, viewed: pd.DataFrame, most: int, fan_out: FanOut) -> PatternContent:
    """Everything that a page shows, with the bars around the viewed windows, ``most`` at most."""
    settings = context.config.patterns
    fitted, outcomes = require(context, "pattern_fit"), require(context, "pattern_outcomes")
    seed = settings.protocol == "seed"
    units = {row["feature"]: row["unit"] for row in features.describe(_feature_set(context))}
    views = [View(str(ticker), pd.DatetimeIndex(mine["time"])) for ticker, mine in viewed.groupby("ticker")]
    task = Task(context, max(1, most // max(1, len(views))))
    bars: dict[str, pd.DataFrame] = {}
    for some in gather(candles, views, context, name="candles", shared=task, fan_out=fan_out):
        bars |= some
    table = read_table(context.store, context.run, CLUSTER_COUNTS)
    known, rise = outcomes.details, 100 * settings.answer
    now = datetime.datetime.now(datetime.UTC)
    return PatternContent(
        run=context.run,
        created=now.strftime("%Y-%m-%d %H:%M UTC"),
        protocol=settings.protocol,
        settings=words(context, fitted),
        bar=duration(market.bar_length(market.of(context)).total_seconds()),
        length=settings.length,
        horizon=settings.horizon,
        outcome=f"best close of the next {settings.horizon - 1} bars at least {rise:.3g} % above this close",
        units=units,
        points=points.reset_index(drop=True),
        profiles=read_table(context.store, context.run, PROFILES),
        outcomes=read_table(context.store, context.run, CLUSTER_OUTCOMES),
        histograms=read_table(context.store, context.run, CLUSTER_HISTOGRAMS),
        counts=None if table.empty else table,
        figures={
            "tickers": float(points["ticker"].nunique()),
            "windows": float(known["windows"]),
            "episodes": float(known["episodes"]),
            "effective_share": known["episodes"] / known["windows"] if known["windows"] else None,
            "landmarks": float(fitted.details["windows"]),
            "placed_windows": None if seed else float(sum(require(context, "patterns").rows.values())),
            "noise_share": float((points["cluster"] == NOISE).mean()),
            **fitted.details["figures"],
        },
        sides={int(cluster): side for cluster, side in known["sides"].items()},
        bars=dict(sorted(bars.items())),
        rate=settings.false_discovery_rate,
    )


def words(context: Context, fitted: Manifest) -> dict[str, str]:
    """The settings that a reader of the page wants to know."""
    settings = context.config.patterns
    return {
        "Features": _feature_set(context),
        "Bars of a window": str(settings.length),
        "Windows fitted": f"{fitted.details['windows']:,} of {fitted.details['eligible']:,}",
        "Layout": f"UMAP ({fitted.details['reducer']}), {settings.neighbours} neighbours, "
        f"minimum distance {settings.minimum_distance:g}, seed {settings.seed}",
        "Clusters": f"{settings.clustering}, {fitted.details['clusters']}",
    }


def candles(views: list[View], task: Task) -> dict[str, pd.DataFrame]:
    """Bars around the windows of some tickers, with what the notebook's viewer draws beside them."""
    context, settings = task.context, task.context.config.patterns
    found = {}
    for view in views:
        bars = market.bars(context, view.ticker)
        whole = bars.join(notebook.viewer(bars))
        keep = np.zeros(len(bars), dtype=bool)
        for end in pd.DatetimeIndex(bars.index).get_indexer(view.times):
            if end < 0:
                continue
            around = slice(max(0, end - BEFORE * settings.length), end + settings.horizon + 1)
            if keep.sum() + (~keep[around]).sum() > task.most:
                break
            keep[around] = True
        if keep.any():
            found[view.ticker] = whole[keep].astype(np.float32)
    return found


def _feature_set(context: Context) -> str:
    return notebook.FEATURE_SET if context.config.patterns.protocol == "seed" else context.config.features.set
