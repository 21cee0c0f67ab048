"""The report for a terminal: the same verdict and what speaks for it, in lines of text."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from quant import report_evaluation, report_protocols, report_quality
from quant import report_words as words
from quant.report import ReportContent, funnel, known_answer, unread

NOTHING = "none: no evidence that the strategy works on any of them, which is a good answer to have"


def lines(content: ReportContent) -> list[str]:
    """The verdict, how it came about, and what to know of model, data and leakage; a paragraph each."""
    verdicts = content.shortlist
    shown = verdicts[verdicts["shortlisted"]]
    found = ["", f"{len(shown)} of {len(verdicts)} tickers hold up on the judge part:", ""]
    found += shortlist(shown).splitlines() if len(shown) else [f"  {NOTHING}"]
    steps = [f"{count:,} {name.partition(':')[0].lower()}" for name, count in funnel(content).items()]
    found += ["", *words.paragraph(f"selection: {', '.join(steps)}.")]
    found += ["", *words.paragraph(f"luck: {words.placebo_sentence(content.market, len(shown))}")]
    rejected = verdicts[~verdicts["shortlisted"]]
    found += ["", "rejected:"] if len(rejected) else []
    for stage, group in rejected.groupby("stage"):
        one = group.iloc[0]
        reason = one["reason"].removeprefix(f"rejected on {stage}: ")
        found += words.paragraph(f"  {len(group):>4} on {stage}, for example {one['ticker']}: {reason}")
    told = {
        "known answer": known(content),
        "model": model(content),
        "data": [] if content.quality is None else [report_quality.told(content.quality, unread(content))],
        "audit": [] if content.audit is None else content.audit.sentences,
        "the article": [] if content.protocols is None else report_protocols.sentences(content.protocols.steps),
    }
    for name, sentences in told.items():
        found += ["", *words.paragraph(f"{name}: {' '.join(sentences)}")] if sentences else []
    return found


def known(content: ReportContent) -> list[str]:
    """On the demo market, whether the verdict is right."""
    answer = known_answer(content)
    if answer is None:
        return []
    return [
        f"{answer['planted']} tickers hold a pattern: {answer['found']} of them were found, and {len(answer['false'])} "
        "others let through."
    ]


def model(content: ReportContent) -> list[str]:
    """How the model did beside simple ones, where it was compared."""
    if content.comparison is None:
        return []
    statistics = content.comparison.statistics
    return [
        said for name in ("macro_f1", "log_loss_at_shares") if (said := report_evaluation.sentence(statistics, name))
    ]


def shortlist(verdicts: pd.DataFrame) -> str:
    """The shortlisted tickers as a table."""
    percent, plain, tiny = "{:+.1%}".format, "{:.2f}".format, "{:.2g}".format
    columns: dict[str, tuple[str, Callable[[Any], str]]] = {
        "ticker": ("ticker", str),
        "judge_return": ("return", percent),
        "buy_and_hold_return": ("held", percent),
        "judge_sharpe": ("Sharpe", plain),
        "deflated_sharpe": ("deflated", "{:.3f}".format),
        "judge_trades": ("trades", "{:.0f}".format),
        "win_rate": ("wins", "{:.0%}".format),
        "max_drawdown": ("drawdown", percent),
        "p_value": ("p", tiny),
        "false_discovery_rate": ("FDR", tiny),
    }
    rates = np.fmax(verdicts["q_value"], verdicts["placebo_q_value"])
    shown = verdicts.assign(false_discovery_rate=rates)[list(columns)]
    shown.columns = [name for name, _ in columns.values()]
    return str(shown.to_string(formatters=dict(columns.values()), index=False))
