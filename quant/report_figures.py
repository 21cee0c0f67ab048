"""The figures behind the report's pictures and tables, computed from the frames of a run.

Everything here is plain data (numbers, text, lists): ``quant.report`` puts it into the page, where tables are
HTML and charts are drawn by the browser from compact JSON when they come into view.
"""

import math
from collections.abc import Callable, Hashable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from quant import report_words as words
from quant.shortlist import RULES, Rule

MAXIMUM_POINTS = 300
EQUITY_COLUMNS = ("strategy", "buy_and_hold", "strategy_fall", "buy_and_hold_fall")

Record = Mapping[Hashable, Any]


class Cell(NamedTuple):
    """One cell of a table: what is shown, what it sorts by (None sorts last), a small second line, a style."""

    text: str
    sort: float | str | None = None
    note: str = ""
    style: str = ""


class ClassScore(NamedTuple):
    """How well one class was predicted; NaN where it never occurred or was never predicted."""

    name: str
    precision: float
    recall: float
    f1: float
    support: int


def value_of(record: Record, column: str) -> float | None:
    """A number of a record, with every kind of null as None."""
    value = record.get(column)
    return None if value is None or pd.isna(value) else float(value)


def cell(record: Record, column: str) -> Cell:
    """The cell of a column of the shortlist, formatted by what the column means."""
    if column in ("ticker", "reason", "stage"):
        text = str(record[column])
        return Cell(text, text.lower(), style="text wide" if column == "reason" else "text")
    value = value_of(record, column)
    if column in ("judge_return", "buy_and_hold_return"):
        style = "" if column != "judge_return" or not value else "gain" if value > 0 else "loss"
        return Cell(words.percent(value, signed=True), value, style=style)
    if column == "judge_sharpe":
        low, high = value_of(record, "sharpe_low"), value_of(record, "sharpe_high")
        return Cell(words.decimal(value), value, note=words.interval(low, high))
    return Cell(_FORMATS[column](value), value)


_FORMATS = {
    "rank": words.count,
    "judge_trades": words.count,
    "choose_sharpe": words.decimal,
    "judge_sharpe": words.decimal,
    "profit_factor": words.decimal,
    "win_rate": words.percent,
    "max_drawdown": words.percent,
    "drawdown": words.percent,
    "judge_return": lambda value: words.percent(value, signed=True),
    "expectancy": lambda value: words.percent(value, signed=True, digits=2),
    "p_value": words.probability,
    "q_value": words.probability,
    "false_discovery_rate": words.probability,
    "deflated_sharpe": words.probability,
    "choose_deflated_sharpe": words.probability,
    "overfitting": words.probability,
    "effective_trials": words.decimal,
    "stability": words.decimal,
    "walk_forward_sharpe": words.decimal,
}
_CHOOSE_EVIDENCE = ("effective_trials", "choose_deflated_sharpe", "overfitting", "stability", "walk_forward_sharpe")
_RULE_TIPS = {
    "judge_trades": "trades",
    "judge_sharpe": "sharpe",
    "drawdown": "max_drawdown",
}


def with_derived(shortlist: pd.DataFrame) -> pd.DataFrame:
    """The shortlist with the figures that rules bound and that the dataset does not hold as such."""
    own, placebo, fall = (
        shortlist[name].to_numpy(dtype=np.float64, na_value=np.nan)
        for name in ("q_value", "placebo_q_value", "max_drawdown")
    )
    return shortlist.assign(false_discovery_rate=np.fmax(own, placebo), drawdown=-fall)


def listed(verdicts: pd.DataFrame) -> list[list[str]]:
    """What is said of tickers that are not shown in full: ticker, stage, reason, Sharpe ratio and return on judge."""
    return [
        [
            record["ticker"],
            record["stage"],
            record["reason"],
            words.decimal(value_of(record, "judge_sharpe")),
            words.percent(value_of(record, "judge_return"), signed=True),
        ]
        for record in verdicts.to_dict("records")
    ]


def rules_in_force(bounds: Mapping[str, float | None]) -> list[tuple[Rule, float]]:
    """The rules that are on, with their bounds."""
    return [(rule, float(bound)) for rule in RULES if (bound := bounds.get(rule.name)) is not None]


def rule_table(bounds: Mapping[str, float | None], shortlist: pd.DataFrame) -> list[dict[str, str]]:
    """The rules that are on: what each is called and explained by, what it needs, how many candidates passed it."""
    candidates = shortlist.loc[shortlist["stage"] != "choose", "passed"]
    passed = [names for listed in candidates for names in str(listed).split(", ")]
    return [
        {
            "label": rule.label[:1].upper() + rule.label[1:],
            "tip": words.GLOSSARY[_RULE_TIPS.get(rule.column, rule.column)][1],
            "needed": f"{rule.sign} {_FORMATS[rule.column](bound)}",
            "passed": f"{passed.count(rule.name):,} of {len(candidates):,}",
        }
        for rule, bound in rules_in_force(bounds)
    ]


def rule_rows(verdict: Record, bounds: Mapping[str, float | None]) -> list[list[str]] | None:
    """The figure of one ticker under each rule that is on, and passed or failed; None where it was no candidate."""
    if verdict["stage"] == "choose":
        return None
    passed, failed = (str(verdict[name]).split(", ") for name in ("passed", "failed"))
    return [
        [
            _FORMATS[rule.column](value_of(verdict, rule.column)),
            "passed" if rule.name in passed else "failed" if rule.name in failed else words.MISSING,
        ]
        for rule, _ in rules_in_force(bounds)
    ]


def evidence_rows(verdict: Record) -> list[list[str]]:
    """How much of the search's result is luck, as rows (glossary key, figure)."""
    return [[name, _FORMATS[name](value_of(verdict, name))] for name in _CHOOSE_EVIDENCE]


def thin(equity: pd.DataFrame, *columns: str) -> dict[str, list[Any]]:
    """Columns of an equity frame as at most 300 points: days as text, values rounded to 5 significant digits.

    The first and the last point always stay; a null is None, which breaks the line.
    """
    times = pd.DatetimeIndex(equity["time"] if "time" in equity.columns else equity.index)
    kept = np.unique(np.linspace(0, len(equity) - 1, min(len(equity), MAXIMUM_POINTS)).round().astype(int))
    times = times[kept]
    pattern = "%Y-%m-%d" if bool((times == times.normalize()).all()) else "%Y-%m-%d %H:%M"
    curves = {
        name: [None if np.isnan(value) else float(f"{value:.5g}") for value in equity[name].to_numpy(float)[kept]]
        for name in columns
    }
    return {"times": times.strftime(pattern).tolist(), **curves}


def falls(equity: pd.DataFrame) -> pd.DataFrame:
    """How far each column of an equity frame is below its highest value so far, the starting cash being the first."""
    return equity / equity.cummax().clip(lower=1.0) - 1


def equity_data(equity: Mapping[str, pd.DataFrame]) -> tuple[list[list[str]], dict[str, dict[str, Any]]]:
    """All equity curves with each distinct time axis kept once: (axes, ticker → axis number, curves, falls)."""
    axes: dict[tuple[str, ...], int] = {}
    curves: dict[str, dict[str, Any]] = {}
    for ticker, frame in equity.items():
        if frame.empty:
            continue
        known = frame.set_index("time") if "time" in frame.columns else frame
        below = falls(known[["strategy", "buy_and_hold"]])
        shown = thin(known.join(below.add_suffix("_fall")), *EQUITY_COLUMNS)
        axis = axes.setdefault(tuple(shown.pop("times")), len(axes))
        worst = {f"worst_{name}": words.percent(below[name].min()) for name in below}
        curves[ticker] = {"axis": axis, **shown, **worst}
    return [list(axis) for axis in axes], curves


LARGEST_MATRIX = 24  # tickers; a larger table of correlations cannot be read


def portfolio(summary: Mapping[Hashable, Any]) -> list[tuple[str, str]]:
    """Figures of all shortlisted tickers together, as (glossary key, text)."""
    forms: dict[str, tuple[str, Callable[[Any], str]]] = {
        "total_return": ("portfolio_return", lambda value: words.percent(value, signed=True)),
        "sharpe": ("sharpe", words.decimal),
        "max_drawdown": ("max_drawdown", words.percent),
        "mean_correlation": ("correlation", words.decimal),
    }
    return [(key, form(value_of(summary, name))) for name, (key, form) in forms.items() if name in summary]


def correlation_matrix(pairs: pd.DataFrame) -> list[dict[str, Any]] | None:
    """Rows of a square table of correlations; None for fewer than two tickers or too many to read."""
    names = sorted({*pairs["ticker"], *pairs["other"]})
    if not 2 <= len(names) <= LARGEST_MATRIX:
        return None
    known = {frozenset((row["ticker"], row["other"])): row["correlation"] for row in pairs.to_dict("records")}
    rows = []
    for one in names:
        values = [1.0 if one == other else float(known[frozenset((one, other))]) for other in names]
        cells = [
            {"text": words.decimal(value), "share": 0.0 if math.isnan(value) else max(value, 0.0)} for value in values
        ]
        rows.append({"name": one, "cells": cells})
    return rows


_DETAIL_ROWS = (
    ("judge_return", "total_return", lambda value: words.percent(value, signed=True)),
    ("annual_return", "annual_return", lambda value: words.percent(value, signed=True)),
    ("annual_volatility", "annual_volatility", words.percent),
    ("sharpe", "sharpe", words.decimal),
    ("sortino", "sortino", words.decimal),
    ("max_drawdown", "max_drawdown", words.percent),
    ("trades", "trades", words.count),
    ("win_rate", "win_rate", words.percent),
    ("profit_factor", "profit_factor", words.decimal),
    ("expectancy", "expectancy", lambda value: words.percent(value, signed=True, digits=2)),
    ("exposure", "exposure", words.percent),
    ("commission", "commission", words.count),
    ("funding", "funding", words.count),
    ("capacity", "capacity", words.count),
)


def detail_rows(verdict: Record, choose: Record, judge: Record) -> list[list[str]]:
    """The statistics of one ticker as rows (glossary key, on choose, on judge, buy and hold on judge)."""
    hold = {
        "judge_return": words.percent(value_of(judge, "buy_and_hold_return"), signed=True),
        "sharpe": words.decimal(value_of(judge, "buy_and_hold_sharpe")),
    }
    rows = [
        [key, form(value_of(choose, column)), form(value_of(judge, column)), hold.get(key, "")]
        for key, column, form in _DETAIL_ROWS
    ]
    low, high = value_of(verdict, "sharpe_low"), value_of(verdict, "sharpe_high")
    only_judged = [
        ("interval", words.interval(low, high) or words.MISSING),
        ("probabilistic_sharpe", words.probability(value_of(judge, "probabilistic_sharpe"))),
        ("p_value", words.probability(value_of(verdict, "p_value"))),
        ("q_value", words.probability(value_of(verdict, "q_value"))),
        ("placebo_q_value", words.probability(value_of(verdict, "placebo_q_value"))),
        ("deflated_sharpe", words.probability(value_of(verdict, "deflated_sharpe"))),
    ]
    return rows + [[key, "", text, ""] for key, text in only_judged]


def class_scores(confusion: np.ndarray) -> list[ClassScore]:
    """Precision, recall and F1 of each class from a confusion matrix (rows: what was; columns: what was predicted)."""
    hits = np.diag(confusion).astype(float)
    actual, predicted = confusion.sum(axis=1).astype(float), confusion.sum(axis=0).astype(float)
    with np.errstate(invalid="ignore"):
        precision, recall = hits / predicted, hits / actual
    f1 = 2 * hits / np.maximum(actual + predicted, 1)
    return [
        ClassScore(name, float(precision[index]), float(recall[index]), float(f1[index]), int(actual[index]))
        for index, name in enumerate(words.CLASS_NAMES)
    ]


def macro_f1(confusion: np.ndarray) -> float:
    """Mean F1 over the three classes."""
    return float(np.mean([score.f1 for score in class_scores(confusion)]))


def majority_confusion(confusion: np.ndarray) -> np.ndarray:
    """What always predicting the commonest true class would have given on the same bars."""
    actual = confusion.sum(axis=1)
    constant = np.zeros_like(confusion)
    constant[:, int(actual.argmax())] = actual
    return constant


def timeline(parts: Mapping[str, tuple[pd.Timestamp, pd.Timestamp]]) -> list[dict[str, Any]]:
    """The parts of the calendar as stretches of a bar: name, days, and place and width in percent."""
    if not parts:
        return []
    first = min(start for start, _ in parts.values())
    span = max(end for _, end in parts.values()) - first
    return [
        {
            "name": name,
            "start": start.strftime("%Y-%m-%d"),
            "end": end.strftime("%Y-%m-%d"),
            "days": words.count(round((end - start) / pd.Timedelta(days=1))),
            "left": 100 * ((start - first) / span),
            "width": 100 * ((end - start) / span),
            "purpose": words.PART_PURPOSES.get(name, ""),
        }
        for name, (start, end) in parts.items()
    ]


def label_bars(balance: pd.DataFrame) -> list[dict[str, Any]]:
    """The classes of each part as shares of its labels: part, total, and (class, count, share) in order."""
    bars = []
    for part, row in balance.iterrows():
        total = int(row[list(words.CLASS_NAMES)].sum())
        shares = [
            {"name": name, "count": words.count(row[name]), "share": row[name] / total if total else 0.0}
            for name in words.CLASS_NAMES
        ]
        bars.append({"part": str(part), "total": words.count(total), "classes": shares})
    return bars


def model_summary(confusion: np.ndarray) -> dict[str, Any]:
    """The confusion matrix with row shares, the scores of each class, and the scores of guessing beside the model's."""
    actual = confusion.sum(axis=1)
    shares = confusion / np.maximum(actual, 1)[:, None]
    frequencies = actual[actual > 0] / max(int(actual.sum()), 1)
    return {
        "matrix": [
            {
                "name": name,
                "total": words.count(actual[row]),
                "cells": [
                    {"count": words.count(confusion[row, column]), "share": float(shares[row, column])}
                    for column in range(len(words.CLASS_NAMES))
                ],
            }
            for row, name in enumerate(words.CLASS_NAMES)
        ],
        "scores": class_scores(confusion),
        "total": words.count(actual.sum()),
        "macro_f1": macro_f1(confusion),
        "baseline_macro_f1": macro_f1(majority_confusion(confusion)),
        "baseline_log_loss": float(-(frequencies * np.log(frequencies)).sum()),
    }


def promises(shortlist: pd.DataFrame) -> dict[str, list[Any]]:
    """Sharpe on choose against Sharpe on judge for every candidate that has both."""
    candidates = shortlist[shortlist["stage"] != "choose"]
    both = candidates[candidates["choose_sharpe"].notna() & candidates["judge_sharpe"].notna()]
    return {
        "ticker": both["ticker"].tolist(),
        "choose": both["choose_sharpe"].astype(float).round(3).tolist(),
        "judge": both["judge_sharpe"].astype(float).round(3).tolist(),
        "shortlisted": both["shortlisted"].astype(bool).tolist(),
    }


def plain_columns(frame: pd.DataFrame) -> dict[str, list[float | None]]:
    """The columns of a numeric frame as lists with None for nulls."""
    return {str(name): [None if pd.isna(value) else round(float(value), 5) for value in frame[name]] for name in frame}
