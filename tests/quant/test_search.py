"""The grid, its sample, the score and the choice."""

import math
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import pytest

from quant.parameters import BracketError, BracketParameters, from_row, to_row
from quant.schemas import PARAMETERS
from quant.search import OBJECTIVES, SearchError, choose, grid, scores

TABLES = (None, ((4, -1.0),), ((50, 0.054), (100, 0.05)))
SPACE: dict[str, list[Any]] = {
    "stop_loss": [0.01, 0.02, 0.03],
    "take_profit_long": [0.02, 0.04],
    "take_profit_short": [0.03, None],
    "limit": [None, 0.03],
    "leverage": [1, 2],
    "minimum_profit": list(TABLES),
}
FIGURES_OF_A_SET = {
    "trades": [30],
    "sharpe": [1.5],
    "total_return": [0.2],
    "expectancy": [0.01],
    "profit_factor": [1.2],
}


def test_whole_product_in_order_without_what_contradicts_itself() -> None:
    space: dict[str, list[Any]] = {"take_profit": [0.02, 0.04], "limit": [None, 0.01, 0.03], "leverage": [1, 2]}
    expected = [
        BracketParameters(
            take_profit_long=take, take_profit_short=take, limit_long=limit, limit_short=limit, leverage=leverage
        )
        for take, limit, leverage in product(*space.values())
        if limit is None or limit < take
    ]
    assert len(expected) == 10
    assert grid(space, 100, seed=0) == expected
    assert grid(space, 12, seed=1) == expected


def test_long_and_short_lists_are_combined() -> None:
    found = grid({"stop_loss_long": [0.01, 0.02], "stop_loss_short": [0.03, None]}, 10, seed=0)
    pairs = [(chosen.stop_loss_long, chosen.stop_loss_short) for chosen in found]
    assert pairs == [(0.01, 0.03), (0.01, None), (0.02, 0.03), (0.02, None)]


def test_half_a_trailing_stop_is_left_out() -> None:
    space = {"trailing_activation": [None, 0.02], "trailing_distance": [None, 0.01]}
    assert grid(space, 10, seed=0) == [
        BracketParameters(),
        BracketParameters(trailing_activation=0.02, trailing_distance=0.01),
    ]


def test_sample_is_seeded_unique_and_of_the_product() -> None:
    whole = grid(SPACE, 10_000, seed=0)
    assert len(whole) == 3 * 2 * 2 * 2 * 3 + 3 * 2 * 3  # without limit; with it, target 0.04 and short target off
    sample = grid(SPACE, 20, seed=5)
    assert len(sample) == len(set(sample)) == 20
    assert set(sample) < set(whole)
    assert sample == sorted(sample, key=whole.index)
    assert grid(SPACE, 20, seed=5) == sample
    assert grid(SPACE, 20, seed=6) != sample


def test_sample_takes_every_set_equally_often() -> None:
    whole = grid(SPACE, 10_000, seed=0)
    counts = dict.fromkeys(whole, 0)
    for seed in range(400):
        for chosen in grid(SPACE, 18, seed):
            counts[chosen] += 1
    expected = 400 * 18 / len(whole)
    statistic = sum((count - expected) ** 2 / expected for count in counts.values())
    assert statistic < 2 * len(whole)  # χ² with 89 degrees of freedom exceeds 180 once in 10⁷


def test_sample_of_an_enormous_product_needs_no_enumeration() -> None:
    values = [round(0.001 * step, 3) for step in range(1, 101)]
    space = dict.fromkeys(("stop_loss_long", "stop_loss_short", "take_profit_long", "take_profit_short"), values)
    space |= {"limit_long": values, "limit_short": values}
    assert len(set(grid(space, 300, seed=0))) == 300


def test_repeated_value_counts_once() -> None:
    assert len(grid({"leverage": [1, 1.0, 2], "stop_loss": [0.01, 0.01]}, 10, seed=0)) == 2


@pytest.mark.parametrize(
    ("space", "trials", "message"),
    [
        ({"stop": [0.1]}, 5, "names 'stop'; allowed: stop_loss, take_profit, limit, stop_loss_long"),
        ({"stop_loss": [0.1], "stop_loss_long": [0.1]}, 5, "stop_loss_long twice"),
        ({"stop_loss_short": [0.1], "stop_loss": [0.1]}, 5, "stop_loss_short twice"),
        ({"stop_loss": []}, 5, r"stop_loss = \[\]"),
        ({"stop_loss": 0.1}, 5, "stop_loss = 0.1"),
        ({"stop_loss": [0.1]}, 0, "trials is 0"),
        ({"limit": [0.1], "take_profit": [0.05]}, 5, "no combination .* limit_long is 0.1"),
    ],
)
def test_bad_space_is_named(space: dict[str, Any], trials: int, message: str) -> None:
    with pytest.raises(SearchError, match=message):
        grid(space, trials, seed=0)


def test_value_out_of_range_is_an_error_and_not_a_smaller_grid() -> None:
    with pytest.raises(BracketError, match=r"stop_loss_long is 2\.5"):
        grid({"stop_loss": [0.01, 2.5]}, 5, seed=0)


def test_product_beyond_counting_is_refused() -> None:
    values = [0.0001 * step for step in range(1, 3_001)]
    sides = ("stop_loss_long", "stop_loss_short", "take_profit_long", "take_profit_short", "limit_long", "limit_short")
    with pytest.raises(SearchError, match=f"{3_000**6} combinations"):
        grid(dict.fromkeys(sides, values), 5, seed=0)


def test_score_is_the_figure_of_the_objective() -> None:
    assert [float(scores(FIGURES_OF_A_SET, objective)[0]) for objective in OBJECTIVES] == [1.5, 0.2, 0.01, 1.2]


def test_too_few_trades_score_nan() -> None:
    two = {name: [*values, *values] for name, values in FIGURES_OF_A_SET.items()} | {"trades": [30, 31]}
    np.testing.assert_array_equal(scores(two, "sharpe", minimum_trades=30), [1.5, 1.5])
    np.testing.assert_array_equal(scores(two, "sharpe", minimum_trades=31), [np.nan, 1.5])


def test_unknown_objective_is_named() -> None:
    with pytest.raises(SearchError, match="objective is 'calmar'; allowed: sharpe, return"):
        scores(FIGURES_OF_A_SET, "calmar")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([math.nan, 1.0, 3.0, 3.0], 2),
        ([-2.0, -1.0], 1),
        ([math.nan, math.nan], None),
        ([], None),
        ([math.nan, -5.0], 1),
    ],
)
def test_choice_is_the_first_of_the_highest(values: list[float], expected: int | None) -> None:
    assert choose(values) == expected


@pytest.mark.parametrize("parameters", grid(SPACE | {"trailing_activation": [0.01], "trailing_distance": [0.2]}, 9, 1))
def test_parameters_survive_a_row_of_a_table(parameters: BracketParameters) -> None:
    row = to_row(parameters)
    assert tuple(row) == tuple(column.name for column in PARAMETERS)
    assert all(type(value) is (str if name == "minimum_profit" else float) for name, value in row.items())
    table = pd.DataFrame([{"trial": 3, **row}])
    assert from_row(row) == parameters
    assert from_row(table.iloc[0]) == parameters


def test_row_without_a_column_is_named() -> None:
    row = to_row(BracketParameters())
    del row["leverage"]
    with pytest.raises(BracketError, match="lacks 'leverage'"):
        from_row(row)
