"""Planted flaws are found exactly where they were planted, and nothing is found where nothing was."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant import quality
from quant.bars import BarsError, validate
from quant.schemas import QUALITY
from tests.conftest import random_walk

BAR = pd.Timedelta("15min")
PRICES = ["open", "high", "low", "close"]
PLACES = st.integers(100, 800)
SEEDS = st.integers(0, 2**32 - 1)


def found(bars: pd.DataFrame) -> list[tuple[str, pd.Timestamp, pd.Timestamp, int]]:
    validate(bars.reset_index(), BAR)
    table = quality.flags(bars, BAR)
    assert list(table.columns) == [column.name for column in QUALITY.columns]
    return list(zip(table["kind"], table["start"], table["end"], table["bars"], strict=True))


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS, place=PLACES, length=st.integers(1, 30))
def test_a_gap_is_named_by_the_bars_that_are_missing(seed: int, place: int, length: int):
    walk = random_walk(1_000, seed)
    time = walk.index
    holed = walk.drop(index=time[place : place + length])
    assert found(holed) == [("gap", time[place], time[place + length - 1], length)]


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS, place=PLACES, length=st.integers(1, 30))
def test_a_run_without_volume_is_found_from_four_bars(seed: int, place: int, length: int):
    walk = random_walk(1_000, seed)
    walk.iloc[place : place + length, 4] = 0.0
    expected = [("zero volume", walk.index[place], walk.index[place + length - 1], length)] if length >= 4 else []
    assert found(walk) == expected


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS, place=PLACES, length=st.integers(1, 30))
def test_a_stale_run_is_found_from_four_bars(seed: int, place: int, length: int):
    walk = random_walk(1_000, seed)
    walk.iloc[place : place + length, :4] = walk["close"].iloc[place - 1]
    expected = [("stale", walk.index[place], walk.index[place + length - 1], length)] if length >= 4 else []
    assert found(walk) == expected


def test_runs_end_at_a_gap_and_at_another_price():
    walk = random_walk(1_000)
    walk.iloc[500:506, :4] = 100.0
    walk.iloc[503:506, :4] = 101.0
    assert found(walk) == []
    walk.iloc[500:507, :4] = 100.0
    walk.iloc[500:507, 4] = 0.0
    assert [row[0] for row in found(walk.drop(index=walk.index[503]))] == ["gap"]


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS, place=PLACES, factor=st.sampled_from(quality.FACTORS), up=st.booleans())
def test_a_redenomination_is_found_with_its_ratio(seed: int, place: int, factor: int, up: bool):
    walk = random_walk(1_000, seed)
    walk["volume"] = 100 + 10 * np.sin(np.arange(1_000))
    ratio = float(factor) if up else 1 / factor
    walk.iloc[place:, :4] *= ratio
    walk.iloc[place:, 4] /= ratio
    assert found(walk) == [("redenomination", walk.index[place], walk.index[place], 1)]
    assert quality.flags(walk, BAR)["value"].iloc[0] == pytest.approx(ratio, rel=0.05)


@pytest.mark.parametrize("volume", [1.0, 2.0, 5.0])
def test_a_crash_by_half_is_no_split(volume: float):
    """A crash brings wide bars, whatever its volume does."""
    calm, wild = random_walk(500, 1), random_walk(500, 2, volatility=0.016)
    wild[PRICES] *= calm["close"].iloc[-1] / 2 / wild["open"].iloc[0]
    crash = pd.concat([calm, wild]).set_axis(random_walk(1_000).index)
    crash["volume"] = np.where(np.arange(1_000) < 500, 100.0, 100.0 * volume)
    assert found(crash) == []


def test_a_small_ratio_needs_the_volume_and_a_large_one_does_not():
    halved, thousandth = random_walk(1_000), random_walk(1_000)
    for walk, ratio in ((halved, 0.5), (thousandth, 0.001)):
        walk["volume"] = 100.0
        walk.iloc[500:, :4] *= ratio
    assert found(halved) == []
    assert [row[0] for row in found(thousandth)] == ["redenomination"]


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS, place=PLACES, column=st.sampled_from(["high", "low"]))
def test_a_wick_is_found_with_its_sign(seed: int, place: int, column: str):
    walk = random_walk(1_000, seed)
    walk.iloc[place, PRICES.index(column)] *= 1.5 if column == "high" else 0.6
    assert found(walk) == [("spike", walk.index[place], walk.index[place], 1)]
    assert (quality.flags(walk, BAR)["value"].iloc[0] > 0) == (column == "high")


@settings(max_examples=15, deadline=None)
@given(seed=SEEDS, place=PLACES)
def test_an_absurd_volume_is_found(seed: int, place: int):
    walk = random_walk(1_000, seed)
    walk["volume"] = 100.0
    walk.iloc[place, 4] = 100_000.0
    assert found(walk) == [("volume", walk.index[place], walk.index[place], 1)]


def test_a_jump_that_stays_is_no_spike():
    walk = random_walk(1_000)
    walk.iloc[500:, :4] *= 1.3
    assert found(walk) == []


@pytest.mark.parametrize("seed", range(3))
def test_fat_tails_raise_few_false_alarms(seed: int):
    """Student's t with three degrees of freedom for steps and wicks: at most two spikes in ten thousand bars."""
    generator = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(generator.standard_t(3, 100_000) * 0.002))
    opening = np.append(100.0, close[:-1])
    wick = np.exp(np.abs(generator.standard_t(3, (2, 100_000))) * 0.001)
    walk = random_walk(100_000).assign(
        open=opening, close=close, high=np.maximum(opening, close) * wick[0], low=np.minimum(opening, close) / wick[1]
    )
    counts = quality.counts(quality.flags(walk, BAR))
    assert counts.pop("spike") <= 20
    assert not any(counts.values())


def test_sessions_left_out_are_gaps_and_weekends_are_none():
    walk = random_walk(50).set_axis(pd.bdate_range("2024-01-01", periods=50, tz="UTC", unit="us", name="time"))
    sessions = walk.index
    assert quality.flags(walk, sessions).empty
    table = quality.flags(walk.drop(index=sessions[10:12]), sessions)
    assert table[["kind", "bars"]].to_numpy().tolist() == [["gap", 2]]
    assert table["start"].iloc[0] == sessions[10]
    assert table["end"].iloc[0] == sessions[11]
    assert quality.flags(walk.drop(index=sessions[10:12]), None).empty


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_few_bars_have_no_flags(rows: int):
    assert quality.flags(random_walk(rows), BAR).empty


def test_a_missing_column_is_named():
    with pytest.raises(BarsError, match="'volume' is missing"):
        quality.flags(random_walk(5).drop(columns="volume"), BAR)
