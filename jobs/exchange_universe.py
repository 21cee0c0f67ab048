"""Which symbols of an exchange are fetched, and what they are called here."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import ccxt

from jobs.archive import ServiceError
from jobs.config_data import CCXT
from quant import tickers
from storage import keys

VENUES = {"binanceusdm": "binance"}  # a market of a venue that ccxt has under a name of its own
MARKETS = {tickers.LINEAR: "linear perpetuals", tickers.SPOT: "spot pairs"}


class ExchangeError(ServiceError):
    """An exchange, or a symbol of it, that cannot be had as asked."""


class Listed(NamedTuple):
    """A symbol of an exchange: as in a canonical ticker, as ccxt writes it, and what ccxt knows of it."""

    symbol: str
    unified: str
    market: dict[str, Any]


def named(source: str) -> str:
    """Name of the exchange behind ``ccxt:NAME``.

    Raises
    ------
    ExchangeError
        If ccxt has no such exchange.
    """
    name = source.removeprefix(CCXT).strip().lower()
    if name in ccxt.exchanges:
        return name
    close = difflib.get_close_matches(name, ccxt.exchanges, n=3) or [e for e in ccxt.exchanges if name and name in e]
    hint = f"did you mean {', '.join(CCXT + other for other in close[:3])}?" if close else "none is called alike."
    raise ExchangeError(
        f"source is {source!r}, and ccxt {ccxt.__version__} has no exchange {name!r}; {hint} "
        "Its 100 or so exchanges are listed by `python -c 'import ccxt; print(ccxt.exchanges)'`."
    )


def venue(exchange: str) -> str:
    """First part of the canonical tickers of an exchange."""
    return VENUES.get(exchange, exchange)


def universe(
    exchange: str, markets: Mapping[str, Any], market: str, quote: str | None, wanted: Sequence[str]
) -> tuple[list[Listed], dict[str, str]]:
    """Return the active symbols of a market, sorted, and what is wrong with others, by name.

    Parameters
    ----------
    markets
        What ccxt knows of each symbol.
    market
        ``um`` or ``spot``.
    quote
        Currency that they are quoted in; None: any.
    wanted
        Names of those to keep, as ccxt, the exchange or a canonical ticker has them; all where empty.

    Raises
    ------
    ExchangeError
        If no symbol is left, or the market is none of the two.
    """
    if market not in MARKETS:
        raise ExchangeError(f"ingest.market is {market!r}; of an exchange allowed are {' and '.join(MARKETS)}.")
    traded = [each for each in markets.values() if each.get("active") is not False and _of(each, market)]
    if not traded:
        other = tickers.SPOT if market == tickers.LINEAR else tickers.LINEAR
        raise ExchangeError(
            f"{exchange} lists no {MARKETS[market]} that are traded (ingest.market is {market!r}); "
            f"set ingest.market to {other!r}, or name another exchange by source."
        )
    quoted = [each for each in traded if quote is None or each["quote"] == quote.upper()]
    if not quoted:
        quotes = sorted({str(each["quote"]) for each in traded})
        raise ExchangeError(
            f"none of the {len(traded)} {MARKETS[market]} of {exchange} is quoted in {quote!r} (ingest.quote); "
            f"allowed are {', '.join(quotes[:20])}."
        )
    listed: dict[str, Listed] = {}
    flaws: dict[str, str] = {}
    known: set[str] = set()
    for each in sorted(quoted, key=lambda each: str(each["symbol"])):
        try:
            symbol = _symbol(each, exchange, market)
        except tickers.TickerError as error:
            flaws[str(each["symbol"])] = f"{exchange} lists a symbol that is none: {error}"
            continue
        names = {symbol, str(each["symbol"]), str(each["id"]), f"{venue(exchange)}-{market}:{symbol}"}
        if wanted and not names & set(wanted):
            continue
        known |= names
        problem = "it holds a '/'" if "/" in symbol else keys.flaw(symbol)
        if problem:
            flaws[symbol] = f"{exchange} lists a symbol {symbol[:80]!a} that no file can be named by: {problem}"
        elif symbol in listed:
            flaws[symbol] = (
                f"both {listed[symbol].unified} and {each['symbol']} of {exchange} are {symbol} here; the first is "
                "fetched. Choose among them by ingest.tickers or ingest.quote"
            )
        else:
            listed[symbol] = Listed(symbol, str(each["symbol"]), dict(each))
    for name in sorted(set(wanted) - known):
        flaws[name] = f"{exchange} trades no {name} among its {len(quoted)} {MARKETS[market]}; check ingest.tickers"
    if not listed:
        first = next(iter(sorted(flaws.items())), ("", ""))[1]
        raise ExchangeError(f"no symbol of {exchange} is left to fetch: {first}.")
    return [listed[symbol] for symbol in sorted(listed)], flaws


def _of(each: Mapping[str, Any], market: str) -> bool:
    return bool(each.get("swap") and each.get("linear") if market == tickers.LINEAR else each.get("spot"))


def _symbol(each: Mapping[str, Any], exchange: str, market: str) -> str:
    """The last part of the canonical ticker; a quote currency that `tickers` does not know makes no other form."""
    name = tickers.canonical(str(each["symbol"]), venue(exchange), market).partition(":")[2]
    parts = f"{each['base']}{each['quote']}"
    return parts if "/" in name and "/" not in parts else name
