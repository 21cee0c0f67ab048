"""The article's protocol beside a run's own, on a small market and a real Ray."""

import contextlib
import io
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest

from actors.connect import connect
from jobs import market as markets
from jobs import plan, protocol_trades, protocols, train
from jobs.config import RunConfig
from jobs.protocol_trades import Task
from jobs.stage import Context, NoModelError, require
from quant import network
from quant.protocols import ALL, ASSET, ENTRIES, LABEL, STEPS, remaining, signal
from quant.schemas import METRICS, PROTOCOL_STEPS, PROTOCOLS, SHORTLIST, SIGNALS
from storage import layout
from storage.tables import read_table
from tests.jobs.conftest import make_context, write_market

THRESHOLD = 0.02
LEARNED, OTHER, YOUNG = "local-um:AAAUSDT", "local-um:BBBUSDT", "local-um:CCCUSDT"


class Done(NamedTuple):
    """A finished run, what a second one printed, and when each of the two wrote the manifests."""

    context: Context
    printed: str
    stamps: tuple[list[Any], list[Any]]


@pytest.fixture(scope="module")
def twice(tmp_path_factory: pytest.TempPathFactory) -> Done:
    """Random walks, of which the model learns from one, and one is too young for a single window; three of the traps
    are the run's own, so that no more than two models are trained beside it."""
    folder = write_market(tmp_path_factory.mktemp("market"), ("AAAUSDT", "BBBUSDT"), rows=2_600)
    pd.read_parquet(folder / "BBBUSDT.parquet").tail(60).to_parquet(folder / "CCCUSDT.parquet")
    context = make_context(
        tmp_path_factory.mktemp("store"),
        source=str(folder),
        run="walks",
        labels={"take": 0.01, "ratio": 2, "horizon": 3},
        split={"fit": 0.5, "validate": 0.1, "choose": 0.2, "judge": 0.2, "embargo": 0},
        features=protocols.IN_PLACE["price_levels"]["features"],
        train={
            "tickers": ("AAAUSDT",),
            "epochs": 1,
            **protocols.IN_PLACE["window"]["train"],
            **protocols.IN_PLACE["scaler"]["train"],
        },
        predict={"threshold": THRESHOLD},
        evaluate={"enabled": False},
        search={"trials": 2},
        placebo={"repetitions": 1},
    )
    stamps: tuple[list[Any], list[Any]] = ([], [])
    with connect(None, 2):
        for found in stamps:
            protocols.run(context)
            found += [context.store.stamp(layout.manifest(context.run, name)) for name in ("train", "protocols")]
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            protocols.show(context)
    return Done(context, printed.getvalue(), stamps)


@pytest.fixture
def done(twice: Done) -> Context:
    return twice.context


@pytest.mark.ray
def test_every_step_is_there_and_the_last_are_the_run(done: Context) -> None:
    for ticker in (LEARNED, OTHER):
        table = read_table(done.store, done.run, PROTOCOLS, ticker)
        assets = table[table["strategy"] == ASSET].set_index("step")
        assert assets.index.tolist() == list(range(STEPS))
        judged = read_table(done.store, done.run, METRICS, ticker).set_index("part").loc["judge"]
        for step in (STEPS - 2, STEPS - 1):
            assert assets.loc[step, "total_return"] == judged["total_return"]
            assert assets.loc[step, "trades"] == judged["trades"]
        assert set(table["strategy"]) == ({ASSET, LABEL, ENTRIES, "test_part"} if ticker == LEARNED else {ASSET})
    listed = set(read_table(done.store, done.run, SHORTLIST).query("shortlisted")["ticker"])
    steps = read_table(done.store, done.run, PROTOCOL_STEPS)
    assert steps[steps["scope"] == ALL]["listed"].iloc[-1] == len(listed)
    assert set(steps["scope"]) == {ALL, LEARNED}


@pytest.mark.ray
def test_a_ticker_that_is_too_young_for_a_window_is_no_failure(done: Context) -> None:
    table = read_table(done.store, done.run, PROTOCOLS, YOUNG)
    # it has no bars to choose on, so that from where that matters it is not traded by the article
    assert table["step"].tolist() == [step for step in range(STEPS) if step != 9]
    assert (table["trades"] == 0).all()
    assert not table["listed"].any()
    assert require(done, "protocols").failures == []


@pytest.mark.ray
def test_the_label_knows_the_future_and_the_models_of_the_traps_are_runs_of_their_own(done: Context) -> None:
    table = read_table(done.store, done.run, PROTOCOLS, LEARNED).set_index(["strategy", "step"])
    assert table.loc[(LABEL, 0), "total_return"] > 1
    assert table.loc[(LABEL, 0), "start"] < table.loc[(LABEL, 1), "start"]
    runs = protocols.seeds(done)
    assert [config.run for config in runs.values()] == [f"walks-seed_{name}" for name in ("whole_numbers", "label")]
    hashes = {require(Context(config, done.store), "train").hashes["model"] for config in [*runs.values(), done.config]}
    assert len(hashes) == 3


@pytest.mark.ray
def test_a_model_is_applied_as_the_run_applies_its_own(done: Context) -> None:
    """Probabilities as a step computes them are the run's, and so are the signals of the step that has its own."""
    network.configure(threads=1)  # as every test of the networks in this process
    parts = markets.parts(done, markets.of(done))
    own = frozenset[str]()
    task = Task(parts, pd.Timedelta("15min"), THRESHOLD, frozenset({LEARNED}), {})
    task.models[own] = protocol_trades.fitted(done, done.config)
    for ticker in (LEARNED, OTHER):
        bars = markets.bars(done, ticker)
        unseen = bars[task.unseen.rows(pd.DatetimeIndex(bars.index))]
        ours = protocol_trades.probabilities(done, ticker, bars, unseen, task)[own]
        stored = protocol_trades.stated(done, ticker, bars)
        known = np.isfinite(ours).all(axis=1)
        assert known.sum() > 900
        np.testing.assert_allclose(ours[known], stored[known], atol=1e-6)
        signals = read_table(done.store, done.run, SIGNALS, ticker)["signal"]
        with_scaler = frozenset({"scaler", "window", "price_levels"})
        task.models[with_scaler] = task.models[own]
        scaled_by_itself = protocol_trades.probabilities(done, ticker, bars, unseen, task)[with_scaler]
        # the model's scaler is of all bars of the ticker that it learned from, so that there nothing changes
        assert np.allclose(scaled_by_itself[known], ours[known], atol=1e-5) == (ticker == LEARNED)
        at_own_orders = pd.Series(signal(stored, THRESHOLD, remaining(9)), bars.index)
        assert (at_own_orders[signals.index] == signals).all()
        assert (signals != 0).any()


@pytest.mark.ray
def test_the_page_tells_it_and_a_second_run_does_nothing(twice: Done) -> None:
    page = twice.context.store.read(layout.report(twice.context.run)).decode()
    assert "What the article would have claimed" in page
    first, second = twice.stamps
    assert first == second
    printed = " ".join(twice.printed.split())
    assert f"On {LEARNED} the article's protocol makes" in printed
    assert "chosen and shown on the same bars" in printed


@pytest.mark.ray
def test_the_plan_asks_every_model_where_it_stands(done: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = done.config.model_dump(by_alias=True)
    asked = replace(done, config=RunConfig.model_validate({**settings, "plan": {"job": "protocols"}}))
    finished = plan.plan(asked)
    assert finished.seconds == plan.CLUSTER_START
    assert "\n2 models beside the run's, 0 to be trained\n" in plan.text(asked, finished)
    # a run's training corrects the models' by a clock that its worker's start is on
    assert require(done, "train").usage.expected_seconds > train.stage(done.config).rate.start
    # one model is asked to be another
    another = protocols.IN_PLACE["whole_numbers"] | {"train": {"seed": 9}}
    monkeypatch.setitem(protocols.IN_PLACE, "whole_numbers", another)
    left = [row.expected.name for row in plan.plan(asked).rows if row.done < 1]
    assert left == ["seed_whole_numbers train", "protocols"]


def test_a_run_without_a_model_of_its_own_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NoModelError, match="trains no model of its own, since rule is set"):
        protocols.run(make_context(tmp_path, rule="rsi_reversion"))
