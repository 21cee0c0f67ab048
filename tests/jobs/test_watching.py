"""What a Ray and the logs tell of shards: counters at the metrics port, and a line of JSON a shard."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from actors.outcome import Outcome, ShardError
from jobs import shard_log
from storage.manifest import Failure, Receipt
from tests.conftest import ROOT
from tests.jobs.watched import EXPECTED, TICKERS


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], str]:
    """What a driver with a Ray of its own found, and what it wrote to standard error."""
    scratch = tmp_path_factory.mktemp("watched")
    (scratch / "scratch").mkdir()
    process = subprocess.run(
        [sys.executable, "-m", "tests.jobs.watched", *(str(scratch / name) for name in ("store", "scratch", "told"))],
        cwd=ROOT,
        env={**os.environ, "RAY_metrics_report_interval_ms": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    return json.loads((scratch / "told").read_text("utf-8")), process.stderr


@pytest.mark.ray
def test_the_counters_are_at_the_metrics_port_of_the_node(watched: tuple[dict[str, Any], str]):
    metrics = watched[0]["metrics"]
    (line,) = watched[0]["worker"]
    written = metrics.pop("ray_assay_bytes_written_total")
    assert written == {"toy": json.loads(line)["bytes_written"]}
    assert metrics == EXPECTED


@pytest.mark.ray
def test_the_worker_writes_a_line_a_shard_into_ray_s_logs(watched: tuple[dict[str, Any], str]):
    (line,) = watched[0]["worker"]
    facts = json.loads(line)
    assert facts.pop("seconds") > 0
    assert facts.pop("pid") > 0
    assert facts.pop("peak_bytes") > facts.pop("bytes_written") > facts.pop("bytes_read") == 0
    assert facts == {
        "run": "watched",
        "stage": "toy",
        "tickers": sorted(TICKERS),
        "count": 4,
        "failed": 1,
        "rows": 9,
        "attempt": 1,
        "node": watched[0]["node"],
        "error": None,
    }


@pytest.mark.ray
def test_the_driver_writes_the_same_line_into_its_log_and_progress_ends_it(watched: tuple[dict[str, Any], str]):
    written = watched[1].splitlines()
    (mine,) = [json.loads(line) for line in written if line.startswith("{")]
    theirs = json.loads(watched[0]["worker"][0])
    assert mine.pop("seconds") >= theirs.pop("seconds")
    named = theirs.pop("tickers")
    assert mine.pop("tickers") == named[: shard_log.NAMED]
    assert len(named) == mine["count"] > shard_log.NAMED
    assert mine == theirs
    assert written[0] == "toy: 0/4 tickers"
    (last,) = [line for line in written if line.startswith("toy: 4 tickers in ")]
    assert last.endswith(", 1 failed")


def test_on_a_terminal_the_lines_are_for_debugging_only(monkeypatch: pytest.MonkeyPatch, caplog: Any):
    outcome = Outcome(["A"], None, ShardError("system", "WorkerCrashedError", "the worker died", ""))
    receipt = Receipt("toy", "ab" * 32, {}, {}, [Failure("A", "toy", "WorkerCrashedError", "the worker died")])
    with caplog.at_level(logging.DEBUG, logger="assay.shard"):
        for terminal in (True, False):
            monkeypatch.setattr(sys.stderr, "isatty", lambda terminal=terminal: terminal, raising=False)
            shard_log.in_driver("first", receipt, outcome)
    assert [record.levelno for record in caplog.records] == [logging.DEBUG, logging.INFO]
    facts = json.loads(caplog.messages[0])
    assert (facts["failed"], facts["node"], facts["attempt"]) == (1, None, None)
    assert facts["error"] == "WorkerCrashedError"


def test_where_there_is_no_worker_of_ray_no_file_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    shard_log.in_worker("first", Receipt("toy", "ab" * 32, {}))
    assert list(tmp_path.iterdir()) == []
