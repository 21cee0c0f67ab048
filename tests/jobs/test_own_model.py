"""A quant's own Keras model in place of one trained here."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from actors.connect import connect
from actors.outcome import Outcome, guarded
from jobs import features, ingest, pipeline, predict
from jobs.runner import ConfigError, parse
from jobs.stage import AllFailedError, Context, Item, ShardJob, require
from quant import decision, network, scaling, windows
from quant.bars import segments
from quant.features import columns, compute
from quant.model_file import ModelError
from quant.scaling import Scaler
from quant.schemas import SIGNALS
from storage.manifest import Receipt
from storage.tables import read_table
from tests.conftest import random_walk
from tests.jobs.conftest import make_context, serially

STEPS = 6
CHOSEN = columns("pattern8_relative")[:5]  # a model need not use all features of a set


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model of five features and its scaler."""
    folder = tmp_path_factory.mktemp("model")
    network.configure(threads=1)  # as every test of the networks in this process
    model = network.build("causal", STEPS, len(CHOSEN), filters=4, dense=8, dropout=0.0, seed=1)
    (folder / "mine.keras").write_bytes(network.save(model))
    rows = compute(random_walk(2_000), "pattern8_relative")[list(CHOSEN)].dropna()
    (folder / "scaler.json").write_text(scaling.fit("robust", rows, CHOSEN, clip=8.0).to_json())
    return folder


def configured(store: Path, market: Path, model: Path, scaler: Path, **settings: Any) -> Context:
    return make_context(
        store,
        source=str(market),
        run="own",
        model=str(model),
        scaler=str(scaler),
        **{"predict": {"threshold": 0.34}, **settings},
    )


@pytest.mark.ray
def test_signals_are_those_of_the_model_on_its_own_features(files: Path, market: Path, tmp_path: Path):
    context = configured(tmp_path, market, files / "mine.keras", files / "scaler.json")
    with connect(None, 2):
        pipeline.run(context)
        assert pipeline.run(context) is not None  # a second run finds all of it done
    found = read_table(context.store, context.run, SIGNALS, "local-um:AAAUSDT")
    frame = compute(random_walk(4_000, seed=0), "pattern8_relative")
    scaler = Scaler.from_json((files / "scaler.json").read_text())
    rows = scaler.transform(frame[list(CHOSEN)])
    complete = ~np.isnan(rows).any(axis=1)
    ends = windows.ends(complete, segments(frame.index, frame.index[1] - frame.index[0]), STEPS).astype(np.int64)
    ends = ends[(frame.index >= found.index[0])[ends] & (frame.index <= found.index[-1])[ends]]
    model = network.load((files / "mine.keras").read_bytes())
    expected = network.predict(model, rows, ends, STEPS)
    given = found.loc[frame.index[ends]]
    np.testing.assert_allclose(given["probability_long"], expected[:, 1], rtol=1e-4, atol=1e-5)
    clear = np.abs(expected[:, 1:] - 0.34).min(axis=1) > 1e-4
    np.testing.assert_array_equal(given["signal"][clear], decision.signals(expected, 0.34)[clear])
    assert b"came from a file" in context.store.read("runs/own/report.html")
    assert not require(context, "predict").failures


def in_this_process(
    function: Any, shards: list[list[Item]], *, shared: ShardJob, **_: Any
) -> Iterator[Outcome[list[Item], Receipt]]:
    """The actors as a plain loop: what is told of a model is told where it is loaded."""
    for shard in shards:
        yield Outcome(shard, *guarded(lambda: predict.loaded(function, shared)(shard)))  # noqa: B023


def test_a_model_that_does_not_fit_is_refused_in_one_paragraph(files: Path, market: Path, tmp_path: Path):
    other = keras.Sequential([keras.Input((STEPS, 5)), keras.layers.Flatten(), keras.layers.Dense(3)])
    (tmp_path / "scores.keras").write_bytes(network.save(other))
    code = keras.Sequential([keras.Input((STEPS, 5)), keras.layers.Lambda(lambda x: x), keras.layers.Flatten()])
    (tmp_path / "code.keras").write_bytes(network.save(code))
    strange = Scaler("robust", ("moon", *CHOSEN[1:]), (0.0,) * 5, (1.0,) * 5, 8.0)
    (tmp_path / "strange.json").write_text(strange.to_json())
    narrow = Scaler("robust", CHOSEN[:4], (0.0,) * 4, (1.0,) * 4, 8.0)
    (tmp_path / "narrow.json").write_text(narrow.to_json())
    cases = [
        (tmp_path / "scores.keras", files / "scaler.json", "are no probabilities; needed: softmax"),
        (tmp_path / "code.keras", files / "scaler.json", "'Lambda' of 'keras.layers', which could run code"),
        (files / "mine.keras", tmp_path / "strange.json", "'moon', which is no feature of pattern8_relative"),
        (files / "mine.keras", tmp_path / "narrow.json", "takes 5 features and .*narrow.json scales 4"),
    ]
    for model, scaler, message in cases:
        context = configured(tmp_path / "store", market, model, scaler, train={"threads": 1})
        ingest.run(context, serially)
        features.run(context, serially)
        with pytest.raises(AllFailedError, match=message):
            predict.run(context, in_this_process)


def test_a_file_that_is_not_there_is_named(files: Path, market: Path, tmp_path: Path):
    context = configured(tmp_path / "store", market, files / "other.keras", files / "scaler.json")
    with pytest.raises(ModelError, match=r"other\.keras: there is no such file"):
        predict.own_files(context)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--model", "m.keras"], "model and scaler belong together"),
        (["--model", "m.keras", "--scaler", "s.json"], "predict.threshold is missing"),
        (["--model", "m.keras", "--scaler", "s.json", "--signals", "s.csv"], "model and signals are both set"),
    ],
)
def test_flags_that_contradict_each_other_are_refused(flags: list[str], message: str):
    with pytest.raises(ConfigError, match=message):
        parse("predict", "", flags)
