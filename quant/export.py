"""Exports of the shortlist to what trades it: the article's ``custom_assets`` file."""

import json
import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from quant.parameters import BracketParameters
from quant.tickers import ccxt_form

ROI_BARS = (50, 100, 150, 200, 300, 500)


class ExportError(ValueError):
    """A shortlist that cannot be written."""


def custom_assets(
    shortlist: pd.DataFrame,
    parameters: Mapping[str, BracketParameters],
    figures: Mapping[str, Mapping[str, float]],
    *,
    optimizer_used: str,
    model_name: str,
    start: pd.Timestamp,
    end: pd.Timestamp,
    timeframe: str,
) -> dict[str, dict[str, Any]]:
    """Return the shortlisted assets with the fields of the article's ``custom_assets.txt``, best first.

    A part that is switched off is None (null in JSON). ``roi_at_n`` is the fraction that the time table asks
    for at n bars held, None before its first pair; a table with pairs at other bars than these six cannot be
    written without loss, so the whole table is added to the sentence in ``Optimizer_result``.

    Parameters
    ----------
    shortlist
        Columns ``ticker``, ``shortlisted`` and ``rank`` of ``quant.schemas.SHORTLIST``; rejected rows are left out.
    parameters, figures
        By ticker, the chosen parameters and their ``quant.metrics.figures`` on the part from ``start`` to ``end``.
    optimizer_used
        How the parameters were found, such as ``grid - sharpe``.
    model_name
        The model behind the signals.
    timeframe
        Length of a bar in words, such as ``15 minutes``.

    Returns
    -------
    assets
        By ccxt's name of the asset (``ETH/USDT:USDT``); empty where nothing is shortlisted.

    Raises
    ------
    ExportError
        If two tickers have one ccxt name, or a shortlisted ticker has no parameters or no figures.
    """
    tickers = by_name(shortlist)
    for ticker in tickers.values():
        if ticker not in parameters or ticker not in figures:
            raise ExportError(f"{ticker} is shortlisted without {'figures' if ticker in parameters else 'parameters'}")
    span = f"from {_moment(start)} to {_moment(end)} ({_duration(end - start)}) on bars of {timeframe}"
    return {
        name: {
            "Optimizer_used": optimizer_used,
            "model_name": model_name,
            "Optimizer_result": _result(name, span, figures[ticker], parameters[ticker]),
            **_fields(parameters[ticker]),
        }
        for name, ticker in tickers.items()
    }


def by_name(shortlist: pd.DataFrame) -> dict[str, str]:
    """Return the shortlisted tickers by ccxt's names, best first.

    Raises
    ------
    ExportError
        If two tickers have one name.
    """
    tickers: dict[str, str] = {}
    for ticker in shortlist.loc[shortlist["shortlisted"].astype(bool)].sort_values("rank")["ticker"]:
        name = ccxt_form(ticker)
        if name in tickers:
            raise ExportError(
                f"{tickers[name]} and {ticker} are both shortlisted and both {name} to ccxt; "
                "allowed: one ticker a name, so export the venues apart"
            )
        tickers[name] = ticker
    return tickers


def to_json(assets: Mapping[str, Any]) -> str:
    """Return the text of the file, the same for the same assets; ``json.loads`` reads it under any encoding."""
    return json.dumps(assets, indent=4, allow_nan=False) + "\n"


def _fields(parameters: BracketParameters) -> dict[str, Any]:
    leverage = parameters.leverage
    return {
        "stop_loss_percent_long": parameters.stop_loss_long,
        "take_profit_percent_long": parameters.take_profit_long,
        "limit_long": parameters.limit_long,
        "stop_loss_percent_short": parameters.stop_loss_short,
        "take_profit_percent_short": parameters.take_profit_short,
        "limit_short": parameters.limit_short,
        "margin_leverage": int(leverage) if leverage.is_integer() else leverage,
        "TRAILING_ACTIVATE_PCT": parameters.trailing_activation,
        "TRAILING_STOP_PCT": parameters.trailing_distance,
        **{f"roi_at_{bars}": _least_move(parameters, bars) for bars in ROI_BARS},
    }


def _least_move(parameters: BracketParameters, held: int) -> float | None:
    fractions = [fraction for bars, fraction in parameters.minimum_profit or () if bars <= held]
    return fractions[-1] if fractions else None


def _result(name: str, span: str, figures: Mapping[str, float], parameters: BracketParameters) -> str:
    sentence = (
        f"The backtest of {name} was run {span}. "
        f"Win rate - {_number(figures['win_rate'] * 100, 2)}%, return - {_number(figures['total_return'] * 100, 3)}%, "
        f"expectancy - {_number(figures['expectancy'] * 100, 5)}% "
        f"and Sharpe ratio - {_number(figures['sharpe'], 4)}."
    )
    table = parameters.minimum_profit or ()
    if all(bars in ROI_BARS for bars, _ in table):
        return sentence
    pairs = ", ".join(f"{fraction} from {bars} bars" for bars, fraction in table)
    return f"{sentence} Time table of exits - {pairs}."


def _number(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if math.isfinite(value) else "undefined"


def _moment(time: pd.Timestamp) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S")


def _duration(span: pd.Timedelta) -> str:
    part = span.components
    return f"{part.days} days {part.hours:02d} hours {part.minutes:02d} minutes"
