"""Where a shard is worked on: node, process and attempt, for those who look for what went wrong there."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

import ray
from ray._private import worker as ray_worker

_attempt: ContextVar[tuple[int, float]] = ContextVar("attempt")


@dataclass(frozen=True)
class Place:
    """Ray's id of the node (empty without Ray), the process, which attempt at a shard, and how long so far."""

    node: str
    pid: int
    attempt: int
    seconds: float


def here() -> Place:
    """Returns where this code runs; outside of a shard, as a first attempt of no length."""
    node = ray.get_runtime_context().get_node_id() if ray.is_initialized() else ""
    number, started = _attempt.get((1, time.perf_counter()))
    return Place(node, os.getpid(), number, time.perf_counter() - started)


@contextmanager
def attempted(number: int) -> Iterator[None]:
    """Says which attempt at a shard the work inside is, from 1."""
    token = _attempt.set((number, time.perf_counter()))
    try:
        yield
    finally:
        _attempt.reset(token)


def worker_logs() -> Path | None:
    """Returns the directory of Ray's logs on this node; None where this is no worker of Ray's."""
    global_worker, node = ray_worker.global_worker, ray_worker._global_node
    if node is None or global_worker.mode != ray_worker.WORKER_MODE:
        return None
    return Path(node.get_logs_dir_path())
