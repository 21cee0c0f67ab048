"""How far a run is, from the store alone."""

import datetime
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import ray

from actors.progress import told
from jobs import ingest, predict, status
from jobs.runner import keep, main
from jobs.stage import Context
from storage import layout
from storage.manifest import ProgressRecord, read_progress, write_config
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
    done = found["ingest"]
    assert (done.word, done.unit, done.done, done.failed, done.left) == ("done", "tickers", str(len(TICKERS)), "0", "0")
    assert done.note.startswith("at 20")
    left = found["predict"]
    assert (left.word, left.unit, left.done, left.failed, left.left) == ("stopped", "tickers", "1", "0", "3")
    assert "the same command goes on" in left.note
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
    assert running == status.State("predict", "runs", "tickers", "0", "0", "4")
    assert (silent.word, silent.done, silent.left) == ("silent", "0", "4")
    assert silent.note.startswith("no word for 2 h 00 m")


@pytest.mark.parametrize(
    ("share", "time_left"),
    [
        (None, "1 min 10 s"),  # 225 at 3 a second, less the 5 s since
        (0.5, "20 s"),  # the heavy ones came first
    ],
)
def test_rate_and_time_left_are_those_since_the_last_word(share: float | None, time_left: str):
    moment = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    record = ProgressRecord(
        stage="search", unit="tickers", before=100, total=300, done=75, failed=2, seconds=25.0, note="demo:A",
        updated=(moment - datetime.timedelta(seconds=5)).isoformat(), stopped=False, share=share,
    )  # fmt: skip
    expected = status.State("search", "runs", "tickers", "175", "2", "225", "3.0/s", time_left, "demo:A")
    assert status.state("search", None, record, moment) == expected


def test_a_run_that_is_not_there_is_refused_with_those_that_are(stopped: Context, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as caught:
        main("status", ["--store", stopped.store.url, "--run", "frist"])
    assert caught.value.code == 2
    assert "holds no run 'frist' (--run); the runs there: first." in capsys.readouterr().err


def asked(context: Context, capsys: pytest.CaptureFixture[str], *flags: str) -> list[str]:
    with pytest.raises(SystemExit) as caught:
        main("status", ["--store", context.store.url, "--run", context.run, *flags])
    assert caught.value.code == 0
    return capsys.readouterr().out.splitlines()


def test_it_is_asked_without_ray_and_without_the_configuration_of_the_run(
    stopped: Context, capsys: pytest.CaptureFixture[str]
):
    given = stopped.config.model_dump(mode="json", by_alias=True)
    write_config(stopped.store, stopped.run, given)
    lines = asked(stopped, capsys)
    assert not ray.is_initialized()
    assert lines[0] == f"run 'first' in {stopped.store.url}"
    assert lines[1].split() == ["stage", "state", "unit", "done", "failed", "left", "rate", "time", "left"]
    assert tuple(line.split()[0] for line in lines[2:]) == STAGES
    assert lines[3].split()[:6] == ["predict", "stopped", "tickers", "1", "0", "3"]
    write_config(stopped.store, stopped.run, {**given, "search": {"sampler": "of another version"}})
    assert [line.split()[0] for line in asked(stopped, capsys)[2:]][1:3] == ["features", "labels"]


def test_it_watches_until_the_run_has_ended(
    context: Context, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """Each pause is as long as a stage takes."""
    going = iter([predict, None])
    pauses: list[float] = []
    write_config(context.store, context.run, context.config.model_dump(mode="json", by_alias=True))

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        with told(partial(keep, context)):
            if stage := next(going):
                stage.run(context, fan_out=serially)
            else:
                context.store.delete(layout.manifest(context.run, "predict"))
                with pytest.raises(KeyboardInterrupt):
                    predict.run(context, fan_out=interrupted)

    ingest.run(context, fan_out=serially)
    monkeypatch.setattr(status.time, "sleep", pause)
    lines = asked(context, capsys, "--status.watch", "--status.every", "7")
    assert pauses == [7.0, 7.0]
    assert [line.split()[1] for line in lines if line.split()[0] == "predict"] == ["to", "done", "stopped"]
    assert "\x1b" not in "".join(lines)


def test_a_run_has_ended_when_all_is_done_or_something_stopped_and_nothing_goes_on():
    def ended(*words: str) -> bool:
        return status.ended([status.State("x", word) for word in words])

    assert [ended("done", "done"), ended("done", "stopped", "to do")] == [True, True]
    assert [ended("done", "to do"), ended("stopped", "runs"), ended("silent", "to do")] == [False, False, False]


def test_a_manifest_that_did_not_change_is_read_once(stopped: Context):
    known: status.Known = {}
    moment = datetime.datetime.now(datetime.UTC)
    first = status.states(stopped, moment, known)
    (key,) = known
    known[key] = known[key][0], replace(known[key][1], created="as it was read before")
    assert status.states(stopped, moment, known)[0].note == "at as it was read before"
    stopped.store.write(key, stopped.store.read(key))
    assert status.states(stopped, moment, known) == first


def test_a_store_that_refuses_progress_stops_nothing(
    context: Context, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    place = layout.progress(context.run, "ingest")
    context.store.write(f"{place}/in-the-way", b"a folder where the record should be")
    with told(partial(keep, context)):
        assert len(ingest.run(context, fan_out=serially).tickers) == len(TICKERS)
    assert "progress is not kept" in caplog.text
