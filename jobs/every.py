"""Keeping a run up to date: the pipeline again and again, as the bars close.

Rounds begin a few seconds after each multiple of a length of time since 1970 UTC, which is when bars of that length
close. A round does what any run of the same command does, so it does what new bars require, however many they are.
"""

import datetime
import logging
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from actors.connect import ClusterConnectionError
from actors.outcome import ClusterLostError
from jobs.config import RunConfig
from jobs.gather import GatherError
from jobs.rows import RowsError
from jobs.sources import SourceError
from jobs.stage import AllFailedError
from storage.errors import StoreError, StoreUnavailableError

DELAY = 5.0  # seconds after the close, for the exchange to have the bar; at most a tenth of the length
LOOK = 0.5  # seconds between two looks at the clock: it may jump, and a machine may sleep
ROUNDING = 1e-3  # seconds

logger = logging.getLogger("assay")

AWAY = (StoreUnavailableError, ClusterConnectionError, ClusterLostError)
"""What is raised where a service may come back."""
MISSING = (StoreError, SourceError, RowsError, GatherError, AllFailedError)
"""What is raised where the source is away, and also where it never was."""


class Stop:
    """SIGTERM and SIGINT while rounds are made: within one they raise KeyboardInterrupt, between two they are noted."""

    def __init__(self) -> None:
        """Nothing was asked yet, and no round is on."""
        self.asked = False
        self.busy = False

    def install(self) -> None:
        """Take the signals; to be called again after Ray was started, which takes SIGTERM for itself."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._noted)

    def _noted(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self.asked = True
        if self.busy:
            raise KeyboardInterrupt


@contextmanager
def stopping() -> Iterator[Stop]:
    """Take the signals for the time of the block."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    stop = Stop()
    stop.install()
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def rounds(
    config: RunConfig, once: Callable[[Callable[[], None]], int], *, worked: Callable[[], bool], stop: Stop
) -> int:
    """Make rounds until a signal asks to stop between two of them, and return the exit code 0.

    Parameters
    ----------
    once
        Makes one round and returns its exit code; it is given what to call when Ray has been started.
    worked
        Whether the run ever came to its end: then its source was there once, and is only away.

    Raises
    ------
    KeyboardInterrupt
        If a signal came within a round.
    Exception
        Whatever ends a round and cannot pass by itself.
    """
    length = config.every_seconds
    number = 0
    while not stop.asked:
        number += 1
        began = time.time()
        logger.info("round %d: %s", number, clock(began))
        stop.busy = True
        try:
            if not stop.asked:
                code = once(stop.install)
                logger.info("round %d: done in %.1f s, exit code %d", number, time.time() - began, code)
        except Exception as error:
            if not passes(error, worked):
                raise
            logger.error("round %d failed: %s: %s The next close is tried.", number, type(error).__name__, error)
        finally:
            stop.busy = False
            stop.install()
        due = following(began, length)
        if (late := time.time() - due) >= 0:
            missed = int(late // length)
            due += missed * length
            logger.warning(
                "round %d lasted beyond the next close (--every %s): %d closes are skipped, and the next round begins "
                "at once and does for all of them what is to be done",
                *(number, config.every, missed),
            )
        rest(due, stop)
    logger.info("stopped between two rounds; the same command goes on")
    return 0


def passes(error: Exception, worked: Callable[[], bool]) -> bool:
    """Whether what ended a round may pass by itself, so that the next one is worth while."""
    if isinstance(error, AWAY) or type(error).__module__.partition(".")[0] == "ray":
        return True
    try:
        return isinstance(error, MISSING) and worked()
    except StoreUnavailableError:
        return True


def following(moment: float, length: float) -> float:
    """When the first round after a moment is due, both in seconds since 1970: just after the next close."""
    delay = min(DELAY, length / 10)
    # a round that begins when it is due must not be due again by a rounding error
    return ((moment - delay + ROUNDING) // length + 1) * length + delay


def rest(due: float, stop: Stop) -> None:
    """Wait until a round is due or a signal comes."""
    if due > time.time():
        logger.info("next round: %s", clock(due))
    while not stop.asked and (left := due - time.time()) > 0:
        time.sleep(min(LOOK, left))


def clock(moment: float) -> str:
    """A moment as it is logged."""
    return datetime.datetime.fromtimestamp(moment, datetime.UTC).isoformat(sep=" ", timespec="seconds")
