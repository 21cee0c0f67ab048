import numpy as np
import pytest

from benchmarks.leak import Size, Verdict, judged, market, walk
from quant import network

SMALL = Size(tickers=4, feature_set="pattern8_relative", learning_rate=1e-3)  # few steps, so longer ones


@pytest.fixture(scope="module")
def verdicts() -> dict[str, Verdict]:
    network.configure(threads=1)
    tickers = market(SMALL, seed=0)
    return {alignment: judged(tickers, alignment, SMALL) for alignment in ("honest", "seed")}


@pytest.mark.parametrize("alignment", ["honest", "seed"])
def test_both_sides_are_judged_often_enough(verdicts: dict[str, Verdict], alignment: str) -> None:
    assert min(verdicts[alignment].long, verdicts[alignment].short) > 2_500


def test_honest_labels_of_a_random_walk_are_not_predicted(verdicts: dict[str, Verdict]) -> None:
    auc = verdicts["honest"].auc
    assert auc.low <= 0.5 <= auc.high
    # the network tells windows apart: one that gives all the same answer holds 0.5 too
    assert 0.005 < auc.high - auc.low < 0.05


def test_the_article_s_labels_of_a_random_walk_are(verdicts: dict[str, Verdict]) -> None:
    assert verdicts["seed"].auc.low > 0.9


def test_a_walk_opens_where_it_closed_and_moves_as_much_as_asked() -> None:
    bars = walk(20_000, volatility=0.006, seed=0)
    assert np.array_equal(bars["open"].to_numpy()[1:], bars["close"].to_numpy()[:-1])
    assert (bars["high"] >= bars[["open", "close"]].max(axis=1)).all()
    assert (bars["low"] <= bars[["open", "close"]].min(axis=1)).all()
    assert np.log(bars["close"] / bars["open"]).std() == pytest.approx(0.006, rel=0.02)
