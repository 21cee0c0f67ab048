"""A rate that all workers share: whoever asks a service takes from it first, and all wait when the service says so."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ray

from actors.connect import require

WAITING_AT_ONCE = 10_000  # takers that an actor lets wait; each worker has one at a time


@dataclass(frozen=True)
class Budget:
    """What a worker holds of the shared rate; it travels to tasks and actors."""

    actor: Any

    def take(self, weight: float = 1.0) -> None:
        """Returns once so much may be asked for; takers are served in their order."""
        ray.get(self.actor.take.remote(weight))

    def hold(self, seconds: float) -> None:
        """Lets nobody take for so long from now on, as a service asks for by Retry-After; a longer hold stays."""
        ray.get(self.actor.hold.remote(seconds))


@contextmanager
def shared(name: str, rate: float, burst: float = 1.0) -> Iterator[Budget]:
    """Starts a budget and ends it.

    Args:
        name: of the work, for messages.
        rate: weight a second that may be taken in the long run, above 0.
        burst: weight that may be taken at once after a rest, above 0; what weighs more waits for a full rest.

    Raises:
        ValueError: a number is out of range.
        RuntimeError: called outside `actors.connect.connect`.
    """
    if rate <= 0 or burst <= 0:
        raise ValueError(f"{name}: rate is {rate:g} and burst {burst:g}; allowed is above 0.")
    require(name, cpus=0.001)
    # Where its node goes it starts anew with a full rest behind it, and whoever waits asks again.
    actor = (
        ray.remote(_Bucket)
        .options(num_cpus=0, max_concurrency=WAITING_AT_ONCE, max_restarts=-1, max_task_retries=-1)
        .remote(rate, burst)
    )
    try:
        yield Budget(actor)
    finally:
        if ray.is_initialized():
            ray.kill(actor)


class _Bucket:
    """The leaky bucket behind a budget: what was taken drains at the rate, and it holds no more than the burst."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate, self._burst = rate, burst
        self._empty_at = time.monotonic()  # when all that was taken has drained
        self._held_until = self._empty_at
        self._turn = asyncio.Lock()

    async def take(self, weight: float) -> None:
        async with self._turn:
            room = max(0.0, self._burst - weight) / self._rate  # seconds of draining that may still be ahead
            while (wait := max(self._empty_at - room, self._held_until) - time.monotonic()) > 0:
                await asyncio.sleep(wait)
            self._empty_at = max(self._empty_at, time.monotonic()) + weight / self._rate

    async def hold(self, seconds: float) -> None:
        self._held_until = max(self._held_until, time.monotonic() + seconds)
