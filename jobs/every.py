"""Keeping a run up to date: the pipeline again and again, as the bars close.

Rounds begin a few seconds after each multiple of a length of time since 1970 UTC, which is when bars of that length
close. A round does what any run of the same command does, so it does what new bars require, however many they are.

Each round is a process of its own, since Ray leaves a thread behind in its driver at each start, and ends the driver
where its cluster goes; the process that waits stays small, and holds the run's lease.
"""

import datetime
import logging
import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from types import FrameType
from typing import Literal

from storage.errors import StoreUnavailableError

DELAY = 5.0  # seconds after the close, for the exchange to have the bar; at most a tenth of the length
LOOK = 0.5  # seconds between two looks at the clock: it may jump, and a machine may sleep
ROUNDING = 1e-3  # seconds
INTERRUPTED = 130

Word = Literal["done", "stopped", "away", "missing", "refused", "bug"]
Round = Callable[[Callable[[], None]], int]
Judge = Callable[[Exception], Word]

logger = logging.getLogger("assay")


@dataclass(frozen=True)
class Ended:
    """How a round ended.

    Parameters
    ----------
    word
        done: with ``code``. stopped: by a signal. away: by a service that may come back. missing: by a source that is
        away or never was. refused: by something that stays wrong. bug: by an error that nobody has explained.
    code
        Exit code of a round that is done.
    told
        Of the others the error, in one paragraph.
    """

    word: Word
    code: int = 0
    told: str = ""


class Stop:
    """How often SIGTERM or SIGINT have come since `stopping` began."""

    def __init__(self) -> None:
        """None has come."""
        self.asked = 0

    def noted(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        del number, frame
        self.asked += 1


@contextmanager
def stopping() -> Iterator[Stop]:
    """Count the signals that ask to stop, in place of ending at once."""
    stop = Stop()
    before = {number: signal.signal(number, stop.noted) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def rounds(every: str, length: float, once: Round, *, judge: Judge, worked: Callable[[], bool], stop: Stop) -> int:
    """Make rounds until a signal asks to stop or an error is there to stay, and return the exit code.

    Parameters
    ----------
    every, length
        The length of time as it was given, and in seconds.
    once
        Makes one round, in a process of its own: importable by name, or a partial of what is. It is given what to
        call when Ray has been started, and returns the exit code.
    judge
        Says, in that process, what an error means for the rounds that follow; importable by name.
    worked
        Whether the run ever came to its end: then its source was there once, and is only away.

    Raises
    ------
    KeyboardInterrupt
        If a signal came within a round.
    """
    number = 0
    while not stop.asked:
        number += 1
        began = time.time()
        logger.info("round %d: %s", number, clock(began))
        ended = apart(once, judge, stop)
        if ended.word == "stopped" or (stop.asked and ended.word in ("away", "missing")):
            raise KeyboardInterrupt
        if ended.word == "done":
            logger.info("round %d: done in %.1f s, exit code %d", number, time.time() - began, ended.code)
        elif passes(ended, worked):
            logger.error("round %d failed, and the next close is tried: %s", number, ended.told)
        else:
            logger.error("\n%s", ended.told)
            return 1 if ended.word == "bug" else 2
        due = following(began, length)
        if (late := time.time() - due) >= 0:
            missed = int(late // length)
            due += missed * length
            logger.warning(
                "round %d lasted beyond the next close (--every %s; closes skipped: %d); the next one begins at once "
                "and does all that there is to do",
                *(number, every, missed),
            )
        rest(due, stop)
    logger.info("Stopped between two rounds; the same command goes on from here.")
    return 0


def passes(ended: Ended, worked: Callable[[], bool]) -> bool:
    """Whether what ended a round may pass by itself, so that the next one is worth while."""
    try:
        return ended.word == "away" or (ended.word == "missing" and worked())
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


def apart(once: Round, judge: Judge, stop: Stop) -> Ended:
    """Make one round in a process of its own: a first signal is passed on to it, a second one ends it at once."""
    spawn = multiprocessing.get_context("spawn")
    heard, told = spawn.Pipe(duplex=False)
    process = spawn.Process(target=_round, args=(once, judge, told), name="assay round")
    process.start()
    told.close()
    passed_on = 0
    while process.exitcode is None:
        process.join(LOOK)
        if stop.asked > passed_on and process.pid and process.exitcode is None:
            passed_on = stop.asked
            os.kill(process.pid, signal.SIGINT if passed_on == 1 else signal.SIGKILL)
    with heard:
        try:
            ended: Ended = heard.recv()
        except EOFError:
            ended = Ended(
                "away",
                told=f"its process ended with exit code {process.exitcode} and without a word; the system may have "
                "run out of memory, or the cluster may have gone away.",
            )
    return ended


def clock(moment: float) -> str:
    """A moment as it is logged."""
    return datetime.datetime.fromtimestamp(moment, datetime.UTC).isoformat(sep=" ", timespec="seconds")


def _round(once: Round, judge: Judge, told: Connection) -> None:
    """What the process of a round does."""
    os.setpgid(0, 0)  # so that Ctrl-C comes once, by way of the parent
    logging.basicConfig(level=logging.INFO, format="%(message)s", force=True)
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    stop = Stop()

    def interrupt(number: int, frame: FrameType | None) -> None:
        stop.noted(number, frame)
        if stop.asked == 1:  # what comes later would only disturb the tidying up
            raise KeyboardInterrupt

    def listen() -> None:
        for number in (signal.SIGTERM, signal.SIGINT):  # Ray takes SIGTERM for itself
            signal.signal(number, interrupt)

    try:
        listen()
        told.send(Ended("done", once(listen)))
    except KeyboardInterrupt:
        told.send(Ended("stopped"))
    except Exception as error:
        told.send(_why(error, judge(error)))


def _why(error: Exception, word: Word) -> Ended:
    text = "".join(traceback.format_exception(error)) if word == "bug" else f"{type(error).__name__}: {error}"
    return Ended(word, told=text)


def _end_with_the_parent() -> None:
    """The parent holds the lease: where it was killed, another may write to the run at once."""
    if parent := multiprocessing.parent_process():
        parent.join()
        os._exit(INTERRUPTED)
