"""The truth table of the audit: each planted leak is caught by the check that is there for it, and nothing else is."""

import dataclasses
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from jobs import labels as label_stage
from jobs.config_data import Labels
from quant import (
    audit,
    audit_features,
    audit_labels,
    audit_parts,
    audit_signals,
    audit_trades,
    audit_walk,
    feature_registry,
    features,
    labels,
    report_audit,
    rules,
    scaling,
)
from quant.audit import CHECKS, AuditError, Finding
from quant.bracket import BracketParameters
from quant.engine import Costs, replay
from quant.feature_registry import Candles, Values
from quant.metrics import trades_frame
from quant.splits import Part, split
from tests.conftest import random_walk

BAR = pd.Timedelta("15min")
SETS = ("pattern8", "pattern8_relative", "ta193", "ta193_relative")
KINDS = ("first_touch", "forward_max", "triple_barrier")
EVERY = 80  # of 250 perpetuals, one in so many is looked at
HORIZON = 3


def market(rows: int = 3_000, seed: int = 5) -> pd.DataFrame:
    """A random walk in which some bars are without volume and some are missing."""
    bars = random_walk(rows, seed=seed)
    bars.loc[bars.index[400::97], "volume"] = 0.0
    return bars.drop(bars.index[[700, 701, 1_900]])


def quarters(bars: pd.DataFrame) -> list[tuple[pd.Timestamp, pd.Timestamp]]:
    borders = [bars.index[place] for place in np.linspace(0, len(bars) - 1, 5).astype(int)]
    return list(pairwise(borders))


def of_features(bars: pd.DataFrame, name: str, stored: pd.DataFrame | None = None) -> dict[str, Finding]:
    """What the audit says of a feature set: the gravest of its cuts."""
    compute = partial(features.compute, feature_set=name)
    stored = compute(bars).astype("float32") if stored is None else stored
    found = []
    for cut in audit.cuts(bars, quarters(bars), 6, features.warm_up(name), seed=3):
        again = compute(bars.iloc[:cut])
        found.append(audit_features.future_cut(stored, again, compute, bars))
        found.append(audit_features.moved_start(bars, cut, again, compute, features.starts(name)))
    return {one.check: one for one in audit.ordered(found)}


def of_labels(bars: pd.DataFrame, way: Any, stored: pd.Series | None = None, keeps_close: bool = False) -> Finding:
    stored = way(bars) if stored is None else stored
    return audit_labels.rests_on_its_horizon(
        bars, stored.rename("label"), way, HORIZON, keeps_close=keeps_close, count=200, seed=1
    )


def way_of(**settings: Any) -> partial[pd.Series]:
    given = {"take": 0.008, "ratio": 2, "horizon": HORIZON, **settings}
    return partial(label_stage.classes, settings=Labels(**given), calendar=BAR)


# --- planted features -------------------------------------------------------------------------------------------------


def next_return(candles: Candles) -> Values:
    return np.append(candles.close[1:] / candles.close[:-1] - 1, np.nan)


def next_close(candles: Candles) -> Values:
    """As above, and the last bar is filled, so that nothing is missing at the end."""
    return np.append(candles.close[1:], candles.close[-1:])


def normalised_over_all(candles: Candles) -> Values:
    returns = np.append(0.0, np.diff(np.log(candles.close)))
    return (returns - returns.mean()) / (returns.std() or 1.0)


def between_extremes(candles: Candles) -> Values:
    return (candles.close - candles.close.min()) / (np.ptp(candles.close) or 1.0)


def centred(candles: Candles) -> Values:
    return pd.Series(candles.close).rolling(5, center=True, min_periods=1).mean().to_numpy()


def filled_from_later_bars(candles: Candles) -> Values:
    turnover = pd.Series(np.where(candles.volume > 0, candles.close * candles.volume, np.nan))
    return turnover.bfill().ffill().to_numpy()


def warm_up_filled(candles: Candles) -> Values:
    return pd.Series(candles.close).rolling(50).mean().bfill().to_numpy()


def of_the_whole_hour(candles: Candles) -> Values:
    """The close of the hour that a quarter is in: known when the hour ends."""
    hours = np.arange(len(candles.close)) // 4
    return pd.Series(candles.close).groupby(hours).transform("last").to_numpy()


def late_in_the_day(candles: Candles) -> Values:
    days = np.arange(len(candles.close)) // 96
    return pd.Series(candles.high).groupby(days).transform("max").to_numpy()


def ranked_over_all(candles: Candles) -> Values:
    return pd.Series(candles.volume).rank(pct=True).to_numpy()


AHEAD = (
    *(next_return, next_close, normalised_over_all, between_extremes, centred, filled_from_later_bars),
    *(warm_up_filled, of_the_whole_hour, late_in_the_day, ranked_over_all),
)


def from_the_start(candles: Candles) -> Values:
    """An expanding mean: honest, but never settled, whatever it says."""
    return np.cumsum(candles.close) / np.arange(1, len(candles.close) + 1)


def a_return(candles: Candles) -> Values:
    return candles.close / candles.previous_close - 1


@pytest.fixture
def planted() -> Iterator[Callable[..., str]]:
    """Registers a set of an honest column and a planted one, and forgets it."""

    def plant(function: Callable[[Candles], Values], look_back: int = 0) -> str:
        chosen = feature_registry.feature_set("planted", "for a test", "propagate")
        chosen.feature({"honest": ("fraction", "return")}, start=feature_registry.finite(1))(a_return)
        start = feature_registry.running(look_back)
        chosen.feature({"suspect": ("", "planted")}, start=start)(function)
        return chosen.name

    yield plant
    feature_registry.FEATURE_SETS.pop("planted", None)


@pytest.mark.parametrize("function", AHEAD, ids=lambda function: function.__name__)
def test_features_that_know_what_comes_later_are_caught(planted: Callable[..., str], function: Any):
    found = of_features(market(), planted(function))["features_future"]
    assert (found.verdict, found.column) == ("leak", "suspect")
    assert found.first is not None
    assert found.effect is not None
    assert found.effect > 0
    assert "it knows what comes later" in found.detail


def test_the_first_bar_and_the_size_of_a_look_ahead_are_named(planted: Callable[..., str]):
    bars = market()
    name = planted(next_close)
    stored = features.compute(bars, name).astype("float32")
    cut = 1_500
    found = audit_features.future_cut(
        stored, features.compute(bars.iloc[:cut], name), partial(features.compute, feature_set=name), bars
    )
    low, high = np.percentile(stored["suspect"].iloc[:cut].to_numpy(np.float64), [25, 75])
    missed = abs(bars["close"].iloc[cut] - bars["close"].iloc[cut - 1]) / (high - low)
    assert found.first == bars.index[cut - 1]
    assert found.effect == pytest.approx(missed, rel=1e-3)
    assert found.unit == "spreads of the column"


def test_a_feature_that_hangs_on_the_start_is_warned_of(planted: Callable[..., str]):
    found = of_features(market(9_000), planted(from_the_start))
    assert found["features_future"].verdict == "passed"
    start = found["features_start"]
    assert (start.verdict, start.column) == ("warning", "suspect")
    assert "depends on the start" in start.detail


def test_a_stale_table_is_told_from_a_look_ahead():
    bars = market()
    stale = features.compute(bars.assign(close=bars["close"] * 1.001), "pattern8").astype("float32")
    found = of_features(bars, "pattern8", stale)["features_future"]
    assert found.verdict == "leak"
    assert "not what this code makes of the bars" in found.detail
    assert of_features(bars, "pattern8", stale.drop(columns="obv_slope"))["features_future"].column == "obv_slope"


# --- planted labels ---------------------------------------------------------------------------------------------------


def test_labels_of_the_articles_alignment_are_caught():
    found = of_labels(market(), way_of(alignment="seed"))
    assert (found.verdict, found.column, found.unit) == ("leak", "label", "share of labels")
    assert found.effect is not None
    assert found.effect > 0.2


@pytest.mark.parametrize("kind", KINDS)
def test_labels_that_look_further_than_their_horizon_are_caught(kind: str):
    # the one of the pattern sets looks a bar less far than it says
    horizon = HORIZON + 1 + (kind == "forward_max")
    found = of_labels(market(), way_of(kind=kind, horizon=horizon), keeps_close=kind == "forward_max")
    assert found.verdict == "leak"
    assert "later ones than its horizon" in found.detail


def test_labels_that_know_the_past_are_caught():
    def against_the_past(bars: pd.DataFrame) -> pd.Series:
        return (bars["close"].shift(-1) > bars["high"].rolling(5).max()).astype("float64")

    assert of_labels(market(), against_the_past).verdict == "leak"


def test_labels_of_other_settings_are_stale():
    bars = market()
    found = of_labels(bars, way_of(), way_of(take=0.004)(bars))
    assert found.verdict == "leak"
    assert "not what this code makes of the bars" in found.detail


def test_labels_over_a_gap_are_caught_at_the_first_bar_before_it():
    bars = market()
    honest = way_of()(bars).rename("label")
    careless = labels.first_touch(bars, 0.008, 2, HORIZON).rename("label")
    index = pd.DatetimeIndex(bars.index)
    assert audit_labels.across_gaps(index, honest, HORIZON, BAR).verdict == "passed"
    found = audit_labels.across_gaps(index, careless, HORIZON, BAR)
    assert (found.verdict, found.first, found.effect) == ("leak", bars.index[700 - HORIZON], 2 * HORIZON)


# --- what a bar tells on a random walk --------------------------------------------------------------------------------


def on_a_walk(bars: pd.DataFrame, name: str, way: Any) -> Finding:
    return audit_walk.same_bar(bars, partial(features.compute, feature_set=name), way, features.warm_up(name), seed=11)


def test_the_articles_alignment_tells_a_bar_its_own_label():
    found = on_a_walk(random_walk(4_000, seed=8), "pattern8_relative", way_of(alignment="seed"))
    assert (found.verdict, found.unit) == ("leak", "AUC")
    assert found.effect is not None
    assert found.effect > 0.9


@pytest.mark.parametrize("kind", KINDS)
def test_a_feature_that_looks_ahead_tells_the_label_on_a_walk(planted: Callable[..., str], kind: str):
    assert on_a_walk(random_walk(4_000, seed=8), planted(next_return), way_of(kind=kind)).verdict == "leak"


def test_too_few_labels_say_nothing():
    found = on_a_walk(random_walk(2_000, seed=8), "pattern8", way_of(take=0.5))
    assert found.verdict == "not applicable"


# --- parts and scaler -------------------------------------------------------------------------------------------------

FRACTIONS = {"fit": 0.4, "validate": 0.2, "choose": 0.2, "judge": 0.2}


def parts_of(bars: pd.DataFrame, purge: int = HORIZON, embargo: int = 0) -> list[Part]:
    return list(split(bars.index[0], bars.index[-1] + BAR, BAR, FRACTIONS, purge, embargo).values())


@pytest.mark.parametrize(("purge", "verdict", "overlap"), [(0, "leak", 3), (2, "leak", 1), (3, "passed", None)])
def test_parts_cut_without_a_purge_are_caught(purge: int, verdict: str, overlap: float | None):
    found = audit_parts.apart(parts_of(market(), purge), BAR, HORIZON)
    assert (found.verdict, found.effect) == (verdict, overlap)


def test_parts_that_overlap_and_those_of_sessions():
    bars = market()
    parts = parts_of(bars)
    late = dataclasses.replace(parts[2], end=parts[3].start + 10 * BAR)
    found = audit_parts.apart([*parts[:2], late, parts[3]], BAR, HORIZON)
    assert (found.column, found.first, found.effect) == ("choose / judge", parts[3].start, HORIZON + 10)
    sessions = pd.DatetimeIndex(bars.index)
    by_sessions = list(split(sessions[0], sessions[-1] + BAR, sessions, FRACTIONS, HORIZON).values())
    assert audit_parts.apart(by_sessions, sessions, HORIZON).verdict == "passed"
    assert audit_parts.apart(by_sessions, sessions, HORIZON + 1).verdict == "leak"


@pytest.mark.parametrize("kind", scaling.KINDS)
@pytest.mark.parametrize(
    ("last", "verdict", "named"),
    [
        (0, "passed", ""),
        (1, "leak", "fitted on fit + validate,"),
        (2, "leak", "fit + validate + choose,"),
        (9, "leak", "all rows"),
    ],
)
def test_a_scaler_fitted_on_too_much_is_caught(kind: scaling.Kind, last: int, verdict: str, named: str):
    bars = market()
    table = features.compute(bars, "pattern8").astype("float32").dropna()
    parts = parts_of(bars, embargo=10)
    codes = np.full(len(table), audit_parts.OUTSIDE, dtype=np.int8)
    for number, part in enumerate(parts):
        codes[part.rows(pd.DatetimeIndex(table.index))] = number
    seen = (codes >= 0) & (codes <= last) if last < 4 else np.ones(len(codes), dtype=bool)
    columns = list(table.columns)
    stored = scaling.fit(kind, table[seen], columns)
    found = audit_parts.scaler(stored, table[columns[2:6]].to_numpy(), codes, parts, columns[2:6])
    assert found.verdict == verdict
    # extremes of all rows may be those of the parts already
    assert named in found.detail or (kind, last, "choose + judge," in found.detail) == ("minmax", 9, True)
    assert (found.column in columns[2:6]) == (verdict == "leak")


def test_a_scaler_of_other_rows_fits_no_part():
    bars = market()
    table = features.compute(bars, "pattern8").astype("float32").dropna()
    codes = np.zeros(len(table), dtype=np.int8)
    stored = scaling.fit("robust", table.iloc[:500], list(table.columns))
    found = audit_parts.scaler(stored, table.to_numpy(), codes, parts_of(bars), list(table.columns))
    assert found.verdict == "leak"
    assert "fits no part" in found.detail


# --- windows ----------------------------------------------------------------------------------------------------------


def test_windows_that_ignore_gaps_are_caught():
    bars = market()
    index = pd.DatetimeIndex(bars.index)
    places = np.asarray((index - index[0]) // BAR, dtype=np.int64)
    complete = np.ones(len(bars), dtype=bool)
    complete[:20] = False
    every, steps = np.arange(len(bars)) >= 20 + 14, 15
    found = audit_signals.across_gaps(places, complete, every, steps, index)
    assert (found.verdict, found.effect, found.unit) == ("leak", 2 * 14, "windows")
    assert found.first == bars.index[700]
    honest = every & ~np.isin(np.arange(len(bars)), [*range(700, 714), *range(1_898, 1_912)])
    assert audit_signals.across_gaps(places, complete, honest, steps, index).verdict == "passed"
    assert audit_signals.across_gaps(places, complete, np.arange(len(bars)) >= 33, steps, index).first == bars.index[33]


# --- trades -----------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def traded() -> tuple[pd.DataFrame, pd.DataFrame, pd.Series, Part]:
    """Trades of the engine on the second half of the bars, with stops, targets and limits."""
    bars = random_walk(3_000, seed=2)
    part = Part("judge", bars.index[1_500], bars.index[2_990])
    signal = pd.Series(0, index=bars.index, dtype="int8")
    signal.iloc[5::17], signal.iloc[11::34] = 1, 2
    mine = bars[part.rows(pd.DatetimeIndex(bars.index))]
    chosen = BracketParameters(0.01, 0.02, 0.002, 0.01, 0.02, None)
    costs = Costs(slippage=0.0005, lot_size=1e-6)
    trades = replay(mine, signal.reindex(mine.index), chosen, costs, close_at_end=True).trades
    return trades_frame(trades, pd.DatetimeIndex(mine.index)), bars, signal, part


def fills_of(trades: pd.DataFrame, **changed: Any) -> Finding:
    _, bars, signal, part = traded()
    given: dict[str, Any] = {"bars": bars, "signal": signal, "part": part, **changed}
    return audit_trades.fills(trades, given["bars"], given["signal"], given["part"], slippage=0.0005)


def moved(bars: int) -> pd.DataFrame:
    return traded()[0].assign(entry_time=traded()[0]["entry_time"] + bars * BAR)


def test_trades_of_the_engine_are_in_order():
    trades = traded()[0]
    assert len(trades) > 30
    assert set(trades["side"]) == {"long", "short"}
    assert fills_of(trades).verdict == "passed"


@pytest.mark.parametrize(
    ("plant", "column"),
    [
        (lambda trades: moved(-1), "signal"),  # on the bar of the signal
        (lambda trades: moved(1), "signal"),  # the predictions are shifted once more
        (lambda trades: trades.assign(entry_price=trades["entry_price"] * 0.97), "entry_price"),
        (lambda trades: trades.assign(exit_price=trades["exit_price"] * 1.05), "exit_price"),
        (lambda trades: trades.assign(entry_time=trades["entry_time"] - pd.Timedelta(days=60)), "entry_time"),
        (lambda trades: trades.assign(exit_time=trades["entry_time"] - BAR), "exit_time"),
    ],
)
def test_fills_that_could_not_be_had_are_caught(plant: Callable[[pd.DataFrame], pd.DataFrame], column: str):
    found = fills_of(plant(traded()[0]))
    assert (found.verdict, found.column, found.unit) == ("leak", column, "trades")
    assert found.first is not None


def test_trades_of_another_part_and_before_listing_are_caught():
    trades, bars, _, part = traded()
    later = dataclasses.replace(part, start=part.start + pd.Timedelta(days=3))
    assert fills_of(trades, part=later).verdict == "leak"
    listed = bars[bars.index > trades["entry_time"].iloc[3]]
    found = fills_of(trades, bars=listed)
    assert (found.column, found.effect) == ("entry_time", 4)


def test_funding_that_is_not_charged_is_warned_of():
    trades = traded()[0]
    found = audit_trades.funding("binance-um:BTCUSDT", trades, charged=False, missing=0)
    hours = pd.date_range(trades["entry_time"].min(), trades["exit_time"].max() + BAR, freq=BAR)
    due = sum(
        int(((hours > entry) & (hours <= left) & (hours.hour % 8 == 0) & (hours.minute == 0)).sum())
        for entry, left in zip(trades["entry_time"], trades["exit_time"], strict=True)
    )
    assert due > 20
    assert (found.verdict, found.effect) == ("warning", due)
    assert audit_trades.funding("binance-um:BTCUSDT", trades, charged=True, missing=0).verdict == "passed"
    assert audit_trades.funding("binance-um:BTCUSDT", trades, charged=True, missing=7).effect == 7
    assert audit_trades.funding("binance-spot:BTCUSDT", trades, charged=False, missing=0).verdict == "not applicable"


# --- signals of one's own ---------------------------------------------------------------------------------------------


def sides(moves: pd.Series, share: float = 1.0, seed: int = 1) -> pd.Series:
    """Signals along these moves, of which so large a share is right."""
    right = np.random.default_rng(seed).random(len(moves)) < share
    return pd.Series(np.where((moves > 0) == right, 1, 2).astype(np.int8), index=moves.index)


def test_signals_made_of_their_own_bar_or_of_later_ones_are_warned_of():
    bars = random_walk(3_000, seed=4)
    own = bars["close"] / bars["open"] - 1
    found = audit_signals.knows_the_bars(sides(own), bars)
    assert (found.verdict, found.column, found.effect) == ("warning", "signal", 1.0)
    assert "their own bar" in found.detail
    ahead = audit_signals.knows_the_bars(sides(own.shift(-1).fillna(0), 0.7), bars)
    assert ahead.verdict == "warning"
    assert "the 1 bars after them" in ahead.detail
    label = way_of()(bars).fillna(0).astype("int8")
    assert audit_signals.knows_the_bars(label, bars).verdict == "warning"


def test_signals_made_of_another_tickers_next_bar_are_warned_of():
    leader, bars = random_walk(3_000, seed=4), random_walk(3_000, seed=6)
    returns = {"um:BTC": leader["close"] / leader["open"] - 1, "um:OTHER": bars["close"] / bars["open"] - 1}
    signal = sides(returns["um:BTC"].shift(-1).fillna(0), 0.7)
    assert audit_signals.knows_the_bars(signal, bars).verdict == "passed"
    found = audit_signals.knows_another(signal, bars, {"um:BTC": returns["um:BTC"]}, block=200, seed=1)
    assert (found.verdict, found.column) == ("warning", "signal")
    assert "um:BTC" in found.detail
    honest = sides(returns["um:BTC"], 0.7)
    assert (
        audit_signals.knows_another(honest, bars, {"um:BTC": returns["um:BTC"]}, block=200, seed=1).verdict == "passed"
    )


def test_signals_that_are_otherwise_without_the_future_are_caught():
    bars = random_walk(600, seed=4)
    stored = pd.DataFrame({"signal": np.ones(600, dtype=np.int8)}, index=bars.index)
    stored["probability_long"], stored["probability_short"] = np.float32(0.6), np.float32(0.1)
    cut = bars.index[500]
    assert audit_signals.compared(stored, stored.iloc[:500], cut).verdict == "passed"
    other = stored.iloc[:500].copy()
    other.iloc[300:, 1] = np.float32(0.59)
    found = audit_signals.compared(stored, other, cut)
    assert (found.verdict, found.column, found.first) == ("leak", "probability_long", bars.index[300])
    assert found.effect == pytest.approx(0.01, rel=1e-3)
    other = stored.iloc[:500].copy()
    other.iloc[499, 0] = 2
    found = audit_signals.compared(stored, other, cut)
    assert (found.column, found.first, found.effect) == ("signal", bars.index[499], 1)
    assert audit_signals.decided(stored, np.ones(600, dtype=np.int8)).verdict == "passed"
    assert audit_signals.decided(stored, np.zeros(600, dtype=np.int8)).effect == 600


# --- the universe -----------------------------------------------------------------------------------------------------


def test_a_universe_of_survivors_is_warned_of():
    start, end = (pd.Timestamp(day, tz="UTC") for day in ("2024-01-01", "2024-12-31"))
    alive = {f"um:T{number}": (start + number * pd.Timedelta(days=9), end - BAR) for number in range(6)}
    found = audit_parts.universe(alive, start, end)
    assert (found.verdict, found.effect) == ("warning", 5)
    ended = {**alive, "um:LUNA": (start, start + pd.Timedelta(days=130))}
    assert audit_parts.universe(ended, start, end).verdict == "passed"


# --- clean pipelines --------------------------------------------------------------------------------------------------


def real(folder: Path, number: int) -> pd.DataFrame:
    table = pd.read_parquet(sorted((folder / "binance_um_15m").glob("*.parquet"))[number]).set_index("time")
    table.index = pd.DatetimeIndex(table.index).as_unit("us")
    return table[["open", "high", "low", "close", "volume"]].astype("float64").iloc[-5_000:]


def verdicts(bars: pd.DataFrame) -> list[tuple[str, Finding]]:
    """Every check of code and bars, for each feature set, label and rule."""
    found: list[tuple[str, Finding]] = []
    for name in SETS:
        found += [(name, one) for one in of_features(bars, name).values()]
    for kind in KINDS:
        way = way_of(kind=kind)
        found.append((kind, of_labels(bars, way, keeps_close=kind == "forward_max")))
        reach = HORIZON - (kind == "forward_max")
        found.append((kind, audit_labels.across_gaps(pd.DatetimeIndex(bars.index), way(bars), reach, BAR)))
        found += [(f"{kind} {name}", on_a_walk(bars, name, way)) for name in SETS[:2]]
        found.append((f"{kind} {SETS[3]}", on_a_walk(bars.iloc[-3_000:], SETS[3], way)))
    table = features.compute(bars, "pattern8_relative").astype("float32")
    for rule in rules.RULES:
        if "pattern8_relative" in rules.feature_sets(rule):
            signal = rules.signals(rule, table, "pattern8_relative", bar=BAR)
            others = {"other": random_walk(len(bars), seed=77)["close"].set_axis(bars.index).pct_change()}
            found.append((rule, audit_signals.knows_the_bars(signal, bars)))
            found.append((rule, audit_signals.knows_another(signal, bars, others, block=200, seed=1)))
    return found


def check_clean(found: list[tuple[str, Finding]], least: int) -> None:
    """None of them is flagged, and nearly all could be made."""
    assert [(name, one) for name, one in found if one.verdict in ("leak", "warning")] == []
    assert sum(one.verdict == "passed" for _, one in found) >= least


@pytest.mark.parametrize("seed", [5, 6])
def test_no_clean_pipeline_is_flagged_on_random_walks(seed: int):
    """0 of 62: two walks with gaps and bars without volume, of 31 checks each."""
    found = verdicts(market(4_000, seed))
    check_clean(found, 31)
    assert len(found) == 31


@pytest.mark.market_data
@pytest.mark.parametrize("number", range(0, 250, EVERY))
def test_no_clean_pipeline_is_flagged_on_real_bars(market_data: Path, number: int):
    """0 of 124: four perpetuals, of 31 checks each; labels may be too rare for some."""
    check_clean(verdicts(real(market_data, number)), 24)


# --- what is told -----------------------------------------------------------------------------------------------------


def table_of(rows: dict[str, list[Finding]]) -> pd.DataFrame:
    frame = pd.DataFrame([{"ticker": ticker, **one.row()} for ticker, found in rows.items() for one in found])
    return frame.assign(effect=frame["effect"].astype("float64"), first=pd.to_datetime(frame["first"], utc=True))


def test_the_worst_ticker_of_each_check_is_told_and_what_was_not_looked_at():
    moment = pd.Timestamp("2024-03-01 12:15", tz="UTC")
    leak = partial(Finding, "features_future", "leak", column="rsi", first=moment, unit="spreads")
    told = table_of(
        {
            "all": [Finding("parts", "passed", "")],
            "um:A": [leak("small", effect=0.1), Finding("fills", "passed", "")],
            "um:B": [leak("large", effect=2.5), audit.not_applicable("labels", "no labels")],
        }
    )
    rows = {row["check"]: row for row in report_audit.rows(told)}
    assert list(rows) == [check for check in CHECKS if check in rows]
    worst = rows["features_future"]
    assert (worst["ticker"], worst["column"], worst["first"], worst["effect"]) == (
        *("um:B", "rsi", "2024-03-01 12:15", "2.5 spreads"),
    )
    assert worst["detail"] == "large (2 of 2 tickers)"
    said = report_audit.sentences(told, 40)
    assert said[0].startswith("1 of 3 checks found a leak: features with the future cut off.")
    assert "38 tickers were not looked at" in said[-1]
    assert "labels rest on their horizon" in said[-1]
    text = report_audit.lines(told)
    assert len(text) == 1 + len(rows) + 1
    assert "LEAK" in text[1]
    assert text[-1] == "\nLEAK: features with the future cut off: large (2 of 2 tickers)."


def test_findings_that_are_none_are_refused():
    with pytest.raises(AuditError, match="there is no check 'speed'; allowed: features_future"):
        Finding("speed", "passed", "")
    with pytest.raises(AuditError, match="verdict of labels is 'fine'; allowed: passed"):
        Finding("labels", "fine", "")  # type: ignore[arg-type]


def test_tickers_are_spread_over_the_lengths_of_their_histories_and_the_same_every_time():
    rows = {f"um:{number:03d}": float(1_000 * number) for number in range(100)}
    chosen = audit.sample(rows, 3, ["um:007", "um:gone"])
    assert chosen == ["um:000", "um:007", "um:050", "um:099"]
    assert audit.sample(dict(reversed(rows.items())), 3, ["um:007"]) == chosen
    assert audit.sample(rows, 500) == sorted(rows)


def test_cuts_lie_in_every_part_in_the_warm_up_and_after_what_is_strange():
    bars = market()
    cuts = audit.cuts(bars, quarters(bars), 6, 20, seed=1)
    assert cuts == audit.cuts(bars, quarters(bars), 6, 20, seed=1)
    assert cuts != audit.cuts(bars, quarters(bars), 6, 20, seed=2)
    assert cuts[0] == 11
    for start, end in quarters(bars):
        assert any(start < bars.index[cut] <= end for cut in cuts[1:])
    before = [bars.index[cut - 1] for cut in cuts]
    assert any(bars.loc[time, "volume"] == 0 or time + BAR not in bars.index for time in before)
    assert audit.cuts(bars.iloc[:1], [], 6, 20, seed=1) == []
