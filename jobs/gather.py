"""What a job needs of many tickers' tables at once, read by tasks: the driver makes no round trip a ticker."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from actors.sharding import shards
from jobs.stage import Context, FanOut

T = TypeVar("T")
R = TypeVar("R")

SECONDS = 0.005  # about what it takes to read a small table and to make something of it


class GatherError(RuntimeError):
    """Something that a job needs of every ticker could not be read."""


def gather(
    function: Callable[[list[T], Any], R],
    items: Sequence[T],
    context: Context,
    *,
    name: str,
    shared: Any,
    fan_out: FanOut,
) -> Iterator[R]:
    """Yield ``function(some of the items, shared)`` for all items, in the order that the tasks finish in.

    Parameters
    ----------
    function
        Importable by name. What it returns is held in the driver, and should be small.
    items
        Tickers, or files.
    name
        Of the work, for log lines and errors.

    Raises
    ------
    GatherError
        If a task failed: a part of the whole would pass for all of it.
    """
    if not items:
        return
    parts = shards(items, workers=context.workers, seconds_per_weight=SECONDS)
    for outcome in fan_out(function, parts, name=name, shared=shared):
        if outcome.error is not None:
            raise GatherError(f"{name}: {outcome.error.message} ({outcome.error.type_name})")
        yield outcome.value
