"""Feature sets against their sources, what they refuse, and the registry."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import talib
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from quant import features, indicators
from quant.feature_registry import FEATURE_SETS, Candles, FeatureError, FeatureSet, Values, feature_set, finite
from tests.conftest import random_walk
from tests.quant.features_reference import TIME_PERIODS, article_frame, notebook_indicators, our_name

PATTERN_COLUMNS = ("atr", "bb_pct_b", "bb_width", "log_return", "macd_diff", "obv_slope", "rsi", "v_roc")
SLOPE = "obv_slope"
RELATIVE = ("pattern8_relative", "ta193_relative")
REFUSING = ("ta193", *RELATIVE)


def assert_equals_pylabwons(wide: pd.DataFrame) -> None:
    """Equality to rtol 1e-9, NaN for NaN and infinity for infinity; absolutely only where the source itself wavers."""
    expected = notebook_indicators(wide)
    results = {
        ticker: features.compute(wide[ticker], "pattern8") for ticker in wide.columns.get_level_values(0).unique()
    }
    for column in PATTERN_COLUMNS:
        reference = expected[column]
        actual = np.column_stack([results[ticker][column] for ticker in reference])
        tolerance = np.column_stack([slope_rounding(wide[ticker]) for ticker in reference]) if column == SLOPE else 0.0
        # NumPy's own comparison takes one absolute tolerance for all
        off = ~np.isclose(actual, reference, rtol=1e-9, atol=tolerance, equal_nan=True)
        np.testing.assert_array_equal(actual[off], reference.to_numpy()[off], err_msg=column)


def slope_rounding(bars: pd.DataFrame) -> pd.Series:
    """What rounding may do to the slope of on-balance volume, which pylabwons takes from a product of BLAS.

    The order of its twelve additions, and so its last bits, is the machine's. What is left of them when two large
    sums are subtracted has no more digits than this.
    """
    weights = np.arange(12)
    balance = (np.sign(bars["close"].diff()) * bars["volume"]).fillna(0).cumsum().abs()
    products = balance.rolling(12).max() * weights.sum()
    bound = len(weights) * np.finfo(float).eps * 12 * products / (12 * (weights**2).sum() - weights.sum() ** 2)
    return bound.fillna(0.0)


def wide_of(**markets: pd.DataFrame) -> pd.DataFrame:
    return pd.concat(markets, axis=1)


def test_pattern8_columns() -> None:
    assert features.columns("pattern8") == PATTERN_COLUMNS


def test_pattern8_equals_pylabwons_with_holes_flats_and_collapses(bars: pd.DataFrame) -> None:
    holes, flat, collapse, no_volume = (bars.head(600).copy() for _ in range(4))
    holes.loc[holes.index[[0, 1, 40, 41, 42, *range(200, 230), 599]]] = np.nan
    flat.loc[flat.index[100:180]] = flat.iloc[99].to_numpy()
    flat.loc[flat.index[300:400], ["open", "high", "low", "close"]] = 3.3
    collapse.loc[collapse.index[250:]] *= 1e-7
    no_volume.loc[no_volume.index[150:190], "volume"] = 0.0
    assert_equals_pylabwons(wide_of(holes=holes, flat=flat, collapse=collapse, no_volume=no_volume))


@pytest.mark.market_data
def test_pattern8_equals_pylabwons_on_446_tickers(market_data: Path) -> None:
    wide = pd.read_parquet(market_data / "binance_um_1h_3000x6x446.parquet")
    assert wide.columns.get_level_values(0).nunique() == 446
    assert_equals_pylabwons(wide)


@pytest.mark.market_data
def test_pattern8_equals_pylabwons_and_the_notebook_on_empty_bars(market_data: Path) -> None:
    notebook = pd.read_parquet(market_data / "seed_notebook" / "KRW-IOTA.parquet")
    assert notebook["close"].isna().sum() == 76
    result = features.compute(notebook, "pattern8")
    for column in ("bb_width", "rsi"):
        np.testing.assert_allclose(result[column], notebook[column], rtol=1e-9, atol=0)
    bars = notebook[["open", "high", "low", "close", "volume"]]
    assert_equals_pylabwons(wide_of(iota=bars, again=bars))


SERIES = arrays(
    np.float64, st.integers(1, 60), elements=st.sampled_from([np.nan, 0.0, 1e-7, 0.1, 0.3, 1.0, 7.0, 12345.678, 1e12])
)


@given(values=SERIES, window=st.integers(2, 7))
@settings(max_examples=150, deadline=None)
def test_pandas_kernels_equal_pandas_bit_for_bit(values: Values, window: int) -> None:
    series = pd.Series(values)
    rolling = series.rolling(window)
    np.testing.assert_array_equal(indicators.pandas_rolling_sum(values, window), rolling.sum())
    np.testing.assert_array_equal(indicators.pandas_rolling_mean(values, window), rolling.mean())
    np.testing.assert_array_equal(indicators.pandas_rolling_deviation(values, window), rolling.std())
    wilder = series.ewm(alpha=1 / (window + 1), adjust=False, min_periods=window + 1).mean()
    np.testing.assert_array_equal(indicators.pandas_wilder_mean(values, window + 1), wilder)
    fast, slow = (series.ewm(span=span).mean() for span in (window, 2 * window))
    line = fast - slow
    np.testing.assert_array_equal(
        indicators.pandas_macd_difference(values, window, 2 * window, 3), line - line.ewm(span=3).mean()
    )


def test_pattern8_leaves_undefined_values_undefined() -> None:
    flat = random_walk(100)
    flat[["open", "high", "low", "close"]] = 5.0
    result = features.compute(flat, "pattern8").iloc[30:]
    assert result[["bb_pct_b", "rsi"]].isna().all(axis=None)
    assert (result[["atr", "bb_width", "log_return", "macd_diff", "obv_slope"]] == 0).all(axis=None)


def test_ta193_is_the_articles_frame(bars: pd.DataFrame) -> None:
    article = article_frame(bars.head(600))
    assert article.shape[1] == 193
    assert tuple(our_name(column) for column in article) == features.columns("ta193")
    result = features.compute(bars.head(600), "ta193")
    for column in article:
        # pandas' rolling standard deviation carries rounding along; the rest is the same arithmetic.
        tolerance = 1e-12 if column == "Volatility" else 0.0
        np.testing.assert_allclose(result[our_name(column)], article[column], rtol=0, atol=tolerance, err_msg=column)


def test_ta193_equals_direct_calls(bars: pd.DataFrame) -> None:
    result = features.compute(bars, "ta193")
    high, low, close, volume = (bars[name].to_numpy() for name in ("high", "low", "close", "volume"))
    for p in TIME_PERIODS:
        upper, middle, lower = talib.BBANDS(close, p // 2, 2, 2)
        line, signal, _ = talib.MACD(close, p + 12, p + 26, p + 9)
        expected = {
            f"atr_{p}": talib.ATR(high, low, close, p),
            f"ema_{p}": talib.EMA(close, 2 * p),
            f"rsi_{p}": talib.RSI(close, p // 2),
            f"vwap_{p}": talib.SUM(volume * (high + low + close) / 3, p) / talib.SUM(volume, p),
            f"roc_{p}": talib.ROC(close, p),
            f"ema_high_{p}": talib.EMA(high, 2 * p),
            f"ema_low_{p}": talib.EMA(low, 2 * p),
            f"donchian_upper_{p}": talib.MAX(high, p),
            f"donchian_lower_{p}": talib.MIN(low, p),
            f"macd_{p}": line,
            f"macd_signal_{p}": signal,
            f"bollinger_upper_{p}": upper,
            f"bollinger_middle_{p}": middle,
            f"bollinger_lower_{p}": lower,
            f"ewo_{p}": talib.SMA(close, p + 5) - talib.SMA(close, p + 35),
        }
        for column, values in expected.items():
            np.testing.assert_array_equal(result[column], values, err_msg=column)
    np.testing.assert_array_equal(result["obv"], talib.OBV(close, volume))
    np.testing.assert_array_equal(result["adl"], talib.AD(high, low, close, volume))
    np.testing.assert_array_equal(result["stochastic_k"], talib.STOCH(high, low, close, 5, 3, 0, 3, 0)[0])
    np.testing.assert_array_equal(result["psar"], talib.SAR(high, low, 0.02, 0.2))
    np.testing.assert_array_equal(result["adj_close"], close)


def test_vwap_without_volume_is_nan(bars: pd.DataFrame) -> None:
    bars.loc[bars.index[100:150], "volume"] = 0.0
    result = features.compute(bars, "ta193")["vwap_10"]
    assert np.flatnonzero(result.isna()).tolist() == [*range(9), *range(109, 150)]


def test_relative_columns_are_the_absolute_ones_without_units(bars: pd.DataFrame) -> None:
    raw, relative = features.compute(bars, "ta193"), features.compute(bars, "ta193_relative")
    close = bars["close"]
    levels = ("open", "high", "low", "ema", "vwap", "donchian", "bollinger", "psar")
    compared = 0
    for column in raw:
        twin = f"{column}_relative"
        if column.startswith(levels):
            expected = raw[column] / close - 1
        elif column.startswith(("macd", "ewo", "atr")):
            expected = raw[column] / close
        elif column.startswith(("rsi", "stochastic")):
            expected = raw[column]
        else:
            continue
        # From the 20th row on, where the longest of TA-Lib's own starts of %K has passed.
        np.testing.assert_allclose(relative[twin][20:], expected[20:], rtol=1e-7, atol=1e-10, err_msg=column)
        compared += 1
    assert compared == 173


def test_pattern8_relative_columns_are_the_absolute_ones_without_units(bars: pd.DataFrame) -> None:
    raw, relative = features.compute(bars, "pattern8"), features.compute(bars, "pattern8_relative")
    mean_volume = bars["volume"].rolling(11).mean()
    expected = {
        "atr_relative": raw["atr"] / bars["close"],
        "bb_pct_b_relative": raw["bb_pct_b"],
        "bb_width_relative": raw["bb_width"],
        "log_return": raw["log_return"],
        "macd_diff_relative": raw["macd_diff"] / bars["close"],
        "obv_slope_relative": raw["obv_slope"] / mean_volume,
        "rsi_relative": raw["rsi"],
        "v_roc_relative": np.log(raw["v_roc"]),
    }
    assert tuple(expected) == features.columns("pattern8_relative")
    for column, values in expected.items():
        # 400 rows in, the two ways to seed Wilder's mean have converged.
        np.testing.assert_allclose(relative[column][400:], values[400:], rtol=1e-8, atol=1e-10, err_msg=column)


def test_shares_of_volume(bars: pd.DataFrame) -> None:
    result = features.compute(bars, "ta193_relative")
    assert result[["obv_relative", "adl_relative"]].abs().max(axis=None) <= 1
    bars["close"] = np.linspace(10, 20, len(bars))
    bars["high"], bars["low"] = bars["close"], bars["close"] - 0.01
    rising = features.compute(bars, "ta193_relative").iloc[30:]
    np.testing.assert_allclose(rising[["obv_relative", "adl_relative"]], 1.0)


def test_a_market_that_stands_still_is_neutral() -> None:
    still = random_walk(200)
    # Twenty times 0.1 over twenty is not 0.1: the spread about that mean is rounding.
    still[["open", "high", "low", "close"]] = 0.1
    pattern = features.compute(still, "pattern8_relative").iloc[30:]
    assert (pattern.drop(columns="v_roc_relative") == 0).all(axis=None)
    talib_like = features.compute(still, "ta193_relative").iloc[150:]
    middle = talib_like.filter(regex="rsi|stochastic")
    np.testing.assert_allclose(middle, 50.0, rtol=1e-12)
    width = talib_like["bollinger_upper_55_relative"] - talib_like["bollinger_lower_55_relative"]
    assert (width == 0).all()
    others = talib_like.drop(columns=["volume_relative", *middle])
    np.testing.assert_allclose(others, 0.0, atol=1e-12)


def test_volume_ratio_is_cut_where_volume_is_zero() -> None:
    volume = np.array([1.0, 1.0, 0.0, 0.0, 0.0, 5.0, 5.0])
    result = np.exp(indicators.log_volume_ratio(volume, 2))
    np.testing.assert_allclose(result, [np.nan, np.nan, 1e-3, 1e-3, 1.0, 1e3, 2.0])


@given(
    seed=st.integers(0, 1_000),
    volatility=st.floats(0, 0.2),
    exponent=st.floats(-9, 6),
    silent=st.floats(0, 1),
    volume_exponent=st.floats(-6, 15),
)
@settings(max_examples=25, deadline=None)
def test_relative_sets_are_finite_on_wild_markets(
    seed: int, volatility: float, exponent: float, silent: float, volume_exponent: float
) -> None:
    bars = random_walk(300, seed=seed, volatility=volatility, price=10.0**exponent)
    quiet = np.random.default_rng(seed).random(300) < silent
    bars["volume"] = np.where(quiet, 0.0, bars["volume"] * 10.0**volume_exponent)
    for name in RELATIVE:
        result = features.compute(bars, name)
        for column, start in features.starts(name).items():
            assert np.isfinite(result[column][start.look_back :]).all(), column


@pytest.mark.market_data
def test_relative_sets_are_finite_on_real_bars(market_data: Path) -> None:
    for file in sorted((market_data / "binance_um_15m").glob("*.parquet"))[::25]:
        bars = pd.read_parquet(file).set_index("time")
        for name in RELATIVE:
            values = features.compute(bars, name).iloc[features.warm_up(name) :]
            assert np.isfinite(values.to_numpy()).all(), f"{file.name} {name}"


@pytest.mark.parametrize("name", features.FEATURE_SETS)
def test_prices_far_below_a_cent_lose_no_precision(name: str) -> None:
    cents, dust = (features.compute(random_walk(300, price=price), name) for price in (0.01, 1e-7))
    for feature in FEATURE_SETS[name].features:
        scale = 1e-5 if feature.unit == "quote currency" else 1.0
        np.testing.assert_allclose(
            dust[feature.name], cents[feature.name] * scale, rtol=1e-8, atol=1e-10 * scale, err_msg=feature.name
        )


@pytest.mark.parametrize("name", REFUSING)
@pytest.mark.parametrize(
    ("column", "value", "rule"),
    [
        ("close", np.nan, "finite and above 0"),
        ("high", np.inf, "finite and above 0"),
        ("low", 0.0, "finite and above 0"),
        ("volume", np.nan, "finite and not negative"),
        ("volume", -1.0, "finite and not negative"),
    ],
)
def test_incomplete_bars_are_refused(bars: pd.DataFrame, name: str, column: str, value: float, rule: str) -> None:
    bars.loc[bars.index[[17, 40]], column] = value
    with pytest.raises(FeatureError, match=rf"'{column}'.* is {value} at 2024-01-01 04:15:00\+00:00; .*{rule}"):
        features.compute(bars, name)


def test_unknown_set_names_the_allowed_ones(bars: pd.DataFrame) -> None:
    expected = r"no feature set 'ta192'; the sets are pattern8, pattern8_relative, ta193, ta193_relative"
    for call in (features.columns, features.versions, features.warm_up, features.describe, features.settled):
        with pytest.raises(ValueError, match=expected):
            call("ta192")
    with pytest.raises(ValueError, match=expected):
        features.compute(bars, "ta192")


@pytest.mark.parametrize("name", features.FEATURE_SETS)
def test_missing_column_is_named(bars: pd.DataFrame, name: str) -> None:
    with pytest.raises(
        FeatureError, match=rf"'{name}' needs the column 'low'; the bars have open, high, close, volume"
    ):
        features.compute(bars.drop(columns="low"), name)


def test_column_of_words_is_named(bars: pd.DataFrame) -> None:
    with pytest.raises(FeatureError, match=r"column 'volume' of the bars is .*not numeric"):
        features.compute(bars.assign(volume="many"), "pattern8")


def test_integer_volume_is_accepted(bars: pd.DataFrame) -> None:
    bars["volume"] = bars["volume"].round()
    pd.testing.assert_frame_equal(
        features.compute(bars.astype({"volume": "int64"}), "ta193"), features.compute(bars, "ta193")
    )


def constant(candles: Candles, period: int = 0) -> Values:
    return np.full(len(candles.close), float(period))


def test_periods_of_adjoining_families_take_turns(bars: pd.DataFrame) -> None:
    made = FeatureSet("made", "a test's own", "refuse")
    made.feature({"head": ("", "first")}, start=finite(0))(constant)
    made.feature({"a_{period}": ("", "{period} bars")}, periods=(2, 3), start=finite)(constant)
    made.feature({"b_{period}": ("", "{period} bars")}, periods=(2, 3), start=finite, version=4)(constant)
    made.feature({"tail": ("", "last")}, start=finite(0))(constant)
    assert [feature.name for feature in made.features] == ["head", "a_2", "b_2", "a_3", "b_3", "tail"]
    assert made.features[4].meaning == "3 bars"
    assert made.features[4].version == 4
    assert made.features[4].start.look_back == 3


def test_a_second_feature_or_set_of_one_name_is_refused() -> None:
    made = FeatureSet("made", "a test's own", "refuse")
    made.feature({"twice": ("", "")}, start=finite(0))(constant)
    with pytest.raises(FeatureError, match="'made' has a column 'twice' already"):
        made.feature({"twice": ("", "")}, start=finite(0))(constant)
    with pytest.raises(FeatureError, match="'ta193' exists already"):
        feature_set("ta193", "", "refuse")
    assert "made" not in FEATURE_SETS


def test_a_function_that_returns_too_few_columns_is_refused(
    bars: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = FeatureSet("made", "a test's own", "refuse")
    made.feature({"one": ("", ""), "two": ("", "")}, start=finite(0))(constant)
    monkeypatch.setitem(FEATURE_SETS, "made", made)
    with pytest.raises(FeatureError, match="constant returns 1 columns but is declared for one, two"):
        features.compute(bars, "made")


def test_matches_tells_apart_what_a_start_does_to_a_column(bars: pd.DataFrame) -> None:
    whole, later = features.compute(bars, "ta193"), features.compute(bars.iloc[500:], "ta193")

    def agreement(column: str, declared: str) -> float:
        start = features.starts("ta193")[declared]
        agree = features.matches(start, whole[column].to_numpy()[500:], later[column].to_numpy())
        return float(agree[start.settled :].mean())

    assert agreement("obv", "obv") == 1.0
    assert agreement("obv", "vwap_6") == 0.0
    assert agreement("ema_6", "ema_6") == 1.0
    assert agreement("ema_55", "roc_6") < 1.0
    assert agreement("ema_55", "ema_6") < 1.0
