"""A driver apart from the tests, since Ray may end one that is cut off.

`python -m tests.faults.driving WAY ADDRESS DIRECTORY` prints a line for each outcome; Ray adds lines of its own.
"""

import sys
from functools import partial
from pathlib import Path

import ray

from actors import outcome
from actors.fan_out import fan_out
from actors.pool import map_actors
from tests.conftest import ROOT
from tests.faults import work

if __name__ == "__main__":
    way, address, directory = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    outcome.SECONDS_BETWEEN_LOOKS = 0.5
    ray.init(
        address=address,
        configure_logging=False,
        log_to_driver=False,
        runtime_env={"env_vars": {"PYTHONPATH": str(ROOT)}},
    )
    shards = [1, 2, 0, 3, 4, 5]
    for result in (
        fan_out(work.wait_for_leave, shards, name="tasks", shared=directory)
        if way == "tasks"
        else map_actors(partial(work.Waiter, directory), shards, name="pool", actors=1)
    ):
        print("outcome", result.shard, result.error and result.error.type_name, flush=True)  # noqa: T201 - read by the test
