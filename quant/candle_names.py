"""What the name of a file of candles says: asset, length of a bar, market, and which part of a history it holds.

Only names in a form that tools are known to write are taken apart; every other name is the asset's, as it stands.
"""

import posixpath
import re
from typing import Literal, NamedTuple

import pandas as pd

from quant import tickers

SUFFIXES = (".csv.gz", ".json.gz", ".csv", ".json", ".zip", ".feather", ".parquet")

Kind = Literal["bars", "funding", "mark"]

_UNITS = {
    "s": pd.Timedelta(seconds=1),
    "m": pd.Timedelta(minutes=1),
    "h": pd.Timedelta(hours=1),
    "d": pd.Timedelta(days=1),
    "w": pd.Timedelta(days=7),
}
_LENGTH = r"(?P<count>[1-9]\d{0,3})(?P<unit>[smhdw])"
_PERIOD = r"(?P<period>\d{4}-\d{2}(?:-\d{2})?)"
# freqtrade: ETH_USDT_USDT-15m-futures; what comes before the pair is a person's own
_FREQTRADE = re.compile(r"[A-Z0-9]{2,}_[A-Z]{3,}(?:_[A-Z]{3,})?-\d+[mhdw](?:-futures)?$")
_FREQTRADE_KINDS: dict[str, Kind] = {"-funding_rate": "funding", "-mark": "mark", "": "bars"}
# Binance's bulk data: BTCUSDT-15m-2024-01, BTCUSDT-15m-2024-01-31, BTCUSDT-fundingRate-2024-01
_BULK = re.compile(
    rf"(?:(?:futures-um|futures-cm|spot)-(?:klines-)?)?(?P<symbol>.+?)-(?:{_LENGTH}|(?P<month>1mo)|fundingRate)-{_PERIOD}"
)
# TradingView's exports: BINANCE_BTCUSDT.P, 15 and BINANCE_BTCUSDT.P, 1D_1a2b3
_TRADINGVIEW = re.compile(
    r"[A-Z0-9]+_(?P<symbol>[^,]+), (?P<count>\d{0,4})(?P<unit>[SDWhm]?)(?:[_ (].*)?",
)
# plain: BTCUSDT-15m, BTCUSDT_1h
_PLAIN = re.compile(rf"(?P<symbol>[^-_]+)[-_]{_LENGTH}")
_MARKETS = {"um": re.compile(r"futures[/-]um(?![a-z])"), "cm": re.compile(r"futures[/-]cm(?![a-z])"),
            tickers.SPOT: re.compile(r"(?:^|[/-])spot[/-]")}  # fmt: skip


class CandleName(NamedTuple):
    """What a name says; None or empty where it does not.

    ``kind`` is "mark" for mark prices, which are nobody's trades. ``period`` is the month or the day that the file
    holds of a longer history. ``form`` says whose way of naming it is, empty for none that is known.
    """

    symbol: str
    bar: pd.Timedelta | None = None
    market: str | None = None
    kind: Kind | None = None
    period: str = ""
    form: str = ""


def read(key: str) -> CandleName:
    """Return what the path of a file says, by its name and, for the market, its folders."""
    stem = posixpath.basename(key)
    for suffix in SUFFIXES:
        if stem.endswith(suffix):
            stem = stem.removesuffix(suffix)
            break
    return _freqtrade(stem) or _bulk(key, stem) or _tradingview(stem) or _plain(stem) or CandleName(stem)


def _freqtrade(stem: str) -> CandleName | None:
    ending, kind = next(each for each in _FREQTRADE_KINDS.items() if stem.endswith(each[0]))
    candles = stem.removesuffix(ending) + "-futures" if kind != "bars" else stem
    pair = _FREQTRADE.search(candles)
    for name in ([pair[0]] if pair else []) + [candles]:  # the second for a base that is not ASCII
        try:
            symbol, bar, market = tickers.parse_freqtrade(name)
        except tickers.TickerError:
            continue
        return CandleName(symbol, bar if kind == "bars" else None, market, kind, form="freqtrade")
    return None


def _bulk(key: str, stem: str) -> CandleName | None:
    found = _BULK.fullmatch(stem)
    if found is None or not _is_date(found["period"]):
        return None
    market = next((market for market, pattern in _MARKETS.items() if pattern.search(key)), None)
    if found["count"] is None:
        kind: Kind = "bars" if found["month"] else "funding"
        return CandleName(found["symbol"], None, market, kind, found["period"], "Binance")
    return CandleName(found["symbol"], _length(found), market, "bars", found["period"], "Binance")


def _tradingview(stem: str) -> CandleName | None:
    found = _TRADINGVIEW.fullmatch(stem)
    if found is None or not (found["count"] or found["unit"]):
        return None
    unit = found["unit"].lower() or "m"  # minutes have no unit there
    return CandleName(found["symbol"], int(found["count"] or 1) * _UNITS[unit], form="TradingView")


def _plain(stem: str) -> CandleName | None:
    found = _PLAIN.fullmatch(stem)
    return found and CandleName(found["symbol"], _length(found), form="plain")


def _length(found: re.Match[str]) -> pd.Timedelta:
    return int(found["count"]) * _UNITS[found["unit"]]


def _is_date(period: str) -> bool:
    try:
        pd.Timestamp(period)
    except ValueError:
        return False
    return True
