"""Preparing what comes next on another thread."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

Item = TypeVar("Item")


def prefetched(items: Iterator[Item], ahead: int = 1) -> Iterator[Item]:
    """Yield what an iterator gives, in its order, while a thread prepares up to `ahead` further items.

    An error of the iterator is raised where the item would have come. Whoever stops early waits for the items in
    preparation.
    """
    end: Any = object()
    with ThreadPoolExecutor(1) as thread:
        pending = deque(thread.submit(next, items, end) for _ in range(ahead))
        while (item := pending.popleft().result()) is not end:
            pending.append(thread.submit(next, items, end))
            yield item
