import sys
from collections import Counter
from pathlib import Path

import pytest

from actors.connect import Cluster
from actors.trials import Result, TuningError, best
from actors.tune import Resources, run_asha, run_hyperband
from tests.actors import tunable
from tests.jobs.conftest import kill_once

pytestmark = pytest.mark.ray


def trained(directory: Path) -> list[tuple[str, int, int]]:
    """Rate and epoch of every epoch trained, and how many states were kept at that moment."""
    file = directory / "epochs.txt"
    lines = [line.split() for line in file.read_text().splitlines()] if file.exists() else []
    return [(rate, int(epoch), int(states)) for rate, epoch, states in lines]


def epochs(directory: Path) -> Counter[tuple[str, int]]:
    return Counter((rate, epoch) for rate, epoch, _ in trained(directory))


def states(directory: Path) -> list[Path]:
    return list(directory.rglob("state/state"))


@pytest.fixture(scope="module")
def one_by_one(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Result]]:
    """What undisturbed runs come to."""
    folder = tmp_path_factory.mktemp("undisturbed")
    results = {}
    for algorithm in ("hyperband", "asha"):
        results[algorithm] = tunable.tune(algorithm, tunable.study(folder / algorithm))
        assert set(epochs(folder / algorithm).values()) == {1}
        assert states(folder / algorithm) == []
    # three of bracket 1, of which one may go on, and two of bracket 0, whose states go at their ends
    assert max(kept for *_, kept in trained(folder / "hyperband")) <= 3
    assert max(kept for *_, kept in trained(folder / "asha")) <= 1
    return results


def test_hyperband_trains_what_its_brackets_say(one_by_one: dict[str, list[Result]]) -> None:
    results = one_by_one["hyperband"]
    assert [(result.number, result.bracket) for result in results] == [(0, 1), (1, 1), (2, 1), (3, 0), (4, 0)]
    assert sorted(result.trained for result in results[:3]) == [1, 1, 3]
    assert [(result.trained, result.status) for result in results[3:]] == [(3, "finished")] * 2
    assert Counter(result.status for result in results[:3]) == {"stopped": 2, "finished": 1}


def test_asha_gives_some_up(one_by_one: dict[str, list[Result]]) -> None:
    results = one_by_one["asha"]
    assert len(results) == 8
    assert {result.status for result in results} == {"stopped", "finished"}


def test_side_by_side_hyperband_ends_the_same_and_one_failure_costs_no_other(
    one_by_one: dict[str, list[Result]], tmp_path: Path
) -> None:
    expected = one_by_one["hyperband"]
    low, high = (pick(result.configuration["rate"] for result in expected) for pick in (min, max))
    shared = {"fails_below": low * 1.01, "dies_above": high * 0.99}
    alone, together = (
        tunable.tune("hyperband", tunable.study(tmp_path / str(count), shared=shared), count) for count in (1, 2)
    )
    assert alone == together
    assert [result.configuration for result in together] == [result.configuration for result in expected]
    failed = {result.configuration["rate"]: result for result in together if result.status == "failed"}
    assert set(failed) == {low, high}
    assert failed[low].error == f"ValueError: the rate {low} is too low"
    assert "died" in failed[high].error
    assert all(result.metrics for result in together if result.status != "failed")
    assert states(tmp_path) == []


@pytest.mark.parametrize("algorithm", [pytest.param("hyperband", marks=pytest.mark.slow), "asha"])
def test_a_killed_run_goes_on_where_it_was(algorithm: str, one_by_one: dict[str, list[Result]], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.actors.tunable", str(tmp_path), algorithm]
    kill_once(command, lambda: len(trained(tmp_path)) >= 4, seconds=300)
    before = epochs(tmp_path)
    resumed = tunable.tune(algorithm, tunable.study(tmp_path))
    assert resumed == one_by_one[algorithm]
    repeated = epochs(tmp_path) - Counter(set(epochs(tmp_path)))
    assert sum(repeated.values()) <= 1  # the one in flight
    assert before.total() < epochs(tmp_path).total()
    assert states(tmp_path) == []


def test_a_trial_that_ends_by_itself_is_finished_and_not_asked_again(cluster: Cluster, tmp_path: Path) -> None:
    given = tunable.study(tmp_path, shared={"patience": 1}, metric="loss", mode="min")
    results = tunable.tune("hyperband", given)
    assert [(result.trained, result.status) for result in results[3:]] == [(1, "finished")] * 2
    assert sorted((result.trained, result.status) for result in results[:3]) == [
        *[(1, "stopped")] * 2,
        (2, "finished"),
    ]
    assert best(given, results).metrics["loss"] == min(result.metrics["loss"] for result in results)


def test_what_another_search_left_behind_changes_nothing(one_by_one: dict[str, list[Result]], tmp_path: Path) -> None:
    """Records are shared by what decides a trial's course; how far another search took it does not count."""
    widest = tunable.study(tmp_path / "both", factor=2)
    run_hyperband(widest, Resources(concurrent=1), iterations=2)
    trained_before = epochs(tmp_path / "both")
    assert run_hyperband(tunable.study(tmp_path / "both"), Resources(concurrent=1)) == one_by_one["hyperband"]
    assert trained_before & epochs(tmp_path / "both") == trained_before
    assert tunable.tune("asha", tunable.study(tmp_path / "both")) == one_by_one["asha"]


def test_a_trial_that_fails_late_failed_late_when_it_is_asked_for_again(cluster: Cluster, tmp_path: Path) -> None:
    given = tunable.study(tmp_path, shared={"fails_at": 2, "fails_with": 64})
    first = tunable.tune("hyperband", given)
    assert "failed" in {result.status for result in first}
    assert tunable.tune("hyperband", given) == first


@pytest.mark.parametrize("algorithm", ["hyperband", "asha"])
def test_where_all_fail_the_first_error_is_told(algorithm: str, cluster: Cluster, tmp_path: Path) -> None:
    given = tunable.study(tmp_path, shared={"fails_below": 1.0})
    with pytest.raises(TuningError, match=r"all of the \d trials failed; the first, .*ValueError: the rate .* too low"):
        if algorithm == "hyperband":
            run_hyperband(given, Resources(concurrent=2))
        else:
            run_asha(given, Resources(concurrent=2), trials=1)


def test_what_cannot_be_is_refused(cluster: Cluster, tmp_path: Path) -> None:
    given = tunable.study(tmp_path)
    with pytest.raises(ValueError, match="0 trials are asked for; allowed: 1 or more"):
        run_asha(given, Resources(), trials=0)
    with pytest.raises(ValueError, match="a worker asks for 9999 CPU"):
        run_asha(given, Resources(cpus=9999), trials=1)
    with pytest.raises(ValueError, match=r"space of 2 .*; allowed: as many as it has"):
        run_hyperband(tunable.study(tmp_path, space={"rate": (0.1, 0.2)}), Resources())
