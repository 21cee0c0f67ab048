import pandas as pd
import pytest

from quant.tickers import FreqtradeName, Ticker, TickerError, canonical, ccxt_form, parse, parse_freqtrade


@pytest.mark.parametrize("symbol", ["BTCUSDT", "BTCUSDT.P", "BTC_USDT_USDT", "BTC/USDT:USDT", "BTC/USDT", "BTC_USDT"])
def test_every_spelling_of_an_asset_meets_in_one_ticker(symbol: str) -> None:
    assert canonical(symbol, "binance", "um") == "binance-um:BTCUSDT"


@pytest.mark.parametrize(
    "symbol",
    ["KRW-BTC", "币安人生USDT", "../../x", "BRK.B", "GOOG", "A.P", "a b", "BTC/XYZ", "x/USDT:ETH:y", "A_B_USDT", "a:b"],
)
def test_names_of_no_known_form_are_kept(symbol: str) -> None:
    ticker = canonical(symbol, "stranger")
    assert ticker == f"stranger:{symbol}"
    assert parse(ticker) == Ticker("stranger", "", symbol)


def test_parts_of_a_ticker() -> None:
    assert parse("binance-um:BTCUSDT") == Ticker("binance", "um", "BTCUSDT")


@pytest.mark.parametrize(
    ("symbol", "venue", "market", "named"),
    [
        ("", "binance", "um", "symbol"),
        ("  ", "binance", "um", "symbol"),
        ("BTCUSDT", "Binance", "um", "'Binance'"),
        ("BTCUSDT", "", "um", "venue"),
        ("BTCUSDT", "binance", "u-m", "'u-m'"),
        ("BTCUSDT.P", "binance", "spot", "perpetual"),
        ("BTC/USDT:USDT", "binance", "spot", "perpetual"),
    ],
)
def test_a_malformed_part_is_refused_by_name(symbol: str, venue: str, market: str, named: str) -> None:
    with pytest.raises(TickerError, match=named):
        canonical(symbol, venue, market)


@pytest.mark.parametrize("ticker", ["BTCUSDT", "binance-um:", ":BTCUSDT", "binance-:BTCUSDT", "a-b-c:X", "Binance:X"])
def test_text_that_is_no_ticker_is_refused(ticker: str) -> None:
    with pytest.raises(TickerError, match="not a canonical ticker"):
        parse(ticker)


@pytest.mark.parametrize(
    ("ticker", "unified"),
    [
        ("binance-um:BTCUSDT", "BTC/USDT:USDT"),
        ("binance-um:1000PEPEUSDC", "1000PEPE/USDC:USDC"),
        ("binance-um:币安人生USDT", "币安人生/USDT:USDT"),
        ("binance-um:USDCUSDT", "USDC/USDT:USDT"),
        ("binance-spot:BTCUSDT", "BTC/USDT"),
        ("binance-spot:ETHBTC", "ETH/BTC"),
        ("binance-spot:BTCFDUSD", "BTC/FDUSD"),
        ("binance-spot:BNBBUSD", "BNB/BUSD"),
        ("binance-cm:BNBUSD", "BNB/USD:BNB"),
        ("upbit-spot:KRW-BTC", "BTC/KRW"),
        ("upbit-spot:BTCKRW", "BTC/KRW"),
        ("demo:AAAUSDT", "AAA/USDT:USDT"),
        ("samples:GOOG", "GOOG"),
        ("stranger:USDT", "USDT"),
    ],
)
def test_unified_symbol_of_ccxt(ticker: str, unified: str) -> None:
    assert ccxt_form(ticker) == unified


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ETH_USDT_USDT-15m-futures", FreqtradeName("ETHUSDT", pd.Timedelta("15min"), "um")),
        ("ETH_USDT_USDT-15m-futures.feather", FreqtradeName("ETHUSDT", pd.Timedelta("15min"), "um")),
        ("ETH_USD_ETH-1h-futures.json.gz", FreqtradeName("ETHUSD", pd.Timedelta("1h"), "cm")),
        ("ETH_USDT-1d.json", FreqtradeName("ETHUSDT", pd.Timedelta("1D"), "spot")),
        ("ETH_BTC-1w", FreqtradeName("ETHBTC", pd.Timedelta("7D"), "spot")),
    ],
)
def test_freqtrade_file_names(name: str, expected: FreqtradeName) -> None:
    assert parse_freqtrade(name) == expected


@pytest.mark.parametrize(
    "name",
    [
        "ETH_USDT_-15m-futures",
        "ETH_USDT-15m-futures",
        "ETH_USDT_USDT-15m",
        "ETH_USDT_USDT-1h-funding_rate.feather",
        "ETH_USDT_USDT-1M-futures",
        "ETH_USDT_USDT-0m-futures",
        "ETHUSDT-15m",
        "folder/ETH_USDT-15m.json",
        "",
    ],
)
def test_other_file_names_are_refused(name: str) -> None:
    with pytest.raises(TickerError, match="freqtrade candle file"):
        parse_freqtrade(name)
