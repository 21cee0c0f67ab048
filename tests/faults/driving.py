"""A driver apart from the tests, since Ray ends one that is cut off.

`python -m tests.faults.driving ADDRESS DIRECTORY` asks for a worker once it has leave to, when its own node is gone.
"""

import os
import sys
from pathlib import Path

import ray

from actors.outcome import ClusterLostError, collect, worked
from tests.faults import work

if __name__ == "__main__":
    directory = Path(sys.argv[2])
    ray.init(address=sys.argv[1], configure_logging=False, log_to_driver=False)
    task = ray.remote(max_retries=0)(worked)
    for shard in (1, 0):
        assert collect(task.remote(1, work.wait_for_leave, shard, directory))[:2] == (shard, None)
    try:  # by no worker leased before
        collect(task.options(num_cpus=0.5).remote(1, work.wait_for_leave, 2, directory))
    except ClusterLostError as error:
        print(error, flush=True)  # noqa: T201 - read by the test
        os._exit(3)  # Ray's own end would wait for the node
