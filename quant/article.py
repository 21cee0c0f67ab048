"""The CNN article's backtests: three as its code has them, by backtesting.py, and the parameters of the fourth.

They exist to show what the article's protocol claims; `quant.protocols` says what is wrong with each. All take whole
units, 100,000 of cash and 0.1 % a side, and leave an open last trade in the equity.
"""

from collections.abc import Sequence
from typing import Any

import backtesting.backtesting as library
import pandas as pd

from quant import bracket
from quant.bracket_input import PRICES, prices, signals
from quant.costs import Costs
from quant.parameters import BracketParameters

COSTS = Costs(commission=0.001, cash=100_000.0)


def both_sides(stop: float, take: float, limit: float | None = None, **further: Any) -> BracketParameters:
    """Make a set that is the same for longs and for shorts."""
    return BracketParameters(stop, take, limit, stop, take, limit, **further)


LABEL, TESTED = both_sides(0.025, 0.025), both_sides(0.055, 0.055)
WITH_THE_TREND, ANY = (0.025, 0.025), (0.035, 0.025)
"""Stop and target of the two entry blocks of the third backtest."""
ASSET = both_sides(
    *(0.052, 0.055, 0.054),
    trailing_activation=0.045,
    trailing_distance=0.005,
    minimum_profit=((50, 0.054), (100, 0.05), (150, 0.045), (200, 0.04), (300, 0.03), (500, 0.01)),
)
"""What every entry of ``custom_assets`` that the article shows was traded with, in its fourth backtest, whose code it
does not show."""


class Entries(library.Strategy):  # type: ignore[misc]
    """Both entry blocks of the article's full backtest, in its order; `of_all_bars` sets the class attributes."""

    blocks: Sequence[tuple[Sequence[int], tuple[float, float]]] = ()
    closes: Sequence[float] = ()

    def init(self) -> None:
        """Start before the first bar."""
        self.bar = 0

    def next(self) -> None:
        """Order at the close of a bar what each block orders; the second knows nothing of the first."""
        self.bar += 1
        close = self.closes[self.bar]
        for wanted, (stop, take) in self.blocks:
            if wanted[self.bar] == 1:
                self.buy(sl=close * (1 - stop), tp=close * (1 + take))
            elif wanted[self.bar] == 2:
                self.sell(sl=close * (1 + stop), tp=close * (1 - take))


def of_the_label(bars: pd.DataFrame, label: pd.Series) -> pd.Series:
    """The first: the label itself as the signal, 2.5 / 2.5 %, with exclusive orders; backtesting.py's ``stats``."""
    return bracket.reference(bars, label, LABEL, COSTS, "exclusive")


def of_the_test_part(bars: pd.DataFrame, signal: pd.Series) -> pd.Series:
    """The second: predictions of the test part, 5.5 / 5.5 %; backtesting.py's ``stats``."""
    return bracket.reference(bars, signal, TESTED, COSTS, "stack")


def of_all_bars(bars: pd.DataFrame, signal: pd.Series, trending: pd.Series) -> pd.Series:
    """The third: both entry blocks, 2.5 / 2.5 % with the trend, then 3.5 / 2.5 % whatever it is.

    Parameters
    ----------
    bars, signal
        As for :func:`quant.bracket.reference`.
    trending
        The signal as :func:`quant.bracket_input.trend_filter` leaves it.

    Returns
    -------
    backtesting.py's ``stats``.
    """
    candles = pd.DataFrame(dict(zip(["Open", "High", "Low", "Close"], prices(bars), strict=True)), index=bars.index)
    given = [signals(bars, each).tolist() for each in (trending, signal)]
    with bracket.quietly():
        backtest = library.Backtest(candles, Entries, cash=COSTS.cash, commission=COSTS.commission)
        stats: pd.Series = backtest.run(
            blocks=tuple(zip(given, (WITH_THE_TREND, ANY), strict=True)), closes=candles["Close"].tolist()
        )
    return stats


def can_be_traded(bars: pd.DataFrame) -> bool:
    """Whether every price is above 0, which cutting may have changed."""
    return bool((bars[PRICES] > 0).all(axis=None))
