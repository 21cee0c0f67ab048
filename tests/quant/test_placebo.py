"""Placebos: they keep what is said, and what could be foreseen is gone."""

import math
from itertools import chain, permutations
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant.placebo import FARTHEST, PlaceboError, random_walk, seeds, shuffled_signal
from quant.samplers import ticker_seed
from tests.conftest import random_walk as bars_of_a_walk

PRICES = ["open", "high", "low", "close"]


def series(values: list[int]) -> pd.Series:
    index = pd.date_range("2024-01-01", periods=len(values), freq="15min", tz="UTC", name="time")
    return pd.Series(values, index=index, name="signal", dtype="int8")


def clustered(rows: int, seed: int = 0, volatility: float = 0.01, gaps: float = 0.0) -> pd.DataFrame:
    """Bars whose volatility comes in clusters, with gaps between close and open."""
    generator = np.random.default_rng(seed)
    states = np.empty(rows)
    state = 0.0
    for row, shock in enumerate(generator.standard_normal(rows)):
        state = 0.98 * state + 0.2 * shock
        states[row] = state
    spread = volatility * np.exp(states - np.square(states).mean())
    moves = generator.standard_normal((4, rows)) * spread
    opens_after = moves[1] * gaps
    closes = np.cumsum(moves[0] + opens_after)
    opens = np.append(0.0, closes[:-1]) + opens_after
    values = {
        "open": opens,
        "high": np.maximum(opens, closes) + np.abs(moves[2]),
        "low": np.minimum(opens, closes) - np.abs(moves[3]),
        "close": closes,
    }
    frame = pd.DataFrame({name: 50 * np.exp(value) for name, value in values.items()}, index=series([0] * rows).index)
    frame["volume"] = generator.lognormal(3, 1, rows)
    return frame


def moves(bars: pd.DataFrame) -> npt.NDArray[np.float64]:
    """Logarithmic returns from close to close, the first bar's from its own open."""
    return np.diff(np.log(np.append(bars["open"].iloc[0], bars["close"])))


def test_blocks_are_turned_and_permuted() -> None:
    signal = series(list(range(3)) * 4)
    found = {tuple(shuffled_signal(signal, 4, seed)) for seed in range(300)}
    expected = set()
    for turn in range(3):  # the signals repeat every three bars
        turned = np.roll(signal.to_numpy(), turn).tolist()
        blocks = [turned[first : first + 4] for first in (0, 4, 8)]
        expected |= {tuple(chain(*order)) for order in permutations(blocks)}
    assert found == expected


@given(
    values=st.lists(st.integers(0, 2), max_size=80),
    block=st.integers(1, 100),
    seed=st.integers(0, 2**63 - 1),
)
@settings(deadline=None)
def test_shuffle_keeps_counts_and_what_is_within_blocks(values: list[int], block: int, seed: int) -> None:
    signal = series(values)
    before = signal.copy()
    found = shuffled_signal(signal, block, seed)
    pd.testing.assert_series_equal(signal, before)
    assert found.index.equals(signal.index)
    assert (found.name, found.dtype) == (signal.name, signal.dtype)
    assert sorted(found) == sorted(values)
    pd.testing.assert_series_equal(found, shuffled_signal(signal, block, seed))
    # every pair of neighbours was one before, round the end too, but for the borders between the blocks
    pairs = list(zip(values, values[1:] + values[:1], strict=True))
    new = list(zip(found.tolist()[:-1], found.tolist()[1:], strict=True))
    for pair in pairs:
        if pair in new:
            new.remove(pair)
    assert len(new) <= max(math.ceil(len(values) / block) - 1, 0)


def test_every_signal_may_land_anywhere() -> None:
    signal = series([1] + [0] * 19)
    counts = np.sum([shuffled_signal(signal, 6, seed).to_numpy() for seed in range(4_000)], axis=0)
    assert np.square(counts - 200).sum() / 200 < 60  # χ² with 19 degrees of freedom exceeds 60 once in 250,000


def test_shuffle_loses_what_the_signal_knew() -> None:
    bars = clustered(5_000)
    ahead = np.append(moves(bars)[1:], 0.0)
    signal = series(np.where(np.abs(ahead) < 0.01, 0, np.where(ahead > 0, 1, 2)).tolist())

    def gain(signal: pd.Series) -> float:
        return float(np.where(signal == 1, ahead, np.where(signal == 2, -ahead, 0.0)).sum())

    gains = [gain(shuffled_signal(signal, 50, seed)) for seed in range(100)]
    assert gain(signal) > 10 * np.std(gains)
    assert abs(np.mean(gains)) < 4 * np.std(gains) / 10


@pytest.mark.parametrize(
    ("values", "block", "seed", "message"),
    [
        ([0, 1, 3], 2, 0, "signal holds .*3.*; allowed: 0, 1 and 2"),
        ([0, 1], 0, 0, "block is 0; allowed: whole numbers from 1"),
        ([0, 1], 2.0, 0, "block is 2.0"),
        ([0, 1], 2, -1, "seed is -1; allowed: whole numbers from 0"),
    ],
)
def test_senseless_shuffles_are_refused(values: list[int], block: Any, seed: int, message: str) -> None:
    with pytest.raises(PlaceboError, match=message):
        shuffled_signal(series(values), block, seed)


def test_bars_are_kept_or_mirrored_at_the_close_before() -> None:
    bars = pd.DataFrame(
        {
            "open": [100.0, 110.0, 121.0],
            "high": [125.0, 160.0, 121.0],
            "low": [80.0, 100.0, 121.0],
            "close": [110.0, 121.0, 121.0],
            "volume": [1.0, 2.0, 3.0],
        },
        index=series([0] * 3).index,
    )
    up, down = [100.0, 125.0, 80.0, 110.0], [100.0, 125.0, 80.0, 100 / 1.1]
    second = {
        (True, True): [110.0, 160.0, 100.0, 121.0],
        (True, False): [110.0, 121.0, 110 / (16 / 11), 100.0],
        (False, True): [100 / 1.1, 16_000 / 121, 10_000 / 121, 100.0],
        (False, False): [100 / 1.1, 100.0, 62.5, 100 / 1.21],
    }
    seen = set()
    for seed in range(40):
        walk = random_walk(bars, seed)
        first = walk["close"].iloc[0] > 100
        then = walk["close"].iloc[1] > walk["close"].iloc[0]
        seen.add((first, then))
        assert walk[PRICES].iloc[0].tolist() == pytest.approx(up if first else down)
        assert walk[PRICES].iloc[1].tolist() == pytest.approx(second[first, then])
        assert walk[PRICES].iloc[2].tolist() == pytest.approx([walk["close"].iloc[1]] * 4)
    assert seen == set(second)


@given(
    rows=st.integers(1, 60),
    seed=st.integers(0, 2**63 - 1),
    volatility=st.sampled_from([0.0, 1e-9, 0.01, 0.5, 3.0]),
    gaps=st.sampled_from([0.0, 1.0]),
)
@settings(deadline=None)
def test_walk_keeps_sizes_and_stays_a_market(rows: int, seed: int, volatility: float, gaps: float) -> None:
    bars = clustered(rows, seed % 1_000, volatility, gaps=gaps)
    before = bars.copy()
    walk = random_walk(bars, seed)
    pd.testing.assert_frame_equal(bars, before)
    pd.testing.assert_frame_equal(walk, random_walk(bars, seed))
    pd.testing.assert_series_equal(walk["volume"], bars["volume"])
    assert walk.index.equals(bars.index)
    assert walk.columns.equals(bars.columns)
    assert walk["open"].iloc[0] == bars["open"].iloc[0]
    values = walk[PRICES].to_numpy()
    assert np.isfinite(values).all()
    assert (values > 0).all()
    assert (walk["high"] >= walk[["open", "close"]].max(axis=1)).all()
    assert (walk["low"] <= walk[["open", "close"]].min(axis=1)).all()
    assert np.abs(moves(walk)) == pytest.approx(np.abs(moves(bars)), abs=1e-10)
    for upper, lower in (("high", "low"), ("open", "close")):
        own, real = (np.abs(np.log(frame[upper].to_numpy() / frame[lower].to_numpy())) for frame in (walk, bars))
        assert own == pytest.approx(real, abs=1e-10)


def autocorrelation(values: npt.NDArray[np.float64], lag: int) -> float:
    return float(np.corrcoef(values[:-lag], values[lag:])[0, 1])


def test_walk_keeps_the_clusters_and_loses_drift_and_direction() -> None:
    bars = clustered(3_000)
    # a market with momentum: three of four bars go on in the direction of the bar before
    generator = np.random.default_rng(1)
    signs = np.cumprod(np.where(generator.random(3_000) < 0.75, 1, -1))
    closes = 100 * np.exp(np.cumsum(np.abs(moves(bars)) * signs))
    opens = np.append(100.0, closes[:-1])
    bars = pd.DataFrame(
        {"open": opens, "high": np.maximum(opens, closes), "low": np.minimum(opens, closes), "close": closes},
        index=bars.index,
    )
    real = moves(bars)
    assert autocorrelation(np.sign(real), 1) > 0.45
    assert autocorrelation(np.abs(real), 1) > 0.15
    walks = [moves(random_walk(bars, seed)) for seed in range(200)]
    for lag in (1, 5, 50):
        assert autocorrelation(np.abs(walks[0]), lag) == pytest.approx(autocorrelation(np.abs(real), lag), abs=1e-9)
        found = [autocorrelation(np.sign(walk), lag) for walk in walks]
        assert abs(np.mean(found)) < 4 / math.sqrt(200 * 3_000)
        assert np.std(found) == pytest.approx(1 / math.sqrt(3_000), rel=0.2)
    ups = np.mean(np.array(walks) > 0)
    assert abs(ups - 0.5) < 0.005


def test_no_side_gains_on_average() -> None:
    """The mean simple return is zero; that of a walk by an even coin is half a variance, which would be seen."""
    bars = clustered(400, volatility=0.05)
    returns = np.expm1([moves(random_walk(bars, seed)) for seed in range(2_000)])
    variance = np.square(np.expm1(moves(bars))).mean()
    error = math.sqrt(variance / returns.size)
    assert variance / 2 > 8 * error
    assert abs(returns.mean()) < 4 * error
    ends = np.prod(1 + returns, axis=1)
    assert abs(ends.mean() - 1) < 4 * ends.std() / math.sqrt(len(ends))
    assert abs(returns.mean(axis=0) / np.abs(returns).mean(axis=0)).max() < 4.5 / math.sqrt(2_000)


def test_trends_of_the_asset_do_not_show_in_the_walk() -> None:
    bars = bars_of_a_walk(500, volatility=0.01)
    real = np.sign(moves(bars))
    agreement = [np.mean(np.sign(moves(random_walk(bars, seed))) == real) for seed in range(200)]
    assert abs(np.mean(agreement) - 0.5) < 4 * 0.5 / math.sqrt(200 * 500)


def test_long_walk_of_a_coin_that_jumps_between_two_prices_stays_in_reach() -> None:
    """Squared returns add up to 96,000: without a limit, the price would be 10 to the −20,000."""
    closes = np.where(np.arange(200_000) % 2, 0.0001, 0.0002)
    opens = np.append(0.0002, closes[:-1])
    bars = pd.DataFrame(
        {"open": opens, "high": np.maximum(opens, closes), "low": np.minimum(opens, closes), "close": closes},
        index=series([0] * 200_000).index,
    )
    walk = random_walk(bars, 3)
    levels = np.log(walk["close"] / 0.0002)
    assert levels.abs().max() <= FARTHEST + 1e-9
    assert levels.abs().max() > FARTHEST - math.log(2)
    assert np.abs(moves(walk)) == pytest.approx(np.abs(moves(bars)), abs=1e-9)
    assert (walk["low"] > 0).all()


def test_walk_of_no_bars_is_no_bars() -> None:
    bars = clustered(5).iloc[:0]
    pd.testing.assert_frame_equal(random_walk(bars, 0), bars)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("close", math.nan, "the bar at 2024-01-01 00:30:00.*close nan; allowed: 0 < low ≤ open, close ≤ high"),
        ("low", 0.0, "low 0.0"),
        ("high", 1.0, "high 1.0"),
        ("high", math.inf, "high inf"),
        ("low", 1e9, "low 1000000000.0"),
    ],
)
def test_inconsistent_bars_are_refused(column: str, value: float, message: str) -> None:
    bars = clustered(5)
    bars.loc[bars.index[2], column] = value
    with pytest.raises(PlaceboError, match=message):
        random_walk(bars, 0)


def test_senseless_walks_are_refused() -> None:
    bars = clustered(5)
    with pytest.raises(PlaceboError, match="bars lack open, low; they have high, close, volume"):
        random_walk(bars.drop(columns=["open", "low"]), 0)
    with pytest.raises(PlaceboError, match=r"seed is 0\.5"):
        random_walk(bars, 0.5)  # type: ignore[arg-type]


def test_seeds_of_a_ticker() -> None:
    found = seeds(7, "binance/um/BTCUSDT", 100)
    assert found[:10] == seeds(7, "binance/um/BTCUSDT", 10)
    assert found[3] == ticker_seed(ticker_seed(7, "binance/um/BTCUSDT"), "placebo 3")
    others = seeds(7, "binance/um/ETHUSDT", 100) + seeds(8, "binance/um/BTCUSDT", 100)
    assert len({*found, *others, ticker_seed(7, "binance/um/BTCUSDT")}) == 301
    assert seeds(7, "binance/um/BTCUSDT", 0) == []
    with pytest.raises(PlaceboError, match="the number of placebos is -1"):
        seeds(7, "binance/um/BTCUSDT", -1)
