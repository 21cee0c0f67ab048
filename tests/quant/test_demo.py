"""The demo market: it looks like one, its answer is the one it states, and it hangs on nothing but its values."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from quant import demo
from quant.demo import HOLD, MAJORS, DemoMarket, DemoMarketError
from quant.statistics import sharpe

FEE = 0.002  # of a round trip
SEEDS = range(6)
JUDGED = int(0.38 * DemoMarket().bars)


def trades(market: DemoMarket, ticker: str) -> pd.Series:
    """Gross return of each of the oracle's trades, in at the next open and out HOLD bars on, by time of exit."""
    opening = demo.bars(market, ticker)["open"]
    signal = demo.oracle(market, ticker).to_numpy()
    at = np.flatnonzero(signal)
    at = at[at + 1 + HOLD < len(opening)]
    prices = opening.to_numpy()
    side = np.where(signal[at] == 1, 1, -1)
    returns = side * (prices[at + 1 + HOLD] / prices[at + 1] - 1)
    return pd.Series(returns, index=opening.index[at + 1 + HOLD])


def judged_sharpe(gross: pd.Series) -> float:
    daily = (gross - FEE).resample("D").sum()
    return sharpe(daily.iloc[-JUDGED // 96 :])


@pytest.fixture(scope="module")
def oracle_trades() -> dict[float, list[pd.Series]]:
    return {
        edge: [trades(market, ticker) for market in markets(edge) for ticker in demo.planted(market)]
        for edge in (1.0, 0.5)
    }


def markets(edge: float) -> list[DemoMarket]:
    return [DemoMarket(seed=seed, edge=edge) for seed in SEEDS]


@pytest.fixture(scope="module")
def market() -> DemoMarket:
    return DemoMarket(seed=3, bars=60_000)


@pytest.fixture(scope="module")
def candles(market: DemoMarket) -> dict[str, pd.DataFrame]:
    return {ticker: demo.bars(market, ticker) for ticker in demo.names(market)[:12]}


def returns(frame: pd.DataFrame) -> pd.Series:
    return np.log(frame["close"]).diff().dropna()


def test_forty_tickers_of_which_six_are_planted() -> None:
    chosen = [demo.planted(market) for market in markets(1.0)]
    for market, planted in zip(markets(1.0), chosen, strict=True):
        assert len(demo.names(market)) == len(set(demo.names(market))) == 40
        assert len(planted) == len(set(planted)) == 6
        assert set(planted) <= set(demo.names(market)) and planted[:4] == MAJORS
    assert len(set(chosen)) > 1, "which others are planted must depend on the seed"


def test_candles_are_sound(candles: dict[str, pd.DataFrame], market: DemoMarket) -> None:
    for frame in candles.values():
        assert frame.columns.tolist() == ["open", "high", "low", "close", "volume"]
        assert (frame.dtypes == "float64").all()
        assert np.isfinite(frame).all().all() and (frame > 0).all().all()
        assert (frame["high"] >= frame[["open", "close"]].max(axis=1)).all()
        assert (frame["low"] <= frame[["open", "close"]].min(axis=1)).all()
        assert frame.index.name == "time" and frame.index.dtype == pd.DatetimeTZDtype("us", "UTC")
        assert frame.index.is_monotonic_increasing and frame.index.is_unique
        assert frame.index[0] == pd.Timestamp(market.start, tz="UTC")
        assert demo.oracle(market, MAJORS[0]).index.equals(frame.index)


def test_outages_take_the_same_bars_from_every_ticker(candles: dict[str, pd.DataFrame], market: DemoMarket) -> None:
    first, *others = (frame.index for frame in candles.values())
    assert all(first.equals(other) for other in others)
    steps = first.to_series().diff().dropna()
    missing = (steps[steps > demo.BAR] / demo.BAR - 1).astype(int)
    assert 2 <= len(missing) <= 20
    assert missing.between(4, 32).all()
    assert len(first) + missing.sum() == market.bars


def test_tails_are_fat(candles: dict[str, pd.DataFrame]) -> None:
    assert all(returns(frame).kurt() > 3 for frame in candles.values())


def test_volatility_comes_in_clusters_and_direction_does_not(candles: dict[str, pd.DataFrame]) -> None:
    sizes = [[returns(frame).abs().clip(upper=0.03).autocorr(lag) for lag in (2, 10)] for frame in candles.values()]
    assert (np.array(sizes) > 0.03).all()
    directions = [returns(frame).autocorr(lag) for frame in candles.values() for lag in (1, 2, 10)]
    assert np.abs(directions).max() < 0.05


def test_tickers_share_a_factor(candles: dict[str, pd.DataFrame]) -> None:
    correlations = pd.DataFrame({ticker: returns(frame) for ticker, frame in candles.items()}).corr().to_numpy()
    pairs = correlations[np.triu_indices(len(candles), 1)]
    assert 0.1 < pairs.mean() < 0.5
    assert pairs.min() > 0.05


def test_a_climax_stands_out_by_its_move_and_its_volume(market: DemoMarket, candles: dict[str, pd.DataFrame]) -> None:
    ticker, frame = next(iter(candles.items()))
    signal = demo.oracle(market, ticker)
    assert (signal > 0).sum() * demo.CLIMAX_SPACING / len(signal) == pytest.approx(1, abs=0.25)
    # after outages the bar before is hours away
    moves = returns(frame).reindex(frame.index).fillna(0.0)
    assert moves[signal == 1].quantile(0.95) < -0.005 and moves[signal == 2].quantile(0.05) > 0.005
    ratio = frame["volume"] / frame["volume"].rolling(7).mean().shift()
    assert ratio[signal == 1].quantile(0.05) > 5 > ratio[signal == 0].quantile(0.95)
    assert ratio[signal == 2].quantile(0.95) < 0.2 < ratio[signal == 0].quantile(0.05)


def test_tickers_have_their_climaxes_at_times_and_sides_of_their_own(market: DemoMarket) -> None:
    one, other = (demo.oracle(market, ticker) for ticker in MAJORS[:2])
    assert ((one > 0) & (other > 0)).sum() < 0.05 * (one > 0).sum()
    sides = [signal[signal > 0].to_numpy()[:120] for signal in (one, other)]
    assert 0.3 < np.mean(sides[0] == sides[1]) < 0.7


def test_the_oracle_earns_at_most_twice_the_fees_a_trade(oracle_trades: dict[float, list[pd.Series]]) -> None:
    means = [gross.mean() for gross in oracle_trades[1.0]]
    assert 1.4 * FEE < np.mean(means) < 1.8 * FEE
    assert max(means) <= 2 * FEE


def test_the_oracle_has_a_judged_sharpe_of_at_most_three(oracle_trades: dict[float, list[pd.Series]]) -> None:
    ratios = [judged_sharpe(gross) for gross in oracle_trades[1.0]]
    assert 2.2 < np.mean(ratios) <= 3


def test_half_the_edge_earns_half_and_loses_after_fees(oracle_trades: dict[float, list[pd.Series]]) -> None:
    whole, half = (np.mean([gross.mean() for gross in oracle_trades[edge]]) for edge in (1.0, 0.5))
    assert half == pytest.approx(whole / 2, abs=1e-4)
    assert np.mean([judged_sharpe(gross) for gross in oracle_trades[0.5]]) < 0


def test_where_nothing_is_planted_nothing_is_earned() -> None:
    market = DemoMarket(seed=1)
    others = [ticker for ticker in demo.names(market) if ticker not in demo.planted(market)][:20]
    gross = pd.concat([trades(market, ticker) for ticker in others])
    assert abs(gross.mean()) < 4 * gross.std() / np.sqrt(len(gross))
    without = pd.concat([trades(DemoMarket(seed=1, edge=0.0), ticker) for ticker in MAJORS])
    assert abs(without.mean()) < 4 * without.std() / np.sqrt(len(without))


def test_the_edge_changes_planted_tickers_alone(market: DemoMarket, candles: dict[str, pd.DataFrame]) -> None:
    weak = replace(market, edge=0.0)
    for ticker, frame in candles.items():
        assert demo.bars(weak, ticker).equals(frame) == (ticker not in demo.planted(market))


def test_equal_values_give_equal_candles_whatever_was_made_before(candles: dict[str, pd.DataFrame]) -> None:
    ticker = list(candles)[-1]
    pd.testing.assert_frame_equal(demo.bars(DemoMarket(seed=3, bars=60_000), ticker), candles[ticker])
    other = demo.bars(DemoMarket(seed=4, bars=60_000), ticker)
    assert np.corrcoef(*(returns(frame).iloc[:50_000] for frame in (other, candles[ticker])))[0, 1] < 0.05


def test_more_tickers_change_no_ticker_that_was_there(market: DemoMarket, candles: dict[str, pd.DataFrame]) -> None:
    wider = replace(market, tickers=60)
    unplanted = [ticker for ticker in candles if ticker not in {*demo.planted(market), *demo.planted(wider)}]
    for ticker in [MAJORS[0], unplanted[0]]:
        pd.testing.assert_frame_equal(demo.bars(wider, ticker), candles[ticker])


@pytest.mark.parametrize("length", [1, 3, 5_000, 30_001])
def test_a_longer_market_is_a_shorter_one_continued(
    market: DemoMarket, candles: dict[str, pd.DataFrame], length: int
) -> None:
    shorter = replace(market, bars=length)
    for ticker in (MAJORS[1], list(candles)[-1]):
        beginning = demo.bars(shorter, ticker)
        pd.testing.assert_frame_equal(beginning, candles[ticker].iloc[: len(beginning)], check_freq=False)
        signal = demo.oracle(shorter, ticker)
        assert signal.equals(demo.oracle(market, ticker).iloc[: len(signal)])


def test_the_start_moves_the_times_alone(market: DemoMarket) -> None:
    moved = demo.bars(replace(market, start="2023-05-06T07:00"), MAJORS[0])
    assert moved.index[0] == pd.Timestamp("2023-05-06T07:00Z")
    np.testing.assert_array_equal(moved.to_numpy(), demo.bars(market, MAJORS[0]).to_numpy())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"seed": -1}, "seed is -1; allowed: 0 or more"),
        ({"tickers": 5}, "5 tickers; allowed: 6 or more"),
        ({"bars": 0}, "0 bars; allowed: 1 or more"),
        ({"edge": -0.1}, "edge is -0.1"),
        ({"edge": float("nan")}, "edge is nan"),
        ({"start": "tomorrow week"}, "start is 'tomorrow week'"),
    ],
)
def test_markets_that_cannot_be_are_refused(values: dict, message: str) -> None:
    with pytest.raises(DemoMarketError, match=message):
        DemoMarket(**values)


@pytest.mark.parametrize("function", [demo.bars, demo.oracle])
def test_an_unknown_ticker_is_refused_by_name(function) -> None:
    with pytest.raises(DemoMarketError, match="no ticker 'demo:BTCUSDT'; it has demo:MAJOR1USDT … demo:COIN40USDT"):
        function(DemoMarket(bars=10), "demo:BTCUSDT")
