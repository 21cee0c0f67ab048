"""The whole path on real Ray: the same result however many workers, and whatever is killed on the way."""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from actors.connect import connect
from jobs import market as market_parts
from jobs import pipeline, report_tickers
from jobs.stage import Context, require
from quant.schemas import BARS, EQUITY, FOLDS, METRICS, REPORT_FIGURES, SHORTLIST, TRADES, TRIALS
from storage import layout
from storage.hashing import frame_hash
from storage.manifest import Manifest, read_manifest
from storage.tables import read_table
from tests.conftest import ROOT
from tests.jobs.conftest import kill_once, make_context, serially

pytestmark = pytest.mark.ray

STAGES = ("ingest", "predict", "search", "backtest", "shortlist", "pipeline")


def run(context: Context, workers: int) -> Manifest:
    with connect(None, workers):
        return pipeline.run(Context(context.config, context.store, workers))


@pytest.fixture(scope="module")
def undisturbed(market: Path, signals: Path, tmp_path_factory: pytest.TempPathFactory) -> Context:
    """A finished run with one worker."""
    store = tmp_path_factory.mktemp("undisturbed")
    context = make_context(store, source=str(market), signals=str(signals), run="first")
    run(context, 1)
    return context


def result_hash(context: Context) -> str:
    manifest = read_manifest(context.store, context.run, "pipeline")
    assert manifest is not None
    return manifest.result_hash


@pytest.mark.parametrize("workers", [2, 4])
def test_the_result_does_not_depend_on_the_number_of_workers(undisturbed: Context, context: Context, workers: int):
    assert run(context, workers).result_hash == result_hash(undisturbed)


def test_all_tables_are_there_and_agree(undisturbed: Context):
    store, name = undisturbed.store, undisturbed.run
    verdicts = read_table(store, name, SHORTLIST)
    assert len(verdicts) == 4
    for ticker in verdicts["ticker"]:
        trials = read_table(store, name, TRIALS, ticker)
        assert trials["chosen"].sum() <= 1
        assert len(trials) == 8
        trades, metrics = read_table(store, name, TRADES, ticker), read_table(store, name, METRICS, ticker)
        judge = metrics.set_index("part").loc["judge"]
        assert judge["trades"] == len(trades) > 0
        equity = read_table(store, name, EQUITY, ticker)["strategy"]
        assert equity.iloc[-1] - 1 == pytest.approx(judge["total_return"])
        assert trades["pnl"].sum() / undisturbed.config.costs.cash == pytest.approx(judge["total_return"])


def test_pandas_reads_the_tables_straight_from_their_directory(undisturbed: Context):
    folder = undisturbed.store.address(layout.tables(undisturbed.run, "trades"))
    trades = pd.read_parquet(folder)
    assert set(trades["ticker"].astype(str)) == {f"local-um:{name}USDT" for name in ("AAA", "BBB", "CCC", "DDD")}


def test_the_report_and_the_exports_are_written(undisturbed: Context):
    page = undisturbed.store.read(layout.report(undisturbed.run)).decode()
    assert result_hash(undisturbed) in page
    exported = [
        undisturbed.store.read(layout.export(undisturbed.run, f"custom_assets.{end}")) for end in ("json", "txt")
    ]
    assert exported[0] == exported[1]
    json.loads(exported[0])
    table = pd.read_csv(io.BytesIO(undisturbed.store.read(layout.export(undisturbed.run, "shortlist.csv"))))
    same = pd.read_parquet(io.BytesIO(undisturbed.store.read(layout.export(undisturbed.run, "shortlist.parquet"))))
    assert (
        table["ticker"].tolist()
        == same["ticker"].tolist()
        == read_table(undisturbed.store, undisturbed.run, SHORTLIST)["ticker"].tolist()
    )
    assert table["stop_loss_long"].notna().any()
    pairs = json.loads(undisturbed.store.read(layout.export(undisturbed.run, "freqtrade", "pair_list.json")))
    assert pairs["timeframe"] == "15m"
    compile(
        undisturbed.store.read(layout.export(undisturbed.run, "freqtrade", "AssayBracket.py")), "AssayBracket", "exec"
    )


def test_what_the_report_shows_of_a_ticker_is_what_the_tables_hold(undisturbed: Context):
    store, name = undisturbed.store, undisturbed.run
    shortlist, searched = read_table(store, name, SHORTLIST), require(undisturbed, "search")
    details = report_tickers.details(undisturbed, shortlist, searched, require(undisturbed, "backtest"), serially)
    judge = market_parts.parts(undisturbed, market_parts.of(undisturbed))["judge"]
    figures = read_table(store, name, REPORT_FIGURES).set_index(["section", "ticker", "name"])["value"]
    assert figures["verdict", "", "tickers: Tickers in the run"] == len(details) == 4
    for ticker, detail in details.items():
        assert detail.picture is not None
        pd.testing.assert_frame_equal(detail.picture.trades, read_table(store, name, TRADES, ticker))
        bars = read_table(store, name, BARS, ticker)
        inside = bars[judge.rows(bars.index)]
        assert (detail.picture.bars, detail.picture.candles.index[0]) == (1, inside.index[0])
        pd.testing.assert_frame_equal(
            detail.picture.candles, inside[["open", "high", "low", "close"]], check_freq=False
        )
        pd.testing.assert_frame_equal(detail.equity, read_table(store, name, EQUITY, ticker))
        pd.testing.assert_frame_equal(detail.folds, read_table(store, name, FOLDS, ticker))
        found, known = detail.neighbourhood, searched.tickers[ticker]
        assert (found is None) == (known["chosen"] is None)
        if found is not None:
            stability = known["evidence"]["stability"]
            ratio = found.median / found.score if found.score > 0 else None
            assert ratio == (None if stability is None else pytest.approx(stability, nan_ok=True))
            assert figures["ticker", ticker, "neighbours: median score"] == pytest.approx(found.median, nan_ok=True)


def test_a_second_run_does_no_stage_again(undisturbed: Context):
    store = undisturbed.store
    before = {stage: store.stamp(layout.manifest(undisturbed.run, stage)) for stage in STAGES[:-1]}
    tables = store.stamps(f"{layout.run_prefix(undisturbed.run)}/tables/trades")
    run(undisturbed, 2)
    assert {stage: store.stamp(layout.manifest(undisturbed.run, stage)) for stage in STAGES[:-1]} == before
    assert store.stamps(f"{layout.run_prefix(undisturbed.run)}/tables/trades") == tables


def command(context: Context) -> list[str]:
    config = context.config
    return [
        sys.executable, "-m", "jobs.pipeline", "--source", config.source, "--signals", str(config.signals),
        "--store", config.store, "--run", config.run, "--workers", "2",
    ]  # fmt: skip


def test_a_driver_killed_twice_is_resumed_to_the_same_result(undisturbed: Context, context: Context):
    """SIGKILL once the search has left its first table, and once more at the first of the backtests."""
    for table in ("trials", "trades"):
        kill_once(command(context), lambda: context.store.list(layout.tables(context.run, table)), seconds=300)  # noqa: B023
        assert read_manifest(context.store, context.run, "pipeline") is None
    outcome = subprocess.run(command(context), cwd=ROOT, capture_output=True, text=True, check=False)
    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stdout.strip().splitlines()[-1].startswith("report: ")
    assert result_hash(context) == result_hash(undisturbed)


def children(pid: int) -> Iterator[tuple[int, str]]:
    """Process numbers and titles of everything below a process."""
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(status.read_text().rpartition(")")[2].split()[1]) == pid:
                child = int(status.parent.name)
                yield child, (status.parent / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                yield from children(child)


def test_a_killed_worker_changes_nothing(undisturbed: Context, context: Context):
    process = subprocess.Popen(command(context), cwd=ROOT, start_new_session=True, stderr=subprocess.DEVNULL)
    deadline, killed = time.monotonic() + 120, None
    try:
        while killed is None:
            assert time.monotonic() < deadline, "no worker was seen at work"
            assert process.poll() is None, "the run ended before a worker could be killed"
            killed = next((pid for pid, title in children(process.pid) if title.startswith("ray::search")), None)
        os.kill(killed, signal.SIGKILL)
        assert process.wait(120) == 0
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert result_hash(context) == result_hash(undisturbed)


def test_an_unknown_ticker_among_the_signals_fails_alone(market: Path, signals: Path, tmp_path: Path):
    frame = pd.read_parquet(signals)
    stranger = frame[frame["ticker"] == "AAAUSDT"].assign(ticker="NOPEUSDT")
    pd.concat([frame, stranger]).to_csv(tmp_path / "signals.csv", index=False)
    context = make_context(tmp_path / "store", source=str(market), signals=str(tmp_path / "signals.csv"))
    manifest = run(context, 2)
    assert [(failure.ticker, failure.stage) for failure in manifest.failures] == [("NOPEUSDT", "predict")]
    assert "no bars" in manifest.failures[0].message
    assert len(read_table(context.store, context.run, SHORTLIST)) == 4


def test_changing_one_trade_changes_the_hash(undisturbed: Context):
    trades = read_table(undisturbed.store, undisturbed.run, TRADES, "local-um:AAAUSDT")
    before = frame_hash(trades, TRADES)
    trades.loc[0, "pnl"] = np.nextafter(trades.loc[0, "pnl"], np.inf) + 1.0
    assert frame_hash(trades, TRADES) != before
