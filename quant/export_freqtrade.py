"""The shortlist for freqtrade: a pair list, parameters by pair, and a strategy that trades them.

The strategy is `export_freqtrade_strategy.py.txt`, which says in its docstring how it is used and where freqtrade
cannot follow `quant.bracket`. It reads the parameters as data: no name of an asset ever becomes source.
"""

import importlib.resources
import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import pandas as pd

from quant.export import ExportError, by_name
from quant.parameters import BracketParameters

# those that divide a day: freqtrade has longer ones, which do not start where a count from 1970 has them
_MINUTES = {
    **{f"{minutes}m": minutes for minutes in (1, 3, 5, 15, 30)},
    **{f"{hours}h": 60 * hours for hours in (1, 2, 4, 6, 8, 12)},
    "1d": 1440,
}


def timeframe_of(bar: pd.Timedelta) -> str:
    """Return freqtrade's name of a length of bars: ``15m``.

    Raises
    ------
    ExportError
        If freqtrade has no such candles.
    """
    for name, minutes in _MINUTES.items():
        if bar == pd.Timedelta(minutes=minutes):
            return name
    raise ExportError(f"bars are {bar} long, which freqtrade has no candles of; allowed: {', '.join(_MINUTES)}")


def pair_list(shortlist: pd.DataFrame, bar: pd.Timedelta) -> dict[str, Any]:
    """Return the part of freqtrade's configuration that makes it trade the shortlist, best first.

    Parameters
    ----------
    shortlist
        Columns ``ticker``, ``shortlisted`` and ``rank`` of ``quant.schemas.SHORTLIST``; rejected rows are left out.
    bar
        Length of a bar.

    Raises
    ------
    ExportError
        If two tickers have one ccxt name, or freqtrade has no candles of that length.
    """
    timeframe = timeframe_of(bar)
    # the strategy gives an entry up by itself, at the end of its candle; freqtrade's own patience is 10 minutes
    patience = {"entry": _MINUTES[timeframe], "exit": _MINUTES[timeframe], "unit": "minutes"}
    return {
        "trading_mode": "futures",
        "margin_mode": "isolated",
        "timeframe": timeframe,
        # freqtrade reads the names as regular expressions
        "exchange": {"pair_whitelist": [re.escape(name) for name in by_name(shortlist)]},
        "pairlists": [{"method": "StaticPairList"}],
        # freqtrade refuses market exits otherwise
        "entry_pricing": {"price_side": "other"},
        "exit_pricing": {"price_side": "other"},
        "unfilledtimeout": patience,
    }


def parameters(
    shortlist: pd.DataFrame, chosen: Mapping[str, BracketParameters], bar: pd.Timedelta
) -> dict[str, dict[str, Any]]:
    """Return the parameters that the strategy reads, by freqtrade's name of the pair, best first.

    They are the fields of `quant.parameters.BracketParameters`, None (null in JSON) for a part that is off, but for the
    time table, which is ``time_table``: pairs (minutes held, least move), empty where it is off.

    Parameters
    ----------
    shortlist, bar
        As for :func:`pair_list`.
    chosen
        By ticker, the chosen parameters.

    Raises
    ------
    ExportError
        As :func:`pair_list`, or if a shortlisted ticker has no parameters.
    """
    minutes = _MINUTES[timeframe_of(bar)]
    tickers = by_name(shortlist)
    for ticker in tickers.values():
        if ticker not in chosen:
            raise ExportError(f"{ticker} is shortlisted without parameters")
    return {name: _fields(chosen[ticker], minutes) for name, ticker in tickers.items()}


def strategy(timeframe: str) -> str:
    """Return the source of the strategy, for candles of freqtrade's name ``timeframe``.

    Raises
    ------
    ExportError
        If the name is none that :func:`timeframe_of` returns.
    """
    if timeframe not in _MINUTES:
        raise ExportError(f"timeframe is {timeframe!r}; allowed: {', '.join(_MINUTES)}")
    template = importlib.resources.files("quant").joinpath("export_freqtrade_strategy.py.txt")
    return template.read_text("utf-8").replace("<timeframe>", timeframe)


def _fields(parameters: BracketParameters, minutes: int) -> dict[str, Any]:
    fields = asdict(parameters)
    table = fields.pop("minimum_profit") or ()
    return {**fields, "time_table": [[bars * minutes, least] for bars, least in table]}
