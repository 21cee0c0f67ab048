"""Files as a quant has them, through ingest: real originals, parts of a history, funding rates, long files."""

import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from jobs import ingest, market
from jobs.config_data import Ingest
from jobs.market import MarketError
from jobs.sources import SourceError
from jobs.stage import AllFailedError, Context
from quant.schemas import BARS, FUNDING, QUARANTINE
from storage.manifest import Manifest
from storage.tables import read_table
from tests.conftest import random_walk
from tests.jobs.candles import klines
from tests.jobs.conftest import make_context, serially

POINTER = "lfs_pointer_BTC_USDT_USDT-15m-futures.feather"
BARS_OF_MONTHS = random_walk(96 * 70)  # 2024-01-01 to 2024-03-10
HOURS = pd.date_range("2024-01-01", periods=200, freq="8h", tz="UTC")


def ingested(source: Path, tmp_path: Path, **settings: object) -> tuple[Context, Manifest]:
    context = make_context(tmp_path / "store", source=str(source), run="first", ingest=settings)
    return context, ingest.run(context, fan_out=serially)


def bars_of(context: Context, ticker: str) -> pd.DataFrame:
    return read_table(context.store, context.run, BARS, ticker)


def bulk_folder(folder: Path) -> Path:
    """January and February as months, of which February is in µs with a header, and days from 28 February on."""
    folder.mkdir()
    for period, unit, header in (("2024-01", "ms", False), ("2024-02", "us", True)):
        (folder / f"BTCUSDT-15m-{period}.zip").write_bytes(klines(BARS_OF_MONTHS.loc[period], unit, header))
    for day in pd.date_range("2024-02-28", "2024-03-10"):
        (folder / f"BTCUSDT-15m-{day:%Y-%m-%d}.zip").write_bytes(klines(BARS_OF_MONTHS.loc[f"{day:%Y-%m-%d}"]))
    return folder


def real_names() -> list[str]:
    return [
        "backtrader_ETHUSDT_15m.csv", "binance_vision_noheader_ADABTC-1m-2021-11-27.csv", "bybit_1d_ROSEUSDT.csv",
        "ethusdt_15m_opentime_last.csv", "freqtrade_UNITTEST_BTC-1m.json", "freqtrade_XRP_USDT_USDT-1h-futures.json.gz",
        "freqtrade_badname_ETH_USDT_-15m-futures.feather", "freqtrade_spot_ETH_USDT-15m.json",
        "freqtrade_spot_ETH_USDT-1h.json", "freqtrade_um_BTC_USDT_USDT-15m-futures.json",
        "freqtrade_um_ETH_USDT_USDT-15m-futures.feather", "freqtrade_um_ETH_USDT_USDT-1h-funding_rate.feather",
        "futures-um-klines-BTCUSDT-1h-2024-10-28.zip", "gravestone_1h_ETHUSDT.csv", "gravestone_4h_ETHUSDT.csv",
        "gravestone_funding_ETHUSDT.csv", "kronos_spot_ADAUSDT_15m.parquet", "misrori_LUNAUSDT_1h.csv",
        "scanner_1000000BOBUSDT_15m_365.csv", "scanner_币安人生USDT_1h_365.csv",
        "spot-klines-BTCUSDT-1h-2024-10-28.zip",
    ]  # fmt: skip


@pytest.mark.parametrize("name", real_names())
def test_a_real_file_is_loaded(market_data: Path, tmp_path: Path, name: str):
    _, manifest = ingested(market_data / "raw_formats" / name, tmp_path)
    ((_, info),) = manifest.tickers.items()
    assert not manifest.failures
    assert (info["funding"] > 0) == ("funding" in name)
    assert (info["rows"] > 0) == ("funding" not in name)


def test_nothing_real_is_left_untested(market_data: Path):
    assert sorted([*real_names(), POINTER]) == sorted(path.name for path in (market_data / "raw_formats").iterdir())


def test_a_pointer_is_called_that_and_costs_no_other(market_data: Path, tmp_path: Path):
    with pytest.raises(AllFailedError, match="git-LFS pointer, not the data itself"):
        ingested(market_data / "raw_formats" / POINTER, tmp_path)
    folder = tmp_path / "candles"
    folder.mkdir()
    (folder / "BTC_USDT_USDT-15m-futures.json").write_bytes(
        (market_data / "raw_formats" / "freqtrade_um_BTC_USDT_USDT-15m-futures.json").read_bytes()
    )
    (folder / "BTC_USDT_USDT-15m-futures.feather").write_bytes((market_data / "raw_formats" / POINTER).read_bytes())
    _, manifest = ingested(folder, tmp_path)
    assert list(manifest.tickers) == ["local-um:BTCUSDT"]
    assert [failure.ticker for failure in manifest.failures] == ["local-um:BTC_USDT_USDT-15m-futures.feather"]


def test_a_badly_named_pair_is_loaded_with_a_warning(
    market_data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    with caplog.at_level(logging.WARNING, "assay"):
        ingested(market_data / "raw_formats" / "freqtrade_badname_ETH_USDT_-15m-futures.feather", tmp_path)
    assert "is not named like freqtrade's files" in caplog.text


def test_what_was_assumed_is_said_and_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    folder = tmp_path / "candles"
    folder.mkdir()
    for name in ("AUSDT", "BUSDT"):
        naive = random_walk(50).reset_index()
        naive["time"] = naive["time"].dt.tz_localize(None)
        naive.to_csv(folder / f"{name}.csv", index=False)
    with caplog.at_level(logging.WARNING, "assay"):
        _, manifest = ingested(folder, tmp_path)
    assert "times have no zone and were read as UTC (local-um:AUSDT and 1 more)" in caplog.text
    assert manifest.tickers["local-um:AUSDT"]["notes"] == ["times have no zone and were read as UTC"]
    _, berlin = ingested(folder, tmp_path, zone="Europe/Berlin")
    assert berlin.tickers["local-um:AUSDT"]["first"] == "2023-12-31 23:00:00+00:00"


def test_columns_are_told_by_a_mapping(tmp_path: Path):
    columns = {"time": "Zeit", "open": "o", "high": "h", "low": "l", "close": "c", "volume": "Menge"}
    random_walk(50).reset_index().rename(columns=columns).to_csv(tmp_path / "AUSDT.csv", index=False)
    context, _ = ingested(tmp_path / "AUSDT.csv", tmp_path, columns=columns)
    pd.testing.assert_frame_equal(bars_of(context, "local-um:AUSDT"), random_walk(50), check_freq=False)
    with pytest.raises(ValueError, match="columns names 'Zeit'; allowed: time, close_time"):
        Ingest(columns={"Zeit": "time"})
    with pytest.raises(ValueError, match=r"zone is 'Berlin'; allowed: names such as Europe/Berlin"):
        Ingest(zone="Berlin")


def test_months_and_days_of_a_history_are_joined_without_overlap(tmp_path: Path):
    context, manifest = ingested(bulk_folder(tmp_path / "bulk"), tmp_path)
    pd.testing.assert_frame_equal(bars_of(context, "local-um:BTCUSDT"), BARS_OF_MONTHS, check_freq=False)
    info = manifest.tickers["local-um:BTCUSDT"]
    assert (info["quarantined"], info["gaps"]) == (0, 0)
    assert info["notes"] == ["192 rows of shorter parts were left out, which longer parts hold too"]


def test_where_a_month_lacks_bars_its_days_give_them_and_the_month_wins_where_both_have_one(tmp_path: Path):
    folder = bulk_folder(tmp_path / "bulk")
    holed = BARS_OF_MONTHS.loc["2024-02"].drop(BARS_OF_MONTHS.loc["2024-02-28"].index[10:20])
    (folder / "BTCUSDT-15m-2024-02.zip").write_bytes(klines(holed))
    (folder / "BTCUSDT-15m-2024-02-28.zip").write_bytes(klines(BARS_OF_MONTHS.loc["2024-02-28"].assign(volume=7.0)))
    context, _ = ingested(folder, tmp_path)
    found = bars_of(context, "local-um:BTCUSDT")
    assert len(found) == len(BARS_OF_MONTHS)
    assert (found["volume"] == 7.0).sum() == 10


def test_only_the_days_asked_for_are_read(tmp_path: Path):
    folder = bulk_folder(tmp_path / "bulk")
    (folder / "BTCUSDT-15m-2024-01.zip").write_bytes(b"broken, and of no day asked for")
    days = {"since": "2024-02-10", "until": "2024-03-02"}
    context, _ = ingested(folder, tmp_path, **days)
    expected = BARS_OF_MONTHS.loc["2024-02-10":"2024-03-02"]
    pd.testing.assert_frame_equal(bars_of(context, "local-um:BTCUSDT"), expected, check_freq=False)
    with pytest.raises(SourceError, match="from the days asked for"):
        ingested(folder, tmp_path, since="2025-01-01")
    random_walk(50).reset_index().to_csv(tmp_path / "AUSDT.csv", index=False)
    with pytest.raises(AllFailedError, match=r"has no bars of the days asked for .*they go from 2024-01-01"):
        ingested(tmp_path / "AUSDT.csv", tmp_path, since="2025-01-01")


def test_a_part_of_another_length_is_a_named_failure(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    folder = bulk_folder(tmp_path / "bulk")
    (folder / "BTCUSDT-1h-2024-03.zip").write_bytes(klines(BARS_OF_MONTHS.loc["2024-03"].iloc[::4]))
    random_walk(50).reset_index().to_csv(folder / "AUSDT.csv", index=False)
    _, manifest = ingested(folder, tmp_path)
    assert list(manifest.tickers) == ["local-um:AUSDT"]
    assert "choose a length by --ingest.bar" in manifest.failures[0].message
    with caplog.at_level(logging.INFO, "assay"):
        _, chosen = ingested(folder, tmp_path, bar="15m")
    assert "15 of the 16 files" in caplog.text
    assert list(chosen.tickers) == ["local-um:AUSDT", "local-um:BTCUSDT"]


def test_a_broken_part_is_named_and_costs_its_ticker_alone(tmp_path: Path):
    folder = bulk_folder(tmp_path / "bulk")
    path = folder / "BTCUSDT-15m-2024-03-02.zip"
    path.write_bytes(path.read_bytes()[:-30])
    random_walk(50).reset_index().to_csv(folder / "AUSDT.csv", index=False)
    _, manifest = ingested(folder, tmp_path)
    assert list(manifest.tickers) == ["local-um:AUSDT"]
    assert "BTCUSDT-15m-2024-03-02.zip: the zip is truncated or broken" in manifest.failures[0].message


def test_funding_beside_bars_goes_into_its_own_table(tmp_path: Path):
    folder = tmp_path / "futures"
    folder.mkdir()
    random_walk(50).reset_index(names="date").to_feather(folder / "ETH_USDT_USDT-15m-futures.feather")
    rates = np.linspace(-1e-4, 3e-4, len(HOURS))
    zeros = dict.fromkeys(("high", "low", "close", "volume"), 0.0)
    pd.DataFrame({"date": HOURS, "open": rates, **zeros}).to_feather(folder / "ETH_USDT_USDT-8h-funding_rate.feather")
    random_walk(50).reset_index(names="date").to_feather(folder / "ETH_USDT_USDT-8h-mark.feather")
    context, manifest = ingested(folder, tmp_path)
    assert manifest.tickers["local-um:ETHUSDT"]["funding"] == len(HOURS)
    kept = read_table(context.store, context.run, FUNDING, "local-um:ETHUSDT")["rate"]
    np.testing.assert_array_equal(kept, rates)
    assert (kept.index == HOURS).all()
    assert len(bars_of(context, "local-um:ETHUSDT")) == 50


def test_months_of_funding_are_joined(tmp_path: Path):
    folder = tmp_path / "bulk"
    folder.mkdir()
    for period in ("2024-01", "2024-02"):
        of_month = HOURS[HOURS.strftime("%Y-%m") == period]
        table = pd.DataFrame({"calc_time": of_month.as_unit("ms").asi8 + 3, "funding_interval_hours": 8,
                              "last_funding_rate": 1e-4}, index=range(len(of_month)))  # fmt: skip
        table.to_csv(folder / f"BTCUSDT-fundingRate-{period}.csv", index=False)
    context, manifest = ingested(folder, tmp_path)
    assert manifest.tickers["local-um:BTCUSDT"]["funding"] == 180
    assert manifest.rows["bars"] == 0
    with pytest.raises(MarketError, match="has funding rates and no bars"):
        market.of(context)


@pytest.mark.parametrize(
    ("rate", "complaint"), [(np.nan, "is nan; allowed are"), (5.0, "is 5.0; allowed are"), (2e-4, "two funding rates")]
)
def test_a_wrong_funding_rate_is_a_named_failure(tmp_path: Path, rate: float, complaint: str):
    table = pd.DataFrame({"time": [*HOURS[:20], HOURS[19]], "rate": [*[1e-4] * 20, rate]})
    table.to_csv(tmp_path / "ETHUSDT.csv", index=False)
    with pytest.raises(AllFailedError, match=complaint):
        ingested(tmp_path / "ETHUSDT.csv", tmp_path)


def test_a_long_file_holds_many_tickers(tmp_path: Path):
    each = {f"{name}USDT": random_walk(300, seed=seed) for seed, name in enumerate("ABC")}
    long = pd.concat([frame.assign(symbol=name).reset_index() for name, frame in each.items()])
    for order, rows in (("sorted", 250), ("by time", 70)):
        path = tmp_path / f"{order}.parquet"
        (long if order == "sorted" else long.sort_values("time")).to_parquet(path, row_group_size=rows)
        context, manifest = ingested(path, tmp_path)
        assert sorted(manifest.tickers) == [f"local-um:{name}" for name in each]
        for name, frame in each.items():
            pd.testing.assert_frame_equal(bars_of(context, f"local-um:{name}"), frame, check_freq=False)


def test_a_flaw_in_a_long_file_costs_its_ticker_alone(tmp_path: Path):
    good, bad = (random_walk(50).reset_index().assign(symbol=name) for name in ("AUSDT", "BUSDT"))
    bad["close"] = np.nan
    bad.loc[3, "symbol"] = "CUSDT"
    pd.concat([good, bad]).to_parquet(tmp_path / "long.parquet")
    _, manifest = ingested(tmp_path / "long.parquet", tmp_path)
    assert list(manifest.tickers) == ["local-um:AUSDT"]
    assert [failure.ticker for failure in manifest.failures] == ["local-um:BUSDT", "local-um:CUSDT"]


def test_bars_at_the_edge_of_what_numbers_can_say_are_quarantined(tmp_path: Path):
    frame = random_walk(50)
    lines = frame.reset_index().to_csv(index=False).splitlines()
    lines[5] = "2024-01-01 01:00:00+00:00,1e308,1e309,1,1e308,5"
    lines[6] = "0001-01-01 00:00:00+00:00,1,1,1,1,5"
    (tmp_path / "AUSDT.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    context, manifest = ingested(tmp_path / "AUSDT.csv", tmp_path)
    assert manifest.tickers["local-um:AUSDT"]["quarantined"] == 2
    assert read_table(context.store, context.run, QUARANTINE, "local-um:AUSDT")["row"].tolist() == [4, 5]


def test_a_file_with_any_ending_is_read_by_its_content(tmp_path: Path):
    (tmp_path / "BTCUSDT.dat").write_bytes(klines(BARS_OF_MONTHS.loc["2024-01"]))
    _, manifest = ingested(tmp_path / "BTCUSDT.dat", tmp_path)
    assert next(iter(manifest.tickers.values()))["rows"] == 96 * 31


def test_a_name_that_contradicts_the_market_costs_its_ticker_alone(tmp_path: Path):
    for name in ("BTCUSDT.P", "ETHUSDT"):
        random_walk(50).reset_index().to_csv(tmp_path / f"{name}.csv", index=False)
    context = make_context(tmp_path / "store", source=str(tmp_path), run="first", ingest={"market": "spot"})
    manifest = ingest.run(context, fan_out=serially)
    assert list(manifest.tickers) == ["local-spot:ETHUSDT"]
    assert [failure.ticker for failure in manifest.failures] == ["local-spot:BTCUSDT.P"]
    assert "spelt as a perpetual but its market is 'spot'" in manifest.failures[0].message


@pytest.mark.parametrize("bar", ["1mo", "quarter", "-15m", "0m"])
def test_a_length_that_is_none_is_refused(bar: str):
    with pytest.raises(ValueError, match=f"bar is '{bar}'; allowed: a whole number of s, m, h, d or w"):
        Ingest(bar=bar)
