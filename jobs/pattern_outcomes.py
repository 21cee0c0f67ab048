"""What followed the windows of each cluster, part by part, against all windows; and which clusters may be traded.

Tasks add up whole numbers by day and cluster, so that the sum hangs on no order; the driver judges the sums.
"""

import functools
import logging
import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from jobs import market
from jobs.gather import gather
from jobs.rates import Meter
from jobs.stage import Context, FanOut, Stage, require, stage_fingerprint, up_to_date, write_whole
from quant import cluster_outcomes
from quant.cluster_outcomes import Tally
from quant.clusters import ALL, NOISE
from quant.schemas import BARS, CLUSTER_HISTOGRAMS, CLUSTER_OUTCOMES, LANDMARKS, PATTERNS, frame
from quant.splits import Part
from storage.manifest import Manifest
from storage.tables import read_table

STAGE = Stage("pattern_outcomes", 1, ("ingest", "pattern_fit", "patterns"), (CLUSTER_OUTCOMES, CLUSTER_HISTOGRAMS))
JUDGED = ("fit", "validate", "choose")  # the judge part is looked at once, by the strategy
LATER = ("validate", "choose")
BINS = 40

logger = logging.getLogger("assay")


@dataclass(frozen=True)
class Task:
    """What a worker is told: the parts, the clusters, and the borders of the bins of the outcomes."""

    context: Context
    parts: dict[str, Part]
    later: tuple[str, ...]
    clusters: int
    borders: npt.NDArray[np.float64]


class Sums(NamedTuple):
    """What some tickers add up to: a tally a part, and windows by cluster (noise, then all last) and bin."""

    tallies: dict[str, Tally]
    histogram: npt.NDArray[np.int64]

    def plus(self, other: "Sums") -> "Sums":
        """Both together."""
        together = {name: tally + other.tallies[name] for name, tally in self.tallies.items()}
        return Sums(together, self.histogram + other.histogram)


def run(context: Context, fan_out: FanOut) -> Manifest:
    """Bring the outcomes of the run's clusters up to date."""
    settings, fitted = context.config.patterns, require(context, "pattern_fit")
    seed = settings.protocol == "seed"
    parts = of_all_time(context)
    if not seed:
        whole = market.parts(context, market.of(context))
        parts = {name: whole[name] for name in JUDGED}
    decisive = {
        **settings.model_dump(
            mode="json",
            include={"protocol", "horizon", "length", "answer", "resamples", "false_discovery_rate", "seed"},
        ),
        "parts": {name: [str(part.start), str(part.end)] for name, part in parts.items()},
    }
    if done := up_to_date(context, STAGE, stage_fingerprint(context, STAGE, decisive)):
        return done
    meter = Meter()
    known = read_table(context.store, context.run, LANDMARKS, columns=["outcome"])["outcome"].dropna()
    low, high = np.quantile(known, [0.005, 0.995]) if len(known) else (0.0, 0.0)
    borders = np.linspace(low, high if high > low else low + 1e-9, BINS + 1)
    task = Task(context, parts, tuple(parts) if seed else LATER, int(fitted.details["clusters"]), borders)
    tickers = sorted(require(context, "patterns").tickers)
    sums = functools.reduce(
        Sums.plus, gather(added_up, tickers, context, name="outcomes", shared=task, fan_out=fan_out)
    )
    judged = pd.DataFrame() if seed else _judged(context, sums.tallies)
    table = frame(CLUSTER_OUTCOMES, []) if seed else judged
    counted = {
        name: int(sum(getattr(one, name).sum() for one in sums.tallies.values())) for name in ("windows", "episodes")
    }
    return write_whole(
        context,
        STAGE,
        decisive,
        {
            CLUSTER_OUTCOMES: table,
            CLUSTER_HISTOGRAMS: _histograms(sums.histogram, borders, task.clusters),
        },
        details={**counted, "sides": {} if seed else sides(judged)},
        usage=meter.usage(),
    )


def sides(judged: pd.DataFrame) -> dict[str, str]:
    """Clusters to trade, and how: those whose returns differ on the validate part, to where they go.

    The validate part has no say in the fit, and strategy parameters are chosen and judged on later ones.
    """
    mine = judged[(judged["part"] == "validate") & (judged["cluster"] != NOISE) & judged["return_differs"]]
    same = mine[np.sign(mine["mean_return"]) == np.sign(mine["return_difference"])]
    return {str(row.cluster): "long" if row.mean_return > 0 else "short" for row in same.itertuples()}


def added_up(tickers: list[str], task: Task) -> Sums:
    """The sums of some tickers; called in a worker."""
    return functools.reduce(Sums.plus, (_of_ticker(ticker, task) for ticker in tickers))


def of_all_time(context: Context) -> dict[str, Part]:
    """All bars as one part: the notebook knows no other."""
    ingested = market.of(context)
    first = min(pd.Timestamp(info["first"]) for info in ingested.tickers.values())
    last = max(pd.Timestamp(info["last"]) for info in ingested.tickers.values())
    return {"fit": Part("fit", first, last + market.bar_length(ingested))}


def _of_ticker(ticker: str, task: Task) -> Sums:
    context, settings = task.context, task.context.config.patterns
    table = read_table(context.store, context.run, PATTERNS, ticker)
    bars = pd.DatetimeIndex(read_table(context.store, context.run, BARS, ticker, columns=["close"]).index)
    times = pd.DatetimeIndex(table.index)
    # a window ends on a bar, the notebook's too, whose features are null where there is none
    positions = np.searchsorted(bars, times)
    label = table["cluster"].to_numpy(dtype=np.int64)
    outcome, forward = (table[name].to_numpy(dtype=np.float64) for name in ("outcome", "forward_return"))
    known = np.isfinite(outcome) & np.isfinite(forward)
    tallies, histogram = {}, np.zeros((task.clusters + 2, BINS), dtype=np.int64)
    for name, part in task.parts.items():
        ends = np.searchsorted(bars, part.end) - (settings.horizon - 1)  # all bars ahead lie in the part
        mine = known & part.rows(times) & (positions < ends)
        first, days = days_of(part)
        tallies[name] = cluster_outcomes.tally(
            times[mine],
            positions[mine],
            label[mine],
            outcome[mine] >= settings.answer,
            forward[mine],
            count=task.clusters,
            first_day=first,
            days=days,
            length=settings.length,
        )
        if name in task.later:
            bins = np.clip(np.searchsorted(task.borders, outcome[mine], side="right") - 1, 0, BINS - 1)
            rows = np.where(label[mine] == NOISE, task.clusters, label[mine])
            np.add.at(histogram, (rows, bins), 1)
            np.add.at(histogram[-1], bins, 1)
    return Sums(tallies, histogram)


def days_of(part: Part) -> tuple[pd.Timestamp, int]:
    """First day of a part, and how many days it touches."""
    first = part.start.normalize()
    return first, int((part.end - pd.Timedelta(1, "us") - first) / pd.Timedelta(days=1)) + 1


def _judged(context: Context, tallies: dict[str, Tally]) -> pd.DataFrame:
    settings = context.config.patterns
    bars = (settings.length + settings.horizon) * (market.bar_length(market.of(context)) / pd.Timedelta(days=1))
    tables = []
    for name, tally in tallies.items():
        days = int(tally.windows.any(axis=1).sum())
        if name == "validate" and 2.0 ** (1 - math.isqrt(days)) > settings.false_discovery_rate / 2:
            logger.warning(
                "patterns: the validate part has %d days with windows, too few for a cluster to differ at a rate of %g "
                "unless nearly all do; give it a larger share (split.validate) or more bars",
                days,
                settings.false_discovery_rate,
            )
        table = cluster_outcomes.judged(
            tally,
            resamples=settings.resamples,
            # as the test itself would take them, unless a window and what follows it are longer
            block=None if bars <= math.sqrt(days) else math.ceil(bars),
            seed=settings.seed,
            rate=settings.false_discovery_rate,
        )
        tables.append(table.assign(part=name, cluster=table["cluster"].astype("int8")))
    return pd.concat(tables, ignore_index=True)


def _histograms(counts: npt.NDArray[np.int64], borders: npt.NDArray[np.float64], clusters: int) -> pd.DataFrame:
    labels = [*range(clusters), NOISE, ALL]
    return pd.DataFrame(
        {
            "cluster": np.repeat(np.array(labels, dtype=np.int8), BINS),
            "low": np.tile(borders[:-1], len(labels)),
            "high": np.tile(borders[1:], len(labels)),
            "windows": counts.ravel(),
        }
    )
