"""An old shortlist judged again on newer bars, as a plain loop on a small market."""

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from jobs import backtest, ingest, pipeline, placebo, predict, search, shortlist
from jobs import market as of_the_run
from jobs.market import MarketError
from jobs.search import RejudgeError
from jobs.stage import Context, require
from quant import engine
from quant.parameters import from_row
from quant.schemas import SHORTLIST, TRADES, TRIALS
from storage.tables import read_table
from tests.jobs.conftest import TICKERS, make_context, serially, write_signals

LENIENT = {"deflated_sharpe": None, "false_discovery_rate": None, "minimum_return": None, "minimum_trades": 1}
NEWER = slice(3_000, None)


def judged(folder: Path, source: Path, run: str, **settings: Any) -> Context:
    """A run up to its shortlist."""
    signals = write_signals(folder / f"{run}.parquet", source)
    given: dict[str, Any] = {
        "source": str(source),
        "signals": str(signals),
        "run": run,
        "search": {"trials": 4, "folds": 0, "minimum_trades": 1},
        "costs": {"commission": 0.0},
        "shortlist": LENIENT,
    }
    context = make_context(folder / "store", **{**given, **settings})
    for job in (ingest, predict, search, placebo, backtest):
        job.run(context, fan_out=serially)
    shortlist.run(context, fan_out=serially)
    return context


@pytest.fixture
def old(market: Path, tmp_path: Path) -> Path:
    """The market as it was when it had three quarters of its bars."""
    folder = tmp_path / "old"
    folder.mkdir()
    for ticker in TICKERS:
        pd.read_parquet(market / f"{ticker}.parquet").iloc[: NEWER.start].to_parquet(folder / f"{ticker}.parquet")
    return folder


@pytest.fixture
def first(old: Path, tmp_path: Path) -> Context:
    return judged(tmp_path, old, "january")


def test_the_shortlisted_are_judged_on_the_newer_bars_with_their_old_parameters(
    first: Context, market: Path, tmp_path: Path
):
    listed = require(first, "shortlist").details["shortlisted"]
    assert listed
    again = judged(tmp_path, market, "february", rejudge="january")
    part = of_the_run.parts(again, of_the_run.of(again))["judge"]
    assert str(part.start) == require(first, "backtest").config["part"][1]
    verdicts = read_table(again.store, again.run, SHORTLIST)
    assert sorted(verdicts["ticker"]) == sorted(listed)
    ticker = listed[0]
    chosen = from_row(require(first, "search").tickers[ticker]["chosen"])
    assert from_row(read_table(again.store, again.run, TRIALS, ticker).iloc[0]) == chosen
    stretch = of_the_run.stretch(again, ticker, part)
    assert stretch.bars.index[0] == part.start
    assert len(stretch.bars) == 1_000
    expected = engine.replay(stretch.bars, stretch.signal, chosen, search.costs(again), close_at_end=True).trades
    assert read_table(again.store, again.run, TRADES, ticker)["pnl"].tolist() == expected["pnl"].tolist()


def test_a_ticker_that_the_newer_source_lacks_is_a_failure_of_its_own(first: Context, market: Path, tmp_path: Path):
    gone, *rest = require(first, "shortlist").details["shortlisted"]
    folder = tmp_path / "new"
    shutil.copytree(market, folder)
    (folder / f"{gone.partition(':')[2]}.parquet").unlink()
    again = judged(tmp_path, folder, "february", rejudge="january")
    failures = require(again, "search").failures
    assert [failure.ticker for failure in failures] == [gone]
    assert "was shortlisted by run 'january'" in failures[0].message
    assert sorted(read_table(again.store, again.run, SHORTLIST)["ticker"]) == sorted(rest)


def test_without_newer_bars_there_is_nothing_to_judge(first: Context, old: Path, tmp_path: Path):
    assert require(first, "shortlist").details["shortlisted"]
    with pytest.raises(MarketError, match="run 'january' has judged all until"):
        judged(tmp_path, old, "february", rejudge="january")


def test_an_empty_shortlist_cannot_be_judged_again(old: Path, market: Path, tmp_path: Path):
    judged(tmp_path, old, "january", shortlist={"minimum_trades": 10_000})
    with pytest.raises(RejudgeError, match="run 'january' shortlisted no ticker"):
        judged(tmp_path, market, "february", rejudge="january")


@pytest.mark.ray
def test_the_whole_pipeline_judges_again_and_reports(first: Context, market: Path, tmp_path: Path):
    from actors.connect import connect

    again = judged(tmp_path, market, "february", rejudge="january")
    with connect(None, 2):
        pipeline.run(again)
    assert b"report" in again.store.read("runs/february/report.html")
