"""A run whose source is a service: what it has is fetched, read by the days asked for, and kept up to date."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from actors.connect import connect
from jobs import ingest, plan
from jobs.stage import Context, require
from quant.schemas import BARS, FUNDING
from storage.manifest import Manifest
from storage.store import open_store
from storage.tables import read_table
from tests.conftest import ROOT, random_walk
from tests.jobs import exchange_server
from tests.jobs.bucket import HTML, Bucket, Fault, serving
from tests.jobs.candles import klines
from tests.jobs.conftest import kill_once, make_context

pytestmark = pytest.mark.ray

TREE = "data/futures/um"
BTC, LUNA = random_walk(96 * 40, seed=1), random_walk(96 * 31, seed=2)  # from 2024-01-01 on


def publish(bucket: Bucket, symbol: str, bars: pd.DataFrame, period: str) -> None:
    kind = "monthly" if len(period) == len("2024-01") else "daily"
    bucket.put(f"{TREE}/{kind}/klines/{symbol}/15m/{symbol}-15m-{period}.zip", klines(bars.loc[period]))


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    with connect("local", 2):
        yield


@pytest.fixture
def bucket() -> Iterator[Bucket]:
    """A symbol with a month and the days after it, and one that was delisted."""
    bucket = Bucket()
    publish(bucket, "BTCUSDT", BTC, "2024-01")
    for day in pd.date_range("2024-02-01", "2024-02-08"):
        publish(bucket, "BTCUSDT", BTC, f"{day:%Y-%m-%d}")
    publish(bucket, "LUNAUSDT", LUNA, "2024-01")
    with serving(bucket):
        yield bucket


def context(server: Any, store: Path, source: str = "binance", **settings: Any) -> Context:
    given = {"bar": "15m", "endpoint": server.url, "rate": 1000.0, **settings}
    return make_context(store, source=source, run="first", ingest=given)


def bars_of(asked: Context, ticker: str) -> pd.DataFrame:
    return read_table(asked.store, asked.run, BARS, ticker)


def failures(manifest: Manifest) -> dict[str, str]:
    return {failure.ticker: failure.message for failure in manifest.failures}


@pytest.mark.usefixtures("cluster")
def test_bulk_data_becomes_bars_and_new_days_follow(bucket: Bucket, tmp_path: Path):
    asked = context(bucket, tmp_path)
    manifest = ingest.run(asked)
    assert list(manifest.tickers) == ["binance-um:BTCUSDT", "binance-um:LUNAUSDT"]
    pd.testing.assert_frame_equal(bars_of(asked, "binance-um:BTCUSDT"), BTC.loc[:"2024-02-08"], check_freq=False)
    pd.testing.assert_frame_equal(bars_of(asked, "binance-um:LUNAUSDT"), LUNA, check_freq=False)
    written = asked.store.stamp("runs/first/manifests/ingest.json")
    bucket.asked.clear()
    assert ingest.run(asked).result_hash == manifest.result_hash
    assert asked.store.stamp("runs/first/manifests/ingest.json") == written
    assert bucket.asked == bucket.listings()
    publish(bucket, "BTCUSDT", BTC, "2024-02-09")
    assert ingest.run(asked).tickers["binance-um:BTCUSDT"]["last"] == "2024-02-09 23:45:00+00:00"
    # a plan asks nobody
    bucket.asked.clear()
    assert plan.plan(asked).rows[0].done == 1
    assert bucket.asked == []


@pytest.mark.usefixtures("cluster")
def test_what_is_read_is_what_is_asked_for_whatever_else_the_archive_holds(bucket: Bucket, tmp_path: Path):
    few = {"tickers": ("BTCUSDT",), "since": "2024-01-20", "until": "2024-02-03"}
    fresh = ingest.run(context(bucket, tmp_path / "fresh", **few))
    ingest.run(context(bucket, tmp_path / "full"))
    again = context(bucket, tmp_path / "full", **few)
    assert ingest.run(again).result_hash == fresh.result_hash
    assert list(require(again, "ingest").tickers) == ["binance-um:BTCUSDT"]
    pd.testing.assert_frame_equal(
        bars_of(again, "binance-um:BTCUSDT"), BTC.loc["2024-01-20":"2024-02-03"], check_freq=False
    )


@pytest.mark.usefixtures("cluster")
def test_a_symbol_that_is_not_up_to_date_is_a_failure_and_not_read_as_it_was(bucket: Bucket, tmp_path: Path):
    asked = context(bucket, tmp_path, tickers=("BTCUSDT", "LUNAUSDT", "MOONUSDT"))
    assert list(failures(ingest.run(asked))) == ["binance-um:MOONUSDT"]
    publish(bucket, "BTCUSDT", BTC, "2024-02-09")
    bucket.always[f"{TREE}/daily/klines/BTCUSDT/15m/BTCUSDT-15m-2024-02-09.zip"] = Fault(body=HTML)
    manifest = ingest.run(asked)
    assert list(manifest.tickers) == ["binance-um:LUNAUSDT"]
    assert set(failures(manifest)) == {"binance-um:BTCUSDT", "binance-um:MOONUSDT"}
    assert "2024-02-09.zip" in failures(manifest)["binance-um:BTCUSDT"]
    bucket.always.clear()
    assert ingest.run(asked).tickers["binance-um:BTCUSDT"]["last"] == "2024-02-09 23:45:00+00:00"


@pytest.mark.usefixtures("cluster")
def test_an_exchange_becomes_bars_and_rates_and_new_bars_follow(tmp_path: Path):
    hours = BTC.index[32::32] + pd.Timedelta("3ms")
    rates = pd.Series(1e-4, hours)
    listed = [exchange_server.contract("BTCUSDT", "BTC")]
    now = BTC.index[-100] + pd.Timedelta("7min")
    with exchange_server.serving(exchange_server.Exchange({"BTCUSDT": BTC}, now, {"BTCUSDT": rates}, listed)) as server:
        asked = context(server, tmp_path, "ccxt:binanceusdm", funding="source", quote="USDT")
        manifest = ingest.run(asked)
        assert list(manifest.tickers) == ["binance-um:BTCUSDT"]
        pd.testing.assert_frame_equal(bars_of(asked, "binance-um:BTCUSDT"), BTC.iloc[:-100], check_freq=False)
        kept = read_table(asked.store, asked.run, FUNDING, "binance-um:BTCUSDT")["rate"]
        pd.testing.assert_series_equal(kept, rates[hours <= now], check_names=False, check_freq=False)
        server.now += pd.Timedelta("10h")
        again = ingest.run(asked)
        assert again.tickers["binance-um:BTCUSDT"]["rows"] == len(BTC) - 60
        without = ingest.run(context(server, tmp_path, "ccxt:binanceusdm"))
        assert without.tickers["binance-um:BTCUSDT"]["funding"] == 0


@pytest.mark.usefixtures("cluster")
def test_a_run_that_is_killed_while_it_fetches_ends_as_one_that_was_not(bucket: Bucket, tmp_path: Path):
    undisturbed = context(bucket, tmp_path / "undisturbed")
    expected = ingest.run(undisturbed).result_hash
    flags = ["--source", "binance", "--ingest.bar", "15m", "--ingest.endpoint", bucket.url, "--workers", "2"]
    command = [sys.executable, "-m", "jobs.ingest", *flags, "--store", str(tmp_path / "killed"), "--run", "first"]
    bucket.pause = 0.2
    killed = open_store(str(tmp_path / "killed"))
    kill_once(command, lambda: len(killed.list("archive")) >= 2, seconds=60)
    bucket.pause = 0.0
    again = context(bucket, tmp_path / "killed")
    assert ingest.run(again).result_hash == expected
    assert killed.list("archive") == undisturbed.store.list("archive")


def test_a_service_that_sends_a_web_page_is_refused_in_one_paragraph(bucket: Bucket, tmp_path: Path):
    bucket.always[f"?{TREE}/monthly/klines/"] = Fault(body=HTML)
    flags = ["--source", "binance", "--ingest.bar", "15m", "--ingest.endpoint", bucket.url, "--store", str(tmp_path)]
    command = [sys.executable, "-m", "jobs.ingest", *flags, "--run", "first", "--workers", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert "a web page came where a listing was due" in done.stderr.strip().splitlines()[-1]
