from pathlib import Path

import pandas as pd
import pytest

from quant.candle_names import SUFFIXES, CandleName, read

MINUTES, HOUR, DAY = pd.Timedelta("15min"), pd.Timedelta("1h"), pd.Timedelta("1D")
BULK = "data/futures/um"


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("ETH_USDT_USDT-15m-futures.feather", CandleName("ETHUSDT", MINUTES, "um", "bars", form="freqtrade")),
        ("spot/ETH_USDT-1h.json.gz", CandleName("ETHUSDT", HOUR, "spot", "bars", form="freqtrade")),
        ("my_own_BTC_USDT_USDT-15m-futures.json", CandleName("BTCUSDT", MINUTES, "um", "bars", form="freqtrade")),
        ("ETH_USDT_USDT-1h-funding_rate.feather", CandleName("ETHUSDT", None, "um", "funding", form="freqtrade")),
        ("ETH_USDT_USDT-8h-mark.feather", CandleName("ETHUSDT", None, "um", "mark", form="freqtrade")),
        ("币安人生_USDT_USDT-15m-futures.json", CandleName("币安人生USDT", MINUTES, "um", "bars", form="freqtrade")),
        ("BTC_USD_BTC-1d-futures.json", CandleName("BTCUSD", DAY, "cm", "bars", form="freqtrade")),
        ("ETH_USDT_-15m-futures.feather", CandleName("ETH_USDT_-15m-futures")),
        (
            f"{BULK}/monthly/klines/BTCUSDT/15m/BTCUSDT-15m-2024-01.zip",
            CandleName("BTCUSDT", MINUTES, "um", "bars", "2024-01", "Binance"),
        ),
        (
            "data/spot/daily/klines/BTCUSDT/1h/BTCUSDT-1h-2024-01-31.csv",
            CandleName("BTCUSDT", HOUR, "spot", "bars", "2024-01-31", "Binance"),
        ),
        (
            "futures-um-klines-BTCUSDT-1h-2024-10-28.zip",
            CandleName("BTCUSDT", HOUR, "um", "bars", "2024-10-28", "Binance"),
        ),
        (
            f"{BULK}/monthly/fundingRate/BTCUSDT/BTCUSDT-fundingRate-2024-01.zip",
            CandleName("BTCUSDT", None, "um", "funding", "2024-01", "Binance"),
        ),
        ("BTCUSDT-1mo-2024-01.zip", CandleName("BTCUSDT", None, None, "bars", "2024-01", "Binance")),
        ("KRW-BTC-15m-2024-01.parquet", CandleName("KRW-BTC", MINUTES, None, "bars", "2024-01", "Binance")),
        ("ETHUSDT_250627-15m-2025-01.zip", CandleName("ETHUSDT_250627", MINUTES, None, "bars", "2025-01", "Binance")),
        ("BTCUSDT-15m-2024-13.zip", CandleName("BTCUSDT-15m-2024-13")),
        ("BINANCE_BTCUSDT.P, 15.csv", CandleName("BTCUSDT.P", MINUTES, form="TradingView")),
        ("BINANCE_BTCUSDT, 1D_a1b2c.csv", CandleName("BTCUSDT", DAY, form="TradingView")),
        ("NASDAQ_AAPL, D (2).csv", CandleName("AAPL", DAY, form="TradingView")),
        ("BTCUSDT_1h.csv", CandleName("BTCUSDT", HOUR, form="plain")),
        ("deep/folder/BTCUSDT-15m.parquet", CandleName("BTCUSDT", MINUTES, form="plain")),
        ("BTCUSDT.P.parquet", CandleName("BTCUSDT.P")),
        ("KRW-BTC.parquet", CandleName("KRW-BTC")),
        ("some_BTCUSDT_15m.csv", CandleName("some_BTCUSDT_15m")),
    ],
)
def test_reads_what_a_name_says(key: str, said: CandleName):
    assert read(key) == said


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_name_in_nobodys_form_is_the_assets(suffix: str):
    assert read(f"my.own, name{suffix}") == CandleName("my.own, name")


def test_real_names_are_read_without_an_error(market_data: Path):
    said = {path.name: read(path.name) for path in (market_data / "raw_formats").iterdir()}
    assert sum(name.form == "freqtrade" for name in said.values()) == 8
    assert sum(name.form == "Binance" for name in said.values()) == 3
