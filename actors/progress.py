"""How far a stage is: a bar on a terminal, otherwise a plain line now and then, with rate and time left."""

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TextIO

from tqdm import tqdm

from actors import metrics

log = logging.getLogger("assay")

TOLD_EVERY = 10.0  # seconds between two snapshots, each of which may be a request to object storage

Listener = Callable[["Snapshot"], None]
_listeners: list[Listener] = []


@dataclass(frozen=True)
class Snapshot:
    """How far a stage is: `done` of `total`, beside those done `before` it was resumed, after so many seconds.

    `share` is the part of the work that is done, by the weight of its units. `stopped` says that an error or an
    interrupt ended it.
    """

    stage: str
    unit: str
    before: int
    total: int
    done: int
    failed: int
    seconds: float
    note: str
    stopped: bool
    share: float


@contextmanager
def told(listener: Listener) -> Iterator[None]:
    """Tells a listener how far every stage of this process is: at its start and end, and every ten seconds between."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


class Progress:
    """Counts what is done of a stage and says so, with a last line of its own.

    On a terminal it draws a bar. Otherwise it writes a first line, one every `interval` seconds at most, and the
    last one. Plain lines go to the logger `assay` where that is set up for them and no stream is given.
    """

    def __init__(
        self,
        total: int,
        name: str,
        unit: str = "tickers",
        stream: TextIO | None = None,
        interval: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
        before: int = 0,
        weight: float | None = None,
    ) -> None:
        """Takes the total of `unit`s, 0 or more, beside those done before, and the seconds between two lines.

        `weight` is that of all units together, where some take longer than others; the time left goes by it.
        """
        if total < 0:
            raise ValueError(f"{name}: the total is {total} {unit}; allowed is 0 or more.")
        self.total = total
        self.name = name
        self.unit = unit
        self.done = 0
        self.failed = 0
        self.before = before
        self._weight = float(total) if weight is None else weight
        self._weighted = weight is not None
        self._worked = 0.0
        self._note = ""
        self._given = stream is not None
        self._stream = sys.stderr if stream is None else stream
        self._interval = interval
        self._clock = clock
        self._started = self._written = self._told = clock()
        self._bar: tqdm | None = None

    def __enter__(self) -> Self:
        """Draws the empty bar or writes the first line; the time starts here."""
        self._started = self._written = self._clock()
        if self._stream.isatty():
            self._bar = tqdm(
                total=self.total,
                desc=self.name,
                unit=f" {self.unit}",
                file=self._stream,
                leave=False,
                dynamic_ncols=True,
            )
        else:
            self._write(f"{self.name}: 0/{self.total} {self.unit}")
        self._tell()
        return self

    @property
    def share(self) -> float:
        """Part of the work that is done, from 0 to 1."""
        if self.done >= self.total:
            return 1.0
        return min(1.0, self._worked / self._weight) if self._weight > 0 else self.done / self.total

    def advance(self, count: int = 1, note: str = "", *, failed: int = 0, weight: float | None = None) -> None:
        """Adds `count` done, `failed` of them failed, that weigh so much; `note` is shown behind the bar or line."""
        self.done += count
        self.failed += failed
        self._worked += count if weight is None or not self._weighted else weight
        if self.unit == "tickers":
            metrics.count(self.name, tickers_done=count, tickers_failed=failed)
        self._note = note
        if self.done < self.total and self._clock() - self._told >= TOLD_EVERY:
            self._tell()
        if self._bar is not None:
            self._bar.set_postfix_str(note, refresh=False)
            self._bar.update(count)
        elif self.done < self.total and self._clock() - self._written >= self._interval:
            self._written = self._clock()
            self._write(_line(self, self._elapsed(), note))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Removes the bar and writes the last line, which says where the stage stopped after an exception."""
        if self._bar is not None:
            self._bar.close()
        self._write(_last_line(self, self._elapsed(), stopped=kind is not None))
        self._tell(stopped=kind is not None)

    def _tell(self, *, stopped: bool = False) -> None:
        self._told = self._clock()
        for listener in _listeners:
            listener(
                Snapshot(
                    stage=self.name,
                    unit=self.unit,
                    before=self.before,
                    total=self.total,
                    done=self.done,
                    failed=self.failed,
                    seconds=round(self._elapsed(), 3),
                    note=self._note,
                    stopped=stopped,
                    share=round(self.share, 6),
                )
            )

    def _elapsed(self) -> float:
        return self._clock() - self._started

    def _write(self, line: str) -> None:
        if not self._given and self._bar is None and log.isEnabledFor(logging.INFO) and log.hasHandlers():
            log.info(line)
        else:
            self._stream.write(line + "\n")
            self._stream.flush()


def duration(seconds: float) -> str:
    """Returns a length of time as a person says it: `21 s`, `3 min 05 s`, `2 h 07 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def rate(done: int, elapsed: float) -> str:
    """Returns how fast it goes, as a person says it: `4.2/s`, `17.5/min`."""
    per_second = done / elapsed
    return f"{per_second:.1f}/s" if per_second >= 1 else f"{60 * per_second:.1f}/min"


def amount(size: float) -> str:
    """Returns bytes as a person says them, in powers of ten: `812 B`, `4.2 MB`, `1.61 GB`."""
    units = ["B", "kB", "MB", "GB", "TB"]
    while size >= 999.5 and len(units) > 1:  # what would be rounded to 1,000
        size /= 1000
        units.pop(0)
    return f"{size:.3g} {units[0]}"


def _line(progress: Progress, elapsed: float, note: str) -> str:
    text = f"{progress.name}: {progress.done}/{progress.total} {progress.unit} ({progress.done / progress.total:.0%})"
    if progress.done and elapsed > 0:
        text += f", {rate(progress.done, elapsed)}"
        if progress.share > 0:
            text += f", {duration((1 - progress.share) * elapsed / progress.share)} left"
    if progress.failed:
        text += f", {progress.failed} failed"
    return f"{text}, {note}" if note else text


def _last_line(progress: Progress, elapsed: float, stopped: bool) -> str:
    count = f"{progress.done}/{progress.total}" if progress.done != progress.total else f"{progress.total}"
    text = f"{progress.name}: {'stopped at ' if stopped else ''}{count} {progress.unit} in {duration(elapsed)}"
    if progress.done and elapsed > 0:
        text += f" ({rate(progress.done, elapsed)})"
    return f"{text}, {progress.failed} failed" if progress.failed else text
