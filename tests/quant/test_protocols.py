"""The steps between the article's protocol and the honest one, and how they are told."""

import itertools
from typing import Any

import numpy as np
import pandas as pd
import pytest

from quant import labels, protocols, report_protocols
from quant.protocols import ALL, ASSET, ENTRIES, LABEL, NAMES, STEPS, TESTED, Criteria
from quant.report_protocols import ProtocolContent
from quant.schemas import PROTOCOL_STEPS, PROTOCOLS, frame
from quant.splits import Part
from tests.conftest import random_walk

NOTHING = frozenset[str]()


def test_each_step_removes_one_trap_and_the_last_has_none() -> None:
    assert protocols.remaining(0) == frozenset(NAMES)
    assert protocols.remaining(STEPS - 1) == NOTHING
    for step, name in enumerate(NAMES):
        assert protocols.remaining(step) - protocols.remaining(step + 1) == {name}


def test_models_are_made_once_each_and_the_run_has_its_own() -> None:
    made = protocols.models()
    assert made[0] == frozenset(protocols.OF_THE_MODEL)
    assert [len(traps) for traps in made] == [5, 4, 3, 2, 1]
    needed = {protocols.remaining(step) & frozenset(protocols.OF_THE_MODEL) for step in range(STEPS)}
    assert needed == {*made, NOTHING}


def test_a_signal_is_the_likeliest_class_or_what_is_sure_enough_and_may_wait() -> None:
    seen = np.array([[0.5, 0.3, 0.2], [0.2, 0.45, 0.35], [np.nan] * 3, [0.1, 0.2, 0.7], [0.2, 0.6, 0.2]])
    assert protocols.signal(seen, 0.6, NOTHING).tolist() == [0, 0, 0, 2, 1]
    assert protocols.signal(seen, 0.6, frozenset({"likeliest_class"})).tolist() == [0, 1, 0, 2, 1]
    assert protocols.signal(seen, 0.6, frozenset({"delay"})).tolist() == [0, 0, 0, 0, 2]
    assert protocols.signal(seen, 9.0, frozenset({"delay", "likeliest_class"})).tolist() == [0, 0, 1, 0, 2]


@pytest.mark.parametrize("name", ["total_return", "win_rate", "expectancy", "sharpe"])
def test_criteria_are_met_together(name: str) -> None:
    criteria = Criteria(0.25, 0.59, 0.004, 0.59)
    figures = {"total_return": 0.25, "win_rate": 0.59, "expectancy": 0.004, "sharpe": 0.59}
    assert criteria.met(figures)
    assert not criteria.met(figures | {name: figures[name] - 1e-9})
    assert not criteria.met(figures | {name: np.nan})
    assert not criteria.met(figures | {name: None})


def test_on_a_random_walk_the_label_traded_makes_a_fortune_and_noise_makes_none() -> None:
    bars = random_walk(6_000, seed=5, price=1_000.0)
    label = labels.first_touch(bars, alignment="seed").fillna(0).astype("int8")
    noise = pd.Series(np.random.default_rng(2).permutation(label), bars.index)
    unseen = Part("unseen", bars.index[4_000], bars.index[-1] + pd.Timedelta("15min"))
    seen = protocols.backtests(bars, noise, label, unseen, protocols.remaining(0))
    assert seen[LABEL]["total_return"] > 3
    assert seen[ENTRIES]["total_return"] < 1
    assert seen[TESTED]["start"] == unseen.start
    assert seen[LABEL]["start"] == seen[ENTRIES]["start"] == bars.index[0]
    later = protocols.backtests(bars, noise, label, unseen, protocols.remaining(1))
    assert {figures["start"] for figures in later.values()} == {unseen.start}
    assert later[TESTED] == seen[TESTED]
    # whole numbers move prices by at most one in a thousand here, and so the trades' prices
    exact = protocols.backtests(bars, noise, label, unseen, protocols.remaining(2))
    assert exact[TESTED]["total_return"] != later[TESTED]["total_return"]


def rows(tickers: dict[str, float]) -> pd.DataFrame:
    """A table in which the return of a ticker falls by 0.01 a step, over a year."""
    figures: dict[str, Any] = {column.name: 0.0 for column in PROTOCOLS.columns if column.type == "float64"}
    start, end = pd.Timestamp("2024-01-01", tz="UTC"), pd.Timestamp("2024-12-31", tz="UTC")
    known = [
        figures
        | {"step": step, "strategy": strategy, "start": start, "end": end, "trades": 5, "optimised": False}
        | {"total_return": value - step / 100 + (strategy == ENTRIES), "sharpe": value, "listed": value > 0.4}
        | {"ticker": ticker}
        for ticker, value in tickers.items()
        for step in range(STEPS)
        for strategy in ((ASSET, ENTRIES) if ticker == "x:A" and step < 10 else (ASSET,))
    ]
    return frame(PROTOCOLS, known).assign(ticker=[row["ticker"] for row in known])


def test_the_waterfall_is_of_the_full_backtest_and_of_the_mean_asset() -> None:
    found = protocols.waterfall(rows({"x:A": 0.1, "x:B": 0.5, "x:C": 0.6}), ["x:A"])
    assert list(found.columns) == [column.name for column in PROTOCOL_STEPS.columns]
    of_all, of_one = found[found["scope"] == ALL], found[found["scope"] == "x:A"]
    assert of_all["total_return"].tolist() == pytest.approx([0.4 - step / 100 for step in range(STEPS)])
    assert of_all["annual_return"].tolist() == pytest.approx(of_all["total_return"].tolist())
    assert of_one["total_return"].tolist() == pytest.approx([0.1 - s / 100 + (s < 10) for s in range(STEPS)])
    assert set(of_all["listed"]) == {2}
    assert of_all["listed_return"].iloc[0] == pytest.approx(0.55)
    assert of_all["sharpe"].iloc[0] == 0.5
    assert set(of_all["trades"]) == {15}
    assert of_one["trap"].tolist() == ["", *NAMES]


def test_the_waterfall_is_told_with_a_bar_from_each_step_to_the_next() -> None:
    table = protocols.waterfall(rows({"x:A": 0.1, "x:B": 0.5, "x:C": 0.6}), ["x:A"])
    first = rows({"x:A": 0.1})
    told = report_protocols.section(ProtocolContent(table, first[first["step"] == 0]))
    assert [fall["scope"] for fall in told["waterfalls"]] == ["x:A", ALL]
    fall = told["waterfalls"][0]["rows"]
    assert [row["name"] for row in fall] == [protocols.FIRST, *(trap.label for trap in protocols.TRAPS)]
    assert fall[0]["direction"] == "gain"
    assert {row["direction"] for row in fall[1:]} == {"loss"}
    for row, after in itertools.pairwise(fall[1:]):
        assert row["left"] == pytest.approx(after["left"] + after["width"])
    assert all(0 <= row["left"] <= row["left"] + row["width"] <= 1 + 1e-9 for row in fall)
    assert "makes +110.0%" in told["sentences"][1] and "−1.0% is left" in told["sentences"][1]
    assert "2 of 3 assets would be listed, with a mean return of +55.0%" in told["sentences"][0]
    assert "  none: the article" in "\n".join(report_protocols.lines(ProtocolContent(table, first)))


def test_ruin_and_nothing_known_have_a_place_in_the_picture() -> None:
    table = protocols.waterfall(rows({"x:A": -0.5}), ["x:A"])
    table.loc[2:, "annual_return"] = -1.0
    table.loc[4, "annual_return"] = np.nan
    fall = report_protocols.waterfall(table[table["scope"] == ALL])
    assert fall[2]["left"] == 0
    assert fall[4]["width"] == 0 and fall[4]["annual"] == "–"
