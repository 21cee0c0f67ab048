"""The two sources of the feature sets: pylabwons itself, and the CNN article's loop restated literally."""

import importlib
import importlib.util
import sys
import warnings
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
import talib as ta

TIME_PERIODS = [6, 8, 10, 12, 14, 16, 18, 22, 26, 33, 44, 55]
ARTICLE_PREFIXES = {
    "KC_upper": "ema_high",
    "KC_middle": "ema_low",
    "BB_": "bollinger_",
    "Stoch_Oscillator": "stochastic_k",
    "Adj Close": "adj_close",
}


@cache
def pylabwons_tester() -> Any:
    """Class BackTester, without the package's own ``__init__``: that starts a scraper and needs an old setuptools."""
    root = Path(str(importlib.util.find_spec("pylabwons").origin)).parent
    for name in ("pylabwons", "pylabwons.schema", "pylabwons.core", "pylabwons.core.analytic_tools"):
        package = ModuleType(name)
        package.__path__ = [str(root.joinpath(*name.split(".")[1:]))]
        sys.modules[name] = package
    sys.modules["pylabwons.schema"].Ohlcv = importlib.import_module("pylabwons.schema.ohlcv").Ohlcv
    return importlib.import_module("pylabwons.core.analytic_tools.backtest").BackTester


def notebook_indicators(wide: pd.DataFrame) -> Any:
    """Apply the calls of the clustering notebook behind ``pattern8`` to a frame with columns (ticker, field)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tester = pylabwons_tester()(wide)
        tester.calc_log_return()
        tester.add_bollinger_band("close", window=20, std=2)
        tester.add_macd("close", window_slow=26, window_fast=12, window_sign=9)
        tester.add_average_true_range(window=10)
        tester.add_volume_roc(window=7)
        tester.add_obv_slope(window=12)
        tester.add_rsi(window=9, offset=-50)
    return tester


def article_frame(bars: pd.DataFrame) -> pd.DataFrame:
    """Compute the article's frame before its ``dropna``, with its double loop and one column inserted at a time."""
    df = pd.DataFrame(
        {
            "Open": bars["open"],
            "High": bars["high"],
            "Low": bars["low"],
            "Adj Close": bars["close"],
            "Volume": bars["volume"],
            "Close": bars["close"],
        }
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for period in TIME_PERIODS:
            for _nperiod in TIME_PERIODS:
                _article_columns(df, period)
        df["Returns"] = (df["Adj Close"] / df["Adj Close"].shift(2)) - 1
        df["Range"] = (df["High"] / df["Low"]) - 1
        df["Volatility"] = df["Returns"].rolling(window=2).std()
        df["OBV"] = ta.OBV(df["Close"], df["Volume"])
        df["ADL"] = ta.AD(df["High"], df["Low"], df["Close"], df["Volume"])
        df["Stoch_Oscillator"] = ta.STOCH(df["High"], df["Low"], df["Close"])[0]
        df["PSAR"] = ta.SAR(df["High"], df["Low"], acceleration=0.02, maximum=0.2)
    return df


def _article_columns(df: pd.DataFrame, period: int) -> None:
    df[f"ATR_{period}"] = ta.ATR(df["High"], df["Low"], df["Close"], timeperiod=period)
    df[f"EMA_{period}"] = ta.EMA(df["Close"], timeperiod=period * 2)
    df[f"RSI_{period}"] = ta.RSI(df["Close"], timeperiod=period * 0.5)
    df[f"VWAP_{period}"] = ta.SUM(
        df["Volume"] * (df["High"] + df["Low"] + df["Close"]) / 3, timeperiod=period
    ) / ta.SUM(df["Volume"], timeperiod=period)
    df[f"ROC_{period}"] = ta.ROC(df["Close"], timeperiod=period)
    df[f"KC_upper_{period}"] = ta.EMA(df["High"], timeperiod=period * 2)
    df[f"KC_middle_{period}"] = ta.EMA(df["Low"], timeperiod=period * 2)
    df[f"Donchian_upper_{period}"] = ta.MAX(df["High"], timeperiod=period)
    df[f"Donchian_lower_{period}"] = ta.MIN(df["Low"], timeperiod=period)
    macd, macd_signal, _ = ta.MACD(
        df["Close"], fastperiod=(period + 12), slowperiod=(period + 26), signalperiod=(period + 9)
    )
    df[f"MACD_{period}"] = macd
    df[f"MACD_signal_{period}"] = macd_signal
    bb_upper, bb_middle, bb_lower = ta.BBANDS(df["Close"], timeperiod=period * 0.5, nbdevup=2, nbdevdn=2)
    df[f"BB_upper_{period}"] = bb_upper
    df[f"BB_middle_{period}"] = bb_middle
    df[f"BB_lower_{period}"] = bb_lower
    df[f"EWO_{period}"] = ta.SMA(df["Close"], timeperiod=(period + 5)) - ta.SMA(df["Close"], timeperiod=(period + 35))


def our_name(article_name: str) -> str:
    """Column of ``ta193`` that holds a column of the article."""
    for prefix, replacement in ARTICLE_PREFIXES.items():
        article_name = article_name.replace(prefix, replacement)
    return article_name.lower()
