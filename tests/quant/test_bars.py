from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant.bars import BarsError, infer_bar, segments, validate
from quant.schemas import QUARANTINE

BAR = pd.Timedelta(minutes=15)


@pytest.fixture
def source(bars: pd.DataFrame) -> pd.DataFrame:
    """Forty rows as a file holds them: a time column and numbered rows."""
    return bars.iloc[:40].reset_index()


def test_sound_bars_pass_unchanged(bars: pd.DataFrame) -> None:
    before = bars.copy()
    result, quarantine = validate(bars, BAR)
    pd.testing.assert_frame_equal(result, bars, check_freq=False)
    assert str(result.index.dtype) == "datetime64[us, UTC]"
    assert quarantine.empty
    pd.testing.assert_frame_equal(bars, before)


def test_quarantine_follows_its_schema(source: pd.DataFrame) -> None:
    source.loc[3, "close"] = np.nan
    for quarantine in (validate(source, BAR)[1], validate(source.drop(index=3), BAR)[1]):
        assert list(quarantine.columns) == [column.name for column in QUARANTINE.columns]
        assert quarantine.dtypes.astype(str).tolist() == ["int64", "datetime64[us, UTC]", "str", "str"]


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("open", np.nan, "missing price"),
        ("close", np.inf, "infinite price"),
        ("low", -np.inf, "infinite price"),
        ("low", 0.0, "price not positive"),
        ("open", -1.0, "price not positive"),
        ("high", 1.0, "high below low"),
        ("open", 1e6, "high below open or close"),
        ("close", 1e6, "high below open or close"),
        ("open", 1e-6, "low above open or close"),
        ("close", 1e-6, "low above open or close"),
        ("volume", np.nan, "missing volume"),
        ("volume", np.inf, "infinite volume"),
        ("volume", -1.0, "negative volume"),
        ("time", pd.Timestamp("2024-01-01 01:16", tz="UTC"), "off the bar grid"),
        ("time", pd.NaT, "unparsable time"),
    ],
)
def test_a_broken_row_is_quarantined_with_its_reason(
    source: pd.DataFrame, column: str, value: object, reason: str
) -> None:
    source.loc[5, column] = value
    result, quarantine = validate(source, BAR)
    assert quarantine["row"].tolist() == [5]
    assert quarantine["reason"].tolist() == [reason]
    assert f"{column}={value}" in quarantine["detail"][0]
    expected = source.drop(index=5).set_index("time")
    pd.testing.assert_frame_equal(result, expected)


def test_a_high_equal_to_the_close_and_no_volume_are_sound(source: pd.DataFrame) -> None:
    source["high"] = source[["open", "close"]].max(axis=1)
    source["low"] = source[["open", "close"]].min(axis=1)
    source["volume"] = 0.0
    assert validate(source, BAR)[1].empty


def test_times_are_put_in_order(source: pd.DataFrame) -> None:
    shuffled = source.sample(frac=1.0, random_state=1)
    result, quarantine = validate(shuffled, BAR)
    pd.testing.assert_frame_equal(result, source.set_index("time"))
    assert quarantine.empty


def test_copies_are_dropped_and_counted_and_of_two_values_the_first_is_kept(source: pd.DataFrame) -> None:
    other = source.iloc[[7]].assign(volume=1.0)
    doubled = pd.concat([source, source.iloc[[7, 7, 3]], other], ignore_index=True)
    result, quarantine = validate(doubled, BAR)
    pd.testing.assert_frame_equal(result, source.set_index("time"))
    assert quarantine["row"].tolist() == [40, 41, 42, 43]
    assert quarantine["reason"].tolist() == ["duplicate row"] * 3 + ["duplicate time"]


def test_a_broken_row_does_not_displace_a_sound_one_of_the_same_time(source: pd.DataFrame) -> None:
    broken = source.iloc[[0]].assign(close=np.nan)
    result, quarantine = validate(pd.concat([broken, source], ignore_index=True), BAR)
    pd.testing.assert_frame_equal(result, source.set_index("time"))
    assert quarantine["reason"].tolist() == ["missing price"]


def test_gaps_stay_gaps(source: pd.DataFrame) -> None:
    gapped = source.drop(index=[10, 11, 12])
    result, quarantine = validate(gapped, BAR)
    assert len(result) == 37
    assert quarantine.empty


def test_sessions_are_the_grid_of_equities(source: pd.DataFrame) -> None:
    sessions = pd.DatetimeIndex(source["time"]).delete([4])
    result, quarantine = validate(source, sessions)
    assert quarantine[["row", "reason"]].to_numpy().tolist() == [[4, "off the bar grid"]]
    assert len(result) == 39


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_numbers_since_1970_tell_their_unit(source: pd.DataFrame, unit: str) -> None:
    expected = validate(source, BAR)[0]
    whole = source.assign(time=source["time"].dt.as_unit(unit).astype("int64"))
    pd.testing.assert_frame_equal(validate(whole, BAR)[0], expected)
    missing = whole.astype({"time": "float64"})
    missing.loc[2, "time"] = np.nan
    result, quarantine = validate(missing, BAR)
    assert quarantine["reason"].tolist() == ["unparsable time"]
    pd.testing.assert_frame_equal(result, expected.drop(index=expected.index[2]))


@pytest.mark.parametrize("zone", [None, "UTC", "Asia/Seoul"])
@pytest.mark.parametrize("as_text", [False, True])
def test_times_end_in_utc(source: pd.DataFrame, zone: str | None, as_text: bool) -> None:
    times = source["time"].dt.tz_convert(zone)
    given = source.assign(time=times.map(lambda time: time.isoformat()) if as_text else times)
    pd.testing.assert_frame_equal(validate(given, BAR)[0], source.set_index("time"))


def test_an_unreadable_time_is_reported_as_written(source: pd.DataFrame) -> None:
    texts = source["time"].dt.strftime("%Y-%m-%d %H:%M:%S")
    texts[4] = "yesterday"
    result, quarantine = validate(source.assign(time=texts), BAR)
    assert len(result) == 39
    assert quarantine["reason"].tolist() == ["unparsable time"]
    assert "time=yesterday" in quarantine["detail"][0]
    assert quarantine["time"].isna().all()


def test_names_in_any_case_and_numbers_as_text(source: pd.DataFrame) -> None:
    named = source.astype({"open": str, "volume": object}).rename(columns=str.title).assign(Ticker="BTCUSDT")
    pd.testing.assert_frame_equal(validate(named, BAR)[0], source.set_index("time"))


def mixed_zones(frame: pd.DataFrame) -> pd.DataFrame:
    texts = frame["time"].map(lambda time: time.isoformat())
    texts[9] = "2024-01-01T11:15:00+09:00"
    return frame.assign(time=texts)


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (lambda frame: frame.iloc[:0], "no rows"),
        (lambda frame: frame.drop(columns="close"), "column 'close' is missing"),
        (lambda frame: frame.drop(columns="time"), "column 'time' is missing"),
        (lambda frame: frame.assign(Close=1.0), "'close', 'Close' all name 'close'"),
        (lambda frame: frame.assign(date=frame["time"]), "'time', 'date' all name 'time'"),
        (lambda frame: frame.assign(volume="lots"), "'volume' is not numeric; row 0 holds 'lots'"),
        (lambda frame: frame.assign(volume=True), "'volume' holds bool"),
        (lambda frame: frame.assign(open=frame["time"]), "'open' holds datetime64"),
        (mixed_zones, r"'time' mixes time zones, '2024-01-01T00:00:00\+00:00' and '2024-01-01T11:15:00\+09:00'"),
        (lambda frame: mixed_zones(frame).set_index("time"), "mixes time zones"),
        (lambda frame: frame.assign(time=frame["time"].astype(object).where(frame.index != 3, None)), None),
        (lambda frame: frame.assign(high=0.0), "none of 40 rows is a valid bar, most for 'price not positive'; row 0"),
        (lambda frame: frame.assign(time="?"), "none of 40 rows is a valid bar, most for 'unparsable time'"),
        (lambda frame: frame.iloc[::4], "configured as 0 days 00:15:00 long, but most rows are 0 days 01:00:00 apart"),
        (lambda frame: frame.assign(time=pd.date_range("2024", periods=40, freq="1min")), "0 days 00:01:00 apart"),
    ],
)
def test_a_fault_of_the_whole_source_is_named(source: pd.DataFrame, spoil, named: str | None) -> None:  # type: ignore[no-untyped-def]
    if named is None:
        assert validate(spoil(source), BAR)[1]["reason"].tolist() == ["unparsable time"]
        return
    with pytest.raises(BarsError, match=f"ETH.feather: .*{named}"):
        validate(spoil(source), BAR, source="ETH.feather")


def test_timestamps_of_two_zones_are_mixed(source: pd.DataFrame) -> None:
    times = source["time"].astype(object)
    times[1] = times[1].tz_convert("Asia/Seoul")
    with pytest.raises(BarsError, match="mixes time zones"):
        validate(source.assign(time=times), BAR)


@given(st.lists(st.integers(0, 60), min_size=1, max_size=60), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_whatever_comes_in_the_bars_are_sound_and_every_row_is_accounted_for(minutes: list[int], random) -> None:  # type: ignore[no-untyped-def]
    prices = [[random.choice([1.0, 2.0, 3.0, -1.0, np.nan]) for _ in range(5)] for _ in minutes]
    frame = pd.DataFrame(prices, columns=["open", "high", "low", "close", "volume"])
    frame["time"] = pd.Timestamp("2024-01-01") + pd.to_timedelta(minutes, unit="min")
    try:
        result, quarantine = validate(frame, None)
    except BarsError as error:
        assert "none of" in str(error)
        return
    assert len(result) + len(quarantine) == len(frame)
    assert result.index.is_monotonic_increasing
    assert result.index.is_unique
    assert (result["high"] >= result[["open", "close"]].max(axis=1)).all()
    assert (result["low"] <= result[["open", "close"]].min(axis=1)).all()
    assert (result[["low", "volume"]] > [0, -1]).all(axis=None)
    again, nothing = validate(result, None)
    pd.testing.assert_frame_equal(again, result)
    assert nothing.empty


@pytest.mark.market_data
def test_real_equities_lose_their_broken_rows_only(market_data: Path) -> None:
    frames = [pd.read_parquet(path) for path in sorted((market_data / "equities_sp500_1d").glob("*.parquet"))]
    union = pd.DatetimeIndex(pd.concat(frames)["time"].unique()).sort_values()
    lost = 0
    for frame in frames:
        result, quarantine = validate(frame, union)
        assert len(result) + len(quarantine) == len(frame)
        lost += len(quarantine)
        prices = result.drop(columns="volume")
        assert (prices.max(axis=1) == prices["high"]).all()
        assert (prices.min(axis=1) == prices["low"]).all()
    assert 0 < lost < 1_000


def test_the_bar_is_the_most_common_spacing(bars: pd.DataFrame) -> None:
    assert infer_bar(bars.index[[0, 1, 2, 3, 7, 11, 15]]) == BAR
    assert infer_bar(bars.index[[9, 1, 0, 2, 1]]) == BAR
    assert infer_bar(bars.index[[0, 1, 5]].tz_localize(None)) == BAR
    with pytest.raises(BarsError, match="1 different"):
        infer_bar(bars.index[[0, 0]])


@pytest.mark.parametrize("unit", ["s", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "Asia/Seoul"])
def test_segments_count_the_gaps(bars: pd.DataFrame, unit: str, zone: str | None) -> None:
    index = bars.index[[0, 1, 2, 5, 6, 9]].as_unit(unit).tz_convert(zone)
    numbers = segments(index, BAR)
    assert numbers.tolist() == [0, 0, 0, 1, 1, 2]
    assert numbers.dtype == np.int64
    assert segments(index, None).tolist() == [0] * 6
    assert segments(index[:0], BAR).tolist() == []


def test_a_weekend_between_sessions_is_no_gap() -> None:
    sessions = pd.bdate_range("2024-01-01", periods=10, tz="UTC")
    assert segments(sessions, sessions).tolist() == [0] * 10
    assert segments(sessions.delete([6]), sessions).tolist() == [0] * 6 + [1] * 3
    with pytest.raises(BarsError, match=r"2024-01-06 .* sessions"):
        segments(pd.DatetimeIndex(["2024-01-05", "2024-01-06"]), sessions)


def test_segments_ask_for_an_order_and_a_length(bars: pd.DataFrame) -> None:
    with pytest.raises(BarsError, match="strictly increasing"):
        segments(bars.index[[1, 0]], BAR)
    with pytest.raises(BarsError, match="must be positive"):
        segments(bars.index, pd.Timedelta(0))
