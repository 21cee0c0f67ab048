import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.sharding import LONGEST_SHARD_SECONDS, SHARDS_PER_WORKER, shards

weights = st.lists(st.floats(0, 1e6), max_size=200)
workers = st.integers(1, 16)
seconds = st.none() | st.floats(1e-6, 10)


@given(weights, workers, seconds)
def test_every_item_is_in_exactly_one_shard_in_its_order(
    weights: list[float], workers: int, seconds: float | None
) -> None:
    result = shards(range(len(weights)), weights, workers=workers, seconds_per_weight=seconds)
    assert sorted(item for shard in result for item in shard) == list(range(len(weights)))
    assert all(shard and shard == sorted(shard) for shard in result)
    assert result == shards(range(len(weights)), weights, workers=workers, seconds_per_weight=seconds)


@given(weights.filter(len), workers, seconds)
def test_shards_differ_by_at_most_the_heaviest_item_and_the_heaviest_come_first(
    weights: list[float], workers: int, seconds: float | None
) -> None:
    result = shards(range(len(weights)), weights, workers=workers, seconds_per_weight=seconds)
    loads = [math.fsum(weights[item] for item in shard) for shard in result]
    assert max(loads) - min(loads) <= max(weights) * (1 + 1e-9) + 1e-9
    assert all(heavier >= lighter * (1 - 1e-9) for heavier, lighter in pairwise(loads))


def test_four_shards_a_worker_where_the_work_allows() -> None:
    assert [len(shard) for shard in shards(range(250), workers=2)] == [32, 32] + [31] * 6
    assert len(shards(range(250), workers=2, seconds_per_weight=0.1)) == 2 * SHARDS_PER_WORKER


def test_a_shard_is_worth_about_a_second_or_more() -> None:
    assert len(shards(range(250), workers=8, seconds_per_weight=0.02)) == 5
    assert len(shards(range(250), workers=8, seconds_per_weight=0.0001)) == 1


def test_long_work_is_cut_finer_so_that_progress_moves() -> None:
    result = shards(range(1000), workers=2, seconds_per_weight=10.0)
    assert max(len(shard) * 10.0 for shard in result) <= LONGEST_SHARD_SECONDS
    assert len(shards(range(3), workers=2, seconds_per_weight=1000.0)) == 3


def test_items_without_weight_are_spread_too() -> None:
    assert [len(shard) for shard in shards(range(8), [0.0] * 8, workers=1)] == [2] * 4


def test_a_heavy_item_is_alone() -> None:
    assert shards("abcdefgh", [1, 1, 1, 50, 1, 1, 1, 1], workers=1)[0] == ["d"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"workers": 0}, "workers is 0"),
        ({"workers": 1, "weights": [1.0]}, "There are 1 weights for 2 items"),
        ({"workers": 1, "weights": [1.0, -1.0]}, "The weight of item 1 is -1.0"),
        ({"workers": 1, "weights": [math.nan, 1.0]}, "The weight of item 0 is nan"),
        ({"workers": 1, "seconds_per_weight": 0.0}, "seconds_per_weight is 0.0"),
    ],
)
def test_what_is_out_of_range_is_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        shards(["a", "b"], **arguments)
