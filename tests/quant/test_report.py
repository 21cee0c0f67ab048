import base64
import dataclasses
import gzip
import hashlib
import json
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from plotly.offline import get_plotlyjs
from sklearn.metrics import precision_recall_fscore_support

from quant import report_audit, report_parameters
from quant import report_evaluation as evaluated
from quant import report_figures as figures
from quant import report_words as words
from quant.report import DETAILED, Audit, ReportContent, ReportError, render
from quant.shortlist import RULES
from tests.quant.report_content import CHINESE, ENDS_SCRIPT, HOSTILE, report_content


class Page(HTMLParser):
    """The parts of a page that the tests look at: visible text, tickers of each table, scripts, tags, addresses."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.handlers: list[str] = []
        self.tickers: dict[str, list[str]] = {}
        self.raw: dict[str, str] = {}
        self._table, self._raw = "", ""
        self.words: list[str] = []
        self.feed(html)
        self.close()
        self.text = re.sub(r"\s+", " ", " ".join(self.words))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = dict(attributes)
        self.tags.append(tag)
        self.addresses += [str(values[name]) for name in ("src", "href", "action", "data") if name in values]
        self.handlers += [name for name in values if name.startswith("on")]
        if tag == "table":
            self._table = values.get("id") or ""
        if tag == "tbody" and "data-ticker" in values:
            self.tickers.setdefault(self._table, []).append(str(values["data-ticker"]))
        if tag in ("script", "style"):
            self._raw = values.get("id") or tag

    def handle_endtag(self, tag: str) -> None:
        if tag in ("script", "style"):
            self._raw = ""

    def handle_data(self, text: str) -> None:
        if self._raw:
            self.raw[self._raw] = self.raw.get(self._raw, "") + text
        else:
            self.words.append(text)


@pytest.fixture(scope="module")
def content() -> ReportContent:
    return report_content()


@pytest.fixture(scope="module")
def page(content: ReportContent) -> Page:
    return Page(render(content))


def opened(page: Page) -> dict[str, dict]:
    """What the rows open into, by ticker."""
    packed = json.loads(page.raw["data"], parse_constant=pytest.fail)["tickers"]
    return {
        ticker: json.loads(gzip.decompress(base64.b64decode(text)), parse_constant=pytest.fail)
        for ticker, text in packed.items()
    }


def shown(content: ReportContent, **changes: object) -> Page:
    return Page(render(dataclasses.replace(content, **changes)))


def test_verdict_says_how_many_hold_up_and_which(page: Page) -> None:
    assert "6 of 40 tickers hold up" in page.text
    assert f"{HOSTILE}, {CHINESE}, demo:C02USDT, demo:C03USDT, demo:C04USDT, demo:C05USDT" in page.text
    assert "At a false-discovery rate of 10%" in page.text


def test_verdict_claims_no_false_discovery_rate_where_none_is_bounded(content: ReportContent) -> None:
    for rules in ({"false_discovery_rate": None, "minimum_trades": 30}, {"minimum_trades": 30}):
        text = shown(content, rules=rules).text
        assert "No rule bounds how many of them are there by luck." in text
        assert "At a false-discovery rate" not in text


def test_placebos_and_all_candidates_together_stand_beside_the_verdict(page: Page) -> None:
    assert (
        "The same search on 10 placebo markets (5 with shuffled signals, 5 of random walks) let 1 entry through in "
        "all. Counting one more to be safe, about 0.2 false entries are expected on a shortlist like this one of "
        "6: a false-discovery rate of 3%."
    ) in page.text
    assert (
        "17 candidates, which count as about 15.3 independent ones. If none of them were better than not trading, the "
        "best would look as good as it does with a probability of 0.000999"
    ) in page.text


@pytest.mark.parametrize("entries", [None, {}, {"shuffled": []}])
def test_run_without_placebos_says_so(content: ReportContent, entries: object) -> None:
    market = {**content.market, "placebo_entries": entries, "false_entries": None}
    text = shown(content, market=market).text
    assert "None were searched in this run, so nothing here measures how many entries" in text
    assert "placebo markets" not in text


@pytest.mark.parametrize("nothing", [None, float("nan")])
def test_market_without_candidates_has_nothing_to_test(nothing: float | None) -> None:
    content = report_content(tickers=2, shortlisted=0)
    decay = dict.fromkeys(content.market["tuning_decay"], nothing)
    unknown = {"candidates": 0, "effective_candidates": nothing, "superior_predictive_ability": nothing}
    market = {**content.market, **unknown, "tuning_decay": decay}
    page = shown(content, market=market)
    assert "There were no candidates, so there is nothing to test." in page.text
    assert "luck puts about 0.2 on a shortlist" in page.text
    assert "Deflated Sharpe ≥ 0.950 0 of 0" in page.text
    assert "No ticker became a candidate." in page.text
    assert "From choose to judge" not in page.text
    assert "nan" not in page.text


def test_page_stands_without_anything_said_of_the_market(content: ReportContent) -> None:
    page = shown(content, market={})
    assert "None were searched in this run" in page.text
    assert "There were no candidates" in page.text
    assert "From choose to judge" not in page.text


def test_rules_that_are_on_are_listed_with_how_many_passed(page: Page, content: ReportContent) -> None:
    table = (
        "Rules of the shortlist Rule Needed Passed Trades ≥ 30 17 of 17 Return > 0.0% 17 of 17 "
        "Deflated Sharpe ≥ 0.950 6 of 17 False-discovery rate ≤ 0.100 6 of 17 "
    )
    assert table in page.text
    assert "Every rule is off: all candidates are shortlisted." in shown(content, rules={}).text


def test_every_rule_there_is_can_be_shown(content: ReportContent) -> None:
    table = figures.with_derived(content.shortlist)
    rules = figures.rule_table({rule.name: 0.25 for rule in RULES}, table)
    assert len(rules) == len(RULES)
    assert all(rule["tip"] and rule["needed"][0] in "≥≤>" for rule in rules)
    judged = table[table["stage"] == "judge"].iloc[0].to_dict()
    assert len(figures.rule_rows(judged, {rule.name: 0.25 for rule in RULES})) == len(RULES)


def test_false_discovery_rate_is_the_larger_of_the_two_that_are_known() -> None:
    table = pd.DataFrame({"q_value": [0.01, 0.2, np.nan, 0.3], "placebo_q_value": [0.05, 0.1, np.nan, np.nan],
                          "max_drawdown": -0.1})  # fmt: skip
    for frame in (table, table.astype("Float64"), table.astype(object).where(table.notna(), None)):
        derived = figures.with_derived(frame)
        np.testing.assert_array_equal(derived["false_discovery_rate"], [0.05, 0.2, np.nan, 0.3])
        np.testing.assert_array_equal(derived["drawdown"], 0.1)


def test_rows_carry_their_rules_and_the_evidence_on_choose(page: Page, content: ReportContent) -> None:
    data = json.loads(page.raw["data"])
    assert [rule["label"] for rule in data["rules"]] == ["Trades", "Return", "Deflated Sharpe", "False-discovery rate"]
    table = content.shortlist.set_index("ticker")
    rows = opened(page)
    for ticker, row in rows.items():
        stage = table.loc[ticker, "stage"]
        outcomes = {"shortlisted": ["passed"] * 4, "judge": ["passed", "passed", "failed", "failed"], "choose": None}
        assert (row["rules"] and [outcome for _, outcome in row["rules"]]) == outcomes[stage]
        assert row["evidence"] == [
            ["effective_trials", "5.41"],
            ["choose_deflated_sharpe", "0.872"],
            ["overfitting", "0.164"],
            ["stability", "–" if stage == "choose" else "0.63"],
            ["walk_forward_sharpe", "–" if stage == "choose" else "1.31"],
        ]
    held = rows[CHINESE]
    assert [figure for figure, _ in held["rules"]][2:] == ["0.970", "0.0330"]
    assert {"deflated_sharpe", "placebo_q_value"} <= {row[0] for row in held["statistics"]}


def test_tuning_decay_says_only_what_is_known(page: Page, content: ReportContent) -> None:
    assert (
        "From choose to judge, over 17 candidates: the median candidate kept 38% of its Sharpe ratio; 76% of them kept "
        "its sign; the rank correlation of promise and outcome is 0.27 (1:"
    ) in page.text
    decay = {"pairs": 1, "median_ratio": -0.5, "same_sign": 0.0, "rank_correlation": None}
    said = words.decay_sentence({"tuning_decay": decay})
    assert said == (
        "From choose to judge, over 1 candidate: the median candidate kept −50% of its Sharpe ratio; 0% of them kept "
        "its sign."
    )


def test_placebo_sentence_counts_a_single_market_and_caps_the_rate() -> None:
    market = {"placebo_entries": {"walk": [3], "shuffled": []}, "false_entries": 4.0}
    assert words.placebo_sentence(market, 1) == (
        "The same search on 1 placebo market (1 of random walks) let 3 entries through in all. Counting one more to be "
        "safe, about 4 false entries are expected on a shortlist like this one of 1: a false-discovery rate of 100%."
    )


def test_candidates_that_hardly_traded_cannot_be_tested_together() -> None:
    market = {"candidates": 2, "effective_candidates": 2.0, "superior_predictive_ability": None}
    assert words.candidates_sentence(market) == (
        "2 candidates, which count as about 2.0 independent ones. Too little was traded on judge to test them together."
    )


def test_one_ticker_holds_up_in_the_singular() -> None:
    assert "1 of 40 tickers holds up" in Page(render(report_content(shortlisted=1))).text


def test_empty_shortlist_is_called_a_good_answer() -> None:
    page = Page(render(report_content(shortlisted=0, planted=None)))
    assert "Nothing holds up: none of 40 tickers" in page.text
    assert "That is a good answer." in page.text
    assert "shortlisted-table" not in page.tickers
    assert len(page.tickers["rejected-table"]) == 40


def test_empty_shortlist_is_no_good_answer_where_something_was_planted(content: ReportContent) -> None:
    text = Page(render(report_content(shortlisted=0))).text
    assert "Here that is the wrong answer." in text
    assert "found 0 of 6" in text
    assert "That is a good answer." not in text


def test_known_answer_stands_beside_the_verdict(page: Page) -> None:
    assert "This run found 6 of 6 and let no other through." in page.text


def test_known_answer_names_what_was_missed_and_what_slipped_through(content: ReportContent) -> None:
    planted = content.planted - {"demo:C03USDT"} | {"demo:C30USDT"}
    text = shown(content, planted=planted).text
    assert "found 5 of 6 (missed: demo:C30USDT) and let 1 other through (demo:C03USDT)." in text
    assert "planted, missed" in text
    assert "Known answer" not in shown(content, planted=None).text


def test_funnel_counts_each_step(page: Page) -> None:
    # 23 tickers stopped on choose, of which every seventh in rank (21, 28, 35) never traded; one more failed
    steps = {
        "Tickers in the run": 41,
        "Processed without failure": 40,
        "Traded on the choose part": 37,
        "Candidates: positive on choose": 17,
        "Shortlisted: passed every rule": 6,
    }
    for label, number in steps.items():
        assert f"{label} {number} " in page.text


def test_every_ticker_is_in_exactly_one_table_best_first(page: Page, content: ReportContent) -> None:
    table = content.shortlist
    assert page.tickers["shortlisted-table"] == table.loc[table["shortlisted"], "ticker"].tolist()
    assert page.tickers["rejected-table"] == table.loc[~table["shortlisted"], "ticker"].tolist()


def test_rows_are_ordered_by_rank_whatever_the_frame_says(content: ReportContent, page: Page) -> None:
    assert shown(content, shortlist=content.shortlist.iloc[::-1]).tickers == page.tickers


def test_rejections_are_counted_by_stage_and_explained(page: Page) -> None:
    assert "all 34" in page.text
    assert "on judge 11" in page.text
    assert "on choose 23" in page.text
    assert page.text.count("no parameter set earned a positive Sharpe ratio on the choose part") == 23


def test_hostile_text_never_becomes_markup(page: Page) -> None:
    assert "img" not in page.tags
    assert page.handlers == []
    assert page.tags.count("script") == 3
    assert "alert" not in page.raw["script"]
    assert f"demo:BAD{ENDS_SCRIPT}" in page.text
    assert f"# {ENDS_SCRIPT}" in page.text


def test_data_is_json_that_cannot_end_its_element(page: Page, content: ReportContent) -> None:
    data = json.loads(page.raw["data"], parse_constant=pytest.fail)
    assert list(data["tickers"]) == content.shortlist["ticker"].tolist()
    assert "<" not in page.raw["data"]
    assert opened(page)[CHINESE]["reason"] == content.shortlist["reason"][1]


def test_nothing_in_the_page_points_outside(page: Page) -> None:
    assert {address for address in page.addresses if not address.startswith("#")} == {"data:,"}
    assert "url(" not in page.raw["style"]
    assert "@import" not in page.raw["style"]


def test_policy_allows_only_the_two_scripts_of_the_page(page: Page, content: ReportContent) -> None:
    library = gzip.decompress(base64.b64decode(page.raw["library"])).decode()
    assert library == get_plotlyjs()
    hashes = {
        base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (page.raw["script"], library)
    }
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', render(content))
    assert policy is not None
    unescaped = policy[1].replace("&#39;", "'")
    assert set(re.findall(r"'sha256-([^']+)'", unescaped)) == hashes
    assert "default-src 'none'" in unescaped
    assert "script-src 'unsafe" not in unescaped


def test_same_content_gives_the_same_page(content: ReportContent) -> None:
    assert render(content) == render(report_content())


def test_250_tickers_of_which_42_have_candles_stay_below_4_mb() -> None:
    assert len(render(report_content(tickers=250, shortlisted=40)).encode()) < 4_000_000


def test_missing_parts_are_said_to_be_missing(content: ReportContent) -> None:
    page = shown(content, evaluation=None, label_balance=None, quality=None, parameters=None, details={},
                 failures=content.failures.iloc[:0], parts={})  # fmt: skip
    assert "The signals of this run, or the model behind them, came from a file" in page.text
    assert "None: every ticker went through every stage." in page.text
    assert "This run has no calendar parts." in page.text
    assert "Label balance" not in page.text
    row = opened(page)[CHINESE]
    assert [row[name] for name in ("equity", "parameters", "neighbourhood", "picture")] == [None] * 4
    assert row["folds"] == []


def test_nullable_columns_are_shown_as_missing(content: ReportContent) -> None:
    table = content.shortlist.astype({"trial": "Int64", "judge_trades": "Int64", "p_value": "Float64"})
    assert shown(content, shortlist=table).text == shown(content).text


def test_run_in_which_every_ticker_failed_still_has_a_report(content: ReportContent) -> None:
    page = shown(content, shortlist=content.shortlist.iloc[:0], metrics=pd.DataFrame(), details={}, planted=None)
    assert "Nothing holds up: none of 0 tickers" in page.text
    assert "Tickers in the run 1 " in page.text
    assert "No ticker was rejected." in page.text


def test_promise_is_shown_of_candidates_only(content: ReportContent) -> None:
    table = content.shortlist.assign(judge_sharpe=content.shortlist["judge_sharpe"].fillna(0.5))
    promises = figures.promises(table)
    assert promises["ticker"] == table.loc[table["stage"] != "choose", "ticker"].tolist()
    assert promises["shortlisted"] == [True] * 6 + [False] * 11


def test_model_is_compared_with_simple_models_out_of_sample(page: Page, content: ReportContent) -> None:
    assert content.comparison is not None
    table = content.comparison.statistics.set_index(["model", "statistic"])
    cnn, guess = table.loc[("cnn", "macro_f1")], table.loc[("majority", "macro_f1")]
    said = f"Macro-F1: the CNN beats the majority class (+{guess['difference']:.3f}, "
    assert said in page.text
    assert "; it cannot be told from logistic regression (" in page.text
    assert f"Macro-F1 {cnn['estimate']:.3f} {cnn['low']:.3f} to {cnn['high']:.3f} {guess['estimate']:.3f}" in page.text
    assert "probabilities are those of classes equally common" in page.text
    matrix = np.array(content.comparison.confusions["cnn"])
    assert "Confusion matrix, on choose" in page.text
    assert f"{matrix[0, 0]:,} {matrix[0, 0] / matrix[0].sum():.1%}" in page.text
    drawn = json.loads(page.raw["data"])["evaluation"]
    assert len(drawn["curves"]) == 4 * 2 * 3
    assert [one["model"] for one in drawn["months"]] == ["boosting", "logistic", "majority", "cnn"]
    assert drawn["months"][-1]["month"] == ["2024-06", "2024-07", "2024-08"]


def test_less_is_better_for_a_loss() -> None:
    row = {"model": "cnn", "statistic": "log_loss", "estimate": 1.0, "low": 0.9, "high": 1.1}
    other = {**row, "model": "boosting", "difference": -0.2, "difference_low": -0.3, "difference_high": -0.1}
    statistics = pd.DataFrame([row, other])
    assert (
        evaluated.sentence(statistics, "log_loss")
        == "Log-loss: the CNN beats boosted trees (−0.200, −0.300 to −0.100)."
    )
    assert evaluated.rows(statistics)[0]["cells"][1]["style"] == "gain"
    few = statistics.assign(difference_low=np.nan, difference_high=np.nan)
    assert "too few days" in evaluated.sentence(few, "log_loss")
    assert evaluated.sentence(statistics, "macro_f1") == ""


def test_every_ticker_has_its_row_in_the_model_table_also_one_without_windows(content: ReportContent) -> None:
    assert content.comparison is not None
    rows = evaluated.tickers(content.comparison.groups, content.planted)
    assert sorted(row["ticker"] for row in rows) == sorted(content.shortlist["ticker"])
    assert [row["cells"][0].text for row in rows if row["ticker"] == HOSTILE] == ["–"]
    assert rows[-1]["ticker"] == HOSTILE or rows[-1]["cells"][0].text == "–"


def test_run_without_a_comparison_says_so_and_shows_validate(content: ReportContent) -> None:
    page = shown(content, comparison=None)
    assert "This run did not judge its model beside simple ones out of sample." in page.text
    assert "Confusion matrix, on validate" in page.text
    assert "52,103 74.1%" in page.text
    assert content.comparison is not None
    empty = dataclasses.replace(
        content.comparison,
        statistics=content.comparison.statistics.iloc[:0],
        curves=content.comparison.curves.iloc[:0],
        groups=content.comparison.groups.iloc[:0],
        confusions={},
        reason="evaluate.enabled is <false>",
    )
    assert "out of sample: evaluate.enabled is <false>." in shown(content, comparison=empty).text
    missing = dataclasses.replace(content.comparison, left_out={"logistic": "only <one> class"})
    assert "Not compared with logistic regression: only <one> class" in shown(content, comparison=missing).text


def test_model_is_compared_with_guessing(page: Page) -> None:
    assert "Macro-F1 0.49 0.26 for always guessing the commonest class" in page.text
    assert "Log-loss 0.812 0.926 for always giving the class shares" in page.text


def test_page_tells_how_to_make_it_again(page: Page, content: ReportContent) -> None:
    for text in (content.command, content.result_hash, "keras 3.15.1", 'kind = "first_touch"'):
        assert text in page.text


def test_every_statistic_is_explained(page: Page) -> None:
    for label, meaning in words.GLOSSARY.values():
        assert f"{label} {meaning}" in page.text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shortlist": lambda frame: frame.drop(columns="q_value")}, "shortlist lacks q_value"),
        ({"shortlist": lambda frame: frame.drop(columns="placebo_q_value")}, "shortlist lacks placebo_q_value"),
        (
            {"rules": lambda rules: {**rules, "minimum_luck": 1.0}},
            "there is no rule 'minimum_luck'; allowed: minimum_tr",
        ),
        ({"metrics": lambda frame: frame.drop(columns=["ticker", "days"])}, "metrics lacks ticker, days"),
        ({"objective": lambda _: "luck"}, "objective is 'luck'; allowed: sharpe, return, expectancy, profit_factor"),
        ({"failures": lambda frame: frame.drop(columns="message")}, "failures lacks message"),
        ({"label_balance": lambda frame: frame.drop(columns="short")}, "label_balance lacks short"),
        ({"quality": lambda frame: frame.drop(columns="gaps")}, "quality lacks gaps"),
        ({"shortlist": lambda frame: pd.concat([frame, frame.tail(1)])}, "'demo:C39USDT' more than once"),
        (
            {"evaluation": lambda model: dataclasses.replace(model, confusion=np.eye(2))},
            r"evaluation.confusion has the shape \(2, 2\)",
        ),
        (
            {"comparison": lambda made: dataclasses.replace(made, groups=made.groups.drop(columns="low"))},
            "comparison of evaluation_groups lacks low",
        ),
        (
            {"evaluation": lambda model: dataclasses.replace(model, history=pd.DataFrame({"epoch": [1]}))},
            "evaluation.history lacks loss, validation_loss, macro_f1",
        ),
    ],
)
def test_content_that_does_not_fit_is_refused(content: ReportContent, changes: dict, message: str) -> None:
    changed = {name: change(getattr(content, name)) for name, change in changes.items()}
    with pytest.raises(ReportError, match=message):
        render(dataclasses.replace(content, **changed))


def test_class_scores_equal_those_of_scikit_learn() -> None:
    confusion = np.array([[50, 3, 2], [9, 7, 1], [8, 2, 6]])
    true = np.repeat([0, 1, 2], confusion.sum(axis=1))
    predicted = np.concatenate([np.repeat([0, 1, 2], row) for row in confusion])
    expected = precision_recall_fscore_support(true, predicted, labels=[0, 1, 2])
    found = [(score.precision, score.recall, score.f1, score.support) for score in figures.class_scores(confusion)]
    np.testing.assert_allclose(np.array(found), np.array(expected).T)
    assert figures.macro_f1(confusion) == pytest.approx(expected[2].mean())


def test_class_that_never_occurs_has_no_recall_and_no_f1() -> None:
    scores = figures.class_scores(np.array([[5, 0, 1], [0, 0, 0], [2, 0, 3]]))
    assert np.isnan(scores[1].precision)
    assert np.isnan(scores[1].recall)
    assert scores[1].f1 == 0


def test_majority_baseline_always_says_the_commonest_class() -> None:
    confusion = np.array([[5, 2, 1], [1, 9, 3], [0, 1, 2]])
    np.testing.assert_array_equal(figures.majority_confusion(confusion), [[0, 8, 0], [0, 13, 0], [0, 3, 0]])


def test_equity_is_thinned_to_300_points_with_both_ends() -> None:
    days = pd.date_range("2023-01-01", periods=1_000, freq="D", name="time")
    equity = pd.DataFrame(
        {"strategy": np.linspace(1, 2, 1_000), "buy_and_hold": np.linspace(1, 0.5, 1_000)}, index=days
    )
    thin = figures.thin(equity, "strategy", "buy_and_hold")
    assert len(thin["times"]) == len(thin["strategy"]) == 300
    assert (thin["times"][0], thin["times"][-1]) == ("2023-01-01", "2025-09-26")
    assert (thin["strategy"][-1], thin["buy_and_hold"][-1]) == (2.0, 0.5)
    assert thin["strategy"] == sorted(thin["strategy"])


def test_equity_keeps_nulls_as_breaks_and_hours_where_there_are_some() -> None:
    times = pd.date_range("2024-01-01 00:30", periods=3, freq="h", tz="UTC")
    equity = pd.DataFrame({"time": times, "strategy": [1.0, np.nan, 1.23456], "buy_and_hold": 0.000123456})
    thin = figures.thin(equity, "strategy", "buy_and_hold")
    assert thin["strategy"] == [1.0, None, 1.2346]
    assert thin["buy_and_hold"] == [0.00012346] * 3
    assert thin["times"][0] == "2024-01-01 00:30"


def test_a_fall_is_measured_from_the_highest_value_so_far_or_the_starting_cash() -> None:
    equity = pd.DataFrame({"strategy": [0.9, 1.2, 0.6, 1.5], "buy_and_hold": [1.0, 2.0, 1.0, 0.5]})
    below = figures.falls(equity)
    np.testing.assert_allclose(below["strategy"], [-0.1, 0.0, -0.5, 0.0])
    np.testing.assert_allclose(below["buy_and_hold"], [0.0, 0.0, -0.5, -0.75])
    days = pd.date_range("2024-01-01", periods=4, name="time")
    _, curves = figures.equity_data({"a": equity.set_index(days)})
    assert (curves["a"]["worst_strategy"], curves["a"]["worst_buy_and_hold"]) == ("−50.0%", "−75.0%")


def test_shared_time_axes_are_stored_once() -> None:
    one = pd.DataFrame({"strategy": 1.0, "buy_and_hold": 1.0}, index=pd.date_range("2024-01-01", periods=5, freq="D"))
    axes, curves = figures.equity_data({"a": one, "b": one * 2, "c": one.iloc[:3], "none": one.iloc[:0]})
    assert [len(axis) for axis in axes] == [5, 3]
    assert {name: curve["axis"] for name, curve in curves.items()} == {"a": 0, "b": 0, "c": 1}


def test_timeline_places_parts_in_proportion(content: ReportContent) -> None:
    day = pd.Timestamp("2024-01-01")
    parts = {
        "fit": (day, day + pd.Timedelta(days=50)),
        "judge": (day + pd.Timedelta(days=60), day + pd.Timedelta(days=100)),
    }
    places = [(part["name"], part["left"], part["width"], part["days"]) for part in figures.timeline(parts)]
    assert places == [("fit", 0, pytest.approx(50), "50"), ("judge", pytest.approx(60), pytest.approx(40), "40")]


def test_label_shares_add_up_and_an_empty_part_has_none() -> None:
    balance = pd.DataFrame({"neutral": [6, 0], "long": [3, 0], "short": [1, 0]}, index=["fit", "judge"])
    fit, judge = figures.label_bars(balance)
    assert [share["share"] for share in fit["classes"]] == [0.6, 0.3, 0.1]
    assert [share["share"] for share in judge["classes"]] == [0, 0, 0]


def test_parameters_read_as_sentences() -> None:
    row = {
        "stop_loss_long": 0.015, "stop_loss_short": np.nan, "take_profit_long": 0.04, "take_profit_short": 0.02,
        "limit_long": np.nan, "limit_short": np.nan, "leverage": 3.0, "trailing_activation": 0.02,
        "trailing_distance": 0.01, "minimum_profit": "[[4, 0.01], [8, -1.0]]",
    }  # fmt: skip
    assert report_parameters.parameter_rows(row) == [
        ["Stop loss", "1.50%", "off"],
        ["Take profit", "4.00%", "2.00%"],
        ["Entry limit", "off", "off"],
        ["Trailing stop", "from 2.0%, at 1.0%"],
        ["Timed exit", "after 4 bars, at +1.0% or better; after 8 bars, whatever the result"],
        ["Leverage", "×3.00"],
    ]
    off = report_parameters.parameter_rows({**row, "trailing_activation": np.nan, "minimum_profit": "[]"})
    assert off[3:5] == [["Trailing stop", "off"], ["Timed exit", "off"]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (words.percent(0.12345), "12.3%"),
        (words.percent(-12.345, signed=True), "−1,234.5%"),
        (words.percent(0.1, signed=True), "+10.0%"),
        (words.percent(0.0, signed=True), "0.0%"),
        (words.percent(float("nan")), "–"),
        (words.decimal(-1234.567), "−1,234.57"),
        (words.decimal(float("inf")), "∞"),
        (words.decimal(pd.NA), "–"),
        (words.count(1234567), "1,234,567"),
        (words.count(None), "–"),
        (words.probability(0.012345), "0.0123"),
        (words.probability(0.05), "0.0500"),
        (words.probability(0.00001), "<0.0001"),
        (words.probability(1.0), "1.00"),
        (words.probability(0.99984), ">0.999"),
        (words.probability(0.9987), "0.999"),
        (words.interval(-0.5, 2.25), "−0.50 to 2.25"),
        (words.interval(None, 2.0), ""),
        (words.day(pd.Timestamp("2024-03-01 23:45", tz="UTC")), "2024-03-01"),
        (words.day(pd.NaT), "–"),
        (words.length_of(pd.Timedelta("15min")), "15 minutes"),
        (words.length_of(pd.Timedelta("1h")), "1 hour"),
        (words.length_of(pd.Timedelta("48h")), "2 days"),
        (words.length_of(pd.Timedelta("90s")), "90 seconds"),
        (words.listing(list("abcd"), limit=2), "a, b and 2 more"),
    ],
)
def test_numbers_are_written_for_people(text: str, expected: str) -> None:
    assert text == expected


def test_costs_that_were_left_out_are_named(content: ReportContent) -> None:
    assert "Left out: slippage, 12 payments of &lt;b&gt;funding&lt;/b&gt;." in render(content)
    assert "Left out" not in render(dataclasses.replace(content, uncharged=()))


def test_the_shortlist_is_shown_as_a_portfolio(content: ReportContent, page: Page) -> None:
    for figure in ("+31.4%", "2.72", "-8.1%", "0.25"):
        assert figure.replace("-", "−") in page.text or figure in page.text
    data = json.loads(page.raw["data"])
    assert len(data["portfolio"]["times"]) == 300
    assert data["portfolio"]["equity"][-1] == pytest.approx(content.portfolio["equity"].iloc[-1], rel=1e-4)
    matrix = figures.correlation_matrix(content.correlations)
    assert matrix is not None
    assert [row["cells"][place]["text"] for place, row in enumerate(matrix)] == ["1.00"] * 6
    assert matrix[0]["cells"][1]["text"] == "0.25"


@pytest.mark.parametrize("count", [0, 1, figures.LARGEST_MATRIX + 1])
def test_correlations_of_too_few_or_too_many_are_not_shown(count: int) -> None:
    names = [f"T{number}" for number in range(count)]
    pairs = [(one, other, 0.5) for place, one in enumerate(names) for other in names[place + 1 :]]
    assert figures.correlation_matrix(pd.DataFrame(pairs, columns=["ticker", "other", "correlation"])) is None


def test_without_a_shortlist_there_is_no_portfolio(content: ReportContent) -> None:
    nothing = {"portfolio": content.portfolio.iloc[:0], "correlations": content.correlations.iloc[:0]}
    assert "as a portfolio" not in shown(content, market={**content.market, "portfolio": {}}, **nothing).text


def test_of_many_tickers_the_best_are_shown_in_full_and_all_are_listed(content: ReportContent) -> None:
    html = render(content, detailed=4)
    page, table = Page(html), content.shortlist.sort_values("rank")
    full, rest = table["ticker"].tolist()[:4], table.iloc[4:]
    assert page.tickers == {"shortlisted-table": full}
    data = json.loads(page.raw["data"])
    assert list(data["tickers"]) == full
    assert [row[:3] for row in data["others"]] == rest[["ticker", "stage", "reason"]].to_numpy().tolist()
    assert "The other 36 tickers" in page.text
    assert "6 of 40 tickers hold up" in page.text
    assert "The best 4 of 6 are here" in page.text
    assert "The 4 tickers with the most flags and rows in quarantine" in page.text
    assert page.text.count("Tickers 40 Bars") == 1


def test_a_page_of_ten_thousand_tickers_opens_in_a_browser() -> None:
    small, large = report_content(tickers=60), report_content(tickers=160)
    base = len(render(small, detailed=10).encode())
    listed = (len(render(large, detailed=10).encode()) - base) / 100
    in_full = (len(render(small, detailed=60).encode()) - base) / 50
    assert base + 9_940 * listed + (DETAILED - 10) * in_full < 20e6


def audit_of(*rows: tuple[str, str, str, str]) -> Audit:
    """What an audit found: check, ticker, verdict and detail."""
    found = pd.DataFrame(rows, columns=["check", "ticker", "verdict", "detail"])
    found = found.assign(column="rsi", first=pd.Timestamp("2024-01-02", tz="UTC"), effect=0.5, unit="ranges")
    return Audit(found, report_audit.sentences(found, 9))


def test_the_audit_is_told_and_a_leak_stands_beside_the_verdict():
    clean = render(report_content(tickers=9, audit=audit_of(("labels", "demo:AAA", "passed", ""))))
    assert "No leak was found by 1 checks on 1 of 9 tickers." in clean
    assert 'role="alert"' not in clean
    leaking = render(report_content(tickers=9, audit=audit_of(("labels", HOSTILE, "leak", "knows <i>tomorrow</i>"))))
    assert 'role="alert"' in leaking
    assert "No figure of this run can be believed." in leaking
    assert "knows &lt;i&gt;tomorrow&lt;/i&gt;" in leaking
    assert "2024-01-02 00:00, 0.5 ranges" in leaking
    assert 'id="audit"' not in render(report_content(tickers=9))
