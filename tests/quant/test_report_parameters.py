import json

import numpy as np
import pandas as pd
import pytest

from quant import samplers
from quant.parameters import to_columns
from quant.report_parameters import neighbourhood, sentence, shown
from quant.samplers import Range
from quant.selection import parameter_stability
from tests.quant.report_content import grid


def test_neighbours_are_those_that_the_stability_compares() -> None:
    trials, places, names = grid(3.0, np.random.default_rng(5))
    found = neighbourhood(trials, places, names)
    assert found is not None
    stability = parameter_stability(trials["score"], places, 8)
    near = found.sets[found.sets["near"]]
    assert len(near) == stability.neighbours
    assert np.median(near["score"]) / found.score == pytest.approx(stability.ratio)
    assert (found.median, found.worst) == (stability.median, near["score"].min())
    # neither the chosen set nor the one without a score is among them
    assert sorted(found.sets["trial"]) == sorted({*range(24)} - {8, 3})
    assert found.sets["distance"].is_monotonic_increasing


def test_steps_change_one_parameter_and_keep_all_others() -> None:
    trials, places, names = grid(3.0, np.random.default_rng(5))
    found = neighbourhood(trials, places, names)
    assert found is not None
    own, fields = trials.iloc[8], ["stop_loss_long", "take_profit_long", "minimum_profit"]
    for axis, field in zip(found.axes, fields, strict=True):
        for step in (axis.before, axis.after):
            if step.trial is None:
                continue
            other = trials.iloc[step.trial]
            differs = [
                name
                for name in fields
                if not (pd.isna(own[name]) and pd.isna(other[name])) and own[name] != other[name]
            ]
            assert differs == [field]
            assert step.score == pytest.approx(other["score"], nan_ok=True)
    stop, target, table = found.axes
    assert (stop.label, stop.before.value, stop.chosen, stop.after.value) == ("Stop loss", "1.00%", "1.50%", "3.00%")
    assert (target.before.value, target.chosen, target.after.value) == ("2.00%", "4.00%", "off")
    assert table.before.trial is None
    assert shown(found, "sharpe")["axes"][2][1] == ["–", ""]


def test_of_a_sample_of_a_range_only_distances_are_known() -> None:
    space = {"stop_loss": Range(0.01, 0.05), "take_profit": Range(0.01, 0.08)}
    sets = samplers.make("sobol", space, trials=400, seed=3).ask(400)
    trials = pd.DataFrame(
        {"trial": range(400), **to_columns(sets), "trades": 9, "score": np.linspace(0, 1, 400), "chosen": False}
    )
    trials.loc[399, "chosen"] = True
    found = neighbourhood(trials, samplers.coordinates(space, sets), list(space))
    assert found is not None
    sent = shown(found, "return")
    assert not sent["steps"]
    assert len(sent["sets"]["trial"]) == 300
    assert "the 99 farthest are left out" in sent["said"]
    assert f"against {1:.1%} of the chosen set" in sent["said"]


def test_a_profit_factor_without_a_loss_can_be_sent() -> None:
    trials, places, names = grid(np.inf, np.random.default_rng(5))
    found = neighbourhood(trials.assign(score=trials["score"].fillna(2.0)), places, names)
    assert found is not None
    sent = shown(found, "profit_factor")
    assert sent["score"] is None
    assert sent["axes"][0][2] == ["1.50%", "∞"]
    json.dumps(sent, allow_nan=False)


def test_without_a_choice_or_another_set_there_is_no_neighbourhood() -> None:
    trials, places, names = grid(3.0, np.random.default_rng(5))
    assert neighbourhood(trials.assign(chosen=False), places, names) is None
    assert neighbourhood(trials.iloc[8:9], places[8:9], names) is None
    alone = neighbourhood(trials.assign(score=trials["score"].where(trials["chosen"])), places, names)
    assert alone is not None
    assert sentence(alone, "sharpe") == "The chosen set's Sharpe ratio is 3.00; no other set that was tried has one."
