import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant.samplers import Range
from quant.search import SearchError
from quant.space import draw, settled, size

SPACE = {"units": Range(16, 64, step=16), "dropout": Range(0.1, 0.5, step=0.1), "rate": (1e-2, 1e-3, 1e-4)}


@given(st.integers(0, 60), st.integers(0, 5))
def test_none_is_drawn_twice_and_more_begin_with_the_same(count: int, seed: int):
    drawn = draw(SPACE, count, seed)
    assert len({tuple(each.values()) for each in drawn}) == count
    assert draw(SPACE, 60, seed)[:count] == drawn
    for each in drawn:
        assert each["units"] in (16, 32, 48, 64)
        assert each["dropout"] in (0.1, 0.2, 0.3, 0.4, 0.5)
        assert each["rate"] in SPACE["rate"]


def test_all_of_a_space_can_be_drawn_and_no_more():
    assert size(SPACE) == 60
    assert len(draw(SPACE, 60, 1)) == 60
    with pytest.raises(SearchError, match="61 configurations are to be drawn from a space of 60"):
        draw(SPACE, 61, 1)
    with pytest.raises(SearchError, match="no axis"):
        draw({}, 1, 1)


def test_values_that_repeat_count_once():
    assert size({"filters": (16, 16), "dense": (4,)}) == 1
    with pytest.raises(SearchError, match="2 configurations are to be drawn from a space of 1"):
        draw({"filters": (16, 16), "dense": (4,)}, 2, 1)


def test_ranges_without_a_step_never_end():
    space = {"rate": Range(1e-4, 1e-2, log=True)}
    assert size(space) == math.inf
    rates = sorted(each["rate"] for each in draw(space, 400, 1))
    assert rates[0] >= 1e-4
    assert rates[-1] <= 1e-2
    assert rates[200] == pytest.approx(1e-3, rel=0.3)


def test_rounded_values_become_those_of_the_space():
    assert settled(SPACE, {"units": 32.000001, "dropout": 0.30000000000000004, "rate": 1e-3}) == {
        "units": 32.0,
        "dropout": 0.3,
        "rate": 1e-3,
    }
