"""What the driver gathers of many tickers by tasks: the same in whatever order they finish, and all or nothing."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from actors.outcome import Outcome, ShardError
from jobs import ingest, market, sessions, shortlist
from jobs.gather import GatherError
from jobs.stage import Context, StageMissingError, require
from quant.metrics import daily_returns
from quant.schemas import EQUITY, SESSIONS
from storage.manifest import write_manifest
from storage.tables import read_table, write_table
from tests.conftest import random_walk
from tests.jobs.conftest import make_context, serially


def scattered(function: Any, shards: list[list[Any]], *, shared: Any = None, **_: Any) -> Iterator[Outcome[Any, Any]]:
    """The fan-out as a loop over single items, the last one first."""
    for item in reversed([item for shard in shards for item in shard]):
        yield Outcome([item], function([item], shared), None)


def failing(function: Any, shards: list[Any], **_: Any) -> Iterator[Outcome[Any, Any]]:
    yield Outcome(shards[0], None, ShardError("system", "NodeDiedError", "the node died", ""))


def refused(function: Any, shards: list[Any], **_: Any) -> Iterator[Outcome[Any, Any]]:
    raise AssertionError("a task was started")


@pytest.fixture
def curves(tmp_path: Path) -> tuple[Context, dict[str, pd.Series]]:
    """A run with the equity of five tickers, each traded on days of its own; one was never traded."""
    context = make_context(tmp_path / "store", run="first")
    found = {}
    for number in range(5):
        days = pd.date_range(
            f"2024-01-0{1 + number}", periods=0 if number == 2 else 6, tz="UTC", unit="us", name="time"
        )
        growth = np.random.default_rng(number).normal(1.0, 0.02, len(days))
        found[f"local-um:T{number}"] = pd.Series(np.cumprod(growth), index=days)
    for ticker, curve in found.items():
        frame = pd.DataFrame({"strategy": curve, "buy_and_hold": curve})
        write_table(context.store, context.run, EQUITY, frame, ticker)
    return context, found


def test_the_returns_of_the_candidates_are_gathered_in_their_own_order(curves: tuple[Context, dict[str, pd.Series]]):
    context, known = curves
    names = sorted(known)
    found = shortlist.candidate_returns(context, names, scattered)
    traded = {name: daily_returns(known[name]) for name in names if len(known[name])}
    pd.testing.assert_frame_equal(found, pd.DataFrame(traded), check_freq=False)
    pd.testing.assert_frame_equal(found, shortlist.candidate_returns(context, names, serially), check_freq=False)
    assert shortlist.candidate_returns(context, [], refused).empty


def test_a_part_never_passes_for_the_whole(curves: tuple[Context, dict[str, pd.Series]]):
    context, known = curves
    with pytest.raises(GatherError, match=r"returns: the node died \(NodeDiedError\)"):
        shortlist.candidate_returns(context, sorted(known), failing)


@pytest.fixture
def closing(tmp_path: Path) -> Context:
    """Two stocks of 60 days, one of which lacks the thirtieth, the other the tenth and the last five."""
    folder = tmp_path / "stocks"
    folder.mkdir()
    days = pd.bdate_range("2024-01-01", periods=60, tz="UTC", unit="us", name="time")
    whole = random_walk(60).set_index(days)
    whole.drop(index=days[29]).reset_index().to_parquet(folder / "AAA.parquet")
    whole.drop(index=[days[9], *days[-5:]]).reset_index().to_parquet(folder / "BBB.parquet")
    settings = {"calendar": "sessions", "market": "stock"}
    return make_context(tmp_path / "store", source=str(folder), run="first", ingest=settings)


def test_sessions_are_those_of_any_ticker_and_found_once(closing: Context):
    manifest = ingest.run(closing, fan_out=scattered)
    days = pd.bdate_range("2024-01-01", periods=60, tz="UTC", unit="us")
    found = market.calendar(closing, manifest)
    assert isinstance(found, pd.DatetimeIndex)
    assert found.equals(days)
    assert read_table(closing.store, closing.run, SESSIONS).index.equals(days)
    ingest.run(closing, fan_out=refused)


def test_sessions_of_other_bars_are_not_taken_for_those_of_these(closing: Context):
    manifest = ingest.run(closing, fan_out=serially)
    source = Path(closing.config.source)
    random_walk(3).set_index(pd.bdate_range("2024-06-03", periods=3, tz="UTC", name="time")).reset_index().to_parquet(
        source / "CCC.parquet"
    )
    found = market.calendar(closing, ingest.run(closing, fan_out=serially))
    assert isinstance(found, pd.DatetimeIndex)
    assert len(found) == 63
    done = require(closing, "sessions")
    for stale in (replace(done, inputs={"ingest": manifest.result_hash}), None):
        closing.store.delete("runs/first/manifests/sessions.json")
        if stale:
            write_manifest(closing.store, closing.run, stale)
        with pytest.raises(StageMissingError, match=r"has no sessions of its bars\. Run `python -m jobs\.ingest`"):
            market.calendar(closing, manifest)


def test_without_sessions_none_are_looked_for(tmp_path: Path):
    folder = tmp_path / "candles"
    folder.mkdir()
    random_walk(60).reset_index().to_parquet(folder / "AAAUSDT.parquet")
    context = make_context(tmp_path / "store", source=str(folder), run="first")
    manifest = ingest.run(context, fan_out=serially)
    assert market.calendar(context, manifest) == pd.Timedelta("15min")
    assert not context.store.exists("runs/first/manifests/sessions.json")
    sessions.run(context, refused)
