"""Verdicts by hand, and the error rate that they promise."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import false_discovery_control

from quant.schemas import FIGURES, METRICS, SHORTLIST, TRIALS
from quant.shortlist import ShortlistError, shortlist

FIGURE_NAMES = [column.name for column in FIGURES]


def judged(ticker: str, probability: float | None, total_return: float = 0.2, trades: int = 100) -> dict[str, Any]:
    figures = dict.fromkeys(FIGURE_NAMES, 0.1) | {"total_return": total_return, "trades": trades, "sharpe": 1.5}
    rest = {column.name: 0.3 for column in METRICS.columns if column.name not in (*FIGURE_NAMES, "part")}
    return {"ticker": ticker, "part": "judge", **figures, **rest, "probabilistic_sharpe": probability}


def chosen(ticker: str, total_return: float = 0.1, trades: int = 40, trial: int = 3) -> dict[str, Any]:
    row = {column.name: None for column in TRIALS.columns} | dict.fromkeys(FIGURE_NAMES, 0.1)
    return row | {"ticker": ticker, "trial": trial, "total_return": total_return, "trades": trades, "sharpe": 2.5}


def verdicts(metrics: list[dict[str, Any]], trials: list[dict[str, Any]], **rules: Any) -> pd.DataFrame:
    return shortlist(pd.DataFrame(metrics), pd.DataFrame(trials), **rules).set_index("ticker")


def test_a_ticker_that_holds_is_shortlisted_with_its_evidence() -> None:
    row = verdicts([judged("demo:A", 0.98)], [chosen("demo:A")]).loc["demo:A"]
    assert row["shortlisted"] and row["stage"] == "shortlisted" and row["rank"] == 1
    assert row["p_value"] == pytest.approx(0.02) and row["q_value"] == pytest.approx(0.02)
    assert (row["trial"], row["choose_sharpe"], row["judge_sharpe"], row["judge_trades"]) == (3, 2.5, 1.5, 100)
    assert row["reason"] == "passed: p = 0.02, q = 0.02 ≤ 0.1 over 100 trades on judge"


@pytest.mark.parametrize(
    ("metrics", "trials", "stage", "reason"),
    [
        ([judged("T", 0.99)], [], "choose", "no parameter set traded enough to be scored"),
        ([judged("T", 0.99)], [chosen("T", -0.031)], "choose", "the best set returned −3.1 %"),
        ([judged("T", 0.99)], [chosen("T", 0.0)], "choose", "the best set returned +0.0 %"),
        ([judged("T", 0.99)], [chosen("T", trades=9)], "choose", "the best set made 9 trades, at least 10 needed"),
        ([judged("T", 0.59)], [chosen("T")], "judge", "p = 0.41, q = 0.41 > 0.1"),
        ([judged("T", 0.99, trades=29)], [chosen("T")], "judge", "29 trades, at least 30 needed"),
        ([judged("T", 0.99, -0.02)], [chosen("T")], "judge", "returned −2.0 %"),
        ([judged("T", None)], [chosen("T")], "judge", "its daily returns have no spread to test"),
        ([], [chosen("T")], "judge", "no bars there"),
    ],
)
def test_every_rejection_says_where_and_why(metrics, trials, stage: str, reason: str) -> None:
    row = verdicts(metrics, trials).loc["T"]
    assert not row["shortlisted"]
    assert (row["stage"], row["reason"]) == (stage, f"rejected on {stage}: {reason}")


def test_limits_themselves_are_allowed() -> None:
    row = verdicts([judged("T", 0.9, trades=30)], [chosen("T", trades=10)], false_discovery_rate=0.11).loc["T"]
    assert row["shortlisted"]


def test_candidates_alone_are_corrected_for() -> None:
    probabilities = {"A": 0.99, "B": 0.97, "C": 0.95, "D": 0.6}
    metrics = [judged(ticker, value) for ticker, value in probabilities.items()]
    rejected = [judged(f"Z{number}", 0.999) for number in range(30)]
    losers = [chosen(f"Z{number}", -0.1) for number in range(30)]
    table = verdicts(metrics + rejected, [chosen(ticker) for ticker in probabilities] + losers)
    expected = false_discovery_control([1 - value for value in probabilities.values()])
    np.testing.assert_allclose(table.loc[list(probabilities), "q_value"], expected)
    assert table.loc["Z0":, ["p_value", "q_value"]].isna().all().all()
    assert table.index[table["shortlisted"]].tolist() == ["A", "B", "C"]


def test_a_candidate_without_a_p_value_still_counts() -> None:
    alone = verdicts([judged("A", 0.92)], [chosen("A")])
    beside = verdicts([judged("A", 0.92), judged("B", None)], [chosen("A"), chosen("B")])
    assert alone.loc["A", "shortlisted"]
    assert beside.loc["A", "q_value"] == pytest.approx(0.16) and not beside.loc["A", "shortlisted"]
    assert np.isnan(beside.loc["B", "q_value"])


def test_order_is_by_verdict_then_q_value_then_ticker_whatever_the_input() -> None:
    metrics = [judged(t, p) for t, p in {"C": 0.99, "B": 0.999, "A": 0.99, "J": 0.5, "I": 0.5, "K": 0.8}.items()]
    metrics += [judged("Y", 0.9), judged("X", 0.9), {**judged("A", 0.1), "part": "choose"}]
    trials = [chosen(t) for t in "CBAJIK"]
    table = verdicts(metrics, trials)
    assert table.index.tolist() == ["B", "A", "C", "K", "I", "J", "X", "Y"]
    assert table["rank"].tolist() == list(range(1, 9))
    pd.testing.assert_frame_equal(table, verdicts(metrics[::-1], trials[::-1]))


def test_columns_and_types_are_those_of_the_schema() -> None:
    table = shortlist(pd.DataFrame([judged("A", 0.9), judged("B", 0.9)]), pd.DataFrame([chosen("A")]))
    assert table.columns.tolist() == [column.name for column in SHORTLIST.columns]
    for column in SHORTLIST.columns:
        found = str(table[column.name].dtype).lower()
        assert found == {"string": "str"}.get(column.type, column.type), column.name
        assert column.nullable or table[column.name].notna().all(), column.name


@pytest.mark.parametrize("columns", [None, ["ticker"]])
def test_nothing_gives_an_empty_shortlist(columns: list[str] | None) -> None:
    names = columns and [column for row in (judged("A", 0.9), chosen("A")) for column in row]
    empty = pd.DataFrame(columns=list(dict.fromkeys(names)) if names else None)
    table = shortlist(empty, empty)
    assert len(table) == 0
    assert table.columns.tolist() == [column.name for column in SHORTLIST.columns]


def test_luck_is_shortlisted_as_rarely_as_promised() -> None:
    generator = np.random.default_rng(0)
    found = 0
    for _ in range(200):
        probabilities = generator.random(8)
        metrics = [judged(f"T{number}", value) for number, value in enumerate(probabilities)]
        found += verdicts(metrics, [chosen(f"T{number}") for number in range(8)])["shortlisted"].any()
    # with no edge anywhere, the chance of any entry is the false discovery rate: 20 of 200
    assert 8 <= found <= 34


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"false_discovery_rate": 0.0}, "false_discovery_rate is 0.0"),
        ({"false_discovery_rate": 1.0}, "false_discovery_rate is 1.0"),
        ({"minimum_trades": 0}, "minimum_trades is 0"),
        ({"minimum_choose_trades": 0}, "minimum_choose_trades 0"),
    ],
)
def test_senseless_rules_are_refused(rules: dict[str, Any], message: str) -> None:
    with pytest.raises(ShortlistError, match=message):
        verdicts([], [], **rules)


def test_frames_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ShortlistError, match="metrics lack the columns probabilistic_sharpe"):
        shortlist(pd.DataFrame([judged("A", 0.9)]).drop(columns="probabilistic_sharpe"), pd.DataFrame())
    with pytest.raises(ShortlistError, match="judge part have more than one row for A"):
        verdicts([judged("A", 0.9), judged("A", 0.9)], [])
    with pytest.raises(ShortlistError, match="trials have more than one row for A"):
        verdicts([], [chosen("A"), chosen("A")])
