"""How long to bear with a service that fails for a moment: attempts with growing, jittered pauses, and a bound."""

import itertools
import logging
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

T = TypeVar("T")

FIRST_PAUSE = 0.2  # seconds; doubled after every attempt
LONGEST_PAUSE = 20.0  # seconds
HASTY_ATTEMPTS = 2
WORTH_A_WORD = 1.0  # seconds of pause from which on it is said that something is tried again

logger = logging.getLogger("assay")
_most: ContextVar[int | None] = ContextVar("attempts at most", default=None)


class GaveUpError(OSError):
    """Every attempt failed; the last one's error is the cause."""

    def __init__(self, attempts: int, seconds: float, error: Exception) -> None:
        """Takes how often it was tried for how long, and how it failed last."""
        super().__init__(attempts, seconds, error)
        self.attempts, self.seconds, self.error = attempts, seconds, error


@contextmanager
def hastily() -> Iterator[None]:
    """Within it, in this thread, few attempts are made: for what may as well fail, so that nothing waits for it."""
    token = _most.set(HASTY_ATTEMPTS)
    try:
        yield
    finally:
        _most.reset(token)


def patiently(
    ask: Callable[[], T],
    *,
    passing: Callable[[Exception], bool],
    attempts: int,
    seconds: float,
    said: Callable[[Exception], str] = str,
    pause: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> T:
    """Ask until there is an answer, and return it.

    Every pause is twice as long as the one before, up to ``LONGEST_PAUSE``, of which a random half or less is left
    out, so that clients who failed together do not come back together.

    Parameters
    ----------
    passing
        Whether an error may pass by itself; any other is raised at once.
    attempts
        At most so many, the first included.
    seconds
        No attempt begins later than this after the first one did. What one attempt may take is its own affair.
    said
        How an error is told in the log, where that is waited for longer.

    Raises
    ------
    GaveUpError
        When attempts or seconds are used up.
    """
    attempts = min(attempts, _most.get() or attempts)
    began = clock()
    for attempt in itertools.count(1):
        try:
            return ask()
        except Exception as error:
            if not passing(error):
                raise
            spent = clock() - began
            wait = random.uniform(0.5, 1.0) * min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (attempt - 1))  # noqa: S311  no secret
            if attempt >= attempts or spent + wait > seconds:
                raise GaveUpError(attempt, spent, error) from error
            if wait >= WORTH_A_WORD:
                logger.warning("%s; attempt %d of %d in %.0f s", said(error), attempt + 1, attempts, wait)
        pause(wait)
    raise AssertionError("an endless loop ended")
