"""What every registered feature must hold, whichever set it is in: written once, run for each column."""

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import pandas as pd
import pytest

from quant import features
from tests.conftest import random_walk

SETS = tuple(features.FEATURE_SETS)
RELATIVE = tuple(name for name in SETS if name.endswith("_relative"))
COLUMNS = [(name, column) for name in SETS for column in features.columns(name)]
every_column = pytest.mark.parametrize(("feature_set", "column"), COLUMNS)
every_relative_column = pytest.mark.parametrize(
    ("feature_set", "column"), [pair for pair in COLUMNS if pair[0] in RELATIVE]
)


def market(kind: str) -> pd.DataFrame:
    """3,000 bars of one kind."""
    bars = random_walk(3_000, seed=5)
    if kind == "sub_cent":
        bars[["open", "high", "low", "close"]] *= 1e-9
    elif kind == "scaled":
        bars[["open", "high", "low", "close"]] *= 7.3e-8
        bars["volume"] *= 3.1e6
    elif kind == "no_volume":
        bars.loc[bars.index[300:400], "volume"] = 0.0
        bars.loc[bars.index[2_000:], "volume"] = 0.0
    elif kind == "constant":
        bars[["open", "high", "low", "close", "volume"]] = [0.1, 0.1, 0.1, 0.1, 0.7]
    elif kind == "standstill":
        prices = bars.columns != "volume"
        bars.loc[bars.index[1_000:2_500], prices] = bars["close"].iloc[999]
        bars.loc[bars.index[1_000:2_500], "volume"] = 0.0
    elif kind == "gaps":
        bars = bars.drop(bars.index[[*range(50, 60), 700, *range(1_500, 1_900)]])
    return bars


@lru_cache(maxsize=64)
def computed(feature_set: str, kind: str, first: int = 0, last: int = 3_000) -> pd.DataFrame:
    return features.compute(market(kind).iloc[first:last], feature_set)


def look_back(feature_set: str, column: str) -> int:
    return features.starts(feature_set)[column].look_back


def nan_rows(feature_set: str, column: str, kind: str) -> list[int]:
    return np.flatnonzero(computed(feature_set, kind)[column].isna()).tolist()


@every_column
def test_truncating_the_future_changes_nothing(feature_set: str, column: str) -> None:
    whole = computed(feature_set, "walk")[column].to_numpy()
    for last in (1, 2, 9, 30, 157, 1_201, 2_999):
        np.testing.assert_array_equal(computed(feature_set, "walk", last=last)[column].to_numpy(), whole[:last])


@every_column
def test_the_start_matters_only_as_declared(feature_set: str, column: str) -> None:
    start = features.starts(feature_set)[column]
    whole = computed(feature_set, "walk")[column].to_numpy()
    for first in (1, 13, 400):
        later = computed(feature_set, "walk", first=first)[column].to_numpy()
        agree = features.matches(start, whole[first:], later)[start.settled :]
        assert len(agree) > 200
        assert agree.all(), f"rows {np.flatnonzero(~agree)[:5]} after the settled length differ"


@every_column
@pytest.mark.parametrize("kind", ["walk", "sub_cent", "gaps"])
def test_nan_exactly_in_the_look_back(feature_set: str, column: str, kind: str) -> None:
    assert nan_rows(feature_set, column, kind) == list(range(look_back(feature_set, column)))


@every_column
def test_float64_and_finite(feature_set: str, column: str) -> None:
    values = computed(feature_set, "walk")[column]
    assert values.dtype == np.float64
    assert np.isfinite(values[look_back(feature_set, column) :]).all()


@every_relative_column
@pytest.mark.parametrize("kind", ["constant", "no_volume", "standstill"])
def test_relative_features_stay_finite_in_dead_markets(feature_set: str, column: str, kind: str) -> None:
    values = computed(feature_set, kind)[column].to_numpy()
    assert np.isfinite(values[look_back(feature_set, column) :]).all()


@every_relative_column
def test_relative_features_do_not_depend_on_the_units(feature_set: str, column: str) -> None:
    expected = computed(feature_set, "walk")[column].to_numpy()
    # The absolute part is the rounding of a fraction of the close that passes through 0.
    np.testing.assert_allclose(computed(feature_set, "scaled")[column].to_numpy(), expected, rtol=1e-9, atol=1e-12)


@every_relative_column
def test_relative_features_are_not_cumulative(feature_set: str, column: str) -> None:
    assert features.starts(feature_set)[column].kind != "cumulative"


@every_column
def test_described_and_versioned(feature_set: str, column: str) -> None:
    (row,) = [row for row in features.describe(feature_set) if row["feature"] == column]
    assert row["version"] == features.versions(feature_set)[column] >= 1
    assert row["unit"]
    assert row["meaning"]
    assert "{" not in f"{row['feature']}{row['meaning']}"
    assert 0 <= int(row["look_back"]) <= int(row["settled"]) < 3_000


@pytest.mark.parametrize("feature_set", SETS)
def test_a_gap_is_no_row(feature_set: str) -> None:
    gappy = market("gaps")
    joined = gappy.set_axis(pd.date_range("2020", periods=len(gappy), freq="h", name="time"))
    np.testing.assert_array_equal(
        computed(feature_set, "gaps").to_numpy(), features.compute(joined, feature_set).to_numpy()
    )


@pytest.mark.parametrize("feature_set", SETS)
def test_warm_up_and_settled_cover_every_column(feature_set: str) -> None:
    complete = computed(feature_set, "walk").notna().all(axis=1).to_numpy()
    assert features.warm_up(feature_set) == int(np.argmax(complete))
    assert features.settled(feature_set) == max(start.settled for start in features.starts(feature_set).values())


@pytest.mark.parametrize("feature_set", SETS)
@pytest.mark.parametrize("rows", [0, 1, 2, 3, 8])
def test_short_bars_give_nan_rows(feature_set: str, rows: int) -> None:
    result = features.compute(market("walk").head(rows), feature_set)
    assert result.shape == (rows, len(features.columns(feature_set)))
    assert result.dtypes.eq("float64").all()
    for column, start in features.starts(feature_set).items():
        assert result[column].isna().sum() == min(rows, start.look_back)


def indexes() -> Iterator[pd.Index]:
    aware = market("walk").index
    yield aware
    yield aware.tz_localize(None)
    yield aware.as_unit("ns")


@pytest.mark.parametrize("index", list(indexes()), ids=["aware", "naive", "nanoseconds"])
def test_the_index_comes_back_as_it_was(index: pd.Index) -> None:
    result = features.compute(market("walk").set_axis(index), "pattern8")
    pd.testing.assert_index_equal(result.index, index, exact=True)


@pytest.mark.parametrize("feature_set", SETS)
def test_the_bars_are_left_alone(feature_set: str) -> None:
    bars = market("walk")
    result = features.compute(bars, feature_set)
    result.iloc[:, :] = 0.0
    pd.testing.assert_frame_equal(bars, market("walk"))
