"""The one way to spread shards of work over the cluster: plain tasks, bounded in flight, in finish order."""

import logging
import math
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from typing import Any, TypeVar

import ray

from actors import metrics
from actors.connect import require
from actors.nodes import SECONDS_BETWEEN_LOOKS, Resources, Waiting, offer
from actors.outcome import Attempt, Outcome, ShardError, WorkerLost, collect, counted, first, worked
from actors.place import Place

__all__ = ["Outcome", "ShardError", "fan_out"]

T = TypeVar("T")
R = TypeVar("R")

TASKS_PER_SLOT = 2  # one running, one waiting: a free worker never waits for the driver
TASKS_AHEAD = 1000  # shown to an autoscaler at most, which starts nodes only for tasks that wait
CANCEL_ATTEMPTS = 20  # half a second apart

log = logging.getLogger("assay")


def fan_out(
    function: Callable[..., R],
    shards: Sequence[T],
    *,
    name: str,
    cpus: float = 1,
    gpus: float = 0,
    memory: int | None = None,
    shared: object | None = None,
    in_flight: int | None = None,
    retries: int = 3,
    split: Callable[[T], list[T]] | None = None,
) -> Generator[Outcome[T, R], None, None]:
    """Runs `function(shard)` for every shard on the connected cluster and yields the outcomes as they finish.

    An exception raised by the function is an outcome and is not retried. A worker that dies (a crash, a kill for
    memory) costs one of the shard's retries; a node that goes has an allowance of its own, so that preemptions do
    not use them up. When the retries are used up and `split` makes several pieces of the shard, each piece runs
    on its own with fresh retries, so that one poisonous item costs no other.

    The driver holds no more than the results in flight. Closing the generator, an exception or Ctrl-C in the
    driver included, cancels what is in flight.

    Args:
        function: takes a shard, and `shared` where it is given; best a module's function, which is sent by name.
            What it returns should be small.
        shards: best worth about a second or more each (see `actors.sharding.shards`).
        name: of the work, for log lines and Ray's tools.
        cpus: of each task, above 0.
        gpus: of each task; fractions share one.
        memory: bytes reserved for each task; None reserves nothing.
        shared: input of all shards, put into the object store once; NumPy arrays arrive without a copy, read-only.
        in_flight: most tasks at once; by default twice what fits on the cluster, which grows with it, and as many as
            fit on all that its autoscaler could start, up to 1,000: nodes come only for tasks that wait.
        retries: of a shard whose worker died.
        split: cuts a shard that keeps killing its worker into pieces.

    Raises:
        ValueError: a number is out of range, or the cluster can never offer `cpus`, `gpus` or `memory`.
        RuntimeError: called outside `actors.connect.connect`.
        ClusterLostError: while it runs, where the driver's own node is gone.
    """
    require(name, cpus=cpus, gpus=gpus, memory=memory)
    if in_flight is not None and in_flight < 1:
        raise ValueError(f"{name}: in_flight is {in_flight}; allowed is 1 or more, or None for twice what fits.")
    if retries < 0:
        raise ValueError(f"{name}: retries is {retries}; allowed is 0 or more.")
    # Ray's own retries count a preempted node like a crash and never end for a task killed for memory.
    task = _run.options(name=name, num_cpus=cpus, num_gpus=gpus, memory=memory, max_retries=0)
    request = {"CPU": cpus, "GPU": gpus, "memory": memory or 0}
    limit = (lambda: in_flight) if in_flight is not None else _capacity(request)
    return _outcomes(task, function, shards, shared, limit, name, retries, split, request)


@ray.remote
def _run(
    function: Callable[..., R], number: int, shard: T, *shared: object
) -> tuple[R | None, ShardError | None, Place]:
    return worked(number, function, shard, *shared)


def _outcomes(
    task: Any,
    function: Callable[..., R],
    shards: Sequence[T],
    shared: object | None,
    limit: Callable[[], int],
    name: str,
    retries: int,
    split: Callable[[T], list[T]] | None,
    request: Resources,
) -> Generator[Outcome[T, R], None, None]:
    waiting = Waiting(name, request)
    common = [ray.put(function), *([] if shared is None else [ray.put(shared)])]
    queue = deque(Attempt(shard) for shard in shards)
    running: dict[ray.ObjectRef[Any], Attempt[T]] = {}
    try:
        while queue or running:
            while queue and len(running) < limit():
                attempt = queue.popleft()
                running[task.remote(common[0], attempt.number, attempt.shard, *common[1:])] = attempt
            reference = first(list(running), waiting.look)
            attempt = running.pop(reference)
            try:
                value, error, place = collect(reference)
            except WorkerLost as lost:
                # At the back of the queue: whatever took the memory may have ended by then.
                again = _again(attempt, lost, name, retries, split)
                queue.extend(again)
                if again:
                    continue
                value, error, place = None, lost.error, None
            del reference  # the object store may drop the result while the caller works on the outcome
            outcome = Outcome(attempt.shard, value, error, place)
            counted(name, outcome)
            yield outcome
    finally:
        if ray.is_initialized():  # else the tasks are gone, and ray.cancel would start Ray anew
            _end(list(running))


def _end(references: list["ray.ObjectRef[Any]"]) -> None:
    """Cancels tasks until they are gone: a cancel may miss one that is just starting, which then holds its CPU."""
    for _ in range(CANCEL_ATTEMPTS):
        for reference in references:
            ray.cancel(reference, force=True)
        if references:
            _, references = ray.wait(references, num_returns=len(references), timeout=0.5)
        if not references:
            return


def _again(
    attempt: Attempt[T], lost: WorkerLost, name: str, retries: int, split: Callable[[T], list[T]] | None
) -> list[Attempt[T]]:
    """Returns what to run in place of an attempt that lost its worker: the shard again, its pieces, or nothing."""
    following = attempt.after(lost, retries)
    if following is not None:
        log.warning("%s: a worker was lost (%s); its shard runs again", name, lost.error.type_name)
        metrics.count(name, shards_retried=1)
        return [following]
    pieces = [] if split is None else split(attempt.shard)
    if len(pieces) < 2:
        return []
    log.warning("%s: a shard lost %d workers; its %d pieces run alone", name, retries + 1, len(pieces))
    return [Attempt(piece) for piece in pieces]


def _capacity(request: Resources) -> Callable[[], int]:
    """Returns a function giving the most tasks to have in flight, which looks at the cluster now and then."""
    looked, most = -math.inf, 0

    def limit() -> int:
        nonlocal looked, most
        if time.monotonic() - looked >= SECONDS_BETWEEN_LOOKS:
            looked, offered = time.monotonic(), offer()
            ahead = int(min(offered.ever(request), TASKS_AHEAD))
            most = max(TASKS_PER_SLOT, TASKS_PER_SLOT * offered.now(request), ahead)
        return most

    return limit
