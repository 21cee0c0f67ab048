"""Drivers that the tests start apart, since a process has one Ray: `python -m tests.actors.joining WAY [ADDRESS]`.

What they print is one line of JSON.
"""

import json
import os
import sys
from dataclasses import asdict
from typing import Any

import ray

from actors import outcome
from actors.connect import connect
from actors.fan_out import fan_out


def surroundings(shard: int) -> dict[str, str | None]:
    """Returns what a worker sees; belongs to `__main__` here and so travels by value."""
    variables = ("OMP_NUM_THREADS", "RAY_ADDRESS", "TOLD")
    return {name: os.environ.get(name) for name in variables} | {"code": outcome.__file__}


def listening() -> list[str]:
    """Returns the IP addresses at which this process and its children listen."""
    import psutil  # comes inside Ray, which has to be imported first

    mine = {os.getpid(), *(child.pid for child in psutil.Process().children(recursive=True))}
    connections = psutil.net_connections("tcp")
    return sorted({each.laddr.ip for each in connections if each.pid in mine and each.status == psutil.CONN_LISTEN})


def local() -> dict[str, Any]:
    """Starts Ray here twice, nested and with an exception, and says what it and its workers are like."""
    address = os.environ.get("RAY_ADDRESS")
    with connect(None, 2) as cluster:
        with connect("198.51.100.7:6379", None) as nested:
            pass
        (worker,) = fan_out(surroundings, [0], name="local")
        addresses = listening()
        left_open = fan_out(surroundings, range(8), name="left open")
        next(left_open)
    left_open.close()
    running = [ray.is_initialized()]
    try:
        with connect(None, 1):
            raise KeyError("in the driver")
    except KeyError:
        running.append(ray.is_initialized())
    return {
        "cluster": asdict(cluster),
        "same when nested": nested == cluster,
        "worker": worker.value,
        "listening": addresses,
        "running afterwards": running,
        "address kept": os.environ.get("RAY_ADDRESS") == address,
    }


def join(address: str | None) -> dict[str, Any]:
    with connect(address, 2) as cluster:
        (worker,) = fan_out(surroundings, [0], name="join")
    return {"cluster": asdict(cluster), "worker": worker.value}


if __name__ == "__main__":
    way, *arguments = sys.argv[1:]
    print(json.dumps(local() if way == "local" else join(*arguments or [None])))  # noqa: T201 - read by the test
