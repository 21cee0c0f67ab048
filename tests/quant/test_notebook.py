"""The notebook's windows against its own steps, what they refuse, and the candle viewer."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from quant import features, notebook
from quant.feature_registry import FeatureError
from quant.labels import LabelError
from quant.notebook import NotebookError, NotebookWindows
from quant.windows import WindowError
from tests.conftest import random_walk
from tests.quant.notebook_reference import (
    Windows,
    all_windows,
    chosen,
    extract_windows,
    notebook_scaled,
    notebook_stack,
)

COLUMNS = ("atr", "bb_pct_b", "bb_width", "log_return", "macd_diff", "obv_slope", "rsi", "v_roc")
SLOPE = COLUMNS.index("obv_slope")
# pylabwons takes the slope from a product of BLAS, whose last bits are the machine's; in scaled units, as all here
SLOPE_ROUNDING = 1e-6
PRICES = ["open", "high", "low", "close"]


def by_ticker(wide: pd.DataFrame) -> dict[str, pd.DataFrame]:
    return {ticker: wide[ticker] for ticker in wide.columns.get_level_values(0).unique()}


def assert_equals_notebook(ours: NotebookWindows, expected: Windows) -> None:
    """Equality to the last digit but for the slope, and of the order."""
    values, outcome, indices = expected
    assert ours.values.shape == values.shape and ours.values.dtype == np.float64
    for position, column in enumerate(COLUMNS):
        tolerance = SLOPE_ROUNDING if position == SLOPE else 0.0
        np.testing.assert_allclose(
            ours.values[:, :, position], values[:, :, position], rtol=0, atol=tolerance, err_msg=column
        )
    np.testing.assert_array_equal(ours.outcome, outcome)
    np.testing.assert_array_equal(ours.tickers, indices[:, 1])
    assert (ours.times == pd.DatetimeIndex(indices[:, 0])).all()


def wild_market(rows: int = 400) -> dict[str, pd.DataFrame]:
    """Four tickers of far-apart prices that move enough to rise by 5 %, one listed late, one with holes, one flat."""
    market = {
        name: random_walk(rows, seed=seed, volatility=0.02, price=price)
        for seed, (name, price) in enumerate({"A": 1e4, "B": 1.0, "C": 1e-3, "D": 50.0}.items())
    }
    market["B"].iloc[:150] = np.nan
    market["C"].iloc[[60, 61, 62, *range(200, 222), 390]] = np.nan
    flat = market["D"].index[100:140]
    market["D"].loc[flat, PRICES] = 50.0
    market["D"].loc[flat[:20], "volume"] = 0.0
    # neither 0 over 0 nor a trade after seven bars without any: the ratio is NaN and never infinite
    market["D"].loc[flat[20:28], "volume"] = np.nan
    return market


def test_a_wild_market_equals_the_notebook() -> None:
    market = wild_market()
    scaled, scaler = notebook_scaled(notebook_stack(pd.concat(market, axis=1)))
    ours = notebook.windows(market)
    assert len(ours) > 100
    assert_equals_notebook(ours, all_windows(scaled))
    assert_equals_notebook(ours, extract_windows(scaled, chosen(scaled)))
    assert ours.columns == COLUMNS
    others = np.arange(len(COLUMNS)) != SLOPE
    np.testing.assert_array_equal(ours.center[others], scaler.center_[others])
    np.testing.assert_array_equal(ours.scale[others], scaler.scale_[others])


@pytest.mark.market_data
def test_446_tickers_equal_the_notebook(market_data: Path) -> None:
    wide = pd.read_parquet(market_data / "binance_um_1h_3000x6x446.parquet")
    stack = notebook_stack(wide)
    scaled, scaler = notebook_scaled(stack)
    asked = chosen(scaled)
    assert len(asked) == 39_620
    ours = notebook.windows(by_ticker(wide))
    assert ours.values.shape == (39_452, 18, 8)
    assert_equals_notebook(ours, all_windows(scaled))
    sample = asked[np.sort(np.random.default_rng(6).choice(len(asked), 300, replace=False))]
    theirs = extract_windows(scaled, sample)
    assert len(theirs[0]) > 290
    assert_equals_notebook(subset(ours, theirs[2]), theirs)
    others = np.arange(len(COLUMNS)) != SLOPE
    np.testing.assert_array_equal(ours.center[others], scaler.center_[others])
    np.testing.assert_array_equal(ours.scale[others], scaler.scale_[others])
    np.testing.assert_allclose(ours.center, scaler.center_, rtol=1e-9)
    np.testing.assert_allclose(ours.scale, scaler.scale_, rtol=1e-9)


def subset(whole: NotebookWindows, indices: np.ndarray) -> NotebookWindows:
    """The windows of the given (time, ticker), in that order."""
    position = pd.MultiIndex.from_arrays([whole.times, whole.tickers]).get_indexer(list(map(tuple, indices)))
    assert (position >= 0).all()
    return NotebookWindows(
        values=whole.values[position],
        outcome=whole.outcome[position],
        tickers=whole.tickers[position],
        times=whole.times[position],
        columns=whole.columns,
        center=whole.center,
        scale=whole.scale,
    )


@pytest.fixture
def iota(market_data: Path) -> pd.DataFrame:
    return pd.read_parquet(market_data / "seed_notebook" / "KRW-IOTA.parquet")


@pytest.mark.market_data
def test_a_ticker_with_empty_bars_equals_the_notebook(iota: pd.DataFrame) -> None:
    bars = iota[[*PRICES, "volume"]]
    assert bars["close"].isna().sum() == 76
    scaled, _ = notebook_scaled(notebook_stack(pd.concat({"KRW-IOTA": bars}, axis=1)))
    ours = notebook.windows({"KRW-IOTA": bars})
    assert_equals_notebook(ours, extract_windows(scaled, chosen(scaled)))
    assert len(ours) == 14
    # window 23,769 of the notebook's own market, which it shows
    assert pd.Timestamp("2025-12-02 21:00") in ours.times
    # straight across gaps: a window of 18 rows that took more than 18 bars' time
    position = pd.Series(np.arange(len(bars)), index=bars.index)
    kept = scaled.index.get_level_values(0)
    first = kept[kept.get_indexer(ours.times) - 17]
    assert (position[ours.times].to_numpy() - position[first].to_numpy() > 17).any()


@pytest.mark.market_data
def test_the_viewer_shows_what_the_notebook_shows(iota: pd.DataFrame) -> None:
    shown = notebook.viewer(iota)
    assert shown.columns.tolist() == ["bb_lower", "bb_middle", "bb_upper", "bb_width", "rsi"]
    for column in ("bb_width", "rsi"):
        np.testing.assert_allclose(shown[column], iota[column], rtol=1e-9, atol=0, err_msg=column)


def test_the_viewer_draws_pandas_bands(bars: pd.DataFrame) -> None:
    bars.iloc[100:103] = np.nan
    shown = notebook.viewer(bars)
    rolling = bars["close"].rolling(20)
    middle, deviation = rolling.mean(), rolling.std()
    expected = {"bb_lower": middle - 2 * deviation, "bb_middle": middle, "bb_upper": middle + 2 * deviation}
    for column, values in expected.items():
        np.testing.assert_array_equal(shown[column], values, err_msg=column)
    for column in ("bb_width", "rsi"):
        np.testing.assert_array_equal(shown[column], features.compute(bars, "pattern8")[column], err_msg=column)
    assert shown.index.equals(bars.index)


def test_undoing_the_scaling_gives_the_features_back() -> None:
    market = wild_market()
    ours = notebook.windows(market)
    real = ours.unscaled(ours.values)
    for number in (0, len(ours) // 2, len(ours) - 1):
        rows = features.compute(market[ours.tickers[number]], "pattern8").dropna().loc[: ours.times[number]]
        np.testing.assert_allclose(real[number], rows.iloc[-18:], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(ours.unscaled(ours.values.mean(axis=0)), real.mean(axis=0), rtol=1e-9, atol=1e-9)
    with pytest.raises(NotebookError, match=r"shape \(18, 3\) do not end in the 8 columns atr, "):
        ours.unscaled(np.zeros((18, 3)))


def test_tickers_of_one_moment_keep_the_order_they_came_in() -> None:
    market = wild_market()
    ours, reversed_order = notebook.windows(market), notebook.windows(dict(reversed(market.items())))
    assert ours.times.is_monotonic_increasing and reversed_order.times.equals(ours.times)
    together = ours.times.duplicated(keep=False)
    assert together.any()
    groups = pd.Series(ours.tickers).groupby(ours.times)
    others = pd.Series(reversed_order.tickers).groupby(reversed_order.times)
    for (_, one), (_, other) in zip(groups, others, strict=True):
        assert one.tolist() == sorted(one) and other.tolist() == sorted(one, reverse=True)


def test_answer_horizon_and_length_are_the_callers() -> None:
    market = wild_market()
    ours = notebook.windows(market, horizon=3, answer=0.02, length=5)
    assert ours.values.shape[1:] == (5, 8) and ours.outcome.min() >= 0.02
    for number in range(0, len(ours), 50):
        close = market[ours.tickers[number]]["close"]
        at = close.index.get_loc(ours.times[number])
        assert ours.outcome[number] == close.iloc[at + 1 : at + 3].max() / close.iloc[at] - 1
    boundary = float(ours.outcome.min())
    assert len(notebook.windows(market, horizon=3, answer=boundary, length=5)) == len(ours), "at least, not above"
    assert len(notebook.windows(market, answer=9.0)) == 0


def test_a_trade_after_seven_bars_without_volume_is_refused_by_name() -> None:
    market = wild_market()
    assert [notebook.infinite(frame) for frame in market.values()] == [None] * 4
    market["A"].iloc[90:97, market["A"].columns.get_loc("volume")] = 0.0
    found = notebook.infinite(market["A"])
    assert found == "feature 'v_roc' is inf at 2024-01-02 00:15:00+00:00"
    with pytest.raises(NotebookError, match=r"'A': feature 'v_roc' is inf at 2024-01-02 00:15:00\+00:00; .*leave it"):
        notebook.windows(market)
    with pytest.raises(ValueError, match="infinity"):
        notebook_scaled(notebook_stack(pd.concat(market, axis=1)))
    del market["A"]
    assert set(notebook.windows(market).tickers) == {"B", "C", "D"}


def test_a_price_of_zero_is_refused_by_name() -> None:
    bars = random_walk(100)
    bars.iloc[70, bars.columns.get_loc("close")] = 0.0
    assert notebook.infinite(bars) == "feature 'log_return' is -inf at 2024-01-01 17:30:00+00:00"


def test_bars_that_are_on_no_common_grid_are_refused_by_name() -> None:
    one = random_walk(100)
    for other in (one.iloc[1:], one.tz_localize(None), one.iloc[::-1]):
        with pytest.raises(NotebookError, match="bars of 'OTHER' are not on the 100 times of 'ONE'"):
            notebook.windows({"ONE": one, "OTHER": other})
    with pytest.raises(NotebookError, match="times of 'ONE' do not strictly increase"):
        notebook.windows({"ONE": one.iloc[[0, 1, 1, 2]]})
    with pytest.raises(NotebookError, match="'ONE' are indexed by int64"):
        notebook.windows({"ONE": one.reset_index(drop=True)})
    with pytest.raises(NotebookError, match="no bars"):
        notebook.windows({})


def test_what_cannot_be_asked_is_refused() -> None:
    market = {"ONE": random_walk(100)}
    with pytest.raises(NotebookError, match="least outcome of a window is nan"):
        notebook.windows(market, answer=float("nan"))
    with pytest.raises(LabelError, match="horizon is 1"):
        notebook.windows(market, horizon=1)
    with pytest.raises(WindowError, match="length of a window is 0"):
        notebook.windows(market, length=0)
    with pytest.raises(FeatureError, match="needs the column 'volume'"):
        notebook.windows({"ONE": market["ONE"].drop(columns="volume")})
    with pytest.raises(NotebookError, match="feature 'atr' has no value in any ticker"):
        notebook.windows({"ONE": random_walk(8)})
