"""How a ticker is traded by each protocol between the article's and the honest one: the shards of `jobs.protocols`."""

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from jobs import labels, market, search, train
from jobs.config import RunConfig
from jobs.config_verdict import Costs
from jobs.market import Stretch
from jobs.stage import Context, Item, Produced, ShardJob
from quant import article, network, protocols, scaling, windows
from quant import features as indicators
from quant.bars import segments
from quant.parameters import BracketParameters
from quant.protocols import ASSET, Criteria
from quant.scaling import Scaler
from quant.schemas import FIGURES, PROTOCOLS, SIGNALS, frame
from quant.splits import Part
from storage import layout
from storage.manifest import Receipt
from storage.tables import read_table

ARTICLE_COSTS = Costs(commission=article.COSTS.commission, cash=article.COSTS.cash)
ARTICLE_LABEL = {"kind": "first_touch", "alignment": "seed"}
NAMES = tuple(column.name for column in FIGURES)

Traps = frozenset[str]
Probabilities = npt.NDArray[np.float32]


class Fitted(NamedTuple):
    """A model as it is applied."""

    model: Any
    scaler: Scaler
    steps: int
    feature_set: str


@dataclass(frozen=True)
class Task:
    """What an actor is told; the models by the traps in them, once they are loaded."""

    parts: dict[str, Part]
    calendar: market.Calendar
    threshold: float
    learned: frozenset[str]
    runs: dict[Traps, RunConfig]
    models: dict[Traps, Fitted] = field(default_factory=dict)

    @property
    def unseen(self) -> Part:
        """The bars that no model learned from."""
        return Part("unseen", self.parts["choose"].start, self.parts["judge"].end)


def loaded(function: Callable[[list[Item], ShardJob], Receipt], job: ShardJob) -> Callable[[list[Item]], Receipt]:
    """The shard function with all models in its hands; called once an actor."""
    network.configure(job.context.config.train.threads)
    models = {traps: fitted(job.context, config) for traps, config in job.extra.runs.items()}
    return functools.partial(function, job=replace(job, extra=replace(job.extra, models=models)))


def fitted(context: Context, config: RunConfig) -> Fitted:
    """The model of a run."""
    folder = functools.partial(layout.model, config.run, config.train.architecture)
    model = network.load(context.store.read(folder(train.MODEL)), source=folder(train.MODEL))
    scaler = Scaler.from_json(context.store.read(folder(train.SCALER)).decode())
    return Fitted(model, scaler, config.train.steps, config.features.set)


def produce(context: Context, item: Item, task: Task) -> Produced:
    """What every protocol makes of one ticker; no rows where it has no bars to trade."""
    rows = [
        {"step": step, "strategy": strategy, "optimised": False, "listed": False, **figures}
        for step, strategy, figures in traded(context, item, task)
    ]
    table = frame(PROTOCOLS, rows).sort_values(list(PROTOCOLS.key), ignore_index=True)
    return Produced({PROTOCOLS: table}, {"rows": len(table)})


def traded(context: Context, item: Item, task: Task) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """Step, backtest and figures of each protocol."""
    bars = market.bars(context, item.ticker)
    bars = bars[bars.index < task.parts["judge"].end]
    unseen = task.unseen.rows(pd.DatetimeIndex(bars.index))
    if not Stretch(bars[unseen], bars["close"][unseen]):
        return
    learned = item.ticker in task.learned
    history = bars[bars.index >= task.parts["fit"].start]
    known = probabilities(context, item.ticker, bars, history if learned else bars[unseen], task)
    judged = bars[task.parts["judge"].rows(pd.DatetimeIndex(bars.index))]
    for step in range(protocols.STEPS):
        traps = protocols.remaining(step)
        if "orders" not in traps:
            if figures := of_the_run(context, item, judged, traps):
                yield step, ASSET, figures
            continue
        given = known[traps & frozenset(protocols.OF_THE_MODEL)]
        wanted = pd.Series(protocols.signal(given, task.threshold, traps), bars.index)
        later = task.unseen if "same_bars" in traps else task.parts["judge"]
        if learned and Stretch(bars, wanted).within(later):
            label = labelled(context, bars, task, traps)[history.index]
            backtests = protocols.backtests(history, wanted[history.index], label, later, traps)
            for strategy, figures in backtests.items():
                yield step, strategy, figures
        if figures := of_an_asset(context, item.ticker, Stretch(bars, wanted), task, traps):
            yield step, ASSET, figures


def probabilities(
    context: Context, ticker: str, bars: pd.DataFrame, due: pd.DataFrame, task: Task
) -> dict[Traps, Probabilities]:
    """What each model sees at the bars that are due, by the traps in it: arrays (bars × 3), NaN elsewhere."""
    tables = {name: indicators.compute(bars, name) for name in {fitted.feature_set for fitted in task.models.values()}}
    wanted = bars.index.isin(due.index)
    segment = segments(pd.DatetimeIndex(bars.index), task.calendar)
    found: dict[Traps, Probabilities] = {}
    for traps, fitted in task.models.items():
        table = tables[fitted.feature_set]
        if "whole_numbers" in traps and ticker in task.learned:
            table = indicators.in_whole_numbers(table)
        table = table[list(fitted.scaler.columns)].astype("float32")
        complete = table.notna().all(axis=1).to_numpy()
        scaler = fitted.scaler
        if "scaler" in traps and complete.any():  # the article fits one to each asset
            scaler = scaling.fit(scaler.kind, table[complete], scaler.columns, clip=scaler.clip)
        ends = windows.ends(complete, segment, fitted.steps)
        ends = ends[wanted[ends]].astype(np.int64)
        seen = np.full((len(bars), network.CLASSES), np.nan, dtype=np.float32)
        seen[ends] = network.predict(
            fitted.model, scaler.transform(table), ends, fitted.steps, batch=context.config.predict.batch
        )
        found[traps] = seen
    # the run's own model, and any whose traps the run has itself, have been asked before
    own = stated(context, ticker, bars)
    return {traps: found.get(traps, own) for traps in [*protocols.models(), frozenset[str]()]}


def stated(context: Context, ticker: str, bars: pd.DataFrame) -> Probabilities:
    """Probabilities of the run's own model, from its signals: an array (bars × 3)."""
    columns = ["probability_long", "probability_short"]
    sides = read_table(context.store, context.run, SIGNALS, ticker, columns=columns).reindex(bars.index)
    values = sides.to_numpy(dtype=np.float32, na_value=np.nan)
    return np.column_stack([1 - values.sum(axis=1), values])


def labelled(context: Context, bars: pd.DataFrame, task: Task, traps: Traps) -> pd.Series:
    """The label as a signal, 0 where there is none."""
    settings = context.config.labels
    if "label" in traps:
        settings = settings.model_copy(update=ARTICLE_LABEL)
    return labels.classes(bars, settings, task.calendar).fillna(0).round().astype("int8")


def of_an_asset(context: Context, ticker: str, whole: Stretch, task: Task, traps: Traps) -> dict[str, Any] | None:
    """What the article does with each of many assets; None where it has no bars to choose on, or to be judged on."""
    context = by_the_article(context)
    if "same_bars" in traps:
        chosen = listing(context, ticker, whole.within(task.unseen))
        return {**protocols.described(whole.within(task.unseen).bars, chosen.figures), **chosen.verdict()}
    before, after = (whole.within(task.parts[name]) for name in ("choose", "judge"))
    if not (before and after):
        return None
    chosen = listing(context, ticker, before)
    figures, _ = search.tested(context, chosen.parameters, after)
    return {**protocols.described(after.bars, figures), **chosen.verdict()}


class Listing(NamedTuple):
    """Parameters, what they came to on the bars that they were chosen on, and whether they were searched."""

    parameters: BracketParameters
    figures: Mapping[str, Any]
    listed: bool
    optimised: bool

    def verdict(self) -> dict[str, bool]:
        """The columns of ``schemas.PROTOCOLS`` that say so."""
        return {"listed": self.listed, "optimised": self.optimised}


def by_the_article(context: Context) -> Context:
    """The run with the article's orders and costs, whose search maximises the expectancy."""
    tried = context.config.search.model_copy(update={"objective": "expectancy", "policy": "stack"})
    return replace(context, config=context.config.model_copy(update={"search": tried, "costs": ARTICLE_COSTS}))


def listing(context: Context, ticker: str, stretch: Stretch) -> Listing:
    """The article's parameters on some bars; where they fail, the best of the run's search there."""
    criteria = Criteria(**context.config.protocols.model_dump())
    first, _ = search.tested(context, article.ASSET, stretch)
    if criteria.met(first):
        return Listing(article.ASSET, first, listed=True, optimised=False)
    found = search.tune(context, ticker, stretch)
    if found.chosen is None or found.parameters is None:
        return Listing(article.ASSET, first, listed=False, optimised=False)
    row = found.trials.iloc[found.chosen]
    best = {name: row[name] for name in NAMES}
    return Listing(found.parameters, best, criteria.met(best), optimised=True)


def of_the_run(context: Context, item: Item, bars: pd.DataFrame, traps: Traps) -> dict[str, Any] | None:
    """The run's own figures on the bars of the judge part; None where the ticker was not judged."""
    rows = {row["part"]: row for row in item.payload["metrics"]}
    if "judge" not in rows or bars.empty:
        return None
    if "luck" in traps:
        listed = "choose" in rows and Criteria(**context.config.protocols.model_dump()).met(rows["choose"])
    else:
        listed = item.payload["shortlisted"]
    return {**protocols.described(bars, {name: rows["judge"][name] for name in NAMES}), "listed": listed}
