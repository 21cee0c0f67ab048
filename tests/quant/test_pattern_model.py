"""Fitted patterns: kept as a table and JSON, read back to the last bit, and refused where they do not fit together."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from quant import patterns, scaling
from quant.pattern_model import PatternModel, PatternModelError, PatternParameters
from quant.scaling import Scaler

COLUMNS = ("a", "b", "c")
LENGTH = 4
ROWS = 300


@pytest.fixture(scope="module")
def model() -> PatternModel:
    generator = np.random.default_rng(0)
    kinds = generator.integers(3, size=ROWS)
    windows = generator.normal(size=(3, LENGTH, 3))[kinds] * 4 + generator.normal(size=(ROWS, LENGTH, 3))
    scaler = scaling.fit("robust", windows.reshape(-1, 3), COLUMNS, clip=12.0)
    rows = scaler.transform(windows).reshape(ROWS, -1)
    places = patterns.reduced(rows, "own", 1, neighbours=10, minimum_distance=0.0, threads=1)
    labels = patterns.clustered(places, "kmeans", 3, 0, 1)
    parameters = PatternParameters(LENGTH, 10, 0.0, 1, "own", "kmeans", 3)
    return PatternModel(parameters, scaler, rows, places, labels)


def test_it_comes_back_to_the_last_bit(model: PatternModel):
    shuffled = model.to_frame().sample(frac=1, random_state=0).assign(ticker="x")
    again = PatternModel.read(model.to_json(), shuffled)
    assert (again.parameters, again.scaler) == (model.parameters, model.scaler)
    for name in ("rows", "places", "labels"):
        assert getattr(again, name).tobytes() == getattr(model, name).tobytes()


def test_fitted_windows_join_where_they_are(model: PatternModel):
    joined = model.join(model.rows.reshape(ROWS, LENGTH, 3))
    np.testing.assert_array_equal(joined.labels, model.labels)
    np.testing.assert_array_equal(joined.places, model.places)
    assert not joined.distances.any()


def test_a_window_joins_those_that_it_is_like(model: PatternModel):
    near = model.rows + np.float32(0.01)
    joined = model.join(near)
    assert (joined.labels == model.labels).mean() > 0.99
    np.testing.assert_allclose(joined.distances, 0.01 * np.sqrt(LENGTH * 3), rtol=0.2)
    alone = model.join(near[7:8])
    assert (alone.labels[0], tuple(alone.places[0])) == (joined.labels[7], tuple(joined.places[7]))


def test_noise_is_joined_as_well(model: PatternModel):
    loud = replace(model, labels=np.where(np.arange(ROWS) % 2, model.labels, np.int8(-1)).astype(np.int8))
    assert (loud.join(model.rows).labels == loud.labels).all()


def altered(model: PatternModel, **values: object) -> str:
    given = json.loads(model.to_json())
    given["parameters"] |= values
    return json.dumps(given)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"length": 5}, "lacks the column w012"),
        ({"length": "4"}, "length of the patterns is '4'"),
        ({"count": 2}, "labels go from 0 to 2"),
        ({"reducer": "pickle"}, "reducer of the patterns is 'pickle'; allowed are own, umap-learn, cuml"),
        ({"clustering": "dbscan"}, "clustering of the patterns is 'dbscan'"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_altered_parameters_are_refused(model: PatternModel, values: dict[str, object], named: str):
    with pytest.raises(PatternModelError, match=named):
        PatternModel.read(altered(model, **values), model.to_frame())


def test_text_that_is_no_json_is_refused(model: PatternModel):
    with pytest.raises(PatternModelError, match="not what this code writes"):
        PatternModel.read("cos\nsystem", model.to_frame())


@pytest.mark.parametrize(("column", "value", "named"), [("w003", np.nan, "window 5"), ("x", np.inf, "place 5")])
def test_values_that_are_not_finite_are_refused(model: PatternModel, column: str, value: float, named: str):
    table = model.to_frame()
    table.loc[5, column] = value
    with pytest.raises(PatternModelError, match=f"fitted {named} is not finite"):
        PatternModel.read(model.to_json(), table)


def test_parts_of_different_length_are_refused(model: PatternModel):
    with pytest.raises(PatternModelError, match="300 fitted windows have places of shape"):
        replace(model, places=model.places[1:])
    with pytest.raises(PatternModelError, match="4 bars of 2 features"):
        replace(model, scaler=Scaler("robust", COLUMNS[:2], (0.0, 0.0), (1.0, 1.0), 12.0))


def test_profiles_are_means_and_quantiles_in_real_units():
    generator = np.random.default_rng(1)
    windows = generator.normal(size=(60, LENGTH, 3))
    windows[3, 1, 2] = np.inf
    labels = generator.integers(-1, 2, size=60).astype(np.int8)
    table = patterns.profiles(windows, labels, COLUMNS).set_index(["cluster", "feature", "step"])
    assert len(table) == 4 * LENGTH * 3
    for label in (patterns.ALL, -1, 0, 1):
        for position, feature in enumerate(COLUMNS):
            for step in range(LENGTH):
                values = windows[(labels == label) | (label == patterns.ALL), step, position]
                values = values[np.isfinite(values)]
                found = table.loc[label, feature, step - LENGTH + 1]
                assert found["mean"] == pytest.approx(values.mean())
                for share in patterns.QUANTILES:
                    assert found[f"q{share}"] == pytest.approx(np.quantile(values, share / 100))


def test_information_is_high_where_clusters_are_tickers_and_at_chance_where_they_are_not():
    generator = np.random.default_rng(2)
    tickers = np.array(["A", "B", "C"])[generator.integers(3, size=900)].astype(object)
    times = pd.date_range("2024-01-01", periods=900, freq="8h", tz="UTC")
    labels = (tickers == "A").astype(np.int8)
    found = patterns.information(labels, tickers, times, 0)
    assert found["ticker_information"] > 0.6
    assert found["ticker_information_shuffled"] < 0.01
    assert abs(found["month_information"] - found["month_information_shuffled"]) < 0.02


def test_a_reducer_that_is_not_there_is_named(model: PatternModel):
    with pytest.raises(patterns.ReducerError, match=r"'cuml' and cuml\.manifold cannot be imported"):
        patterns.reduced(model.rows, "cuml", 1, neighbours=10, minimum_distance=0.0, threads=1)
    assert patterns.reducer("auto") == "own"
