"""A small market on disk, and a way to run jobs without a cluster."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from actors.connect import connect
from actors.outcome import Outcome
from jobs import pipeline
from jobs.config import RunConfig
from jobs.stage import Context
from storage.store import open_store
from tests.conftest import ROOT, random_walk
from tests.jobs.chromium import Chromium

TICKERS = ("AAAUSDT", "BBBUSDT", "CCCUSDT", "DDDUSDT")
ROWS = 4_000


def serially(function: Any, shards: list[Any], *, shared: Any = None, **_: Any) -> Iterator[Outcome[Any, Any]]:
    """The fan-out as a plain loop: what a cluster must agree with."""
    for shard in shards:
        yield Outcome(shard, function(shard, shared), None)


def kill_once(command: list[str], there: Callable[[], object], seconds: float) -> None:
    """Start a command in a session of its own and SIGKILL all of it once something is there."""
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, cwd=ROOT, start_new_session=True, stdout=said, stderr=subprocess.STDOUT)
        try:
            deadline = time.monotonic() + seconds
            while not there():
                ended, late = process.poll() is not None, time.monotonic() >= deadline
                if ended or late:
                    said.seek(0)
                    raise AssertionError(f"the run {'ended' if ended else 'never got there'}: {said.read().decode()}")
                time.sleep(0.02)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def write_market(folder: Path, tickers: tuple[str, ...] = TICKERS, rows: int = ROWS) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for seed, ticker in enumerate(tickers):
        random_walk(rows, seed=seed).reset_index().to_parquet(folder / f"{ticker}.parquet")
    return folder


def write_signals(path: Path, folder: Path, every: int = 40) -> Path:
    """A signal on every fortieth bar or so, long and short in turn."""
    frames = []
    for file in sorted(folder.glob("*.parquet")):
        times = pd.read_parquet(file)["time"][::every]
        signal = np.where(np.arange(len(times)) % 2, 1, 2)
        frames.append(pd.DataFrame({"ticker": file.stem, "time": times.to_numpy(), "signal": signal}))
    pd.concat(frames).to_parquet(path)
    return path


@pytest.fixture(scope="session")
def market(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directory of four tickers of 4,000 bars, one Parquet each."""
    return write_market(tmp_path_factory.mktemp("market"))


@pytest.fixture(scope="session")
def signals(market: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """File of own signals for that market."""
    return write_signals(tmp_path_factory.mktemp("signals") / "signals.parquet", market)


@pytest.fixture
def context(market: Path, signals: Path, tmp_path: Path) -> Context:
    """Context of a run with own signals, on a store of its own."""
    return make_context(tmp_path / "store", source=str(market), signals=str(signals), run="first")


def make_context(store: Path | str, **settings: Any) -> Context:
    """A run; without an audit unless its settings say otherwise, since most tests are about something else."""
    config = RunConfig.model_validate({"store": str(store), "audit": {"gate": "off"}, **settings})
    return Context(config, open_store(config.store), workers=2)


def run_pipeline(context: Context) -> Context:
    """Walk the whole path on a Ray of its own."""
    with connect(None, 2):
        pipeline.run(context)
    return context


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    """A browser; without one a test is skipped, but fails in CI."""
    binary = shutil.which("chromium")
    if binary is None:
        message = "no chromium on this machine (Debian: apt-get install chromium)"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    browser = Chromium(binary, tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture
def page(chromium: Chromium, report: Path) -> Iterator[Chromium]:
    """A module's report, freshly opened; whatever a test does there, nothing goes wrong and nothing is fetched."""
    chromium.open(report)
    yield chromium
    assert chromium.problems() == []
    assert chromium.requests() == [report.as_uri()]
    assert [event for event in chromium.events if event.get("method") == "Page.javascriptDialogOpening"] == []
