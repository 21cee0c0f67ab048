"""Points and bars of the page of patterns, packed small; the browser unpacks them when they are looked at.

Points are plain little-endian columns. Bars are steps: a price is a whole number of steps of its logarithm, a volume
keeps 8 binary digits, and what is stored is the change from the bar before. Both are compressed by gzip.
"""

from collections.abc import Mapping
from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt
import pandas as pd

from quant.report_assets import packed

MAXIMUM_POINTS = 30_000
PRICES = ("open", "high", "low", "close")
BAR_COLUMNS = (*PRICES, "volume", "bb_lower", "bb_middle", "bb_upper", "bb_width", "rsi")
PRICE_STEP = 1.8e-4
"""Step of a logarithm of price: half of it, the largest error, is below 0.01 %."""
STRENGTH_STEP = 0.2
UNKNOWN = 2
"""Code of a hit that is not known."""

_CODES = 1 << 16
_MIDDLE_CODE = 1 << 15

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


class Bars(TypedDict):
    """Bars of one ticker: ``packed`` holds int32 changes of time in seconds, then 16-bit changes of each column."""

    rows: int
    base: float
    step: float
    bands: bool
    packed: str


def thinned(points: pd.DataFrame, maximum: int = MAXIMUM_POINTS) -> pd.DataFrame:
    """The points by time, and where there are more than the maximum, so many of them, drawn by a fixed seed."""
    if len(points) > maximum:
        drawn = np.random.default_rng(0).choice(len(points), maximum, replace=False)
        points = points.iloc[np.sort(drawn)]
    return points.sort_values(["time", "ticker"], kind="stable")


def seen(frame: pd.DataFrame, times: pd.DatetimeIndex, length: int, horizon: int) -> tuple[Any, pd.DataFrame]:
    """Which of the windows that end at these times can be viewed, and the bars that are needed to view them.

    Rows without a price are left out: a gap is a jump of the time. A window is the last ``length`` of the other rows.

    Returns
    -------
    mask
        One bool a time.
    bars
        ``3 × length`` rows before and ``horizon`` after the end of each window that can be viewed.
    """
    prices = frame[list(PRICES)].to_numpy(float)
    whole = frame[(np.isfinite(prices) & (prices > 0)).all(axis=1)]
    ends = pd.DatetimeIndex(whole.index).get_indexer(times)
    viewable = ends >= length - 1
    edges = np.zeros(len(whole) + 1, np.int64)
    np.add.at(edges, np.maximum(ends[viewable] - 3 * length, 0), 1)
    np.add.at(edges, np.minimum(ends[viewable] + horizon + 1, len(whole)), -1)
    return viewable, whole[edges[:-1].cumsum() > 0]


def packed_bars(frame: pd.DataFrame) -> Bars:
    """Bars of one ticker as a few bytes each; prices are exact to 0.01 %, volume and band width to 0.4 %, RSI to 0.1.

    Bollinger bands that lie about their middle by their width are left to the browser; others are stored as float32.

    Parameters
    ----------
    frame
        ``BAR_COLUMNS`` by time in UTC, prices positive, other columns may be NaN.
    """
    columns = {name: frame[name].to_numpy(np.float64, na_value=np.nan) for name in BAR_COLUMNS}
    middle = np.where(columns["bb_middle"] > 0, columns["bb_middle"], np.nan)
    logarithms = np.log(np.vstack([*(columns[name] for name in PRICES), middle]))
    base, highest = float(np.nanmin(logarithms)), float(np.nanmax(logarithms))
    step = max(PRICE_STEP, (highest - base) / (_CODES - 3))
    opened, high, low, close, centre = _steps(logarithms - base, step, first=1)
    strength = _steps(columns["rsi"], STRENGTH_STEP, first=_MIDDLE_CODE)
    width = columns["bb_width"] / 200
    derived = all(
        np.allclose(columns[f"bb_{side}"], columns["bb_middle"] * (1 + sign * width), rtol=1e-4, equal_nan=True)
        for side, sign in (("lower", -1), ("upper", 1))
    )
    changes = [
        _changes(close),
        opened - np.concatenate([[0], close[:-1]]),
        high - close,
        close - low,
        _changes(centre),
        _changes(strength),
        _changes(_shortened(columns["bb_width"])),
        _shortened(columns["volume"]),
    ]
    seconds = pd.DatetimeIndex(frame.index).as_unit("s").asi8
    content = _changes(seconds).astype("<i4").tobytes() + b"".join(_planes(column) for column in changes)
    if not derived:
        content += b"".join(columns[f"bb_{side}"].astype("<f4").tobytes() for side in ("lower", "upper"))
    return {"rows": len(frame), "base": base, "step": step, "bands": not derived, "packed": packed(content)}


def packed_points(points: pd.DataFrame, tickers: Mapping[str, int], viewable: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """Points as columns that a browser can use as they are: place, ticker by number, time in seconds, cluster, outcome.

    Returns
    -------
    dict
        rows, the columns as (name, type) in the order of their bytes, and those bytes, packed.
    """
    hits = points["hit"].astype("boolean").astype("Int8").fillna(UNKNOWN)
    columns = {
        "x": points["x"].to_numpy("<f4"),
        "y": points["y"].to_numpy("<f4"),
        "outcome": points["outcome"].to_numpy("<f4", na_value=np.nan),
        "time": pd.DatetimeIndex(points["time"]).as_unit("s").asi8.astype("<u4"),
        "ticker": points["ticker"].map(tickers).to_numpy("<i4"),
        "cluster": points["cluster"].to_numpy("<i2"),
        "hit": hits.to_numpy("u1"),
        "viewable": viewable.astype("u1"),
    }
    return {
        "rows": len(points),
        "columns": [[name, values.dtype.name] for name, values in columns.items()],
        "packed": packed(b"".join(values.tobytes() for values in columns.values())),
    }


def rounded(values: Any) -> list[float | None]:
    """Numbers with 5 significant digits, with None for what is not finite."""
    return [float(f"{value:.5g}") if np.isfinite(value) else None for value in np.asarray(values, dtype=np.float64)]


def _steps(values: Floats, step: float, first: int) -> Integers:
    """Whole numbers of steps, where ``first`` stands for 0, and 0 for what is missing."""
    known = np.isfinite(values)
    codes = np.clip(np.round(np.where(known, values, 0) / step) + first, 1, _CODES - 1)
    return np.where(known, codes, 0).astype(np.int64)


def _shortened(values: Floats) -> Integers:
    """The upper half of each float32, rounded."""
    with np.errstate(over="ignore"):
        bits = np.where(np.isfinite(values), values, np.nan).astype(np.float32).view(np.uint32).astype(np.int64)
    short: Integers = (bits + (1 << 15)) >> 16
    return short


def _changes(codes: Integers) -> Integers:
    return np.diff(codes, prepend=0)


def _planes(codes: Integers) -> bytes:
    """16-bit numbers as all their low bytes and then all their high ones, which compress better apart."""
    wrapped = np.mod(codes, _CODES)
    return (wrapped & 255).astype(np.uint8).tobytes() + (wrapped >> 8).astype(np.uint8).tobytes()
