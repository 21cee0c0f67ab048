"""A loopback server that speaks the public REST of Binance's USD-M futures and of Upbit, with the faults of a plan."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import numpy as np
import pandas as pd

STEP = pd.Timedelta("15min")
COARSE = {"1M": "MS", "months": "MS", "1d": "D", "days": "D"}
FIELDS = ["open", "high", "low", "close", "volume"]


@dataclass
class Asked:
    """A request as it came in."""

    moment: float
    path: str
    query: dict[str, str]
    weight: float

    @property
    def symbol(self) -> str:
        return self.query.get("symbol", self.query.get("market", ""))


@dataclass
class Fault:
    """What is answered in place of the truth, to requests that match, so many times after so many."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    path: str = "/"
    symbol: str = ""
    times: int = 1
    after: int = 0
    cut: float | None = None  # part of the true body that is sent
    hang_up: bool = False
    seen: int = 0

    def strikes(self, asked: Asked) -> bool:
        if not asked.path.startswith(self.path) or self.symbol not in ("", asked.symbol):
            return False
        self.seen += 1
        return self.after < self.seen <= self.after + self.times


@dataclass
class Exchange:
    """What the server knows; a test may change it between runs.

    ``now`` is its clock. ``twist`` is applied to the rows of each page of candles, ``slow`` seconds pass before each.
    """

    frames: dict[str, pd.DataFrame]
    now: pd.Timestamp
    rates: dict[str, pd.Series] = field(default_factory=dict)
    listed: list[dict[str, Any]] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    twist: Callable[[list[Any]], list[Any]] = list
    most: int = 1500
    slow: float = 0.0
    dated: bool = True
    asked: list[Asked] = field(default_factory=list)
    url: str = ""

    def of(self, path: str) -> list[Asked]:
        return [each for each in self.asked if each.path.startswith(path)]

    @property
    def milliseconds(self) -> int:
        return int(self.now.timestamp() * 1000)

    def visible(self, symbol: str, interval: str) -> pd.DataFrame:
        """Bars that have begun; the running one is not what it will be."""
        frame = self.frames[symbol]
        frame = frame[frame.index <= self.now].copy()
        if len(frame) and frame.index[-1] + STEP > self.now:
            frame.iloc[-1, frame.columns.get_loc("volume")] /= 3
            frame.iloc[-1, frame.columns.get_loc("close")] = frame.iloc[-1]["open"]
        if interval in COARSE:
            how = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}
            return frame.resample(COARSE[interval]).agg(how).dropna()
        assert interval in ("15m", "15"), interval
        return frame


def contract(symbol: str, base: str, quote: str = "USDT", **changes: Any) -> dict[str, Any]:
    """An entry of Binance's exchangeInfo."""
    return {
        "symbol": symbol,
        "pair": symbol,
        "contractType": "PERPETUAL",
        "deliveryDate": 4133404800000,
        "onboardDate": 1569398400000,
        "status": "TRADING",
        "baseAsset": base,
        "quoteAsset": quote,
        "marginAsset": quote,
        "pricePrecision": 2,
        "quantityPrecision": 3,
        "filters": [{"filterType": "PRICE_FILTER", "minPrice": "0.01", "maxPrice": "100000", "tickSize": "0.01"}],
        **changes,
    }


@contextmanager
def serving(exchange: Exchange) -> Iterator[Exchange]:
    """Serve an exchange on a port of its own."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"exchange": exchange}))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    exchange.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield exchange
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    exchange: Exchange
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        asked = Asked(time.monotonic(), parts.path, dict(parse_qsl(parts.query)), 1.0)
        asked.weight = _weight(asked)
        self.exchange.asked.append(asked)
        time.sleep(self.exchange.slow)
        fault = next((each for each in self.exchange.faults if each.strikes(asked)), None)
        if fault and fault.hang_up:
            self.close_connection = True
            return
        if fault and fault.cut is None:
            self._send(fault.status, fault.body, fault.headers)
            return
        status, answer = self._answer(asked)
        body = json.dumps(answer).encode()
        if fault and fault.cut is not None:
            body = body[: int(len(body) * fault.cut)]
        self._send(status, body, {"Content-Type": "application/json;charset=UTF-8"})

    def _answer(self, asked: Asked) -> tuple[int, Any]:
        exchange, query = self.exchange, asked.query
        if asked.path == "/fapi/v1/time":
            return 200, {"serverTime": exchange.milliseconds}
        if asked.path == "/fapi/v1/exchangeInfo":
            return 200, {"timezone": "UTC", "serverTime": exchange.milliseconds, "symbols": exchange.listed}
        if asked.path == "/v1/market/all":
            return 200, exchange.listed
        if asked.symbol not in exchange.frames:
            return 400, {"code": -1121, "msg": "Invalid symbol."}
        if asked.path == "/fapi/v1/klines":
            return 200, exchange.twist(_klines(exchange, query))
        if asked.path == "/fapi/v1/fundingRate":
            return 200, _rates(exchange, query)
        _, _, _, unit, *minutes = asked.path.split("/")
        if int(query["count"]) > 200:
            return 400, {"error": {"name": "invalid_parameter", "message": "count"}}
        return 200, exchange.twist(_candles(exchange, query, *(minutes or [unit])))

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response_only(status)
        if self.exchange.dated:
            self.send_header("Date", formatdate(self.exchange.now.timestamp(), usegmt=True))
        for name, value in {"Content-Type": "text/html", **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def _klines(exchange: Exchange, query: dict[str, str]) -> list[Any]:
    frame = exchange.visible(query["symbol"], query["interval"])
    limit = min(int(query.get("limit", 500)), exchange.most)
    if "startTime" in query:
        start = pd.Timestamp(int(query["startTime"]), unit="ms", tz="UTC")
        frame = frame[frame.index >= start].iloc[:limit]
    else:
        frame = frame.iloc[-limit:]
    times = frame.index.as_unit("ms").astype(np.int64)
    rows = zip(times, frame[FIELDS].to_numpy(), strict=True)
    return [[int(t), *(repr(float(v)) for v in values), int(t) + 899_999, "0", 1, "0", "0", "0"] for t, values in rows]


def _rates(exchange: Exchange, query: dict[str, str]) -> list[Any]:
    rates = exchange.rates[query["symbol"]]
    start = pd.Timestamp(int(query["startTime"]), unit="ms", tz="UTC")
    found = rates[(rates.index >= start) & (rates.index <= exchange.now)].iloc[: int(query.get("limit", 100))]
    times = found.index.as_unit("ms").astype(np.int64)
    return [
        {"symbol": query["symbol"], "fundingTime": int(t), "fundingRate": repr(float(rate)), "markPrice": "1"}
        for t, rate in zip(times, found, strict=True)
    ]


def _candles(exchange: Exchange, query: dict[str, str], interval: str) -> list[Any]:
    frame = exchange.visible(query["market"], interval)
    frame = frame[frame.index < pd.Timestamp(query["to"])].iloc[-int(query["count"]) :]
    return [
        {
            "market": query["market"],
            "candle_date_time_utc": moment.strftime("%Y-%m-%dT%H:%M:%S"),
            "opening_price": float(row["open"]),
            "high_price": float(row["high"]),
            "low_price": float(row["low"]),
            "trade_price": float(row["close"]),
            "timestamp": int(moment.timestamp() * 1000),
            "candle_acc_trade_volume": float(row["volume"]),
        }
        for moment, row in frame.iloc[::-1].iterrows()
    ]


def _weight(asked: Asked) -> float:
    if asked.path != "/fapi/v1/klines":
        return 1.0
    limit = int(asked.query.get("limit", 500))
    return 1.0 if limit < 100 else 2.0 if limit < 500 else 5.0 if limit <= 1000 else 10.0
