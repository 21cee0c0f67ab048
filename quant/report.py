"""The report of a run: one HTML page that opens alone, from the frames of the run.

The page makes no request: style, script, the plot library and the data are inside it, and its content security
policy forbids the browser to fetch anything or to run any other script. Text from outside (tickers, messages,
config) is escaped by the template or embedded as JSON that cannot end its own element.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from quant import (
    report_audit,
    report_evaluation,
    report_patterns,
    report_protocols,
    report_quality,
    report_ticker,
)
from quant import report_figures as figures
from quant import report_words as words
from quant.report_assets import ReportError as ReportError
from quant.report_assets import asset, environment, require, shell
from quant.report_evaluation import Comparison
from quant.report_patterns import PatternContent
from quant.report_protocols import ProtocolContent
from quant.report_ticker import Detail
from quant.schemas import EVALUATION, EVALUATION_CURVES, EVALUATION_GROUPS, FAILURES, METRICS, SHORTLIST
from quant.shortlist import RULES

DETAILED = 500
"""Tickers that a page shows in full by default; beyond that it would take a browser longer to open than to read."""
HISTORY_COLUMNS = ("epoch", "loss", "validation_loss", "macro_f1")

SHORTLISTED_COLUMNS = {
    "rank": "Rank",
    "judge_return": "Return",
    "buy_and_hold_return": "Buy and hold",
    "judge_sharpe": "Sharpe, 90% interval",
    "deflated_sharpe": "Deflated Sharpe",
    "false_discovery_rate": "False-discovery rate",
    "judge_trades": "Trades",
    "win_rate": "Win rate",
    "profit_factor": "Profit factor",
    "max_drawdown": "Max drawdown",
}
REJECTED_COLUMNS = {
    "stage": "Stopped at",
    "reason": "Why",
    "choose_sharpe": "Sharpe on choose",
    "judge_sharpe": "Sharpe on judge",
    "deflated_sharpe": "Deflated Sharpe",
    "false_discovery_rate": "False-discovery rate",
    "judge_return": "Return",
    "buy_and_hold_return": "Buy and hold",
    "judge_trades": "Trades",
}
_PARTS_OF_A_COMPARISON = {
    "evaluation": "statistics",
    "evaluation_curves": "curves",
    "evaluation_groups": "groups",
}
_TIPS = {"judge_sharpe": "sharpe", "judge_trades": "trades"}
_SMALLEST_FIRST = ("rank", "ticker", "stage", "reason", "false_discovery_rate")


@dataclass(frozen=True, kw_only=True)
class ModelEvaluation:
    """How the model did on bars that its weights were not fitted on, and how it learned.

    Parameters
    ----------
    confusion
        3 × 3 counts of windows: row = true class, column = predicted class, in the order 0 neutral, 1 long, 2 short.
    part
        The part of the calendar the counts come from.
    log_loss
        Mean negative log-probability of the true class, in nats.
    threshold
        Least probability at which the model's opinion becomes a signal.
    train_tickers
        Tickers the model learned from.
    history
        One row an epoch: epoch, loss, validation_loss, macro_f1 (nulls allowed).
    """

    confusion: np.ndarray[Any, Any]
    history: pd.DataFrame
    train_tickers: tuple[str, ...]
    log_loss: float | None = None
    threshold: float | None = None
    part: str = "validate"


@dataclass(frozen=True, eq=False)
class Audit:
    """What the audit of a run found: ``ticker`` and ``schemas.AUDIT``, and what it comes to in sentences."""

    findings: pd.DataFrame
    sentences: Sequence[str]

    @property
    def leaking(self) -> bool:
        """Whether there is a leak, so that no figure can be believed."""
        return bool((self.findings["verdict"] == "leak").any())


@dataclass(frozen=True, kw_only=True)
class ReportContent:
    """Everything that a report shows; what a run does not have stays None and says so on the page.

    Parameters
    ----------
    run, created, command, config, versions, result_hash
        Name of the run, when the report was made (as shown), the command that makes it again, the resolved
        configuration as text, component → version, and the hash over the run's tables.
    parts
        Part → (start, end), half-open, in time order.
    shortlist
        ``schemas.SHORTLIST``: every ticker with its verdict, best first.
    metrics
        ``schemas.METRICS`` of all tickers with a column ``ticker``; a frame of no rows needs no columns.
    details
        Ticker → its tables; tickers may be missing, and those beyond the first ``detailed`` of the shortlist are not
        shown.
    bar
        Length of a bar, as shown.
    objective
        What the search maximised (``report_words.OBJECTIVES``).
    trials
        Parameter sets tried a ticker.
    rules
        Rule of the shortlist → its bound (see ``quant.shortlist.RULES``); None or no entry for one that is off.
    market
        What can be said of all candidates together: candidates, effective_candidates, placebo_entries, false_entries,
        superior_predictive_ability and tuning_decay, as in the manifest of the shortlist; any may be null or missing.
    portfolio, correlations
        ``schemas.PORTFOLIO`` indexed by time (or with a column ``time``) and ``schemas.CORRELATIONS`` of the
        shortlisted tickers; their figures are ``market["portfolio"]``.
    uncharged
        Costs that trading would have had and that were left out, in words.
    failures
        ``schemas.FAILURES``.
    parameters
        Chosen parameters: ``schemas.PARAMETERS`` with a column ``ticker``.
    label_balance
        Counts of labels: indexed by part, columns neutral, long, short.
    evaluation
        None where the signals came from a file, a rule or clusters.
    rule
        The rule that the signals are from, with its parameters, in words.
    clusters_traded
        Whether the signals are those of clusters of patterns.
    comparison
        The model beside simple ones out of sample; None where the run has no such evaluation.
    tuning
        ``schemas.TUNING``; None where the hyperparameters were not tuned.
    quality
        A row a ticker: ticker, rows, first, last, gaps, quarantined, and a number for each kind of flag
        (``quant.quality.KINDS``), which may be missing.
    reasons
        Why rows were set aside: a row a reason with reason, rows, tickers; None where none was.
    assumed
        What was assumed while reading, a sentence each → the tickers that it holds for.
    flags
        Ticker → ``schemas.QUALITY`` of those with the most (``quant.report_quality.worst``), which are drawn.
    audit
        What was checked for leakage; None where nothing was.
    planted
        Demo market only: the tickers that truly hold a pattern.
    protocols
        What the article's protocol would have claimed, and what each of its traps is worth; None where that was not
        tried.
    patterns
        Clusters of windows and what followed them; None where none were made.
    """

    run: str
    created: str
    command: str
    config: str
    versions: Mapping[str, str]
    result_hash: str
    parts: Mapping[str, tuple[pd.Timestamp, pd.Timestamp]]
    shortlist: pd.DataFrame
    metrics: pd.DataFrame
    details: Mapping[str, Detail]
    bar: str
    objective: str
    trials: int
    rules: Mapping[str, float | None]
    market: Mapping[str, Any]
    portfolio: pd.DataFrame
    correlations: pd.DataFrame
    uncharged: tuple[str, ...]
    failures: pd.DataFrame
    parameters: pd.DataFrame | None = None
    label_balance: pd.DataFrame | None = None
    evaluation: ModelEvaluation | None = None
    rule: str | None = None
    clusters_traded: bool = False
    comparison: Comparison | None = None
    tuning: pd.DataFrame | None = None
    quality: pd.DataFrame | None = None
    reasons: pd.DataFrame | None = None
    assumed: Mapping[str, Sequence[str]] = field(default_factory=dict)
    flags: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    audit: Audit | None = None
    planted: frozenset[str] | None = None
    protocols: ProtocolContent | None = None
    patterns: PatternContent | None = None


def render(content: ReportContent, *, detailed: int = DETAILED) -> str:
    """Return the report as one HTML page.

    It is about 2 MB, 3 kB for each ticker that is shown in full, 16 kB more where it has candles, and 0.2 kB for each
    that is only listed.

    Parameters
    ----------
    detailed
        Tickers shown in full, the best by rank; of the others the page has the verdict and its reason.

    Raises
    ------
    ReportError
        If a frame lacks a column, a ticker has more than one verdict, a rule is unknown, or the confusion matrix is
        not 3 × 3.
    """
    _check(content)
    table = figures.with_derived(content.shortlist).sort_values("rank")
    best, others = table.head(detailed), table.iloc[detailed:]
    unseen = None if content.comparison is None else content.comparison.matrix()
    rules = figures.rule_table(content.rules, table)
    patterns = None if content.patterns is None else report_patterns.section(content.patterns)
    data = _data(content, best) | {"rules": rules, "others": figures.listed(others)}
    style, script = report_patterns.page() if patterns else (asset("page.css"), asset("page.js"))
    template = environment().get_template("page.html.jinja")
    return template.render(
        content=content,
        words=words,
        **shell(style + asset("opened.css"), script + asset("opened.js")),
        data=data | ({"patterns": patterns["data"]} if patterns else {}),
        patterns=patterns,
        detailed=detailed,
        others=len(others),
        **_verdict(content),
        funnel=_funnel_bars(content),
        rules=rules,
        placebos=words.placebo_sentence(content.market, int(table["shortlisted"].sum())),
        together=words.candidates_sentence(content.market),
        decay=words.decay_sentence(content.market),
        shortlisted=_table(content, best[best["shortlisted"]], SHORTLISTED_COLUMNS),
        portfolio=figures.portfolio(content.market.get("portfolio") or {}),
        correlations=figures.correlation_matrix(content.correlations),
        rejected=_table(content, best[~best["shortlisted"]], REJECTED_COLUMNS),
        timeline=figures.timeline(content.parts),
        labels=None if content.label_balance is None else figures.label_bars(content.label_balance),
        model=None if content.evaluation is None else figures.model_summary(content.evaluation.confusion),
        compared=None
        if content.comparison is None
        else report_evaluation.summary(content.comparison, content.planted or frozenset()),
        unseen=None if unseen is None else figures.model_summary(unseen),
        tuned=[] if content.tuning is None else report_evaluation.trials(content.tuning),
        audit=None if content.audit is None else report_audit.rows(content.audit.findings),
        protocols=None if content.protocols is None else report_protocols.section(content.protocols),
        quality=None if content.quality is None else _quality(content, content.quality, detailed),
        failures=content.failures.head(detailed).to_dict("records"),
    )


def _check(content: ReportContent) -> None:
    names = {dataset: tuple(column.name for column in dataset.columns) for dataset in (SHORTLIST, FAILURES, METRICS)}
    require("shortlist", content.shortlist, names[SHORTLIST])
    require("failures", content.failures, names[FAILURES])
    if len(content.metrics):
        require("metrics", content.metrics, ("ticker", *names[METRICS]))
    if content.label_balance is not None:
        require("label_balance", content.label_balance, words.CLASS_NAMES)
    if content.quality is not None:
        report_quality.check(content.quality, _reasons(content), content.flags)
    if content.evaluation is not None:
        require("evaluation.history", content.evaluation.history, HISTORY_COLUMNS)
        if content.evaluation.confusion.shape != (3, 3):
            raise ReportError(
                f"evaluation.confusion has the shape {content.evaluation.confusion.shape}; allowed: (3, 3)"
            )
    if content.comparison is not None:
        for dataset in (EVALUATION, EVALUATION_CURVES, EVALUATION_GROUPS):
            given = getattr(content.comparison, _PARTS_OF_A_COMPARISON[dataset.name])
            require(f"comparison of {dataset.name}", given, tuple(column.name for column in dataset.columns))
    if content.objective not in words.OBJECTIVES:
        raise ReportError(f"objective is {content.objective!r}; allowed: {', '.join(words.OBJECTIVES)}")
    unknown = set(content.rules) - {rule.name for rule in RULES}
    if unknown:
        raise ReportError(f"there is no rule {min(unknown)!r}; allowed: {', '.join(rule.name for rule in RULES)}")
    repeated = content.shortlist["ticker"][content.shortlist["ticker"].duplicated()]
    if len(repeated):
        raise ReportError(f"the shortlist holds {repeated.iloc[0]!r} more than once; allowed: one verdict a ticker")


def _verdict(content: ReportContent) -> dict[str, Any]:
    """The verdict in a sentence, what it means, and on the demo market whether it is right."""
    table = content.shortlist
    passed, total = table.loc[table["shortlisted"], "ticker"].tolist(), len(table)
    tickers = f"{total:,} ticker{'' if total == 1 else 's'}"
    if passed:
        verdict = f"{len(passed)} of {tickers} {'holds' if len(passed) == 1 else 'hold'} up"
    else:
        verdict = f"Nothing holds up: none of {tickers}"
    return {
        "verdict": verdict,
        "passed": words.listing(passed),
        "passed_count": len(passed),
        "known_answer": known_answer(content),
    }


def known_answer(content: ReportContent) -> dict[str, Any] | None:
    """Demo market only: how many tickers hold a pattern, how many were found, and which were mistaken."""
    if content.planted is None:
        return None
    passed = set(content.shortlist.loc[content.shortlist["shortlisted"], "ticker"])
    return {
        "planted": len(content.planted),
        "found": len(content.planted & passed),
        "missed": sorted(content.planted - passed),
        "false": sorted(passed - content.planted),
    }


def funnel(content: ReportContent) -> dict[str, int]:
    """How many tickers passed each step of the selection."""
    table, metrics = content.shortlist, content.metrics.to_dict("records")
    traded = [row["ticker"] for row in metrics if row["part"] == "choose" and row["trades"] > 0]
    failed = set(content.failures["ticker"]) - set(table["ticker"])
    return {
        "Tickers in the run": len(table) + len(failed),
        "Processed without failure": len(table),
        "Traded on the choose part": int(table["ticker"].isin(traded).sum()),
        "Candidates: positive on choose": int(table["stage"].isin(["judge", "shortlisted"]).sum()),
        "Shortlisted: passed every rule": int(table["shortlisted"].sum()),
    }


def _funnel_bars(content: ReportContent) -> list[dict[str, Any]]:
    steps = funnel(content)
    whole = max(*steps.values(), 1)
    return [{"label": label, "count": words.count(number), "share": number / whole} for label, number in steps.items()]


def _table(content: ReportContent, rows: pd.DataFrame, columns: Mapping[str, str]) -> dict[str, Any]:
    """A sortable table: headers, rows of cells, and how many rows stopped at each stage."""
    planted = content.planted or frozenset()
    headers = [
        {
            "label": label,
            "tip": words.GLOSSARY.get(_TIPS.get(column, column), ("", ""))[1],
            "first": "ascending" if column in _SMALLEST_FIRST else "descending",
            "kind": "text" if column in ("stage", "reason") else "number",
        }
        for column, label in columns.items()
    ]
    return {
        "headers": headers,
        "rows": [
            {
                "ticker": record["ticker"],
                "planted": record["ticker"] in planted,
                "stage": record["stage"],
                "cells": [figures.cell(record, column) for column in columns],
            }
            for record in rows.to_dict("records")
        ],
        "stages": {str(stage): int(number) for stage, number in rows["stage"].value_counts(sort=False).items()},
    }


def _data(content: ReportContent, table: pd.DataFrame) -> dict[str, Any]:
    """What the script draws and opens: all numbers of the charts, all texts of the rows of these tickers."""
    axes, tickers = report_ticker.packed(
        table, content.metrics, content.parameters, content.rules, content.details, content.objective
    )
    return {
        "axes": axes,
        "tickers": tickers,
        "bar": content.bar,
        "objective": words.OBJECTIVES[content.objective][0],
        "glossary": words.GLOSSARY,
        "portfolio": figures.thin(content.portfolio, "equity", "drawdown"),
        "promises": figures.promises(content.shortlist),
        "evaluation": None if content.comparison is None else report_evaluation.data(content.comparison),
        "history": None if content.evaluation is None else figures.plain_columns(content.evaluation.history),
    }


def _quality(content: ReportContent, quality: pd.DataFrame, detailed: int) -> dict[str, Any]:
    """The section of the data."""
    return report_quality.section(
        quality, _reasons(content), content.flags, content.parts, unread(content), detailed, content.assumed
    )


def unread(content: ReportContent) -> int:
    """How many tickers could not be read."""
    return int((content.failures["stage"] == "ingest").sum())


def _reasons(content: ReportContent) -> pd.DataFrame:
    """Why rows were set aside, if any were."""
    return pd.DataFrame(columns=list(report_quality.REASON_COLUMNS)) if content.reasons is None else content.reasons
