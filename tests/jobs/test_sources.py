import gzip
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from jobs import sources
from jobs.config_data import Ingest
from jobs.sources import File, Source, SourceError, by_ticker, files, of_files, of_the_library
from quant.bars import instants
from storage.store import open_store
from tests.conftest import random_walk

BARS = random_walk(50).reset_index()
INGEST = Ingest()
COLUMNS = ["time", "open", "high", "low", "close", "volume"]


def freqtrade_rows() -> list[list[float]]:
    milliseconds = BARS["time"].dt.as_unit("ms").astype("int64")
    return [[int(time), *map(float, row)] for time, row in zip(milliseconds, BARS[COLUMNS[1:]].to_numpy(), strict=True)]


def discover(url: str, settings: Ingest) -> list[Source]:
    return by_ticker(of_files(files(url, settings), settings))


def read(source: Source, settings: Ingest = INGEST) -> pd.DataFrame:
    """Rows of a source, with its times as times."""
    found = sources.read(source, settings).bars
    assert found is not None
    return found.assign(time=instants(found))


def only(folder: Path) -> pd.DataFrame:
    (source,) = discover(str(folder), INGEST)
    return read(source)


def test_reads_one_parquet_a_ticker(tmp_path: Path):
    BARS.to_parquet(tmp_path / "BTCUSDT.parquet")
    BARS.set_index("time").to_parquet(tmp_path / "ETHUSDT.P.parquet")
    sources = discover(str(tmp_path), INGEST)
    assert [source.ticker for source in sources] == ["local-um:BTCUSDT", "local-um:ETHUSDT"]
    for source in sources:
        pd.testing.assert_frame_equal(read(source)[COLUMNS], BARS, check_dtype=False)


@pytest.mark.parametrize("unit", ["json", "json.gz", "feather"])
def test_reads_freqtrade_files(tmp_path: Path, unit: str):
    path = tmp_path / f"ETH_USDT_USDT-15m-futures.{unit}"
    if unit == "feather":
        BARS.rename(columns={"time": "date"}).to_feather(path)
    else:
        text = json.dumps(freqtrade_rows()).encode()
        path.write_bytes(gzip.compress(text) if unit.endswith("gz") else text)
    (source,) = discover(str(tmp_path), INGEST)
    assert source.ticker == "local-um:ETHUSDT"
    pd.testing.assert_frame_equal(read(source)[COLUMNS], BARS, check_dtype=False)


def test_reads_a_wide_file_and_leaves_out_bars_before_a_listing(tmp_path: Path):
    wide = pd.concat({"AAAUSDT": BARS.set_index("time"), "BBBUSDT": BARS.set_index("time").iloc[10:]}, axis=1)
    wide.index = wide.index.tz_localize(None)
    wide.to_parquet(tmp_path / "wide.parquet")
    first, second = discover(str(tmp_path / "wide.parquet"), INGEST)
    assert (first.symbol, second.symbol) == ("AAAUSDT", "BBBUSDT")
    assert len(read(first)) == 50
    assert len(read(second)) == 40


def test_a_wide_file_that_changed_is_opened_anew(tmp_path: Path):
    for rows in (50, 40):
        bars = BARS.set_index("time").iloc[:rows]
        pd.concat({"AAAUSDT": bars, "BBBUSDT": bars * 2}, axis=1).to_parquet(tmp_path / "wide.parquet")
        first, second = discover(str(tmp_path / "wide.parquet"), INGEST)
        assert (len(read(first)), len(read(second))) == (rows, rows)
        np.testing.assert_array_equal(read(second)["close"], 2 * read(first)["close"])


def test_a_wide_file_without_a_field_says_so_for_its_ticker(tmp_path: Path):
    bars = BARS.set_index("time")
    pd.concat({"AAAUSDT": bars, "BBBUSDT": bars.drop(columns="low")}, axis=1).to_parquet(tmp_path / "wide.parquet")
    first, second = discover(str(tmp_path), INGEST)
    with pytest.raises(SourceError, match=r"wide\.parquet: it has no low for BBBUSDT"):
        read(second)
    assert len(read(first)) == 50


def test_only_files_of_another_length_are_an_error(tmp_path: Path):
    (tmp_path / "ETH_USDT_USDT-15m-futures.json").write_text(json.dumps(freqtrade_rows()), encoding="utf-8")
    with pytest.raises(SourceError, match=r"None of the 1 files at .* has bars of 1h"):
        discover(str(tmp_path), Ingest(bar="1h"))


def test_reads_from_any_store():
    store = open_store("memory://somewhere/candles")
    path = BARS.to_parquet()
    store.write("deep/BTCUSDT.parquet", path)
    for url in ("memory://somewhere/candles", "memory://somewhere", "memory://somewhere/"):
        (source,) = discover(url, INGEST)
        assert len(read(source)) == 50


def test_one_ticker_in_two_files_costs_no_other(tmp_path: Path):
    for name in ("ETH_USDT_USDT-15m-futures.json", "ETH_USDT_USDT-1h-futures.json", "BTC_USDT_USDT-15m-futures.json"):
        (tmp_path / name).write_text(json.dumps(freqtrade_rows()), encoding="utf-8")
    first, second = discover(str(tmp_path), INGEST)
    assert len(read(first)) == 50
    with pytest.raises(SourceError, match=r"both .*15m-futures\.json and .*1h-futures\.json hold local-um:ETHUSDT"):
        read(second)
    assert len(read(discover(str(tmp_path), Ingest(bar="15m"))[1])) == 50


def test_a_name_in_nobodys_form_is_its_own_ticker(tmp_path: Path):
    (tmp_path / "币安人生.json").write_text(json.dumps(freqtrade_rows()), encoding="utf-8")
    (source,) = discover(str(tmp_path), INGEST)
    assert source.ticker == "local-um:币安人生"


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("BTCUSDT.parquet", b"", r"BTCUSDT\.parquet: the file is empty \(0 bytes\)"),
        ("BTCUSDT.parquet", BARS.to_parquet()[:-100], r"the file is truncated or broken"),
        ("BTC_USDT-15m.json", b"[[1, 2", r"the JSON is truncated or broken"),
        ("BTC_USDT-15m.json", b"{}", r"the JSON is a message, not candles"),
        ("BTC_USDT-15m.json", b"<html></html>", r"is a web page"),
        ("BTC_USDT-15m.json.gz", gzip.compress(b"[[1,2,3,4,5,6]]", mtime=0)[:-6], r"the gzip is truncated or broken"),
        ("BTC_USDT-15m.feather", b"version https://git-lfs.github.com/spec/v1\n", r"is a git-LFS pointer"),
        ("BTC_USDT-15m.feather", b"ARROW1", r"the file is truncated or broken"),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, name: str, content: bytes, complaint: str):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match=complaint) as caught:
        only(tmp_path)
    assert "\n" not in str(caught.value)


WIDE = pd.concat({name: BARS.set_index("time") for name in ("AAAUSDT", "BBBUSDT")}, axis=1)
LONG = pd.concat([BARS.assign(symbol=name) for name in ("AAAUSDT", "BBBUSDT")])


@pytest.mark.parametrize(
    "whole",
    [WIDE.to_parquet(), LONG.to_parquet(row_group_size=30), LONG.astype({"symbol": "category"}).to_parquet()],
    ids=["wide", "long", "categories"],
)
def test_whatever_bytes_change_in_a_market_it_is_read_or_refused_in_a_sentence(whole: bytes):
    generator = np.random.default_rng(1)
    store = open_store("memory://changed")
    refused = 0
    for number in range(150):
        data = np.frombuffer(whole, dtype=np.uint8).copy()
        if number % 3 == 0:
            data = data[: generator.integers(len(data))]
        else:
            places = generator.integers(len(data), size=generator.choice([1, 3, 20]))
            data[places] = generator.integers(256, size=len(places))
        store.write("changed.parquet", data.tobytes())
        for source in by_ticker(of_files([File(store.url, "changed.parquet", f"{len(data)}-{number}", "")], INGEST)):
            try:
                sources.read(source, INGEST)
            except SourceError as error:
                assert "\n" not in str(error)
                refused += 1
    assert refused > 50


def test_nothing_to_read_is_an_error(tmp_path: Path):
    with pytest.raises(SourceError, match=r"no candles at .*no such directory"):
        discover(str(tmp_path / "absent"), INGEST)
    (tmp_path / "notes.txt").write_text("x", encoding="utf-8")
    with pytest.raises(SourceError, match=r"no file in it ends in .*\.parquet"):
        discover(str(tmp_path), INGEST)
    with pytest.raises(SourceError, match="There is no file at"):
        discover(str(tmp_path / "absent.parquet"), INGEST)


def test_samples_come_with_the_backtesting_package():
    assert {source.ticker for source in of_the_library()} == {
        "samples:GOOG",
        "samples:EURUSD",
        "samples:BTCUSD",
    }
    assert len(read(of_the_library()[1])) > 1000
