"""Outcomes of clusters against plain loops, exact enumeration, and simulated markets of which the truth is known."""

import math
from collections.abc import Iterator
from functools import cache
from itertools import combinations, product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import lfilter
from scipy.stats import binom, binomtest, false_discovery_control
from threadpoolctl import threadpool_limits

from quant import cluster_outcomes
from quant.cluster_outcomes import COLUMNS, OutcomeError, Tally, judged, nothing, tally

FIRST = pd.Timestamp("2025-03-01", tz="UTC")
LENGTH = 18


def hours(count: int, start: pd.Timestamp = FIRST) -> pd.DatetimeIndex:
    return pd.date_range(start, periods=count, freq="h")


def total(
    *, windows: list, hits: list | None = None, returns: list | None = None, disjoint: list | None = None
) -> Tally:
    """Return a tally of sums that are written down: days × clusters, the last column noise."""
    counted = np.array(windows)
    zeros = np.zeros_like(counted)
    return Tally(
        counted,
        zeros if hits is None else np.array(hits),
        zeros if returns is None else np.array(returns),
        counted.sum(axis=0),
        counted.sum(axis=0) if disjoint is None else np.array(disjoint),
    )


def arrays_of(one: Tally) -> list[list]:
    return [getattr(one, name).tolist() for name in ("windows", "hits", "returns", "episodes", "disjoint")]


# ---------------------------------------------------------------- adding up

window = st.tuples(
    st.integers(1, 9),  # rows further than the window before
    st.integers(-1, 2),
    st.booleans(),
    st.floats(-0.5, 0.5, allow_nan=False),
)


@given(st.lists(window, max_size=9), st.integers(1, 12))
@settings(max_examples=80)
def test_a_tally_is_a_loop_over_the_windows(drawn: list, length: int) -> None:
    steps, labels, hit, returns = ([one[part] for one in drawn] for part in range(4))
    rows = np.cumsum([0, *steps])[1:]
    times = hours(90)[rows]
    found = tally(
        times,
        rows,
        np.array(labels, dtype=np.int64),
        np.array(hit, dtype=np.bool_),
        np.array(returns, dtype=np.float64),
        count=3,
        first_day=FIRST,
        days=4,
        length=length,
    )
    for day, label in product(range(4), (0, 1, 2, -1)):
        those = [
            place
            for place, time in enumerate(times)
            if time.date() == (FIRST + pd.Timedelta(days=day)).date() and labels[place] == label
        ]
        assert found.windows[day, label] == len(those)
        assert found.hits[day, label] == sum(hit[place] for place in those)
        assert found.returns[day, label] == sum(round(returns[place] / 1e-9) for place in those)
    for label in (0, 1, 2, -1):
        bars = [set(range(row - length + 1, row + 1)) for row, own in zip(rows, labels, strict=True) if own == label]
        assert found.episodes[label] == len(chained(bars))
        assert found.disjoint[label] == most_apart(bars)
        assert found.episodes[label] <= found.disjoint[label] <= found.windows[:, label].sum()


def chained(sets: list[set]) -> list[set]:
    """Merge sets that have anything in common until none do."""
    for one, other in combinations(sets, 2):
        if one & other:
            return chained([each for each in sets if each not in (one, other)] + [one | other])
    return sets


def most_apart(sets: list[set]) -> int:
    """Try every choice of sets."""
    for size in range(len(sets), 0, -1):
        for chosen in combinations(sets, size):
            if sum(map(len, chosen)) == len(set().union(*chosen)):
                return size
    return 0


def of_ticker(seed: int, size: int = 200) -> Tally:
    generator = np.random.default_rng(seed)
    rows = np.sort(generator.permutation(480)[:size])
    labels = generator.integers(-1, 3, size)
    returns = generator.standard_normal(size)
    return tally(hours(480)[rows], rows, labels, returns > 1, returns, count=3, first_day=FIRST, days=20, length=LENGTH)


def test_the_sum_of_tickers_is_the_same_in_any_order() -> None:
    tickers = [of_ticker(seed) for seed in range(6)]
    forwards = sum(tickers, nothing(3, 20))
    backwards = (tickers[5] + tickers[4]) + ((tickers[3] + tickers[2]) + (tickers[1] + tickers[0]))
    assert arrays_of(forwards) == arrays_of(backwards)
    assert forwards.windows.sum() == 1200
    assert all(values.dtype == np.int64 for values in vars(forwards).values())
    pd.testing.assert_frame_equal(judged(forwards, resamples=200), judged(backwards, resamples=200))


def test_tallies_of_other_days_or_clusters_are_not_added() -> None:
    with pytest.raises(OutcomeError, match=r"shapes \(20, 4\) and \(20, 5\)"):
        of_ticker(0) + nothing(4, 20)


def test_days_are_those_of_utc_and_returns_are_rounded_one_by_one() -> None:
    times = pd.DatetimeIndex(["2025-03-02 08:59", "2025-03-02 09:00"]).tz_localize("Asia/Seoul")
    found = tally(
        times,
        np.array([3, 4]),
        np.array([0, 0], dtype=np.int8),
        np.array([False, True]),
        np.array([0.6e-9, 1.6e-9]),
        count=1,
        first_day=FIRST,
        days=2,
        length=LENGTH,
    )
    assert found.windows.tolist() == [[1, 0], [1, 0]]
    assert found.hits.tolist() == [[0, 0], [1, 0]]
    assert found.returns.tolist() == [[1, 0], [2, 0]]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"times": hours(3).tz_localize(None)}, "times are .*with a time zone"),
        ({"times": hours(3, FIRST - pd.Timedelta(hours=1))}, "times hold 2025-02-28 23:00.*2 days from 2025-03-01"),
        ({"times": hours(3, FIRST + pd.Timedelta(hours=46))}, "times hold 2025-03-03 00:00"),
        ({"times": hours(4)}, r"positions has the type int64 and the shape \(3,\)"),
        ({"positions": np.array([1, 3, 3])}, "positions hold 3 after 3"),
        ({"positions": np.array([1.0, 2.0, 3.0])}, "positions has the type float64"),
        ({"labels": np.array([0, 2, 1])}, "labels hold 2; allowed: -1 to 1"),
        ({"labels": np.array([0, -2, 1])}, "labels hold -2"),
        ({"hit": np.array([0, 1, 1])}, "hit has the type int64"),
        ({"forward_return": np.array([0.0, np.nan, 0.1])}, "forward_return is nan at 2025-03-01 01:00"),
        ({"forward_return": np.array([0.0, 0.1, 2e4])}, "forward_return is 20000.0 .*up to 10,000"),
        ({"first_day": FIRST + pd.Timedelta(hours=1)}, "first_day is 2025-03-01 01:00"),
        ({"first_day": FIRST.tz_localize(None)}, "first_day is"),
        ({"days": 0}, "days is 0"),
        ({"count": -1}, "count is -1"),
        ({"length": 0}, "length is 0"),
    ],
)
def test_windows_that_are_none_are_refused_by_name(change: dict, said: str) -> None:
    given = {
        "times": hours(3),
        "positions": np.array([1, 2, 3]),
        "labels": np.array([0, -1, 1]),
        "hit": np.array([True, False, True]),
        "forward_return": np.array([0.1, 0.2, -0.1]),
        "count": 2,
        "first_day": FIRST,
        "days": 2,
        "length": LENGTH,
    }
    assert tally(**given).windows.sum() == 3
    with pytest.raises(OutcomeError, match=said):
        tally(**(given | change))


# ---------------------------------------------------------------- judged: the figures


def by_hand(days: int = 12) -> Tally:
    """Return a market in which the hits of two clusters are 2 and 1 of 4 a day, and 1 of 2 in noise."""
    spread = [[30_000_000 * (-1) ** day, 10_000_000 + day, 0] for day in range(days)]
    return total(windows=[[4, 4, 2]] * days, hits=[[2, 1, 1]] * (days - 1) + [[3, 0, 1]], returns=spread)


def test_figures_by_hand() -> None:
    table = judged(by_hand(), resamples=99, block=1)
    assert table.columns.tolist() == list(COLUMNS)
    assert table["cluster"].tolist() == [0, 1, -1]
    assert table["windows"].tolist() == table["episodes"].tolist() == [48, 48, 24]
    assert table["days"].tolist() == [12, 12, 12]
    assert table["hit_rate"].tolist() == pytest.approx([25 / 48, 11 / 48, 0.5])
    assert table["base_rate"].tolist() == pytest.approx([0.4] * 3)
    assert table["hit_difference"].tolist() == pytest.approx([25 / 48 - 0.4, 11 / 48 - 0.4, 0.1])
    assert table["mean_return"].tolist() == pytest.approx([0.0, (0.12 + 66e-9) / 48, 0.0])
    assert table["base_return"].tolist() == pytest.approx([(0.12 + 66e-9) / 120] * 3)
    assert table["return_difference"].tolist() == pytest.approx((table["mean_return"] - table["base_return"]).tolist())
    for outcome, other in (("hit", "return"), ("return", "hit")):
        assert (table[f"{outcome}_low"] < table[f"{outcome}_difference"]).all()
        assert (table[f"{outcome}_high"] > table[f"{outcome}_difference"]).all()
        assert table[f"{outcome}_differs"].dtype == np.bool_
        assert not table[f"{outcome}_low"].equals(table[f"{other}_low"])


def test_noise_is_a_row_only_where_there_is_any() -> None:
    assert judged(total(windows=[[4, 4, 0]] * 12), resamples=99)["cluster"].tolist() == [0, 1]
    assert judged(total(windows=[[4, 4, 1]] * 12), resamples=99)["cluster"].tolist() == [0, 1, -1]


def test_days_without_windows_are_no_days() -> None:
    one = by_hand(16)
    gaps = np.insert(np.arange(16), [3, 3, 9, 16], -1)
    other = Tally(
        *(np.where(gaps[:, None] < 0, 0, values[gaps]) for values in (one.windows, one.hits, one.returns)),
        one.episodes,
        one.disjoint,
    )
    pd.testing.assert_frame_equal(judged(one, resamples=200), judged(other, resamples=200))


def test_q_values_are_over_both_outcomes_with_untestable_ones_as_1() -> None:
    generator = np.random.default_rng(4)
    windows = np.full((60, 5), 6)
    windows[9:, 2] = windows[:, 4] = 0  # the third is there on nine days
    hits = generator.binomial(windows, [0.3, 0.36, 0.3, 0.24, 0])
    returns = (generator.standard_normal(windows.shape) * 1e7 + [0, 0, 0, 1e7, 0]).astype(np.int64)
    table = judged(total(windows=windows, hits=hits, returns=returns), resamples=500, block=2)
    p_values = table[["hit_p_value", "return_p_value"]].to_numpy().T
    assert np.isnan(p_values).tolist() == [[False, False, True, False]] * 2
    expected = false_discovery_control(np.nan_to_num(p_values, nan=1.0).ravel()).reshape(2, 4)
    expected[np.isnan(p_values)] = np.nan
    found = table[["hit_q_value", "return_q_value"]].to_numpy().T
    np.testing.assert_allclose(found, expected)
    assert table["return_differs"].tolist()[2:] == [False, True]
    strict = judged(total(windows=windows, hits=hits, returns=returns), resamples=500, block=2, rate=0.001)
    assert not strict["return_differs"].any()


TESTED = [f"{outcome}_{figure}" for outcome in ("hit", "return") for figure in ("low", "high", "p_value", "q_value")]


@pytest.mark.parametrize(
    "untestable",
    [
        total(windows=[[4, 0]] * 12, hits=[[1, 0], [2, 0]] * 6, returns=[[5, 0], [7, 0]] * 6),  # all of one cluster
        total(windows=[[4, 4, 0]] * 12, hits=[[4, 4, 0]] * 12, returns=[[40, 40, 0]] * 12),  # all alike
        total(windows=[[4, 4, 0]] * 9, hits=[[1, 2, 0], [3, 2, 0], [0, 3, 0]] * 3, returns=[[9, 5, 0]] * 9),  # few days
        nothing(2, 12),
    ],
)
def test_where_nothing_can_be_told_apart_there_are_no_p_values(untestable: Tally) -> None:
    table = judged(untestable, resamples=99)
    assert table[TESTED].isna().all(axis=None)
    assert not table[["hit_differs", "return_differs"]].any(axis=None)


def test_ten_days_are_enough() -> None:
    windows = [[4, 4, 0]] * 5 + [[0, 4, 0]] + [[4, 4, 0]] * 5
    row = judged(total(windows=windows, hits=[[1, 2, 0]] * 11, returns=[[9, 5, 0]] * 11), resamples=99).iloc[0]
    assert row["days"] == cluster_outcomes.FEWEST_DAYS == 10
    assert row[TESTED].notna().any()


def test_clusters_without_windows_have_no_rate() -> None:
    table = judged(total(windows=[[4, 0, 4, 0]] * 12, hits=[[1, 0, 2, 0], [3, 0, 2, 0]] * 6), resamples=99)
    assert table["windows"].tolist() == [48, 0, 48]
    assert table["hit_rate"].isna().tolist() == [False, True, False]
    assert table["hit_p_value"].isna().tolist() == [False, True, False]
    assert table["base_rate"].notna().all()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"resamples": 0}, "resamples is 0"),
        ({"block": 0}, "block is 0"),
        ({"block": 2.5}, "block is 2.5"),
        ({"seed": -1}, "seed is -1"),
        ({"rate": 1.0}, "rate is 1.0"),
        ({"rate": float("nan")}, "rate is nan"),
    ],
)
def test_options_out_of_bounds_are_refused(change: dict, said: str) -> None:
    with pytest.raises(OutcomeError, match=said):
        judged(by_hand(), **change)


# ---------------------------------------------------------------- judged: the test and its interval


def uneven(seed: int, days: int = 11) -> Tally:
    """Return a small market of three clusters with different numbers of windows a day."""
    generator = np.random.default_rng(seed)
    windows = generator.integers(1, 9, (days, 4)) * [1, 1, 1, 0]
    returns = (generator.standard_t(3, windows.shape) * windows * 1e7 + windows * [4e6, 0, 0, 0]).astype(np.int64)
    return total(windows=windows, hits=generator.binomial(windows, 0.4), returns=returns)


def enumerated(one: Tally, label: int, shift: float) -> float:
    """Return the p-value of a difference in returns over all signs of the days, by the definition."""
    base = one.returns.sum() / one.windows.sum()
    own, count = one.returns[:, label], one.windows[:, label]
    parts = (own - (base + shift) * count) / count.sum() - (one.returns - base * one.windows).sum(axis=1) / (
        one.windows.sum()
    )
    signs = np.array(list(product([-1, 1], repeat=len(parts))))
    return float((np.abs(signs @ parts) >= abs(parts.sum()) * (1 - 1e-9)).mean())


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_p_value_and_the_interval_are_those_of_all_signs(seed: int) -> None:
    one = uneven(seed)
    table = judged(one, resamples=40_000, block=1)
    for label, row in table.iterrows():
        assert row["return_p_value"] == pytest.approx(enumerated(one, label, 0.0), abs=0.01)
        difference, unit = row["return_difference"], 1e-9
        for end in (row["return_low"], row["return_high"]):
            inside, outside = (difference + (end - difference) * factor for factor in (0.97, 1.03))
            assert enumerated(one, label, inside / unit) > 0.05 - 0.004
            assert enumerated(one, label, outside / unit) < 0.05 + 0.004


@pytest.mark.parametrize("seed", range(5))
def test_the_interval_holds_no_difference_if_and_only_if_the_p_value_is_above_5_percent(seed: int) -> None:
    table = pd.concat([judged(uneven(10 * seed + each, 30), resamples=999, seed=each) for each in range(10)])
    for outcome in ("hit", "return"):
        holds = (table[f"{outcome}_low"] <= 0) & (table[f"{outcome}_high"] >= 0)
        assert (holds == (table[f"{outcome}_p_value"] > 0.05)).all()
    assert (table["return_p_value"] <= 0.05).any()


def test_signs_are_those_of_whole_blocks() -> None:
    # what one block of days adds, the next one takes away: within a block nothing cancels out
    days = np.arange(60)
    swing = np.where(days // 5 % 2 == 0, 1, -1) * 10_000_000
    one = total(windows=[[1, 1, 0]] * 60, returns=np.column_stack([swing + 2_000_000, -swing, 0 * days]).tolist())
    spans = {
        block: (row := judged(one, resamples=999, block=block).iloc[0])["return_high"] - row["return_low"]
        for block in (1, 5)
    }
    # the sum of 12 blocks of 5 equal days has √5 times the deviation of that of 60 days; less, as bounds move
    assert 1.5 < spans[5] / spans[1] < 2.3
    assert judged(one, resamples=99)["return_low"].equals(judged(one, resamples=99, block=8)["return_low"])  # √60


def test_too_few_blocks_have_no_interval() -> None:
    table = judged(uneven(0, 20), resamples=999, block=20)
    assert table[["return_low", "return_high", "hit_low", "hit_high"]].isna().all(axis=None)
    assert (table["return_p_value"] > 0.2).all()
    assert judged(uneven(0, 20), resamples=18)["return_low"].isna().all()  # no 5 % of 18 draws


def test_no_hit_among_few_windows_is_no_difference() -> None:
    # the signs alone find it beyond doubt: every day of the rare cluster is below the base rate
    windows = np.array([[1, 40, 0]] * 30)
    hits = np.array([[0, 2, 0]] * 30)
    row = judged(total(windows=windows, hits=hits), resamples=999, block=1).iloc[0]
    base = 60 / 1230
    assert row["hit_p_value"] == pytest.approx(2 * binom.cdf(0, 30, base))
    exact = binomtest(0, 30).proportion_ci(0.95, "exact")
    assert (row["hit_low"], row["hit_high"]) == pytest.approx((-base, exact.high - base))


def test_no_rate_is_below_0_or_above_1() -> None:
    # nearly all windows of the first cluster fall on one day, so that signs allow for any difference
    windows = np.array([[1, 40, 0]] * 11 + [[400, 40, 0]])
    hits = np.array([[0, 2, 0], [1, 18, 0]] * 5 + [[1, 9, 0], [100, 10, 0]])
    row = judged(total(windows=windows, hits=hits, disjoint=[12, 480, 0]), resamples=999, block=1).iloc[0]
    assert row["hit_low"] == -row["base_rate"]
    assert row["hit_high"] == 1 - row["base_rate"]


def test_as_many_windows_count_as_share_no_bar() -> None:
    windows = np.array([[10, 40, 0]] * 30)
    hits = np.array([[3, 4, 0]] * 30)
    base = 210 / 1500
    alone = judged(total(windows=windows, hits=hits), resamples=999, block=1).iloc[0]
    crowded = judged(total(windows=windows, hits=hits, disjoint=[30, 1200, 0]), resamples=999, block=1).iloc[0]
    assert alone["hit_p_value"] == pytest.approx(0.001, abs=0.002)
    assert crowded["hit_p_value"] == pytest.approx(2 * binom.sf(8, 30, base))
    exact = binomtest(9, 30).proportion_ci(0.95, "exact")
    assert (crowded["hit_low"], crowded["hit_high"]) == pytest.approx((exact.low - base, exact.high - base))
    assert crowded["hit_difference"] == alone["hit_difference"]


def test_equal_seeds_are_equal_and_neither_pieces_nor_threads_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    one = uneven(3, 401)  # of this size, sums on two threads differ in the last digit
    with threadpool_limits(1):
        first = judged(one, resamples=1000, seed=1)
    with threadpool_limits(2):
        pd.testing.assert_frame_equal(first, judged(one, resamples=1000, seed=1), check_exact=True)
    assert not first["return_p_value"].equals(judged(one, resamples=1000, seed=2)["return_p_value"])
    monkeypatch.setattr(cluster_outcomes, "_CHUNK", 4010)  # ten draws at a time
    pd.testing.assert_frame_equal(first, judged(one, resamples=1000, seed=1))


# ---------------------------------------------------------------- judged: simulated markets

TICKERS, BARS, HORIZON = 15, 8, 4
EFFECT = 0.012
PLANTED = 1


def persistent(generator: np.random.Generator, memory: float, shape: tuple[int, ...]) -> np.ndarray:
    """Return autoregressive series of variance 1 along the last axis."""
    shocks = generator.standard_normal(shape) * math.sqrt(1 - memory**2)
    shocks[..., 0] /= math.sqrt(1 - memory**2)
    return lfilter([1.0], [1.0, -memory], shocks, axis=-1)


@cache
def market(seed: int, *, days: int = 120, effect: float = 0.0, rare: bool = False) -> Tally:
    """Return a market of 8 clusters that, without an effect, say nothing of what comes after.

    Clusters come and go over weeks and are the same ones for many tickers; volatility does so too, by itself; returns
    have fat tails and a common factor; windows overlap. An effect moves the bar after a window of one cluster. If rare,
    half of the clusters are, and so are hits.
    """
    generator = np.random.default_rng([seed, 7])
    bars = days * BARS
    score = np.repeat(persistent(generator, 0.9, (8, days)), BARS, axis=1)
    score = score + persistent(generator, 0.9, (TICKERS, 8, bars))
    if rare:
        score[:, 4:] -= np.array([2.0, 2.0, 3.0, 3.0])[:, None]
    labels = score.argmax(axis=1)
    volatility = 0.012 * np.exp(0.8 * np.repeat(persistent(generator, 0.95, (days,)), BARS))
    common, own = generator.standard_t(3, (1, bars)), generator.standard_t(3, (TICKERS, bars))
    returns = volatility * (0.6 * common + 0.8 * own) / math.sqrt(3)
    returns[:, 1:] += effect * (labels[:, :-1] == PLANTED)
    path = np.concatenate([np.zeros((TICKERS, 1)), returns.cumsum(axis=1)], axis=1)
    ends = bars - HORIZON
    after = np.stack([path[:, 1 + ahead : 1 + ahead + ends] - path[:, 1 : 1 + ends] for ahead in range(1, HORIZON + 1)])
    apart = np.arange(TICKERS)[:, None] * (bars + LENGTH)  # rows of tickers that share no bar
    day = FIRST + pd.to_timedelta(np.tile(np.arange(ends) // BARS, TICKERS), unit="D")
    return tally(
        day,
        (apart + np.arange(ends)).ravel(),
        labels[:, :ends].ravel(),
        (after.max(axis=0) >= (0.08 if rare else 0.04)).ravel(),
        np.clip(np.expm1(after[-1]), -0.9, 3.0).ravel(),
        count=8,
        first_day=FIRST,
        days=days,
        length=LENGTH,
    )


MARKETS = 80


def tables(count: int = MARKETS, block: int | None = None, **kind) -> Iterator[pd.DataFrame]:
    for seed in range(count):
        yield judged(market(seed, **kind), resamples=399, block=block, seed=seed)


def with_a_difference(found: Iterator[pd.DataFrame]) -> int:
    return sum(bool(table[["hit_differs", "return_differs"]].any(axis=None)) for table in found)


MOST = int(binom.ppf(0.99, MARKETS, 0.1))  # at a true rate of 10 %, one set of markets in a hundred shows more


@pytest.mark.parametrize("kind", [{}, {"rare": True}, {"days": 60}])
def test_where_nothing_differs_a_difference_is_found_no_more_often_than_the_rate(kind: dict) -> None:
    assert with_a_difference(tables(**kind)) <= MOST


def test_markets_are_hard_enough_that_single_days_find_more_than_there_is() -> None:
    assert with_a_difference(tables(block=1)) > 2 * MOST


@pytest.mark.parametrize("kind", [{}, {"rare": True}])
def test_intervals_miss_no_difference_about_as_seldom_as_they_say(kind: dict) -> None:
    together = pd.concat(tables(**kind))
    for outcome, most in (("hit", 0.1), ("return", 0.07)):
        known = together[together[f"{outcome}_low"].notna()]
        assert len(known) > 0.6 * len(together)
        assert ((known[f"{outcome}_low"] > 0) | (known[f"{outcome}_high"] < 0)).mean() < most


def test_a_real_difference_is_found_where_it_is_and_its_size_lies_in_the_interval() -> None:
    rows = [table.iloc[PLANTED] for table in tables(40, effect=EFFECT)]
    found = pd.DataFrame(rows)
    assert found["return_differs"].mean() >= 0.8
    assert (found["return_difference"][found["return_differs"].astype(bool)] > 0).all()
    # the moved bar lies within the horizon of the window before it as well: the truth is what all markets show
    truth = found["return_difference"].mean()
    assert 0.01 < truth < 0.05
    covered = (found["return_low"] <= truth) & (found["return_high"] >= truth)
    assert covered.mean() >= binom.ppf(0.01, 40, 0.95) / 40
    others = pd.concat([table.drop(index=PLANTED) for table in tables(40, effect=EFFECT)])
    # together the others are below the base, of which the planted cluster is a part; none is above it for sure
    assert (others["return_differs"] & (others["return_difference"] > 0)).mean() < 0.02


def test_a_rare_cluster_with_a_real_difference_is_found_given_the_days() -> None:
    one = market(0, days=60)
    windows, generator = one.windows.copy(), np.random.default_rng(0)
    windows[:, -1] = generator.random(60) < 0.7  # noise: one window on most days, hits four times as often
    hits = one.hits.copy()
    hits[:, -1] = (generator.random(60) < 4 * one.hits.sum() / one.windows.sum()) & (windows[:, -1] > 0)
    runs = np.append(one.disjoint[:-1], windows[:, -1].sum())
    row = judged(Tally(windows, hits, one.returns, runs, runs), resamples=999, block=4).iloc[-1]
    assert row["cluster"] == -1
    assert row["hit_differs"]
    assert row["hit_low"] > 0
