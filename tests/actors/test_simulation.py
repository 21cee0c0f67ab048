"""The simulated fan-out, against what can be said without one."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.simulation import Machines, Shard, Work, simulate

seconds = st.lists(st.floats(0.01, 100), min_size=1, max_size=60)


@given(seconds, st.integers(1, 20))
def test_one_slot_does_one_after_the_other_and_many_no_worse_than_lists_can(lengths: list[float], slots: int):
    work = Work("w", [Shard(length) for length in sorted(lengths, reverse=True)])
    assert simulate(work, Machines()).seconds == pytest.approx(sum(lengths))
    span = simulate(work, Machines(nodes=slots))
    share = sum(lengths) / slots
    # Graham 1966: no list is worse than that
    assert max(share, max(lengths)) * (1 - 1e-9) <= span.seconds <= share + max(lengths) * (1 - 1 / slots) + 1e-9
    assert span.busy == pytest.approx(sum(lengths) / slots / span.seconds)


@given(seconds, st.integers(1, 20))
def test_what_every_shard_waits_for_adds_up(lengths: list[float], slots: int):
    shards = [Shard(length, requests=3, bytes=7.0) for length in lengths]
    machines = Machines(nodes=slots, round_trip=0.5, node_bandwidth=2.0)
    plain = Work("w", [Shard(length + 1.5 + 3.5) for length in lengths])
    assert simulate(Work("w", shards), machines).seconds == pytest.approx(
        simulate(plain, Machines(nodes=slots)).seconds
    )


def test_workers_of_a_node_share_its_network_and_all_share_the_store():
    work = Work("w", [Shard(0.0, bytes=100.0)] * 8)
    assert simulate(work, Machines(nodes=1, cpus=4, node_bandwidth=100.0)).seconds == pytest.approx(8.0)
    assert simulate(work, Machines(nodes=4, cpus=1, node_bandwidth=100.0)).seconds == pytest.approx(2.0)
    limited = simulate(work, Machines(nodes=4, cpus=1, node_bandwidth=100.0, store_bandwidth=200.0))
    assert limited.seconds == pytest.approx(4.0)
    assert limited.cause == "store bandwidth"


def test_a_store_answers_no_more_than_it_can():
    work = Work("w", [Shard(1.0, requests=100)] * 50)
    free = simulate(work, Machines(nodes=50, round_trip=0.01))
    assert free.seconds == pytest.approx(2.0)
    limited = simulate(work, Machines(nodes=50, round_trip=0.01, store_requests=500.0))
    assert limited.seconds == pytest.approx(10.0)  # 5,000 requests at 500 a second
    assert limited.cause == "store requests"


def test_the_driver_is_the_bottleneck_of_many_short_shards():
    span = simulate(Work("w", [Shard(0.001)] * 1000), Machines(nodes=1000, dispatch=0.01))
    assert span.seconds == pytest.approx(10.0, rel=0.01)
    assert span.cause == "driver"


def test_one_long_ticker_is_named_where_there_are_more_slots_than_work():
    work = Work("w", [Shard(100.0), *[Shard(1.0)] * 50])
    assert simulate(work, Machines(nodes=100)).cause == "largest ticker"
    assert simulate(work, Machines(nodes=1)).cause == "processors"


def test_nodes_and_workers_start_once():
    work = Work("w", [Shard(1.0)], start=5.0)
    machines = Machines(node_start=60.0, worker_start=2.0)
    assert simulate(work, machines).seconds == pytest.approx(68.0)
    assert simulate(work, machines, warm=True).seconds == pytest.approx(6.0)
    assert simulate(work, machines).cause == "starting up"


def test_gpus_limit_the_slots_and_what_fits_nowhere_is_refused():
    work = Work("train", [Shard(1.0)] * 4, cpus=2, gpus=1)
    machines = Machines(nodes=2, cpus=8, gpus=1)
    assert simulate(work, machines).slots == 2
    assert math.isclose(simulate(work, machines).seconds, 2.0)
    with pytest.raises(ValueError, match=r"train: a worker asks for 2 CPU and 1 GPU; a node has 8 and 0"):
        simulate(work, Machines(nodes=2, cpus=8))


def test_no_shards_take_the_driver_s_time_alone():
    assert simulate(Work("w", [], alone=3.0), Machines()).seconds == 3.0
