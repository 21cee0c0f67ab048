"""The feature sets of the clustering notebook: ``pattern8`` as pylabwons computes it, and its scale-free twin.

To add a feature, write a function here under a set's ``feature`` decorator; its column, its docs row and its generic
tests follow. A new set is one call of ``feature_set``.

Source: pylabwons 1.3.18, ``core/analytic_tools``, on the wide frame of several tickers (on a single ticker its first
true range is high − low; on the wide frame it is NaN).
"""

import numpy as np

from quant.feature_registry import Candles, Values, feature_set, finite, recursive, running, shifted
from quant.indicators import (
    log_volume_ratio,
    pandas_balance_slope,
    pandas_macd_difference,
    pandas_rolling_deviation,
    pandas_rolling_mean,
    pandas_strength_index,
    pandas_wilder_mean,
    ratio,
    strength_index,
    weighted_window_sum,
    window_bands,
    window_sum,
)

RANGE_WINDOW = 10
BAND_WINDOW = 20
FAST_SPAN, SLOW_SPAN, SIGNAL_SPAN = 12, 26, 9
SLOPE_WINDOW = 12
STRENGTH_WINDOW = 9
VOLUME_WINDOW = 7
LOG_RETURN = ("logarithm", "natural logarithm of close over the close before")
MACD_START = recursive(0, 1 - 2 / (SLOW_SPAN + 1), 1 - 2 / (SIGNAL_SPAN + 1))
RANGE_START = recursive(RANGE_WINDOW, 1 - 1 / RANGE_WINDOW)

pattern8 = feature_set(
    "pattern8",
    "The clustering notebook's indicators, equal to pylabwons 1.3.18; some in price or volume units",
    missing="propagate",
)
pattern8_relative = feature_set(
    "pattern8_relative",
    "The clustering notebook's indicators without price and volume units, so that tickers can be compared",
    missing="refuse",
)


@pattern8.feature({"atr": ("quote currency", f"average true range, Wilder, {RANGE_WINDOW} bars")}, start=RANGE_START)
def average_true_range(candles: Candles) -> Values:
    """Average true range."""
    true_range = np.maximum(
        np.maximum(candles.high - candles.low, np.abs(candles.high - candles.previous_close)),
        np.abs(candles.low - candles.previous_close),
    )
    return pandas_wilder_mean(true_range, RANGE_WINDOW)


@pattern8.feature(
    {
        "bb_pct_b": ("half band widths", f"close in its Bollinger band ({BAND_WINDOW}, 2): −1 lower, 1 upper band"),
        "bb_width": ("percent", f"width of the Bollinger band ({BAND_WINDOW}, 2) over its middle"),
    },
    start=running(BAND_WINDOW - 1),
)
def bollinger(candles: Candles) -> tuple[Values, Values]:
    """Position in, and width of, the Bollinger band; the position is NaN where the band has no width."""
    middle = pandas_rolling_mean(candles.close, BAND_WINDOW)
    deviation = pandas_rolling_deviation(candles.close, BAND_WINDOW)
    upper, lower = middle + 2 * deviation, middle - 2 * deviation
    return ((candles.close - lower) / (upper - lower)) * 2 - 1, 100 * ((upper - lower) / middle)


@pattern8.feature({"log_return": LOG_RETURN}, start=finite(1))
def log_return(candles: Candles) -> Values:
    """Log return of one bar."""
    result: Values = np.log(candles.close / candles.previous_close)
    return result


@pattern8.feature(
    {"macd_diff": ("quote currency", f"MACD ({FAST_SPAN}, {SLOW_SPAN}) − its signal ({SIGNAL_SPAN})")}, start=MACD_START
)
def macd_difference(candles: Candles) -> Values:
    """MACD histogram."""
    return pandas_macd_difference(candles.close, FAST_SPAN, SLOW_SPAN, SIGNAL_SPAN)


@pattern8.feature(
    {"obv_slope": ("base currency a bar", f"least-squares slope of on-balance volume over {SLOPE_WINDOW} bars")},
    start=running(SLOPE_WINDOW - 1),
)
def balance_slope(candles: Candles) -> Values:
    """Slope of on-balance volume."""
    return pandas_balance_slope(candles.close, candles.volume, SLOPE_WINDOW)


@pattern8.feature(
    {"rsi": ("points", f"relative strength index, Wilder, {STRENGTH_WINDOW} bars, less 50")},
    start=recursive(STRENGTH_WINDOW - 1, 1 - 1 / STRENGTH_WINDOW),
)
def centred_strength(candles: Candles) -> Values:
    """Relative strength index about 0; NaN before the first move of the close."""
    return pandas_strength_index(candles.close, STRENGTH_WINDOW) - 50


@pattern8.feature(
    {"v_roc": ("ratio", f"volume over the mean volume of the {VOLUME_WINDOW} bars before; may be infinite")},
    start=running(VOLUME_WINDOW),
)
def volume_ratio(candles: Candles) -> Values:
    """Volume against its recent mean."""
    return candles.volume / shifted(pandas_rolling_mean(candles.volume, VOLUME_WINDOW), 1)


@pattern8_relative.feature({"atr_relative": ("fraction of close", "atr over close")}, start=RANGE_START)
def relative_range(candles: Candles) -> Values:
    """Average true range over close."""
    return average_true_range(candles) / candles.close


@pattern8_relative.feature(
    {
        "bb_pct_b_relative": ("half band widths", "as bb_pct_b; 0 where the close has not moved for the whole window"),
        "bb_width_relative": ("percent", "as bb_width"),
    },
    start=finite(BAND_WINDOW - 1),
)
def relative_bollinger(candles: Candles) -> tuple[Values, Values]:
    """Position in, and width of, the Bollinger band."""
    middle, deviation = window_bands(candles.close, BAND_WINDOW, 1)
    return ratio(candles.close - middle, 2 * deviation, 0.0), 100 * (4 * deviation / middle)


pattern8_relative.feature({"log_return": LOG_RETURN}, start=finite(1))(log_return)


# Not over ATR: in a flat stretch ATR dies away faster than the MACD, and their ratio would grow without end.
@pattern8_relative.feature({"macd_diff_relative": ("fraction of close", "macd_diff over close")}, start=MACD_START)
def relative_macd_difference(candles: Candles) -> Values:
    """MACD histogram over close."""
    return macd_difference(candles) / candles.close


@pattern8_relative.feature(
    {
        "obv_slope_relative": (
            "ratio",
            f"obv_slope over the mean volume of the {SLOPE_WINDOW - 1} bars that enter it; 0 without volume",
        )
    },
    start=finite(SLOPE_WINDOW - 1),
)
def relative_balance_slope(candles: Candles) -> Values:
    """Slope of on-balance volume over mean volume, within ±1.4: a bar's flow weighs as a parabola of its age."""
    flow = np.sign(candles.close - candles.previous_close) * candles.volume
    steps = SLOPE_WINDOW - 1
    age = np.arange(steps)
    weights = 6 * (age + 1) * (steps - age) / (SLOPE_WINDOW * (SLOPE_WINDOW**2 - 1))
    slope = weighted_window_sum(flow, weights)
    return ratio(slope, window_sum(candles.volume, steps) / steps, 0.0)


@pattern8_relative.feature(
    {"rsi_relative": ("points", "as rsi, but 0 where the close has long stood still")},
    start=recursive(STRENGTH_WINDOW, 1 - 1 / STRENGTH_WINDOW),
)
def relative_strength(candles: Candles) -> Values:
    """Relative strength index about 0."""
    return strength_index(candles.close, STRENGTH_WINDOW) - 50


@pattern8_relative.feature(
    {"v_roc_relative": ("logarithm", "natural logarithm of v_roc, cut to a ratio of 1/1000 … 1000")},
    start=finite(VOLUME_WINDOW),
)
def relative_volume(candles: Candles) -> Values:
    """Log of volume against its recent mean."""
    return log_volume_ratio(candles.volume, VOLUME_WINDOW)
