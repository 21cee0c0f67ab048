"""What a shard sees of machines that go, on several real Ray nodes; the driver is at a head that computes nothing."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from ray.cluster_utils import Cluster

from actors import outcome
from actors.fan_out import fan_out
from actors.outcome import Outcome
from actors.pool import map_actors
from tests.conftest import ROOT
from tests.faults import work
from tests.faults.nodes import (
    STORE,
    add,
    add_with_room,
    head,
    joined,
    raylet,
    remove_all,
    text,
    vanish,
    wait,
)

# Nodes are started by the thread of the test, as Ray demands; the driver's loop runs on another one.
pytestmark = [pytest.mark.ray, pytest.mark.timeout(180)]

Spread = Callable[..., Iterator[Outcome[Any, Any]]]


@pytest.fixture(scope="module")
def bare() -> Iterator[Cluster]:
    with head() as cluster, joined(cluster):
        yield cluster


@pytest.fixture
def cluster(bare: Cluster) -> Iterator[Cluster]:
    """A head alone, before and after each test."""
    yield bare
    remove_all(bare)


def by_tasks(directory: Path, shards: list[int], retries: int) -> Iterator[Outcome[Any, Any]]:
    return fan_out(work.wait_for_leave, shards, name="tasks", shared=directory, retries=retries)


def by_actors(directory: Path, shards: list[int], retries: int) -> Iterator[Outcome[Any, Any]]:
    return map_actors(partial(work.Waiter, directory), shards, name="pool", actors=1, retries=retries)


def at(directory: Path, shard: object, times: int) -> list[str]:
    """Node and process of the latest of so many executions of a shard, once that has begun."""
    wait(lambda: text(directory / f"{shard}.at").count("\n") >= times)
    return text(directory / f"{shard}.at").splitlines()[times - 1].split()


def ended(outcomes: Iterator[Outcome[Any, Any]]) -> dict[Any, Outcome[Any, Any]]:
    return {outcome.shard: outcome for outcome in outcomes}


@pytest.mark.parametrize(("spread", "vanished"), [(by_tasks, 2), (by_actors, 1)])
def test_machines_that_go_one_after_the_other_use_up_no_retries(
    cluster: Cluster, tmp_path: Path, spread: Spread, vanished: int
) -> None:
    """A worker is told to end, as all are where a machine shuts down; then nodes vanish. No crash is allowed."""
    add(cluster)
    with ThreadPoolExecutor(1) as driver:
        running = driver.submit(lambda: ended(spread(tmp_path, [0, 1, 2], retries=0)))
        try:
            os.kill(int(at(tmp_path, 0, 1)[1]), signal.SIGTERM)
            for count in range(2, 2 + vanished):
                add(cluster)
                (node,) = [node for node in cluster.worker_nodes if node.node_id == at(tmp_path, 0, count)[0]]
                vanish(cluster, node)
            at(tmp_path, 0, 2 + vanished)
        finally:
            (tmp_path / "leave").touch()
    assert {shard: outcome.value for shard, outcome in running.result().items()} == {0: 0, 1: 1, 2: 4}
    assert text(tmp_path / "0.at").count("\n") == 2 + vanished


def test_only_what_uses_up_the_memory_fails_and_says_what_to_do(cluster: Cluster, tmp_path: Path) -> None:
    """Ray's own memory monitor kills what is at work once a gigabyte more is in use than before."""
    add_with_room(cluster, 2**30)
    outcomes = fan_out(
        work.hungry_with_poison,
        [[4, 5, 6], [1, 2]],
        name="hungry",
        shared=tmp_path,
        retries=1,
        split=lambda shard: [[item] for item in shard],
    )
    found = {tuple(outcome.shard): outcome for outcome in outcomes}
    assert {shard: outcome.value for shard, outcome in found.items()} == {
        (1, 2): [1, 4], (4,): [16], (5,): None, (6,): [36],
    }  # fmt: skip
    error = found[5,].error
    assert (error.kind, error.type_name) == ("system", "OutOfMemoryError")
    assert error.message.startswith("out of memory: 1 worker(s) were killed due to the node running low on memory.")
    assert error.message.endswith(outcome.MORE_ROOM)
    # twice each, of which the monitor may end one before it has left its trace, where others take memory meanwhile
    assert all(1 <= text(tmp_path / f"{shard}.at").count("\n") <= 2 for shard in ("4-5-6", "5"))


def test_a_shard_gets_through_once_the_memory_is_free_again(cluster: Cluster, tmp_path: Path) -> None:
    full = add_with_room(cluster)
    with ThreadPoolExecutor(1) as driver:
        running = driver.submit(lambda: ended(by_tasks(tmp_path, [0, 1], retries=100)))
        try:
            at(tmp_path, 0, 2)  # it has been killed once
            free = add(cluster)
            cluster.remove_node(full)
            wait(lambda: text(tmp_path / "0.at").splitlines()[-1].split()[0] == free.node_id)
        finally:
            (tmp_path / "leave").touch()
    assert {shard: outcome.value for shard, outcome in running.result().items()} == {0: 0, 1: 1}


def test_shards_and_results_that_do_not_fit_the_object_stores_come_through(cluster: Cluster) -> None:
    """The results that the caller holds on to are twice what a store takes; they are spilled to disk."""
    add(cluster)
    size = STORE // 8
    outcomes = list(fan_out(work.twice, [bytes([number]) * size for number in range(8)], name="large"))
    assert sorted(outcome.value[0] for outcome in outcomes) == list(range(8))
    assert all(outcome.value == outcome.shard * 2 for outcome in outcomes)


@pytest.mark.slow
def test_a_driver_that_has_lost_its_own_node_ends_and_blames_no_shard(tmp_path: Path) -> None:
    """Whatever needs a new worker fails from then on, until Ray ends the driver, by default after 15 seconds."""
    with head(health_check_failure_threshold=20) as cluster:
        add(cluster)
        with subprocess.Popen(
            [sys.executable, "-m", "tests.faults.driving", cluster.address, str(tmp_path)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        ) as driver:
            at(tmp_path, 0, 1)
            os.kill(raylet(cluster.head_node), signal.SIGKILL)
            (tmp_path / "leave").touch()
            messages = driver.communicate(timeout=90)[0]
        remove_all(cluster)
    assert "The Ray node that the driver belongs to is gone" in messages
    assert driver.returncode == 3
