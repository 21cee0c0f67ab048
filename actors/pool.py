"""A pool of actors for work with a costly start: each loads its model once and then handles shard after shard."""

import logging
from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import ray

from actors import metrics
from actors.connect import require
from actors.nodes import Resources, Waiting
from actors.outcome import Attempt, Outcome, ShardError, WorkerLost, collect, counted, first, worked
from actors.place import Place

T = TypeVar("T")
R = TypeVar("R")

SHARDS_PER_ACTOR = 2  # one running, one waiting, so that an actor never waits for the driver

log = logging.getLogger("assay")


def map_actors(
    factory: Callable[[], Callable[[T], R]],
    shards: Sequence[T],
    *,
    name: str,
    actors: int,
    cpus: float = 1,
    gpus: float = 0,
    memory: int | None = None,
    retries: int = 3,
    settings: str = "",
) -> Generator[Outcome[T, R], None, None]:
    """Handles every shard on a pool of actors and yields the outcomes as they finish.

    Each actor calls `factory()` once and then what that returned for one shard after another. An exception raised
    for a shard is an outcome and is not retried; the actor goes on. An actor that dies is replaced, and the shard
    that it was at is handled again, up to `retries` times; so is one whose result was still on its way. An actor
    whose factory raises, or dies at every retry, is given up; with the last one given up, the shards that are left
    get its error.

    At most two shards are in flight an actor. Closing the generator, an exception or Ctrl-C in the driver included,
    ends the actors.

    Args:
        factory: loads what the shards need and returns the function that handles one.
        shards: in the order in which they are handed out.
        name: of the work, for log lines and errors.
        actors: most actors at once, 1 or more; those for which the cluster has no room yet are waited for by nobody.
        cpus: of each actor, above 0.
        gpus: of each actor; fractions share one.
        memory: bytes reserved for each actor; None reserves nothing.
        retries: of a shard or a factory whose actor died; nodes that go are counted apart.
        settings: names of the settings that decide the resources, for the message where they can never be had.

    Raises:
        ValueError: a number is out of range, or the cluster can never offer the resources.
        RuntimeError: called outside `actors.connect.connect`.
    """
    require(name, cpus=cpus, gpus=gpus, memory=memory, settings=settings)
    if actors < 1:
        raise ValueError(f"{name}: actors is {actors}; allowed is 1 or more.")
    if retries < 0:
        raise ValueError(f"{name}: retries is {retries}; allowed is 0 or more.")
    options = {"num_cpus": cpus, "num_gpus": gpus, "memory": memory, "max_restarts": 0, "max_task_retries": 0}
    request = {"CPU": cpus, "GPU": gpus, "memory": memory or 0}
    return _Pool(
        ray.remote(_Actor).options(**options), factory, shards, min(actors, len(shards)), name, retries, request
    ).outcomes()


class _Actor(Generic[T, R]):
    """One process of the pool."""

    def __init__(self, factory: Callable[[], Callable[[T], R]]) -> None:
        self._factory = factory
        self._handle: Callable[[T], R] | None = None

    def start(self) -> tuple[None, ShardError | None, Place]:
        """Loads the model: not in the constructor, where an exception would look like a dead actor."""
        self._handle, error, place = worked(1, self._factory)
        return None, error, place

    def handle(self, number: int, shard: T) -> tuple[R | None, ShardError | None, Place]:
        """Handles one shard, as this attempt at it."""
        assert self._handle is not None  # noqa: S101 - shards are sent to started actors only
        return worked(number, self._handle, shard)


@dataclass(eq=False)
class _Slot(Generic[T]):
    """A place in the pool: its present actor, the call that starts it, and its shards in the order sent."""

    actor: Any
    start: Attempt[None]
    starting: "ray.ObjectRef[Any] | None"
    running: dict["ray.ObjectRef[Any]", Attempt[T]] = field(default_factory=dict)


class _Pool(Generic[T, R]):
    def __init__(
        self,
        actor: Any,
        factory: Callable[[], Callable[[T], R]],
        shards: Sequence[T],
        size: int,
        name: str,
        retries: int,
        request: Resources,
    ) -> None:
        self._actor = actor
        self._factory = ray.put(factory)
        self._queue = deque(Attempt(shard) for shard in shards)
        self._size = size
        self._name = name
        self._retries = retries
        self._request = request
        self._slots: list[_Slot[T]] = []

    def outcomes(self) -> Generator[Outcome[T, R], None, None]:
        waiting = Waiting(self._name, self._request)
        try:
            for _ in range(self._size):
                self._slots.append(self._open(Attempt(None)))
            while self._queue or any(slot.running for slot in self._slots):
                self._feed()
                calls = {call: slot for slot in self._slots for call in (*slot.running, slot.starting) if call}
                call = first(list(calls), waiting.look)
                slot = calls.pop(call)
                yield from (self._started if call == slot.starting else self._handled)(slot, call)
        finally:
            if ray.is_initialized():  # else the actors are gone, and ray.kill would start Ray anew
                for slot in self._slots:
                    ray.kill(slot.actor)

    def _open(self, start: Attempt[None]) -> _Slot[T]:
        actor = self._actor.remote(self._factory)
        return _Slot(actor, start, starting=actor.start.remote())

    def _feed(self) -> None:
        """Sends shards to the started actors, one to each first; a second only while there are enough for all."""
        started = [slot for slot in self._slots if slot.starting is None]
        for depth in range(SHARDS_PER_ACTOR):
            for slot in started:
                if len(slot.running) == depth and len(self._queue) > (len(started) if depth else 0):
                    attempt = self._queue.popleft()
                    slot.running[slot.actor.handle.remote(attempt.number, attempt.shard)] = attempt

    def _started(self, slot: _Slot[T], call: "ray.ObjectRef[Any]") -> Generator[Outcome[T, R], None, None]:
        """Takes note that an actor is ready, was lost while it loaded, or cannot load."""
        try:
            _, error, _ = collect(call)
        except WorkerLost as lost:
            following = slot.start.after(lost, self._retries)
            if following is not None:
                self._replace(slot, following, lost)
                return
            error = lost.error
        if error is None:
            slot.start, slot.starting = Attempt(None), None
            return
        log.warning("%s: an actor is given up, it cannot load: %s: %s", self._name, error.type_name, error.message)
        self._slots.remove(slot)
        ray.kill(slot.actor)
        while self._queue and not self._slots:
            outcome: Outcome[T, R] = Outcome(self._queue.popleft().shard, None, error)
            counted(self._name, outcome)
            yield outcome

    def _handled(self, slot: _Slot[T], call: "ray.ObjectRef[Any]") -> Generator[Outcome[T, R], None, None]:
        """Yields the outcome of a shard, or puts the shards of a lost actor back into the queue."""
        try:
            value, error, place = collect(call)
            attempt = slot.running.pop(call)
        except WorkerLost as lost:
            attempt, *untouched = slot.running.values()  # an actor works in the order sent: only the first was begun
            self._queue.extendleft(reversed(untouched))
            self._replace(slot, slot.start, lost)
            following = attempt.after(lost, self._retries)
            if following is not None:
                self._queue.append(following)
                metrics.count(self._name, shards_retried=1)
                return
            value, error, place = None, lost.error, None
        outcome = Outcome(attempt.shard, value, error, place)
        counted(self._name, outcome)
        yield outcome

    def _replace(self, slot: _Slot[T], start: Attempt[None], lost: WorkerLost) -> None:
        log.warning("%s: an actor was lost (%s) and is replaced", self._name, lost.error.type_name)
        ray.kill(slot.actor)  # one that is only out of reach would keep its resources
        self._slots[self._slots.index(slot)] = self._open(start)
