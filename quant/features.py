"""Indicators of a bars frame: name a feature set, get its columns.

The sets are declared in ``pattern_features.py``, ``talib_features.py`` and ``talib_relative_features.py``: that is
where a feature is added.

Indicators run over the rows as they are: a gap is no row, so a look-back that reaches across one takes the bars on its
far side for neighbours. Whoever cuts training windows leaves out those that span a gap.
"""

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

import numpy as np
import pandas as pd
from numpy.typing import NDArray

# Imported for the sets that they register.
from quant import feature_registry, pattern_features, talib_features, talib_relative_features  # noqa: F401
from quant.feature_registry import FeatureError, FeatureSet, Start, Values, candles_of

FEATURE_SETS: Mapping[str, FeatureSet] = MappingProxyType(feature_registry.FEATURE_SETS)


def compute(bars: pd.DataFrame, feature_set: str) -> pd.DataFrame:
    """Compute every column of a feature set.

    Parameters
    ----------
    bars
        Validated bars in time order: columns open, high, low, close, volume; others are ignored.
    feature_set
        One of ``FEATURE_SETS``.

    Returns
    -------
    DataFrame
        float64, rows × ``columns(feature_set)``, on the index of ``bars``. A row depends on itself and earlier rows
        only. Rows in front of a column's look-back are NaN.

    Raises
    ------
    FeatureError
        If there is no such set, a column is missing or not numeric, or the bars hold what the set refuses (all but
        ``pattern8`` refuse NaN, infinities, prices of 0 or less and negative volumes).
    """
    chosen = _chosen(feature_set)
    names = columns(feature_set)
    candles = candles_of(bars, chosen)
    values = np.empty((len(names), len(bars)))
    if len(bars):
        # Divisions by 0 are part of pylabwons' and TA-Lib's definitions; each feature states what they become.
        with np.errstate(divide="ignore", invalid="ignore"):
            for row, column in enumerate(column for group in chosen.groups for column in group.compute(candles)):
                values[row] = column
    return pd.DataFrame(values.T, index=bars.index, columns=_labels(names), copy=False)


def columns(feature_set: str) -> tuple[str, ...]:
    """Names of a set's columns, in order. Raises FeatureError if there is no such set."""
    return tuple(feature.name for feature in _chosen(feature_set).features)


def versions(feature_set: str) -> dict[str, int]:
    """Version of each column, for fingerprints. Raises FeatureError if there is no such set."""
    return {feature.name: feature.version for feature in _chosen(feature_set).features}


def starts(feature_set: str) -> dict[str, Start]:
    """What the first row does to each column. Raises FeatureError if there is no such set."""
    return {feature.name: feature.start for feature in _chosen(feature_set).features}


def warm_up(feature_set: str) -> int:
    """Leading rows in which some column is NaN. Raises FeatureError if there is no such set."""
    return max(start.look_back for start in starts(feature_set).values())


def settled(feature_set: str) -> int:
    """Rows after which the start of the bars no longer matters. Raises FeatureError if there is no such set."""
    return max(start.settled for start in starts(feature_set).values())


def describe(feature_set: str) -> list[dict[str, str | int]]:
    """Rows for the documentation, one a column. Raises FeatureError if there is no such set."""
    chosen = _chosen(feature_set)
    return [
        {
            "feature": feature.name,
            "unit": feature.unit,
            "meaning": feature.meaning,
            "version": feature.version,
            "start": feature.start.kind,
            "look_back": feature.start.look_back,
            "settled": feature.start.settled,
            "missing": chosen.missing,
        }
        for feature in chosen.features
    ]


def matches(start: Start, expected: Values, actual: Values) -> NDArray[np.bool_]:
    """Whether two computations of a column over the same rows agree as its start declares, row by row.

    Tolerances are relative to the value or to the column's mean magnitude, whichever is larger: a difference of two
    averages that passes through 0 has no better precision there. Cumulative columns are compared in first differences.
    """
    if start.kind == "cumulative":
        expected, actual = np.diff(expected, prepend=np.nan), np.diff(actual, prepend=np.nan)
    same: NDArray[np.bool_] = (expected == actual) | (np.isnan(expected) & np.isnan(actual))
    finite = np.abs(expected[np.isfinite(expected)])
    scale = float(finite.mean()) if len(finite) else 0.0
    if start.tolerance > 0:
        same |= np.isclose(actual, expected, rtol=start.tolerance, atol=start.tolerance * scale)
    return same


def in_whole_numbers(values: pd.DataFrame) -> pd.DataFrame:
    """Every value cut to a whole number, as ``df.astype(int)`` does: 0 is left of a return, and of a coin below 1."""
    return pd.DataFrame(np.trunc(values), index=values.index, columns=values.columns)


@cache
def _labels(names: tuple[str, ...]) -> pd.Index:
    # Making an Index of a few strings takes as long as half the indicators of a short frame.
    return pd.Index(names)


def _chosen(name: str) -> FeatureSet:
    if name not in FEATURE_SETS:
        raise FeatureError(f"there is no feature set {name!r}; the sets are {', '.join(sorted(FEATURE_SETS))}")
    return FEATURE_SETS[name]
