"""The shortlist for freqtrade: its files, and its strategy's rules against the engine, without freqtrade."""

import json
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant import export_freqtrade
from quant.costs import Costs
from quant.engine import replay
from quant.export import ExportError, to_json
from quant.parameters import BracketParameters
from tests.quant import engine_cases

QUARTER = pd.Timedelta(minutes=15)
ETH, SOL = "binance-um:ETHUSDT", "binance-um:SOLUSDT"
FULL = BracketParameters(0.02, 0.03, 0.001, 0.018, 0.025, 0.002, 3, 0.015, 0.008, ((0, 0.05), (40, 0.01), (96, -1.0)))
STRANGE = 'binance-um:"""\'{{}}\\n<timeframe>.*+USDT'


def shortlist(*tickers: str) -> pd.DataFrame:
    return pd.DataFrame({"ticker": tickers, "shortlisted": True, "rank": range(len(tickers))})


def source() -> str:
    return export_freqtrade.strategy("15m")


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """The strategy as freqtrade imports it, beside its parameters; of freqtrade there is only what it imports."""
    file = tmp_path_factory.mktemp("strategies") / "AssayBracket.py"
    file.write_text(source(), "utf-8")
    chosen = {ETH: FULL, SOL: BracketParameters(0.02, 0.03, leverage=3)}
    parameters = export_freqtrade.parameters(shortlist(ETH, SOL), chosen, QUARTER)
    file.with_name("assay_parameters.json").write_text(to_json(parameters), "utf-8")
    strategy = ModuleType("freqtrade.strategy")
    strategy.__dict__.update(IStrategy=object, timeframe_to_minutes={"15m": 15}.__getitem__)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "freqtrade", ModuleType("freqtrade"))
        patch.setitem(sys.modules, "freqtrade.strategy", strategy)
        found = spec_from_file_location("AssayBracket", file)
        assert found is not None
        assert found.loader is not None
        loaded = module_from_spec(found)
        found.loader.exec_module(loaded)
        yield loaded


def test_pair_list_is_a_configuration_with_the_best_first() -> None:
    tickers = ["demo:BBBUSDT", "binance-um:1000PEPEUSDT", "demo:CCCUSDT"]
    table = pd.DataFrame({"ticker": tickers, "shortlisted": [True, True, False], "rank": [2, 1, 3]})
    assert export_freqtrade.pair_list(table, QUARTER) == {
        "trading_mode": "futures",
        "margin_mode": "isolated",
        "timeframe": "15m",
        "exchange": {"pair_whitelist": ["1000PEPE/USDT:USDT", "BBB/USDT:USDT"]},
        "pairlists": [{"method": "StaticPairList"}],
        "entry_pricing": {"price_side": "other"},
        "exit_pricing": {"price_side": "other"},
        "unfilledtimeout": {"entry": 15, "exit": 15, "unit": "minutes"},
    }


@pytest.mark.parametrize(("bar", "minutes", "name"), [("15min", 15, "15m"), ("1h", 60, "1h"), ("1D", 1440, "1d")])
def test_minutes_are_bars_times_their_length(bar: str, minutes: int, name: str) -> None:
    length = pd.Timedelta(bar)
    assert export_freqtrade.timeframe_of(length) == name
    assert export_freqtrade.parameters(shortlist(ETH), {ETH: FULL}, length) == {
        "ETH/USDT:USDT": {
            "stop_loss_long": 0.02,
            "take_profit_long": 0.03,
            "limit_long": 0.001,
            "stop_loss_short": 0.018,
            "take_profit_short": 0.025,
            "limit_short": 0.002,
            "leverage": 3.0,
            "trailing_activation": 0.015,
            "trailing_distance": 0.008,
            "time_table": [[0, 0.05], [40 * minutes, 0.01], [96 * minutes, -1.0]],
        }
    }


def test_parts_that_are_off_are_null() -> None:
    pair = export_freqtrade.parameters(shortlist(ETH), {ETH: BracketParameters()}, QUARTER)["ETH/USDT:USDT"]
    assert pair == dict.fromkeys(pair, None) | {"leverage": 1.0, "time_table": []}


def test_empty_shortlist_is_empty_files() -> None:
    nothing = shortlist(ETH).assign(shortlisted=False)
    assert export_freqtrade.pair_list(nothing, QUARTER)["exchange"] == {"pair_whitelist": []}
    assert export_freqtrade.parameters(nothing, {}, QUARTER) == {}


@pytest.mark.parametrize("bar", ["10min", "7D", "15min1s", "31D"])
def test_bars_that_freqtrade_lacks_are_refused(bar: str) -> None:
    for call in (export_freqtrade.pair_list, lambda table, bar: export_freqtrade.parameters(table, {ETH: FULL}, bar)):
        with pytest.raises(ExportError, match=r"which freqtrade has no candles of; allowed: 1m, .*, 1d"):
            call(shortlist(ETH), pd.Timedelta(bar))


@pytest.mark.parametrize("timeframe", ["10m", "", '15m"; import os; "', "1M"])
def test_timeframe_is_a_known_name(timeframe: str) -> None:
    with pytest.raises(ExportError, match="allowed: 1m, "):
        export_freqtrade.strategy(timeframe)


def test_shortlist_that_cannot_be_named_is_refused() -> None:
    both = [ETH, "bybit-um:ETHUSDT"]
    for call in (
        lambda: export_freqtrade.pair_list(shortlist(*both), QUARTER),
        lambda: export_freqtrade.parameters(shortlist(*both), dict.fromkeys(both, FULL), QUARTER),
    ):
        with pytest.raises(ExportError, match=r"both shortlisted and both ETH/USDT:USDT"):
            call()
    with pytest.raises(ExportError, match="binance-um:SOLUSDT is shortlisted without parameters"):
        export_freqtrade.parameters(shortlist(ETH, SOL), {ETH: FULL}, QUARTER)


def test_strange_names_are_data_and_never_source(module: ModuleType) -> None:
    pairs = export_freqtrade.pair_list(shortlist(STRANGE), QUARTER)
    parameters = export_freqtrade.parameters(shortlist(STRANGE), {STRANGE: FULL}, QUARTER)
    (name,) = parameters
    assert json.loads(to_json(parameters)) == parameters
    assert json.loads(to_json(pairs)) == pairs
    (pattern,) = pairs["exchange"]["pair_whitelist"]
    assert pd.Series([name, "ETH/USDT:USDT", name + "x"]).str.fullmatch(pattern).tolist() == [True, False, False]
    assert module.signal_file("../../etc/passwd") == "______etc_passwd.csv"
    assert module.signal_file("ETH/USDT:USDT") == "ETH_USDT_USDT.csv"


def test_source_differs_by_its_timeframe_alone() -> None:
    compile(source(), "AssayBracket.py", "exec")
    assert source().isascii()
    assert source().count('timeframe = "15m"') == 1
    assert "<timeframe>" not in source()
    assert export_freqtrade.strategy("4h") == source().replace('timeframe = "15m"', 'timeframe = "4h"')


# The rules.


def position(module: ModuleType, chosen: BracketParameters, side: int, closes: list[float], **rest: Any) -> Any:
    (pair,) = export_freqtrade.parameters(shortlist(ETH), {ETH: chosen}, QUARTER).values()
    facts = {"entry_price": 100.0, "deciding_close": 100.0, "minutes_held": 15 * len(closes)} | rest
    return module.Position(side=side, closes=closes, parameters=pair, **facts)


def managed(chosen: BracketParameters, side: int, entry: float, stop: float | None, closes: list[float]) -> Any:
    """The rules of ``quant.bracket`` once more, close by close: the stop, and whether the close ends the trade."""
    for held, close in enumerate(closes, start=1):
        move = side * (close / entry - 1)
        least = [fraction for bars, fraction in chosen.minimum_profit or () if bars <= held][-1:]
        yield stop, bool(least) and move >= least[0]
        if chosen.trailing_activation is not None and move >= chosen.trailing_activation:
            pulled = close * (1 - side * (chosen.trailing_distance or 0))
            stop = pulled if stop is None else max(stop, pulled) if side == 1 else min(stop, pulled)
    yield stop, False


@settings(deadline=None)
@given(st.data())
def test_stop_and_time_table_are_those_of_the_rules(module: ModuleType, data: st.DataObject) -> None:
    side = data.draw(st.sampled_from([1, -1]))
    fraction = st.sampled_from([1 / 64, 2 / 64, 3 / 64])
    loss, activation = data.draw(st.none() | fraction), data.draw(st.none() | fraction)
    bars = sorted(data.draw(st.sets(st.integers(0, 12), max_size=4)))
    table = tuple((count, data.draw(st.sampled_from([-1.0, -1 / 64, 0.0, 1 / 64, 2 / 64]))) for count in bars)
    distance = None if activation is None else data.draw(fraction)
    chosen = BracketParameters(loss, None, None, loss, None, None, 2, activation, distance, table or None)
    # such numbers that moves from an entry at 64 meet the fractions exactly
    closes = [float(close) for close in data.draw(st.lists(st.integers(58, 70), max_size=15))]
    entry, deciding = float(data.draw(st.sampled_from([64, 64, 61, 66]))), 64.0
    first = None if loss is None else deciding * (1 - side * loss)
    for held, (stop, closing) in enumerate(managed(chosen, side, entry, first, closes)):
        facts = {"entry_price": entry, "deciding_close": deciding}
        assert module.stop_price(position(module, chosen, side, closes[:held], **facts)) == stop
        if held < len(closes):
            assert module.time_is_up(position(module, chosen, side, closes[: held + 1], **facts)) is closing
    assert not module.time_is_up(position(module, chosen, side, [], **facts))


@pytest.mark.parametrize("seed", range(60))
def test_a_trade_by_the_strategys_rules_is_the_engines(module: ModuleType, seed: int) -> None:
    random = np.random.default_rng(seed)
    bars = engine_cases.market(random, ("walk", "gaps", "violent", "cents")[seed % 4], 120)
    one = [1, 2][seed % 2]
    fractions = [None if random.random() < 0.2 else float(random.choice([0.01, 0.03])) for _ in range(4)]
    follows = (0.01, float(random.choice([0.005, 0.02]))) if random.random() < 0.7 else (None, None)
    table = ((4, 0.03), (12, 0.0), (40, -1.0))[int(random.integers(0, 3)) :]
    chosen = BracketParameters(fractions[0], fractions[1], None, fractions[2], fractions[3], None, 1, *follows, table)
    for decided in range(1, 70, 3):
        signal = np.zeros(len(bars), dtype=np.int8)
        signal[decided] = one
        trades = replay(bars, signal, chosen, Costs(cash=1e6, lot_size=1e-6)).trades
        found = trades[["exit_bar", "exit_price", "exit"]].itertuples(index=False, name=None)
        assert list(found) == traded(module, chosen, [1, -1][one - 1], bars, decided)


def traded(
    module: ModuleType, chosen: BracketParameters, side: int, bars: pd.DataFrame, decided: int
) -> list[tuple[int, float, str]]:
    """One trade as freqtrade would do it if it kept Assay's order inside a bar: bar, price and kind of the exit."""
    opened, high, low, close = (bars[name].tolist() for name in ("open", "high", "low", "close"))
    for bar in range(decided + 1, len(bars)):
        facts = {"entry_price": opened[decided + 1], "deciding_close": close[decided]}
        now = position(module, chosen, side, close[decided + 1 : bar], **facts)
        reason = module.exit_reason(now, opened[bar])
        stop, target = module.stop_price(now), module.target_price(now)
        worst, best = (low[bar], high[bar]) if side == 1 else (high[bar], low[bar])
        if reason in ("assay_time_table", "assay_stop"):
            return [(bar, opened[bar], "order" if reason == "assay_time_table" else "stop")]
        if module.is_beyond(worst, stop, -side):
            return [(bar, stop, "stop")]
        if reason == "assay_target" or module.is_beyond(best, target, side):
            return [(bar, opened[bar] if reason else target, "target")]
    return []


@pytest.mark.parametrize("side", [1, -1])
def test_stop_is_handed_over_as_a_distance_times_leverage(module: ModuleType, side: int) -> None:
    stop, price = 100 * (1 - side * 0.02), 100 * (1 + side * 0.1)
    value = module.stop_value(stop, 100 * (1 - side * 0.9), price, side, 3.0)
    assert price * (1 - side * value / 3) == pytest.approx(stop)  # how freqtrade turns it into a price again
    assert module.stop_value(stop, stop, price, side, 3.0) is None
    assert module.stop_value(stop, stop * (1 + side * 0.01), price, side, 3.0) is None
    assert module.stop_value(stop, 100 * (1 - side * 0.9), stop, side, 3.0) is None
    assert module.stop_value(None, 1.0, price, side, 3.0) is None


def test_candles_start_at_multiples_of_their_length(module: ModuleType) -> None:
    moment = datetime(2025, 3, 1, 13, 44, 59, 999999, tzinfo=UTC)
    assert module.candle_start(moment, 15) == datetime(2025, 3, 1, 13, 30, tzinfo=UTC)
    assert module.candle_start(datetime(2025, 3, 1, 13, 45, tzinfo=UTC), 15) == datetime(2025, 3, 1, 13, 45, tzinfo=UTC)
    assert module.candle_start(moment, 240) == datetime(2025, 3, 1, 12, tzinfo=UTC)
    assert module.candle_start(moment, 1440) == datetime(2025, 3, 1, tzinfo=UTC)


# What freqtrade calls.

START = datetime(2025, 3, 1, tzinfo=UTC)


class Trade(SimpleNamespace):
    """What the strategy needs of freqtrade's trade: a long from the open of the third candle, 5 seconds late."""

    def __init__(self, **facts: Any) -> None:
        usual = {"open_date_utc": START + timedelta(minutes=30, seconds=5), "open_rate": 100.0, "is_short": False}
        super().__init__(**usual | {"stop_loss": 1.0, "leverage": 3.0, "kept": {}} | facts)

    def get_custom_data(self, key: str) -> Any:
        return self.kept.get(key)

    def set_custom_data(self, key: str, value: Any) -> None:
        self.kept[key] = value

    def calc_profit_ratio(self, rate: float) -> float:
        return (rate / self.open_rate - 1) * self.leverage


def running(module: ModuleType, closes: Sequence[float], mode: str = "live", first: int = 0) -> Any:
    """The strategy when candles from START have closed, those before ``first`` forgotten."""
    dates = pd.date_range(START, periods=len(closes), freq="15min")
    candles = pd.DataFrame({"date": dates, "close": closes}).iloc[first:]
    strategy = module.AssayBracket()
    strategy.dp = SimpleNamespace(
        get_analyzed_dataframe=lambda pair, timeframe: (candles, None), runmode=SimpleNamespace(value=mode)
    )
    return strategy


def stoploss(strategy: Any, pair: str, trade: Any, rate: float, after_fill: bool = False) -> Any:
    return strategy.custom_stoploss(pair, trade, START, rate, 0.0, after_fill)


def leaving(strategy: Any, pair: str, trade: Any, rate: float) -> Any:
    return strategy.custom_exit(pair, trade, START, rate, 0.0)


def test_stop_and_target_are_measured_from_the_deciding_close(module: ModuleType) -> None:
    strategy, trade = running(module, [90.0, 99.0]), Trade()
    value = stoploss(strategy, "SOL/USDT:USDT", trade, 100.0, after_fill=True)
    assert 100.0 * (1 - value / 3) == pytest.approx(99.0 * 0.98)
    profit = strategy.custom_roi("SOL/USDT:USDT", trade, START, 0, None, "long")
    assert profit == pytest.approx((99.0 * 1.03 / 100 - 1) * 3)
    reasons = [leaving(strategy, "SOL/USDT:USDT", trade, rate) for rate in (97.02, 97.03, 101.9, 101.97)]
    assert reasons == ["assay_stop", None, None, "assay_target"]


def test_deciding_close_outlives_its_candle(module: ModuleType) -> None:
    trade = Trade()
    stoploss(running(module, [90.0, 99.0]), "SOL/USDT:USDT", trade, 100.0, after_fill=True)
    closes = [90.0, 99.0, 100.0, 101.0, 100.0]
    for held, first in ((trade, 3), (Trade(), 0)):
        later = running(module, closes, first=first)
        assert [leaving(later, "SOL/USDT:USDT", held, rate) for rate in (97.0, 97.1)] == ["assay_stop", None]


def test_time_is_counted_from_the_start_of_the_entrys_candle(module: ModuleType) -> None:
    trade = Trade()
    assert leaving(running(module, [90.0, 100.0]), "ETH/USDT:USDT", trade, 100.0) is None
    assert leaving(running(module, [90.0, 100.0, 105.0]), "ETH/USDT:USDT", trade, 102.0) == "assay_time_table"
    flat = [90.0, 100.0] + [100.0] * 96
    assert leaving(running(module, flat[:-1]), "ETH/USDT:USDT", trade, 100.0) is None
    assert leaving(running(module, flat), "ETH/USDT:USDT", trade, 100.0) == "assay_time_table"
    assert leaving(running(module, flat, first=60), "ETH/USDT:USDT", trade, 100.0) == "assay_time_table"


def test_stop_trails_by_closes_and_never_back(module: ModuleType) -> None:
    trade = Trade(stop_loss=98.0)
    value = stoploss(running(module, [90.0, 100.0, 102.0]), "ETH/USDT:USDT", trade, 103.0)
    assert 103.0 * (1 - value / 3) == pytest.approx(102.0 * 0.992)
    trade.stop_loss = 102.0 * 0.992
    assert stoploss(running(module, [90.0, 100.0, 102.0, 101.6]), "ETH/USDT:USDT", trade, 103.0) is None
    assert stoploss(running(module, [90.0, 100.0, 102.0]), "ETH/USDT:USDT", trade, 101.0) is None


def test_backtest_does_not_look_at_the_candle_of_an_entry_with_a_limit(module: ModuleType) -> None:
    entering, held = [90.0, 100.0], [90.0, 100.0, 100.0]
    for closes, mode, looks in ((entering, "backtest", False), (entering, "live", True), (held, "backtest", True)):
        strategy = running(module, closes, mode)
        found = leaving(strategy, "ETH/USDT:USDT", Trade(), 104.0)
        assert found == ("assay_target" if looks else None)
        assert (strategy.custom_roi("ETH/USDT:USDT", Trade(), START, 0, None, "long") is not None) is looks
        assert stoploss(strategy, "ETH/USDT:USDT", Trade(), 104.0, after_fill=True) is not None
        assert (stoploss(strategy, "ETH/USDT:USDT", Trade(), 104.0) is not None) is looks
    assert leaving(running(module, entering, "backtest"), "SOL/USDT:USDT", Trade(), 104.0) == "assay_target"


def test_entry_is_not_worse_than_the_limit_and_ends_with_its_candle(module: ModuleType) -> None:
    strategy, now = running(module, [90.0, 100.0]), START + timedelta(minutes=31)

    def price(pair: str, proposed: float, side: str) -> Any:
        return strategy.custom_entry_price(pair, None, now, proposed, None, side)

    assert [price("ETH/USDT:USDT", proposed, "long") for proposed in (100.05, 101.0)] == [100.05, 100.0 * (1 + 0.001)]
    assert [price("ETH/USDT:USDT", proposed, "short") for proposed in (99.9, 99.0)] == [99.9, 100.0 * (1 - 0.002)]
    assert price("SOL/USDT:USDT", 150.0, "long") == 150.0
    order = SimpleNamespace(order_date_utc=now)
    moments = [START + timedelta(minutes=44, seconds=59), START + timedelta(minutes=45)]
    assert [strategy.check_entry_timeout("ETH/USDT:USDT", None, order, at) for at in moments] == [False, True]


def test_leverage_is_the_pairs_as_far_as_the_exchange_allows(module: ModuleType) -> None:
    strategy = running(module, [])
    assert [strategy.leverage("ETH/USDT:USDT", START, 1.0, 1.0, most, None, "long") for most in (2.0, 20.0)] == [2, 3]


def test_trade_of_a_pair_that_has_left_the_file_is_left_alone(module: ModuleType) -> None:
    strategy = running(module, [90.0, 100.0, 105.0])
    assert leaving(strategy, "XRP/USDT:USDT", Trade(), 1.0) is None
    assert stoploss(strategy, "XRP/USDT:USDT", Trade(), 100.0, after_fill=True) is None
    assert strategy.custom_roi("XRP/USDT:USDT", Trade(), START, 0, None, "long") is None


def test_signals_are_read_from_the_pairs_file(
    module: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    strategy = running(module, [])
    assert strategy.parameters  # read before HERE changes
    monkeypatch.setattr(module, "HERE", tmp_path)
    (tmp_path / "signals").mkdir()
    (tmp_path / "signals" / "ETH_USDT_USDT.csv").write_text(
        "time,signal\n2025-03-01 00:15:00+00:00,1\n2025-03-01 00:45:00+00:00,2\n2026-01-01 00:00:00+00:00,2\n"
    )
    candles = pd.DataFrame({"date": pd.date_range(START, periods=4, freq="15min", unit="ms")})

    def columns(pair: str) -> Any:
        frame = candles.copy()
        for step in (strategy.populate_indicators, strategy.populate_entry_trend, strategy.populate_exit_trend):
            frame = step(frame, {"pair": pair})
        return frame[["enter_long", "enter_short", "exit_long", "exit_short"]].to_numpy().tolist()

    assert columns("ETH/USDT:USDT") == [[0, 0, 0, 0], [1, 0, 0, 1], [0, 0, 0, 0], [0, 1, 1, 0]]
    assert np.sum(columns("SOL/USDT:USDT")) == 0
    assert "SOL/USDT:USDT has no signals" in caplog.text
    assert np.sum(columns("XRP/USDT:USDT")) == 0
    (tmp_path / "signals" / "SOL_USDT_USDT.csv").write_text("time,signal\n2025-03-01 00:15:00+00:00,0.5\n")
    with pytest.raises(ValueError, match=r"SOL_USDT_USDT.csv holds signals other than 0 none, 1 long, 2 short"):
        columns("SOL/USDT:USDT")
