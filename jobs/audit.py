"""Check a run for leakage: compute again with the future cut off, and hold every table against its bars.

python -m jobs.audit --config run.toml --store URL --run NAME

Features, labels, predictions and signals of some tickers are made again from bars that end earlier, begin later or
are replaced, and compared with the tables of the run; trades with the bars that they were filled in; the scaler and
the parts with what they should be. It prints a line a check (docs/audit.md) and ends with exit code 1 where there is a
leak.
"""

import importlib.metadata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pandas as pd

from jobs import audit_market, audit_signals, market
from jobs import labels as label_stage
from jobs.audit_run import Used, used
from jobs.config import RunConfig
from jobs.rates import Rate
from jobs.stage import Context, FanOut, Item, Produced, Stage, fan_out, run_stage
from quant import audit, audit_features, audit_labels, audit_trades, audit_walk, features, labels, report_audit
from quant.audit import MARKET, Finding, not_applicable
from quant.schemas import AUDIT, FEATURES, LABELS, SIGNALS, TRADES, frame
from storage.errors import KeyMissing
from storage.manifest import Manifest, read_manifest
from storage.tables import read_table

STAGE = Stage("audit", 1, ("ingest", "predict", "backtest"), (AUDIT,))
LIBRARIES = ("numpy", "pandas", "numba", "TA-Lib")


class LeakError(ValueError):
    """A run that must not go on, since it knows its own future."""


@dataclass(frozen=True)
class Task:
    """What a worker is told: what the run was made with, and the tickers that others may know of."""

    used: Used
    others: tuple[str, ...]


def run(context: Context, fan_out: FanOut = fan_out, listed: Sequence[str] | None = None) -> Manifest:
    """Bring the audit of the run up to date.

    Stages that the run has not done are said to be not applicable; a leak is no failure of the stage.

    Parameters
    ----------
    listed
        Tickers that are audited in any case; None: those that the run has shortlisted.
    """
    made = used(context)
    if listed is None:
        done = read_manifest(context.store, context.run, "shortlist")
        listed = done.details["shortlisted"] if done else ()
    rows = {ticker: float(info["rows"]) for ticker, info in market.of(context).tickers.items()}
    chosen = audit.sample(rows, context.config.audit.tickers, listed)
    return run_stage(
        context,
        replace(stage(context.config), inputs=made.stages),
        [
            Item(MARKET, rows=sum(rows.get(ticker, 0.0) for ticker in made.learned)),
            *(Item(ticker, rows=rows[ticker]) for ticker in chosen),
        ],
        produce,
        settings={
            **context.config.audit.model_dump(exclude={"gate"}),
            "tickers": chosen,
            # tables that another library made are looked at anew
            "libraries": {name: importlib.metadata.version(name) for name in LIBRARIES},
        },
        extra=Task(made, tuple(sorted({*chosen, *audit_market.leaders(rows)}))),
        fan_out=fan_out,
        details={"tickers": len(chosen), "of": len(rows), "checks": list(audit.CHECKS)},
    )


def stage(config: RunConfig) -> Stage:
    """The stage with its cost: the features of a ticker about as often as half of the cuts, and a look at the rest."""
    columns = len(features.columns(config.features.set))
    again = 0.0 if config.signals else 1.2e-8 * columns * (config.audit.cuts / 2 + 1)
    return replace(
        STAGE,
        rate=Rate(
            ticker=0.2 if config.given else 1.2,  # a network takes a second to load
            row=6e-7 + again,
            requests=8,
            read_row=50 + 4.4 * columns,
            written=4_000,
            memory=6e8 if config.given else 2.9e9,
            memory_row=400 + 40 * columns,
            start=1.0 if config.given else 10.0,
        ),
    )


def table(manifest: Manifest) -> pd.DataFrame:
    """The audit as one frame, ticker and all columns of the dataset ``audit``, by check and ticker."""
    rows = [{"ticker": ticker, **row} for ticker, info in manifest.tickers.items() for row in info["findings"]]
    found = pd.DataFrame(rows, columns=["ticker", *(column.name for column in AUDIT.columns)])
    order = {check: place for place, check in enumerate(audit.CHECKS)}
    found["first"] = pd.to_datetime(found["first"], utc=True, format="ISO8601")
    found["effect"] = found["effect"].astype("float64")
    return found.sort_values(
        ["check", "ticker"],
        key=lambda names: names.map(order.get) if names.name == "check" else names,
        ignore_index=True,
    )


def show(manifest: Manifest) -> None:
    """Print what was found, a line a check, and the sentences that go with it."""
    print(f"\naudit of {manifest.details['tickers']} of {manifest.details['of']} tickers:\n")
    print("\n".join(report_audit.lines(table(manifest))))
    for sentence in sentences(manifest):
        print(f"\n{sentence}")


def sentences(manifest: Manifest) -> list[str]:
    """What the audit comes to, in a few sentences."""
    return report_audit.sentences(table(manifest), manifest.details["of"])


def conclude(manifest: Manifest) -> int:
    """Print the audit, and return the exit code of the job: 1 where there is a leak."""
    show(manifest)
    return int(bool(len(audit.leaks(table(manifest)))))


def gate(context: Context, manifest: Manifest) -> None:
    """End the pipeline where there is a leak and ``audit.gate`` says so.

    Raises
    ------
    LeakError
        Naming the first of the leaks.
    """
    found = audit.leaks(table(manifest))
    if context.config.audit.gate == "stop" and len(found):
        first = found.iloc[0]
        raise LeakError(
            f"run '{context.run}' has {len(found)} leaks; the first, {first['check']} of {first['ticker']}: "
            f'{first["detail"]}. Mend it, or set audit.gate to "report" to see the rest of the run in spite of it.'
        )


def produce(context: Context, item: Item, task: Task) -> Produced:
    """Every finding about one ticker, or about the run as a whole."""
    found = audit_market.findings(context, task.used) if item.ticker == MARKET else list(of_ticker(context, item, task))
    rows = [one.row() for one in audit.ordered(found)]
    kept = [{**row, "first": None if row["first"] is None else row["first"].isoformat()} for row in rows]
    sorted_rows = sorted(rows, key=lambda row: str(row["check"]))
    return Produced({AUDIT: frame(AUDIT, sorted_rows)}, {"rows": len(rows), "findings": kept})


def of_ticker(context: Context, item: Item, task: Task) -> Iterator[Finding]:
    """Findings about one ticker, several of a check among them."""
    made, ticker = task.used, item.ticker
    bars = market.bars(context, ticker)
    tables = {dataset: _table(context, dataset, ticker) for dataset in (FEATURES, LABELS, SIGNALS, TRADES)}
    seed = partial(audit.seed_of, context.config.audit.seed, ticker)
    if made.feature_set and tables[FEATURES] is not None:
        yield from cut_off(context, made, bars, tables, ticker)
    else:
        why = "the signals are given: there are no features"
        yield from (not_applicable(check, why) for check in ("features_future", "features_start"))
        yield not_applicable("signals_future", "the signals are given: they cannot be computed again")
    if made.labels and tables[LABELS] is not None:
        yield from of_labels(context, made, bars, tables[LABELS], seed("labels"))
    else:
        yield not_applicable("labels", "the run has no labels")
    if made.labels and made.feature_set:
        yield audit_walk.same_bar(
            bars,
            partial(features.compute, feature_set=made.feature_set),
            partial(label_stage.classes, settings=made.labels, calendar=made.calendar),
            features.warm_up(made.feature_set),
            seed("walk"),
        )
    else:
        yield not_applicable("same_bar", "the run has no labels")
    if tables[SIGNALS] is not None:
        yield from audit_signals.windows(context, made, ticker, tables)
        yield from audit_signals.own(context, made, bars, tables[SIGNALS], task.others, ticker)
    if tables[TRADES] is not None and made.judge is not None:
        signal = tables[SIGNALS]["signal"] if tables[SIGNALS] is not None else pd.Series(dtype="int8")
        yield audit_trades.fills(tables[TRADES], bars, signal, made.judge, slippage=made.slippage)
        yield audit_trades.funding(
            ticker, tables[TRADES], charged=made.funding, missing=made.funding_missing.get(ticker, 0)
        )
    else:
        yield not_applicable("fills", "the run has no trades yet")
        yield not_applicable("funding", "the run has no trades yet")


def cut_off(
    context: Context, made: Used, bars: pd.DataFrame, tables: dict[Any, pd.DataFrame | None], ticker: str
) -> Iterator[Finding]:
    """Compute features and what follows from them again, from the bars before each cut, and from a later start."""
    settings, name = context.config.audit, str(made.feature_set)
    compute = partial(features.compute, feature_set=name)
    seed = audit.seed_of(settings.seed, ticker, "cuts")
    borders = [(part.start, part.end) for part in made.stretches]
    cuts = audit.cuts(bars, borders, settings.cuts, features.warm_up(name), seed)
    stored, signals = tables[FEATURES], tables[SIGNALS]
    decide = audit_signals.decider(context, made, ticker) if signals is not None else None
    for number, cut in enumerate(cuts):
        again = compute(bars.iloc[:cut])
        yield audit_features.future_cut(stored, again, compute, bars)
        if number == len(cuts) // 2 + 1 or len(cuts) <= 2:
            yield audit_features.moved_start(bars, cut, again, compute, features.starts(name))
        if decide and signals is not None:
            yield from decide(again.astype("float32"), bars.index[cut], signals)
    if not cuts:
        yield not_applicable("features_future", f"{len(bars)} bars are too few to cut off any")


def of_labels(context: Context, made: Used, bars: pd.DataFrame, stored: pd.DataFrame, seed: int) -> Iterator[Finding]:
    """Labels and outcomes of one ticker, made again where other bars are replaced; and whether they span a gap."""
    settings, calendar = made.labels, made.calendar
    assert settings is not None  # noqa: S101  (asked for only where there are labels)
    ways = {
        "label": partial(label_stage.classes, settings=settings, calendar=calendar),
        "outcome": partial(labels.outcome, horizon=settings.horizon, bar=calendar),
    }
    for column, way in ways.items():
        yield audit_labels.rests_on_its_horizon(
            bars,
            stored[column],
            way,
            settings.horizon,
            keeps_close=column == "label" and settings.kind == "forward_max",
            count=context.config.audit.labels,
            seed=seed,
        )
        shorter = int(column == "label" and settings.kind == "forward_max")
        yield audit_labels.across_gaps(
            pd.DatetimeIndex(bars.index), stored[column], settings.horizon - shorter, calendar
        )


def _table(context: Context, dataset: Any, ticker: str) -> pd.DataFrame | None:
    try:
        return read_table(context.store, context.run, dataset, ticker)
    except KeyMissing:
        return None


if __name__ == "__main__":
    from jobs.runner import main

    main("audit")
