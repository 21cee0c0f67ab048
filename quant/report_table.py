"""The figures of the report that no other table of the run holds, as rows of ``schemas.REPORT_FIGURES``.

Whatever the page shows is in a table: what a stage found is in the tables of that stage, and what the report itself
counts or computes is here.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from quant import report_figures as figures
from quant import report_words as words
from quant.quality import KINDS
from quant.report import ReportContent, funnel, known_answer
from quant.report_audit import rows as audit_rows
from quant.report_figures import value_of
from quant.report_quality import counted_flags
from quant.schemas import REPORT_FIGURES, frame


class Figure(NamedTuple):
    """One row: the ticker is empty for the run as a whole, the text where the value is a number."""

    section: str
    name: str
    value: float | None = None
    text: str = ""
    ticker: str = ""


def table(content: ReportContent) -> pd.DataFrame:
    """Every figure of the report that no other table holds, sorted by its key."""
    parts = (_verdict, _portfolio, _calendar, _labels, _model, _patterns, _quality, _audit, _run, _tickers)
    rows = [figure._asdict() for part in parts for figure in part(content)]
    return frame(REPORT_FIGURES, rows).sort_values(list(REPORT_FIGURES.key), ignore_index=True)


def _numbers(section: str, values: Mapping[Any, Any], prefix: str = "", ticker: str = "") -> Iterator[Figure]:
    """The numbers of a mapping, nulls among them."""
    for name in values:
        yield Figure(section, f"{prefix}{name}", value_of(values, name), ticker=ticker)


def _verdict(content: ReportContent) -> Iterator[Figure]:
    known, market = known_answer(content), content.market
    yield from _numbers("verdict", funnel(content), "tickers: ")
    yield from _numbers("verdict", {"parameter sets tried a ticker": content.trials})
    yield Figure("verdict", "tickers: rejected", int((~content.shortlist["shortlisted"]).sum()))
    for stage, number in content.shortlist["stage"].value_counts().items():
        yield Figure("verdict", f"tickers: stage {stage}", int(number))
    if known is not None:
        for name, value in known.items():
            number, listed = (value, "") if isinstance(value, int) else (len(value), ", ".join(value))
            yield Figure("verdict", f"known answer: {name}", number, listed)
    for kind, entries in (market.get("placebo_entries") or {}).items():
        yield Figure("verdict", f"placebo markets: {kind}", len(entries))
        yield Figure("verdict", f"placebo entries: {kind}", sum(entries))
    summed = ("candidates", "effective_candidates", "false_entries", "superior_predictive_ability")
    yield from _numbers("verdict", {name: market.get(name) for name in summed})
    yield from _numbers("verdict", market.get("tuning_decay") or {}, "from choose to judge: ")
    shortlisted, false = int(content.shortlist["shortlisted"].sum()), market.get("false_entries")
    if shortlisted and false is not None:
        yield Figure("verdict", "false-discovery rate by placebo", min(false / shortlisted, 1.0))
    for rule, bound in figures.rules_in_force(content.rules):
        passed = content.shortlist.loc[content.shortlist["stage"] != "choose", "passed"].str.split(", ")
        yield Figure("verdict", f"rule {rule.name}: needed", bound)
        yield Figure("verdict", f"rule {rule.name}: passed", sum(rule.name in names for names in passed))


def _portfolio(content: ReportContent) -> Iterator[Figure]:
    yield from _numbers("portfolio", content.market.get("portfolio") or {})


def _calendar(content: ReportContent) -> Iterator[Figure]:
    for name, (start, end) in content.parts.items():
        yield Figure("calendar", f"{name}: start", text=str(start))
        yield Figure("calendar", f"{name}: end", text=str(end))
        yield Figure("calendar", f"{name}: days", (end - start) / pd.Timedelta(days=1))


def _labels(content: ReportContent) -> Iterator[Figure]:
    if content.label_balance is None:
        return
    for bar in content.label_balance.to_dict("index").items():
        part, counts = str(bar[0]), bar[1]
        total = sum(counts.values())
        yield Figure("labels", f"{part}: all", total)
        for name, number in counts.items():
            yield Figure("labels", f"{part}: {name}", number)
            yield Figure("labels", f"{part}: share of {name}", number / total if total else None)


def _model(content: ReportContent) -> Iterator[Figure]:
    model, comparison = content.evaluation, content.comparison
    if model is None:
        return
    yield from _confusion(model.confusion, model.part)
    if comparison is not None and (unseen := comparison.matrix()) is not None:
        yield from _confusion(unseen, "choose")
    summary = figures.model_summary(model.confusion)
    yield from _numbers(
        "model", {name: summary[name] for name in ("macro_f1", "baseline_macro_f1", "baseline_log_loss")}
    )
    yield from _numbers("model", {"log_loss": model.log_loss, "threshold": model.threshold})
    yield Figure("model", "tickers learned from", len(model.train_tickers), ", ".join(model.train_tickers))
    for row in model.history.to_dict("records"):
        yield from _numbers("model", {k: row[k] for k in row if k != "epoch"}, f"epoch {int(row['epoch'])}: ")


def _confusion(confusion: np.ndarray[Any, Any], part: str) -> Iterator[Figure]:
    """The counts and shares of a confusion matrix, and the scores of the classes."""
    for was, row in zip(words.CLASS_NAMES, confusion.tolist(), strict=True):
        yield Figure("model", f"{part}: was {was}", sum(row))
        for called, number in zip(words.CLASS_NAMES, row, strict=True):
            yield Figure("model", f"{part}: was {was}, called {called}", number)
            yield Figure("model", f"{part}: was {was}, share called {called}", number / max(sum(row), 1))
    yield Figure("model", f"{part}: windows", int(confusion.sum()))
    for score in figures.class_scores(confusion):
        yield from _numbers(
            "model", {k: v for k, v in score._asdict().items() if k != "name"}, f"{part}, {score.name}: "
        )


def _patterns(content: ReportContent) -> Iterator[Figure]:
    if content.patterns is None:
        return
    yield from _numbers("patterns", content.patterns.figures)
    sizes = content.patterns.points["cluster"].value_counts()
    yield from _numbers("patterns", {f"windows shown of cluster {cluster}": size for cluster, size in sizes.items()})
    yield Figure("patterns", "windows shown", len(content.patterns.points))


def _quality(content: ReportContent) -> Iterator[Figure]:
    if content.quality is None:
        return
    counted = counted_flags(content.quality).assign(flagged=lambda rows: rows["flags"] - rows["gap"])
    yield Figure("quality", "tickers", len(counted))
    yield Figure("quality", "failures", len(content.failures))
    yield Figure("quality", "tickers not read", int((content.failures["stage"] == "ingest").sum()))
    for name in ("rows", "gaps", "quarantined", "flagged"):
        yield Figure("quality", name, int(counted[name].sum()))
    for name in KINDS:
        yield Figure("quality", f"{name}: places", int(counted[name].sum()))
        yield Figure("quality", f"{name}: tickers", int((counted[name] > 0).sum()))
    if content.reasons is not None:
        for row in content.reasons.to_dict("records"):
            yield from _numbers("quality", {name: row[name] for name in ("rows", "tickers")}, f"{row['reason']}: ")
    for note, tickers in content.assumed.items():
        yield Figure("quality", f"assumed, {note}: tickers", len(tickers))
    for row in counted.to_dict("records"):
        numbers = {name: row[name] for name in ("rows", "gaps", "quarantined", "flags", "flagged", *KINDS)}
        yield from _numbers("quality", numbers, ticker=str(row["ticker"]))
        for name in ("first", "last"):
            yield Figure("quality", name, text=str(row[name]), ticker=str(row["ticker"]))


def _audit(content: ReportContent) -> Iterator[Figure]:
    if content.audit is None:
        return
    yield Figure("audit", "in short", text=" ".join(content.audit.sentences))
    for row in audit_rows(content.audit.findings):
        yield from _numbers("audit", row["counts"], f"{row['name']}, tickers: ")


def _run(content: ReportContent) -> Iterator[Figure]:
    yield Figure("run", "result hash", text=content.result_hash)
    yield Figure("run", "costs left out", text="; ".join(content.uncharged))
    for name, version in content.versions.items():
        yield Figure("run", f"version of {name}", text=version)


def _tickers(content: ReportContent) -> Iterator[Figure]:
    """What an opened row shows beyond the tables of its ticker."""
    for ticker, detail in content.details.items():
        found: dict[str, float] = {}
        if len(detail.equity):
            below = figures.falls(detail.equity[["strategy", "buy_and_hold"]])
            found |= {f"{name}: daily drawdown at worst": below[name].min() for name in below}
        if (around := detail.neighbourhood) is not None:
            found |= {
                "neighbours": int(around.sets["near"].sum()),
                "neighbours: median score": around.median,
                "neighbours: worst score": around.worst,
            }
        if detail.picture is not None:
            found["bars of a candle"] = detail.picture.bars
        yield from _numbers("ticker", found, ticker=ticker)
