from functools import partial
from pathlib import Path

import pytest

from actors.pool import map_actors
from tests.actors import work

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("cluster")]


def loads(directory: Path) -> int:
    return len(list(directory.glob("load-*")))


def test_each_actor_loads_once_and_handles_many_shards(tmp_path: Path) -> None:
    outcomes = list(map_actors(partial(work.PatientSquarer, tmp_path), range(10, 40), name="pool", actors=2))
    assert {outcome.shard: outcome.value[0] for outcome in outcomes} == {n: n * n for n in range(10, 40)}
    assert len({outcome.value[1] for outcome in outcomes}) == loads(tmp_path) == 2


def test_a_killed_actor_is_replaced_and_only_its_own_shard_is_handled_again(tmp_path: Path) -> None:
    outcomes = list(map_actors(partial(work.Squarer, tmp_path), [0, 1, 2, 5, 6, 7], name="pool", actors=1))
    assert {outcome.shard: outcome.value[0] for outcome in outcomes} == {n: n * n for n in (0, 1, 2, 5, 6, 7)}
    assert loads(tmp_path) == 2
    assert {n: work.executions(tmp_path, n) for n in (0, 1, 2, 5, 6, 7)} == {0: 1, 1: 1, 2: 2, 5: 1, 6: 1, 7: 1}


def test_bugs_and_poison_are_outcomes_and_cost_no_other_shard(tmp_path: Path) -> None:
    shards = [0, 3, 4, 5, 6]
    outcomes = map_actors(partial(work.Squarer, tmp_path), shards, name="pool", actors=1, retries=1)
    by_shard = {outcome.shard: outcome for outcome in outcomes}
    assert {n: by_shard[n].value[0] for n in (0, 5, 6)} == {0: 0, 5: 25, 6: 36}
    assert (by_shard[3].value, by_shard[3].error.kind, by_shard[3].error.type_name) == (None, "bug", "KeyError")
    assert (by_shard[4].value, by_shard[4].error.kind) == (None, "system")
    assert [work.executions(tmp_path, n) for n in (3, 4, 5)] == [1, 2, 1]


def test_a_factory_that_raises_fails_every_shard_with_its_error() -> None:
    outcomes = list(map_actors(work.failing_factory, range(5), name="pool", actors=2))
    assert sorted(outcome.shard for outcome in outcomes) == list(range(5))
    assert {(outcome.error.kind, outcome.error.type_name, outcome.error.message) for outcome in outcomes} == {
        ("bug", "FileNotFoundError", "no model at model.keras")
    }


def test_a_factory_that_kills_its_actor_is_given_up_after_the_retries(tmp_path: Path) -> None:
    factory = partial(work.dying_factory, tmp_path)
    outcomes = list(map_actors(factory, range(3), name="pool", actors=1, retries=1))
    assert [(outcome.shard, outcome.error.kind) for outcome in outcomes] == [(n, "system") for n in range(3)]
    assert work.executions(tmp_path, "load") == 2


def test_more_actors_than_there_is_room_for_do_not_hold_the_work_up(tmp_path: Path) -> None:
    outcomes = list(map_actors(partial(work.Squarer, tmp_path), range(10, 22), name="pool", actors=3, cpus=2))
    assert sorted(outcome.value[0] for outcome in outcomes) == [n * n for n in range(10, 22)]
    assert loads(tmp_path) <= 2


def test_closing_the_generator_ends_the_actors(tmp_path: Path) -> None:
    outcomes = map_actors(partial(work.Squarer, tmp_path), range(10, 30), name="pool", actors=2, cpus=2)
    next(outcomes)
    outcomes.close()
    rest = map_actors(partial(work.Squarer, tmp_path), [10], name="pool", actors=1, cpus=4)
    assert [outcome.shard for outcome in rest] == [10]  # all four CPUs would still be taken


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ({"actors": 0}, "pool: actors is 0"),
        ({"actors": 1, "gpus": 1}, "pool: a worker asks for 1 CPU, 1 GPU, but this machine's Ray has 4 CPU, 0 GPU"),
        ({"actors": 1, "retries": -1}, "pool: retries is -1"),
    ],
)
def test_what_can_never_run_is_refused_at_once(argument: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        map_actors(work.failing_factory, [1], name="pool", **argument)
