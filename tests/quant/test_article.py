"""The article's backtests give, trade by trade, what its own code gives."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import talib as ta
from backtesting import Backtest, Strategy

from quant import article, bracket, bracket_input, features
from tests.conftest import random_walk


def candles(bars: pd.DataFrame, **columns: pd.Series) -> pd.DataFrame:
    """Bars as the article names their columns."""
    return bars.rename(columns=str.capitalize).assign(**columns)


class Label(Strategy):
    """The article's ``MyCandlesStrat``."""

    def init(self):
        self.signal1 = self.I(lambda: self.data.df["Target"])

    def next(self):
        if self.signal1 == 1:
            self.buy(sl=self.data.Close[-1] * (1 - 0.025), tp=self.data.Close[-1] * (1 + 0.025))
        elif self.signal1 == 2:
            self.sell(sl=self.data.Close[-1] * (1 + 0.025), tp=self.data.Close[-1] * (1 - 0.025))


class TestPart(Strategy):
    """The article's ``MyCandlesStrat_2_6``."""

    __test__ = False

    def init(self):
        self.signal1_1 = self.I(lambda: self.data.df["bcns"])

    def next(self):
        if self.signal1_1 == 1:
            self.buy(sl=self.data.Close[-1] * (1 - 0.055), tp=self.data.Close[-1] * (1 + 0.055))
        elif self.signal1_1 == 2:
            self.sell(sl=self.data.Close[-1] * (1 + 0.055), tp=self.data.Close[-1] * (1 - 0.055))


class AllBars(Strategy):
    """The article's ``MyCandlesStrat_010``."""

    def init(self):
        self.signal1_1 = self.I(lambda: self.data.df["bm"])
        self.ema_1_22 = self.I(lambda: self.data.df["ema_22"])
        self.ema_1_55 = self.I(lambda: self.data.df["ema_55"])
        self.ema_1_108 = self.I(lambda: self.data.df["ema_108"])

    def next(self):
        if (
            (self.signal1_1 == 1)
            and (self.data.Close > self.ema_1_22)
            and (self.ema_1_22 > self.ema_1_55)
            and (self.ema_1_55 > self.ema_1_108)
        ):
            self.buy(sl=self.data.Close[-1] * (1 - 0.025), tp=self.data.Close[-1] * (1 + 0.025))
        elif (
            (self.signal1_1 == 2)
            and (self.data.Close < self.ema_1_22)
            and (self.ema_1_22 < self.ema_1_55)
            and (self.ema_1_55 < self.ema_1_108)
        ):
            self.sell(sl=self.data.Close[-1] * (1 + 0.025), tp=self.data.Close[-1] * (1 - 0.025))

        if self.signal1_1 == 1:
            self.buy(sl=self.data.Close[-1] * (1 - 0.035), tp=self.data.Close[-1] * (1 + 0.025))
        elif self.signal1_1 == 2:
            self.sell(sl=self.data.Close[-1] * (1 + 0.035), tp=self.data.Close[-1] * (1 - 0.025))


@pytest.fixture(scope="module")
def bars() -> pd.DataFrame:
    """A random walk on which stops and targets of a few percent are met."""
    return random_walk(3_000, seed=3, volatility=0.006)


def signals(bars: pd.DataFrame, share: float) -> pd.Series:
    drawn = np.random.default_rng(1).choice([0, 1, 2], len(bars), p=[1 - share, share / 2, share / 2])
    return pd.Series(drawn.astype(np.int8), bars.index)


def by_its_own_code(frame: pd.DataFrame, strategy: Any, **options: Any) -> pd.DataFrame:
    with bracket.quietly():
        return Backtest(frame, strategy, cash=100_000, commission=0.001, **options).run()["_trades"]


def same(ours: pd.Series, theirs: pd.DataFrame) -> bool:
    columns = ["Size", "EntryBar", "ExitBar", "EntryPrice", "ExitPrice", "PnL"]
    assert len(theirs) > 20
    return ours["_trades"][columns].equals(theirs[columns])


def test_the_label_itself(bars: pd.DataFrame) -> None:
    label = signals(bars, 0.3)
    theirs = by_its_own_code(candles(bars, Target=label), Label, exclusive_orders=True)
    assert same(article.of_the_label(bars, label), theirs)


def test_the_test_part(bars: pd.DataFrame) -> None:
    signal = signals(bars, 0.1)
    assert same(article.of_the_test_part(bars, signal), by_its_own_code(candles(bars, bcns=signal), TestPart))


@pytest.mark.parametrize("share", [0.02, 0.3])
def test_all_bars_by_both_blocks(bars: pd.DataFrame, share: float) -> None:
    signal = signals(bars, share)
    averages = {f"ema_{period}": pd.Series(ta.EMA(bars["close"], period), bars.index) for period in (22, 55, 108)}
    # the article drops what has no average yet
    known = averages["ema_108"].notna()
    theirs = by_its_own_code(candles(bars, bm=signal, **averages)[known], AllBars)
    trending = bracket_input.trend_filter(bars, signal)
    assert (trending != 0).any() and (trending != signal).any()
    assert same(article.of_all_bars(bars[known], signal[known], trending[known]), theirs)


def test_whole_numbers_are_those_of_astype(bars: pd.DataFrame) -> None:
    values = pd.concat([bars * 7.3, -bars], axis=1, keys=["up", "down"])
    assert features.in_whole_numbers(values).equals(values.astype(int).astype(float))
    assert article.can_be_traded(features.in_whole_numbers(bars))
    assert not article.can_be_traded(features.in_whole_numbers(bars / bars["close"].min() / 2))
