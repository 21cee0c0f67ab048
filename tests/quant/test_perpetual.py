"""The rules of trading a perpetual future: a table of cases computed by hand, backtesting.py, and properties.

``docs/perpetual-rules.md`` shows the same table with its arithmetic. Any simulator can be held to it: see SIMULATORS.
"""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant import engine
from quant.bracket import reference
from quant.costs import Costs
from quant.parameters import BracketParameters
from tests.conftest import ROOT, random_walk
from tests.quant import perpetual_reference
from tests.quant.perpetual_reference import Policy, Result, Trade

Row = tuple[float, float, float, float]

PAGE = ROOT / "docs" / "perpetual-rules.md"
POLICIES: tuple[Policy, ...] = ("reverse", "exclusive")
ACCOUNT = Costs(cash=1_050)  # ten units at 100, and 50 left


def compiled(
    bars: pd.DataFrame,
    signal: np.ndarray[Any, Any],
    parameters: BracketParameters,
    costs: Costs,
    policy: Policy,
    *,
    funding: Any = None,
    **options: Any,
) -> Result:
    """The engine, called as the oracle is."""
    rates = None if funding is None else pd.Series(np.asarray(funding, dtype=np.float64), index=bars.index)
    trades, equity = engine.replay(bars, signal, parameters, costs, policy, funding=rates, **options)
    reasons = {"order": "close"}
    listed = [
        Trade(*row[:-1], reason=reasons.get(row[-1], row[-1]))
        for row in trades[[*engine.TRADES, "funding", "exit"]].itertuples(index=False, name=None)
    ]
    return Result(listed, equity.tolist())


SIMULATORS = [pytest.param(perpetual_reference.simulate, id="oracle"), pytest.param(compiled, id="engine")]


@dataclass(frozen=True)
class Expected:
    """A closed trade, computed by hand."""

    size: float
    entry_bar: int
    exit_bar: int
    entry_price: float
    exit_price: float
    pnl: float
    commission: float = 0.0
    funding: float = 0.0


@dataclass(frozen=True)
class Case:
    """One rule on a few bars of four hours: bar 0 starts at 00:00, bar 2 at 08:00, bar 4 at 16:00, bar 6 at 00:00.

    Bars that are not given in ``bars`` open and close at ``price``, with wicks of 0.5 %. ``why`` is the arithmetic.
    """

    section: str
    name: str
    why: str
    signals: dict[int, int]
    parameters: BracketParameters
    trades: tuple[Expected, ...]
    equity: tuple[float, ...]
    bars: dict[int, Row] = field(default_factory=dict)
    costs: Costs = ACCOUNT
    funding: dict[int, float] = field(default_factory=dict)
    policies: tuple[Policy, ...] = POLICIES
    price: float = 100.0
    limit_bars: int = 1
    close_at_end: bool = False


def bracket(
    stop: float | None = None, take: float | None = None, limit: float | None = None, **rest: Any
) -> BracketParameters:
    """Both sides alike."""
    return BracketParameters(stop, take, limit, stop, take, limit, **rest)


def costs(**values: Any) -> Costs:
    return replace(ACCOUNT, **values)


LONG, SHORT = {1: 1}, {1: 2}
TEN = costs(lot_size=10, maintenance_margin=0.04)
TEN_AND_FEE = replace(TEN, liquidation_fee=0.0125)
TEN_TIMES = bracket(leverage=10)
TWO_RATES = costs(commission=0.001, maker_commission=0.0002)
TWO_BARS = bracket(minimum_profit=((2, -1.0),))

STOPS = [
    Case(
        "Stop, target and gaps",
        "stop and target in one bar, long",
        "Stop 98 and target 102 both lie in bar 3: the stop counts. 10 × (98 − 100) = −20.",
        LONG,
        bracket(0.02, 0.02),
        (Expected(10, 2, 3, 100, 98, -20),),
        (1050, 1050, 1050, 1030),
        {3: (100, 103, 97, 100)},
    ),
    Case(
        "Stop, target and gaps",
        "stop and target in one bar, short",
        "Stop 102 and target 98 both lie in bar 3: the stop counts. −10 × (102 − 100) = −20.",
        SHORT,
        bracket(0.02, 0.02),
        (Expected(-10, 2, 3, 100, 102, -20),),
        (1050, 1050, 1050, 1030),
        {3: (100, 103, 97, 100)},
    ),
    Case(
        "Stop, target and gaps",
        "a touch is enough",
        "The low is the stop, 98, to the cent.",
        LONG,
        bracket(0.02),
        (Expected(10, 2, 3, 100, 98, -20),),
        (1050, 1050, 1050, 1030),
        {3: (100, 100.5, 98, 99)},
    ),
    Case(
        "Stop, target and gaps",
        "a touch of the target is enough",
        "The high is the target, 102, to the cent.",
        LONG,
        bracket(take=0.02),
        (Expected(10, 2, 3, 100, 102, 20),),
        (1050, 1050, 1050, 1070),
        {3: (100, 102, 99.5, 101)},
    ),
    Case(
        "Stop, target and gaps",
        "a cent short of the stop",
        "The low 98.01 leaves the stop 98 alone. Marked at the close: 1,050 + 10 × (99 − 100) = 1,040.",
        LONG,
        bracket(0.02),
        (),
        (1050, 1050, 1050, 1040),
        {3: (100, 100.5, 98.01, 99)},
    ),
    Case(
        "Stop, target and gaps",
        "gap through the stop, long",
        "Opens at 95, below the stop 98: filled at 95. 10 × (95 − 100) = −50.",
        LONG,
        bracket(0.02),
        (Expected(10, 2, 3, 100, 95, -50),),
        (1050, 1050, 1050, 1000),
        {3: (95, 99, 94, 96)},
    ),
    Case(
        "Stop, target and gaps",
        "gap through the stop, short",
        "Opens at 105, above the stop 102: filled at 105. −10 × (105 − 100) = −50.",
        SHORT,
        bracket(0.02),
        (Expected(-10, 2, 3, 100, 105, -50),),
        (1050, 1050, 1050, 1000),
        {3: (105, 106, 101, 104)},
    ),
    Case(
        "Stop, target and gaps",
        "gap through the stop, then up to the target",
        "Opens at 95 and reaches 103: the stop 98 has filled at 95 before. 10 × (95 − 100) = −50.",
        LONG,
        bracket(0.02, 0.02),
        (Expected(10, 2, 3, 100, 95, -50),),
        (1050, 1050, 1050, 1000),
        {3: (95, 103, 94, 96)},
    ),
    Case(
        "Stop, target and gaps",
        "gap beyond the target, then down to the stop",
        "Opens at 105, beyond the target 102, and falls to 97: the stop 98 counts all the same. 10 × (98 − 100) = −20.",
        LONG,
        bracket(0.02, 0.02),
        (Expected(10, 2, 3, 100, 98, -20),),
        (1050, 1050, 1050, 1030),
        {3: (105, 106, 97, 100)},
    ),
    Case(
        "Stop, target and gaps",
        "gap beyond the target",
        "Opens at 105: the target 102 fills at 105. 10 × (105 − 100) = 50.",
        LONG,
        bracket(0.02, 0.02),
        (Expected(10, 2, 3, 100, 105, 50),),
        (1050, 1050, 1050, 1100),
        {3: (105, 106, 104, 105)},
    ),
    Case(
        "Stop, target and gaps",
        "gap through the stop as it enters",
        "Bought at the open, 97, already below the stop 98 of the deciding close: sold at the same open.",
        LONG,
        bracket(0.02),
        (Expected(10, 2, 2, 97, 97, 0),),
        (1050, 1050, 1050),
        {2: (97, 98.5, 96, 97)},
    ),
]

TRAILING = [
    Case(
        "Trailing stop and time table",
        "activation bar of the trailing stop",
        "Close 124.9 is not 25 % up. Close 125 is: the stop goes to 125 × 0.9 = 112.5 for the next bar, so the low "
        "of 112 in bar 4 itself does not count and that of bar 5 does. 10 × (112.5 − 100) = 125.",
        LONG,
        bracket(trailing_activation=0.25, trailing_distance=0.1),
        (Expected(10, 2, 5, 100, 112.5, 125),),
        (1050, 1050, 1050, 1299, 1300, 1175),
        {3: (100, 125, 99, 124.9), 4: (124.9, 126, 112, 125), 5: (125, 125.5, 112, 120)},
    ),
    Case(
        "Trailing stop and time table",
        "a trailing stop never goes back",
        "Closes 102, 104, 102.5 ask for stops at 98.94, 100.88, 99.425: the highest stays. 10 × (100.88 − 100) = 8.8.",
        LONG,
        bracket(0.02, trailing_activation=0.02, trailing_distance=0.03),
        (Expected(10, 2, 6, 100, 100.88, 8.8),),
        (1050, 1050, 1050, 1070, 1090, 1075, 1058.8),
        {3: (100, 102, 100, 102), 4: (102, 104, 102, 104), 5: (104, 104, 102.5, 102.5), 6: (102.5, 102.5, 100, 100)},
    ),
    Case(
        "Trailing stop and time table",
        "trailing stop of a short",
        "Close 96 is 4 % in favour: the stop comes down to 96 × 1.03125 = 99. −10 × (99 − 100) = 10.",
        SHORT,
        bracket(trailing_activation=0.04, trailing_distance=0.03125),
        (Expected(-10, 2, 4, 100, 99, 10),),
        (1050, 1050, 1050, 1090, 1060),
        {3: (100, 100, 95, 96), 4: (96, 99.5, 96, 98)},
    ),
    Case(
        "Trailing stop and time table",
        "a plain exit after four bars",
        "Held in bars 2, 3, 4, 5: out at the open of bar 6. 10 × (97 − 100) = −30.",
        LONG,
        bracket(minimum_profit=((4, -1.0),)),
        (Expected(10, 2, 6, 100, 97, -30),),
        (1050, 1050, 1050, 1050, 1050, 1050, 1020, 1020),
        {6: (97, 97, 97, 97)},
    ),
    Case(
        "Trailing stop and time table",
        "boundary of the time table",
        "2 % is less than the 3 % asked for after 2 and 3 bars, and more than the 1 % asked for from the 4th, which "
        "is bar 5: out at the open of bar 6. 10 × (102 − 100) = 20.",
        LONG,
        bracket(minimum_profit=((2, 0.03), (4, 0.01))),
        (Expected(10, 2, 6, 100, 102, 20),),
        (1050, 1050, 1050, 1070, 1070, 1070, 1070),
        {3: (100, 102, 100, 102), **dict.fromkeys((4, 5, 6), (102, 102, 102, 102))},
    ),
    Case(
        "Trailing stop and time table",
        "the fraction of the time table is met exactly",
        "125 / 100 − 1 = 0.25: out at the next open, 120. 10 × (120 − 100) = 200.",
        LONG,
        bracket(minimum_profit=((1, 0.25),)),
        (Expected(10, 2, 4, 100, 120, 200),),
        (1050, 1050, 1050, 1300, 1250),
        {3: (100, 125, 100, 125), 4: (120, 121, 119, 120)},
    ),
    Case(
        "Trailing stop and time table",
        "the fraction of the time table is missed by a cent",
        "124.99 / 100 − 1 < 0.25: nothing closes. 1,050 + 10 × 24.99 = 1,299.9, then 1,250.",
        LONG,
        bracket(minimum_profit=((1, 0.25),)),
        (),
        (1050, 1050, 1050, 1299.9, 1250),
        {3: (100, 125, 100, 124.99), 4: (120, 121, 119, 120)},
    ),
    Case(
        "Trailing stop and time table",
        "moves count from the price paid",
        "In at 100 × 1.01 = 101. Close 126.2 is 24.95 % up, 126.25 is 25 %: out at the next open, 120 × 0.99 = "
        "118.8. 10 × (118.8 − 101) = 178.",
        LONG,
        bracket(minimum_profit=((1, 0.25),)),
        (Expected(10, 2, 5, 101, 118.8, 178),),
        (1050, 1050, 1040, 1302, 1302.5, 1228),
        {3: (100, 127, 100, 126.2), 4: (126.2, 127, 126, 126.25), 5: (120, 121, 119, 120)},
        costs(slippage=0.01),
    ),
    Case(
        "Trailing stop and time table",
        "a time exit goes before the stop of its bar",
        "Out at the open of bar 4, 99; the low 95 comes later. 10 × (99 − 100) = −10.",
        LONG,
        bracket(0.02, minimum_profit=((2, -1.0),)),
        (Expected(10, 2, 4, 100, 99, -10),),
        (1050, 1050, 1050, 1050, 1040),
        {4: (99, 99.5, 95, 96)},
    ),
]

POLICY = [
    Case(
        "Signals and policies",
        "repeated signal, reverse",
        "The second long is ignored. Fees 10 × 100 × 0.001 = 1 and 10 × 90 × 0.001 = 0.9; 10 × (90 − 100) − 1.9 = "
        "−101.9.",
        {1: 1, 3: 1},
        bracket(0.05),
        (Expected(10, 2, 5, 100, 90, -101.9, 1.9),),
        (1050, 1050, 1049, 1049, 1059, 948.1),
        {4: (101, 101.5, 100.5, 101), 5: (90, 90, 90, 90)},
        costs(commission=0.001),
        policies=("reverse",),
    ),
    Case(
        "Signals and policies",
        "repeated signal, exclusive",
        "Closed and opened again at 101, and paid twice: 10 − 1 − 1.01 = 7.99, then 10 × (90 − 101) − 1.01 − 0.9 = "
        "−111.91.",
        {1: 1, 3: 1},
        bracket(0.05),
        (Expected(10, 2, 4, 100, 101, 7.99, 2.01), Expected(10, 4, 5, 101, 90, -111.91, 1.91)),
        (1050, 1050, 1049, 1049, 1056.98, 946.08),
        {4: (101, 101.5, 100.5, 101), 5: (90, 90, 90, 90)},
        costs(commission=0.001),
        policies=("exclusive",),
    ),
    Case(
        "Signals and policies",
        "opposite signal",
        "Closed and reversed at the open of bar 4: 10 − 1 − 1.01 = 7.99, then −10 × (110 − 101) − 1.01 − 1.1 = "
        "−92.11 by the gap through the stop 105.",
        {1: 1, 3: 2},
        bracket(0.05),
        (Expected(10, 2, 4, 100, 101, 7.99, 2.01), Expected(-10, 4, 5, 101, 110, -92.11, 2.11)),
        (1050, 1050, 1049, 1049, 1056.98, 965.88),
        {4: (101, 101.5, 100.5, 101), 5: (110, 110, 110, 110)},
        costs(commission=0.001),
    ),
    Case(
        "Signals and policies",
        "repeated signal at the close of a time exit, reverse",
        "The signal is ignored while the long is open, and the time exit closes it.",
        {1: 1, 3: 1},
        TWO_BARS,
        (Expected(10, 2, 4, 100, 101, 10),),
        (1050, 1050, 1050, 1050, 1060, 1060),
        {4: (101, 101.5, 100.5, 101)},
        policies=("reverse",),
    ),
    Case(
        "Signals and policies",
        "repeated signal at the close of a time exit, exclusive",
        "The signal goes first: closed and opened again at 101. 10 × (100 − 101) = −10 at the time exit of the second.",
        {1: 1, 3: 1},
        TWO_BARS,
        (Expected(10, 2, 4, 100, 101, 10), Expected(10, 4, 6, 101, 100, -10)),
        (1050, 1050, 1050, 1050, 1060, 1050, 1050),
        {4: (101, 101.5, 100.5, 101)},
        policies=("exclusive",),
    ),
    Case(
        "Signals and policies",
        "signals of the first and the last bar",
        "The first is never seen, the last has no bar to act on.",
        {0: 1, 3: 1},
        bracket(0.02),
        (),
        (1050, 1050, 1050, 1050),
    ),
]

LIMITS = [
    Case(
        "Limit entries",
        "resting limit: its price, maker fee, no slippage",
        "Opens at 103 and comes back to the limit 101; the fees are 10 × 101 × 0.0002 = 0.202 and, at the target, "
        "10 × 105 × 0.0002 = 0.21. 10 × (105 − 101) − 0.412 = 39.588.",
        LONG,
        bracket(take=0.05, limit=0.01),
        (Expected(10, 2, 3, 101, 105, 39.588, 0.412),),
        (1050, 1050, 1069.798, 1089.588),
        {2: (103, 104, 101, 103), 3: (103, 106, 102, 105)},
        replace(TWO_RATES, slippage=0.01),
    ),
    Case(
        "Limit entries",
        "resting limit of a short",
        "Opens at 97 and comes up to the limit 99; fees 10 × 99 × 0.0002 = 0.198 and 10 × 95 × 0.0002 = 0.19. −10 × "
        "(95 − 99) − 0.388 = 39.612.",
        SHORT,
        bracket(take=0.05, limit=0.01),
        (Expected(-10, 2, 3, 99, 95, 39.612, 0.388),),
        (1050, 1050, 1069.802, 1089.612),
        {2: (97, 99, 96, 97), 3: (97, 98, 94, 95)},
        replace(TWO_RATES, slippage=0.01),
    ),
    Case(
        "Limit entries",
        "limit that is met at the open: taker fee and slippage",
        "Opens at 100.4, below the limit 101: 100.4 × 1.001 = 100.5004; fees 10 × 100.5004 × 0.001 = 1.005004 and "
        "0.21. 10 × (105 − 100.5004) − 1.215004 = 43.780996.",
        LONG,
        bracket(take=0.05, limit=0.01),
        (Expected(10, 2, 3, 100.5004, 105, 43.780996, 1.215004),),
        (1050, 1050, 1043.990996, 1093.780996),
        {2: (100.4, 100.5, 99.5, 100), 3: (100, 106, 99.5, 105)},
        replace(TWO_RATES, slippage=0.001),
    ),
    Case(
        "Limit entries",
        "limit at the open to the cent",
        "Opens at the limit 101: met at the open, so taker, 1.01. 10 × (105 − 101) − 1.01 − 0.21 = 38.78.",
        LONG,
        bracket(take=0.05, limit=0.01),
        (Expected(10, 2, 3, 101, 105, 38.78, 1.22),),
        (1050, 1050, 1038.99, 1088.78),
        {2: (101, 101.5, 99.5, 100), 3: (100, 106, 99.5, 105)},
        TWO_RATES,
    ),
    Case(
        "Limit entries",
        "resting limit, and a maker fee of zero",
        "In at 101 for 0, out at the target 105 for 0. 40.",
        LONG,
        bracket(take=0.05, limit=0.01),
        (Expected(10, 2, 3, 101, 105, 40),),
        (1050, 1050, 1070, 1090),
        {2: (103, 104, 101, 103), 3: (103, 106, 102, 105)},
        costs(commission=0.001, maker_commission=0.0),
    ),
    Case(
        "Limit entries",
        "slippage stops at the limit",
        "100.5 × 1.01 = 101.505 is worse than the limit: 101, and the taker fee 1.01. 10 × (105 − 101) − 1.01 − "
        "0.21 = 38.78.",
        LONG,
        bracket(take=0.05, limit=0.01),
        (Expected(10, 2, 3, 101, 105, 38.78, 1.22),),
        (1050, 1050, 1038.99, 1088.78),
        {2: (100.5, 101, 99.5, 100), 3: (100, 106, 99.5, 105)},
        replace(TWO_RATES, slippage=0.01),
    ),
    Case(
        "Limit entries",
        "unfilled limit, one bar",
        "The low 101.5 does not reach 101, and the order is gone when the price does.",
        LONG,
        bracket(0.05, limit=0.01),
        (),
        (1050, 1050, 1050, 1050, 1050),
        {2: (103, 104, 101.5, 103), 3: (100.5, 101, 99.5, 100), 4: (90, 90, 90, 90)},
    ),
    Case(
        "Limit entries",
        "unfilled limit, two bars",
        "The order still waits in bar 3 and fills at its open, 100.5. 10 × (90 − 100.5) = −105 by the gap through 95.",
        LONG,
        bracket(0.05, limit=0.01),
        (Expected(10, 3, 4, 100.5, 90, -105),),
        (1050, 1050, 1050, 1045, 945),
        {2: (103, 104, 101.5, 103), 3: (100.5, 101, 99.5, 100), 4: (90, 90, 90, 90)},
        limit_bars=2,
    ),
    Case(
        "Limit entries",
        "the stop waits for the bar after a limit fill",
        "The low 94 of bar 2 may have come before the fill at 101, so the stop 95 is not looked at. 10 × (90 − 101) "
        "= −110 in bar 4.",
        LONG,
        bracket(0.05, limit=0.01),
        (Expected(10, 2, 4, 101, 90, -110),),
        (1050, 1050, 1040, 1030, 940),
        {2: (103, 104, 94, 100), 3: (99, 99.5, 98.5, 99), 4: (90, 90, 90, 90)},
    ),
    Case(
        "Limit entries",
        "reversal by a limit that does not fill",
        "The long is closed at 97; the short at 99 or more is not reached in bar 4, and gone in bar 5.",
        {1: 1, 3: 2},
        BracketParameters(limit_short=0.01),
        (Expected(10, 2, 4, 100, 97, -30),),
        (1050, 1050, 1050, 1050, 1020, 1020),
        {4: (97, 97.5, 96.5, 97), 5: (97, 120, 97, 97)},
    ),
]

SLIPPAGE = [
    Case(
        "Slippage",
        "on entry and stop, long",
        "In at 100 × 1.01 = 101; the stop 98, of the deciding close, fills at 98 × 0.99 = 97.02. 10 × (97.02 − 101) "
        "= −39.8.",
        LONG,
        bracket(0.02),
        (Expected(10, 2, 3, 101, 97.02, -39.8),),
        (1050, 1050, 1040, 1010.2),
        {3: (100, 100.5, 97, 99)},
        costs(slippage=0.01),
    ),
    Case(
        "Slippage",
        "on entry and stop, short",
        "In at 99, out at 102 × 1.01 = 103.02. −10 × (103.02 − 99) = −40.2.",
        SHORT,
        bracket(0.02),
        (Expected(-10, 2, 3, 99, 103.02, -40.2),),
        (1050, 1050, 1040, 1009.8),
        {3: (100, 103, 99.5, 101)},
        costs(slippage=0.01),
    ),
    Case(
        "Slippage",
        "gap through the stop",
        "Opens at 95: 95 × 0.99 = 94.05. 10 × (94.05 − 101) = −69.5.",
        LONG,
        bracket(0.02),
        (Expected(10, 2, 3, 101, 94.05, -69.5),),
        (1050, 1050, 1040, 980.5),
        {3: (95, 99, 94, 96)},
        costs(slippage=0.01),
    ),
    Case(
        "Slippage",
        "not on the target",
        "The target rests in the book: 105. 10 × (105 − 101) = 40.",
        LONG,
        bracket(take=0.05),
        (Expected(10, 2, 3, 101, 105, 40),),
        (1050, 1050, 1040, 1090),
        {3: (100, 106, 99.5, 105)},
        costs(slippage=0.01),
    ),
    Case(
        "Slippage",
        "on both orders of a reversal",
        "Sold at 101 × 0.99 = 99.99: 10 × (99.99 − 101) = −10.1; short from 99.99 and out at 110 × 1.01 = 111.1: "
        "−111.1.",
        {1: 1, 3: 2},
        bracket(0.05),
        (Expected(10, 2, 4, 101, 99.99, -10.1), Expected(-10, 4, 5, 99.99, 111.1, -111.1)),
        (1050, 1050, 1040, 1040, 1029.8, 928.8),
        {4: (101, 101.5, 100.5, 101), 5: (110, 110, 110, 110)},
        costs(slippage=0.01),
    ),
]

FEES = [
    Case(
        "Fees",
        "taker in, taker out at the stop",
        "10 × 100 × 0.001 = 1 and 10 × 98 × 0.001 = 0.98. −20 − 1.98 = −21.98.",
        LONG,
        bracket(0.02),
        (Expected(10, 2, 3, 100, 98, -21.98, 1.98),),
        (1050, 1050, 1049, 1028.02),
        {3: (100, 100.5, 97, 99)},
        TWO_RATES,
    ),
    Case(
        "Fees",
        "taker in, maker out at the target",
        "1 and 10 × 105 × 0.0002 = 0.21. 50 − 1.21 = 48.79.",
        LONG,
        bracket(take=0.05),
        (Expected(10, 2, 3, 100, 105, 48.79, 1.21),),
        (1050, 1050, 1049, 1098.79),
        {3: (100, 106, 99.5, 105)},
        TWO_RATES,
    ),
    Case(
        "Fees",
        "a maker fee of zero is a fee",
        "1 and 0. 50 − 1 = 49.",
        LONG,
        bracket(take=0.05),
        (Expected(10, 2, 3, 100, 105, 49, 1),),
        (1050, 1050, 1049, 1099),
        {3: (100, 106, 99.5, 105)},
        costs(commission=0.001, maker_commission=0.0),
    ),
    Case(
        "Fees",
        "no maker fee given: the same for both",
        "1 and 10 × 105 × 0.001 = 1.05. 50 − 2.05 = 47.95.",
        LONG,
        bracket(take=0.05),
        (Expected(10, 2, 3, 100, 105, 47.95, 2.05),),
        (1050, 1050, 1049, 1097.95),
        {3: (100, 106, 99.5, 105)},
        costs(commission=0.001),
    ),
    Case(
        "Fees",
        "rebate for the maker",
        "10 × 101 × −0.0001 = −0.101 and 10 × 105 × −0.0001 = −0.105 are received. 40 + 0.206 = 40.206.",
        LONG,
        bracket(take=0.05, limit=0.01),
        (Expected(10, 2, 3, 101, 105, 40.206, -0.206),),
        (1050, 1050, 1070.101, 1090.206),
        {2: (103, 104, 101, 103), 3: (103, 106, 102, 105)},
        costs(commission=0.001, maker_commission=-0.0001),
    ),
]

SIZE = [
    Case(
        "Size",
        "whole units, and never quite all",
        "backtesting.py asks for 1 − 2.2e-16 of the money: 1,000 buys nine at 100. 9 × 2 = 18.",
        LONG,
        bracket(take=0.02),
        (Expected(9, 2, 3, 100, 102, 18),),
        (1000, 1000, 1000, 1018),
        {3: (100, 103, 99.5, 102)},
        costs(cash=1_000),
    ),
    Case(
        "Size",
        "room for the fee",
        "A unit takes 100 + 0.1: 1,000.5 / 100.1 = 9.995, so nine. 18 − 0.9 − 9 × 102 × 0.001 = 16.182.",
        LONG,
        bracket(take=0.02),
        (Expected(9, 2, 3, 100, 102, 16.182, 1.818),),
        (1000.5, 1000.5, 999.6, 1016.682),
        {3: (100, 103, 99.5, 102)},
        costs(cash=1_000.5, commission=0.001),
    ),
    Case(
        "Size",
        "leverage multiplies the units and not the moves",
        "3 × 1,050 / 100 = 31.5, so 31. 31 × 2 = 62.",
        LONG,
        bracket(take=0.02, leverage=3),
        (Expected(31, 2, 3, 100, 102, 62),),
        (1050, 1050, 1050, 1112),
        {3: (100, 103, 99.5, 102)},
    ),
    Case(
        "Size",
        "one-unit BTC",
        "100,000 / 64,000 = 1.56: one whole unit, and 36,000 idle. 67,200 − 64,000 = 3,200.",
        LONG,
        bracket(take=0.05),
        (Expected(1, 2, 3, 64_000, 67_200, 3_200),),
        (100_000, 100_000, 100_000, 103_200),
        {3: (64_000, 67_500, 63_900, 67_000)},
        costs(cash=100_000),
        price=64_000,
    ),
    Case(
        "Size",
        "BTC by lots of 0.001",
        "100,000 / (64,000 × 0.001) = 1,562.5: 1,562 lots are 1.562 units. 1.562 × 3,200 = 4,998.4.",
        LONG,
        bracket(take=0.05),
        (Expected(1.562, 2, 3, 64_000, 67_200, 4_998.4),),
        (100_000, 100_000, 100_000, 104_998.4),
        {3: (64_000, 67_500, 63_900, 67_000)},
        costs(cash=100_000, lot_size=0.001),
        price=64_000,
    ),
    Case(
        "Size",
        "BTC for less than one unit's cash",
        "50,000 / 64,000 < 1: nothing is bought.",
        LONG,
        bracket(take=0.05),
        (),
        (50_000, 50_000, 50_000, 50_000),
        {3: (64_000, 67_500, 63_900, 67_000)},
        costs(cash=50_000),
        price=64_000,
    ),
    Case(
        "Size",
        "sub-cent coin by lots of 100",
        "10.001 / (0.0000125 × 100) = 8,000.8: 8,000 lots are 800,000 units. 800,000 × (0.000012 − 0.0000125) = −0.4.",
        LONG,
        bracket(0.04),
        (Expected(800_000, 2, 3, 0.0000125, 0.000012, -0.4),),
        (10.001, 10.001, 10.001, 9.601),
        {3: (0.0000125, 0.0000125, 0.0000119, 0.000012)},
        costs(cash=10.001, lot_size=100),
        price=0.0000125,
    ),
    Case(
        "Size",
        "exactly the minimum notional",
        "10 × 100 = 1,000 is not less than 1,000.",
        LONG,
        bracket(take=0.02),
        (Expected(10, 2, 3, 100, 102, 20),),
        (1050, 1050, 1050, 1070),
        {3: (100, 103, 99.5, 102)},
        costs(minimum_notional=1_000),
    ),
    Case(
        "Size",
        "a cent below the minimum notional",
        "10 × 100 < 1,000.01: the entry is cancelled.",
        LONG,
        bracket(take=0.02),
        (),
        (1050, 1050, 1050, 1050),
        {3: (100, 103, 99.5, 102)},
        costs(minimum_notional=1_000.01),
    ),
    Case(
        "Size",
        "reversal below the minimum notional",
        "The long is closed at 90; 950 buys 10 × 90 = 900 < 1,000, so no short follows.",
        {1: 1, 3: 2},
        bracket(),
        (Expected(10, 2, 4, 100, 90, -100),),
        (1050, 1050, 1050, 1050, 950, 950),
        {4: (90, 90.5, 89.5, 90)},
        costs(minimum_notional=1_000),
    ),
]

LIQUIDATION = [
    Case(
        "Liquidation",
        "wick of a long, with fees",
        "100 × (1 − 1/10) / (1 − 0.04) = 93.75. 100 × (93.75 − 100) = −625; fees 10 at the entry and 9,375 × (0.001 "
        "+ 0.0125) = 126.5625. −625 − 136.5625 = −761.5625.",
        LONG,
        TEN_TIMES,
        (Expected(100, 2, 3, 100, 93.75, -761.5625, 136.5625),),
        (1050, 1050, 1040, 288.4375),
        {3: (100, 100.5, 93, 99)},
        replace(TEN_AND_FEE, commission=0.001),
    ),
    Case(
        "Liquidation",
        "wick of a short, with fees",
        "104 × (1 + 1/10) / (1 + 0.04) = 110. −100 × (110 − 104) = −600; fees 10.4 at the entry and 11,000 × 0.0135 "
        "= 148.5. −600 − 158.9 = −758.9.",
        SHORT,
        TEN_TIMES,
        (Expected(-100, 2, 3, 104, 110, -758.9, 158.9),),
        (1050, 1050, 1039.6, 291.1),
        {3: (104, 111, 103.5, 105)},
        replace(TEN_AND_FEE, commission=0.001),
        price=104,
    ),
    Case(
        "Liquidation",
        "a touch is enough",
        "The low is 93.75. −625.",
        LONG,
        TEN_TIMES,
        (Expected(100, 2, 3, 100, 93.75, -625),),
        (1050, 1050, 1050, 425),
        {3: (100, 100.5, 93.75, 99)},
        TEN,
    ),
    Case(
        "Liquidation",
        "a cent short of it",
        "93.76 is above 93.75: held. 1,050 + 100 × (99 − 100) = 950.",
        LONG,
        TEN_TIMES,
        (),
        (1050, 1050, 1050, 950),
        {3: (100, 100.5, 93.76, 99)},
        TEN,
    ),
    Case(
        "Liquidation",
        "before the target of its bar",
        "Target 105 and liquidation 93.75 in one bar: the loss counts. −625.",
        LONG,
        bracket(take=0.05, leverage=10),
        (Expected(100, 2, 3, 100, 93.75, -625),),
        (1050, 1050, 1050, 425),
        {3: (100, 106, 93, 99)},
        TEN,
    ),
    Case(
        "Liquidation",
        "in the bar of the entry",
        "In at the open and liquidated by the wick of the same bar. −625.",
        LONG,
        TEN_TIMES,
        (Expected(100, 2, 2, 100, 93.75, -625),),
        (1050, 1050, 425),
        {2: (100, 100.5, 93, 99)},
        TEN,
    ),
    Case(
        "Liquidation",
        "in the bar of a limit entry",
        "In at 101: 101 × 0.9 / 0.96 = 94.6875. The stop 95 is not looked at in this bar, the liquidation is. 100 × "
        "(94.6875 − 101) = −631.25.",
        LONG,
        bracket(0.05, limit=0.01, leverage=10),
        (Expected(100, 2, 2, 101, 94.6875, -631.25),),
        (1050, 1050, 418.75),
        {2: (103, 104, 94, 100)},
        TEN,
    ),
    Case(
        "Liquidation",
        "short of it in the bar of a limit entry",
        "The low 94.8 is below the stop 95, which waits, and above 94.6875. 1,050 + 100 × (100 − 101) = 950.",
        LONG,
        bracket(0.05, limit=0.01, leverage=10),
        (),
        (1050, 1050, 950, 950),
        {2: (103, 104, 94.8, 100)},
        TEN,
    ),
    Case(
        "Liquidation",
        "gap beyond it",
        "Opens at 92: −800, and 9,200 × 0.0125 = 115. −915.",
        LONG,
        TEN_TIMES,
        (Expected(100, 2, 3, 100, 92, -915, 115),),
        (1050, 1050, 1050, 135),
        {3: (92, 95, 91, 94)},
        TEN_AND_FEE,
    ),
    Case(
        "Liquidation",
        "gap beyond bankruptcy, long",
        "Opens at 85, below 100 × (1 − 1/10) = 90: 90, the margin of 1,000 is gone, and there is nothing left for a "
        "fee.",
        LONG,
        TEN_TIMES,
        (Expected(100, 2, 3, 100, 90, -1_000),),
        (1050, 1050, 1050, 50),
        {3: (85, 88, 84, 86)},
        TEN_AND_FEE,
    ),
    Case(
        "Liquidation",
        "gap beyond bankruptcy, short",
        "Opens at 120, above 104 × (1 + 1/10) = 114.4: 114.4, and the margin of 1,040 is gone.",
        SHORT,
        TEN_TIMES,
        (Expected(-100, 2, 3, 104, 114.4, -1_040),),
        (1050, 1050, 1050, 10),
        {3: (120, 121, 112, 119)},
        TEN_AND_FEE,
        price=104,
    ),
    Case(
        "Liquidation",
        "fees take no more than the margin",
        "−625 and 9,375 × 0.05 = 468.75 would be 1,093.75; the margin is 1,000, so the fee is 375. −1,000.",
        LONG,
        TEN_TIMES,
        (Expected(100, 2, 3, 100, 93.75, -1_000, 375),),
        (1050, 1050, 1050, 50),
        {3: (100, 100.5, 93, 99)},
        replace(TEN, liquidation_fee=0.05),
    ),
    Case(
        "Liquidation",
        "of a full account",
        "104 units leave 1,050 − 10.4 = 1,039.6, less than their margin of 1,040: it is gone, and so is the "
        "account. −650, fees 10.4 and 1,040 − 650 = 390. −1,050.4.",
        LONG,
        TEN_TIMES,
        (Expected(104, 2, 3, 100, 93.75, -1_050.4, 400.4),),
        (1050, 1050, 1039.6, 0, 0),
        {3: (100, 100.5, 93, 99)},
        costs(commission=0.001, maintenance_margin=0.04, liquidation_fee=0.05),
    ),
    Case(
        "Liquidation",
        "stop just above it",
        "The stop 94 is met on the way to 93.75. 100 × (94 − 100) = −600.",
        LONG,
        bracket(0.06, leverage=10),
        (Expected(100, 2, 3, 100, 94, -600),),
        (1050, 1050, 1050, 450),
        {3: (100, 100.5, 93, 99)},
        TEN_AND_FEE,
    ),
    Case(
        "Liquidation",
        "stop at its very price",
        "Both 93.75: the stop goes first, and no liquidation fee is due. −625.",
        LONG,
        bracket(0.0625, leverage=10),
        (Expected(100, 2, 3, 100, 93.75, -625),),
        (1050, 1050, 1050, 425),
        {3: (100, 100.5, 93, 99)},
        TEN_AND_FEE,
    ),
    Case(
        "Liquidation",
        "stop just below it",
        "93.75 is met on the way to the stop 93. −625 − 9,375 × 0.0125 = −742.1875.",
        LONG,
        bracket(0.07, leverage=10),
        (Expected(100, 2, 3, 100, 93.75, -742.1875, 117.1875),),
        (1050, 1050, 1050, 307.8125),
        {3: (100, 100.5, 92.5, 99)},
        TEN_AND_FEE,
    ),
    Case(
        "Liquidation",
        "stop just inside it, short",
        "The stop 104 × 1.05 = 109.2 is met on the way to 110. −100 × (109.2 − 104) = −520.",
        SHORT,
        bracket(0.05, leverage=10),
        (Expected(-100, 2, 3, 104, 109.2, -520),),
        (1050, 1050, 1050, 530),
        {3: (104, 111, 103.5, 105)},
        TEN_AND_FEE,
        price=104,
    ),
    Case(
        "Liquidation",
        "stop just beyond it, short",
        "110 is met on the way to the stop 104 × 1.0625 = 110.5. −600 − 11,000 × 0.0125 = −737.5.",
        SHORT,
        bracket(0.0625, leverage=10),
        (Expected(-100, 2, 3, 104, 110, -737.5, 137.5),),
        (1050, 1050, 1050, 312.5),
        {3: (104, 111, 103.5, 105)},
        TEN_AND_FEE,
        price=104,
    ),
    Case(
        "Liquidation",
        "gap through the stop and not to it",
        "Opens at 93.9, between the stop 94 and 93.75: the stop fills at 93.9, whatever the bar does later. −610.",
        LONG,
        bracket(0.06, leverage=10),
        (Expected(100, 2, 3, 100, 93.9, -610),),
        (1050, 1050, 1050, 440),
        {3: (93.9, 95, 93, 94)},
        TEN_AND_FEE,
    ),
    Case(
        "Liquidation",
        "gap through the stop to its very price",
        "Opens at 93.75: at the price is beyond it, and too late for the stop 94. −625 − 117.1875 = −742.1875.",
        LONG,
        bracket(0.06, leverage=10),
        (Expected(100, 2, 3, 100, 93.75, -742.1875, 117.1875),),
        (1050, 1050, 1050, 307.8125),
        {3: (93.75, 95, 93, 94)},
        TEN_AND_FEE,
    ),
    Case(
        "Liquidation",
        "gap through the stop and beyond it",
        "Opens at 92: too late for the stop 94. −800 − 115 = −915.",
        LONG,
        bracket(0.06, leverage=10),
        (Expected(100, 2, 3, 100, 92, -915, 115),),
        (1050, 1050, 1050, 135),
        {3: (92, 95, 91, 94)},
        TEN_AND_FEE,
    ),
    Case(
        "Liquidation",
        "gap beyond it at a reversal",
        "The reversal decided at bar 2 finds the long liquidated at 90: 104 × −10 = −1,040. The 10 left sell one "
        "unit at 85, which is 5 up at 80.",
        {1: 1, 2: 2},
        TEN_TIMES,
        (Expected(104, 2, 3, 100, 90, -1_040),),
        (1050, 1050, 1050, 10, 15),
        {3: (85, 86, 84, 85), 4: (80, 80, 80, 80)},
        costs(maintenance_margin=0.04),
    ),
    Case(
        "Liquidation",
        "slippage that carries the entry beyond it",
        "Leverage 20: in at 102, 102 × 0.95 / 0.96 = 100.9375 is above the open 100: out at once at 100. 200 × −2 = "
        "−400.",
        LONG,
        bracket(leverage=20),
        (Expected(200, 2, 2, 102, 100, -400),),
        (1050, 1050, 650),
        {},
        replace(TEN, slippage=0.02),
    ),
    Case(
        "Liquidation",
        "short without leverage",
        "100 × 2 / 1.25 = 160. −10 × 60 = −600.",
        SHORT,
        bracket(),
        (Expected(-10, 2, 3, 100, 160, -600),),
        (1050, 1050, 1050, 450),
        {3: (100, 165, 99.5, 150)},
        costs(maintenance_margin=0.25),
    ),
    Case(
        "Liquidation",
        "long without leverage",
        "100 × (1 − 1) / 0.75 = 0 is never met. 1,050 − 10 × 98 = 70.",
        LONG,
        bracket(),
        (),
        (1050, 1050, 1050, 70),
        {3: (100, 100.5, 1, 2)},
        costs(maintenance_margin=0.25),
    ),
]

FUNDING = [
    Case(
        "Funding",
        "long from 08:00 to 16:00",
        "Not held as 08:00 strikes, held as 16:00 does, though it leaves at that very open: 10 × 101 × 0.01 = 10.1 "
        "is paid. 1,050 + 10 − 10.1 = 1,049.9.",
        LONG,
        TWO_BARS,
        (Expected(10, 2, 4, 100, 101, 10, funding=10.1),),
        (1050, 1050, 1050, 1050, 1049.9),
        {4: (101, 101.5, 100.5, 101)},
        funding={2: 0.01, 4: 0.01},
    ),
    Case(
        "Funding",
        "short from 08:00 to 16:00",
        "10.1 is received. 1,050 − 10 + 10.1 = 1,050.1.",
        SHORT,
        TWO_BARS,
        (Expected(-10, 2, 4, 100, 101, -10, funding=-10.1),),
        (1050, 1050, 1050, 1050, 1050.1),
        {4: (101, 101.5, 100.5, 101)},
        funding={2: 0.01, 4: 0.01},
    ),
    Case(
        "Funding",
        "negative rate, long",
        "10.1 is received. 1,050 + 10 + 10.1 = 1,070.1.",
        LONG,
        TWO_BARS,
        (Expected(10, 2, 4, 100, 101, 10, funding=-10.1),),
        (1050, 1050, 1050, 1050, 1070.1),
        {4: (101, 101.5, 100.5, 101)},
        funding={2: -0.01, 4: -0.01},
    ),
    Case(
        "Funding",
        "negative rate, short",
        "10.1 is paid. 1,050 − 10 − 10.1 = 1,029.9.",
        SHORT,
        TWO_BARS,
        (Expected(-10, 2, 4, 100, 101, -10, funding=10.1),),
        (1050, 1050, 1050, 1050, 1029.9),
        {4: (101, 101.5, 100.5, 101)},
        funding={2: -0.01, 4: -0.01},
    ),
    Case(
        "Funding",
        "held from 12:00 over 16:00 and 00:00 to 04:00",
        "16:00: 10 × 100 × 0.01 = 10 is paid; 00:00: 10 × 102 × −0.02 = −20.4, received; 08:00 before and after: "
        "nothing.",
        {2: 1},
        bracket(minimum_profit=((4, -1.0),)),
        (Expected(10, 3, 7, 100, 103, 30, funding=-10.4),),
        (1050, 1050, 1050, 1050, 1040, 1040, 1080.4, 1090.4, 1090.4),
        {6: (102, 102.5, 101.5, 102), 7: (103, 103.5, 102.5, 103)},
        funding={2: 0.03, 4: 0.01, 6: -0.02, 8: 0.03},
    ),
    Case(
        "Funding",
        "stop in the bar that starts at 16:00",
        "Held as it strikes: 10 × 100 × 0.01 = 10 is paid, and then −20. 1,020.",
        LONG,
        bracket(0.02),
        (Expected(10, 2, 4, 100, 98, -20, funding=10),),
        (1050, 1050, 1050, 1050, 1020),
        {4: (100, 100.5, 97, 99)},
        funding={4: 0.01},
    ),
    Case(
        "Funding",
        "stop in the bar before 16:00",
        "Out by then: nothing is paid. 1,030.",
        LONG,
        bracket(0.02),
        (Expected(10, 2, 3, 100, 98, -20),),
        (1050, 1050, 1050, 1030, 1030),
        {3: (100, 100.5, 97, 99)},
        funding={4: 0.01},
    ),
    Case(
        "Funding",
        "reversal at 16:00",
        "The long that leaves pays 10.1, the short that enters receives nothing. 1,050 + 10 − 10.1 = 1,049.9; − 90 "
        "= 959.9.",
        {1: 1, 3: 2},
        bracket(0.05),
        (Expected(10, 2, 4, 100, 101, 10, funding=10.1), Expected(-10, 4, 5, 101, 110, -90)),
        (1050, 1050, 1050, 1050, 1049.9, 959.9),
        {4: (101, 101.5, 100.5, 101), 5: (110, 110, 110, 110)},
        funding={4: 0.01},
    ),
    Case(
        "Funding",
        "gap beyond the liquidation price at 16:00",
        "Paid at the open it is liquidated at: 100 × 92 × 0.01 = 92, and −800. 1,050 − 92 − 800 = 158.",
        LONG,
        TEN_TIMES,
        (Expected(100, 2, 4, 100, 92, -800, funding=92),),
        (1050, 1050, 1050, 1050, 158),
        {4: (92, 95, 91, 94)},
        TEN,
        {4: 0.01},
    ),
    Case(
        "Funding",
        "it leaves the liquidation price where it is",
        "100 × 100 × 0.05 = 500 is paid from the account; 94 is still above 93.75. 550 + 100 × (99 − 100) = 450.",
        LONG,
        TEN_TIMES,
        (),
        (1050, 1050, 1050, 1050, 550, 450),
        {5: (100, 100.5, 94, 99)},
        TEN,
        {4: 0.05},
    ),
]

END = [
    Case(
        "Ruin and the end",
        "ruin",
        "Without a maintenance margin only the close counts: 104 × (60 − 100) = −4,160, more than there is. Closed "
        "at the close, and nothing is left.",
        LONG,
        TEN_TIMES,
        (Expected(104, 2, 3, 100, 60, -4_160),),
        (1050, 1050, 1050, 0, 0),
        {3: (60, 60, 60, 60)},
    ),
    Case(
        "Ruin and the end",
        "open last position",
        "Marked at the close and not listed. 1,050 + 10 × 10 = 1,150.",
        LONG,
        bracket(),
        (),
        (1050, 1050, 1050, 1150),
        {3: (100, 110, 100, 110)},
    ),
    Case(
        "Ruin and the end",
        "nothing crosses the end",
        "Sold at the last open, 101 × 0.99 = 99.99. 10 × (99.99 − 101) − 1.01 − 0.9999 = −12.1099.",
        {1: 1, 3: 2},
        bracket(),
        (Expected(10, 2, 4, 101, 99.99, -12.1099, 2.0099),),
        (1050, 1050, 1038.99, 1038.99, 1037.8901),
        {4: (101, 101.5, 100.5, 101)},
        costs(commission=0.001, slippage=0.01),
        close_at_end=True,
    ),
    Case(
        "Ruin and the end",
        "no limit waits across the end",
        "The limit 101 of bar 1 would wait for four bars and be met in the last: it is dropped at the close before.",
        LONG,
        bracket(limit=0.01),
        (),
        (1050, 1050, 1050, 1050, 1050),
        {**dict.fromkeys((2, 3), (103, 104, 102, 103)), 4: (100, 100.5, 95, 96)},
        limit_bars=4,
        close_at_end=True,
    ),
]

CASES = [*STOPS, *TRAILING, *POLICY, *LIMITS, *SLIPPAGE, *FEES, *SIZE, *LIQUIDATION, *FUNDING, *END]


def market(case: Case) -> pd.DataFrame:
    quiet = (case.price, case.price * 1.005, case.price * 0.995, case.price)
    rows = [case.bars.get(bar, quiet) for bar in range(len(case.equity))]
    index = pd.date_range("2024-01-01", periods=len(rows), freq="4h", tz="UTC", unit="us", name="time")
    return pd.DataFrame(rows, columns=["open", "high", "low", "close"], index=index).astype(float)


def by_bar(case: Case, values: dict[int, float], kind: type = float) -> np.ndarray[Any, Any]:
    row = np.zeros(len(case.equity), dtype=kind)
    row[list(values)] = list(values.values())
    return row


# The table ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("simulate", SIMULATORS)
@pytest.mark.parametrize(
    ("case", "policy"),
    [
        pytest.param(case, policy, id=re.sub(r"\W+", "-", f"{case.section} {case.name} {policy}"))
        for case in CASES
        for policy in case.policies
    ],
)
def test_truth_table(simulate: Callable[..., Any], case: Case, policy: Policy) -> None:
    result = simulate(
        market(case),
        by_bar(case, case.signals, np.int8),
        case.parameters,
        case.costs,
        policy,
        funding=by_bar(case, case.funding),
        limit_bars=case.limit_bars,
        close_at_end=case.close_at_end,
    )
    names = [part.name for part in fields(Expected)]
    found = [{name: getattr(trade, name) for name in names} for trade in result.trades]
    near = {"rel": 1e-12, "abs": 1e-9}  # the sums by hand are decimal
    assert found == [pytest.approx({name: getattr(trade, name) for name in names}, **near) for trade in case.trades]
    assert list(result.equity) == pytest.approx(list(case.equity), **near)


# The page ----------------------------------------------------------------------------------------------------------


def number(value: float) -> str:
    """At least as many digits as the case has, without an exponent."""
    text = f"{value:,.9f}".rstrip("0").rstrip(".") if abs(value) < 1e9 else str(value)
    return text.replace("-", "−")


def settings_of(case: Case) -> str:
    """What the case sets: signals, parameters, costs, bars."""
    parts = [f"{'long' if side == 1 else 'short'} at {bar}" for bar, side in case.signals.items()]
    chosen = {part.name: getattr(case.parameters, part.name) for part in fields(case.parameters)}
    for name in ("stop_loss", "take_profit", "limit"):
        long, short = chosen.pop(f"{name}_long"), chosen.pop(f"{name}_short")
        if long == short:
            chosen[name] = long
        else:
            chosen |= {f"{name}_long": long, f"{name}_short": short}
    defaults: dict[str, Any] = {"leverage": 1.0, "maker_commission": None}
    given = {part.name: getattr(case.costs, part.name) for part in fields(case.costs)}
    defaults |= {part.name: part.default for part in fields(case.costs)} | {"cash": 1_050}
    for name, value in {**chosen, **given}.items():
        if value != defaults.get(name):
            text = ", ".join(f"{bars}: {number(least)}" for bars, least in value) if isinstance(value, tuple) else None
            parts.append(f"{name} {text or number(value)}")
    if case.policies != POLICIES:
        parts.append(f"policy {case.policies[0]}")
    if case.limit_bars != 1:
        parts.append(f"limit_bars {case.limit_bars}")
    if case.close_at_end:
        parts.append("close_at_end")
    if case.price != 100:
        parts.append(f"price {number(case.price)}")
    parts += [f"bar {bar}: {' '.join(number(price) for price in row)}" for bar, row in case.bars.items()]
    parts += [f"funding at {bar}: {number(rate)}" for bar, rate in case.funding.items()]
    return "; ".join(parts)


def trade_of(trade: Expected) -> str:
    """Size, bars and prices of a trade, and what came of it."""
    parts = [
        f"{number(trade.size)} × {number(trade.entry_price)} → {number(trade.exit_price)}",
        f"bars {trade.entry_bar} → {trade.exit_bar}",
        f"PnL {number(trade.pnl)}",
    ]
    parts += [f"fees {number(trade.commission)}"] if trade.commission else []
    parts += [f"funding {number(trade.funding)}"] if trade.funding else []
    return ", ".join(parts)


def table_row(case: Case) -> str:
    """Return the case as a row of the page's table."""
    trades = "<br>".join(trade_of(trade) for trade in case.trades) or "none"
    steps = [value for before, value in pairwise((None, *case.equity)) if value != before]
    equity = " → ".join(number(value) for value in steps)
    return f"| {case.name} | {settings_of(case)} | {trades} | {equity} | {case.why} |"


@pytest.mark.parametrize("section", dict.fromkeys(case.section for case in CASES))
def test_page_shows_the_table(section: str) -> None:
    """A row that differs is to be copied from the message into the page, once its arithmetic has been done again."""
    text = PAGE.read_text(encoding="utf-8").partition(f"\n### {section}\n")[2].partition("\n#")[0]
    rows = [line for line in text.splitlines() if line.startswith("| ")][1:]
    assert rows == [table_row(case) for case in CASES if case.section == section]


def test_names_of_the_table_are_unique() -> None:
    assert [name for name, times in Counter((case.section, case.name) for case in CASES).items() if times > 1] == []


# Against backtesting.py --------------------------------------------------------------------------------------------

LIBRARY_COLUMNS = ["Size", "EntryBar", "ExitBar", "EntryPrice", "ExitPrice", "PnL", "Commission"]


def prices(kind: str, rows: int, seed: int) -> pd.DataFrame:
    """A random walk; a grid of quarters whose wicks end at levels of 1/64 to 1/8, without rounding; gaps; crashes."""
    generator = np.random.default_rng(seed)
    if kind == "walk":
        return random_walk(rows, seed=seed, volatility=0.01)
    if kind == "grid":
        close = np.maximum(16 + np.cumsum(generator.integers(-2, 3, rows)) / 4, 4)
        opening = np.append(16, close[:-1]) + generator.choice([0, 0, 0, -0.25, 0.25, 1, -1], rows)
        decided = np.append([16, 16], close)[:rows]  # the close before the bar of an entry, as its second bar sees it
        fraction = generator.choice([0, 0, 1 / 64, 1 / 16, 1 / 8], (2, rows))
        high = np.maximum.reduce([opening, close, decided * (1 + fraction[0])])
        low = np.minimum.reduce([opening, close, decided * (1 - fraction[1])])
    else:
        step, gap = {"gaps": (0.01, 0.03), "crash": (0.15, 0.1)}[kind]
        close = 100 * np.exp(np.cumsum(generator.standard_normal(rows) * step))
        opening = np.append(100, close[:-1]) * np.exp(generator.standard_normal(rows) * gap)
        high = np.maximum(opening, close) * (1 + np.abs(generator.standard_normal(rows)) * step / 2)
        low = np.minimum(opening, close) / (1 + np.abs(generator.standard_normal(rows)) * step / 2)
    index = pd.date_range("2024-01-01", periods=rows, freq="15min", tz="UTC", unit="us", name="time")
    return pd.DataFrame({"open": opening, "high": high, "low": low, "close": close}, index=index)


@dataclass(frozen=True)
class Market:
    """What a simulator is given."""

    bars: pd.DataFrame
    signal: np.ndarray[Any, Any]
    parameters: BracketParameters
    limit_bars: int
    close_at_end: bool
    seed: int


@st.composite
def markets(draw: st.DrawFn) -> Market:
    seed, rows = draw(st.integers(0, 2**32 - 1)), draw(st.integers(2, 150))
    density = draw(st.sampled_from([0.03, 0.1, 0.3, 0.8]))
    activation, distance = draw(st.sampled_from([(None, None), (1 / 16, 1 / 32), (0.01, 0.005), (0.005, 0.1)]))
    stops, targets = st.sampled_from([None, 1 / 64, 1 / 16, 0.02, 0.3]), st.sampled_from([None, 1 / 16, 1 / 8, 0.03])
    limits = st.sampled_from([None, None, 1 / 64, 0.002])
    parameters = BracketParameters(
        *(draw(values) for values in (stops, targets, limits, stops, targets, limits)),
        leverage=draw(st.sampled_from([1, 2, 3, 10, 49])),
        trailing_activation=activation,
        trailing_distance=distance,
        minimum_profit=draw(st.sampled_from([None, ((3, -1.0),), ((1, 1 / 16), (5, 0.0), (9, -0.02))])),
    )
    return Market(
        bars=prices(draw(st.sampled_from(["walk", "grid", "gaps", "crash"])), rows, seed),
        signal=np.random.default_rng(seed).choice(3, rows, p=[1 - density, density / 2, density / 2]).astype(np.int8),
        parameters=parameters,
        limit_bars=draw(st.integers(1, 3)),
        close_at_end=draw(st.booleans()),
        seed=seed,
    )


def run(given_market: Market, run_costs: Costs, policy: Policy, **rest: Any) -> Result:
    values = {"limit_bars": given_market.limit_bars, "close_at_end": given_market.close_at_end, **rest}
    return perpetual_reference.simulate(
        given_market.bars, given_market.signal, given_market.parameters, run_costs, policy, **values
    )


def test_without_extras_it_is_backtesting_py() -> None:
    seen: Counter[str] = Counter()

    @settings(max_examples=400, deadline=None, derandomize=True, database=None)
    @given(
        given_market=markets(),
        policy=st.sampled_from(POLICIES),
        commission=st.sampled_from([0.0, 0.001, 1 / 512, -0.0005]),
        cash=st.sampled_from([100_000.0, 1_050.0, 160.0]),
    )
    def equal(given_market: Market, policy: Policy, commission: float, cash: float) -> None:
        found = run(given_market, Costs(commission=commission, cash=cash), policy)
        bars, signal, parameters = given_market.bars, given_market.signal, given_market.parameters
        rest: dict[str, Any] = {"limit_bars": given_market.limit_bars, "close_at_end": given_market.close_at_end}
        stats = reference(bars, signal, parameters, Costs(commission, cash), policy, **rest)
        listed = [
            (t.size, t.entry_bar, t.exit_bar, t.entry_price, t.exit_price, t.pnl, t.commission) for t in found.trades
        ]
        assert listed == list(stats["_trades"][LIBRARY_COLUMNS].itertuples(index=False, name=None))
        assert found.equity == stats["_equity_curve"]["Equity"].to_list()
        seen.update(trade.reason for trade in found.trades)
        seen["on the bar of the entry"] += sum(trade.exit_bar == trade.entry_bar for trade in found.trades)
        seen["short"] += sum(trade.size < 0 for trade in found.trades)
        tie = {"stop": "low", "target": "high"}
        seen["tie"] += sum(
            t.reason in tie and t.size > 0 and t.exit_price == bars[tie[t.reason]].iloc[t.exit_bar]
            for t in found.trades
        )

    equal()
    # The markets hold what they are meant to hold.
    least = {
        "close": 500,
        "stop": 500,
        "target": 100,
        "ruin": 10,
        "on the bar of the entry": 100,
        "short": 500,
        "tie": 30,
    }
    assert {name: seen[name] for name, count in least.items() if seen[name] < count} == {}


@pytest.mark.parametrize("leverage", [1, 3, 10, 49])
@pytest.mark.parametrize("commission", [0.0, 0.001, 0.099, -0.0003])
def test_units_are_those_of_backtesting_py_to_the_last_bit(leverage: float, commission: float) -> None:
    """Cash for a whole number of units, give or take a few of the smallest steps of a float."""
    generator, found, expected = np.random.default_rng(5), [], []
    for _ in range(16):
        price, units = generator.integers(50, 10_000) / 100, int(generator.integers(1, 500))
        bars = pd.DataFrame(
            dict.fromkeys(["open", "high", "low", "close"], np.full(4, price)), index=random_walk(4).index
        )
        cash = price * (1 + commission) * units / leverage
        for _ in range(generator.integers(0, 8)):
            cash = np.nextafter(cash, np.inf)
        parameters, signal = bracket(0.5, leverage=leverage), np.array([0, 1, 2, 0])
        exact = Costs(commission=commission, cash=float(cash))
        trades = perpetual_reference.simulate(bars, signal, parameters, exact, "reverse").trades
        stats = reference(bars, signal, parameters, Costs(commission, float(cash)), "reverse")
        found.append([trade.size for trade in trades])
        expected.append(stats["_trades"]["Size"].to_list())
    assert found == expected


# Properties of the extras ------------------------------------------------------------------------------------------


@st.composite
def all_costs(draw: st.DrawFn, leverage: float) -> Costs:
    return Costs(
        commission=draw(st.sampled_from([0.0, 0.0005, 0.002])),
        maker_commission=draw(st.sampled_from([None, 0.0, 0.0002, -0.0001])),
        slippage=draw(st.sampled_from([0.0, 0.0005, 0.01])),
        lot_size=draw(st.sampled_from([1.0, 0.001, 10.0, 0.1])),
        minimum_notional=draw(st.sampled_from([0.0, 5.0, 900.0])),
        maintenance_margin=draw(st.sampled_from([0.0, 0.004 / leverage, 0.5 / leverage, 0.9 / leverage])),
        liquidation_fee=draw(st.sampled_from([0.0, 0.0125, 0.1])),
        cash=draw(st.sampled_from([1_050.0, 100_000.0])),
    )


def test_properties_with_every_extra() -> None:
    seen: Counter[str] = Counter()

    @settings(max_examples=400, deadline=None, derandomize=True, database=None)
    @given(data=st.data(), given_market=markets(), policy=st.sampled_from(POLICIES))
    def check(data: st.DataObject, given_market: Market, policy: Policy) -> None:
        parameters, bars = given_market.parameters, given_market.bars
        chosen = data.draw(all_costs(parameters.leverage))
        generator = np.random.default_rng(given_market.seed)
        rates = generator.choice([0.0, 0.0, 0.0, 0.001, -0.001], len(bars))
        found = run(given_market, chosen, policy, funding=rates)
        options = {"limit_bars": given_market.limit_bars, "close_at_end": given_market.close_at_end}
        by_engine = compiled(bars, given_market.signal, parameters, chosen, policy, funding=rates, **options)
        assert by_engine == found  # to the last bit

        assert len(found.equity) == len(bars)
        assert min(found.equity) >= 0
        for before, after in pairwise(found.trades):
            assert before.exit_bar <= after.entry_bar
        for trade in found.trades:
            check_trade(trade, given_market, chosen, rates)
        if given_market.close_at_end and found.equity[-1] > 0:
            earned = sum(trade.pnl - trade.funding for trade in found.trades)
            assert found.equity[-1] == pytest.approx(chosen.cash + earned, abs=1e-9 * max(found.equity))

        cut = data.draw(st.integers(2, len(bars)))
        short_market = replace(given_market, bars=bars[:cut], signal=given_market.signal[:cut])
        part = run(short_market, chosen, policy, funding=rates[:cut], close_at_end=False)
        whole = run(given_market, chosen, policy, funding=rates, close_at_end=False)
        assert part.equity == whole.equity[:cut]
        assert part.trades == [trade for trade in whole.trades if trade.exit_bar < cut]
        seen.update(trade.reason for trade in found.trades)
        seen["funded"] += sum(trade.funding != 0 for trade in found.trades)

    check()
    least = {"close": 300, "stop": 300, "target": 60, "liquidation": 30, "funded": 300}
    assert {name: seen[name] for name, count in least.items() if seen[name] < count} == {}


def check_trade(
    trade: Trade, given_market: Market, chosen: Costs, rates: np.ndarray[Any, np.dtype[np.float64]]
) -> None:
    parameters, bars = given_market.parameters, given_market.bars
    side, units = (1 if trade.size > 0 else -1), abs(trade.size)
    lots = units / chosen.lot_size
    assert lots == pytest.approx(round(lots), rel=1e-12)
    assert units * trade.entry_price >= chosen.minimum_notional
    rate = rates[trade.entry_bar + 1 : trade.exit_bar + 1]
    opens = bars["open"].to_numpy()[trade.entry_bar + 1 : trade.exit_bar + 1]
    assert trade.funding == pytest.approx((trade.size * opens * rate).sum(), abs=1e-9)
    if chosen.slippage == 0:
        low, high = bars["low"].iloc[trade.exit_bar], bars["high"].iloc[trade.exit_bar]
        bankruptcy = trade.entry_price * (1 - side / parameters.leverage)
        assert low <= trade.exit_price <= high or trade.exit_price == pytest.approx(bankruptcy)
    if trade.reason == "liquidation":
        margin = units * trade.entry_price / parameters.leverage
        entry_fees = [rate for rate in (chosen.commission, chosen.maker_commission) if rate is not None]
        lost = [trade.pnl + units * trade.entry_price * rate for rate in entry_fees]
        assert max(lost) >= -margin * (1 + 1e-9)
        assert side * trade.exit_price <= side * trade.entry_price


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(given_market=markets(), policy=st.sampled_from(POLICIES))
def test_extras_that_cannot_bite_change_nothing(given_market: Market, policy: Policy) -> None:
    plain = run(given_market, Costs(commission=0.001, cash=1_050), policy)
    same = replace(
        Costs(commission=0.001, cash=1_050),
        maker_commission=0.001,
        minimum_notional=1e-12,
        liquidation_fee=0.1,
    )
    assert run(given_market, same, policy, funding=np.zeros(len(given_market.bars))) == plain


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(
    seed=st.integers(0, 2**32 - 1), policy=st.sampled_from(POLICIES), kind=st.sampled_from(["grid", "gaps", "crash"])
)
def test_a_thousandth_of_the_price_by_lots_of_a_thousand_is_the_same_account(
    seed: int, policy: Policy, kind: str
) -> None:
    """The sub-cent coin: scaled by a power of two, so that every float is scaled exactly."""
    bars, signal = prices(kind, 100, seed), np.random.default_rng(seed).choice(3, 100, p=[0.8, 0.1, 0.1])
    chosen = costs(
        commission=0.001,
        maker_commission=0.0002,
        slippage=0.0005,
        minimum_notional=5.0,
        maintenance_margin=0.02,
        liquidation_fee=0.0125,
    )
    parameters = bracket(0.0625, 0.0625, 0.001, leverage=10, trailing_activation=0.01, trailing_distance=0.02)
    rates = np.random.default_rng(seed + 1).choice([0.0, 0.001, -0.001], 100)
    dear = perpetual_reference.simulate(bars, signal, parameters, chosen, policy, funding=rates)
    cheap = perpetual_reference.simulate(
        bars / 1024, signal, parameters, replace(chosen, lot_size=1024.0), policy, funding=rates
    )
    assert cheap.equity == dear.equity
    assert [trade.size / 1024 for trade in cheap.trades] == [trade.size for trade in dear.trades]
    assert [trade.pnl for trade in cheap.trades] == [trade.pnl for trade in dear.trades]


# What is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"policy": "stack"}, "policy is 'stack'"),
        ({"costs": Costs(maintenance_margin=0.1)}, r"maintenance_margin is 0.1 at leverage 10.*below 0.1"),
        ({"funding": [0.0] * 3}, "same length"),
        ({"funding": [0.0, 0.0, float("nan"), 0.0]}, "finite funding"),
        ({"signal": [0, 1]}, "same length"),
    ],
)
def test_what_cannot_be_simulated_is_refused(changes: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {
        "bars": random_walk(4),
        "signal": [0] * 4,
        "parameters": TEN_TIMES,
        "costs": Costs(),
        "policy": "reverse",
    }
    with pytest.raises(ValueError, match=message):
        perpetual_reference.simulate(**{**arguments, **changes})
