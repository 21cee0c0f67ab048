"""The archive of bulk data against a bucket on loopback, with what goes wrong with such buckets."""

import hashlib
import logging
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from actors.budget import Budget, shared
from actors.connect import connect
from actors.fan_out import fan_out
from jobs import bulk
from jobs.archive import Archive
from quant.bulk import BulkError
from storage.store import open_store
from storage.web import RefusedError, ServiceUnavailableError
from tests.conftest import ROOT
from tests.jobs.bucket import HTML, Bucket, Fault, fill, serving
from tests.jobs.conftest import make_context, serially

pytestmark = pytest.mark.ray

MONTHLY, DAILY = "data/futures/um/monthly/klines", "data/futures/um/daily/klines"


@contextmanager
def driver(store: Path, endpoint: str) -> Iterator[subprocess.Popen[bytes]]:
    """An update as a program of its own, which is killed at the end with its Ray and its workers, as by a power cut."""
    import psutil  # comes inside Ray, which has to be imported first

    command = [sys.executable, "-m", "tests.jobs.bulk_driving", str(store), endpoint]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        below = psutil.Process(process.pid).children(recursive=True)
        for each in [process, *below]:
            with suppress(psutil.NoSuchProcess, ProcessLookupError):
                each.send_signal(signal.SIGKILL)
        process.wait()


def days(first: str, count: int) -> list[str]:
    return [(date.fromisoformat(first) + timedelta(day)).isoformat() for day in range(count)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """A Ray with two workers, and a rate that holds nobody up: to start one takes longer than most updates."""
    with connect("local", 2), shared("tests", 2_000) as budget:
        _budget.append(budget)
        yield
        _budget.clear()


_budget: list[Budget] = []


@pytest.fixture
def bucket(cluster: None) -> Iterator[Bucket]:
    """Two symbols that are traded, one of which only began, and one that is so no more; a non-ASCII one."""
    bucket = Bucket(page=50)
    fill(bucket, "BTCUSDT", ["2024-01", "2024-02", "2024-03", *days("2024-01-01", 100)])
    fill(bucket, "币安人生USDT", days("2024-03-25", 3))
    fill(bucket, "LUNAUSDT", ["2022-04", "2022-05"])
    fill(bucket, "BTCUSDT", ["2024-03"], interval="1h")
    with serving(bucket):
        yield bucket


def updated(bucket: Bucket, store: Path, spread: Any = None, **ingest: Any) -> Archive:
    settings = {"bar": "15m", "endpoint": bucket.url, **ingest}
    context = make_context(store, source="binance", ingest=settings)
    return bulk.update(context, spread or fan_out, None if "rate" in ingest else _budget[0])


def kept(store: Path) -> dict[str, str]:
    opened = open_store(str(store))
    return {key: hashlib.sha256(opened.read(key)).hexdigest() for key in opened.list("archive")}


def names(store: Path) -> list[str]:
    return [key.rpartition("/")[2] for key in kept(store)]


def test_all_symbols_come_delisted_ones_too_months_first_and_days_only_beyond_them(bucket: Bucket, tmp_path: Path):
    archive = updated(bucket, tmp_path)
    assert archive == Archive("archive/binance-um", "binance", "um", {})
    btc = "archive/binance-um/15m/BTCUSDT/BTCUSDT-15m-2024-"
    chinese = "archive/binance-um/15m/%E5%B8%81%E5%AE%89%E4%BA%BA%E7%94%9FUSDT/%E5%B8%81%E5%AE%89%E4%BA%BA%E7%94%9FUSDT"
    assert list(kept(tmp_path)) == sorted(
        [f"{btc}{part}.zip" for part in ["01", "02", "03", *[f"04-0{day}" for day in range(1, 10)]]]
        + [f"archive/binance-um/15m/LUNAUSDT/LUNAUSDT-15m-2022-0{month}.zip" for month in (4, 5)]
        + [f"{chinese}-15m-{day}.zip" for day in days("2024-03-25", 3)]
    )
    for key in bucket.zips():
        name = key.rpartition("/")[2].replace("币安人生", "%E5%B8%81%E5%AE%89%E4%BA%BA%E7%94%9F")
        (stored,) = [each for each in kept(tmp_path) if each.endswith(f"/{name}")]
        assert kept(tmp_path)[stored] == hashlib.sha256(bucket.objects[key]).hexdigest()


def test_a_second_run_with_nothing_new_costs_listings_alone_and_not_those_of_days_in_months(
    bucket: Bucket, tmp_path: Path
):
    updated(bucket, tmp_path)
    before = kept(tmp_path)
    bucket.asked.clear()
    updated(bucket, tmp_path)
    assert kept(tmp_path) == before
    assert len(bucket.asked) == len(bucket.listings())
    # two of symbols; of each symbol its months, and its days: those of BTCUSDT fill 4 pages, of which 2 are passed over
    assert len(bucket.asked) == 2 + 3 + 2 + (1 + 1)
    later = [each.marker for each in bucket.listings() if each.prefix == f"{DAILY}/BTCUSDT/15m/" and each.marker]
    assert later == [f"{DAILY}/BTCUSDT/15m/BTCUSDT-15m-2024-03-31.zip.CHECKSUM"]


def test_a_new_month_takes_the_place_of_its_days_once_it_is_there(bucket: Bucket, tmp_path: Path):
    updated(bucket, tmp_path)
    april = f"{MONTHLY}/BTCUSDT/15m/BTCUSDT-15m-2024-04.zip"
    fill(bucket, "BTCUSDT", ["2024-04"])
    bucket.always[april] = Fault(403)
    assert "2024-04.zip was refused with 403" in updated(bucket, tmp_path).flaws["BTCUSDT"]
    assert "BTCUSDT-15m-2024-04-09.zip" in names(tmp_path)
    bucket.always.clear()
    bucket.asked.clear()
    assert updated(bucket, tmp_path).flaws == {}
    assert bucket.zips() == [april]
    assert [name for name in names(tmp_path) if "2024-04" in name] == ["BTCUSDT-15m-2024-04.zip"]


def test_days_that_were_left_behind_beside_their_month_go_and_do_not_come_back(bucket: Bucket, tmp_path: Path):
    updated(bucket, tmp_path)
    right = kept(tmp_path)
    left = "archive/binance-um/15m/BTCUSDT/BTCUSDT-15m-2024-02-03.zip"
    open_store(str(tmp_path)).write(left, b"as a killed run leaves it")
    updated(bucket, tmp_path)
    assert kept(tmp_path) == right
    bucket.remove(f"{MONTHLY}/BTCUSDT/15m/BTCUSDT-15m-2024-02.zip")  # the bucket loses it; the archive does not
    bucket.asked.clear()
    updated(bucket, tmp_path)
    assert kept(tmp_path) == right
    assert bucket.zips() == []


def test_a_file_that_was_published_anew_is_fetched_again(bucket: Bucket, tmp_path: Path):
    updated(bucket, tmp_path)
    key = f"{MONTHLY}/LUNAUSDT/15m/LUNAUSDT-15m-2022-05.zip"
    bucket.put(key, bucket.objects[key] + b"more")
    bucket.asked.clear()
    updated(bucket, tmp_path)
    assert bucket.zips() == [key]


def test_only_what_is_asked_for_is_fetched(bucket: Bucket, tmp_path: Path):
    fill(bucket, "BTCUSDT", ["2024-03", "2024-04"], interval="fundingRate")
    fill(bucket, "ETHBTC", ["2024-03"])
    updated(bucket, tmp_path, since="2024-03-30", until="2024-04-02", quote="USDT", funding="source")
    assert names(tmp_path) == [
        "BTCUSDT-15m-2024-03.zip",
        "BTCUSDT-15m-2024-04-01.zip",
        "BTCUSDT-15m-2024-04-02.zip",
        "BTCUSDT-fundingRate-2024-03.zip",
        "BTCUSDT-fundingRate-2024-04.zip",
    ]
    assert [key.split("/")[2] for key in kept(tmp_path)] == ["15m"] * 3 + ["funding"] * 2
    first = [each.marker for each in bucket.listings() if each.prefix == f"{DAILY}/BTCUSDT/15m/"]
    assert first == [f"{DAILY}/BTCUSDT/15m/BTCUSDT-15m-2024-03-31.zip.CHECKSUM"]


@pytest.mark.parametrize(
    ("market", "tree", "symbol"), [("spot", "spot", "ETHBTC"), ("cm", "futures/cm", "BTCUSD_PERP")]
)
def test_every_market_has_its_own_tree(bucket: Bucket, tmp_path: Path, market: str, tree: str, symbol: str):
    fill(bucket, symbol, ["2024-01"], market=tree)
    archive = updated(bucket, tmp_path, market=market)
    assert archive.prefix == f"archive/binance-{market}"
    assert list(kept(tmp_path)) == [f"archive/binance-{market}/15m/{symbol}/{symbol}-15m-2024-01.zip"]


def test_symbols_asked_for_are_listed_alone_and_unknown_or_climbing_ones_are_flaws(bucket: Bucket, tmp_path: Path):
    archive = updated(bucket, tmp_path, tickers=["binance-um:LUNAUSDT", "NONEUSDT", "../../x"])
    assert names(tmp_path) == ["LUNAUSDT-15m-2022-04.zip", "LUNAUSDT-15m-2022-05.zip"]
    assert set(archive.flaws) == {"NONEUSDT", "../../x"}
    assert "has no 15m files of NONEUSDT (um); check ingest.tickers" in archive.flaws["NONEUSDT"]
    assert "allowed are letters and digits" in archive.flaws["../../x"]
    assert {each.prefix.split("/")[5] for each in bucket.listings()} == {"LUNAUSDT", "NONEUSDT"}


def test_a_symbol_that_climbs_in_the_bucket_is_a_flaw_and_no_key(bucket: Bucket, tmp_path: Path):
    fill(bucket, "..", ["2024-01"])
    bucket.objects[f"{MONTHLY}/A*B/15m/A*B-15m-2024-01.zip"] = b"x"
    bucket.objects[f"{MONTHLY}/LUNAUSDT/15m/../../LUNAUSDT-15m-2022-06.zip"] = b"x"
    archive = updated(bucket, tmp_path)
    assert set(archive.flaws) == {"..", "A*B"}
    assert all("cannot be one" in flaw for flaw in archive.flaws.values())
    assert len(kept(tmp_path)) == 17


def test_what_passes_is_borne_with(bucket: Bucket, tmp_path: Path):
    updated(bucket, tmp_path / "undisturbed")
    key = f"{MONTHLY}/BTCUSDT/15m/BTCUSDT-15m-2024-0"
    bucket.faults[f"{key}1.zip"] = [Fault(503), Fault(cut=True), Fault(429, (("Retry-After", "1"),))]
    bucket.faults[f"{key}2.zip"] = [Fault(body=bytes(40)), Fault(slow=0.2)]  # a checksum that differs, once
    bucket.faults[f"{key}2.zip.CHECKSUM"] = [Fault(500), Fault(cut=True)]
    bucket.faults[f"?{MONTHLY}/"] = [Fault(502)]
    bucket.faults[f"?{DAILY}/BTCUSDT/15m/"] = [Fault(cut=True)]
    assert updated(bucket, tmp_path / "store").flaws == {}
    assert kept(tmp_path / "store") == kept(tmp_path / "undisturbed")


def test_what_lasts_is_the_flaw_of_one_symbol_and_costs_no_other(bucket: Bucket, tmp_path: Path):
    faulty = {
        "ADAUSDT": (".zip", Fault(body=bytes(40)), "has the checksum"),
        "BNBUSDT": (".zip.CHECKSUM", Fault(404), "has no checksum beside it"),
        "DOTUSDT": (".zip.CHECKSUM", Fault(body=HTML), "is a web page; it must hold 64"),
        "ETCUSDT": (
            ".zip",
            Fault(302, (("Location", "http://elsewhere.test/x"),)),
            "leads to 'http://elsewhere.test/x'",
        ),
        "FILUSDT": (".zip", Fault(body=bytes(10_000)), "that are allowed for it"),
        "KSMUSDT": (".zip", Fault(body=HTML[:60]), "it is a web page"),
    }
    for symbol, (ending, fault, _) in faulty.items():
        fill(bucket, symbol, ["2024-01", "2024-02"])
        bucket.always[f"{MONTHLY}/{symbol}/15m/{symbol}-15m-2024-01{ending}"] = fault
    fill(bucket, "XRPUSDT", ["2024-01"])
    bucket.always[f"?{MONTHLY}/XRPUSDT/15m/"] = Fault(body=HTML)
    archive = updated(bucket, tmp_path)
    assert set(archive.flaws) == {*faulty, "XRPUSDT"}
    for symbol, (_, _, words) in faulty.items():
        assert words in archive.flaws[symbol]
        assert "\n" not in archive.flaws[symbol]
    assert "a web page came where a listing was due" in archive.flaws["XRPUSDT"]
    there = names(tmp_path)
    assert len(there) == 17 + len(faulty)
    assert all(f"{symbol}-15m-2024-02.zip" in there for symbol in faulty)


def test_a_hold_of_one_worker_holds_all(bucket: Bucket, tmp_path: Path):
    fill(bucket, "BTCUSDT", ["2022-01", "2022-02", "2022-03", "2022-04"])
    # so many that they last until the other worker has begun
    fill(bucket, "ETHUSDT", [f"{year}-{month:02d}" for year in range(2019, 2022) for month in range(1, 13)])
    bucket.faults[f"{MONTHLY}/BTCUSDT/15m/BTCUSDT-15m-2022-01.zip"] = [Fault(429, (("Retry-After", "1"),))]
    updated(bucket, tmp_path, tickers=["BTCUSDT", "ETHUSDT"], rate=20.0)
    refused = next(each.at for each in bucket.asked if each.key.endswith("BTCUSDT-15m-2022-01.zip"))
    # what is under way when the hold becomes known still comes; without one it would be fourteen and more
    assert sum(refused + 0.25 < each.at < refused + 0.95 for each in bucket.asked) <= 3
    later = [each for each in bucket.asked if each.at >= refused + 0.95]
    assert {each.key.split("/")[5] for each in later} == {"BTCUSDT", "ETHUSDT"}


def test_two_workers_share_the_rate(bucket: Bucket, tmp_path: Path):
    for symbol in ("ETHUSDT", "XRPUSDT"):
        fill(bucket, symbol, ["2023-01", "2023-02", "2023-03", "2023-04"])
    began = time.monotonic()
    updated(bucket, tmp_path, tickers=["ETHUSDT", "XRPUSDT"], rate=5.0)
    times = sorted(each.at - began for each in bucket.asked)
    assert len(times) == 2 * (2 + 8)
    # a request comes later than it was granted, and never earlier
    assert all(at >= (number - 1) / 5 for number, at in enumerate(times))


def test_killed_in_the_middle_the_next_run_ends_as_undisturbed(bucket: Bucket, tmp_path: Path):
    fill(bucket, "ETHUSDT", [f"2023-{month:02d}" for month in range(1, 13)])
    updated(bucket, tmp_path / "undisturbed")
    bucket.asked.clear()
    slow = f"{MONTHLY}/ETHUSDT/15m/ETHUSDT-15m-2023-06.zip"
    bucket.always[slow] = Fault(slow=5.0)
    bucket.pause = 0.05
    with driver(tmp_path / "store", bucket.url) as process:
        deadline = time.monotonic() + 60
        while slow not in bucket.zips() or len(names(tmp_path / "store")) < 3:
            assert time.monotonic() < deadline, "the update never got there"
            assert process.poll() is None, "the update ended before it could be killed"
            time.sleep(0.02)
    bucket.always.clear()
    bucket.pause = 0.0
    time.sleep(0.2)  # what was asked for last is answered
    before = kept(tmp_path / "store")
    undisturbed = kept(tmp_path / "undisturbed")
    assert 3 <= len(before) < len(undisturbed)
    bucket.asked.clear()
    updated(bucket, tmp_path / "store")
    assert kept(tmp_path / "store") == undisturbed
    assert len(bucket.zips()) == len(undisturbed) - len(before)


def test_a_service_that_is_gone_ends_the_update_and_not_each_file_in_its_turn(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(bulk, "ATTEMPTS", 2)
    for key in list(bucket.objects):
        bucket.always[key] = Fault(503)
    with pytest.raises(ServiceUnavailableError, match=r"gave no usable answer in 2 attempts .* answered 503"):
        updated(bucket, tmp_path, spread=serially)
    assert kept(tmp_path) == {}
    gone = [key for key in bucket.objects if "LUNAUSDT-15m-2022-05" in key]
    bucket.always = {key: Fault(503) for key in gone}
    archive = updated(bucket, tmp_path, spread=serially)  # a single file that is not served is nothing of the kind
    assert set(archive.flaws) == {"LUNAUSDT"}


def test_what_is_to_come_is_said_before_it_comes(bucket: Bucket, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.INFO, "assay"):
        updated(bucket, tmp_path)
    told = next(line for line in caplog.messages if "to fetch" in line)
    assert told.startswith("bulk: 17 files (")
    assert "of 3 symbols to fetch, at 20 requests a second at most; of 0 nothing is missing" in told


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"bar": None}, BulkError, "one of 1s, 1m, 3m, 5m, 15m, 30m, 1h"),
        ({"market": "stock"}, BulkError, "'stock'; for Binance's bulk data it must be one of um, cm, spot"),
        ({"since": "2024-02-01", "until": "2024-01-01"}, BulkError, "after ingest.until"),
        ({"quote": "EUR"}, BulkError, r"no symbols that end with EUR \(ingest.quote\)"),
        ({"endpoint": "ftp://127.0.0.1/x"}, RefusedError, "allowed are http://host"),
        ({"endpoint": "http://me:secret@127.0.0.1/"}, RefusedError, "carries credentials"),
    ],
)
def test_settings_that_the_service_does_not_know_are_refused(
    bucket: Bucket, tmp_path: Path, settings: dict[str, Any], error: type[Exception], words: str
):
    with pytest.raises(error, match=words) as caught:
        updated(bucket, tmp_path, **settings)
    assert "secret" not in str(caught.value)
