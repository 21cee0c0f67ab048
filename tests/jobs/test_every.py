"""Rounds as the bars close: when they begin, what ends them, and one real run that is kept up with a source."""

import contextlib
import json
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pandas as pd
import pytest

from jobs import every
from jobs.runner import ConfigError, parse
from storage import layout
from storage.lease import born
from storage.manifest import read_manifest
from storage.store import open_store
from tests.conftest import ROOT, random_walk
from tests.jobs import rounds

LENGTH = 1.0
DELAY = 0.1  # a tenth of the length


@pytest.mark.parametrize(
    ("moment", "length", "due"),
    [
        (1_000_000.0, 900, 1_000_800 + every.DELAY),
        (1_000_800.0, 900, 1_000_800 + every.DELAY),  # the close has been, and its round is yet to come
        (1_000_805.0, 900, 1_001_700 + every.DELAY),
        (1_000_806.0, 900, 1_001_700 + every.DELAY),
        (10.09, 1, 10.1),
        (10.1, 1, 11.1),
        (1_763_000_000.1 - 1e-6, 1, 1_763_000_001.1),  # a clock that was read a microsecond early
    ],
)
def test_a_round_is_due_just_after_the_next_multiple_of_the_length(moment: float, length: float, due: float) -> None:
    assert every.following(moment, length) == pytest.approx(due, abs=1e-6)


@pytest.mark.parametrize(("text", "seconds"), [("15m", 900), ("1h", 3600), ("1d", 86_400), ("1s", 1), ("90s", 90)])
def test_lengths_of_time_are_read_as_those_of_bars(text: str, seconds: float) -> None:
    assert parse("pipeline", "", ["--every", text]).every_seconds == seconds


@pytest.mark.parametrize("text", ["0.5s", "15", "-1h", "soon", "", "0m", "1.5h", "15 parsecs"])
def test_what_is_no_length_of_time_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=rf"every = '{text}': it is no length of time of a second or more; allowed"):
        parse("pipeline", "", [f"--every={text}"])


class Kept:
    """A folder that steers rounds, and what they did."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.worked = False

    def run(self, words: str) -> int:
        (self.folder / "words").write_text(words)
        once = partial(rounds.once, folder=self.folder)
        with every.stopping() as stop:
            return every.rounds("1s", LENGTH, once, judge=rounds.word, worked=lambda: self.worked, stop=stop)

    @property
    def done(self) -> list[str]:
        with contextlib.suppress(FileNotFoundError):
            return (self.folder / "done").read_text().split()
        return []

    def when(self, word: str, then: Callable[[], object]) -> threading.Thread:
        """Do something once a round has said a word."""

        def watch() -> None:
            deadline = time.monotonic() + 20
            while word not in self.done and time.monotonic() < deadline:
                time.sleep(0.01)
            then()

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        return thread


@pytest.fixture
def kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Kept:
    caplog.set_level(logging.INFO, "assay")
    return Kept(tmp_path)


def interrupt(number: int = signal.SIGTERM) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_between_two_rounds_ends_it_at_once(kept: Kept, caplog: pytest.LogCaptureFixture, number: int) -> None:
    handler = signal.getsignal(number)
    asked: list[float] = []

    def ask() -> None:
        while "next round" not in caplog.text:
            time.sleep(0.01)
        asked.append(time.monotonic())
        interrupt(number)

    (kept.folder / "words").write_text("ok")
    once = partial(rounds.once, folder=kept.folder)
    kept.when("ok", ask)
    with every.stopping() as stop:
        assert every.rounds("1h", 3600, once, judge=rounds.word, worked=lambda: True, stop=stop) == 0
    assert time.monotonic() - asked[0] < 2 * every.LOOK
    assert kept.done == ["ok"]
    assert signal.getsignal(number) is handler


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_within_a_round_interrupts_it_as_ctrl_c_does(kept: Kept, number: int) -> None:
    kept.when("long", partial(interrupt, number))
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        kept.run("long ok")
    assert kept.done == ["long", "interrupted"]
    assert time.monotonic() - began < 10


def test_what_may_pass_costs_a_round_and_what_stays_ends_it(kept: Kept, caplog: pytest.LogCaptureFixture) -> None:
    kept.when("failures", lambda: setattr(kept, "worked", True))
    assert kept.run("away dies failures missing ok refused ok") == 2
    assert kept.done == ["away", "dies", "failures", "missing", "ok", "refused"]
    told = caplog.text
    assert "round 1 failed, and the next close is tried: StoreUnavailableError: the store has gone home." in told
    assert "round 2 failed, and the next close is tried: its process ended with exit code 9 and without a word" in told
    assert re.search(r"round 3: done in .* s, exit code 1", told)
    assert "round 4 failed, and the next close is tried: ValueError: missing" in told
    assert "ValueError: refused" in told
    begun = [float(record.created) for record in caplog.records if re.match(r"round \d+: \d{4}-", record.message)]
    assert len(begun) == 6
    # the first at once, the others just after a close, unless the one before was late
    late = {int(text) + 1 for text in re.findall(r"round (\d+) lasted", told)}
    for number, moment in enumerate(begun, start=1):
        if number > 1 and number not in late:
            assert DELAY <= moment % LENGTH < DELAY + 0.5, number


def test_a_source_that_never_was_there_ends_it(kept: Kept, capfd: pytest.CaptureFixture[str]) -> None:
    assert kept.run("missing ok") == 2
    assert kept.done == ["missing"]


def test_an_error_that_nobody_explained_ends_it_with_its_traceback(
    kept: Kept, caplog: pytest.LogCaptureFixture
) -> None:
    assert kept.run("bug ok") == 1
    assert kept.done == ["bug"]
    assert "raise ValueError(words[0])" in caplog.text


def test_a_second_signal_ends_a_round_that_does_not_listen(kept: Kept) -> None:
    kept.when("deaf", lambda: (interrupt(), time.sleep(3 * every.LOOK), interrupt()))
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        kept.run("deaf ok")
    assert kept.done == ["deaf"]
    assert time.monotonic() - began < 10


def test_a_round_ends_with_the_process_that_holds_its_lease(kept: Kept) -> None:
    (kept.folder / "words").write_text("long")
    with subprocess.Popen([sys.executable, "-m", "tests.jobs.rounds", str(kept.folder)], cwd=ROOT) as program:
        thread = kept.when("long", program.kill)
        thread.join()
    process = int((kept.folder / "process").read_text())
    assert process != program.pid
    deadline = time.monotonic() + 5
    while born(process) is not None:
        assert time.monotonic() < deadline, "it lives on without its parent"
        time.sleep(0.02)
    assert kept.done == ["long"]


class Log:
    """What a program says, line by line as it says it."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip())

    def after(self, text: str, start: int = 0, seconds: float = 300) -> int:
        """Wait for a line that holds a text, from a line on, and return the number of the line that follows it."""
        deadline = time.monotonic() + seconds
        while True:
            for number, line in enumerate(self.lines[start:], start=start):
                if text in line:
                    return number + 1
            assert time.monotonic() < deadline, self.lines
            assert self._reader.is_alive() or self.process.poll() is None, self.lines
            time.sleep(0.02)

    def end(self) -> int:
        self._reader.join(60)
        return self.process.wait(10)


@contextlib.contextmanager
def started(*flags: str) -> Iterator[Log]:
    command = [sys.executable, "-m", "jobs.pipeline", *flags]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    with process:
        try:
            yield Log(process)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def write(folder: Path, bars: int) -> None:
    for seed, name in enumerate(("AAAUSDT", "BBBUSDT")):
        random_walk(2_100, seed=seed)[:bars].reset_index().to_parquet(folder / f"{name}.parquet")


@pytest.mark.ray
def test_a_run_is_kept_up_with_its_source_by_one_process_at_a_time(tmp_path: Path) -> None:
    market, away, store = tmp_path / "market", tmp_path / "away", open_store(str(tmp_path / "store"))
    market.mkdir()
    write(market, 2_000)
    flags = (
        *("--source", str(market), "--rule", "rsi_reversion", "--store", store.url, "--run", "kept", "--workers", "1"),
        *("--search.trials", "2", "--search.folds", "0", "--placebo.repetitions", "0"),
    )

    def last(stage: str = "ingest") -> pd.Timestamp:
        manifest = read_manifest(store, "kept", stage)
        assert manifest is not None
        return pd.Timestamp(manifest.tickers["local-um:AAAUSDT"]["last"])

    with started(*flags, "--every", "1s") as log:
        log.after("round 1: ")
        with started(*flags) as second:
            assert second.end() == 2
        refused = [line for line in second.lines if line.startswith("LeaseHeldError")]
        assert len(refused) == 1
        assert f"is written to by process {log.process.pid} on" in refused[0]
        place = log.after("round 1: done")
        before = last()
        market.rename(away)
        place = log.after("failed, and the next close is tried: SourceError: There are no candles at", place)
        write(away, 2_050)
        away.rename(market)
        place = log.after("ingest: 2 tickers", place)
        place = log.after(": done in", log.after("report: ", place))
        assert last() - before == 50 * pd.Timedelta(minutes=15)
        first = place
        place = log.after("shortlist: unchanged", first)
        log.process.terminate()
        assert log.end() == 130
        unchanged = [line.partition(":")[0] for line in log.lines[first:] if line.endswith(": unchanged")]
        assert unchanged == ["ingest", "features", "predict", "search", "placebo", "backtest", "audit", "shortlist"]
    # what it left behind keeps nobody waiting
    assert json.loads(store.read(layout.lease("kept", 1)))["released"] is True
