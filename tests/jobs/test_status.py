"""How far a run is, from the store alone."""

import datetime
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import pytest
import ray

from actors.progress import told
from jobs import ingest, predict, status
from jobs.runner import keep, main
from jobs.stage import Context
from storage import layout
from storage.manifest import ProgressRecord, read_progress
from tests.jobs.conftest import TICKERS, serially

STAGES = ("ingest", "predict", "search", "placebo", "backtest", "shortlist")


def interrupted(function: Any, shards: Sequence[Any], **settings: Any) -> Iterator[Any]:
    """The fan-out of somebody who loses patience after a ticker."""
    yield next(serially(function, [shards[0][:1]], **settings))
    raise KeyboardInterrupt


def shown(context: Context, seconds: float = 1.0) -> dict[str, status.State]:
    """What is said so many seconds from now."""
    moment = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=seconds)
    return {state.stage: state for state in status.states(context, moment)}


@pytest.fixture
def stopped(context: Context) -> Context:
    """A run that was interrupted after the first of its four tickers."""
    with told(partial(keep, context)):
        ingest.run(context, fan_out=serially)
        with pytest.raises(KeyboardInterrupt):
            predict.run(context, fan_out=interrupted)
    return context


def test_each_stage_is_done_or_stopped_or_to_do(stopped: Context):
    found = shown(stopped)
    assert tuple(found) == STAGES
    assert found["ingest"].word == "done"
    assert found["ingest"].rest.startswith(f"{len(TICKERS)} tickers, at 20")
    assert found["predict"].word == "stopped"
    assert found["predict"].rest.startswith("1 of 4 tickers, ")
    assert "the same command goes on" in found["predict"].rest
    assert {found[name].word for name in ("search", "placebo", "backtest", "shortlist")} == {"to do"}


def test_what_was_done_before_a_stop_is_counted_when_it_goes_on(stopped: Context):
    with told(partial(keep, stopped)):
        predict.run(stopped, fan_out=serially)
    record = read_progress(stopped.store, stopped.run, "predict")
    assert record is not None
    assert (record.before, record.total, record.done, record.stopped) == (1, 3, 3, False)
    assert shown(stopped)["predict"].word == "done"


def test_a_stage_that_runs_is_told_from_one_that_fell_silent(context: Context):
    seen: list[tuple[status.State, status.State]] = []

    def watched(function: Any, shards: Sequence[Any], **settings: Any) -> Iterator[Any]:
        for outcome in serially(function, shards, **settings):
            seen.append((shown(context)["predict"], shown(context, 7200.0)["predict"]))
            yield outcome

    with told(partial(keep, context)):
        ingest.run(context, fan_out=serially)
        predict.run(context, fan_out=watched)
    (running, silent), *_ = seen
    assert (running.word, running.rest) == ("runs", "0 of 4 tickers")
    assert (silent.word, silent.rest[:36]) == ("silent", "0 of 4 tickers, no word for 2 h 00 m")


def test_rate_and_time_left_are_those_since_the_last_word():
    moment = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    record = ProgressRecord(
        stage="search", unit="tickers", before=100, total=300, done=75, failed=2, seconds=25.0, note="demo:A",
        updated=(moment - datetime.timedelta(seconds=5)).isoformat(), stopped=False,
    )  # fmt: skip
    expected = status.State("search", "runs", "175 of 400 tickers, 2 failed, 3.0/s, 1 min 10 s left, demo:A")
    assert status.state("search", None, record, moment) == expected


def test_a_run_that_is_not_there_is_refused_with_those_that_are(stopped: Context, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as caught:
        main("status", ["--store", stopped.store.url, "--run", "frist"])
    assert caught.value.code == 2
    assert "holds no run 'frist' (--run); the runs there: first." in capsys.readouterr().err


def test_it_is_asked_without_ray(stopped: Context, capsys: pytest.CaptureFixture[str]):
    flags = ["--store", stopped.store.url, "--run", stopped.run, "--signals", str(stopped.config.signals)]
    with pytest.raises(SystemExit) as caught:
        main("status", [*flags, "--source", stopped.config.source])
    assert caught.value.code == 0
    assert not ray.is_initialized()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"run 'first' in {stopped.store.url}"
    assert [line.split()[0] for line in lines[1:]] == [
        "ingest",
        "predict",
        "search",
        "placebo",
        "backtest",
        "shortlist",
    ]


def test_a_store_that_refuses_progress_stops_nothing(
    context: Context, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    place = layout.progress(context.run, "ingest")
    context.store.write(f"{place}/in-the-way", b"a folder where the record should be")
    with told(partial(keep, context)):
        assert len(ingest.run(context, fan_out=serially).tickers) == len(TICKERS)
    assert "progress is not kept" in caplog.text
