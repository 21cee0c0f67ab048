"""The samplers: what they propose, that it is repeatable, and that it is worth its cost."""

import logging
import math
import subprocess
import sys
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import qmc

from quant import samplers
from quant.parameters import BracketError, BracketParameters
from quant.samplers import NAMES, PATIENCE, STARTUP, Range, Sampler, Space, coordinates, make, ticker_seed
from quant.search import SearchError, grid

FRACTIONS = ("stop_loss", "stop_loss_long", "stop_loss_short", "take_profit", "limit", "trailing_activation")
PLANE: Space = {"stop_loss": Range(0.01, 0.1), "take_profit": Range(0.001, 0.1, log=True)}
MIXED: dict[str, Any] = {
    "stop_loss": Range(0.01, 0.1),
    "take_profit_long": Range(0.01, 0.2, log=True),
    "take_profit_short": [0.05, None],
    "limit": [None, 0.02, 0.03],
    "leverage": Range(1, 3, step=1),
    "trailing_activation": [None, 0.01, 0.02],
    "trailing_distance": [None, 0.01],
    "minimum_profit": [None, ((4, -1.0),), ((2, 0.01), (8, -1.0))],
}
LISTED: dict[str, Any] = MIXED | {"stop_loss": [0.01, 0.02], "take_profit_long": Range(0.01, 0.03, step=0.01)}

Score = Callable[[BracketParameters], float]


def hill(parameters: BracketParameters) -> float:
    """A smooth score of every field, NaN for a fifth of the sets as if they had not traded."""
    numbers = [parameters.stop_loss_long, parameters.take_profit_long, parameters.take_profit_short]
    value = -sum(((number or 0.0) - 0.04) ** 2 for number in numbers) - 1e-3 * parameters.leverage
    return math.nan if math.sin(1e5 * value) < -0.8 else value


def propose(sampler: Sampler, batches: Sequence[int], score: Score = hill) -> list[BracketParameters]:
    """Everything a sampler proposes in such batches, each told before the next."""
    found = []
    for count in batches:
        batch = sampler.ask(count)
        assert len(batch) <= count
        sampler.tell(batch, [score(parameters) for parameters in batch])
        found += batch
    return found


def listed(space: Space) -> dict[str, list[Any]]:
    return {
        name: list(choice.values()) if isinstance(choice, Range) else list(choice) for name, choice in space.items()
    }


def values_of(name: str, parameters: BracketParameters) -> list[Any]:
    names = [f"{name}_long", f"{name}_short"] if name in ("stop_loss", "take_profit", "limit") else [name]
    return [getattr(parameters, field) for field in names]


def is_in(space: Space, parameters: BracketParameters) -> bool:
    for name, choice in space.items():
        values = values_of(name, parameters)
        if len(set(values)) > 1:
            return False
        if isinstance(choice, Range) and choice.step is None:
            if not choice.low <= values[0] <= choice.high:
                return False
        elif values[0] not in listed({name: choice})[name]:
            return False
    named = {field for name in space for field in ([name] if hasattr(BracketParameters, name) else [])}
    rest = {"leverage": 1.0, "minimum_profit": None}
    return all(getattr(parameters, field) == value for field, value in rest.items() if field not in named)


@st.composite
def ranges(draw: st.DrawFn, stepped: bool) -> Range:
    low, width = draw(st.floats(0.001, 0.4)), draw(st.floats(0.05, 0.4))
    if stepped:
        return Range(low, low + width, step=width / draw(st.integers(2, 9)))
    return Range(low, low + width, log=draw(st.booleans()))


def spaces(finite: bool) -> st.SearchStrategy[Space]:
    values = st.lists(st.none() | st.sampled_from([0.01, 0.05, 0.2, 0.5]), min_size=1, max_size=4, unique=True)
    choice = values | ranges(stepped=True) if finite else values | ranges(stepped=True) | ranges(stepped=False)
    names = st.sets(st.sampled_from(FRACTIONS), min_size=1, max_size=4)
    names = names.map(lambda chosen: chosen - {"stop_loss"} if len(chosen & set(FRACTIONS[:3])) > 1 else chosen)
    return names.flatmap(lambda chosen: st.fixed_dictionaries(dict.fromkeys(sorted(chosen), choice)))


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data(), seed=st.integers(0, 2**63 - 1), batches=st.lists(st.integers(1, 12), min_size=1, max_size=4))
@settings(deadline=None, max_examples=25)
def test_every_set_is_new_and_of_the_space(name: str, data: st.DataObject, seed: int, batches: list[int]) -> None:
    space = data.draw(spaces(finite=name == "grid"))
    try:
        found = propose(make(name, space, trials=30, seed=seed), batches)
        repeated = propose(make(name, space, trials=30, seed=seed), batches)
    except SearchError as error:
        assert "no combination" in str(error)
        return
    assert repeated == found
    assert 1 <= len(found) <= min(30, sum(batches))
    assert len(set(found)) == len(found)
    assert all(is_in(space, parameters) for parameters in found)
    places = coordinates(space, found)
    assert places.shape == (len(found), len(space))
    assert ((places >= 0) & (places <= 1)).all()


@pytest.mark.parametrize("name", NAMES)
def test_another_seed_gives_other_sets(name: str) -> None:
    first, second = (propose(make(name, LISTED, trials=40, seed=seed), [20, 20]) for seed in (1, 2))
    assert len(first) == len(second) == 40
    assert first != second


def test_grid_is_the_grid_of_the_search() -> None:
    whole = grid(listed(LISTED), 10_000, seed=0)
    assert len(whole) > 100
    assert propose(make("grid", LISTED, trials=10_000, seed=0), [7, 10_000, 1]) == whole
    assert make("grid", LISTED, trials=25, seed=4).ask(100) == grid(listed(LISTED), 25, seed=4)


@given(batches=st.lists(st.integers(1, 40), min_size=1, max_size=6), seed=st.integers(0, 2**40))
@settings(deadline=None, max_examples=25)
def test_sobol_trial_is_the_same_whatever_the_batches_and_the_trials(batches: list[int], seed: int) -> None:
    whole = make("sobol", MIXED, trials=300, seed=seed).ask(300)
    found = propose(make("sobol", MIXED, trials=250, seed=seed), batches, score=lambda _: math.nan)
    assert found == whole[: min(sum(batches), 250)]


def test_sobol_passes_over_what_contradicts_itself_and_nothing_else() -> None:
    space: Space = {"limit": Range(0.001, 0.1), "take_profit": Range(0.001, 0.1)}
    points = qmc.Sobol(2, rng=np.random.default_rng(3)).random(64) * 0.099 + 0.001
    allowed = [point for point in points.tolist() if point[0] < point[1]]
    assert 20 < len(allowed) < 44
    found = make("sobol", space, trials=len(allowed), seed=3).ask(64)
    pairs = [[chosen.limit_long, chosen.take_profit_short] for chosen in found]
    assert np.array(pairs) == pytest.approx(np.array(allowed))


def test_sobol_uses_up_a_finite_space() -> None:
    found = make("sobol", LISTED, trials=10_000, seed=2).ask(10_000)
    whole = grid(listed(LISTED), 10_000, seed=0)
    assert found != whole
    assert set(found) == set(whole)
    assert len(found) == len(whole)


def test_sobol_fills_a_plane_more_evenly_than_chance() -> None:
    generator = np.random.default_rng(0)
    chance = [qmc.discrepancy(generator.random((100, 2))) for _ in range(50)]
    for seed in range(5):
        places = coordinates(PLANE, make("sobol", PLANE, trials=100, seed=seed).ask(100))
        assert qmc.discrepancy(places) < min(chance) / 2


def test_sobol_takes_every_value_of_a_list_equally_often() -> None:
    space: Space = {"stop_loss": Range(0.01, 0.1), "leverage": [1, 2, 3, 4], "take_profit": [None]}
    found = make("sobol", space, trials=256, seed=5).ask(256)
    assert [sum(chosen.leverage == value for chosen in found) for value in (1, 2, 3, 4)] == [64] * 4


def test_fixed_fields_change_no_sobol_trial() -> None:
    fixed = {"limit": [None], **PLANE, "leverage": [1.0]}
    assert make("sobol", fixed, trials=50, seed=1).ask(50) == make("sobol", PLANE, trials=50, seed=1).ask(50)


def test_space_without_a_choice_has_one_set() -> None:
    for name in NAMES:
        sampler = make(name, {"stop_loss": [0.02]}, trials=5, seed=0)
        assert sampler.ask(3) == [BracketParameters(stop_loss_long=0.02, stop_loss_short=0.02)]
        assert sampler.ask(3) == []
        assert make(name, {}, trials=5, seed=0).ask(3) == [BracketParameters()]


@pytest.mark.parametrize(
    ("name", "space"), [("grid", LISTED), ("sobol", LISTED), ("sobol", MIXED), ("tpe", LISTED), ("tpe", MIXED)]
)
def test_replayed_sampler_continues_alike(name: str, space: Space) -> None:
    interrupted, fresh = (make(name, space, trials=60, seed=7) for _ in range(2))
    history = []
    for _ in range(3):
        batch = interrupted.ask(12)
        scores = [hill(parameters) for parameters in batch]
        interrupted.tell(batch, scores)
        history.append((batch, scores))
    for batch, scores in history:
        assert fresh.ask(12) == batch
        fresh.tell(batch[::-1], scores[::-1])  # the order within a batch does not matter
    assert propose(fresh, [12, 12]) == propose(interrupted, [12, 12])


def test_tpe_begins_with_sobol_and_then_follows_the_scores() -> None:
    start = make("sobol", MIXED, trials=STARTUP, seed=3).ask(STARTUP)
    found, other = (propose(make("tpe", MIXED, trials=40, seed=3), [10] * 4, score) for score in (hill_up, hill_down))
    assert found[:STARTUP] == other[:STARTUP] == start
    assert not set(found[20:]) & set(other[20:])


def hill_up(parameters: BracketParameters) -> float:
    return parameters.stop_loss_long or 0.0


def hill_down(parameters: BracketParameters) -> float:
    return -(parameters.stop_loss_long or 0.0)


def test_tpe_without_any_score_is_sobol() -> None:
    found = propose(make("tpe", MIXED, trials=60, seed=3), [15] * 4, score=lambda _: math.nan)
    assert found == make("sobol", MIXED, trials=60, seed=3).ask(60)


@pytest.mark.parametrize("seed", [0, 1])
def test_tpe_takes_sets_without_a_score_for_the_worst(seed: int) -> None:
    """Half of the plane has no score, and what is scored does not depend on which half: the model must stay out of it.

    Forgetting the sets without a score draws it there, since it has seen nothing bad in that half.
    """

    def score(parameters: BracketParameters) -> float:
        stop, take = parameters.stop_loss_long or 0.0, parameters.take_profit_long or 0.0
        return math.nan if stop < 0.055 else -abs(math.log(take / 0.01))

    found = propose(make("tpe", PLANE, trials=100, seed=seed), [10] * 10, score)
    assert np.mean([hill_up(chosen) >= 0.055 for chosen in found[40:]]) > 0.75


def test_tpe_takes_infinite_scores() -> None:
    found = propose(
        make("tpe", PLANE, trials=30, seed=1), [10] * 3, lambda one: math.copysign(math.inf, hill_up(one) - 0.05)
    )
    assert len(found) == 30


def test_tpe_uses_up_a_finite_space_without_a_repeated_set() -> None:
    space: Space = {"stop_loss": [0.01, 0.02, None], "limit": Range(0.01, 0.05, step=0.01), "take_profit": [0.03, None]}
    found = propose(make("tpe", space, trials=100, seed=1), [5] * 10, hill_up)
    assert len(found) == 3 * (2 + 5)
    assert set(found) == set(grid(listed(space), 100, seed=0))


@pytest.mark.parametrize("batch", [1, 10])
def test_tpe_finds_a_planted_optimum_better_than_chance(batch: int) -> None:
    space: Space = {
        "stop_loss_long": Range(0.01, 0.11),
        "stop_loss_short": Range(0.01, 0.11),
        "take_profit": Range(0.001, 0.1, log=True),
        "leverage": [1, 2, 3],
    }
    trials, distances, by_chance = 80, [], []
    for seed in range(5):
        generator = np.random.default_rng(seed)
        optimum = np.append(generator.uniform(0.1, 0.9, 3), 0.5)

        def distance(parameters: BracketParameters, optimum: Any = optimum) -> float:
            return float(np.square(coordinates(space, [parameters])[0] - optimum).sum())

        found = propose(
            make("tpe", space, trials=trials, seed=seed), [batch] * (trials // batch), lambda one: -distance(one)
        )
        assert len(found) == trials
        distances.append(min(map(distance, found)))
        chance = np.column_stack([generator.random((trials, 3)), generator.integers(0, 3, trials) / 2])
        by_chance.append(np.square(chance - optimum).sum(axis=1).min())
    assert np.median(distances) < np.median(by_chance) / 3
    assert sum(np.less(distances, by_chance)) >= 4


def test_tpe_sees_how_parameters_act_together() -> None:
    space: Space = {"stop_loss": Range(0.01, 0.1), "take_profit": Range(0.01, 0.1)}

    def on_the_diagonal(parameters: BracketParameters) -> float:
        return -abs((parameters.stop_loss_long or 0) + (parameters.take_profit_long or 0) - 0.11)

    found = propose(make("tpe", space, trials=80, seed=0), [10] * 8, on_the_diagonal)
    places = coordinates(space, found[30:])
    deviations = places - places.mean(axis=0)
    assert deviations.prod(axis=1).mean() < -0.5 * places.std(axis=0).prod()  # their correlation


def test_batch_of_tpe_spreads_out() -> None:
    space: Space = {"stop_loss": Range(0.01, 0.1), "take_profit": Range(0.01, 0.1)}

    def at_the_centre(parameters: BracketParameters) -> float:
        return -sum(((number or 0) - 0.055) ** 2 for number in (parameters.stop_loss_long, parameters.take_profit_long))

    places = coordinates(space, propose(make("tpe", space, trials=60, seed=0), [30, 30], at_the_centre)[30:])
    assert np.ptp(places, axis=0).min() > 0.5  # about 0.2 if the model does not know what else is in the batch


def test_tpe_learns_what_contradicts_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    space: Space = {
        "trailing_activation": [None, 0.01, 0.02],
        "trailing_distance": [None, 0.01, 0.02],
        "limit": Range(0.01, 0.1),
        "take_profit": Range(0.01, 0.1),
    }
    outcomes: list[bool] = []

    def recorded(axes: Any, positions: Any) -> BracketParameters:
        outcomes.append(False)
        found = combination(axes, positions)
        outcomes[-1] = True
        return found

    combination = samplers._combination
    monkeypatch.setattr(samplers, "_combination", recorded)
    found = propose(make("tpe", space, trials=80, seed=0), [10] * 8, lambda one: one.take_profit_long or 0.0)
    assert len(found) == 80
    assert np.mean(outcomes[100:]) > 0.6  # 5 of 18 by chance


def test_long_sequence_does_not_wear_out_its_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samplers, "PATIENCE", 100)
    assert len(make("sobol", PLANE, trials=400, seed=0).ask(400)) == 400


def test_tpe_says_nothing_and_leaves_the_logging_of_optuna_alone(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    import optuna

    before = optuna.logging.INFO
    optuna.logging.set_verbosity(before)
    with caplog.at_level(logging.DEBUG):
        propose(make("tpe", LISTED, trials=30, seed=1), [10] * 3)
    assert optuna.logging.get_verbosity() == before
    assert capfd.readouterr() == ("", "")


SCRIPT = """
import sys
from quant.samplers import Range, make
make("grid", {"stop_loss": [0.1]}, trials=1, seed=1)
make("sobol", {"stop_loss": Range(0.1, 0.2)}, trials=1, seed=1)
assert "optuna" not in sys.modules
sampler = make("tpe", {"stop_loss": Range(0.1, 0.2), "limit": [None, 0.1], "leverage": [1, 2]}, trials=40, seed=1)
for _ in range(4):
    batch = sampler.ask(10)
    sampler.tell(batch, [-chosen.stop_loss_long for chosen in batch])
print(batch)
"""


def test_tpe_is_the_same_in_every_process_and_optuna_imported_for_it_alone() -> None:
    outputs = {
        subprocess.run(
            [sys.executable, "-W", "error", "-c", SCRIPT],
            env={"PYTHONHASHSEED": seed, "OMP_NUM_THREADS": "1"},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1
    assert "BracketParameters" in outputs.pop()


@pytest.mark.parametrize("name", NAMES)
def test_scores_must_fit_the_sets(name: str) -> None:
    sampler = make(name, LISTED, trials=10, seed=0)
    first, second = sampler.ask(2)
    with pytest.raises(SearchError, match="1 scores are told for 2 sets"):
        sampler.tell([first, second], [1.0])
    with pytest.raises(SearchError, match=r"told for BracketParameters\(.*allowed: sets asked for and not yet told"):
        sampler.tell([first, BracketParameters(leverage=99)], [1.0, 2.0])
    with pytest.raises(SearchError, match="not yet told"):
        sampler.tell([first, first], [1.0, 2.0])
    sampler.tell([second, first], [1.0, math.nan])  # neither was taken in by a call that failed
    with pytest.raises(SearchError, match="not yet told"):
        sampler.tell([first], [1.0])
    with pytest.raises(SearchError, match="0 sets are asked for"):
        sampler.ask(0)


@pytest.mark.parametrize("name", NAMES)
def test_trials_are_never_exceeded(name: str) -> None:
    sampler = make(name, LISTED, trials=25, seed=0)
    assert [len(sampler.ask(10)) for _ in range(4)] == [10, 10, 5, 0]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("space", "error", "message"),
    [
        ({"stop": [0.1]}, SearchError, "names 'stop'; allowed: stop_loss, take_profit, limit, stop_loss_long"),
        ({"stop_loss": [0.1], "stop_loss_long": [0.1]}, SearchError, "stop_loss_long twice"),
        ({"stop_loss": []}, SearchError, r"stop_loss = \[\]; allowed: a list .* or a range"),
        ({"stop_loss": 0.1}, SearchError, "stop_loss = 0.1"),
        ({"minimum_profit": Range(1, 2)}, SearchError, "allowed: a list of time tables"),
        ({"limit": [0.1], "take_profit": [0.05, 0.06]}, SearchError, "no combination .* limit_long is 0.1"),
        ({"trailing_activation": Range(0.1, 0.2, step=0.1)}, SearchError, "no combination .* trailing_activation"),
        ({"stop_loss": [2.5]}, BracketError, r"stop_loss_long is 2\.5"),
        ({"stop_loss": Range(0.5, 1.5)}, BracketError, r"stop_loss_long is 1\.5"),
        ({"leverage": Range(0.5, 1.5)}, BracketError, r"leverage is 0\.5"),
        ({"stop_loss": {"low": 0.1}}, SearchError, "given by low; allowed: low, high, step, log, the first two always"),
        ({"stop_loss": {"low": 0.1, "high": 0.2, "by": 1}}, SearchError, "given by low, high, by"),
    ],
)
def test_bad_space_is_named_at_once(name: str, space: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make(name, space, trials=5, seed=0)


def test_grid_needs_a_step() -> None:
    with pytest.raises(SearchError, match=r"stop_loss = Range\(low=0.1.*allowed in a grid: a list, or a range with"):
        make("grid", {"stop_loss": Range(0.1, 0.2)}, trials=5, seed=0)


def test_continuous_space_without_an_allowed_set_is_given_up() -> None:
    space: Space = {"limit": Range(0.1, 0.2), "take_profit": Range(0.01, 0.1)}
    assert PATIENCE < 100_000
    with pytest.raises(SearchError, match="no combination of the search space is allowed; the last one tried: limit"):
        make("sobol", space, trials=5, seed=0)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"name": "random"}, "the sampler is 'random'; allowed: grid, sobol, tpe"),
        ({"trials": 0}, "trials is 0"),
        ({"trials": 1.5}, "trials is 1.5"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_bad_setting_is_named(changed: dict[str, Any], message: str) -> None:
    defaults: dict[str, Any] = {"name": "sobol", "space": LISTED, "trials": 5, "seed": 0}
    with pytest.raises(SearchError, match=message):
        make(**(defaults | changed))


@pytest.mark.parametrize(
    ("mapping", "expected"),
    [
        ({"low": 0.01, "high": 0.03, "step": 0.01}, (0.01, 0.02, 0.03)),
        ({"low": 0.1, "high": 0.3, "step": 0.2}, (0.1, 0.3)),  # 0.3 − 0.1 < 0.2 in binary
        ({"low": 0.01, "high": 0.0499, "step": 0.02}, (0.01, 0.03)),
        ({"low": 1, "high": 4, "step": 1}, (1.0, 2.0, 3.0, 4.0)),
    ],
)
def test_steps_are_counted_in_decimals(mapping: dict[str, Any], expected: tuple[float, ...]) -> None:
    assert Range.of(mapping).values() == expected
    field = "leverage" if mapping["low"] == 1 else "stop_loss_long"
    found = make("grid", {field: mapping}, trials=9, seed=0).ask(9)
    assert tuple(getattr(chosen, field) for chosen in found) == expected


def test_shares_of_a_range() -> None:
    assert Range(0.01, 0.03).at(0.25) == pytest.approx(0.015)
    assert Range(0.001, 0.1, log=True).at(0.5) == pytest.approx(0.01)
    for span in (Range(0.013, 0.37), Range(0.013, 0.37, log=True)):
        assert (span.at(0.0), span.at(1.0)) == (span.low, span.high)
        for share in (0.0, 0.1, 0.77, 1.0):
            assert span.share(span.at(share)) == pytest.approx(share, abs=1e-12)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"low": 0.2, "high": 0.1}, "from 0.2 to 0.1; allowed: a high above the low"),
        ({"low": 0.1, "high": 0.1}, "from 0.1 to 0.1"),
        ({"low": 0.1, "high": 0.1000001}, "0.01% of it at least"),
        ({"low": "a", "high": 0.1}, "low of a range is 'a'"),
        ({"low": 0.1, "high": math.nan}, "high of a range is nan"),
        ({"low": 0.1, "high": 0.2, "step": True}, "step of a range is True"),
        ({"low": 0.1, "high": 0.2, "step": 0.0}, "step of 0.0; allowed: above 0"),
        ({"low": 0.1, "high": 0.2, "step": 0.11}, "step of 0.11; allowed: above 0, within the range"),
        ({"low": 0.1, "high": 0.2, "step": 1e-7}, "making 100000 values at most"),
        ({"low": 0.0, "high": 0.2, "log": True}, "allowed: a low above 0 and no step"),
        ({"low": 0.1, "high": 0.2, "step": 0.01, "log": True}, "step of 0.01; allowed: a low above 0 and no step"),
        ({"low": 0.1, "high": 0.2, "log": 1}, "log of a range is 1"),
    ],
)
def test_bad_range_is_named(given: dict[str, Any], message: str) -> None:
    with pytest.raises(SearchError, match=message):
        Range.of(given)


def test_continuous_range_has_no_list() -> None:
    with pytest.raises(SearchError, match="has no step"):
        Range(0.1, 0.2).values()


def test_coordinates_of_known_sets() -> None:
    space: Space = {
        "take_profit": Range(0.001, 0.1, log=True),
        "stop_loss_long": Range(0.02, 0.06),
        "limit": [0.03, None, 0.0005],
        "leverage": Range(1, 5, step=2),
        "minimum_profit": [None],
    }

    def chosen(take: float, stop: float, limit: float | None, leverage: float) -> BracketParameters:
        sides: dict[str, Any] = {
            "take_profit_long": take,
            "take_profit_short": take,
            "limit_long": limit,
            "limit_short": limit,
        }
        return BracketParameters(stop_loss_long=stop, leverage=leverage, **sides)

    sets = [chosen(0.1, 0.03, 0.03, 5), chosen(0.01, 0.02, None, 3), chosen(0.001, 0.06, 0.0005, 1)]
    expected = [[1, 0.25, 0, 1, 0], [0.5, 0, 0.5, 0.5, 0], [0, 1, 1, 0, 0]]
    assert coordinates(space, sets) == pytest.approx(np.array(expected))
    assert coordinates(space, []).shape == (0, 5)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"stop_loss_long": 0.5, "stop_loss_short": 0.5}, r"stop_loss_long = 0.5, .*: Range\(low=0.01"),
        ({"stop_loss_long": None, "stop_loss_short": None}, "stop_loss_long = None"),
        ({"stop_loss_long": 0.02}, "stop_loss_long = 0.02, stop_loss_short = 0.05"),
        ({"leverage": 4}, r"leverage = 4.0; allowed in its search space: \[1.0, 2.0\]"),
    ],
)
def test_set_outside_the_space_has_no_coordinates(changed: dict[str, Any], message: str) -> None:
    values: dict[str, Any] = {"stop_loss_long": 0.05, "stop_loss_short": 0.05, "leverage": 2} | changed
    with pytest.raises(SearchError, match=message):
        coordinates({"stop_loss": Range(0.01, 0.1), "leverage": [1, 2]}, [BracketParameters(**values)])


def test_seed_of_a_ticker_is_known() -> None:
    # by: printf '7:binance/um/BTCUSDT' | sha256sum, the first 16 digits halved
    assert ticker_seed(7, "binance/um/BTCUSDT") == 2601647508057776559
    tickers = [f"{venue}{number}" for venue, number in product("ab", range(500))]
    found = {ticker_seed(seed, ticker) for seed in (0, 1) for ticker in tickers}
    assert len(found) == 2_000
    assert all(0 <= seed < 2**63 for seed in found)
    assert 0.4 < np.mean([seed < 2**62 for seed in found]) < 0.6
