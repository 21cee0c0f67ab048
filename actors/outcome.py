"""What becomes of a shard: its result or its error, and whether a lost worker means another attempt.

A bug is an exception that the shard's own code raised; it would come again, so it is never retried. A system
failure is a worker, an actor or a node that died under the shard; it says little about the shard, so it is retried.
A driver whose own node is gone ends: every task that it asked for from then on would fail.
"""

import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, Literal, TypeVar

import ray
from ray.exceptions import (
    ActorUnavailableError,
    LocalRayletDiedError,
    NodeDiedError,
    ObjectLostError,
    OutOfMemoryError,
    RayActorError,
    RayError,
    RayTaskError,
    WorkerCrashedError,
)

from actors import metrics
from actors.nodes import SECONDS_BETWEEN_LOOKS
from actors.place import Place, attempted, here

T = TypeVar("T")
R = TypeVar("R")

NODE_LOSSES = 20  # a spot node that goes is nobody's fault, but a shard that takes every node down must end
TERMINATED = "ray_terminate_msg"  # what Ray adds to the SystemExit that it raises in a worker on SIGTERM
NODE_DIED = "its node has died"  # how Ray says of an actor that it went with its node, where nobody drained that
MORE_ROOM = "run fewer workers side by side, reserve more memory for each of them, or use nodes with more memory"


@dataclass(frozen=True)
class ShardError:
    """Why a shard failed: `type_name`, `message` and `traceback` are text, so that it always pickles."""

    kind: Literal["bug", "system"]
    type_name: str
    message: str
    traceback: str


@dataclass(frozen=True)
class Outcome(Generic[T, R]):
    """A finished shard: `value` where `error` is None, otherwise the error and no value.

    `place` says where and how long it was worked on; it is None where no worker was left to tell.
    """

    shard: T
    value: R | None
    error: ShardError | None
    place: Place | None = None


class ClusterLostError(ConnectionError):
    """The driver is cut off from its cluster, so that nothing more can be run there."""


class WorkerLost(Exception):  # noqa: N818 - an event to decide about, not an error to show
    """The worker under a shard is gone; `node` where its whole node went, by preemption or otherwise."""

    def __init__(self, error: ShardError, node: bool) -> None:
        """Takes the error to report where the shard gets no further attempt."""
        super().__init__(error.message)
        self.error = error
        self.node = node


@dataclass(frozen=True)
class Attempt(Generic[T]):
    """A shard on its way, with what has already been lost under it."""

    shard: T
    worker_losses: int = 0
    node_losses: int = 0

    @property
    def number(self) -> int:
        """Which attempt it is, from 1."""
        return 1 + self.worker_losses + self.node_losses

    def after(self, lost: WorkerLost, retries: int) -> "Attempt[T] | None":
        """Returns the next attempt, or None where the shard has used up its `retries` (or `NODE_LOSSES` nodes)."""
        if lost.node:
            return replace(self, node_losses=self.node_losses + 1) if self.node_losses < NODE_LOSSES else None
        return replace(self, worker_losses=self.worker_losses + 1) if self.worker_losses < retries else None


def guarded(function: Callable[..., R], *arguments: Any) -> tuple[R | None, ShardError | None]:
    """Calls the function on the worker and turns what it raises into text, since not every exception pickles.

    `sys.exit` in a shard is a bug like any other: left alone it would end the worker and look like a crash. The
    exit that a worker is told to take, as all are where a machine shuts down, is none.
    """
    try:
        return function(*arguments), None
    except (Exception, SystemExit) as error:  # a bug may be any exception; it must cost its own shard only
        if hasattr(error, TERMINATED):
            message = "the worker was told to end (SIGTERM), as when its machine shuts down"
            return None, ShardError("system", "WorkerTerminated", message, traceback.format_exc())
        return None, ShardError("bug", type(error).__name__, str(error), traceback.format_exc())


def worked(number: int, function: Callable[..., R], *arguments: Any) -> tuple[R | None, ShardError | None, Place]:
    """Calls the function on the worker like `guarded`, as this attempt at a shard, and says where and how long."""
    with attempted(number):
        return *guarded(function, *arguments), here()


def first(references: Sequence["ray.ObjectRef[Any]"], look: Callable[[], None]) -> "ray.ObjectRef[Any]":
    """Waits for one of the results and returns its reference, calling `look` now and then meanwhile."""
    while True:
        ready, _ = ray.wait(list(references), num_returns=1, timeout=SECONDS_BETWEEN_LOOKS)
        if ready:
            return ready[0]
        look()


def collect(reference: "ray.ObjectRef[Any]") -> tuple[Any, ShardError | None, Place | None]:
    """Fetches what `worked` returned on the worker.

    Raises:
        WorkerLost: the worker, its actor or its node died before the result was here.
        ClusterLostError: the driver's own node is gone.
    """
    try:
        value, error, place = ray.get(reference)
    except RayTaskError as failure:  # raised around the shard's code: an argument or a result that does not pickle
        cause = failure.cause
        return None, ShardError("bug", type(cause).__name__, str(cause), str(failure)), None
    except LocalRayletDiedError as failure:  # every task from here on would end so
        raise ClusterLostError(
            "The Ray node that the driver belongs to is gone, and with it the way to the cluster. What is done is in "
            "the store: start the cluster again and run the same command there."
        ) from failure
    except RayError as failure:
        text = str(failure).strip()
        raise WorkerLost(
            ShardError("system", type(failure).__name__, _message(failure, text), text), _node_went(failure)
        ) from failure
    if error is not None and error.kind == "system":
        raise WorkerLost(error, node=True)
    return value, error, place


def counted(name: str, outcome: Outcome[Any, Any]) -> None:
    """Counts an outcome for Prometheus."""
    lost = outcome.error is not None and outcome.error.kind == "system"
    metrics.count(name, shards_done=not lost, shards_failed=outcome.error is not None and not lost, shards_lost=lost)
    if outcome.place is not None:
        metrics.seconds(name, outcome.place.seconds)


def _node_went(failure: RayError) -> bool:
    """Whether a node went, and not just the worker: by preemption, with or without notice, or out of reach.

    An actor is unavailable, and not dead, where nothing of it is heard and its node says nothing of its death. A
    node that vanishes is known as dead only many seconds later.
    """
    if isinstance(failure, RayActorError):
        return failure.preempted or isinstance(failure, ActorUnavailableError) or NODE_DIED in str(failure)
    return isinstance(failure, NodeDiedError | ObjectLostError)


def _message(failure: RayError, text: str) -> str:
    """Returns in a line or two what happened and, where the shard is to blame, what to do about it."""
    summary = text.split("\n", 1)[0]
    if isinstance(failure, OutOfMemoryError):
        return f"out of memory: {summary}; {MORE_ROOM}"
    if isinstance(failure, WorkerCrashedError):
        return f"{summary} If the operating system killed it for memory: {MORE_ROOM}"
    return summary
