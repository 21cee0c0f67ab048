"""How the protocols are told: a waterfall from the article's figure to the run's, in a table, and what it comes to."""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from quant import report_words as words
from quant.protocols import ALL, BACKTESTS, FIRST, TRAPS

LEAST = 1e-3
"""What is left of 1 in a year at the left end of the picture at least."""


@dataclass(frozen=True, eq=False)
class ProtocolContent:
    """What the protocols made of the run's assets.

    Parameters
    ----------
    steps
        ``schemas.PROTOCOL_STEPS``.
    backtests
        Rows of ``schemas.PROTOCOLS`` with a column ``ticker``: step 0 of the tickers that the model learned from.
    """

    steps: pd.DataFrame
    backtests: pd.DataFrame


def section(content: ProtocolContent) -> dict[str, Any]:
    """What the page shows: sentences, the article's backtests, and a waterfall for each ticker and for all assets."""
    scopes = sorted(content.steps["scope"].unique(), key=lambda scope: (scope == ALL, scope))
    tables = {scope: content.steps[content.steps["scope"] == scope].sort_values("step") for scope in scopes}
    return {
        "sentences": sentences(content.steps),
        "traps": TRAPS,
        "backtests": [
            {
                "ticker": row["ticker"],
                "name": BACKTESTS[row["strategy"]],
                "result": words.percent(row["total_return"], signed=True),
                "held": words.percent(row["held"], signed=True),
                "trades": words.count(row["trades"]),
                "days": f"{row['start']:%Y-%m-%d} to {row['end']:%Y-%m-%d}",
            }
            for row in sorted(content.backtests.to_dict("records"), key=lambda row: (row["ticker"], _place(row)))
        ],
        "waterfalls": [
            {"scope": scope, "of_all": scope == ALL, "rows": waterfall(table)} for scope, table in tables.items()
        ],
    }


def _place(backtest: Mapping[Hashable, Any]) -> int:
    """Place of a backtest in the article."""
    return list(BACKTESTS).index(str(backtest["strategy"]))


def sentences(steps: pd.DataFrame) -> list[str]:
    """What the article would have claimed, and what is left of it."""
    found = []
    for scope, table in steps.sort_values("step").groupby("scope"):
        first, last = table.iloc[0], table.iloc[-1]
        if scope == ALL:
            found.append(
                f"By the article's protocol {words.count(first['listed'])} of {words.count(first['tickers'])} assets "
                f"would be listed{_at(first)}; by this run's rules {words.count(last['listed'])}{_at(last)}."
            )
        else:
            found.append(
                f"On {scope} the article's protocol makes {words.percent(first['total_return'], signed=True)}, where "
                f"holding made {words.percent(first['held'], signed=True)}; on bars that nothing was chosen by, "
                f"{words.percent(last['total_return'], signed=True)} is left, where holding made "
                f"{words.percent(last['held'], signed=True)}."
            )
    return found


def _at(row: pd.Series) -> str:
    return f", with a mean return of {words.percent(row['listed_return'], signed=True)}" if row["listed"] else ""


def waterfall(steps: pd.DataFrame) -> list[dict[str, Any]]:
    """The steps of one scope in order, each with a bar from the step before to itself.

    Bars lie on a scale of what 1 becomes in a year, by its logarithm; places and widths are shares of the picture.
    """
    levels = [_level(value) for value in steps["annual_return"]]
    known = [level for level in levels if level is not None]
    low, high = min([*known, -0.05]), max([*known, 0.05])
    rows, before = [], 0.0
    for (_, row), level in zip(steps.iterrows(), levels, strict=True):
        now = before if level is None else level
        rows.append(
            {
                "name": TRAPS[row["step"] - 1].label if row["step"] else FIRST,
                "total": words.percent(row["total_return"], signed=True),
                "annual": words.percent(row["annual_return"], signed=True),
                "sharpe": words.decimal(row["sharpe"]),
                "trades": words.count(row["trades"]),
                "held": words.percent(row["held"], signed=True),
                "listed": words.count(row["listed"]),
                "listed_return": words.percent(row["listed_return"], signed=True),
                "left": (min(before, now) - low) / (high - low),
                "width": abs(now - before) / (high - low),
                "zero": -low / (high - low),
                "direction": "" if now == before else "gain" if now > before else "loss",
            }
        )
        before = now
    return rows


def _level(annual: Any) -> float | None:
    """Logarithm of what 1 becomes in a year."""
    value = np.nan if pd.isna(annual) else float(annual)
    return None if math.isnan(value) else math.log10(max(1 + value, LEAST))


def lines(content: ProtocolContent) -> Sequence[str]:
    """The same for a terminal."""
    told = section(content)
    found = ["", *words.paragraph(" ".join(told["sentences"])), "", "the article's backtests:"]
    found += [
        f"  {row['ticker']}, {row['name']}: {row['result']} in {row['trades']} trades, {row['days']} "
        f"(held: {row['held']})"
        for row in told["backtests"]
    ]
    for fall in told["waterfalls"]:
        columns = [
            "total",
            "annual",
            "sharpe",
            "trades",
            "held",
            *(["listed", "listed_return"] if fall["of_all"] else []),
        ]
        heads = ["", "return", "a year", "Sharpe", "trades", "held", "listed", "their return"]
        cells = [heads[: len(columns) + 1], *([row["name"], *(row[name] for name in columns)] for row in fall["rows"])]
        widths = [max(len(row[place]) for row in cells) for place in range(len(columns) + 1)]
        found += ["", f"{fall['scope']}, one trap removed at a time:", ""]
        found += [
            "  "
            + row[0].ljust(widths[0])
            + "".join(f"  {cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True))
            for row in cells
        ]
    return found
