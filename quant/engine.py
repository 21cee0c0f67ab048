"""The engine: what `quant.bracket.reference` does by backtesting.py, compiled, and what perpetuals need beyond it.

`replay` returns the trades and the equity of one parameter set, `sweep` the figures of many. Where backtesting.py can
express a run, every trade and every bar of equity is equal to it to the last bit. The rules, those of perpetuals
included (lots, slippage, funding, liquidation), are in docs/perpetual-rules.md.
"""

import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from quant import engine_figures
from quant import engine_kernels as kernels
from quant.bracket_input import POLICIES, Policy, check_policy, prices, signals
from quant.costs import Costs
from quant.parameters import BracketError, BracketParameters, to_columns

__all__ = [
    "POLICIES",
    "Costs",
    "Metrics",
    "ParameterSets",
    "Policy",
    "Replay",
    "prepare",
    "replay",
    "sweep",
    "sweep_metrics",
]

TRADES = ("size", "entry_bar", "exit_bar", "entry_price", "exit_price", "pnl", "commission")
EXITS = ("order", "stop", "target", "liquidation", "ruin")

# the columns of a parameter row, in the order of the kernels
_FRACTIONS = attrgetter(
    *("stop_loss_long", "take_profit_long", "limit_long", "stop_loss_short", "take_profit_short", "limit_short"),
    *("leverage", "trailing_activation", "trailing_distance"),
)
_WHOLE = ("entry_bar", "exit_bar")
_CODES = {"reverse": kernels.REVERSE, "exclusive": kernels.EXCLUSIVE, "stack": kernels.STACK}
# Python's own ``sum``, by which the library adds up open trades, compensates for rounding since 3.12.
_COMPENSATED = sys.version_info >= (3, 12)

# a limit and a trailing stop need a look at every bar
_NOT_IN_LANES = [kernels.LIMIT_LONG, kernels.LIMIT_SHORT, kernels.ACTIVATION]

Signal = pd.Series | NDArray[Any]


class ParameterSets(NamedTuple):
    """Parameter sets as the kernels take them.

    ``matrix`` is sets × the parameter columns of `quant.engine_kernels`, NaN for a part that is off. ``tables`` holds
    the rows (bars, fraction) of all time tables, one set after the other, each by falling bars; that of set k is
    ``tables[rows[k]:rows[k + 1]]``. ``columns`` are as `quant.parameters.to_columns` makes them.
    """

    parameters: tuple[BracketParameters, ...]
    matrix: NDArray[np.float64]
    tables: NDArray[np.float64]
    rows: NDArray[np.int64]
    columns: dict[str, Any]


Sets = Sequence[BracketParameters] | ParameterSets


class Replay(NamedTuple):
    """Trades in order of their exit, and the equity at the close of each bar."""

    trades: pd.DataFrame
    equity: pd.Series


class Metrics(NamedTuple):
    """Figures of many sets, a column each, and their daily returns, sets × days."""

    figures: dict[str, NDArray[Any]]
    returns: NDArray[np.float64]


def replay(
    bars: pd.DataFrame,
    signal: Signal,
    parameters: BracketParameters,
    costs: Costs,
    policy: Policy = "reverse",
    *,
    funding: pd.Series | None = None,
    limit_bars: int = 1,
    close_at_end: bool = False,
) -> Replay:
    """Replay one parameter set.

    Parameters
    ----------
    bars, signal, parameters, costs, policy, limit_bars, close_at_end
        As for :func:`quant.bracket.reference`, whose rules these are.
    funding
        Rate due at the start of each bar, indexed as the bars, 0 where none is; longs pay positive rates. A
        missing rate is NaN and refused: it would silently count as 0.

    Returns
    -------
    trades
        Columns `TRADES`, then ``funding`` (paid, in quote currency, not part of ``pnl``) and ``exit`` (one of `EXITS`).
        Bars are positions; a short's size is negative. An open last trade is not listed.
    equity
        In quote currency, indexed as the bars.

    Raises
    ------
    BracketError
        If an input is not as above, ``stack`` is asked for with costs that backtesting.py does not know, or the
        maintenance margin is not below 1 / leverage.
    """
    chosen = prepare([parameters])
    run = _checked(bars, signal, chosen, costs, policy, funding, limit_bars, close_at_end)
    found = np.empty((_room(policy, len(bars)), len(kernels.TRADE_COLUMNS)))
    equity = np.empty(len(bars))
    if policy == "stack":
        count = kernels.stack(
            *run.prices,
            run.signal,
            chosen.matrix[0],
            chosen.tables,
            run.costs,
            limit_bars,
            run.border,
            _COMPENSATED,
            found,
            equity,
        )
        _check_room(count < 0)
    else:
        count = kernels.single(
            *run.prices,
            run.signal,
            run.funding,
            chosen.matrix[0],
            chosen.tables,
            run.costs,
            _CODES[policy],
            limit_bars,
            run.border,
            found,
            equity,
        )
    trades = pd.DataFrame(found[:count], columns=list(kernels.TRADE_COLUMNS)).astype(dict.fromkeys(_WHOLE, np.int64))
    trades["exit"] = pd.array(np.array(EXITS)[found[:count, kernels.EXIT].astype(np.intp)], dtype="str")
    return Replay(trades, pd.Series(equity, index=bars.index, name="equity"))


def sweep(
    bars: pd.DataFrame,
    signal: Signal,
    parameters: Sets,
    costs: Costs,
    policy: Policy = "reverse",
    *,
    funding: pd.Series | None = None,
    limit_bars: int = 1,
    close_at_end: bool = False,
) -> pd.DataFrame:
    """Replay many parameter sets over one asset; nothing of size sets × bars is ever kept.

    Parameters
    ----------
    parameters
        The sets, or what :func:`prepare` made of them; the rest is as for :func:`replay`.

    Returns
    -------
    DataFrame
        One row a set, in the order given: the parameters as `quant.parameters.to_columns` writes them, then
        backtesting.py's figures under its own names (see :func:`quant.engine_figures.figures`).

    Raises
    ------
    BracketError
        As :func:`replay`, or if no set is given.
    """
    chosen = _prepared(parameters)
    run = _checked(bars, signal, chosen, costs, policy, funding, limit_bars, close_at_end)
    index = pd.DatetimeIndex(bars.index)
    days = engine_figures.calendar(index)
    figures = engine_figures.figures(
        _sweep(run, chosen, policy, limit_bars, days, np.empty((len(chosen.matrix), 0))),
        index,
        days,
        run.prices[-1],
        costs.cash,
    )
    return pd.DataFrame({**chosen.columns, **figures}, copy=False)


def sweep_assets(
    assets: Mapping[str, tuple[pd.DataFrame, Signal]],
    parameters: Sets,
    costs: Costs,
    policy: Policy = "reverse",
    *,
    funding: Mapping[str, pd.Series] | None = None,
    limit_bars: int = 1,
    close_at_end: bool = False,
    threads: int = 1,
) -> pd.DataFrame:
    """Replay the same parameter sets over several assets.

    Parameters
    ----------
    assets
        Bars and signal by ticker; the rest is as for :func:`sweep`.
    funding
        By ticker; tickers without an entry pay none.
    threads
        Assets replayed at the same time: the compiled loops do not hold the interpreter.

    Returns
    -------
    DataFrame
        What :func:`sweep` returns of each asset, one below the other in the order given, with the column ``ticker``
        in front.

    Raises
    ------
    BracketError
        As :func:`sweep`, naming the ticker; or if there are no assets or no threads.
    """
    if not assets or threads < 1:
        raise BracketError(f"there are {len(assets)} assets and {threads} threads; needed: one or more of each")
    chosen, rates = _prepared(parameters), funding or {}

    def one(ticker: str) -> pd.DataFrame:
        bars, signal = assets[ticker]
        options: Any = {"limit_bars": limit_bars, "close_at_end": close_at_end}
        try:
            found = sweep(bars, signal, chosen, costs, policy, funding=rates.get(ticker), **options)
        except BracketError as error:
            raise BracketError(f"{ticker}: {error}") from error
        found.insert(0, "ticker", ticker)
        return found

    with ThreadPoolExecutor(threads) as pool:
        return pd.concat(list(pool.map(one, assets)), ignore_index=True)


def warm_up() -> None:
    """Compile every loop, or load it from the cache beside the module: seconds that no first asset should pay for."""
    bars = pd.DataFrame(
        dict.fromkeys(("open", "high", "low", "close"), 1.0),
        index=pd.date_range("2024-01-01", periods=3, freq="D", unit="us"),
    )
    none = np.zeros(len(bars), dtype=np.int8)
    for parameters in (BracketParameters(0.1, 0.1), BracketParameters(minimum_profit=((1, 0.0),))):
        for policy in POLICIES:
            sweep(bars, none, [parameters], Costs(), policy)
    for policy in POLICIES:
        replay(bars, none, BracketParameters(), Costs(), policy)


def sweep_metrics(
    bars: pd.DataFrame,
    signal: Signal,
    parameters: Sets,
    costs: Costs,
    policy: Policy = "reverse",
    *,
    funding: pd.Series | None = None,
    limit_bars: int = 1,
    close_at_end: bool = False,
) -> Metrics:
    """Do what :func:`sweep` does, with the figures and the daily returns that `quant.metrics` defines.

    Returns
    -------
    figures
        The columns `quant.schemas.FIGURES`, one value a set.
    returns
        Sets × UTC days from the first to the last, as :func:`quant.metrics.daily_returns`. It is the only thing that
        grows with sets × time: hand in the sets in batches where there are very many.
    """
    chosen = _prepared(parameters)
    run = _checked(bars, signal, chosen, costs, policy, funding, limit_bars, close_at_end)
    index = pd.DatetimeIndex(bars.index)
    days = engine_figures.metrics_calendar(index)
    changes = np.empty((len(chosen.matrix), len(days.day_ends) - 1))
    sums = _sweep(run, chosen, policy, limit_bars, days, changes)
    figures = engine_figures.metrics_figures(sums, index, costs.cash)
    return Metrics(figures, engine_figures.on_every_day(changes, days, index))


def prepare(parameters: Sequence[BracketParameters]) -> ParameterSets:
    """Bring parameter sets into the form that the kernels take: once, where many assets are replayed with the same.

    Raises
    ------
    BracketError
        If there are none.
    """
    if not parameters:
        raise BracketError("there are no parameter sets to sweep; needed: one or more")
    sets = np.array([_FRACTIONS(chosen) for chosen in parameters], dtype=np.float64)
    pairs = [pair for chosen in parameters for pair in reversed(chosen.minimum_profit or ())]
    lengths = [len(chosen.minimum_profit or ()) for chosen in parameters]
    tables = np.array(pairs, dtype=np.float64).reshape(-1, 2)
    rows = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return ParameterSets(tuple(parameters), sets, tables, rows, to_columns(parameters))


def _prepared(parameters: Sets) -> ParameterSets:
    return parameters if isinstance(parameters, ParameterSets) else prepare(parameters)


def _sweep(
    run: "_Run",
    chosen: ParameterSets,
    policy: Policy,
    limit_bars: int,
    days: engine_figures.Calendar,
    returns: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Sets × `quant.engine_kernels.SUMS`; the changes from day to day are written into ``returns``, unless empty."""
    sets = chosen.matrix
    sums = np.empty((len(sets), len(kernels.SUMS)))
    left = np.ones(len(sets), dtype=bool)
    if policy != "stack" and run.like_the_library:
        left = ~np.isnan(sets[:, _NOT_IN_LANES]).all(axis=1) | (np.diff(chosen.rows) > 0)
        together = np.flatnonzero(~left)
        plan = kernels.plan(*run.prices[1:], run.signal, run.border, days.day_ends, kernels.LONGEST_STRETCH)
        blocks = -(-len(together) // kernels.LANES)
        for block in np.array_split(together, blocks) if blocks else []:
            part, redo = np.empty((len(block), sums.shape[1])), np.empty(len(block), dtype=bool)
            daily = np.empty((len(block), returns.shape[1]))
            kernels.sweep_lanes(
                *run.prices, *plan, sets[block], run.costs, _CODES[policy], days.times, days.day_ends, part, daily, redo
            )
            sums[block], returns[block], left[block] = part, daily, redo
    if left.any():
        if not left.all():
            chosen = prepare([one for one, alone in zip(chosen.parameters, left, strict=True) if alone])
        part, daily = np.empty((len(chosen.matrix), sums.shape[1])), np.empty((len(chosen.matrix), returns.shape[1]))
        failed = kernels.sweep_plain(
            *run.prices,
            run.signal,
            run.funding,
            chosen.matrix,
            chosen.tables,
            chosen.rows,
            run.costs,
            _CODES[policy],
            limit_bars,
            run.border,
            _COMPENSATED,
            days.times,
            days.day_ends,
            part,
            daily,
        )
        _check_room(failed >= 0)
        sums[left], returns[left] = part, daily
    return sums


class _Run(NamedTuple):
    """A run as the kernels take it: prices by open, high, low, close."""

    prices: tuple[NDArray[np.float64], ...]
    signal: NDArray[np.int8]
    funding: NDArray[np.float64]
    costs: NDArray[np.float64]
    border: int
    like_the_library: bool


def _checked(
    bars: pd.DataFrame,
    signal: Signal,
    chosen: ParameterSets,
    costs: Costs,
    policy: Policy,
    funding: pd.Series | None,
    limit_bars: int,
    close_at_end: bool,
) -> _Run:
    check_policy(policy, limit_bars)
    beyond = [*costs.beyond_reference(), *([] if funding is None else ["funding"])]
    if policy == "stack" and beyond:
        raise BracketError(
            f"{beyond[0]} is set with the policy stack, which follows backtesting.py alone; "
            "allowed: the policies reverse and exclusive, or its default"
        )
    highest = chosen.matrix[:, kernels.LEVERAGE].max()
    if costs.maintenance_margin >= 1 / highest:
        raise BracketError(
            f"maintenance_margin is {costs.maintenance_margin} at leverage {highest:g}; allowed: below 1 / leverage, "
            "since a position would otherwise be liquidated as it is opened"
        )
    account = [
        *(costs.cash, costs.commission, costs.maker, costs.slippage),
        *(costs.lot_size, costs.minimum_notional, costs.maintenance_margin, costs.liquidation_fee),
    ]
    return _Run(
        prices(bars),
        signals(bars, signal),
        _rates(bars, funding),
        np.array(account, dtype=np.float64),
        len(bars) - 2 if close_at_end else -1,
        not beyond,
    )


def _rates(bars: pd.DataFrame, funding: pd.Series | None) -> NDArray[np.float64]:
    if funding is None:
        return np.empty(0)
    if not funding.index.equals(bars.index):
        raise BracketError(f"funding has {len(funding)} rates on an index of its own; needed: the index of the bars")
    rates = funding.to_numpy(dtype=np.float64)
    bad = ~np.isfinite(rates)
    if bad.any():
        raise BracketError(f"funding is {rates[bad][0]} at {bars.index[int(np.argmax(bad))]}; allowed: finite rates")
    return rates


def _room(policy: Policy, bars: int) -> int:
    """Most trades that the kernels record: an entry by ``stack`` can leave several."""
    return (2 if policy == "stack" else 1) * bars + 1


def _check_room(full: bool) -> None:
    if full:
        raise BracketError(
            f"more than {kernels.MOST_OPEN} trades are open at once, or more than two a bar are closed; "
            "allowed under stack: fewer (a lower leverage, a larger commission or fewer signals help)"
        )
