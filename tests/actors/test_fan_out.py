import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from actors.connect import Cluster
from actors.fan_out import fan_out
from actors.outcome import NODE_LOSSES, Attempt, ShardError, WorkerLost
from tests.actors import resumable, work
from tests.conftest import ROOT

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("cluster")]


def lost(node: bool) -> WorkerLost:
    return WorkerLost(ShardError("system", "WorkerCrashedError", "gone", ""), node)


def test_worker_losses_use_up_the_retries_and_node_losses_do_not() -> None:
    attempt = Attempt("shard")
    for _ in range(5):
        attempt = attempt.after(lost(node=True), retries=1)
    attempt = attempt.after(lost(node=False), retries=1)
    assert attempt == Attempt("shard", worker_losses=1, node_losses=5)
    assert attempt.after(lost(node=False), retries=1) is None
    assert Attempt("shard", node_losses=NODE_LOSSES).after(lost(node=True), retries=1) is None


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_results_are_the_same_at_any_number_of_workers(workers: int) -> None:
    outcomes = fan_out(work.square, range(20), name="square", in_flight=workers)
    assert {outcome.shard: outcome.value for outcome in outcomes} == {n: n * n for n in range(20)}


def test_an_exception_costs_its_own_shard_and_is_not_retried(tmp_path: Path) -> None:
    outcomes = {
        outcome.shard: outcome for outcome in fan_out(work.square_unless_three, range(6), name="t", shared=tmp_path)
    }
    error = outcomes[3].error
    assert (error.kind, error.type_name, error.message) == ("bug", "KeyError", "'no such ticker'")
    assert "square_unless_three" in error.traceback
    assert outcomes[3].value is None
    assert {n: outcomes[n].value for n in outcomes if outcomes[n].error is None} == {0: 0, 1: 1, 2: 4, 4: 16, 5: 25}
    assert [work.executions(tmp_path, n) for n in range(6)] == [1] * 6


def test_errors_and_results_that_do_not_pickle_and_exits_are_bugs() -> None:
    ways = ["unpicklable error", "unpicklable result", "exit", "none"]
    outcomes = {outcome.shard: outcome for outcome in fan_out(work.raise_in_many_ways, ways, name="ways")}
    assert {way: outcomes[way].error and outcomes[way].error.type_name for way in ways} == {
        "unpicklable error": "UnpicklableError",
        "unpicklable result": "TypeError",
        "exit": "SystemExit",
        "none": None,
    }
    assert {outcome.error.kind for outcome in outcomes.values() if outcome.error} == {"bug"}


def test_a_shard_whose_worker_was_killed_runs_again(tmp_path: Path) -> None:
    outcomes = list(fan_out(work.die_the_first_time, range(4), name="die", shared=tmp_path))
    assert {outcome.shard: outcome.value for outcome in outcomes} == {0: 0, 1: 1, 2: 4, 3: 9}
    assert [work.executions(tmp_path, n) for n in range(4)] == [1, 2, 1, 1]


def test_a_poisonous_item_costs_no_other(tmp_path: Path) -> None:
    outcomes = list(
        fan_out(
            work.die_of_poison,
            [[1, 2], [4, 5, 6]],
            name="poison",
            shared=tmp_path,
            retries=1,
            split=lambda shard: [[item] for item in shard],
        )
    )
    values = {tuple(outcome.shard): outcome.value for outcome in outcomes}
    assert values == {(1, 2): [1, 4], (4,): [16], (5,): None, (6,): [36]}
    (poisoned,) = [outcome for outcome in outcomes if outcome.error]
    assert (poisoned.shard, poisoned.error.kind) == ([5], "system")
    assert [work.executions(tmp_path, shard) for shard in ("4-5-6", "4", "5", "6")] == [2, 1, 2, 1]


def test_without_retries_and_split_a_dead_worker_is_the_outcome(tmp_path: Path) -> None:
    (outcome,) = fan_out(work.die_of_poison, [[5, 6]], name="poison", shared=tmp_path, retries=0)
    assert (outcome.value, outcome.error.kind, outcome.error.type_name) == (None, "system", "WorkerCrashedError")
    assert work.executions(tmp_path, "5-6") == 1


def test_no_more_than_the_bound_is_in_flight(tmp_path: Path) -> None:
    together = [outcome.value for outcome in fan_out(work.overlap, range(8), name="o", shared=tmp_path, in_flight=2)]
    assert max(together) == 2


def test_nothing_is_submitted_before_the_caller_asks_nor_beyond_the_bound(tmp_path: Path) -> None:
    outcomes = fan_out(work.square_unless_three, range(10, 20), name="lazy", shared=tmp_path, in_flight=2)
    assert list(tmp_path.iterdir()) == []
    next(outcomes)
    time.sleep(0.5)
    assert len(list(tmp_path.iterdir())) <= 2
    outcomes.close()


def test_shared_arrays_arrive_read_only_and_without_a_copy() -> None:
    shared = np.arange(200_000, dtype=np.float64)
    outcomes = fan_out(work.describe_array, range(3), name="shared", shared=shared)
    assert [outcome.value for outcome in outcomes] == [(False, False, shared.sum())] * 3


def test_closures_are_shipped_too() -> None:
    offset = 7
    assert [outcome.value for outcome in fan_out(lambda shard: shard + offset, [1], name="closure")] == [8]


def test_closing_the_generator_ends_what_runs(tmp_path: Path) -> None:
    outcomes = fan_out(work.wait_unless_zero, range(8), name="close", shared=tmp_path, in_flight=5)
    assert next(outcomes).shard == 0
    outcomes.close()
    after = fan_out(work.square, range(8), name="after")  # all four CPUs would still be taken
    assert len(list(after)) == 8
    assert len(list(tmp_path.iterdir())) < 8


def test_no_shards_are_no_outcomes() -> None:
    assert list(fan_out(work.square, [], name="nothing")) == []


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ({"cpus": 0}, "big: cpus is 0"),
        ({"cpus": 5}, "big: a worker asks for 5 CPU, but this machine's Ray has 4 CPU"),
        ({"gpus": 1}, "big: a worker asks for 1 CPU, 1 GPU, but this machine's Ray has 4 CPU, 0 GPU"),
        ({"memory": 2**60}, "big: a worker asks for 1 CPU, 1,152,921,504.6 GB of memory"),
        ({"in_flight": 0}, "big: in_flight is 0"),
        ({"retries": -1}, "big: retries is -1"),
    ],
)
def test_what_can_never_run_is_refused_at_once(argument: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fan_out(work.square, [1], name="big", **argument)


def drive(directory: Path, stop_after: int | None, stop: signal.Signals | None) -> tuple[set[int], int]:
    """Runs the driver, sends it the signal after some shards; returns which shards it set out to do, and its code."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.actors.resumable", str(directory)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        # whoever runs the tests in the background has Ctrl-C ignored, and that is inherited
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as driver:
        missing = {int(shard) for shard in driver.stdout.readline().split()[1:]}
        for count, _ in enumerate(driver.stdout, start=1):
            if count == stop_after:
                os.kill(driver.pid, stop)
    return missing, driver.returncode


def test_a_driver_interrupted_and_run_again_loses_nothing_and_repeats_nothing(tmp_path: Path) -> None:
    everything = set(range(resumable.SHARDS))
    first, killed = drive(tmp_path, 4, signal.SIGKILL)
    assert (first, killed) == (everything, -signal.SIGKILL)
    kept = resumable.done(tmp_path)
    assert 4 <= len(kept) < len(everything)
    second, interrupted = drive(tmp_path, 4, signal.SIGINT)
    assert interrupted not in (0, -signal.SIGKILL)
    assert second <= everything - kept
    kept_then = resumable.done(tmp_path)
    assert kept < kept_then < everything
    third, code = drive(tmp_path, None, None)
    assert (third, code) == (everything - kept_then, 0)
    assert {int(path.stem): int(path.read_text()) for path in tmp_path.glob("*.done")} == {n: n * n for n in everything}


def test_the_cluster_is_as_it_was_asked_for(cluster: Cluster) -> None:
    assert (cluster.cpus, cluster.nodes, cluster.local) == (4, 1, True)
