"""What a feature and a feature set are, and the dict in which every set is registered.

A set is created once with :func:`feature_set`; its :meth:`FeatureSet.feature` decorator then adds columns. The sets
themselves live in ``pattern_features.py`` and ``talib_features.py``; ``features.py`` computes them.
"""

import math
from bisect import insort
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from operator import attrgetter
from typing import Literal, TypeAlias, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Values: TypeAlias = NDArray[np.float64]
Function: TypeAlias = Callable[..., Values | tuple[Values, ...]]
Declared = TypeVar("Declared", bound=Function)
Missing: TypeAlias = Literal["propagate", "refuse"]

FEATURE_SETS: dict[str, "FeatureSet"] = {}


class FeatureError(ValueError):
    """A feature set that does not exist or is declared twice, or bars that it cannot be computed from."""


@dataclass(frozen=True)
class Candles:
    """The columns of a bars frame as contiguous float64 arrays of one length, and what several features share."""

    open: Values
    high: Values
    low: Values
    close: Values
    volume: Values

    @cached_property
    def previous_close(self) -> Values:
        """Close of the bar before; NaN in the first row."""
        return shifted(self.close, 1)

    @cached_property
    def typical(self) -> Values:
        """Mean of high, low and close."""
        return (self.high + self.low + self.close) / 3

    @cached_property
    def turnover(self) -> Values:
        """Volume at the typical price, in quote currency."""
        # In the article's order of operations, so that its results are met bit for bit.
        return self.volume * (self.high + self.low + self.close) / 3


@dataclass(frozen=True)
class Start:
    """What the first row of the bars does to a feature.

    Parameters
    ----------
    kind
        ``finite``: rows from ``settled`` on do not depend on where the bars start. ``recursive``: the dependence
        fades; rows from ``settled`` on agree within ``tolerance``. ``cumulative``: it never fades; first
        differences are compared instead.
    look_back
        Leading rows that are NaN.
    settled
        Rows after which the start no longer matters, at least ``look_back``.
    tolerance
        Relative tolerance of that agreement; 0 means bit for bit.
    """

    kind: Literal["finite", "recursive", "cumulative"]
    look_back: int
    settled: int
    tolerance: float


StartOfPeriod: TypeAlias = Callable[[int], Start]


def finite(look_back: int) -> Start:
    """Each value depends on itself and ``look_back`` rows before it, bit for bit."""
    return Start("finite", look_back, look_back, 0.0)


def running(look_back: int, settled: int | None = None) -> Start:
    """As :func:`finite`, but carried along by adding and dropping rows, so that rounding errors of the past remain."""
    return Start("finite", look_back, look_back if settled is None else settled, 1e-6)


def recursive(look_back: int, *memories: float) -> Start:
    """Exponential means, one fed into the next; each of ``memories`` is the weight of the past in one step (0 to 1).

    The length is that in which the start's weight falls to 1e-13, so that values next to 0 agree to 1e-6 as well.
    """
    fading = sum(math.ceil(math.log(1e-13) / math.log(memory)) for memory in memories)
    return Start("recursive", look_back, look_back + fading, 1e-6)


def cumulative(look_back: int) -> Start:
    """A running total since the first row."""
    return Start("cumulative", look_back, look_back + 1, 1e-6)


@dataclass(frozen=True)
class Feature:
    """One column of a feature set; ``version`` rises whenever its values change."""

    name: str
    version: int
    unit: str
    meaning: str
    start: Start


@dataclass(frozen=True)
class Group:
    """Columns that one call computes; ``position`` orders the groups of a set."""

    features: tuple[Feature, ...]
    function: Function
    period: int | None
    position: tuple[int, int]

    def compute(self, candles: Candles) -> tuple[Values, ...]:
        """Return one array a feature, each as long as the candles.

        Raises
        ------
        FeatureError
            If the function returns more or fewer columns than were declared.
        """
        result = self.function(candles) if self.period is None else self.function(candles, self.period)
        arrays = result if isinstance(result, tuple) else (result,)
        if len(arrays) != len(self.features):
            names = ", ".join(feature.name for feature in self.features)
            raise FeatureError(f"{self.function.__name__} returns {len(arrays)} columns but is declared for {names}")
        return arrays


@dataclass
class FeatureSet:
    """Named columns in a fixed order: as declared, but declarations over periods that adjoin take turns by period.

    Parameters
    ----------
    missing
        What becomes of a bar with a NaN: ``propagate`` computes on as pandas does, ``refuse`` raises.
    """

    name: str
    meaning: str
    missing: Missing
    groups: list[Group] = field(default_factory=list, init=False)

    @property
    def features(self) -> tuple[Feature, ...]:
        """Every column, in column order."""
        return tuple(feature for group in self.groups for feature in group.features)

    def feature(
        self,
        columns: Mapping[str, tuple[str, str]],
        *,
        start: Start | StartOfPeriod,
        periods: Sequence[int] = (),
        version: int = 1,
    ) -> Callable[[Declared], Declared]:
        """Add the columns that the decorated function computes.

        Parameters
        ----------
        columns
            Name of each column, with its unit and meaning. With ``periods``, ``{period}`` in name and meaning is
            replaced, and the function is called as ``function(candles, period)`` once for each.

        Raises
        ------
        FeatureError
            If the set has a column of that name already.
        """

        def add(function: Declared) -> Declared:
            block = self._next_block(bool(periods))
            for order, period in enumerate(periods or (None,)):
                declared_start = start if isinstance(start, Start) else start(period or 0)
                features = tuple(
                    Feature(name.format(period=period), version, unit, meaning.format(period=period), declared_start)
                    for name, (unit, meaning) in columns.items()
                )
                self._refuse_duplicates(features)
                insort(self.groups, Group(features, function, period, (block, order)), key=attrgetter("position"))
            return function

        return add

    def _next_block(self, periodic: bool) -> int:
        if not self.groups:
            return 0
        last = self.groups[-1]
        return last.position[0] + ((last.period is not None) != periodic)

    def _refuse_duplicates(self, features: tuple[Feature, ...]) -> None:
        known = {feature.name for feature in self.features}
        for feature in features:
            if feature.name in known:
                raise FeatureError(f"feature set {self.name!r} has a column {feature.name!r} already")


def feature_set(name: str, meaning: str, missing: Missing) -> FeatureSet:
    """Create an empty set and register it.

    Raises
    ------
    FeatureError
        If a set of that name exists.
    """
    if name in FEATURE_SETS:
        raise FeatureError(f"feature set {name!r} exists already; the sets are {', '.join(FEATURE_SETS)}")
    FEATURE_SETS[name] = FeatureSet(name, meaning, missing)
    return FEATURE_SETS[name]


def shifted(values: Values, rows: int) -> Values:
    """Values ``rows`` later, NaN in front; the same length."""
    result = np.full(len(values), np.nan)
    result[rows:] = values[: max(len(values) - rows, 0)]
    return result


def candles_of(bars: pd.DataFrame, owner: FeatureSet) -> Candles:
    """Columns of a bars frame as arrays, checked against the set's policy.

    Raises
    ------
    FeatureError
        If a column is missing or not numeric, or holds what the set refuses.
    """
    arrays = {column: _column(bars, column, owner) for column in ("open", "high", "low", "close", "volume")}
    if owner.missing == "refuse":
        for column, values in arrays.items():
            _refuse_incomplete(bars.index, column, values, owner)
    return Candles(**arrays)


def _column(bars: pd.DataFrame, column: str, owner: FeatureSet) -> Values:
    if column not in bars.columns:
        raise FeatureError(
            f"feature set {owner.name!r} needs the column {column!r}; the bars have {', '.join(map(str, bars.columns))}"
        )
    try:
        return np.ascontiguousarray(bars[column].to_numpy(dtype=np.float64))
    except (TypeError, ValueError) as error:
        raise FeatureError(f"column {column!r} of the bars is {bars[column].dtype}, not numeric: {error}") from error


def _refuse_incomplete(index: pd.Index, column: str, values: Values, owner: FeatureSet) -> None:
    allowed = np.isfinite(values) & ((values >= 0) if column == "volume" else (values > 0))
    if not allowed.all():
        row = int(np.argmin(allowed))
        rule = "finite and not negative" if column == "volume" else "finite and above 0"
        raise FeatureError(
            f"column {column!r} of the bars is {values[row]} at {index[row]}; feature set {owner.name!r} needs every "
            f"value to be {rule}: leave incomplete bars out, a gap is no problem"
        )
