"""A search over one asset against plain loops over backtesting.py, and its evidence against the whole matrix."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant import engine, metrics, samplers, selection, tuning
from quant.bracket import reference
from quant.costs import Costs
from quant.parameters import BracketParameters, to_row
from quant.samplers import Range
from quant.schemas import TRIALS
from quant.tuning import BLOCKS, Evidence, Goal, Record, Tuned, tune
from storage.conform import conform
from tests.conftest import random_walk

SPACE: dict[str, Any] = {
    "stop_loss": Range(0.004, 0.03),
    "take_profit": Range(0.004, 0.04, log=True),
    "minimum_profit": [None, ((12, -1.0),)],
}
GOAL = Goal(costs=Costs(0.0005), policy="reverse", objective="sharpe", minimum_trades=44, batch=3)


def market(rows: int = 700, seed: int = 5) -> tuple[pd.DataFrame, pd.Series]:
    """Bars of an hour and signals that know nothing of them."""
    bars = random_walk(rows, seed, volatility=0.006)
    bars.index = pd.date_range("2024-01-01", periods=rows, freq="h", tz="UTC", unit="us")
    drawn = np.random.default_rng(seed).choice(3, rows, p=[0.92, 0.04, 0.04])
    return bars, pd.Series(drawn, index=bars.index, dtype="int8")


def sobol(trials: int) -> samplers.Sampler:
    return samplers.make("sobol", SPACE, trials=trials, seed=1)


def daily_matrix(sets: Sequence[BracketParameters], costs: Costs = GOAL.costs) -> np.ndarray[Any, Any]:
    """Daily returns of all sets at once."""
    return engine.sweep_metrics(*market(), sets, costs, GOAL.policy, close_at_end=True).returns


def assert_same(found: Tuned, expected: Tuned) -> None:
    pd.testing.assert_frame_equal(found.trials, expected.trials, rtol=1e-12)
    assert found.sets == expected.sets
    assert found.chosen == expected.chosen
    np.testing.assert_allclose(found.returns, expected.returns, rtol=1e-12)


@pytest.mark.parametrize(("objective", "column"), [("sharpe", "sharpe"), ("return", "total_return")])
def test_trials_and_choice_are_those_of_plain_loops(objective: Any, column: str) -> None:
    bars, signal = market()
    sets = sobol(10).ask(10)
    rows, daily = [], []
    for trial, parameters in enumerate(sets):
        stats = reference(bars, signal, parameters, GOAL.costs, close_at_end=True)
        figures = metrics.figures(stats)
        score = figures[column] if figures["trades"] >= GOAL.minimum_trades else np.nan
        rows.append({"trial": trial, **to_row(parameters), **figures, "score": score})
        daily.append(metrics.daily_returns(metrics.daily_equity(stats)))
    expected = pd.DataFrame(rows)
    assert 0 < expected["score"].isna().sum() < 8
    best = int(expected["score"].idxmax())
    found = tune(bars, signal, sobol(10), replace(GOAL, objective=objective))
    assert found.sets == tuple(sets)
    assert (found.chosen, found.parameters) == (best, sets[best])
    expected["chosen"] = expected["trial"] == best
    pd.testing.assert_frame_equal(found.trials, expected, rtol=1e-9, atol=1e-12, check_dtype=False)
    np.testing.assert_allclose(found.returns, daily[best], rtol=1e-9, atol=1e-12)


def test_trials_fit_their_schema() -> None:
    for goal in (GOAL, replace(GOAL, policy="stack", minimum_trades=10_000)):
        trials = tune(*market(), sobol(5), goal).trials
        pd.testing.assert_frame_equal(conform(trials, TRIALS, "trials"), trials, check_dtype=False)
        assert trials["chosen"].dtype == bool


@pytest.mark.parametrize("largest", [1, 1_000])
def test_the_first_of_equally_good_sets_is_chosen(largest: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "LARGEST_BATCH", largest)
    # the leverage changes the daily returns and not those of a trade
    sets = [BracketParameters(stop_loss_long=stop, leverage=leverage) for stop in (0.03, 0.004) for leverage in (1, 2)]
    goal = replace(GOAL, costs=Costs(), objective="expectancy", minimum_trades=1)
    expected = daily_matrix(sets, goal.costs)
    for order in ([0, 1, 2, 3], [3, 2, 1, 0]):
        found = tune(*market(), engine.prepare([sets[place] for place in order]), goal)
        scores = found.trials["score"].tolist()
        assert sorted(map(scores.count, scores)) == [2, 2, 2, 2]
        assert found.chosen == scores.index(max(scores))
        assert np.flatnonzero(found.trials["chosen"]).tolist() == [found.chosen]
        np.testing.assert_allclose(found.returns, expected[order[found.chosen]], rtol=1e-12)


def test_batches_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, batched, large = Record(), Record(), Record()
    expected = tune(*market(), engine.prepare(sobol(11).ask(11)), GOAL, record=whole)
    assert expected.chosen is not None
    assert_same(tune(*market(), sobol(11), GOAL, record=batched), expected)
    monkeypatch.setattr(tuning, "LARGEST_BATCH", 4)
    assert_same(tune(*market(), engine.prepare(sobol(11).ask(11)), GOAL, record=large), expected)
    places = samplers.coordinates(SPACE, expected.sets)
    for record in (batched, large):
        found, known = (asdict(one.evidence(expected, places)) for one in (record, whole))
        assert found == pytest.approx(known, rel=1e-9)


def test_a_sampler_that_learns_is_told_its_scores() -> None:
    bars, signal = market()

    def asked(sign: int) -> list[BracketParameters]:
        sampler = samplers.make("tpe", SPACE, trials=24, seed=1)
        tried: list[BracketParameters] = []
        while sets := sampler.ask(GOAL.batch):
            figures = engine.sweep_metrics(bars, signal, sets, GOAL.costs, GOAL.policy, close_at_end=True).figures
            scores = np.where(figures["trades"] < GOAL.minimum_trades, np.nan, figures["sharpe"])
            sampler.tell(sets, list(sign * scores))
            tried += sets
        return tried

    found = tune(bars, signal, samplers.make("tpe", SPACE, trials=24, seed=1), GOAL)
    assert len(found.sets) == 24
    assert list(found.sets) == asked(1) != asked(-1)


def test_funding_is_paid() -> None:
    bars, signal = market()
    sets, funding = engine.prepare(sobol(4).ask(4)), pd.Series(1e-4, index=bars.index)
    found = tune(bars, signal, sets, GOAL, funding=funding)
    expected = engine.sweep_metrics(bars, signal, sets, GOAL.costs, funding=funding, close_at_end=True).figures
    np.testing.assert_array_equal(found.trials["total_return"], expected["total_return"])
    assert (found.trials["total_return"] != tune(bars, signal, sets, GOAL).trials["total_return"]).all()


def test_nothing_is_chosen_where_no_set_has_a_score() -> None:
    record = Record()
    found = tune(*market(), sobol(7), replace(GOAL, minimum_trades=10_000), record=record)
    assert (found.chosen, found.parameters, len(found.returns)) == (None, None, 0)
    assert len(found.trials) == 7
    assert found.trials["score"].isna().all() and not found.trials["chosen"].any()
    evidence = record.evidence(found, samplers.coordinates(SPACE, found.sets))
    assert np.isnan([evidence.choose_deflated_sharpe, evidence.stability]).all()
    assert evidence.effective_trials == pytest.approx(selection.effective_trials(daily_matrix(found.sets)))
    assert 0 <= evidence.overfitting <= 1


def test_sets_that_never_trade_leave_no_evidence() -> None:
    bars, signal = market(rows=100)
    record = Record()
    found = tune(bars, signal * 0, sobol(3), replace(GOAL, objective="return", minimum_trades=0), record=record)
    assert found.chosen == 0
    evidence = record.evidence(found, samplers.coordinates(SPACE, found.sets))
    assert np.isnan(list(asdict(evidence).values())).all()


def evidence_at_once(returns: np.ndarray[Any, Any], scores: Any, places: Any, chosen: int) -> Evidence:
    """The same from the whole matrix of daily returns."""
    days = returns.shape[1]
    blocks = [returns[:, days * block // BLOCKS : days * (block + 1) // BLOCKS] for block in range(BLOCKS)]
    counts = np.array([[block.shape[1] for block in blocks]] * len(returns))
    sums, squares = (np.stack([(block**power).sum(axis=1) for block in blocks], axis=1) for power in (1, 2))
    trials = selection.effective_trials(returns)
    return Evidence(
        trials,
        selection.deflated_sharpe(returns[chosen], trials) if np.isfinite(trials) else np.nan,
        selection.probability_of_overfitting(counts, sums, squares).probability,
        selection.parameter_stability(scores, places, chosen).ratio,
    )


def test_evidence_of_a_search_is_that_of_its_whole_matrix() -> None:
    record = Record()
    found = tune(*market(), sobol(20), GOAL, record=record)
    assert found.chosen is not None
    places = samplers.coordinates(SPACE, found.sets)
    evidence = record.evidence(found, places)
    expected = evidence_at_once(daily_matrix(found.sets), found.trials["score"], places, found.chosen)
    assert asdict(evidence) == pytest.approx(asdict(expected), rel=1e-9)
    assert np.isfinite(list(asdict(evidence).values())).all()
    assert 1 < evidence.effective_trials < 20


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 60), st.lists(st.integers(1, 5), min_size=1, max_size=4), st.integers(0, 1000))
def test_evidence_is_that_of_the_whole_matrix_over_any_days(days: int, batches: list[int], seed: int) -> None:
    generator = np.random.default_rng(seed)
    returns = generator.normal(0.001, 0.01, (sum(batches), days)) * (generator.random((sum(batches), days)) < 0.7)
    scores, places = returns.sum(axis=1), generator.random((len(returns), 2))
    chosen = int(scores.argmax())
    record = Record()
    for batch in np.split(returns, np.cumsum(batches)[:-1]):
        record.add(batch)
    found = record.evidence(Tuned(pd.DataFrame({"score": scores}), (), chosen, returns[chosen]), places)
    expected = evidence_at_once(returns, scores, places, chosen)
    assert asdict(found) == pytest.approx(asdict(expected), rel=1e-9, nan_ok=True)


def test_a_search_over_fewer_days_than_blocks_has_its_evidence() -> None:
    record = Record()
    found = tune(*market(rows=10 * 24), sobol(12), replace(GOAL, minimum_trades=1), record=record)
    assert len(found.returns) == 10 < BLOCKS
    evidence = record.evidence(found, samplers.coordinates(SPACE, found.sets))
    assert 1 <= evidence.effective_trials <= 12
    assert 0 <= evidence.overfitting <= 1
