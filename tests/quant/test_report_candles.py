import numpy as np
import pandas as pd
import pytest

from quant import report_candles
from quant.report_candles import MOST_TRADES, Picture, compact, picture
from quant.schemas import TRADES, frame
from tests.conftest import random_walk
from tests.quant.report_content import trades

NO_TRADES = frame(TRADES, [])


@pytest.mark.parametrize(("rows", "most", "each"), [(1_500, 1_500, 1), (1_501, 1_500, 2), (100, 30, 4), (7, 1, 7)])
def test_candles_are_those_of_a_plain_loop(rows: int, most: int, each: int) -> None:
    bars = random_walk(rows)
    bars = bars.drop(bars.index[5:6]) if rows == 100 else bars
    found = picture(bars, NO_TRADES, most)
    assert found.bars == each
    expected = []
    for first in range(0, len(bars), each):
        some = bars.iloc[first : first + each]
        expected.append(
            (some.index[0], some["open"].iloc[0], max(some["high"]), min(some["low"]), some["close"].iloc[-1])
        )
    assert len(expected) <= most
    assert [*found.candles.itertuples(name=None)] == expected


def unpacked(drawn: Picture) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What a browser makes of the whole numbers, one after the other."""
    sent = compact(drawn)
    rows, clock, before = [], 0, 0
    candles = sent["candles"]
    for time, opened, close, high, low in zip(*(candles[name] for name in ("time", "open", "close", "high", "low"))):  # noqa: B905
        clock += time
        first, last = before + opened, before + close
        rows.append((clock, first, max(first, last) + high, min(first, last) - low, last))
        before = last
    prices = pd.DataFrame(rows, columns=["time", *report_candles.PRICES]).set_index("time") / 10 ** candles["digits"]
    return prices, pd.DataFrame(sent["trades"])


@pytest.mark.parametrize("price", [100.0, 1.2e-7, 87_000.0, 3e6])
def test_prices_times_and_trades_come_back_from_the_whole_numbers(price: float) -> None:
    bars = random_walk(3_000, price=price)
    drawn = picture(bars, trades(bars, 20, np.random.default_rng(1)))
    prices, made = unpacked(drawn)
    assert prices.index.tolist() == drawn.candles.index.as_unit("s").asi8.tolist()
    np.testing.assert_allclose(prices, drawn.candles, rtol=5e-5)
    entries = made["entry"].cumsum()
    assert entries.tolist() == drawn.trades["entry_time"].dt.as_unit("s").astype("int64").tolist()
    assert (entries + made["held"]).tolist() == drawn.trades["exit_time"].dt.as_unit("s").astype("int64").tolist()
    for name, column in (("entry_price", "entry_price"), ("exit_price", "exit_price"), ("return", "trade_return")):
        np.testing.assert_allclose(made[name], drawn.trades[column], rtol=1e-3 if name == "return" else 1e-6)
    assert made[["side", "exit"]].to_numpy().tolist() == drawn.trades[["side", "exit"]].to_numpy().tolist()


def test_a_ticker_without_bars_has_no_candles() -> None:
    nothing = {"candles": None, "trades": None, "traded": 0, "bars": 1}
    assert compact(picture(random_walk(3).iloc[:0], NO_TRADES)) == nothing


@pytest.mark.parametrize("number", [MOST_TRADES, MOST_TRADES + 1, 1_400])
def test_of_many_trades_the_latest_are_drawn_and_all_are_counted(number: int) -> None:
    bars = random_walk(3_000)
    every = trades(bars, number, np.random.default_rng(1))
    drawn = picture(bars, every)
    assert drawn.trades["number"].tolist() == list(range(number))[-MOST_TRADES:]
    sent = compact(drawn)
    assert sent["traded"] == number
    assert {len(column) for column in sent["trades"].values()} == {MOST_TRADES}
