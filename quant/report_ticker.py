"""What an opened row of the report shows of one ticker, packed until it is opened."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from quant import report_figures as figures
from quant import report_parameters as parameters
from quant import report_words as words
from quant.report_assets import packed_json
from quant.report_candles import Picture, compact
from quant.report_figures import Record, value_of
from quant.report_parameters import Neighbourhood
from quant.schemas import EQUITY, FOLDS, frame

Records = Mapping[Hashable, Record]


@dataclass(frozen=True, kw_only=True, eq=False)
class Detail:
    """Tables of one ticker.

    Parameters
    ----------
    equity
        ``schemas.EQUITY``, indexed by time or with a column ``time``.
    folds
        ``schemas.FOLDS``.
    neighbourhood
        None where no set was chosen, or nothing but it was tried.
    picture
        None where the page has no candles of the ticker.
    """

    equity: pd.DataFrame = field(default_factory=lambda: frame(EQUITY, []))
    folds: pd.DataFrame = field(default_factory=lambda: frame(FOLDS, []))
    neighbourhood: Neighbourhood | None = None
    picture: Picture | None = None


def packed(
    table: pd.DataFrame,
    metrics: pd.DataFrame,
    chosen: pd.DataFrame | None,
    rules: Mapping[str, float | None],
    details: Mapping[str, Detail],
    objective: str,
) -> tuple[list[list[str]], dict[str, str]]:
    """All that the opened rows of some tickers show: the time axes that equity curves share, and ticker → packed JSON.

    Parameters
    ----------
    table
        The verdicts on these tickers.
    metrics, chosen
        ``schemas.METRICS`` and ``schemas.PARAMETERS`` of all tickers, with a column ``ticker``.
    rules
        Rule of the shortlist → its bound.
    objective
        What the search maximised.
    """
    names = table["ticker"].tolist()
    axes, curves = figures.equity_data({name: details[name].equity for name in names if name in details})
    figures_of = {(row["ticker"], row["part"]): row for row in _of(metrics, table)}
    nothing = Detail()
    sets = {} if chosen is None else {row["ticker"]: row for row in _of(chosen, table)}
    return axes, {
        record["ticker"]: packed_json(
            {
                "reason": record["reason"],
                "statistics": figures.detail_rows(
                    record,
                    figures_of.get((record["ticker"], "choose"), {}),
                    figures_of.get((record["ticker"], "judge"), {}),
                ),
                "rules": figures.rule_rows(record, rules),
                "evidence": figures.evidence_rows(record),
                "parameters": parameters.parameter_rows(sets[record["ticker"]]) if record["ticker"] in sets else None,
                "equity": curves.get(record["ticker"]),
                **_of_tables(details.get(record["ticker"], nothing), objective),
            }
        )
        for record in table.to_dict("records")
    }


def fold_rows(folds: pd.DataFrame, objective: str) -> list[list[Any]]:
    """The folds as rows: tested on, tuned from, the chosen set (below: its score there), return (trades), Sharpe."""
    form = words.OBJECTIVES[objective][1]
    return [
        [
            [words.day(row["test_start"]), f"to {words.day(row['test_end'])}"],
            words.day(row["tune_start"]),
            [words.count(value_of(row, "trial")), form(value_of(row, "score"))],
            [
                words.percent(value_of(row, "total_return"), signed=True),
                words.quantity(int(row["trades"]), "trade", "trades"),
            ],
            words.decimal(value_of(row, "sharpe")),
        ]
        for row in folds.to_dict("records")
    ]


def _of_tables(detail: Detail, objective: str) -> dict[str, Any]:
    around = detail.neighbourhood
    return {
        "folds": fold_rows(detail.folds, objective),
        "neighbourhood": None if around is None else parameters.shown(around, objective),
        "picture": None if detail.picture is None else compact(detail.picture),
    }


def _of(table: pd.DataFrame, wanted: pd.DataFrame) -> list[dict[Hashable, Any]]:
    """The rows of a frame that are of the tickers of a table."""
    return table[table["ticker"].isin(wanted["ticker"])].to_dict("records") if len(table) else []
