"""What the audit asks of a run as a whole: its parts, its scaler, and which tickers it judges."""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pandas as pd

from jobs import market
from jobs.audit_run import Used
from jobs.stage import Context, require
from jobs.train import SCALER
from quant import audit_parts
from quant.audit import Finding, not_applicable, seed_of
from quant.scaling import Scaler
from quant.schemas import FEATURES, LANDMARKS
from storage import layout
from storage.tables import read_table

Rows = npt.NDArray[np.float32]
Codes = npt.NDArray[np.int8]


def findings(context: Context, made: Used) -> list[Finding]:
    """Every finding about the run as a whole."""
    return [parts(made), scaler(context, made), universe(context, made)]


def parts(made: Used) -> Finding:
    """Whether the parts that the stages used keep their distance."""
    horizon = made.labels.horizon if made.labels else 0
    return audit_parts.apart(made.parts, made.calendar, horizon)


def scaler(context: Context, made: Used) -> Finding:
    """Whether the run's scaler saw rows of the fit part alone."""
    if made.kind == "patterns" and "pattern_fit" in made.stages:
        return landmarks(context, made)
    if made.kind == "own model":
        return not_applicable("scaler", "the scaler is one's own: on which rows it was fitted is not known here")
    if made.adopted:
        return not_applicable("scaler", "the scaler is that of the run that is judged again: audit that one")
    if "train" not in made.stages:
        return not_applicable("scaler", "no model is trained")
    card = require(context, "train").details
    key = layout.model(context.run, str(card["architecture"]), SCALER)
    stored = Scaler.from_json(context.store.read(key).decode())
    spans = made.parts
    if missing := [name for name in ("fit", "validate") if name not in {part.name for part in spans}]:
        return not_applicable("scaler", f"the run has no part {missing[0]}")
    known = require(context, "features").tickers
    learned = [ticker for ticker in made.learned if ticker in known]
    count = sum(float(known[ticker]["rows"]) for ticker in learned)
    at_most = int(context.config.train.memory * 1e9 // max(1.0, 4 * count))
    wanted = min(len(stored.columns), context.config.audit.columns, max(1, at_most))
    generator = np.random.default_rng(seed_of(context.config.audit.seed, "all", "columns"))
    columns = [stored.columns[place] for place in sorted(generator.permutation(len(stored.columns))[:wanted])]
    pieces = [_rows(context, made, ticker, columns) for ticker in learned]
    if not pieces:
        return not_applicable("scaler", "the tickers that were learned from have no features any more")
    rows, codes = (np.concatenate(arrays) for arrays in zip(*pieces, strict=True))
    return audit_parts.scaler(stored, rows, codes, spans, columns)


def landmarks(context: Context, made: Used) -> Finding:
    """Whether the windows that patterns and their scaler were fitted on all lie in the fit part."""
    times = pd.DatetimeIndex(read_table(context.store, context.run, LANDMARKS, columns=["time"])["time"])
    fit = made.parts[0]
    outside = times[~fit.rows(times)]
    if not len(outside):
        return Finding("scaler", "passed", f"{len(times)} fitted windows lie in {fit.name}")
    return Finding(
        "scaler",
        "leak",
        f"{len(outside)} of {len(times)} windows that scaler, plane and clusters were fitted on lie outside {fit.name}",
        "landmarks",
        outside.min(),
        len(outside) / len(times),
        "share of windows",
    )


def universe(context: Context, made: Used) -> Finding:
    """Whether tickers that ended are among those of the run."""
    ingested = market.of(context)
    spans = {
        ticker: (pd.Timestamp(info["first"]), pd.Timestamp(info["last"])) for ticker, info in ingested.tickers.items()
    }
    return audit_parts.universe(spans, made.parts[0].start, made.parts[-1].end)


def _rows(context: Context, made: Used, ticker: str, columns: list[str]) -> tuple[Rows, Codes]:
    """Complete rows of a ticker in some columns, and which part each is in."""
    table = read_table(context.store, context.run, FEATURES, ticker)
    complete = ~np.isnan(table.to_numpy(np.float32)).any(axis=1)
    index = pd.DatetimeIndex(table.index)
    codes = np.full(len(table), audit_parts.OUTSIDE, dtype=np.int8)
    for number, part in enumerate(made.parts):
        codes[part.rows(index)] = number
    return table[columns].to_numpy(np.float32)[complete], codes[complete]


def leaders(tickers: Iterable[str]) -> list[str]:
    """Tickers that a market is said to follow."""
    return [ticker for ticker in tickers if ticker.partition(":")[2].startswith(("BTCUSD", "ETHUSD"))]
