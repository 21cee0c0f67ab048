"""The patterns of a run: the same at any number of workers, placed as fitted, judged part by part, traded, shown."""

import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from actors.connect import connect
from jobs import (
    ingest,
    market,
    pattern_fit,
    pattern_outcomes,
    pattern_page,
    patterns,
    pipeline,
    status,
    train,
)
from jobs.config import RunConfig
from jobs.pattern_fit import PatternsError
from jobs.stage import Context, NoModelError, require
from quant import demo_shapes
from quant import labels as label_functions
from quant.demo_shapes import ShapeMarket
from quant.features import columns
from quant.patterns import ALL
from quant.report_patterns import render
from quant.schemas import (
    BARS,
    CLUSTER_HISTOGRAMS,
    CLUSTER_OUTCOMES,
    FEATURES,
    LANDMARKS,
    PATTERNS,
    PROFILES,
    SHORTLIST,
    SIGNALS,
)
from storage import layout
from storage.manifest import write_config
from storage.tables import read_table
from tests.jobs.conftest import TICKERS, make_context, serially

STAGES = ("pattern_fit", "patterns", "pattern_outcomes")
SETTINGS = {
    "length": 8,
    "landmarks": 600,
    "neighbours": 10,
    "counts": (3, 5),
    "refits": 1,
    "answer": 0.01,
    "resamples": 200,
}
TICKER = f"local-um:{TICKERS[1]}"


def configured(store: Path, source: Path, **settings: Any) -> Context:
    given = {**SETTINGS, **settings.pop("patterns", {})}
    return make_context(store, source=str(source), run="shapes", patterns=given, **settings)


@pytest.fixture(scope="module")
def found(market: Path, tmp_path_factory: pytest.TempPathFactory) -> Context:
    """A run whose patterns were found by a plain loop."""
    context = configured(tmp_path_factory.mktemp("store"), market)
    patterns.run(context, fan_out=serially)
    return context


def table(context: Context, dataset: Any, ticker: str | None = None) -> pd.DataFrame:
    return read_table(context.store, context.run, dataset, ticker)


@pytest.mark.ray
def test_workers_do_not_matter(found: Context, market: Path, tmp_path: Path):
    other = configured(tmp_path, market)
    with connect(None, 2):
        patterns.run(other)
    for stage in STAGES:
        assert require(other, stage).result_hash == require(found, stage).result_hash
    before = require(other, "patterns").created
    page = other.store.read(layout.patterns(other.run))
    patterns.run(other, fan_out=refuse_work)
    assert require(other, "patterns").created == before
    assert other.store.read(layout.patterns(other.run)) == page


def refuse_work(*_: Any, **__: Any) -> Any:
    raise AssertionError("done before, and done again")


def test_landmarks_are_an_outcome_blind_sample_of_whole_windows_of_the_fit_part(found: Context):
    landmarks = table(found, LANDMARKS)
    fit = market.parts(found, market.of(found))["fit"]
    assert len(landmarks) == SETTINGS["landmarks"]
    assert landmarks["time"].between(fit.start, fit.end, inclusive="left").all()
    assert set(landmarks["ticker"]) == {f"local-um:{name}" for name in TICKERS}
    assert not landmarks.duplicated(["ticker", "time"]).any()
    # a rise is as frequent among them as among all windows of the part
    assert (landmarks["outcome"] >= SETTINGS["answer"]).mean() == pytest.approx(base_rate(found), abs=0.06)
    model = pattern_fit.read_model(found)
    for row in landmarks.sample(40, random_state=0).itertuples():
        rows = table(found, FEATURES, row.ticker).loc[: row.time].tail(SETTINGS["length"])
        assert rows.index[-1] == row.time
        assert (np.diff(rows.index) == pd.Timedelta("15min")).all()
        expected = model.scaler.transform(rows).ravel()
        np.testing.assert_allclose(model.rows[row.number], expected, rtol=1e-5, atol=1e-5)


def base_rate(context: Context) -> float:
    judged = table(context, CLUSTER_OUTCOMES)
    return float(judged.loc[judged["part"] == "fit", "base_rate"].iloc[0])


def test_every_whole_window_is_placed_and_landmarks_where_they_were_fitted(found: Context):
    placed = table(found, PATTERNS, TICKER)
    frame = table(found, FEATURES, TICKER)
    parts = market.parts(found, market.of(found))
    complete = frame.notna().all(axis=1)
    steps = frame.index.to_series().diff() == pd.Timedelta("15min")
    unbroken = complete.rolling(SETTINGS["length"]).sum().eq(SETTINGS["length"])
    unbroken &= steps.rolling(SETTINGS["length"] - 1).sum().eq(SETTINGS["length"] - 1)
    due = frame.index[unbroken & (frame.index >= parts["fit"].start) & (frame.index < parts["judge"].end)]
    assert placed.index.equals(due)
    landmarks = table(found, LANDMARKS)
    mine = landmarks[landmarks["ticker"] == TICKER].set_index("time").sort_index()
    again = placed.loc[mine.index]
    for column in ("cluster", "x", "y", "outcome", "forward_return"):
        np.testing.assert_array_equal(again[column], mine[column])
    assert not again["distance"].any()
    assert (placed["distance"] > 0).mean() > 0.5


def test_outcomes_look_ahead_from_the_window_alone(found: Context):
    placed, bars = table(found, PATTERNS, TICKER), table(found, BARS, TICKER)
    calendar = pd.Timedelta("15min")
    best = label_functions.forward_max(bars, 5, bar=calendar)
    returns = label_functions.outcome(bars, 4, bar=calendar)
    np.testing.assert_array_equal(placed["outcome"], best.reindex(placed.index))
    np.testing.assert_array_equal(placed["forward_return"], returns.reindex(placed.index))


def test_outcomes_of_clusters_are_those_of_their_windows(found: Context):
    """Against pandas, over windows whose bars ahead lie in the part."""
    judged = table(found, CLUSTER_OUTCOMES).set_index(["part", "cluster"])
    parts = market.parts(found, market.of(found))
    for name in pattern_outcomes.JUDGED:
        rows = []
        for ticker in require(found, "patterns").tickers:
            index = table(found, BARS, ticker).index
            last = index[index < parts[name].end][-4]
            placed = table(found, PATTERNS, ticker).dropna()
            rows.append(placed[(placed.index >= parts[name].start) & (placed.index < last)])
        windows = pd.concat(rows)
        for cluster, mine in windows.groupby("cluster"):
            row = judged.loc[name, cluster]
            assert row["windows"] == len(mine)
            assert row["hit_rate"] == pytest.approx((mine["outcome"] >= SETTINGS["answer"]).mean())
            assert row["base_rate"] == pytest.approx((windows["outcome"] >= SETTINGS["answer"]).mean())
            assert row["mean_return"] == pytest.approx(mine["forward_return"].mean(), abs=1e-8)
            assert row["return_difference"] == pytest.approx(
                mine["forward_return"].mean() - windows["forward_return"].mean(), abs=1e-8
            )
            assert row["days"] == mine.index.normalize().nunique()
    assert set(judged.index.get_level_values("part")) == set(pattern_outcomes.JUDGED)


def test_histograms_count_every_later_window_once(found: Context):
    judged = table(found, CLUSTER_OUTCOMES)
    later = judged[judged["part"].isin(pattern_outcomes.LATER)].groupby("cluster")["windows"].sum()
    counted = table(found, CLUSTER_HISTOGRAMS).groupby("cluster")["windows"].sum()
    assert counted[ALL] == later.sum()
    for cluster, windows in later.items():
        assert counted[cluster] == windows


def test_profiles_are_in_real_units(found: Context):
    profile = table(found, PROFILES).set_index(["cluster", "feature", "step"])
    landmarks = table(found, LANDMARKS)
    mine = landmarks[landmarks["cluster"] == 0]
    column = "rsi_relative"
    last = [table(found, FEATURES, row.ticker).loc[row.time, column] for row in mine.itertuples()]
    assert profile.loc[(0, column, 0), "mean"] == pytest.approx(np.mean(last), rel=1e-4)
    assert profile.loc[(0, column, 0), "q90"] == pytest.approx(np.quantile(last, 0.9), rel=1e-4)


def test_figures_say_how_far_the_patterns_can_be_trusted(found: Context):
    figures = require(found, "pattern_fit").details["figures"]
    assert 0.5 < figures["trustworthiness"] <= 1
    assert figures["placed_kept"] > 0.8
    assert figures["placed_distance"] < 0.3
    assert -0.1 < figures["seed_agreement"] <= 1
    assert -0.1 < figures["bootstrap_agreement"] <= 1
    assert figures["ticker_information"] < 0.1  # scale-free features do not give the ticker away
    details = require(found, "pattern_outcomes").details
    assert 0 < details["episodes"] < details["windows"]


def test_an_unknown_outcome_decides_nothing_of_the_fit(found: Context, market: Path, tmp_path: Path):
    """Blind to the outcome: another answer and another horizon leave windows, places and clusters as they are."""
    other = configured(tmp_path, market, patterns={"answer": 0.3, "horizon": 9, "refits": 0})
    patterns.run(other, fan_out=serially)
    for column in ("ticker", "time", "x", "y", "cluster"):
        assert table(other, LANDMARKS)[column].equals(table(found, LANDMARKS)[column])


def test_the_judge_part_is_not_looked_at(found: Context):
    assert set(table(found, CLUSTER_OUTCOMES)["part"]) == {"fit", "validate", "choose"}
    assert not any("judge" in key for key in require(found, "pattern_outcomes").config["parts"])


def test_density_finds_noise(market: Path, tmp_path: Path):
    context = configured(tmp_path, market, patterns={"clustering": "hdbscan", "smallest": 15, "refits": 1})
    patterns.run(context, fan_out=serially)
    landmarks = table(context, LANDMARKS)
    count = require(context, "pattern_fit").details["clusters"]
    assert set(landmarks["cluster"]) <= set(range(-1, count))
    placed = table(context, PATTERNS, TICKER)
    mine = landmarks[landmarks["ticker"] == TICKER].set_index("time").sort_index()
    np.testing.assert_array_equal(placed.loc[mine.index, "cluster"], mine["cluster"])


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"length": 400, "landmarks": 50}, "windows of 400 bars"),
        ({"clusters": 80, "landmarks": 60}, "count is 80"),
    ],
)
def test_too_few_windows_are_named(market: Path, tmp_path: Path, settings: dict[str, Any], named: str):
    context = configured(tmp_path, market, patterns=settings, split={"fit": 0.1, "validate": 0.3, "choose": 0.22})
    with pytest.raises((PatternsError, ValueError), match=named):
        patterns.run(context, fan_out=serially)


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A market of six tickers in which shapes recur, two of which are followed by a drift."""
    folder = tmp_path_factory.mktemp("shapes")
    drawn = ShapeMarket(seed=1, tickers=6, bars=9_000)
    for ticker in demo_shapes.names(drawn):
        frame = demo_shapes.bars(drawn, ticker).reset_index()
        frame.to_parquet(folder / f"{ticker.partition(':')[2]}.parquet")
    return folder


def traded(store: Path, source: Path) -> Context:
    lenient = {"deflated_sharpe": None, "false_discovery_rate": None, "minimum_return": None, "minimum_trades": 1}
    return configured(
        store,
        source,
        # so few days that only a lenient rate lets a cluster through
        patterns={"trade": True, "clusters": 12, "landmarks": 3_000, "length": 18, "false_discovery_rate": 0.5},
        split={"fit": 0.28, "validate": 0.36, "choose": 0.18, "judge": 0.18},
        search={"trials": 4, "folds": 0, "minimum_trades": 1},
        placebo={"repetitions": 1},
        costs={"commission": 0.0},
        shortlist=lenient,
    )


def test_clusters_are_traded_by_what_the_validate_part_says():
    rows = [
        # part, cluster, differs, mean return, difference
        ("validate", 0, True, 0.01, 0.009),
        ("validate", 1, True, -0.01, -0.011),
        ("validate", 2, False, 0.02, 0.019),
        ("validate", 3, True, 0.001, -0.004),  # less than all windows, and yet no fall
        ("validate", -1, True, 0.03, 0.029),  # noise
        ("choose", 2, True, 0.02, 0.019),
        ("choose", 0, True, -0.01, -0.011),
        ("fit", 2, True, 0.02, 0.019),
    ]
    columns = ["part", "cluster", "return_differs", "mean_return", "return_difference"]
    assert pattern_outcomes.sides(pd.DataFrame(rows, columns=columns)) == {"0": "long", "1": "short"}


@pytest.mark.ray
def test_clusters_go_the_way_of_all_signals(shapes: Path, tmp_path: Path):
    context = traded(tmp_path, shapes)
    with connect(None, 2):
        pipeline.run(context)
    sides = require(context, "pattern_outcomes").details["sides"]
    assert sides
    judged = table(context, CLUSTER_OUTCOMES).set_index(["part", "cluster"]).loc["validate"]
    parts = of_the_run(context)
    for ticker in require(context, "predict").tickers:
        signal, placed = table(context, SIGNALS, ticker)["signal"], table(context, PATTERNS, ticker)["cluster"]
        assert signal.index.min() >= parts["choose"].start
        assert signal.index.max() < parts["judge"].end
        for time, value in signal.items():
            side = sides.get(str(placed.get(time, -1)))
            assert value == {"long": 1, "short": 2, None: 0}[side]
    for cluster, side in sides.items():
        assert judged.loc[int(cluster), "return_differs"]
        assert (judged.loc[int(cluster), "mean_return"] > 0) == (side == "long")
    assert len(table(context, SHORTLIST)) == 6
    assert require(context, "placebo").rows["placebos"] > 0
    page = context.store.read(layout.report(context.run)).decode()
    assert 'id="patterns"' in page
    assert "those of clusters of" in page
    assert "came from a file" not in page


def of_the_run(context: Context) -> Any:
    return market.parts(context, market.of(context))


def test_a_run_that_trades_clusters_trains_nothing(market: Path, tmp_path: Path):
    context = traded(tmp_path, market)
    with pytest.raises(NoModelError, match=r"patterns\.trade is set \(True\)"):
        train.run(context)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"patterns": {"trade": True, "protocol": "seed"}}, 'allowed: "honest"'),
        ({"patterns": {"trade": True}, "rejudge": "before"}, "patterns.trade and rejudge are both set"),
        ({"patterns": {"trade": True}, "rule": "momentum"}, "rule and patterns.trade are both set"),
    ],
)
def test_clusters_that_cannot_be_traded_are_refused(settings: dict[str, Any], named: str):
    with pytest.raises(ValidationError, match=named):
        RunConfig.model_validate(settings)


def test_a_run_that_is_judged_again_finds_no_patterns(market: Path, tmp_path: Path):
    with pytest.raises(PatternsError, match="judges 'before' again"):
        patterns.run(configured(tmp_path, market, rejudge="before"), fan_out=serially)


def test_status_shows_patterns_that_were_found_by_hand(found: Context):
    write_config(found.store, found.run, found.config.model_dump(mode="json", by_alias=True))
    rows = {row.stage: row.word for row in status.states(found, datetime.datetime.now(datetime.UTC))}
    assert rows["patterns"] == "done"
    assert rows["train"] == "to do"


def test_a_validate_part_of_too_few_days_is_told(market: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    context = configured(tmp_path, market, patterns={"refits": 0})
    with caplog.at_level("WARNING", logger="assay"):
        patterns.run(context, fan_out=serially)
    assert "the validate part has 6 days with windows, too few for a cluster to differ" in caplog.text


def test_the_report_shows_patterns_as_they_were_found(market: Path, tmp_path: Path):
    """Found by hand under the notebook's protocol, in a run that is configured otherwise."""
    seed = {"protocol": "seed", "reducer": "own", "refits": 0, "length": 8, "answer": 0.01}
    context = configured(tmp_path, market, patterns=seed)
    patterns.run(context, fan_out=serially)
    other = configured(tmp_path, market, patterns={"length": 20, "answer": 0.2})
    content = pattern_page.of_the_report(other, serially)
    assert content is not None
    assert (content.protocol, content.length) == ("seed", 8)
    assert "at least 1 % above" in content.outcome
    assert list(content.units) == list(columns("pattern8"))
    assert "They do not tell a rise from a fall" in render(content)


def test_bars_are_not_read_again_for_a_run_that_has_them(market: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    context = configured(tmp_path, market)
    ingest.run(context, fan_out=serially)
    assert patterns.ingested_as_configured(context)
    assert not patterns.ingested_as_configured(configured(tmp_path, market, ingest={"venue": "binance"}))
    assert not patterns.ingested_as_configured(configured(tmp_path / "empty", market))
    monkeypatch.setattr(ingest, "run", refuse_work)
    patterns.run(context, fan_out=serially)


def test_more_clusters_than_a_table_holds_are_refused(market: Path, tmp_path: Path):
    settings = {"clustering": "hdbscan", "smallest": 2, "landmarks": 4_000, "neighbours": 3, "refits": 0}
    with pytest.raises(PatternsError, match=r"hdbscan finds \d+ clusters; allowed are 127\. Set patterns\.smallest"):
        patterns.run(configured(tmp_path, market, patterns=settings), fan_out=serially)


def test_a_plane_without_clusters_is_all_noise(market: Path, tmp_path: Path):
    settings = {"clustering": "hdbscan", "smallest": 590, "refits": 1}
    context = configured(tmp_path, market, patterns=settings)
    patterns.run(context, fan_out=serially)
    assert set(table(context, LANDMARKS)["cluster"]) == {-1}
    assert set(table(context, CLUSTER_OUTCOMES)["cluster"]) == {-1}
    assert b"<!doctype html>" in context.store.read(layout.patterns(context.run))
