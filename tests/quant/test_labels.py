import inspect
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from quant.labels import LABELS, LabelError, first_touch, forward_max, outcome, register, triple_barrier
from tests.conftest import random_walk
from tests.quant.features_reference import pylabwons_tester

BAR = pd.Timedelta(minutes=15)


def article(bars: pd.DataFrame, take: float, ratio: float, barsupfront: int) -> list[int | None]:
    """The CNN article's ``mytarget``, word for word but for names."""
    length = len(bars)
    high = list(bars["high"])
    low = list(bars["low"])
    close = list(bars["close"])
    open_ = list(bars["open"])
    trendcat: list[int | None] = [None] * length
    for line in range(length - barsupfront - 2):
        value_open_low = 0
        value_open_high = 0
        for i in range(1, barsupfront + 2):
            value1 = open_[line + 1] - low[line + i]
            value2 = open_[line + 1] - high[line + i]
            value_open_low = max(value1, value_open_low)
            value_open_high = min(value2, value_open_high)
            if (value_open_low >= close[line + 1] * take) and (-value_open_high <= close[line + 1] * take / ratio):
                trendcat[line] = 2
                break
            if (value_open_low <= close[line + 1] * take / ratio) and (-value_open_high >= close[line + 1] * take):
                trendcat[line] = 1
                break
            trendcat[line] = 0
    return trendcat


def barriers(bars: pd.DataFrame, take: float, stop: float, horizon: int) -> list[int | None]:
    """The triple barrier by its definition, one row at a time."""
    labels: list[int | None] = [None] * len(bars)
    for row in range(len(bars) - horizon):
        entry = bars["open"].iloc[row + 1]
        ahead = bars.iloc[row + 1 : row + horizon + 1]
        lower = np.flatnonzero(ahead["low"] <= entry * (1 - stop))
        upper = np.flatnonzero(ahead["high"] >= entry * (1 + take))
        first_lower = lower[0] if len(lower) else horizon
        first_upper = upper[0] if len(upper) else horizon
        labels[row] = 1 if first_upper < first_lower else 2 if first_lower < horizon else 0
    return labels


@st.composite
def tied_bars(draw: st.DrawFn) -> pd.DataFrame:
    """Bars on a coarse price grid, so that thresholds are met exactly and both sides are hit on one bar."""
    rows = draw(st.integers(0, 40))
    ticks = draw(st.lists(st.tuples(*[st.integers(96, 104)] * 4), min_size=rows, max_size=rows))
    values = [(prices[0], max(prices), min(prices), prices[1]) for prices in ticks]
    index = pd.date_range("2024-01-01", periods=rows, freq=BAR, tz="UTC", unit="us", name="time")
    return pd.DataFrame(values, columns=["open", "high", "low", "close"], index=index, dtype="float64")


def assert_labels(label: pd.Series, expected: list[int | None]) -> None:
    np.testing.assert_array_equal(label.to_numpy(), np.array(expected, dtype="float64"))


@given(tied_bars(), st.sampled_from([0.01, 0.02, 0.03]), st.sampled_from([0.5, 1.0, 2.0, 3.0]), st.integers(1, 5))
@settings(deadline=None, max_examples=200)
def test_first_touch_is_the_articles_loop(bars: pd.DataFrame, take: float, ratio: float, horizon: int) -> None:
    expected = article(bars, take, ratio, horizon - 1)
    label = first_touch(bars, take, ratio, horizon)
    assert_labels(label, expected)
    assert label.index.equals(bars.index)
    assert_labels(first_touch(bars, take, ratio, horizon, alignment="seed"), [None, *expected][: len(bars)])


@pytest.mark.parametrize("ratio", [0.7, 1.0, 2.0, 3.0])
@pytest.mark.parametrize("take", [0.01, 0.02, 0.07])
def test_prices_that_meet_a_threshold_exactly_are_labelled_as_by_the_article(take: float, ratio: float) -> None:
    generator = np.random.default_rng(3)
    target, limit = 97.0 * take, 97.0 * take / ratio
    # an entry at 0, which no asset has, makes every move exact to the last bit
    steps = [0.0, limit, target, *np.nextafter([limit, target], -1), *np.nextafter([limit, target], 1000)]
    rises, falls = generator.choice(steps, (2, 5_000))
    bars = pd.DataFrame({"open": 0.0, "high": rises, "low": -falls, "close": 97.0})
    assert_labels(first_touch(bars, take, ratio, 3), article(bars, take, ratio, 2))


def test_first_touch_meets_every_class_on_a_random_walk(bars: pd.DataFrame) -> None:
    expected = article(bars, 0.01, 2, 2)
    assert set(expected) == {0, 1, 2, None}
    assert_labels(first_touch(bars, 0.01, 2, 3), expected)
    assert expected[-4:] == [None] * 4
    assert expected[-5] is not None


@given(tied_bars(), st.sampled_from([0.01, 0.02, 0.04]), st.sampled_from([0.01, 0.02, 0.04]), st.integers(1, 5))
@settings(deadline=None, max_examples=100)
def test_triple_barrier_is_its_definition(bars: pd.DataFrame, take: float, stop: float, horizon: int) -> None:
    assert_labels(triple_barrier(bars, take, stop, horizon), barriers(bars, take, stop, horizon))


def test_a_bar_that_touches_both_barriers_counts_as_the_lower(bars: pd.DataFrame) -> None:
    wide = bars.iloc[:3].assign(open=100.0, high=110.0, low=90.0, close=100.0)
    assert triple_barrier(wide, 0.05, 0.05, 2).tolist()[0] == 2.0


def test_outcome_is_the_return_from_the_next_open(bars: pd.DataFrame) -> None:
    label = outcome(bars, 3)
    assert label.iloc[7] == bars["close"].iloc[10] / bars["open"].iloc[8] - 1
    assert label.iloc[:-3].notna().all()
    assert label.iloc[-3:].isna().all()


def test_forward_max_is_the_best_of_the_closes_ahead(bars: pd.DataFrame) -> None:
    label = forward_max(bars, 5)
    assert label.iloc[7] == bars["close"].iloc[8:12].max() / bars["close"].iloc[7] - 1
    assert label.iloc[:-4].notna().all()
    assert label.iloc[-4:].isna().all()


@pytest.mark.market_data
@pytest.mark.parametrize("horizon", [2, 5, 9])
def test_forward_max_is_what_pylabwons_calls_a_return(market_data: Path, horizon: int) -> None:
    bars = pd.read_parquet(market_data / "binance_um_15m" / "ETHUSDT.parquet").set_index("time")
    peer = pylabwons_tester()(bars)
    peer.calc_return(horizon)
    np.testing.assert_array_equal(forward_max(bars, horizon), peer[f"return{horizon}"])


@pytest.mark.market_data
def test_real_bars_get_the_articles_labels(market_data: Path) -> None:
    bars = pd.read_parquet(market_data / "binance_um_15m" / "ETHUSDT.parquet").set_index("time")
    expected = article(bars, 0.01, 2, 2)
    assert {0, 1, 2} <= set(expected)
    assert_labels(first_touch(bars, 0.01, 2, 3), expected)


def horizon_of(name: str) -> int:
    return int(inspect.signature(LABELS[name].compute).parameters["horizon"].default)


@pytest.mark.parametrize("name", LABELS)
class TestEveryLabel:
    def test_bars_beyond_the_horizon_change_nothing(self, name: str, bars: pd.DataFrame) -> None:
        bars, label, horizon = bars.iloc[:200], LABELS[name].compute(bars.iloc[:200]), horizon_of(name)
        row = 120
        other = bars.copy()
        other.iloc[row + horizon + 1 :] *= [3.0, 3.3, 2.7, 3.0, 1.0]
        pd.testing.assert_series_equal(LABELS[name].compute(other).iloc[: row + 1], label.iloc[: row + 1])

    def test_bars_up_to_now_change_nothing_but_the_reference(self, name: str, bars: pd.DataFrame) -> None:
        bars, label, row = bars.iloc[:200], LABELS[name].compute(bars.iloc[:200]), 120
        other = bars.copy()
        other.iloc[:row] *= [3.0, 3.3, 2.7, 3.0, 1.0]
        other.iloc[row, :3] *= [3.0, 3.3, 2.7]
        pd.testing.assert_series_equal(LABELS[name].compute(other).iloc[row:], label.iloc[row:])

    def test_bars_within_the_horizon_matter(self, name: str, bars: pd.DataFrame) -> None:
        bars, label = bars.iloc[:200], LABELS[name].compute(bars.iloc[:200])
        other = bars.copy()
        other.iloc[121] *= [1.0, 2.0, 1.0, 2.0, 1.0]
        assert (LABELS[name].compute(other).iloc[100:121] != label.iloc[100:121]).any()

    def test_a_gap_within_the_horizon_gives_null(self, name: str, bars: pd.DataFrame) -> None:
        gapped = bars.iloc[:200].drop(index=bars.index[[100, 101]])
        by_row = LABELS[name].compute(gapped)
        by_time = LABELS[name].compute(gapped, bar=BAR)
        assert by_row.iloc[:100].notna().all()
        assert by_time.iloc[99] != by_time.iloc[99]
        reach = int(by_time.iloc[:100].isna().sum())
        assert 1 <= reach <= horizon_of(name)
        assert by_time.iloc[100 - reach : 100].isna().all()
        pd.testing.assert_series_equal(
            by_time.drop(gapped.index[100 - reach : 100]), by_row.drop(gapped.index[100 - reach : 100])
        )
        sessions = pd.DatetimeIndex(gapped.index)
        pd.testing.assert_series_equal(LABELS[name].compute(gapped, bar=sessions), by_row)

    def test_a_missing_price_within_the_horizon_gives_null(self, name: str, bars: pd.DataFrame) -> None:
        holed = bars.iloc[:200].copy()
        holed.iloc[100] = np.nan
        label = LABELS[name].compute(holed)
        assert np.isnan(label.iloc[99])
        assert label.iloc[:80].notna().all()
        assert label.iloc[101:190].notna().all()

    @pytest.mark.parametrize("column", ["open", "high", "low", "close"])
    def test_a_missing_price_is_never_guessed(self, name: str, column: str, bars: pd.DataFrame) -> None:
        bars = bars.iloc[:200]
        try:
            LABELS[name].compute(bars.drop(columns=column))
            needed = False
        except LabelError:
            needed = True
        holed = bars.copy()
        holed.loc[bars.index[100], column] = np.nan
        ahead = LABELS[name].compute(holed).iloc[100 - horizon_of(name) : 100]
        assert ahead.isna().any() == needed

    @pytest.mark.parametrize("rows", [0, 1, 2, 4])
    def test_too_few_bars_give_nulls(self, name: str, bars: pd.DataFrame, rows: int) -> None:
        label = LABELS[name].compute(bars.iloc[:rows], horizon=5)
        assert label.isna().tolist() == [True] * rows

    def test_type_index_and_classes(self, name: str, bars: pd.DataFrame) -> None:
        naive = bars.tz_localize(None)
        label = LABELS[name].compute(naive)
        assert label.dtype == np.float64
        assert label.index.equals(naive.index)
        assert label.name == name
        if LABELS[name].classes:
            assert set(label.dropna()) == set(LABELS[name].classes)

    def test_bars_without_a_needed_column_are_refused(self, name: str, bars: pd.DataFrame) -> None:
        with pytest.raises(LabelError, match="no column"):
            LABELS[name].compute(bars[["volume"]])

    @pytest.mark.parametrize("horizon", [0, -1, 1.5, True, None])
    def test_a_senseless_horizon_is_refused(self, name: str, bars: pd.DataFrame, horizon: object) -> None:
        with pytest.raises(LabelError, match="horizon is"):
            LABELS[name].compute(bars, horizon=horizon)


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda bars: forward_max(bars, 1), "horizon is 1"),
        (lambda bars: first_touch(bars, take=0.0), "take is 0.0"),
        (lambda bars: first_touch(bars, take=np.nan), "take is nan"),
        (lambda bars: first_touch(bars, ratio=-2.0), "ratio is -2.0"),
        (lambda bars: first_touch(bars, alignment="late"), "alignment is 'late'"),
        (lambda bars: triple_barrier(bars, take=-0.1), "take is -0.1"),
        (lambda bars: triple_barrier(bars, stop=0.0), "stop is 0.0"),
        (lambda bars: triple_barrier(bars, stop=1.0), "stop is 1.0"),
    ],
)
def test_parameters_out_of_bounds_are_refused(bars: pd.DataFrame, make, named: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(LabelError, match=named):
        make(bars)


def test_a_name_is_registered_once() -> None:
    with pytest.raises(LabelError, match="'outcome' is registered twice"):
        register(version=2)(outcome)
    assert LABELS["outcome"].version == 1


def body_auc(bars: pd.DataFrame, label: pd.Series) -> float:
    """How well the body of a bar tells a long label on it from a short one."""
    decided = label.isin([1, 2])
    return float(roc_auc_score(label[decided] == 1, (bars["close"] / bars["open"])[decided]))


def test_the_seed_alignment_leaks_and_the_honest_one_does_not() -> None:
    bars = random_walk(60_000, seed=7)
    assert abs(body_auc(bars, first_touch(bars, 0.01, 2, 3)) - 0.5) < 0.02
    assert body_auc(bars, first_touch(bars, 0.01, 2, 3, alignment="seed")) > 0.95
