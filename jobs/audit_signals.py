"""Signals made again from features that end at a cut: by the run's model, rule or clusters, as they are."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from jobs import market, pattern_fit, predict
from jobs.audit_run import Used
from jobs.pattern_signals import SIGNAL
from jobs.stage import Context, require
from jobs.train import MODEL, SCALER
from quant import audit_signals, decision, network, rules
from quant import windows as window
from quant.audit import Finding, not_applicable
from quant.bars import segments
from quant.scaling import Scaler
from quant.schemas import FEATURES, PATTERNS, SIGNALS
from quant.splits import utc
from storage import layout
from storage.errors import KeyMissing
from storage.tables import read_table

MOST = 64
"""Windows before a cut that a model looks at again, and as many more spread over all of them."""

Decide = Callable[[pd.DataFrame, pd.Timestamp, pd.DataFrame], Iterator[Finding]]
"""From features up to a cut, the first bar left out and the run's signals to findings."""
Ends = npt.NDArray[np.int64]


def decider(context: Context, made: Used, ticker: str) -> Decide | None:
    """What makes the run's signals again; None where there is nothing to make them of."""
    if made.kind == "rule":
        return partial(by_rule, context, made)
    if made.kind == "patterns" and "pattern_outcomes" in made.stages:
        sides: dict[str, str] = require(context, "pattern_outcomes").details["sides"]
        return partial(
            by_patterns, made, pattern_fit.read_model(context), {int(one): SIGNAL[side] for one, side in sides.items()}
        )
    if made.kind in ("model", "own model") and "predict" in made.stages:
        return partial(by_model, context, made, *loaded(context, made))
    return None


def loaded(context: Context, made: Used) -> tuple[Any, Scaler, int]:
    """The model and the scaler that the run's signals are from, and the bars of a window."""
    network.configure(context.config.train.threads)
    files = _files(context, made)
    (source, content), (_, scaler) = files.items()
    model = network.load(content, source=source)
    return model, Scaler.from_json(scaler.decode()), network.window_of(model, source)[0]


def by_model(
    context: Context,
    made: Used,
    model: Any,
    scaler: Scaler,
    steps: int,
    features: pd.DataFrame,
    cut: pd.Timestamp,
    stored: pd.DataFrame,
) -> Iterator[Finding]:
    """Scale the features, cut windows and predict again, by the run's model and its threshold."""
    threshold = float(made.predict["threshold"])
    given = stored[["probability_long", "probability_short"]].to_numpy(np.float32)
    yield audit_signals.decided(stored, decision.signals(np.column_stack([1 - given.sum(axis=1), given]), threshold))
    due = _due(made, features)
    chosen = _some(due)
    if not len(chosen):
        return
    rows = scaler.transform(features[list(scaler.columns)])
    complete = ~np.isnan(rows).any(axis=1)
    ends = window.ends(complete, segments(pd.DatetimeIndex(features.index), made.calendar), steps).astype(np.int64)
    ends = ends[np.isin(ends, chosen)]
    probabilities = np.full((len(features), 3), np.nan, dtype=np.float32)
    probabilities[ends] = network.predict(model, rows, ends, steps, batch=context.config.predict.batch)
    again = pd.DataFrame(
        {
            "signal": decision.signals(probabilities[chosen], threshold),
            "probability_long": probabilities[chosen, 1],
            "probability_short": probabilities[chosen, 2],
        },
        index=features.index[chosen],
    )
    # a probability right at the threshold may fall on either side of it
    tolerance = audit_signals.COARSE if made.coarse else audit_signals.TOLERANCE
    near = np.abs(probabilities[chosen, 1:].max(axis=1) - threshold) <= tolerance
    yield audit_signals.compared(stored, again[~near], cut, tolerance)


def by_rule(
    _context: Context, made: Used, features: pd.DataFrame, cut: pd.Timestamp, stored: pd.DataFrame
) -> Iterator[Finding]:
    """Let the rule decide again on every bar before the cut."""
    told = made.predict
    signal = rules.signals(
        told["rule"], features, told["features"], told["parameters"], bar=made.calendar, side=told["side"]
    )
    again = signal.iloc[_due(made, features)].to_frame()
    again["probability_long"] = again["probability_short"] = np.float32(np.nan)
    if len(again):
        yield audit_signals.compared(stored, again, cut)


def by_patterns(
    made: Used, model: Any, sides: dict[int, int], features: pd.DataFrame, cut: pd.Timestamp, stored: pd.DataFrame
) -> Iterator[Finding]:
    """Give windows to the clusters again."""
    chosen = _some(_due(made, features))
    if not len(chosen):
        return
    length, columns = model.parameters.length, list(model.scaler.columns)
    ends = pattern_fit.window_ends(features[columns], made.calendar, length)
    ends = ends[np.isin(ends, chosen)]
    codes = np.zeros(len(features), dtype=np.int8)
    if len(ends):
        found = model.join(window.cut(model.scaler.transform(features), ends, length)).labels
        codes[ends] = [sides.get(int(cluster), 0) for cluster in found]
    again = pd.DataFrame({"signal": codes[chosen]}, index=features.index[chosen])
    again["probability_long"] = again["probability_short"] = np.float32(np.nan)
    yield audit_signals.compared(stored, again, cut)


def windows(context: Context, made: Used, ticker: str, tables: dict[Any, pd.DataFrame | None]) -> Iterator[Finding]:
    """Whether any window that the run decided on spans a gap."""
    features, signals = tables[FEATURES], tables[SIGNALS]
    if features is None or signals is None or made.kind not in ("model", "own model", "patterns"):
        yield not_applicable("gaps", "the signals are not from windows")
        return
    index = pd.DatetimeIndex(features.index)
    if made.kind == "patterns":
        try:
            times = read_table(context.store, context.run, PATTERNS, ticker, columns=["cluster"]).index
        except KeyMissing:
            return
        used, steps = index.isin(times), context.config.patterns.length
    else:
        used = index.isin(signals.index[signals["probability_long"].notna()])
        columns, steps = _window(context, made)
        features = features[columns]
    complete = ~np.isnan(features.to_numpy(np.float32)).any(axis=1)
    yield audit_signals.across_gaps(_places(index, made.calendar), complete, used, steps, index)


def own(
    context: Context, made: Used, bars: pd.DataFrame, signals: pd.DataFrame, others: tuple[str, ...], ticker: str
) -> Iterator[Finding]:
    """Whether signals from a file know what they could not; others are computed again instead."""
    if made.kind != "signals":
        for check in ("own_signals", "other_ticker"):
            yield not_applicable(check, "the signals are the run's own, and computed again")
        return
    yield audit_signals.knows_the_bars(signals["signal"], bars)
    known = {}
    for other in others:
        if other != ticker:
            prices = market.bars(context, other)
            known[other] = prices["close"] / prices["open"] - 1
    seed = context.config.audit.seed
    yield audit_signals.knows_another(signals["signal"], bars, known, block=context.config.placebo.block, seed=seed)


def _window(context: Context, made: Used) -> tuple[list[str], int]:
    """Features that the model sees, and the bars of its windows."""
    if made.kind == "model":
        card = require(context, "train").details
        return list(card["features"]["columns"]), int(card["steps"])
    _, scaler, steps = loaded(context, made)
    return list(scaler.columns), steps


def _files(context: Context, made: Used) -> dict[str, bytes]:
    if urls := sorted(made.predict["files"], key=lambda url: not url.endswith(".keras")):
        config = context.config.model_copy(update={"model": urls[0], "scaler": urls[1]})
        return predict.own_files(replace(context, config=config))
    folder = partial(layout.model, context.run, str(require(context, "train").details["architecture"]))
    return {context.store.address(folder(name)): context.store.read(folder(name)) for name in (MODEL, SCALER)}


def _due(made: Used, features: pd.DataFrame) -> Ends:
    """Rows for which the run has a signal."""
    parts = made.predict["parts"]
    start, end = utc(parts["choose"][0]), utc(parts["judge"][1])
    return np.flatnonzero((features.index >= start) & (features.index < end)).astype(np.int64)


def _some(due: Ends) -> Ends:
    """The last of these rows, and as many spread over all of them."""
    if len(due) <= 2 * MOST:
        return due
    spread = due[np.linspace(0, len(due) - 1, MOST).round().astype(np.int64)]
    return np.unique(np.concatenate([spread, due[-MOST:]]))


def _places(index: pd.DatetimeIndex, calendar: market.Calendar) -> npt.NDArray[np.int64]:
    """Number of each bar in the calendar, counted here by the clock, and not by what cut the windows."""
    if isinstance(calendar, pd.Timedelta):
        return np.asarray((index - index[0]) // calendar, dtype=np.int64) if len(index) else np.zeros(0, np.int64)
    return np.asarray(calendar.unique().sort_values().searchsorted(index), dtype=np.int64)
