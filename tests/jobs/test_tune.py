"""Tuning on a small market, by both algorithms, and a training that takes the best over."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pydantic import ValidationError

from actors.connect import connect
from actors.tune import Resources, run_asha
from jobs import features, ingest, labels, pipeline, train, tune
from jobs.config import RunConfig
from jobs.config_model import Tune
from jobs.stage import Context, StageMissingError
from jobs.train import AnotherTuningError
from jobs.tune import TuneError
from quant.schemas import TUNING
from storage import layout
from storage.tables import read_table
from tests.actors import nesting, tunable
from tests.conftest import ROOT
from tests.jobs.conftest import make_context, serially, write_market

SETTINGS: dict[str, Any] = {
    "features": {"set": "pattern8_relative"},
    "train": {"tuned": True, "threads": 1, "steps": 8, "epochs": 3, "watch": "macro_f1"},
    "tune": {
        "epochs": 3,
        "filters": {"low": 2, "high": 4, "step": 2},
        "dense": (4, 8),
        "dropout": (0.1, 0.3),
        "learning_rate": {"low": 1e-3, "high": 1e-2, "log": True},
    },
}


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Context]:
    """A run up to its labels, on a Ray of two CPUs."""
    folder = tmp_path_factory.mktemp("tuned")
    source = write_market(folder / "market", ("AAAUSDT", "BBBUSDT"), rows=2_000)
    context = make_context(folder / "store", source=str(source), **SETTINGS)
    for job in (ingest, features, labels):
        job.run(context, fan_out=serially)
    with connect("local", 2, dashboard=True):
        yield context


def changed(context: Context, section: str, **changes: Any) -> Context:
    settings = getattr(context.config, section).model_copy(update=changes)
    return replace(context, config=context.config.model_copy(update={section: settings}))


def tuning(context: Context) -> pd.DataFrame:
    return read_table(context.store, context.run, TUNING).reset_index()


def states(context: Context) -> list[str]:
    return [key for key in context.store.list(layout.checkpoints(context.run, "tune")) if "/state/" in key]


@pytest.mark.ray
def test_training_takes_over_what_hyperband_found_and_ends_where_the_trial_did(labelled: Context):
    manifest = tune.run(labelled)
    rows = tuning(labelled)
    assert rows["bracket"].tolist() == [1, 1, 1, 0, 0]
    assert sorted(rows["epochs"]) == [1, 1, 3, 3, 3]
    assert set(rows["status"]) == {"finished", "stopped"}
    best = rows[rows["chosen"]].iloc[0]
    assert best["macro_f1"] == rows["macro_f1"].max() == manifest.details["metrics"]["macro_f1"]
    assert manifest.details["best"] == {name: best[name] for name in tune.AXES}
    assert states(labelled) == []
    assert tune.run(labelled) == manifest

    trained = train.run(labelled)
    assert {name: trained.config[name] for name in tune.AXES} == manifest.details["best"]
    history = trained.details["history"]
    assert max(epoch["macro_f1"] for epoch in history) == pytest.approx(best["macro_f1"], abs=1e-12)
    plain = changed(labelled, "train", tuned=False)
    assert train.tuned(plain) is plain
    with pytest.raises(AnotherTuningError, match=r"tuned with other steps \(8, now 9\).*jobs\.tune"):
        train.run(changed(labelled, "train", steps=9))


@pytest.mark.slow  # tests/actors/test_tune.py holds asha itself to this, without a network
@pytest.mark.ray
def test_asha_keeps_its_trials_where_more_are_asked_for(labelled: Context):
    settings = {"algorithm": "asha", "trials": 3, "concurrent": 1, "objective": "log_loss", "epochs": 2}
    first = tune.run(changed(labelled, "tune", **settings))
    three = tuning(labelled)
    assert len(three) == 3
    assert first.details["metrics"]["log_loss"] == three["log_loss"].min()
    assert train.tuned(labelled).config.train.dense == first.details["best"]["dense"]
    records = {key: labelled.store.stamp(key) for key in labelled.store.list(layout.checkpoints(labelled.run, "tune"))}
    tune.run(changed(labelled, "tune", **{**settings, "trials": 4}))
    pd.testing.assert_frame_equal(tuning(labelled).head(3).drop(columns="chosen"), three.drop(columns="chosen"))
    assert records.items() <= labelled.store.stamps(layout.checkpoints(labelled.run, "tune")).items()


@pytest.mark.ray
def test_a_trial_may_have_several_workers(labelled: Context):
    settings = {"algorithm": "asha", "trials": 1, "epochs": 2, "workers": 2}
    manifest = tune.run(changed(labelled, "tune", **settings))
    assert tuning(labelled)[["epochs", "status"]].to_numpy().tolist() == [[2, "finished"]]
    assert manifest.details["metrics"].keys() == {"macro_f1", "log_loss", "loss"}
    assert states(labelled) == []


@pytest.fixture
def another_ray() -> Iterator[None]:
    """A Ray of somebody else on this machine, with which ours must not be mistaken."""
    code = (
        "import sys; from actors.connect import connect\n"
        "with connect('local', 1): print('up', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        yield
        process.stdin.close()


@pytest.mark.slow  # a trial on ranks of its own is above; this is about what Ray does beside another Ray
@pytest.mark.ray
@pytest.mark.usefixtures("another_ray")
def test_the_ranks_of_a_stopped_trial_make_room_for_the_next(labelled: Context, tmp_path: Path):
    study = tunable.study(tmp_path, objective=nesting.climb)
    results = run_asha(study, Resources(cpus=0.01, concurrent=1, reuse=False), trials=3)
    assert [(result.status, result.trained) for result in results[:2]] == [("finished", 3), ("stopped", 1)]
    assert results[2].status != "failed"


def test_without_a_tuning_the_next_step_is_named(tmp_path: Path):
    context = make_context(tmp_path, train={"tuned": True})
    with pytest.raises(StageMissingError, match=r"no complete 'tune' stage\. Run `python -m jobs\.tune`"):
        train.run(context)


def test_what_cannot_be_tuned_is_refused(market: Path, tmp_path: Path):
    with pytest.raises(TuneError, match="judges run 'old' again, with its model: there is nothing to tune"):
        tune.run(make_context(tmp_path, rejudge="old"))
    context = make_context("memory://tuning", source=str(market), **SETTINGS)
    for job in (ingest, features, labels):
        job.run(context, fan_out=serially)
    with pytest.raises(TuneError, match=r"cannot keep their records in memory://tuning.*allowed: a path, file:"):
        tune.run(context)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"filters": ()}, "filters is empty"),
        ({"dense": {"low": 10.5, "high": 20, "step": 5}}, "dense goes from 10.5 by 5.0; allowed: whole numbers"),
        ({"dense": {"low": 10, "high": 20}}, "dense goes from 10 by None; allowed: whole numbers"),
        ({"dropout": {"low": 0.1, "high": 1.0}}, "dropout goes from 0.1 to 1; allowed"),
        ({"workers": 2, "gpus": 0.5}, "gpus is 0.5 for trials of 2 workers; allowed: 0 or 2"),
        ({"factor": 1}, "greater than or equal to 2"),
    ],
)
def test_a_space_that_no_network_has_is_refused(given: dict[str, Any], message: str):
    with pytest.raises(ValidationError, match=message):
        Tune.model_validate(given)


def test_the_space_of_the_article_is_the_default():
    space = tune.space(Tune())
    assert [list(space[name].values()) for name in ("filters", "dense", "dropout")] == [  # type: ignore[union-attr]
        [16, 32, 48, 64],
        [100, 150, 200, 250, 300],
        [0.1, 0.2, 0.3, 0.4, 0.5],
    ]
    assert space["learning_rate"] == (1e-2, 1e-3, 1e-4)


def test_a_tuned_run_is_tuned_before_it_is_trained():
    tuned = RunConfig.model_validate({"train": {"tuned": True}})
    path = pipeline.path(tuned)
    assert path.index(tune) == path.index(labels) + 1 == path.index(train) - 1
    assert tune not in pipeline.path(RunConfig())
    assert tune not in pipeline.path(tuned.model_copy(update={"rejudge": "old"}))
