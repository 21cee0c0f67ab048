import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from actors.budget import shared
from actors.fan_out import fan_out
from tests.actors import work

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("cluster")]


def test_all_workers_together_keep_to_the_rate() -> None:
    with shared("requests", rate=20, burst=5) as budget:
        began = time.monotonic()
        taken = sorted(
            moment
            for outcome in fan_out(work.take_times, [5, 5, 5, 5], name="takers", shared=budget)
            for moment in outcome.value
        )
    # 5 at once, then one every 50 ms, whoever takes it: in no stretch more than the rate and the burst allow
    assert len(taken) == 20
    assert all(taken[last] - taken[first] >= (last - first - 5) / 20 - 0.1 for first in range(20) for last in range(20))
    assert time.monotonic() - began >= 15 / 20


def test_a_hold_stops_everybody_and_leaves_no_crowd_behind_it() -> None:
    with shared("requests", rate=20, burst=1) as budget, ThreadPoolExecutor(3) as threads:
        budget.take()
        budget.hold(0.5)
        budget.hold(0.1)  # a shorter one later does not shorten it
        began = time.monotonic()
        ended = sorted(threads.map(lambda _: budget.take() or time.monotonic() - began, range(3)))
    assert ended[0] >= 0.45
    assert ended[2] - ended[0] >= 0.08


def test_what_weighs_more_than_the_burst_waits_for_a_full_rest_and_delays_what_follows() -> None:
    with shared("requests", rate=20, burst=2) as budget:
        budget.take(0)  # it has started
        began = time.monotonic()
        budget.take(10)  # at once, after the rest before
        assert time.monotonic() - began < 0.4
        budget.take()
        assert time.monotonic() - began >= 0.4


@pytest.mark.parametrize(("rate", "burst"), [(0, 1), (1, 0), (-1, 1)])
def test_numbers_out_of_range_are_refused(rate: float, burst: float) -> None:
    with pytest.raises(ValueError, match="allowed is above 0"), shared("requests", rate, burst):
        pass
