"""How long a fan-out takes, by going through it shard by shard: the driver, the workers, the store and the nodes.

A model of `actors.fan_out` and not of Ray: shards go out in order, at most two for each slot are in flight, the
driver sends and receives one at a time, and what workers ask of object storage is shared between them. Its figures
are measured (docs/scale.md), and so is how well it foretells real runs.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from actors.fan_out import TASKS_PER_SLOT

Cause = Literal["processors", "largest ticker", "driver", "starting up", "store requests", "store bandwidth"]


@dataclass(frozen=True)
class Shard:
    """What a shard asks for: seconds on a core, requests to the store one after the other, bytes from and to it."""

    seconds: float
    requests: float = 0.0
    bytes: float = 0.0


@dataclass(frozen=True)
class Work:
    """A stage: its shards in the order in which they go out.

    Parameters
    ----------
    alone
        Seconds of the driver before the first shard and after the last one, while nobody else works.
    start
        Seconds of each worker before its first shard, beyond those of the machines.
    cpus, gpus
        Of each worker.
    workers
        Most at once; None for what fits.
    """

    name: str
    shards: Sequence[Shard]
    alone: float = 0.0
    start: float = 0.0
    cpus: float = 1.0
    gpus: float = 0.0
    workers: int | None = None


@dataclass(frozen=True)
class Machines:
    """Where the work runs.

    Parameters
    ----------
    nodes, cpus, gpus
        Worker nodes, and the cores and GPUs of each.
    node_start
        Seconds until a node is there; 0 where all are up.
    worker_start
        Seconds until a worker process is at its first shard.
    dispatch
        Seconds of the driver for each shard: to send it, and to take its result.
    round_trip
        Seconds that the store takes to answer; next to 0 on a local disk.
    node_bandwidth, store_bandwidth
        Bytes a second of a node's network, and of the store over all of them.
    store_requests
        Requests a second that the store answers over all nodes, before it says slow down.
    """

    nodes: int = 1
    cpus: float = 1.0
    gpus: float = 0.0
    node_start: float = 0.0
    worker_start: float = 0.0
    dispatch: float = 0.0
    round_trip: float = 0.0
    node_bandwidth: float = float("inf")
    store_bandwidth: float = float("inf")
    store_requests: float = float("inf")

    def slots(self, work: Work) -> int:
        """Workers of a stage that run side by side; 0 where not one fits on a node."""
        by_node = self.cpus / work.cpus
        if work.gpus:
            by_node = min(by_node, self.gpus / work.gpus)
        return min(self.nodes * int(by_node), work.workers or self.nodes * int(by_node))


@dataclass(frozen=True)
class Span:
    """How a stage went: its length in seconds, the share of it that its slots were at work, and what held it up.

    ``bounds`` are the seconds that each cause alone would have taken.
    """

    name: str
    seconds: float
    busy: float
    slots: int
    bounds: dict[Cause, float]

    @property
    def cause(self) -> Cause:
        """What held the stage up most."""
        return max(self.bounds, key=lambda cause: self.bounds[cause])


def simulate(work: Work, machines: Machines, *, warm: bool = False) -> Span:
    """Go through a stage on machines.

    Parameters
    ----------
    warm
        Whether nodes and workers are there from the stage before.

    Raises
    ------
    ValueError
        If not one worker fits on a node.
    """
    slots = machines.slots(work)
    if not work.shards:
        return Span(work.name, work.alone, 0.0, slots, {"driver": work.alone})
    if slots < 1:
        raise ValueError(
            f"{work.name}: a worker asks for {work.cpus:g} CPU and {work.gpus:g} GPU; a node has {machines.cpus:g} and "
            f"{machines.gpus:g}."
        )
    used = min(slots, len(work.shards))
    begin = work.start + (0.0 if warm else machines.node_start + machines.worker_start)
    lengths = _lengths(work, machines, used)
    seconds = _gone_through(lengths, slots, begin, machines.dispatch)
    bounds: dict[Cause, float] = {
        "processors": sum(shard.seconds for shard in work.shards) / slots,
        "largest ticker": max(shard.seconds for shard in work.shards),
        "driver": work.alone + machines.dispatch * len(work.shards),
        "starting up": begin,
        "store requests": sum(shard.requests for shard in work.shards) * _round_trip(work, machines, used) / used,
        "store bandwidth": sum(shard.bytes for shard in work.shards) / _bandwidth(machines, used) / used,
    }
    return Span(work.name, work.alone + seconds, sum(lengths) / (slots * seconds), slots, bounds)


def _lengths(work: Work, machines: Machines, used: int) -> list[float]:
    """Seconds of each shard: computing, waiting for answers, and moving bytes through its share of the network."""
    bandwidth = _bandwidth(machines, used)
    round_trip = _round_trip(work, machines, used)
    return [shard.seconds + shard.requests * round_trip + shard.bytes / bandwidth for shard in work.shards]


def _bandwidth(machines: Machines, used: int) -> float:
    """Bytes a second of one of the workers that are in use."""
    by_node = machines.node_bandwidth * min(machines.nodes, used)
    return min(by_node, machines.store_bandwidth) / used


def _round_trip(work: Work, machines: Machines, used: int) -> float:
    """Seconds of an answer: longer where all workers together ask for more than the store answers."""
    requests = sum(shard.requests for shard in work.shards)
    seconds = sum(shard.seconds for shard in work.shards)
    if not requests:
        return machines.round_trip
    fewest = used / machines.store_requests - seconds / requests
    return max(machines.round_trip, fewest)


def _gone_through(lengths: Sequence[float], slots: int, begin: float, dispatch: float) -> float:
    """Seconds until the driver has taken the last result: half of the dispatch is the sending, half the taking."""
    free = [begin] * min(slots, len(lengths))
    flying: list[float] = []
    driver = 0.0
    for length in lengths:
        if len(flying) >= TASKS_PER_SLOT * slots:
            driver = max(driver, heapq.heappop(flying)) + dispatch / 2
        driver += dispatch / 2
        end = max(driver, heapq.heappop(free)) + length
        heapq.heappush(free, end)
        heapq.heappush(flying, end)
    for end in sorted(flying):
        driver = max(driver, end) + dispatch / 2
    return driver
