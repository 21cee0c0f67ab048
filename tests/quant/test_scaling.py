import json
import pickle

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.preprocessing import MinMaxScaler, RobustScaler

from quant.scaling import Kind, Scaler, ScalingError, fit

COLUMNS = ("small", "large", "constant", "holed")
PEERS = {"robust": RobustScaler, "minmax": MinMaxScaler}


def sample(rows: int = 500, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    values = generator.standard_normal((rows, 4)) * [1e-6, 1e3, 0.0, 1.0] + [0.0, 60_000.0, 7.0, -2.0]
    values[::7, 3] = np.nan
    return values


@pytest.mark.parametrize("kind", ["robust", "minmax"])
def test_statistics_and_values_are_scikit_learns(kind: Kind) -> None:
    past, later = sample(), sample(seed=1)
    scaler = fit(kind, past, COLUMNS, clip=1e6)
    peer = PEERS[kind]().fit(past)
    np.testing.assert_allclose(scaler.transform(later), peer.transform(later), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(scaler.scale, peer.scale_ if kind == "robust" else 1 / peer.scale_, rtol=1e-15)
    np.testing.assert_array_equal(scaler.center, peer.center_ if kind == "robust" else peer.data_min_)
    assert scaler.scale[2] == 1.0


@given(arrays("float64", (12, 2), elements=st.floats(-1e6, 1e6)), st.sampled_from(["robust", "minmax"]))
@settings(deadline=None)
def test_any_sample_is_scaled_as_scikit_learn_does(values: np.ndarray, kind: Kind) -> None:
    scaler = fit(kind, values, ("a", "b"), clip=1e300)
    peer = PEERS[kind]().fit(values)
    np.testing.assert_allclose(scaler.scale, peer.scale_ if kind == "robust" else 1 / peer.scale_, rtol=1e-12)


def test_values_are_single_precision_clipped_and_null_where_null() -> None:
    scaler = fit("robust", sample(), COLUMNS, clip=3.0)
    rows = np.array([[np.inf, -np.inf, 7.0, np.nan], [0.0, 1e9, 9.0, -1e9]])
    before = rows.copy()
    scaled = scaler.transform(rows)
    assert scaled.dtype == np.float32
    np.testing.assert_array_equal(scaled[0], [3.0, -3.0, 0.0, np.nan])
    np.testing.assert_array_equal(scaled[1, 1:], [3.0, 2.0, -3.0])
    np.testing.assert_array_equal(rows, before)


def test_infinities_do_not_enter_the_statistics() -> None:
    rows = sample()
    spoilt = np.vstack([rows, np.full((3, 4), np.inf), np.full((2, 4), -np.inf)])
    assert fit("robust", spoilt, COLUMNS) == fit("robust", rows, COLUMNS)
    assert fit("minmax", spoilt, COLUMNS) == fit("minmax", rows, COLUMNS)


def test_frames_are_read_by_name_and_windows_by_their_last_axis() -> None:
    rows = sample()
    frame = pd.DataFrame(rows, columns=list(COLUMNS)).assign(extra="x")
    scaler = fit("robust", frame[["extra", *COLUMNS[::-1]]], COLUMNS)
    assert scaler == fit("robust", rows, COLUMNS)
    expected = scaler.transform(rows)
    np.testing.assert_array_equal(scaler.transform(frame[["holed", "extra", "constant", "large", "small"]]), expected)
    np.testing.assert_array_equal(scaler.transform(rows.reshape(50, 10, 4)), expected.reshape(50, 10, 4))


def test_a_long_sample_is_scaled_like_its_pieces() -> None:
    rows = sample(150_000)
    scaler = fit("robust", rows, COLUMNS)
    pieces = [scaler.transform(piece) for piece in np.array_split(rows, 11)]
    np.testing.assert_array_equal(scaler.transform(rows), np.concatenate(pieces))
    assert scaler.transform(rows[:0]).shape == (0, 4)


def test_large_prices_keep_their_digits() -> None:
    rows = np.array([[60_000.001], [60_000.002], [60_000.003]])
    np.testing.assert_allclose(fit("minmax", rows, ["price"]).transform(rows)[:, 0], [0.0, 0.5, 1.0], atol=1e-6)


@pytest.mark.parametrize("kind", ["robust", "minmax"])
def test_text_gives_the_same_scaler_back(kind: Kind) -> None:
    scaler = fit(kind, sample(), COLUMNS, clip=5)
    again = Scaler.from_json(scaler.to_json())
    assert again == scaler
    assert again.to_json() == scaler.to_json()
    assert pickle.loads(pickle.dumps(scaler)) == scaler  # noqa: S301  our own bytes: Ray ships a scaler to its actors


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"kind": "standard"}, "'standard'; allowed are robust, minmax"),
        ({"kind": ["robust"]}, "allowed are robust, minmax"),
        ({"columns": ["a"]}, "1 columns, 2 centers and 2 scales"),
        ({"columns": "ab"}, "columns are 'ab'"),
        ({"columns": [1, 2]}, "list of names"),
        ({"center": [1.0, None]}, "center is"),
        ({"center": 3}, "center is 3"),
        ({"scale": [1.0, 0.0]}, "'b' has center 1.0 and scale 0.0"),
        ({"scale": [1.0, -1.0]}, "scale -1.0"),
        ({"center": [0.0, float("nan")]}, "'b' has center nan"),
        ({"clip": 0}, "clip is 0"),
        ({"clip": "big"}, "clip is 'big'"),
        ({"other": 1}, "must hold exactly kind, columns"),
    ],
)
def test_text_of_no_sound_scaler_is_refused(change: dict[str, object], named: str) -> None:
    sound = {"kind": "robust", "columns": ["a", "b"], "center": [0.0, 1.0], "scale": [1.0, 2.0], "clip": 10.0}
    assert Scaler.from_json(json.dumps(sound)).columns == ("a", "b")
    with pytest.raises(ScalingError, match=named):
        Scaler.from_json(json.dumps({**sound, **change}))


@pytest.mark.parametrize("text", ["", "[]", "7", "{}", '{"kind": "robust"'])
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(ScalingError, match="scaler"):
        Scaler.from_json(text)


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda rows: fit("standard", rows, COLUMNS), "'standard'"),
        (lambda rows: fit("robust", rows, COLUMNS, clip=-1.0), "clip is -1.0"),
        (lambda rows: fit("robust", rows, ()), "no columns"),
        (lambda rows: fit("robust", rows, COLUMNS[:3]), r"shape \(500, 4\); it must be rows × 3"),
        (lambda rows: fit("robust", pd.DataFrame(rows, columns=list("abcd")), COLUMNS), "'small' is missing"),
        (
            lambda rows: fit("robust", rows * [1, 1, np.nan, 1], COLUMNS),
            "'constant' has no finite value in the 500 rows",
        ),
        (lambda rows: fit("robust", rows, COLUMNS).transform(rows[:, :3]), r"shape \(500, 3\)"),
        (lambda rows: fit("robust", rows, COLUMNS).transform(pd.DataFrame({"small": [1.0]})), "'large' is missing"),
    ],
)
def test_senseless_fits_and_rows_are_refused(make, named: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ScalingError, match=named):
        make(sample())
