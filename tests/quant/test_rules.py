"""Every rule against ten plain lines, and what holds for all of them."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.config_data import Rules
from quant import features, rules
from quant.rules import RULES, Parameter, RuleError
from tests.conftest import random_walk

BAR = pd.Timedelta(minutes=15)
Oracle = Callable[..., list[int]]
SETS = ("pattern8", "pattern8_relative")


def rsi_reversion(rsi: Sequence[float], gaps: Sequence[bool], lower: float, upper: float) -> list[int]:
    del gaps
    return [1 if value + 50 < lower else 2 if value + 50 > upper else 0 for value in rsi]


def bollinger_breakout(half_widths: Sequence[float], gaps: Sequence[bool], lower: float, upper: float) -> list[int]:
    place, found = [value / 2 + 0.5 for value in half_widths], []
    for row, now in enumerate(place):
        signal = 0
        if row > 0 and not gaps[row]:
            if place[row - 1] <= upper < now:
                signal = 1
            if place[row - 1] >= lower > now:
                signal = 2
        found.append(signal)
    return found


def macd_cross(difference: Sequence[float], gaps: Sequence[bool], confirmation: int) -> list[int]:
    found = []
    for row, now in enumerate(difference):
        before = difference[row - confirmation : row] if row >= confirmation else []
        if not before or any(gaps[row - confirmation + 1 : row + 1]):
            found.append(0)
        elif now > 0 and all(value <= 0 for value in before):
            found.append(1)
        else:
            found.append(2 if now < 0 and all(value >= 0 for value in before) else 0)
    return found


def momentum(log_return: Sequence[float], gaps: Sequence[bool], bars: int, threshold: float) -> list[int]:
    found = []
    for row in range(len(log_return)):
        first = row - bars + 1  # counted from the close of the bar before this one
        signal = 0
        if first >= 1 and not any(gaps[first : row + 1]):
            change = math.exp(sum(log_return[first : row + 1])) - 1
            signal = 1 if change > threshold else 2 if change < -threshold else 0
        found.append(signal)
    return found


# values that meet the bounds exactly, sums of which are exact, and some that are missing
RSI = st.sampled_from([-50.0, -25.0, -20.0, -10.0, 0.0, 10.0, 20.0, 25.0, 50.0, math.nan])
HALF_WIDTHS = st.sampled_from([-2.0, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0, math.nan])
DIFFERENCE = st.sampled_from([-1.0, -1.0, 0.0, 1.0, 1.0, math.nan])
RETURNS = st.sampled_from([-0.25, -0.125, 0.0, 0.0625, 0.125, 0.25, math.nan])
CASES: dict[str, tuple[str, Oracle, st.SearchStrategy[float], list[dict[str, float]]]] = {
    "rsi_reversion": ("rsi", rsi_reversion, RSI, [{"lower": 30.0, "upper": 70.0}, {"lower": 25.0, "upper": 60.0}]),
    "bollinger_breakout": (
        "bb_pct_b", bollinger_breakout, HALF_WIDTHS, [{"lower": 0.0, "upper": 1.0}, {"lower": 0.25, "upper": 0.5}],
    ),
    "macd_cross": ("macd_diff", macd_cross, DIFFERENCE, [{"confirmation": n} for n in (1, 2, 3)]),
    "momentum": (
        "log_return", momentum, RETURNS, [{"bars": n, "threshold": t} for n in (1, 2, 4) for t in (0.0, 0.125, 0.25)],
    ),
}  # fmt: skip


def table(column: str, values: Sequence[float], gaps: Sequence[bool]) -> pd.DataFrame:
    """Values as a feature, fifteen minutes apart, but for an hour where a row follows a gap."""
    steps = [BAR * 4 if gap else BAR for gap in gaps]
    index = pd.Timestamp("2024-01-01", tz="UTC") + pd.to_timedelta(np.cumsum(steps))
    return pd.DataFrame({column: list(values)}, index=pd.DatetimeIndex(index, name="time"), dtype="float64")


@pytest.mark.parametrize("name", RULES)
@settings(deadline=None, max_examples=100)
@given(data=st.data())
def test_a_rule_is_its_ten_plain_lines(name: str, data: st.DataObject):
    column, oracle, values, choices = CASES[name]
    rows = data.draw(st.lists(st.tuples(values, st.sampled_from([False] * 5 + [True])), max_size=30))
    parameters = data.draw(st.sampled_from(choices))
    numbers, gaps = [row[0] for row in rows], [row[1] for row in rows]
    frame = table(column, numbers, gaps)
    assert rules.signals(name, frame, "pattern8", parameters, bar=BAR).tolist() == oracle(numbers, gaps, **parameters)
    together = [False] * len(gaps)
    assert rules.signals(name, frame, "pattern8", parameters).tolist() == oracle(numbers, together, **parameters)


def test_a_crossing_is_told_once_and_not_over_a_gap():
    frame = table("macd_diff", [-1, 1, 1, -1, -1, 1], [False, False, False, False, False, True])
    assert rules.signals("macd_cross", frame, "pattern8", bar=BAR).tolist() == [0, 1, 0, 2, 0, 0]
    frame = table("bb_pct_b", [0, 1.5, 2, 0, -1.5, -2], [False] * 6)
    assert rules.signals("bollinger_breakout", frame, "pattern8", bar=BAR).tolist() == [0, 1, 0, 0, 2, 0]


def test_a_weekend_is_no_gap_of_a_calendar_of_sessions():
    frame = table("macd_diff", [-1, 1], [False, True])
    assert rules.signals("macd_cross", frame, "pattern8", bar=pd.DatetimeIndex(frame.index)).tolist() == [0, 1]


@pytest.fixture(scope="module")
def computed() -> dict[str, pd.DataFrame]:
    """Both pattern sets of a random walk, as the features stage keeps them."""
    bars = random_walk(3_000)
    return {name: features.compute(bars, name).astype("float32") for name in SETS}


@pytest.mark.parametrize("feature_set", SETS)
@pytest.mark.parametrize("name", RULES)
class TestEveryRule:
    def test_it_has_both_signals_on_a_random_walk(self, name: str, feature_set: str, computed: dict[str, pd.DataFrame]):
        signal = rules.signals(name, computed[feature_set], feature_set, bar=BAR)
        assert signal.dtype == np.int8
        assert signal.index.equals(computed[feature_set].index)
        assert set(signal) == {0, 1, 2}

    def test_bars_that_follow_change_nothing(self, name: str, feature_set: str):
        bars = random_walk(600, seed=3)
        whole = rules.signals(name, features.compute(bars, feature_set), feature_set, bar=BAR)
        for length in (0, 1, 40, 333, 599):
            known = rules.signals(name, features.compute(bars.iloc[:length], feature_set), feature_set, bar=BAR)
            pd.testing.assert_series_equal(known, whole.iloc[:length])

    @pytest.mark.parametrize("missing", [np.nan, np.inf, -np.inf])
    def test_a_feature_that_is_no_number_gives_no_signal(
        self, name: str, feature_set: str, missing: float, computed: dict[str, pd.DataFrame]
    ):
        frame = computed[feature_set].copy()
        holes = rules.signals(name, frame, feature_set, bar=BAR) > 0
        frame.loc[holes, list(rules.columns(name, feature_set).values())] = missing
        assert not rules.signals(name, frame, feature_set, bar=BAR)[holes].any()

    def test_a_side_can_be_left_out(self, name: str, feature_set: str, computed: dict[str, pd.DataFrame]):
        frame = computed[feature_set]
        both = rules.signals(name, frame, feature_set)
        assert rules.signals(name, frame, feature_set, side="long").tolist() == both.where(both == 1, 0).tolist()
        assert rules.signals(name, frame, feature_set, side="short").tolist() == both.where(both == 2, 0).tolist()

    def test_a_table_without_its_column_is_refused(
        self, name: str, feature_set: str, computed: dict[str, pd.DataFrame]
    ):
        (column,) = rules.columns(name, feature_set).values()
        with pytest.raises(RuleError, match=f"rule '{name}' needs the column '{column}' of '{feature_set}'"):
            rules.signals(name, computed[feature_set].drop(columns=column), feature_set)


@pytest.mark.parametrize("name", RULES)
class TestEveryRegistration:
    def test_parameters_are_refused_by_name(self, name: str):
        rule = RULES[name]
        for key, parameter in rule.parameters.items():
            for wrong in (parameter.low - 1, parameter.high + 1, math.nan, "3", None, True):
                with pytest.raises(RuleError, match=rf"{name}\.{key} is .*; allowed: (whole numbers )?from .* to "):
                    rules.check(name, {**rule.defaults, key: wrong})
            with pytest.raises(RuleError, match=f"'{key}'"):
                rules.check(name, {other: value for other, value in rule.defaults.items() if other != key})
        with pytest.raises(RuleError, match=f"rule '{name}' got the parameters .*'moon'; allowed: "):
            rules.check(name, {**rule.defaults, "moon": 1})

    def test_defaults_are_allowed_and_are_those_of_the_configuration(self, name: str):
        rules.check(name, RULES[name].defaults)
        assert Rules().of(name) == RULES[name].defaults

    def test_it_says_what_it_means(self, name: str):
        rule = RULES[name]
        assert rule.meaning.startswith("Long on ")
        assert rule.meaning.endswith(".")
        assert all(len(parameter.meaning) > 10 for parameter in rule.parameters.values())
        assert set(SETS) <= set(rules.feature_sets(name))


def test_whole_parameters_are_whole():
    with pytest.raises(RuleError, match=r"momentum\.bars is 2\.5; allowed: whole numbers from 1 to 500"):
        rules.check("momentum", {"bars": 2.5, "threshold": 0.1})


@pytest.mark.parametrize("name", ["rsi_reversion", "bollinger_breakout"])
@pytest.mark.parametrize("lower", [0.5, 0.75])
def test_bounds_that_meet_or_cross_are_refused(name: str, lower: float):
    with pytest.raises(RuleError, match="allowed: lower below upper"):
        rules.check(name, {"lower": lower, "upper": 0.5})


def test_a_set_without_the_column_is_refused():
    with pytest.raises(RuleError, match=r"needs a feature 'rsi' .* feature set 'ta193' lacks; allowed: pattern8, "):
        rules.columns("rsi_reversion", "ta193")


def test_an_unknown_rule_and_an_unknown_side_are_refused():
    frame = table("rsi", [0.0], [False])
    with pytest.raises(RuleError, match="there is no rule 'moon'; allowed: rsi_reversion, "):
        rules.signals("moon", frame, "pattern8")
    with pytest.raises(RuleError, match="side is 'up'; allowed: both, long or short"):
        rules.signals("rsi_reversion", frame, "pattern8", side="up")  # type: ignore[arg-type]


def test_a_rule_cannot_be_registered_twice():
    with pytest.raises(RuleError, match="rule 'momentum' is registered twice"):
        rules.register(1, ("log_return",), {"bars": Parameter(1, 1, 2, "bars")})(RULES["momentum"].decide)
