"""How the audit is told: a row a check with its worst ticker, and what it means in sentences."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from quant.audit import CHECKS, MARKET, WORST_FIRST

HEADER = ("check", "verdict", "worst ticker", "column", "first bar", "effect")
NAMES = {
    "features_future": "features with the future cut off",
    "features_start": "features with the start moved",
    "labels": "labels rest on their horizon",
    "signals_future": "signals with the future cut off",
    "gaps": "windows and labels across gaps",
    "scaler": "scaler fitted on fit alone",
    "parts": "parts a horizon apart",
    "fills": "fills after decisions",
    "same_bar": "same-bar information",
    "own_signals": "own signals and bars to come",
    "other_ticker": "another ticker's next bar",
    "universe": "tickers that ended",
    "funding": "funding charged",
}
SAYS = {"leak": "LEAK", "warning": "warning", "passed": "passed", "not applicable": "not applicable"}


def rows(audit: pd.DataFrame) -> list[dict[str, Any]]:
    """One row a check: its verdict is the gravest of its tickers', told of the ticker with the largest effect.

    Parameters
    ----------
    audit
        ``ticker`` and the columns of the dataset ``audit``, a row a check and ticker.

    Returns
    -------
    Rows with check, name, meaning, verdict, ticker (empty for the run as a whole), column, first (text), effect (text),
    detail, and counts: tickers that were found passed, warned of, leaking, not applicable.
    """
    found = []
    for check, meaning in CHECKS.items():
        mine = audit[audit["check"] == check]
        if mine.empty:
            continue
        counts: dict[str, int] = {verdict: int((mine["verdict"] == verdict).sum()) for verdict in WORST_FIRST}
        verdict = next(one for one in WORST_FIRST if counts[one])
        gravest = mine[mine["verdict"] == verdict]
        effects = gravest["effect"].to_numpy(np.float64, na_value=np.nan)
        one = gravest.iloc[int(np.argmax(np.nan_to_num(effects, nan=-1.0)))]
        told = verdict in ("leak", "warning")
        found.append(
            {
                "check": check,
                "name": NAMES[check],
                "meaning": meaning,
                "verdict": verdict,
                "ticker": "" if one["ticker"] == MARKET or not told else str(one["ticker"]),
                "column": str(one["column"]) if told else "",
                "first": f"{one['first']:%Y-%m-%d %H:%M}" if told and pd.notna(one["first"]) else "",
                "effect": f"{one['effect']:.3g} {one['unit']}".strip() if told and pd.notna(one["effect"]) else "",
                "detail": _detail(str(one["detail"]), verdict, counts, meaning),
                "counts": counts,
            }
        )
    return found


def sentences(audit: pd.DataFrame, tickers: int) -> list[str]:
    """What the audit comes to, in a few sentences: the verdict, what was warned of, and what was not looked at.

    Parameters
    ----------
    tickers
        Of the run, audited or not.
    """
    told = rows(audit)
    audited = audit.loc[audit["ticker"] != MARKET, "ticker"].nunique()
    leaking = [row for row in told if row["verdict"] == "leak"]
    warned = [row for row in told if row["verdict"] == "warning"]
    skipped = [row for row in told if row["verdict"] == "not applicable"]
    made = len(told) - len(skipped)
    if leaking:
        where = _listed(row["name"] for row in leaking)
        first = f"{len(leaking)} of {made} checks found a leak: {where}. No figure of this run can be believed."
    else:
        first = f"No leak was found by {made} checks on {audited} of {tickers} tickers."
    found = [first]
    if warned:
        found.append(f"Read the warnings on: {_listed(row['name'] for row in warned)}.")
    rest = [f"{tickers - audited} tickers were not looked at"] if tickers > audited else []
    if skipped:
        rest.append(f"not applicable here: {_listed(row['name'] for row in skipped)}")
    if rest:
        text = "; ".join(rest)
        found.append(f"{text[0].upper()}{text[1:]}.")
    return found


def lines(audit: pd.DataFrame) -> list[str]:
    """The rows as a table for a terminal, and below it what each leak and each warning means."""
    told = rows(audit)
    table = [
        (row["name"], SAYS[row["verdict"]], row["ticker"], row["column"], row["first"], row["effect"]) for row in told
    ]
    cells = [HEADER, *table]
    widths = [max(len(row[place]) for row in cells) for place in range(len(HEADER))]
    found = [
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells
    ]
    for verdict in ("leak", "warning"):
        found += [f"\n{SAYS[verdict]}: {row['name']}: {row['detail']}." for row in told if row["verdict"] == verdict]
    return found


def _detail(detail: str, verdict: str, counts: dict[str, int], meaning: str) -> str:
    several = sum(counts.values()) > 1
    if verdict == "passed":
        return f"{meaning} ({counts['passed']} tickers)" if several else meaning
    if verdict == "not applicable":
        return detail
    return f"{detail} ({counts[verdict]} of {sum(counts.values())} tickers)" if several else detail


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)
