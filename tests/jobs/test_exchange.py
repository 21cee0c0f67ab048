import hashlib
import io
import itertools
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ccxt
import numpy as np
import pandas as pd
import pytest

from actors.budget import Budget, shared
from actors.connect import connect
from actors.fan_out import fan_out
from jobs import exchange, exchange_client, exchange_universe
from jobs.archive import Archive
from jobs.exchange import ExchangeError, ExchangeUnavailableError
from jobs.exchange_client import Access, Client, retry_after
from jobs.stage import Context
from storage import layout, patience
from storage.errors import StoreUnavailableError
from storage.store import Store, open_store
from tests.conftest import random_walk
from tests.jobs.conftest import kill_once, make_context, serially
from tests.jobs.exchange_server import STEP, Exchange, Fault, contract, serving

pytestmark = pytest.mark.ray

KLINES = "/fapi/v1/klines"
UM = "ccxt-binanceusdm-um"
PAGE = 499


@pytest.fixture(scope="module", autouse=True)
def budget() -> Iterator[Budget]:
    """A Ray with two workers, and a rate that holds nobody up: to start one takes longer than most updates."""
    with connect("local", 2), shared("tests", 2_000) as budget:
        _budget.append(budget)
        yield budget
        _budget.clear()


_budget: list[Budget] = []


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses of this process, in which tasks run where they are not spread, are short."""
    monkeypatch.setattr(patience, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(exchange_client, "SHORTEST_HOLD", 0.01)


def market(rows: int = 4_000, start: str = "2024-01-20", symbols: tuple[str, ...] = ("AAA", "BBB")) -> Exchange:
    """Perpetuals of random walks, the second of which was listed later, with funding; the last bar is running."""
    frames, rates = {}, {}
    for seed, base in enumerate(symbols):
        frame = random_walk(rows, seed=seed)
        frame.index = pd.date_range(start, periods=rows, freq=STEP, tz="UTC", unit="us", name="time")
        frames[f"{base}USDT"] = frame.iloc[1_000 * (seed % 2) :]
        hours = frame.index[32 * (1 + 31 * (seed % 2)) :: 32] + pd.Timedelta("3ms")
        rates[f"{base}USDT"] = pd.Series(np.random.default_rng(seed).normal(0, 1e-4, len(hours)), hours)
    now = frames[f"{symbols[0]}USDT"].index[-1] + pd.Timedelta("7min")
    return Exchange(frames, now, rates, [contract(f"{base}USDT", base) for base in symbols])


@pytest.fixture
def binance() -> Iterator[Exchange]:
    with serving(market()) as server:
        yield server


def context(server: Exchange, store: Path | str, source: str = "ccxt:binanceusdm", **ingest: Any) -> Context:
    settings = {"bar": "15m", "endpoint": server.url, "rate": 2_000, **ingest}
    return make_context(store, source=source, ingest=settings)


def update(server: Exchange, store: Path | str, **settings: Any) -> Archive:
    return exchange.update(context(server, store, **settings), fan_out=serially, budget=_budget[0])


def read(store: Store, symbol: str, kind: str = "15m", source: str = UM) -> pd.DataFrame:
    """All chunks of a symbol; each holds its month alone, sorted."""
    parts = []
    for key in store.list(layout.archive(source, kind, symbol)):
        if key.endswith(".parquet"):
            part = pd.read_parquet(io.BytesIO(store.read(key))).set_index("time")
            assert part.index.is_monotonic_increasing
            assert set(part.index.strftime("%Y-%m")) == {key[-15:-8]}
            parts.append(part)
    return pd.concat(parts)


def hashes(store: Store) -> dict[str, str]:
    return {key: hashlib.sha256(store.read(key)).hexdigest() for key in store.list("archive")}


def finished(server: Exchange, symbol: str) -> pd.DataFrame:
    frame = server.frames[symbol]
    return frame[frame.index + STEP <= server.now]


def agrees(server: Exchange, store: Path | str, symbols: tuple[str, ...] = ("AAAUSDT", "BBBUSDT")) -> bool:
    for symbol in symbols:
        pd.testing.assert_frame_equal(read(open_store(str(store)), symbol), finished(server, symbol), check_freq=False)
    return True


def test_all_bars_and_rates_come_bar_by_bar_without_the_one_that_runs(binance: Exchange, tmp_path: Path) -> None:
    binance.listed += [
        contract("CCCUSDC", "CCC", "USDC"),
        contract("AAAUSDT_240628", "AAA", contractType="CURRENT_QUARTER", deliveryDate=1719561600000),
        contract("OLDUSDT", "OLD", status="SETTLING"),
    ]
    archive = update(binance, tmp_path, funding="source", quote="usdt")
    assert archive == Archive(f"archive/{UM}", "binance", "um", {})
    assert agrees(binance, tmp_path)
    store = open_store(str(tmp_path))
    assert store.list(f"archive/{UM}/15m/AAAUSDT") == [
        f"archive/{UM}/15m/AAAUSDT/AAAUSDT-15m-{end}"
        for end in ("1970-01-01.since", "2024-01.parquet", "2024-02.parquet", "2024-03.parquet")
    ]
    for symbol in ("AAAUSDT", "BBBUSDT"):
        rates = read(store, symbol, "funding")
        assert list(rates.columns) == ["rate"]
        pd.testing.assert_series_equal(rates["rate"], binance.rates[symbol], check_names=False, check_freq=False)
    assert f"archive/{UM}/funding/AAAUSDT/AAAUSDT-fundingRate-2024-01.parquet" in store.list()
    assert {each.symbol for each in binance.of(KLINES)} == {"AAAUSDT", "BBBUSDT"}
    assert len(binance.of(KLINES)) == -(-4_000 // PAGE) + -(-3_000 // PAGE)


def test_nothing_new_costs_no_request_for_candles_and_new_bars_cost_one_a_symbol(
    binance: Exchange, tmp_path: Path
) -> None:
    hidden = pd.Timedelta("10h")  # rates come every eight
    binance.now -= hidden
    update(binance, tmp_path, funding="source")
    store = open_store(str(tmp_path))
    before, stamps = hashes(store), store.stamps()
    binance.asked.clear()
    update(binance, tmp_path, funding="source")
    assert [each.path for each in binance.asked] == ["/fapi/v1/exchangeInfo", "/fapi/v1/time"]
    assert store.stamps() == stamps
    last = finished(binance, "AAAUSDT").index[-1]
    binance.now += hidden
    binance.asked.clear()
    update(binance, tmp_path, funding="source")
    assert [each.query["startTime"] for each in binance.of(KLINES)] == [str(int(last.timestamp() * 1000))] * 2
    assert len(binance.of("/fapi/v1/fundingRate")) == 2
    for symbol in ("AAAUSDT", "BBBUSDT"):
        assert read(store, symbol, "funding")["rate"].tolist() == binance.rates[symbol][: binance.now].tolist()
    assert agrees(binance, tmp_path)
    after = hashes(store)
    assert {key for key in after if after[key] != before.get(key)} >= {
        f"archive/{UM}/15m/{symbol}/{symbol}-15m-2024-03.parquet" for symbol in ("AAAUSDT", "BBBUSDT")
    }
    assert all(after[key] == before[key] for key in before if "2024-03" not in key)


def test_since_and_until_bound_what_is_fetched_and_older_days_are_filled_in_once(
    binance: Exchange, tmp_path: Path
) -> None:
    update(binance, tmp_path, since="2024-02-10", until="2024-02-20")
    store, whole = open_store(str(tmp_path)), finished(binance, "AAAUSDT")
    pd.testing.assert_frame_equal(read(store, "AAAUSDT"), whole.loc["2024-02-10":"2024-02-20"], check_freq=False)
    binance.asked.clear()
    update(binance, tmp_path, since="2024-02-10", until="2024-02-20")
    assert not binance.of(KLINES)
    update(binance, tmp_path)  # older and newer days
    assert agrees(binance, tmp_path)
    update(binance, tmp_path / "at once")
    ours, theirs = (
        {key: value for key, value in hashes(open_store(str(path))).items() if key.endswith(".parquet")}
        for path in (tmp_path, tmp_path / "at once")
    )
    assert ours == theirs
    binance.asked.clear()
    update(binance, tmp_path)
    update(binance, tmp_path, since="2023-01-01")
    assert not binance.of(KLINES)


@pytest.mark.parametrize("start", ["2019-11-20", "2031-05-20"])
def test_the_clock_of_the_exchange_counts_however_ours_goes(start: str, tmp_path: Path) -> None:
    with serving(market(1_200, start)) as server:
        update(server, tmp_path)
        assert agrees(server, tmp_path)
        server.now = server.frames["AAAUSDT"].index[-1] + STEP  # to the millisecond
        update(server, tmp_path)
        assert read(open_store(str(tmp_path)), "AAAUSDT").index[-1] == server.frames["AAAUSDT"].index[-1]


def test_short_unordered_and_overlapping_pages_come_out_whole(binance: Exchange, tmp_path: Path) -> None:
    seen: list[Any] = []

    def twist(rows: list[Any]) -> list[Any]:
        early = [row for row in seen[-3:] if rows and row[0] < rows[0][0]]
        seen[:] = rows
        return [*rows[::-1], *early, *rows[:2]]

    binance.twist, binance.most = twist, 300
    binance.frames["AAAUSDT"] = binance.frames["AAAUSDT"].drop(binance.frames["AAAUSDT"].index[500:1_700])  # an outage
    assert update(binance, tmp_path).flaws == {}
    assert agrees(binance, tmp_path)


def test_what_fails_for_a_moment_is_asked_again(binance: Exchange, tmp_path: Path) -> None:
    binance.faults = [
        Fault(503, b"<html>busy</html>", path="/fapi/v1/exchangeInfo"),
        Fault(502, b"<html>busy</html>", path=KLINES, times=2, after=1),
        Fault(200, b"<html>are you a robot?</html>", path=KLINES, after=4),
        Fault(path=KLINES, after=5, cut=0.5),
        Fault(path=KLINES, after=6, cut=0.0),
        Fault(path=KLINES, after=7, hang_up=True),
        Fault(429, b'{"code":-1003,"msg":"Too many requests."}', path=KLINES, after=8),
    ]
    assert update(binance, tmp_path).flaws == {}
    assert all(each.seen > each.after for each in binance.faults)
    assert agrees(binance, tmp_path)


SENSELESS = [
    (Fault(200, b"<html>are you a robot?</html>"), "no JSON, 29 bytes beginning b'<html>"),
    (Fault(cut=0.7), "no JSON"),
    (Fault(200, b'{"rows": 3}'), "row 0 of a page has the time 'None'"),
    (Fault(400, b'{"code":-1100,"msg":"Illegal characters"}'), "Illegal characters"),
    (Fault(302, b"", {"Location": "http://127.0.0.1:9/"}), "binanceusdm refused: ExchangeError"),
    (Fault(500, b"down"), "does not answer: 8 attempts"),
    (Fault(200, b'[["soon",1,2,3,4,5]]'), "row 0 of a page has the time 'None'"),
    (Fault(200, b'[[9000000000000000,"1","1","1","1","1"]]'), "a page has a row of .* long after 2024-03-01"),
    (Fault(200, b"[[1e400,1,1,1,1,1]]"), "row 0 of a page has the time|cannot be read"),
    (Fault(200, b'[null, 7, "x", []]'), "row 0 of a page|cannot be read"),
    (Fault(200, b"[" * 100_000), "no JSON"),
]


def test_symbols_whose_answers_make_no_sense_cost_no_other(tmp_path: Path) -> None:
    names = tuple(f"X{number:02d}" for number in range(len(SENSELESS)))
    with serving(market(1_200, "2024-02-18", ("AAA", *names, "ZZZ"))) as server:
        for name, (fault, _) in zip(names, SENSELESS, strict=True):
            fault.path, fault.symbol, fault.times = KLINES, f"{name}USDT", 10_000
            server.faults.append(fault)
        flaws = update(server, tmp_path).flaws
        assert sorted(flaws) == [f"{name}USDT" for name in names]
        for name, (_, words) in zip(names, SENSELESS, strict=True):
            assert re.search(words, flaws[f"{name}USDT"]), flaws[f"{name}USDT"]
            assert "\n" not in flaws[f"{name}USDT"]
        assert agrees(server, tmp_path, ("AAAUSDT", "ZZZUSDT"))
        server.faults = []
        assert update(server, tmp_path).flaws == {}
        assert agrees(server, tmp_path, tuple(server.frames))


def test_absurd_numbers_go_to_validation_as_they_are(binance: Exchange, tmp_path: Path) -> None:
    def twist(rows: list[Any]) -> list[Any]:
        for row in rows:
            if row[0] == 1_705_709_700_000:
                row[1:6] = ["1e400", "-5", "abc", None, "0"]
        return rows

    binance.twist = twist
    assert update(binance, tmp_path).flaws == {}
    row = read(open_store(str(tmp_path)), "AAAUSDT").loc[pd.Timestamp("2024-01-20 00:15", tz="UTC")]
    assert row.tolist()[:2] == [np.inf, -5.0]
    assert row.isna().tolist() == [False, False, True, True, False]


def test_symbols_that_climb_or_are_unknown_are_named_and_the_rest_goes_on(binance: Exchange, tmp_path: Path) -> None:
    binance.listed += [
        contract("../../XUSDT", "../../X"),
        contract("币安人生USDT", "币安人生"),
        contract("DDDUSD1", "DDD", "USD1"),
        contract("A" * 300 + "USDT", "A" * 300),
    ]
    for symbol in ("币安人生USDT", "DDDUSD1"):
        binance.frames[symbol] = binance.frames["BBBUSDT"]
    flaws = update(binance, tmp_path / "store").flaws
    assert {name[:8] for name in flaws} == {"../../X/", "A" * 8}
    assert all("no file can be named" in words for words in flaws.values())
    assert agrees(binance, tmp_path / "store", ("AAAUSDT", "BBBUSDT", "币安人生USDT", "DDDUSD1"))
    assert {path.name for path in tmp_path.iterdir()} == {"store"}
    flaws = update(binance, tmp_path / "two", tickers=["AAA/USDT:USDT", "binance-um:BBBUSDT", "ZZZUSDT"]).flaws
    assert list(flaws) == ["ZZZUSDT"]
    assert "trades no ZZZUSDT" in flaws["ZZZUSDT"]
    assert open_store(str(tmp_path / "two")).folders(f"archive/{UM}/15m") == ["AAAUSDT", "BBBUSDT"]


def test_a_ban_ends_the_run_with_one_paragraph_and_what_was_fetched_stays(binance: Exchange, tmp_path: Path) -> None:
    binance.faults = [Fault(418, b'{"code":-1003,"msg":"banned"}', {"Retry-After": "7200"}, KLINES, after=12)]
    with pytest.raises(ExchangeUnavailableError, match=r"shut us out for 7,200 s .*lower ingest.rate") as caught:
        update(binance, tmp_path)
    assert "\n" not in str(caught.value)
    assert len(binance.of(KLINES)) == 13
    kept = hashes(open_store(str(tmp_path)))
    assert any(key.endswith(".parquet") for key in kept)
    update(binance, tmp_path)
    assert agrees(binance, tmp_path)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault(451, b"restricted location"), "lets nobody in from here, with status 451.*ingest.endpoint"),
        (Fault(503, b"down"), "does not answer: 8 attempts"),
        (Fault(429, b"slow down"), "again and again to slow down \\(8 attempts"),
    ],
)
def test_an_exchange_that_answers_nobody_ends_the_run(
    binance: Exchange, budget: Budget, tmp_path: Path, fault: Fault, words: str
) -> None:
    fault.path, fault.times = KLINES, 10_000
    binance.faults = [fault]
    ctx = context(binance, tmp_path)
    with pytest.raises(ExchangeUnavailableError, match=words):
        exchange.update(ctx, fan_out=together, budget=budget)


def together(function: Any, shards: list[Any], **kwargs: Any) -> Iterator[Any]:
    """All items in one shard, so that the second meets what the first has met."""
    return serially(function, [list(itertools.chain(*shards))], **kwargs)


def ready(_: int) -> None:
    """Let every worker start and import what it needs."""
    time.sleep(0.3)


def test_two_workers_keep_to_one_rate_and_a_hold_holds_both(tmp_path: Path) -> None:
    with serving(market(3_000, symbols=("AAA", "BBB", "CCC", "DDD"))) as server:
        server.slow = 0.05
        server.faults = [Fault(429, b"{}", {"Retry-After": "1"}, KLINES, after=12)]
        list(fan_out(ready, [1, 2], name="ready"))
        began = time.monotonic()
        archive = exchange.update(context(server, tmp_path, rate=10))
        assert archive.flaws == {}
        assert agrees(server, tmp_path, ("AAAUSDT", "BBBUSDT", "CCCUSDT", "DDDUSDT"))
        asked = server.of(KLINES)
    moments = [each.moment for each in asked]
    # a request comes later than it was granted, and never earlier
    assert all(moment - began >= (number - 1) / 10 for number, moment in enumerate(moments))
    refused = moments[12] + 0.05  # when the answer left
    assert sum(refused + 0.1 < each < refused + 0.95 for each in moments) <= 1  # which was under way
    switches = sum(one.symbol != other.symbol for one, other in itertools.pairwise(asked))
    assert switches > 3  # side by side


def test_by_its_own_limit_an_exchange_is_asked_by_weight(binance: Exchange, tmp_path: Path) -> None:
    settings = {"rate": None, "since": "2024-02-28", "funding": "source"}
    exchange.update(context(binance, tmp_path, **settings), fan_out=serially)
    assert [each.weight for each in binance.asked] == [1, 1, 2, 1, 2, 1]
    # at 20 a second, and rates weigh 12 here: 500 in five minutes
    assert binance.asked[4].moment - binance.asked[3].moment >= 12 / 20 - 0.05


DRIVER = """
import sys
from jobs import exchange
from tests.jobs.conftest import make_context, serially
from tests.jobs.test_exchange import Free
store, url = sys.argv[1:]
settings = {"bar": "15m", "endpoint": url, "rate": 2000, "funding": "source"}
exchange.update(make_context(store, source="ccxt:binanceusdm", ingest=settings), fan_out=serially, budget=Free())
"""


class Free:
    """A budget for a process without Ray."""

    def take(self, weight: float = 1.0) -> None: ...
    def hold(self, seconds: float) -> None: ...


def test_a_run_killed_anywhere_is_completed_by_the_next_with_the_same_bytes(binance: Exchange, tmp_path: Path) -> None:
    update(binance, tmp_path / "undisturbed", funding="source")
    store = open_store(str(tmp_path / "store"))
    binance.slow = 0.02
    for files in (1, 5, 8):  # a mark; chunks and a mark of rates; the second symbol
        kill_once([sys.executable, "-c", DRIVER, store.url, binance.url], lambda: len(store.list()) >= files, 300)  # noqa: B023
        assert files <= len(store.list("archive")) < len(list((tmp_path / "undisturbed").rglob("*.*")))
    binance.slow = 0
    update(binance, tmp_path / "store", funding="source")
    assert hashes(store) == hashes(open_store(str(tmp_path / "undisturbed")))
    assert agrees(binance, tmp_path / "store")


def test_a_store_that_fails_while_old_days_are_filled_in_leaves_an_archive_that_says_so(
    binance: Exchange, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    update(binance, tmp_path, since="2024-03-01")
    write, left = Store.write, [1]

    def failing(self: Store, key: str, data: bytes) -> None:
        if not left[0]:
            raise StoreUnavailableError("the store is gone")
        left[0] -= 1
        write(self, key, data)

    monkeypatch.setattr(Store, "write", failing)
    with pytest.raises(StoreUnavailableError):
        update(binance, tmp_path)
    monkeypatch.setattr(Store, "write", write)
    assert update(binance, tmp_path).flaws == {}
    assert agrees(binance, tmp_path)


@pytest.fixture
def upbit() -> Iterator[Exchange]:
    """Pairs against won with holes: bars without trades, and months without any."""
    generator = np.random.default_rng(3)
    frames = {}
    for seed, market_id in enumerate(("KRW-BTC", "KRW-IOTA")):
        frame = random_walk(1_500, seed=seed, price=50_000)
        frame.index = pd.date_range("2023-02-27", periods=1_500, freq=STEP, tz="UTC", unit="us", name="time")
        later = random_walk(600, seed=seed + 9)
        later.index = pd.date_range("2023-11-17 06:15", periods=600, freq=STEP, tz="UTC", unit="us", name="time")
        frame = pd.concat([frame, later])
        frames[market_id] = frame[generator.random(len(frame)) > (0.7 if seed else 0.02)]
    listed = [{"market": name, "korean_name": name, "english_name": name} for name in [*frames, "BTC-ETH"]]
    now = pd.Timestamp("2023-11-23 12:20", tz="UTC")
    with serving(Exchange(frames, now, listed=listed)) as server:
        yield server


def test_upbit_comes_with_its_holes_and_voids_cost_few_requests(upbit: Exchange, tmp_path: Path) -> None:
    settings = {"source": "ccxt:upbit", "market": "spot", "quote": "KRW"}
    archive = update(upbit, tmp_path, **settings)
    assert archive == Archive("archive/ccxt-upbit-spot", "upbit", "spot", {})
    store = open_store(str(tmp_path))
    for name, symbol in (("KRW-BTC", "BTCKRW"), ("KRW-IOTA", "IOTAKRW")):
        pd.testing.assert_frame_equal(
            read(store, symbol, source="ccxt-upbit-spot"), finished(upbit, name), check_freq=False
        )
    asked = len(upbit.of("/v1/candles"))
    assert asked <= 2 * (1_500 / 200 + 600 / 200 + 16)  # of the 9,400 pages since 1970, or 130 since the first bar
    upbit.asked.clear()
    update(upbit, tmp_path, **settings)
    assert len(upbit.of("/v1/candles")) <= 2
    upbit.now += pd.Timedelta("3h")
    update(upbit, tmp_path, **settings)
    pd.testing.assert_frame_equal(
        read(store, "IOTAKRW", source="ccxt-upbit-spot"), finished(upbit, "KRW-IOTA"), check_freq=False
    )


def test_real_bars_arrive_as_they_are(market_data: Path, tmp_path: Path) -> None:
    frames = {}
    for symbol in ("ETHUSDT", "1000BONKUSDT"):
        frame = pd.read_parquet(market_data / "binance_um_15m" / f"{symbol}.parquet").set_index("time").iloc[-6_000:]
        frame.index = frame.index.as_unit("us")
        frames[symbol] = frame[["open", "high", "low", "close", "volume"]].astype(float)
    listed = [contract(symbol, symbol.removesuffix("USDT")) for symbol in frames]
    with serving(Exchange(frames, frames["ETHUSDT"].index[-1] + 2 * STEP, listed=listed)) as server:
        assert update(server, tmp_path).flaws == {}
        assert agrees(server, tmp_path, tuple(frames))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"source": "ccxt:binanceusd"}, "did you mean ccxt:binanceusdm, ccxt:binanceus, "),
        ({"source": "ccxt:"}, "no exchange ''"),
        ({"bar": None}, "ingest.bar is not set.*15m"),
        ({"bar": "17m"}, "ingest.bar is '17m'; binanceusdm has bars of"),
        ({"market": "cm"}, "allowed are um and spot"),
        ({"market": "spot"}, "lists no spot pairs.*'um'"),
        ({"quote": "KRW"}, "none of the 2 linear perpetuals.*'KRW'.*USDT"),
        ({"tickers": ["ZZZ"]}, "no symbol of binanceusdm is left.*ZZZ"),
        ({"since": "2099-01-01"}, "ingest.since is 2099-01-01"),
        ({"since": "2024-02-02", "until": "2024-02-01"}, "allowed is a first day"),
        ({"endpoint": "ftp://mirror"}, "ingest.endpoint is no address"),
        ({"endpoint": "http://user:secret@mirror"}, "without credentials"),
    ],
)
def test_what_cannot_be_had_as_asked_is_refused(
    binance: Exchange, tmp_path: Path, settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(ExchangeError, match=words) as caught:
        update(binance, tmp_path, **settings)
    assert "secret" not in str(caught.value)
    assert not binance.of(KLINES)
    assert not list(tmp_path.rglob("*.parquet"))


def test_where_an_exchange_has_no_clock_its_answers_are_dated(upbit: Exchange) -> None:
    client = Client(Access("upbit", upbit.url), Free())
    client.markets()
    assert client.now() == upbit.milliseconds
    upbit.dated = False
    client = Client(Access("upbit", upbit.url), Free())
    client.markets()
    assert abs(client.now() / 1000 - time.time()) < 5


def test_every_exchange_of_ccxt_with_candles_can_be_opened_on_a_mirror() -> None:
    opened = [Client(Access(name, "http://127.0.0.1:9/mirror")) for name in ccxt.exchanges]
    opened = [client for client in opened if client.ccxt.has.get("fetchOHLCV") is True]
    assert len(opened) > 80
    for client in opened:
        assert client.rate > 0
        assert client.lengths()
        addresses = re.findall(r"https?://[^/']*", str(client.ccxt.urls["api"]))
        assert set(addresses) == {"http://127.0.0.1:9"}, client.ccxt.id


def test_retry_after_is_seconds_or_a_date() -> None:
    now = pd.Timestamp("2024-01-01", tz="UTC").to_pydatetime()
    assert retry_after("17") == 17
    assert retry_after("Mon, 01 Jan 2024 00:01:00 GMT", now) == 60
    assert [retry_after(words, now) for words in ("", "soon", "-3", "nan")] == [0, 0, 0, 0]


def test_a_name_that_two_symbols_share_is_said() -> None:
    markets = {
        each["symbol"]: {"id": each["symbol"], "active": True, "swap": True, "linear": True, **each}
        for each in (
            {"symbol": "A/BUSD1:BUSD1", "base": "A", "quote": "BUSD1"},
            {"symbol": "AB/USD1:USD1", "base": "AB", "quote": "USD1"},
        )
    }
    listed, flaws = exchange_universe.universe("okx", markets, "um", None, ())
    assert [each.unified for each in listed] == ["A/BUSD1:BUSD1"]
    assert "both A/BUSD1:BUSD1 and AB/USD1:USD1 of okx are ABUSD1 here" in flaws["ABUSD1"]


def test_the_work_is_told_before_it_begins(binance: Exchange, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "assay")
    update(binance, tmp_path, since="2024-02-01")
    pages = -(-(finished(binance, "AAAUSDT").index[-1] - pd.Timestamp("2024-02-01", tz="UTC")) // (STEP * PAGE))
    assert f"2 symbols in bars of 15m, about {2 * pages} requests, 0 s at 2000 a second" in caplog.text
