"""Whoever is granted something notes it later, never earlier: all that is asserted is when it cannot have been yet."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from actors.budget import shared
from actors.fan_out import fan_out
from tests.actors import work

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("cluster")]


def test_all_workers_together_keep_to_the_rate() -> None:
    with shared("requests", rate=8, burst=5) as budget:
        list(fan_out(work.take_times, [0] * 4, name="takers", shared=budget))  # the workers are there
        began = time.monotonic()
        outcomes = list(fan_out(work.take_times, [5, 5, 5, 5], name="takers", shared=budget))
    taken = sorted(moment - began for outcome in outcomes for moment in outcome.value)
    # 5 at once, then one every 125 ms, whoever takes it
    assert all(moment >= (number - 5) / 8 for number, moment in enumerate(taken, start=1))
    assert len(taken) == 20


def test_a_hold_stops_everybody_and_leaves_no_crowd_behind_it() -> None:
    with shared("requests", rate=20, burst=1) as budget, ThreadPoolExecutor(3) as threads:
        budget.take()
        began = time.monotonic()
        budget.hold(0.5)
        budget.hold(0.1)  # a shorter one later does not shorten it
        ended = sorted(threads.map(lambda _: budget.take() or time.monotonic() - began, range(3)))
    assert all(moment >= 0.5 + number / 20 for number, moment in enumerate(ended))


def test_what_weighs_more_than_the_burst_waits_for_a_full_rest_and_delays_what_follows() -> None:
    with shared("requests", rate=20, burst=2) as budget:
        began = time.monotonic()
        budget.take(2)
        budget.take(10)
        assert time.monotonic() - began >= 0.1
        budget.take()
        assert time.monotonic() - began >= 0.1 + 0.45


@pytest.mark.parametrize(("rate", "burst"), [(0, 1), (1, 0), (-1, 1)])
def test_numbers_out_of_range_are_refused(rate: float, burst: float) -> None:
    with pytest.raises(ValueError, match="allowed is above 0"), shared("requests", rate, burst):
        pass
