from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant.bars import segments
from quant.features import compute
from quant.labels import forward_max
from quant.windows import WindowError, cut, ends, select

BAR = pd.Timedelta(minutes=15)


def notebook(features: pd.DataFrame, chosen: pd.Series, length: int) -> tuple[np.ndarray, list[pd.Timestamp]]:
    """The clustering notebook's loop for one ticker: windows by position after ``dropna``."""
    unit = features.dropna()
    windows, times = [], []
    for time in chosen[chosen].index:
        try:
            current = unit.index.get_loc(time)
        except KeyError:
            continue
        if current >= length - 1:
            windows.append(unit.iloc[current - (length - 1) : current + 1].to_numpy())
            times.append(time)
    return np.array(windows).reshape(len(windows), length, features.shape[1]), times


def by_time(features: pd.DataFrame, chosen: pd.Series, length: int) -> tuple[np.ndarray, list[pd.Timestamp]]:
    """Windows whose every bar of the calendar is there and complete, one at a time."""
    windows, times = [], []
    for time in chosen[chosen].index:
        block = features.reindex(pd.date_range(end=time, periods=length, freq=BAR))
        if block.notna().all(axis=None):
            windows.append(block.to_numpy())
            times.append(time)
    return np.array(windows).reshape(len(windows), length, features.shape[1]), times


@pytest.fixture
def features(bars: pd.DataFrame) -> pd.DataFrame:
    return bars[["open", "close", "volume"]].iloc[:200].copy()


@st.composite
def holed(draw: st.DrawFn) -> tuple[pd.DataFrame, pd.Series]:
    """Features with null rows and gaps, and a random choice."""
    rows = draw(st.integers(1, 50))
    present = np.array(draw(st.lists(st.integers(0, 6), min_size=rows, max_size=rows))) > 0
    null = np.array(draw(st.lists(st.integers(0, 8), min_size=rows, max_size=rows))) == 0
    chosen = np.array(draw(st.lists(st.booleans(), min_size=rows, max_size=rows)))
    index = pd.date_range("2024-01-01", periods=rows, freq=BAR, tz="UTC", name="time")
    frame = pd.DataFrame({"a": np.arange(rows, dtype="float64"), "b": np.arange(rows) * 10.0}, index=index)
    frame.loc[null, "b"] = np.nan
    return frame[present], pd.Series(chosen, index=index)[present]


@given(holed(), st.integers(1, 6))
@settings(deadline=None)
def test_without_a_calendar_windows_are_the_notebooks(drawn: tuple[pd.DataFrame, pd.Series], length: int) -> None:
    windows, times = select(*drawn, length)
    expected, expected_times = notebook(*drawn, length)
    np.testing.assert_array_equal(windows, expected)
    assert list(times) == expected_times


@given(holed(), st.integers(1, 6))
@settings(deadline=None)
def test_with_a_bar_no_window_spans_a_gap_or_a_null_row(drawn: tuple[pd.DataFrame, pd.Series], length: int) -> None:
    windows, times = select(*drawn, length, BAR)
    expected, expected_times = by_time(*drawn, length)
    np.testing.assert_array_equal(windows, expected)
    assert list(times) == expected_times


@given(holed(), st.integers(1, 6))
@settings(deadline=None)
def test_ends_and_cut_give_the_same_windows(drawn: tuple[pd.DataFrame, pd.Series], length: int) -> None:
    features, chosen = drawn
    rows = features.to_numpy(dtype="float32")
    positions = ends(features.notna().all(axis=1).to_numpy(), segments(features.index, BAR), length)
    batch = cut(rows, positions, length)
    expected, times = select(features, pd.Series(True, index=chosen.index), length, BAR)
    assert batch.dtype == np.float32
    np.testing.assert_array_equal(batch, expected.astype("float32"))
    assert features.index[positions].equals(times)


@pytest.mark.parametrize("bar", [None, BAR])
def test_consecutive_windows_are_a_view(features: pd.DataFrame, bar: pd.Timedelta | None) -> None:
    chosen = pd.Series(True, index=features.index)
    windows, times = select(features, chosen, 18, bar)
    assert windows.shape == (183, 18, 3)
    assert np.shares_memory(windows, features.to_numpy())
    assert not windows.flags.writeable
    assert times[0] == features.index[17]
    scattered, _ = select(features, chosen & (np.arange(200) % 2 == 0), 18, bar)
    assert not np.shares_memory(scattered, features.to_numpy())
    np.testing.assert_array_equal(scattered, windows[1::2])


def test_no_window_gives_the_same_shapes(features: pd.DataFrame) -> None:
    windows, times = select(features, pd.Series(False, index=features.index), 18, BAR)
    assert windows.shape == (0, 18, 3)
    assert len(times) == 0
    short, _ = select(features.iloc[:5], pd.Series(True, index=features.index), 18, BAR)
    assert short.shape == (0, 18, 3)
    empty, _ = select(features.iloc[:0], pd.Series(True, index=features.index), 18, BAR)
    assert empty.shape == (0, 18, 3)


def test_a_choice_meets_its_rows_by_time(features: pd.DataFrame) -> None:
    label = forward_max(features, 5)
    chosen = label >= 0.005
    expected, times = select(features, chosen, 18, BAR)
    assert 0 < len(times) < 150
    for other in (chosen[chosen], chosen.sample(frac=1.0, random_state=0), chosen.astype("boolean").mask(label.isna())):
        windows, found = select(features, other, 18, BAR)
        np.testing.assert_array_equal(windows, expected)
        assert found.equals(times)


def test_infinities_stay_and_the_type_is_kept(features: pd.DataFrame) -> None:
    single = features.astype("float32")
    single.iloc[30, 0] = np.inf
    windows, _ = select(single, pd.Series(True, index=features.index), 18, BAR)
    assert windows.dtype == np.float32
    assert len(windows) == 183
    assert np.isinf(windows).sum() == 18


def test_sessions_are_a_calendar(features: pd.DataFrame) -> None:
    gapped = features.drop(index=features.index[50])
    chosen = pd.Series(True, index=gapped.index)
    assert len(select(gapped, chosen, 18, BAR)[1]) == 199 - 17 - 17
    assert len(select(gapped, chosen, 18, pd.DatetimeIndex(gapped.index))[1]) == 199 - 17


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (lambda f, c: (f, c, 0), "length of a window is 0"),
        (lambda f, c: (f, c, 2.0), "length of a window is 2.0"),
        (lambda f, c: (f, c.astype(float), 3), "type float64; it must be boolean"),
        (lambda f, c: (f, c.tz_localize(None), 3), "time zone"),
        (lambda f, c: (f.assign(name="x"), c, 3), "feature 'name' has type str"),
        (lambda f, c: (f.iloc[::-1], c, 3), "strictly increasing"),
    ],
)
def test_senseless_selections_are_refused(features: pd.DataFrame, spoil, named: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=named):
        select(*spoil(features, pd.Series(True, index=features.index)))


def test_windows_beyond_the_rows_are_refused() -> None:
    rows = np.zeros((10, 2), dtype="float32")
    for positions in ([1], [10], [5, -1]):
        with pytest.raises(WindowError, match="do not fit into 10 rows"):
            cut(rows, np.array(positions), 3)
    assert cut(rows, np.array([], dtype=np.intp), 3).shape == (0, 3, 2)
    with pytest.raises(WindowError, match="segments of 9"):
        ends(np.ones(10, dtype=bool), np.zeros(9, dtype=np.int64), 3)


def test_a_batch_is_cut_in_the_order_asked() -> None:
    rows = np.arange(20, dtype="float32").reshape(10, 2)
    batch = cut(rows, np.array([9, 2]), 3)
    np.testing.assert_array_equal(batch, [rows[7:10], rows[0:3]])
    np.testing.assert_array_equal(cut(np.asfortranarray(rows), np.array([9, 2]), 3), batch)


@pytest.mark.market_data
def test_the_market_of_the_notebook_gives_its_number_of_windows(market_data: Path) -> None:
    wide = pd.read_parquet(market_data / "binance_um_1h_3000x6x446.parquet")
    counts = {"by position": 0, "by time": 0}
    for ticker in wide.columns.get_level_values(0).unique():
        bars = wide[ticker]
        features, chosen = compute(bars, "pattern8"), forward_max(bars, 5) >= 0.05
        counts["by position"] += len(select(features, chosen, 18)[0])
        counts["by time"] += len(select(features, chosen, 18, pd.Timedelta(hours=1))[0])
    # no ticker of this file has a gap
    assert counts == {"by position": 39_452, "by time": 39_452}


@pytest.mark.market_data
def test_windows_of_a_ticker_with_gaps_stay_within_them(market_data: Path) -> None:
    bars = pd.read_parquet(market_data / "seed_notebook" / "KRW-IOTA.parquet").dropna(subset=["close"])
    features, hour = bars[["close", "volume"]], pd.Timedelta(hours=1)
    everywhere = pd.Series(True, index=bars.index)
    _, straight = select(features, everywhere, 18)
    windows, times = select(features, everywhere, 18, hour)
    assert 0 < len(times) < len(straight) == len(bars) - 17
    starts = features["close"].reindex(times - 17 * hour).to_numpy()
    np.testing.assert_array_equal(windows[:, 0, 0], starts)
