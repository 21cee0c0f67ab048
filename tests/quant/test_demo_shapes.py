"""The market of shapes: they are where it says, to be seen, followed by what it says, and hang on its values alone."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from quant import demo_shapes, labels
from quant.demo_shapes import FOLLOWING, LENGTH, SHAPES, DemoMarketError, ShapeMarket

KINDS = range(1, len(SHAPES) + 1)
UP, DOWN = 1, 2


@pytest.fixture(scope="module")
def market() -> ShapeMarket:
    return ShapeMarket(seed=3, tickers=8)


@pytest.fixture(scope="module")
def candles(market: ShapeMarket) -> dict[str, pd.DataFrame]:
    return {ticker: demo_shapes.bars(market, ticker) for ticker in demo_shapes.names(market)}


@pytest.fixture(scope="module")
def planted(market: ShapeMarket) -> dict[str, pd.Series]:
    return {ticker: demo_shapes.planted(market, ticker) for ticker in demo_shapes.names(market)}


def returns(frame: pd.DataFrame) -> pd.Series:
    return np.log(frame["close"]).diff().dropna()


def windows_of(frame: pd.DataFrame, ends: np.ndarray) -> np.ndarray:
    """Log price against the close before the window, and log volume against its mean over the 60 bars before."""
    price, volume = np.log(frame["close"].to_numpy()), np.log(frame["volume"].to_numpy())
    rows = ends[:, np.newaxis] + np.arange(1 - LENGTH, 1)
    before = ends[:, np.newaxis] + np.arange(-LENGTH - 59, 1 - LENGTH)
    return np.hstack(
        [(price[rows] - price[ends - LENGTH, np.newaxis]) * 100, volume[rows] - volume[before].mean(axis=1)[:, None]]
    )


def shape_windows(
    candles: dict[str, pd.DataFrame], planted: dict[str, pd.Series], tickers: list[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Windows (n × 36) that end with a shape, and its kind (n)."""
    found, kinds = [], []
    for ticker in tickers:
        kind = planted[ticker].to_numpy()
        ends = np.flatnonzero(kind)
        ends = ends[ends >= LENGTH + 60]
        found.append(windows_of(candles[ticker], ends))
        kinds.append(kind[ends])
    return np.concatenate(found), np.concatenate(kinds)


def outcomes(market: ShapeMarket, ticker: str) -> np.ndarray:
    """Log return of the next bars that a drift takes, NaN at the end."""
    price = np.log(demo_shapes.bars(market, ticker)["close"].to_numpy())
    return np.append(price[FOLLOWING:] - price[:-FOLLOWING], np.full(FOLLOWING, np.nan))


def by_kind(market: ShapeMarket) -> dict[int, np.ndarray]:
    """Outcomes after each kind of shape, and (0) after bars that are far from any."""
    found: dict[int, list[np.ndarray]] = {kind: [] for kind in (0, *KINDS)}
    for ticker in demo_shapes.names(market):
        kind, outcome = demo_shapes.planted(market, ticker).to_numpy(), outcomes(market, ticker)
        near = np.convolve(kind > 0, np.ones(2 * LENGTH + 1), mode="same") > 0
        for value in found:
            chosen = kind == value if value else ~near
            found[value].append(outcome[chosen & ~np.isnan(outcome)])
    return {kind: np.concatenate(parts) for kind, parts in found.items()}


def test_candles_are_sound(candles: dict[str, pd.DataFrame], market: ShapeMarket) -> None:
    assert len(candles) == market.tickers == len(set(candles))
    for ticker, frame in candles.items():
        assert frame.columns.tolist() == ["open", "high", "low", "close", "volume"]
        assert (frame.dtypes == "float64").all()
        assert np.isfinite(frame).all().all() and (frame > 0).all().all()
        assert (frame["high"] >= frame[["open", "close"]].max(axis=1)).all()
        assert (frame["low"] <= frame[["open", "close"]].min(axis=1)).all()
        assert frame.index.name == "time" and frame.index.dtype == pd.DatetimeTZDtype("us", "UTC")
        assert frame.index[0] == pd.Timestamp(market.start, tz="UTC") and len(frame) == market.bars
        assert (frame.index.to_series().diff().dropna() == demo_shapes.BAR).all()
        assert demo_shapes.planted(market, ticker).index.equals(frame.index)


def test_between_shapes_it_is_the_usual_market(candles: dict[str, pd.DataFrame], market: ShapeMarket) -> None:
    plain = replace(market, shapes=False)
    walks = {ticker: returns(demo_shapes.bars(plain, ticker)) for ticker in candles}
    assert all(walk.kurt() > 2 for walk in walks.values())
    sizes = [[walk.abs().clip(upper=0.03).autocorr(lag) for lag in (2, 10)] for walk in walks.values()]
    assert (np.array(sizes) > 0.03).all()
    assert np.abs([walk.autocorr(lag) for walk in walks.values() for lag in (1, 2, 10)]).max() < 0.05
    pairs = pd.DataFrame(walks).corr().to_numpy()[np.triu_indices(len(walks), 1)]
    assert 0.1 < pairs.mean() < 0.5
    for ticker, walk in walks.items():
        kind = demo_shapes.planted(market, ticker)
        # a bar belongs to a shape or its drift if one ends within LENGTH − 1 bars, or has in the last FOLLOWING
        touched = sum((kind > 0).astype(int).shift(-ahead, fill_value=0) for ahead in range(-FOLLOWING, LENGTH))
        free = (touched == 0).loc[walk.index].to_numpy().copy()
        # the last shape may not end within the market
        free[-LENGTH:] = False
        np.testing.assert_allclose(returns(candles[ticker])[free], walk[free], rtol=0, atol=1e-12)
        assert 0.6 < free.mean() < 0.8


def test_shapes_end_at_one_to_two_percent_of_the_bars(planted: dict[str, pd.Series]) -> None:
    for kind in planted.values():
        assert kind.dtype == np.int8 and set(kind.unique()) == {0, *KINDS}
        assert 0.01 < (kind > 0).mean() < 0.02
        assert np.diff(np.flatnonzero(kind)).min() >= LENGTH + FOLLOWING
    counts = np.bincount(np.concatenate(list(planted.values())))[1:]
    assert counts.min() > 0.85 * counts.mean()


def test_tickers_have_their_shapes_at_times_of_their_own(planted: dict[str, pd.Series]) -> None:
    one, other = list(planted.values())[:2]
    assert ((one > 0) & (other > 0)).sum() < 0.1 * (one > 0).sum()


def test_kinds_are_told_apart_by_the_nearest_mean(
    candles: dict[str, pd.DataFrame], planted: dict[str, pd.Series]
) -> None:
    tickers = list(candles)
    known, their_kinds = shape_windows(candles, planted, tickers[:3])
    unseen, kinds = shape_windows(candles, planted, tickers[3:])
    means = np.array([known[their_kinds == kind].mean(axis=0) for kind in KINDS])
    distances = ((unseen[:, np.newaxis] - means) ** 2).sum(axis=2)
    assert (distances.argmin(axis=1) + 1 == kinds).mean() > 0.97
    # and from windows far away from any shape
    near = {ticker: np.convolve(planted[ticker] > 0, np.ones(2 * LENGTH + 1), mode="same") > 0 for ticker in tickers}
    plain = np.concatenate([windows_of(candles[name], np.flatnonzero(~near[name][:-20])[200::7]) for name in tickers])
    to_plain = ((plain[:, np.newaxis] - means) ** 2).sum(axis=2).min(axis=1)
    assert np.median(to_plain) > np.quantile(distances.min(axis=1), 0.9)


def test_a_shape_looks_as_it_is_declared(candles: dict[str, pd.DataFrame], planted: dict[str, pd.Series]) -> None:
    found, kinds = shape_windows(candles, planted, list(candles))
    usual = np.mean([returns(demo_shapes.bars(ShapeMarket(seed=3, shapes=False), name)).std() for name in candles])
    for kind, shape in zip(KINDS, SHAPES, strict=True):
        mean = found[kinds == kind].mean(axis=0)
        path = np.cumsum(shape.moves())
        assert np.corrcoef(mean[:LENGTH], path)[0, 1] > 0.99
        assert np.ptp(mean[:LENGTH]) == pytest.approx(100 * usual * np.ptp(path), rel=0.25)
        # moves have a volume of their own
        assert np.corrcoef(mean[LENGTH:], shape.louder())[0, 1] > 0.8


def test_bars_of_a_calm_shape_are_short(candles: dict[str, pd.DataFrame], planted: dict[str, pd.Series]) -> None:
    for kind, shape in zip(KINDS, SHAPES, strict=True):
        # the last bar in which the path rests, where one does
        rests = np.flatnonzero(shape.moves() == 0)
        if not len(rests):
            continue
        back = LENGTH - 1 - rests[-1]
        shares = []
        for ticker, frame in candles.items():
            spread = np.log(frame["high"] / frame["low"]).to_numpy()
            ends = np.flatnonzero(planted[ticker] == kind)
            shares.append(np.median(spread[ends - back]) / np.median(spread))
        assert np.mean(shares) == pytest.approx(shape.noises()[rests[-1]], rel=0.25)


def test_what_follows_is_as_declared() -> None:
    found = by_kind(ShapeMarket(seed=5))
    means = {kind: values.mean() for kind, values in found.items()}
    error = {kind: values.std() / np.sqrt(len(values)) for kind, values in found.items()}
    assert [shape.follows for shape in SHAPES] == [1, -1, 0, 0]
    for kind, shape in zip(KINDS, SHAPES, strict=True):
        assert abs(means[kind] - means[0] - shape.follows * demo_shapes.DRIFT) < 4 * error[kind]
    assert means[UP] - means[0] > 10 * error[UP] and means[0] - means[DOWN] > 10 * error[DOWN]


def test_the_best_of_the_next_closes_is_far_above_the_base_after_the_first_kind(
    candles: dict[str, pd.DataFrame], planted: dict[str, pd.Series]
) -> None:
    outcome = pd.concat([labels.forward_max(frame, FOLLOWING) for frame in candles.values()]).to_numpy()
    kind = pd.concat(list(planted.values())).to_numpy()
    base = np.nanmean(outcome)
    assert np.nanmean(outcome[kind == UP]) > 2 * base
    assert np.nanmean(outcome[kind == DOWN]) < 0
    assert [np.nanmean(outcome[kind == other]) for other in (3, 4)] == pytest.approx([base, base], rel=0.35)


def test_without_edge_nothing_follows_and_half_the_edge_is_half_the_drift() -> None:
    whole, half, without = (by_kind(ShapeMarket(seed=5, edge=edge)) for edge in (1.0, 0.5, 0.0))
    for kind, shape in zip(KINDS, SHAPES, strict=True):
        assert abs(without[kind].mean() - without[0].mean()) < 4 * without[kind].std() / np.sqrt(len(without[kind]))
        # the same noise in all three
        np.testing.assert_allclose(whole[kind] - without[kind], shape.follows * demo_shapes.DRIFT, atol=1e-9)
        np.testing.assert_allclose(half[kind] - without[kind], shape.follows * demo_shapes.DRIFT / 2, atol=1e-9)


def test_without_shapes_none_is_planted_and_none_is_there(market: ShapeMarket, planted: dict[str, pd.Series]) -> None:
    plain = replace(market, shapes=False)
    ticker = demo_shapes.names(market)[0]
    assert (demo_shapes.planted(plain, ticker) == 0).all()
    frame = demo_shapes.bars(plain, ticker)
    found, kinds = shape_windows({ticker: frame}, planted, [ticker])
    for kind in KINDS:
        of_kind = found[kinds == kind][:, :LENGTH]
        assert np.abs(of_kind.mean(axis=0)).max() < 5 * of_kind.std(axis=0).max() / np.sqrt(len(of_kind))


def test_equal_values_give_equal_candles_whatever_was_made_before(candles: dict[str, pd.DataFrame]) -> None:
    ticker = list(candles)[-1]
    pd.testing.assert_frame_equal(demo_shapes.bars(ShapeMarket(seed=3, tickers=8), ticker), candles[ticker])
    pd.testing.assert_frame_equal(demo_shapes.bars(ShapeMarket(seed=3, tickers=30), ticker), candles[ticker])
    other = demo_shapes.bars(ShapeMarket(seed=4, tickers=8), ticker)
    assert abs(np.corrcoef(returns(other), returns(candles[ticker]))[0, 1]) < 0.05


@pytest.mark.parametrize("short_of_end", [-1, 0, 1, 3, 9, 17, 18, 30])
def test_a_longer_market_is_a_shorter_one_continued(
    market: ShapeMarket, candles: dict[str, pd.DataFrame], planted: dict[str, pd.Series], short_of_end: int
) -> None:
    for ticker in demo_shapes.names(market)[:4]:
        kind = planted[ticker]
        for number in (0, 40):
            # cut within a shape, at its end, and in the drift after it
            length = int(np.flatnonzero(kind)[number]) + 1 - short_of_end
            shorter = replace(market, bars=length)
            pd.testing.assert_frame_equal(
                demo_shapes.bars(shorter, ticker), candles[ticker].iloc[:length], check_freq=False
            )
            assert demo_shapes.planted(shorter, ticker).equals(kind.iloc[:length])
    for length in (1, 5):
        assert len(demo_shapes.bars(replace(market, bars=length), next(iter(candles)))) == length


def test_the_start_moves_the_times_alone(market: ShapeMarket, candles: dict[str, pd.DataFrame]) -> None:
    ticker = next(iter(candles))
    moved = demo_shapes.bars(replace(market, start="2023-05-06T07:00"), ticker)
    assert moved.index[0] == pd.Timestamp("2023-05-06T07:00Z")
    np.testing.assert_array_equal(moved.to_numpy(), candles[ticker].to_numpy())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"seed": -1}, "seed is -1; allowed: 0 or more"),
        ({"tickers": 0}, "tickers is 0; allowed: 1 or more"),
        ({"bars": 0}, "bars is 0; allowed: 1 or more"),
        ({"edge": -0.1}, "edge is -0.1"),
        ({"edge": float("nan")}, "edge is nan"),
        ({"start": "tomorrow week"}, "start is 'tomorrow week'"),
    ],
)
def test_markets_that_cannot_be_are_refused(values: dict, message: str) -> None:
    with pytest.raises(DemoMarketError, match=message):
        ShapeMarket(**values)


@pytest.mark.parametrize("function", [demo_shapes.bars, demo_shapes.planted])
def test_an_unknown_ticker_is_refused_by_name(function) -> None:
    with pytest.raises(DemoMarketError, match="no ticker 'demo:BTCUSDT'; it has demo:SHAPE01USDT … demo:SHAPE20USDT"):
        function(ShapeMarket(bars=10), "demo:BTCUSDT")
