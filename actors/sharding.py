"""How items are grouped into shards: balanced, the same every time, and each worth a task."""

import heapq
import math
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

SHARDS_PER_WORKER = 4  # so that the last shard to finish keeps the others idle for a quarter of the run at most
SHORTEST_SHARD_SECONDS = 1.0  # below that the scheduling shows
LONGEST_SHARD_SECONDS = 60.0  # above that a lost worker costs too much and progress stands still


def shards(
    items: Sequence[T],
    weights: Sequence[float] | None = None,
    *,
    workers: int,
    seconds_per_weight: float | None = None,
) -> list[list[T]]:
    """Groups items into shards of about equal weight, the heaviest shard first.

    Items go in order of falling weight, each to the lightest shard so far (longest processing time first, Graham
    1969), so that two shards differ by at most the heaviest item. Within a shard the items keep their order. The
    result depends on nothing but the arguments.

    Args:
        items: each ends up in exactly one shard.
        weights: of each item, 0 or more, such as its rows; by default all the same.
        workers: that share the work, 1 or more.
        seconds_per_weight: estimate of the work; where given, shards are no shorter than about a second and, as
            long as there are items to divide, no longer than about a minute.

    Returns:
        No empty shards; none at all where there are no items.

    Raises:
        ValueError: a weight, the number of weights, `workers` or `seconds_per_weight` is out of range.
    """
    weights = [1.0] * len(items) if weights is None else weights
    _validate(len(items), weights, workers, seconds_per_weight)
    seconds = None if seconds_per_weight is None else seconds_per_weight * math.fsum(weights)
    count = min(len(items), _number(workers, seconds))
    lightest = [(0.0, 0, shard) for shard in range(count)]
    members: list[list[int]] = [[] for _ in range(count)]
    for position in sorted(range(len(items)), key=lambda position: (-weights[position], position)):
        weight, size, shard = heapq.heappop(lightest)
        members[shard].append(position)
        heapq.heappush(lightest, (weight + weights[position], size + 1, shard))
    heaviest_first = sorted(lightest, key=lambda entry: (-entry[0], entry[2]))
    return [[items[position] for position in sorted(members[shard])] for _, _, shard in heaviest_first]


def _number(workers: int, seconds: float | None) -> int:
    balanced = SHARDS_PER_WORKER * workers
    if seconds is None:
        return balanced
    wanted = max(balanced, math.ceil(seconds / LONGEST_SHARD_SECONDS))
    return max(1, min(wanted, math.floor(seconds / SHORTEST_SHARD_SECONDS)))


def _validate(items: int, weights: Sequence[float], workers: int, seconds_per_weight: float | None) -> None:
    if workers < 1:
        raise ValueError(f"workers is {workers}; allowed is 1 or more.")
    if len(weights) != items:
        raise ValueError(f"There are {len(weights)} weights for {items} items; every item needs one.")
    for position, weight in enumerate(weights):
        if not 0 <= weight < math.inf:
            raise ValueError(f"The weight of item {position} is {weight}; allowed are finite numbers from 0 up.")
    if seconds_per_weight is not None and not 0 < seconds_per_weight < math.inf:
        raise ValueError(f"seconds_per_weight is {seconds_per_weight}; allowed are finite numbers above 0, or None.")
