"""Verdicts by hand, against the statistics that they rest on, and the error rate that they promise."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import false_discovery_control, norm

from quant import selection
from quant.schemas import FIGURES, METRICS, PLACEBOS, SHORTLIST, TRIALS
from quant.shortlist import DEFAULTS, RULES, ShortlistError, Verdicts, shortlist
from quant.statistics import sharpe, sharpe_error
from storage.conform import conform

FIGURE_NAMES = [column.name for column in FIGURES]
# with an error of 1 and 365 steps from day to day, Sharpe ratios are distances from 0 and luck is that of the maximum
DAYS = 366
EVIDENCE = {"effective_trials": 12.0, "choose_deflated_sharpe": 0.97, "overfitting": 0.2, "stability": 0.8}


def row_of(columns: Iterable[Any], **values: Any) -> dict[str, Any]:
    row = {column.name: 0.3 for column in columns} | dict.fromkeys(FIGURE_NAMES, 0.1) | {"trades": 100}
    return row | {"max_drawdown": -0.1, "sharpe_error": 1.0, "days": DAYS} | values


def judged(ticker: str, distance: float | None = 4.0, **values: Any) -> dict[str, Any]:
    return row_of(METRICS.columns, ticker=ticker, part="judge", sharpe=distance, **values)


def chosen(ticker: str, total_return: float = 0.1, **values: Any) -> dict[str, Any]:
    given = {"ticker": ticker, "total_return": total_return, "trial": 3, "trades": 40, "sharpe": 2.5}
    return row_of(TRIALS.columns, walk_forward_sharpe=1.1, **(EVIDENCE | given | values))


def placebo(ticker: str, repetition: int, distance: float = 4.0, kind: str = "walk", **values: Any) -> dict[str, Any]:
    given = {"kind": kind, "repetition": repetition, "sharpe": distance, "choose_return": 0.1, **values}
    return row_of(PLACEBOS.columns, ticker=ticker, **given)


def idle(tickers: Iterable[str], repetitions: int, **values: Any) -> list[dict[str, Any]]:
    """Placebos without any candidate."""
    return [placebo(ticker, n, choose_return=-0.1, **values) for ticker in tickers for n in range(repetitions)]


def independent(tickers: Sequence[str]) -> pd.DataFrame:
    return pd.DataFrame(np.random.default_rng(0).standard_normal((DAYS, len(tickers))), columns=list(tickers))


def judge(
    metrics: list[dict[str, Any]],
    trials: list[dict[str, Any]],
    placebos: list[dict[str, Any]] | None = None,
    returns: pd.DataFrame | None = None,
    rules: Mapping[str, float | None] = DEFAULTS,
) -> Verdicts:
    """Verdicts with the table by ticker; the candidates are independent unless their returns are given."""
    known = independent(sorted({row["ticker"] for row in trials})) if returns is None else returns
    found = shortlist(pd.DataFrame(metrics), pd.DataFrame(trials), known, pd.DataFrame(placebos or []), rules=rules)
    return found._replace(table=found.table.set_index("ticker"))


def market(distances: Mapping[str, float], placebos: list[dict[str, Any]] | None = None, **options: Any) -> Verdicts:
    """Verdicts on candidates that differ in their distance alone."""
    return judge([judged(*pair) for pair in distances.items()], [chosen(t) for t in distances], placebos, **options)


def test_a_ticker_that_holds_is_shortlisted_with_its_evidence() -> None:
    found = market({"demo:A": 3.0})
    row = found.table.loc["demo:A"]
    assert row["shortlisted"] and row["stage"] == "shortlisted" and row["rank"] == 1
    assert (row["trial"], row["choose_sharpe"], row["judge_sharpe"], row["judge_trades"]) == (3, 2.5, 3.0, 100)
    assert row[list(EVIDENCE)].to_dict() == EVIDENCE and row["walk_forward_sharpe"] == 1.1
    assert row[["p_value", "q_value"]].tolist() == pytest.approx([norm.sf(3.0)] * 2)
    assert np.isnan(row["placebo_q_value"])
    assert row["deflated_sharpe"] == pytest.approx(norm.cdf(3.0))
    assert found.effective_candidates == 1 and found.placebo_entries == {}
    assert (row["passed"], row["failed"]) == (
        "minimum_trades, minimum_return, deflated_sharpe, false_discovery_rate",
        "",
    )
    assert row["reason"] == (
        "passed: p = 0.0013, false-discovery rate 0.0013, deflated Sharpe 0.999 over 100 trades on judge"
    )


@pytest.mark.parametrize(
    ("metrics", "trials", "stage", "reason"),
    [
        ([judged("T")], [], "choose", "no parameter set traded enough to be scored"),
        ([judged("T")], [chosen("T", -0.031)], "choose", "the best set returned −3.1 %"),
        ([judged("T")], [chosen("T", 0.0)], "choose", "the best set returned +0.0 %"),
        ([judged("T", 1.5)], [chosen("T")], "judge", "deflated Sharpe 0.933, needed ≥ 0.95"),
        (
            [judged("T", 1.0)],
            [chosen("T")],
            "judge",
            "deflated Sharpe 0.841, needed ≥ 0.95; false-discovery rate 0.159, needed ≤ 0.1",
        ),
        ([judged("T", trades=29)], [chosen("T")], "judge", "trades 29, needed ≥ 30"),
        ([judged("T", total_return=-0.02)], [chosen("T")], "judge", "return −2 %, needed > 0 %"),
        (
            [judged("T", sharpe_error=None)],
            [chosen("T")],
            "judge",
            "deflated Sharpe missing, needed ≥ 0.95; false-discovery rate missing, needed ≤ 0.1",
        ),
        ([], [chosen("T")], "judge", "not judged, for want of bars there or by a failure"),
    ],
)
def test_every_rejection_says_where_and_why(metrics, trials, stage: str, reason: str) -> None:
    row = judge(metrics, trials).table.loc["T"]
    assert not row["shortlisted"]
    assert (row["stage"], row["reason"]) == (stage, f"rejected on {stage}: {reason}")


# rule → bound, and what is at the bound and beyond it
JUDGED_RULES: dict[str, tuple[float, dict[str, Any], dict[str, Any]]] = {
    "minimum_trades": (30, {"trades": 30}, {"trades": 29}),
    "minimum_return": (0.05, {"total_return": 0.051}, {"total_return": 0.05}),  # the only bound that is to be exceeded
    "deflated_sharpe": (norm.cdf(2.0), {"distance": 2.0}, {"distance": 1.99}),
    "minimum_sharpe": (1.5, {"distance": 1.5}, {"distance": 1.49}),
    "minimum_win_rate": (0.5, {"win_rate": 0.5}, {"win_rate": 0.49}),
    "minimum_profit_factor": (1.2, {"profit_factor": 1.2}, {"profit_factor": 1.19}),
    "minimum_expectancy": (0.002, {"expectancy": 0.002}, {"expectancy": 0.0019}),
    "maximum_drawdown": (0.3, {"max_drawdown": -0.3}, {"max_drawdown": -0.301}),
    "false_discovery_rate": (norm.sf(2.0), {"distance": 2.0}, {"distance": 1.99}),
}
CHOOSE_RULES: dict[str, tuple[float, dict[str, Any], dict[str, Any]]] = {
    "choose_deflated_sharpe": (0.95, {"choose_deflated_sharpe": 0.95}, {"choose_deflated_sharpe": 0.94}),
    "maximum_overfitting": (0.5, {"overfitting": 0.5}, {"overfitting": 0.51}),
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_every_rule_alone_holds_at_its_bound_and_not_beyond(rule: Any) -> None:
    bound, at, beyond = {**JUDGED_RULES, **CHOOSE_RULES}[rule.name]
    for figures, passes in ((at, True), (beyond, False), (dict.fromkeys(at), False)):
        on_choose = rule.name in CHOOSE_RULES
        metrics = judged("T", **({} if on_choose else figures))
        trials = chosen("T", **(figures if on_choose else {}))
        row = judge([metrics], [trials], rules={rule.name: bound}).table.loc["T"]
        assert row["shortlisted"] == passes
        assert (row["passed"], row["failed"]) == ((rule.name, "") if passes else ("", rule.name))
        if figures is beyond:
            assert row["reason"].startswith(f"rejected on judge: {rule.label} ")
            assert f", needed {rule.sign} " in row["reason"]


@pytest.mark.parametrize("rules", [{}, {rule.name: None for rule in RULES}])
def test_rules_that_are_off_reject_no_candidate(rules: dict[str, None]) -> None:
    poor = judged("A", -5.0, trades=0, total_return=-0.9, max_drawdown=-0.95)
    table = judge([poor, judged("B")], [chosen("A", overfitting=1.0), chosen("B", -0.1)], rules=rules).table
    assert table["shortlisted"].to_dict() == {"A": True, "B": False}
    assert table.loc["A", ["passed", "failed"]].tolist() == ["", ""]


def test_passed_and_failed_rules_are_named_in_order() -> None:
    rules = {"maximum_overfitting": 0.1, "minimum_sharpe": 1.0, "minimum_win_rate": 0.5, **DEFAULTS}
    table = judge(
        [judged("A", total_return=-0.1, win_rate=0.6), judged("B")], [chosen("A"), chosen("B", -0.1)], rules=rules
    ).table
    assert table.loc["A", "passed"] == (
        "minimum_trades, deflated_sharpe, minimum_sharpe, minimum_win_rate, false_discovery_rate"
    )
    assert table.loc["A", "failed"] == "minimum_return, maximum_overfitting"
    assert table.loc["B", ["passed", "failed"]].tolist() == ["", ""]


def test_candidates_alone_are_corrected_for() -> None:
    distances = {"A": 3.0, "B": 2.4, "C": 2.0, "D": 0.6}
    losers = [f"Z{number}" for number in range(30)]
    table = judge(
        [judged(ticker, distance) for ticker, distance in distances.items()] + [judged(ticker) for ticker in losers],
        [chosen(ticker) for ticker in distances] + [chosen(ticker, -0.1) for ticker in losers],
        rules={"false_discovery_rate": 0.04},
    ).table
    expected = false_discovery_control(norm.sf(list(distances.values())))
    np.testing.assert_allclose(table.loc[list(distances), "q_value"], expected)
    assert table.loc[losers, ["p_value", "q_value", "deflated_sharpe"]].isna().all().all()
    assert table.index[table["shortlisted"]].tolist() == ["A", "B", "C"]


def test_a_candidate_without_a_p_value_counts_as_one() -> None:
    rules = {"false_discovery_rate": 0.1}
    for distance in (1.4, 0.5):
        alone = market({"A": distance}, rules=rules).table
        beside = judge(
            [judged("A", distance), judged("B", sharpe_error=None)], [chosen("A"), chosen("B")], rules=rules
        ).table
        assert alone.loc["A", "q_value"] == pytest.approx(norm.sf(distance))
        assert beside.loc["A", "q_value"] == pytest.approx(2 * norm.sf(distance))
        assert np.isnan(beside.loc["B", "q_value"]) and not beside.loc["B", "shortlisted"]


def test_order_is_by_verdict_then_q_value_then_ticker_whatever_the_input() -> None:
    distances = {"C": 4.0, "B": 5.0, "A": 4.0, "J": 0.0, "I": 0.0, "K": 1.0}
    metrics = [judged(*pair) for pair in distances.items()]
    metrics += [judged("Y"), judged("X"), {**judged("A", 0.1), "part": "choose"}]
    trials = [chosen(ticker) for ticker in distances]
    table = judge(metrics, trials).table
    assert table.index.tolist() == ["B", "A", "C", "K", "I", "J", "X", "Y"]
    assert table["rank"].tolist() == list(range(1, 9))
    pd.testing.assert_frame_equal(table, judge(metrics[::-1], trials[::-1]).table)


def test_columns_and_types_are_those_of_the_schema() -> None:
    metrics, trials = pd.DataFrame([judged("A"), judged("B")]), pd.DataFrame([chosen("A")])
    found = shortlist(metrics, trials, independent("A"), pd.DataFrame(idle("AB", 2))).table
    assert found.columns.tolist() == [column.name for column in SHORTLIST.columns]
    pd.testing.assert_frame_equal(conform(found, SHORTLIST, "shortlist"), found, check_dtype=False)


@pytest.mark.parametrize("columns", [None, ["ticker"]])
def test_nothing_gives_an_empty_shortlist(columns: list[str] | None) -> None:
    names = columns and [column for row in (judged("A"), chosen("A")) for column in row]
    empty = pd.DataFrame(columns=list(dict.fromkeys(names)) if names else None)
    table, effective, entries = shortlist(empty, empty, pd.DataFrame())
    assert len(table) == 0 and np.isnan(effective) and entries == {}
    assert table.columns.tolist() == [column.name for column in SHORTLIST.columns]


# ---------------------------------------------------------------- deflation by the number of candidates


def test_deflated_sharpe_is_that_of_the_returns_and_the_effective_number_of_candidates() -> None:
    generator = np.random.default_rng(1)
    daily = 0.01 * generator.standard_t(5, (500, 6)) + 0.006 * generator.standard_normal((500, 1)) + 0.001
    returns = pd.DataFrame(daily, columns=list("ABCDEF"))
    returns.loc[:199, "B"] = np.nan  # listed later
    metrics = []
    for ticker in returns:
        own = returns[ticker].dropna()
        metrics.append(judged(ticker, sharpe(own), sharpe_error=sharpe_error(own), days=len(own)))
    found = judge(metrics, [chosen(ticker, -0.1 if ticker == "F" else 0.1) for ticker in "ABCDEF"], returns=returns)
    effective = selection.effective_trials(returns[list("ABCDE")].fillna(0.0).to_numpy().T)
    assert found.effective_candidates == pytest.approx(effective)
    assert 2 < effective < 4.9
    expected = [selection.deflated_sharpe(returns[ticker].dropna(), effective) for ticker in "ABCDE"]
    np.testing.assert_allclose(found.table.loc[list("ABCDE"), "deflated_sharpe"], expected, rtol=1e-9)
    assert np.isnan(found.table.loc["F", "deflated_sharpe"])


def test_candidates_that_move_as_one_are_deflated_as_one() -> None:
    distances = dict.fromkeys("ABCDEFGHIJ", 2.5)
    one = independent("A")["A"]
    together = market(distances, returns=pd.DataFrame(dict.fromkeys(distances, 0.3 * one + 0.1)))
    apart = market(distances)
    assert together.effective_candidates == pytest.approx(1)
    np.testing.assert_allclose(together.table["deflated_sharpe"], norm.cdf(2.5))
    assert together.table["shortlisted"].all()
    luck = selection.expected_maximum_sharpe(1.0, apart.effective_candidates)
    np.testing.assert_allclose(apart.table["deflated_sharpe"], norm.cdf(2.5 - luck))
    assert apart.effective_candidates == pytest.approx(10, rel=0.1) and not apart.table["shortlisted"].any()


def test_candidates_whose_days_are_too_few_to_tell_count_in_full() -> None:
    found = market(dict.fromkeys("ABCD", 3.0), returns=independent("ABCD").head(2))
    assert found.effective_candidates == 4


# ---------------------------------------------------------------- placebos


def test_placebo_q_values_by_hand() -> None:
    distances = {"A": 4.0, "B": 3.0, "C": 2.0, "D": 5.0, "E": 5.0}
    metrics = [judged(ticker, distance, trades=29 if ticker == "D" else 100) for ticker, distance in distances.items()]
    trials = [chosen(ticker, -0.1 if ticker == "E" else 0.1) for ticker in distances]
    drawn = {
        ("walk", 0): {"A": 2.5, "B": 1.0},
        ("walk", 1): {"C": 3.5, "D": 2.0, "E": 0.5},
        ("shuffled", 0): {"A": 1.5},
        ("shuffled", 1): {"E": -1.0},
    }
    placebos = [placebo(t, n, distance, kind) for (kind, n), one in drawn.items() for t, distance in one.items()]
    # neither of these is an entry: the one trades too little, the other was no candidate
    placebos += [placebo("B", 0, 9.0, "shuffled", trades=29), placebo("C", 0, 9.0, choose_return=0.0)]
    table = judge(metrics, trials, placebos, rules={"minimum_trades": 30, "false_discovery_rate": 0.3}).table
    # one more than pass, over four repetitions, over the real entries that pass
    by_hand = {"A": (0 + 1) / 4 / 1, "B": (1 + 1) / 4 / 2, "C": (3 + 1) / 4 / 3}
    assert table.loc[list("ABC"), "placebo_q_value"].to_dict() == pytest.approx(by_hand)
    assert table.loc[["D", "E"], "placebo_q_value"].isna().all()
    matrix = np.full((4, 5), np.nan)
    for repetition, one in enumerate(drawn.values()):
        for ticker, distance in one.items():
            matrix[repetition, "ABCDE".index(ticker)] = distance
    expected = selection.placebo_q_values([4.0, 3.0, 2.0, np.nan, np.nan], matrix)
    np.testing.assert_allclose(table.loc[list("ABCDE"), "placebo_q_value"], expected)
    assert table.index[table["shortlisted"]].tolist() == ["A", "B"]


def test_the_larger_of_the_two_q_values_counts() -> None:
    rules = {"false_discovery_rate": 0.15}
    tickers = list("ABCDE")
    near = market({"A": 1.8, "B": 0.0, "C": 0.0, "D": 0.0, "E": 0.0}, idle(tickers, 40), rules=rules).table
    assert near.loc["A", ["q_value", "placebo_q_value"]].tolist() == pytest.approx([5 * norm.sf(1.8), 1 / 200])
    assert near.loc["A", "failed"] == "false_discovery_rate"
    few = market({"A": 9.0}, idle("A", 5), rules=rules).table
    assert few.loc["A", "q_value"] < 1e-9 and few.loc["A", "placebo_q_value"] == pytest.approx(0.2)
    assert few.loc["A", "reason"] == "rejected on judge: false-discovery rate 0.2, needed ≤ 0.15"


def test_placebo_entries_are_counted_by_the_same_rules() -> None:
    placebos = [
        *(placebo("A", 0, 5.0), placebo("B", 0, 1.0)),
        *(placebo("A", 1, 5.0, trades=29), placebo("B", 1, 5.0, total_return=0.0)),
        *(placebo("A", 2, 9.0, choose_return=-0.1), placebo("B", 2, 2.0)),
        # two at once are held against the luck of two, or of one if the real candidates move as one
        *(placebo("A", 3, 2.0), placebo("B", 3, 2.0)),
        *(placebo("A", 0, 5.0, "shuffled"), placebo("B", 0, 4.0, "shuffled")),
    ]
    apart = market({"A": 3.0, "B": 3.0}, placebos)
    assert apart.effective_candidates == pytest.approx(2, rel=0.05)
    assert apart.placebo_entries == {"shuffled": [2], "walk": [1, 0, 1, 0]}
    one = independent("A")["A"]
    together = market({"A": 3.0, "B": 3.0}, placebos, returns=pd.DataFrame({"A": one, "B": one}))
    assert together.placebo_entries == {"shuffled": [2], "walk": [1, 0, 1, 2]}
    traded = market({"A": 3.0, "B": 3.0}, placebos, rules={"minimum_trades": 30})
    assert traded.placebo_entries == {"shuffled": [2], "walk": [2, 1, 1, 2]}


def test_where_placebos_do_as_well_as_the_market_nothing_is_shortlisted() -> None:
    distances = {f"T{number}": 4.0 + 0.1 * number for number in range(8)}
    placebos = [placebo(ticker, n, distance) for n in range(20) for ticker, distance in distances.items()]
    assert market(distances).table["shortlisted"].all()
    found = market(distances, placebos)
    assert found.placebo_entries == {"walk": [8] * 20}
    assert not found.table["shortlisted"].any()
    assert (found.table["failed"] == "false_discovery_rate").all()


def test_ten_repetitions_without_an_entry_let_a_single_one_in() -> None:
    tickers = list("ABC")
    distances = {"A": 5.0, "B": 0.5, "C": 0.0}
    found = market(distances, idle(tickers, 5) + idle(tickers, 5, kind="shuffled"))
    assert found.placebo_entries == {"shuffled": [0] * 5, "walk": [0] * 5}
    assert found.table.loc["A", "placebo_q_value"] == pytest.approx(0.1, rel=1e-12)
    assert found.table.index[found.table["shortlisted"]].tolist() == ["A"]
    nine = market(distances, idle(tickers, 9)).table
    assert nine.loc["A", "placebo_q_value"] == pytest.approx(1 / 9)
    assert not nine["shortlisted"].any()


def test_rules_on_the_search_are_taken_to_pass_on_placebos() -> None:
    strict = {**DEFAULTS, "choose_deflated_sharpe": 0.95, "maximum_overfitting": 0.5}
    placebos = [placebo("A", 0, 5.0), *idle("AB", 9, kind="shuffled")]
    for rules in (DEFAULTS, strict):
        found = judge(
            [judged("A", 4.0), judged("B", 3.5)], [chosen("A"), chosen("B", overfitting=0.9)], placebos, rules=rules
        )
        assert found.placebo_entries == {"shuffled": [0] * 9, "walk": [1]}
        # one entry and one more in ten repetitions, over the real ones that keep to the rules
        assert found.table.loc["A", "placebo_q_value"] == pytest.approx(0.1 if rules is DEFAULTS else 0.2)


# ---------------------------------------------------------------- error rates


def simulated(generator: np.random.Generator, edge: float = 0.0) -> pd.DataFrame:
    """The table of a market of 20 tickers over 800 days of choose and of judge, the first with an edge a day."""
    tickers = [f"T{number:02d}" for number in range(20)]
    choose, daily = generator.standard_normal((2, 800, 20))
    choose[:, 0] += edge
    daily[:, 0] += edge
    metrics = [
        judged(ticker, sharpe(own), sharpe_error=sharpe_error(own), days=800, total_return=own.mean())
        for ticker, own in zip(tickers, daily.T, strict=True)
    ]
    trials = [chosen(ticker, own.mean()) for ticker, own in zip(tickers, choose.T, strict=True)]
    return judge(metrics, trials, returns=pd.DataFrame(daily, columns=tickers)).table


def test_a_market_without_an_edge_has_an_empty_shortlist_nearly_always() -> None:
    generator = np.random.default_rng(0)
    assert sum(simulated(generator)["shortlisted"].any() for _ in range(200)) <= 10


def test_a_planted_edge_is_found_and_nothing_else() -> None:
    generator = np.random.default_rng(1)
    # 5.7 standard errors, where the luck of ten candidates and the level take 3.2
    found = [tuple(table.index[table["shortlisted"]]) for table in (simulated(generator, 0.2) for _ in range(30))]
    assert sum(tickers == ("T00",) for tickers in found) >= 28


def test_luck_is_shortlisted_as_rarely_as_the_false_discovery_rate_alone_promises() -> None:
    generator = np.random.default_rng(0)
    tickers = [f"T{number}" for number in range(8)]
    returns = independent(tickers)
    found = 0
    for _ in range(200):
        distances = dict(zip(tickers, generator.standard_normal(8), strict=True))
        found += market(distances, returns=returns, rules={"false_discovery_rate": 0.1}).table["shortlisted"].any()
    # with no edge anywhere, the chance of any entry is the rate: 20 of 200
    assert 8 <= found <= 34


# ---------------------------------------------------------------- refusals


def test_unknown_rules_are_refused() -> None:
    with pytest.raises(ShortlistError, match="there is no rule 'minimum_trade'; allowed: minimum_trades, "):
        market({"A": 4.0}, rules={"minimum_trade": 30})


def test_a_candidate_without_daily_returns_is_refused() -> None:
    metrics, trials = (
        [judged("A"), judged("B"), judged("C")],
        [chosen("A"), chosen("B"), chosen("C", -0.1), chosen("D")],
    )
    with pytest.raises(ShortlistError, match="the daily returns lack B"):
        judge(metrics, trials, returns=independent("A"))
    # not of one that is no candidate or was not judged
    found = judge(metrics, trials, returns=independent("ABX"))
    assert found.effective_candidates == pytest.approx(2, rel=0.05)
    assert found.table.loc["D", "reason"] == "rejected on judge: not judged, for want of bars there or by a failure"


def test_frames_that_do_not_fit_are_refused() -> None:
    nothing = pd.DataFrame()
    with pytest.raises(ShortlistError, match="metrics lack the columns sharpe_error"):
        shortlist(pd.DataFrame([judged("A")]).drop(columns="sharpe_error"), nothing, nothing)
    with pytest.raises(ShortlistError, match="trials lack the columns trial"):
        shortlist(nothing, pd.DataFrame([chosen("A")]).drop(columns="trial"), independent("A"))
    with pytest.raises(ShortlistError, match="placebos lack the columns choose_return"):
        shortlist(
            pd.DataFrame([judged("A")]),
            pd.DataFrame([chosen("A")]),
            independent("A"),
            pd.DataFrame([placebo("A", 0)]).drop(columns="choose_return"),
        )
    with pytest.raises(ShortlistError, match="judge part have more than one row for A"):
        judge([judged("A"), judged("A")], [])
    with pytest.raises(ShortlistError, match="trials have more than one row for A"):
        judge([], [chosen("A"), chosen("A")])
    with pytest.raises(ShortlistError, match="placebos of walk have more than one row for A"):
        market({"A": 4.0}, [placebo("A", 0), placebo("A", 0)])


def test_a_candidate_without_bars_on_judge_is_never_shortlisted() -> None:
    table = shortlist(pd.DataFrame(), pd.DataFrame([chosen("A")]), pd.DataFrame(), rules={}).table
    assert not table["shortlisted"].any()
    assert table["reason"].iloc[0] == "rejected on judge: not judged, for want of bars there or by a failure"


def test_placebos_of_no_ticker_leave_an_empty_shortlist() -> None:
    drawn = pd.DataFrame([placebo("A", 0)])
    assert shortlist(pd.DataFrame(), pd.DataFrame(), pd.DataFrame(), drawn).table.empty
