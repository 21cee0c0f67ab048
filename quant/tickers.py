"""Names of assets: one canonical spelling, ``venue-market:SYMBOL``, from the spellings of the sources.

Two spellings of one asset must meet in one ticker, and two assets never may; so only the forms known below are
rewritten, and every other name, which may be a stranger's, is kept as it is.
"""

import re
from typing import NamedTuple

import pandas as pd

SPOT = "spot"
LINEAR = "um"  # settled in the quote currency
INVERSE = "cm"  # settled in the base currency

# Longest first where one ends with another: BTCFDUSD is BTC in FDUSD.
QUOTES = ("FDUSD", "USDT", "USDC", "BUSD", "USD", "EUR", "GBP", "TRY", "BRL", "JPY", "KRW", "BTC", "ETH", "BNB")

_QUOTE = "|".join(QUOTES)
_NAME = re.compile(r"[a-z0-9]+")
_JOINED = re.compile(rf"(?P<base>.+?)(?P<quote>{_QUOTE})")
_PERPETUAL = re.compile(rf"(?P<base>[^/:_]+?)(?P<quote>{_QUOTE})\.P")
_SLASHED = re.compile(rf"(?P<base>[^/:_]+)/(?P<quote>{_QUOTE})(?::(?P<settle>{_QUOTE}|(?P=base)))?")
_UNDERSCORED = re.compile(rf"(?P<base>[^/:_]+)_(?P<quote>{_QUOTE})(?:_(?P<settle>{_QUOTE}|(?P=base)))?")
_QUOTE_FIRST = re.compile(rf"(?P<quote>{_QUOTE})-(?P<base>[^/:_-]+)")

_FREQTRADE_FILE = re.compile(
    rf"(?P<base>[^/:]+?)_(?P<quote>{_QUOTE})(?:_(?P<settle>{_QUOTE}|(?P=base)))?"
    r"-(?P<count>[1-9]\d*)(?P<unit>[mhdw])(?P<futures>-futures)?"
    r"(?:\.(?:json|json\.gz|feather|parquet))?"
)
_UNITS = {
    "m": pd.Timedelta(minutes=1),
    "h": pd.Timedelta(hours=1),
    "d": pd.Timedelta(days=1),
    "w": pd.Timedelta(days=7),
}


class TickerError(ValueError):
    """A name of an asset, or of a file of candles, that cannot be read."""


class Ticker(NamedTuple):
    """The parts of a canonical ticker; ``market`` is empty for venues that have only one."""

    venue: str
    market: str
    symbol: str


class FreqtradeName(NamedTuple):
    """What a freqtrade file name says: symbol as in a canonical ticker, length of a bar, ``spot``, ``um`` or ``cm``."""

    symbol: str
    bar: pd.Timedelta
    market: str


def canonical(symbol: str, venue: str, market: str = "") -> str:
    """Return the canonical ticker of a source's spelling.

    ``BTCUSDT``, ``BTCUSDT.P`` (TradingView), ``BTC_USDT_USDT`` (freqtrade files) and ``BTC/USDT:USDT`` (ccxt) all
    become ``binance-um:BTCUSDT``; ``KRW-BTC`` and names of no known form keep their spelling.

    Parameters
    ----------
    symbol
        The source's name of the asset, any non-empty text.
    venue, market
        Lower-case letters and digits: ``binance`` and ``um``; without a market the ticker is ``venue:SYMBOL``.

    Raises
    ------
    TickerError
        If a part is empty or malformed, or a perpetual's spelling is given for the spot market.
    """
    if not symbol.strip():
        raise TickerError(f"symbol is {symbol!r}; the name of an asset must not be empty")
    if not _NAME.fullmatch(venue):
        raise TickerError(f"venue of {symbol!r} is {venue!r}; allowed are lower-case letters and digits")
    if market and not _NAME.fullmatch(market):
        raise TickerError(f"market of {symbol!r} is {market!r}; allowed are lower-case letters and digits, or nothing")
    known = _PERPETUAL.fullmatch(symbol) or _SLASHED.fullmatch(symbol) or _UNDERSCORED.fullmatch(symbol)
    perpetual = known is not None and (known.re is _PERPETUAL or known["settle"] is not None)
    if perpetual and market == SPOT:
        raise TickerError(f"{symbol!r} is spelt as a perpetual but its market is {market!r}; name the futures market")
    name = known["base"] + known["quote"] if known else symbol
    return f"{venue}-{market}:{name}" if market else f"{venue}:{name}"


def parse(ticker: str) -> Ticker:
    """Return the parts of a canonical ticker.

    Raises
    ------
    TickerError
        If the text is not ``venue-market:SYMBOL`` or ``venue:SYMBOL``.
    """
    prefix, colon, symbol = ticker.partition(":")
    venue, dash, market = prefix.partition("-")
    if not (colon and symbol.strip() and _NAME.fullmatch(venue) and (_NAME.fullmatch(market) if dash else True)):
        raise TickerError(
            f"{ticker!r} is not a canonical ticker; the form is venue-market:SYMBOL or venue:SYMBOL, "
            "as in binance-um:BTCUSDT or demo:AAAUSDT"
        )
    return Ticker(venue, market, symbol)


def ccxt_form(ticker: str) -> str:
    """Return the unified symbol that ccxt gives an asset: ``BTC/USDT:USDT`` for ``binance-um:BTCUSDT``.

    Spot pairs have no settlement currency (``BTC/USDT``); inverse contracts settle in their base (``BTC/USD:BTC``).
    Where no market is named, the pair is written as a linear contract, since the strategies go short. A symbol
    without a known quote currency (``GOOG``) is listed nowhere in ccxt and returned as it is.

    Raises
    ------
    TickerError
        If the ticker is not canonical.
    """
    _, market, symbol = parse(ticker)
    if market == INVERSE:
        base = symbol.removesuffix("USD")
        return f"{base}/USD:{base}" if base and base != symbol else symbol
    pair = _QUOTE_FIRST.fullmatch(symbol) or _JOINED.fullmatch(symbol)
    if pair is None:
        return symbol
    unified = f"{pair['base']}/{pair['quote']}"
    return unified if market == SPOT else f"{unified}:{pair['quote']}"


def parse_freqtrade(name: str) -> FreqtradeName:
    """Return what a freqtrade candle file is about: ``ETH_USDT_USDT-15m-futures`` is ETHUSDT, 15 minutes, ``um``.

    The extension may be there or not. The file's folder must not: freqtrade keeps the venue there.

    Raises
    ------
    TickerError
        If the name is not ``BASE_QUOTE[_SETTLE]-<n><m|h|d|w>[-futures]``, or the settlement currency and
        ``-futures`` contradict each other; funding rates and mark prices are not candles.
    """
    found = _FREQTRADE_FILE.fullmatch(name)
    if found is None or (found["settle"] is None) != (found["futures"] is None):
        raise TickerError(
            f"{name!r} is not the name of a freqtrade candle file; the form is BASE_QUOTE-15m for spot and "
            f"BASE_QUOTE_SETTLE-15m-futures for perpetuals, with a quote of {', '.join(QUOTES)}"
        )
    bar = int(found["count"]) * _UNITS[found["unit"]]
    market = SPOT if found["settle"] is None else INVERSE if found["settle"] == found["base"] else LINEAR
    return FreqtradeName(found["base"] + found["quote"], bar, market)
