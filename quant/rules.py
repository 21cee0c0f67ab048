"""Entry rules: signals that follow from a few indicators of a bar, in place of a model's.

A rule decides at the close of each bar, from that bar and earlier ones. To add one, write a function here under
``register``; its page in the docs and its generic tests follow, and its parameters are named in
``jobs/config_data.py``.

Rules use columns of the registered feature sets. A set may have a column under its plain name or as the scale-free
``…_relative``; only sets on which a rule means the same are offered to it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd

from quant import features
from quant.bars import Bar, segments
from quant.indicators import window_sum

Side = Literal["both", "long", "short"]
Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
_Function = TypeVar("_Function", bound=Callable[..., tuple[Mask, Mask]])

LONG, SHORT = 1, 2
CENTRE_OF_STRENGTH = 50.0  # the feature is the RSI less this


class RuleError(ValueError):
    """A rule that does not exist or is registered twice, or parameters or features that it cannot work with."""


@dataclass(frozen=True)
class Parameter:
    """A named number of a rule: its default and its bounds, both allowed; whole where the default is."""

    default: float
    low: float
    high: float
    meaning: str

    @property
    def allowed(self) -> str:
        """What it may be, in words."""
        return f"{'whole numbers ' if self.whole else ''}from {self.low:g} to {self.high:g}"

    @property
    def whole(self) -> bool:
        """Whether it counts something."""
        return isinstance(self.default, int)

    def holds(self, value: Any) -> bool:
        """Whether a value is allowed."""
        if isinstance(value, bool) or not isinstance(value, int | float | np.number):
            return False
        return bool(self.low <= value <= self.high) and (not self.whole or value == int(value))


@dataclass(frozen=True)
class Rows:
    """What a rule sees: columns by their plain names, and which rows follow one another without a gap."""

    columns: Mapping[str, Floats]
    stretches: npt.NDArray[np.int64]

    def now(self, column: str) -> Floats:
        """Values of a column; NaN where there is none, or none that is finite."""
        return self.columns[column]

    def before(self, values: Floats, bars: int = 1) -> Floats:
        """Values of so many bars before; NaN where a gap or the first row lies between."""
        earlier = np.full(len(values), np.nan)
        together = self.stretches[bars:] == self.stretches[: max(len(values) - bars, 0)]
        earlier[bars:][together] = values[: max(len(values) - bars, 0)][together]
        return earlier


@dataclass(frozen=True)
class Rule:
    """One registered rule.

    Parameters
    ----------
    version
        Raised whenever signals change; it enters a stage's fingerprint.
    columns
        Plain names of the features that it reads.
    ascending
        Parameters of which each must be below the next.
    decide
        Function of :class:`Rows` and the parameters by name: where to go long, and where short.
    """

    name: str
    version: int
    columns: tuple[str, ...]
    parameters: Mapping[str, Parameter]
    ascending: tuple[str, ...]
    decide: Callable[..., tuple[Mask, Mask]]

    @property
    def meaning(self) -> str:
        """First paragraph of the docstring, on one line."""
        return " ".join((self.decide.__doc__ or "").strip().partition("\n\n")[0].split())

    @property
    def defaults(self) -> dict[str, float]:
        """Default of each parameter."""
        return {name: parameter.default for name, parameter in self.parameters.items()}


RULES: dict[str, Rule] = {}


def register(
    version: int, columns: tuple[str, ...], parameters: Mapping[str, Parameter], ascending: tuple[str, ...] = ()
) -> Callable[[_Function], _Function]:
    """Enter a function into ``RULES`` under its own name.

    Raises
    ------
    RuleError
        If the name is taken.
    """

    def enter(function: _Function) -> _Function:
        name = function.__name__
        if name in RULES:
            raise RuleError(f"rule {name!r} is registered twice")
        RULES[name] = Rule(name, version, columns, parameters, ascending, function)
        return function

    return enter


@register(
    version=1,
    columns=("rsi",),
    parameters={
        "lower": Parameter(30.0, 0, 100, "RSI, 0 to 100, below which the rule is long"),
        "upper": Parameter(70.0, 0, 100, "RSI above which it is short"),
    },
    ascending=("lower", "upper"),
)
def rsi_reversion(rows: Rows, lower: float, upper: float) -> tuple[Mask, Mask]:
    """Long on every bar whose RSI (9) is below ``lower``, short on every bar whose RSI is above ``upper``."""
    strength = rows.now("rsi") + CENTRE_OF_STRENGTH
    return strength < lower, strength > upper


@register(
    version=1,
    columns=("bb_pct_b",),
    parameters={
        "lower": Parameter(0.0, -10, 10, "%B below which the rule goes short: 0 is the lower band"),
        "upper": Parameter(1.0, -10, 10, "%B above which it goes long: 1 is the upper band"),
    },
    ascending=("lower", "upper"),
)
def bollinger_breakout(rows: Rows, lower: float, upper: float) -> tuple[Mask, Mask]:
    """Long on the bar whose close rises above ``upper`` of the Bollinger band (20, 2), short on the bar whose close
    falls below ``lower``; the bar before was not beyond it."""
    place = (rows.now("bb_pct_b") + 1) / 2  # the feature counts half band widths about the middle
    before = rows.before(place)
    return (place > upper) & (before <= upper), (place < lower) & (before >= lower)


@register(
    version=1,
    columns=("macd_diff",),
    parameters={"confirmation": Parameter(1, 1, 100, "bars before the crossing that must all lie on the other side")},
)
def macd_cross(rows: Rows, confirmation: int) -> tuple[Mask, Mask]:
    """Long on the bar on which the MACD (12, 26) crosses above its signal (9), short where it crosses below, if the
    ``confirmation`` bars before lay on the other side or upon it."""
    difference = rows.now("macd_diff")
    up, down = difference > 0, difference < 0
    for bars in range(1, confirmation + 1):
        before = rows.before(difference, bars)
        up, down = up & (before <= 0), down & (before >= 0)
    return up, down


@register(
    version=1,
    columns=("log_return",),
    parameters={
        "bars": Parameter(20, 1, 500, "bars over which the close has changed"),
        "threshold": Parameter(0.02, 0, 10, "change, as a fraction, that must be exceeded"),
    },
)
def momentum(rows: Rows, bars: int, threshold: float) -> tuple[Mask, Mask]:
    """Long on every bar whose close is more than ``threshold`` above that of ``bars`` bars before, short on every bar
    whose close is more than ``threshold`` below it, without a gap between."""
    returns = rows.now("log_return")
    # the return of the first bar after a gap reaches over it, so the bar that it is counted from must be there too
    whole = ~np.isnan(rows.before(np.zeros(len(returns)), bars))
    change = np.where(whole, np.expm1(window_sum(returns, bars)), np.nan)
    return change > threshold, change < -threshold


def signals(
    name: str,
    table: pd.DataFrame,
    feature_set: str,
    parameters: Mapping[str, float] | None = None,
    *,
    bar: Bar = None,
    side: Side = "both",
) -> pd.Series:
    """Return what a rule decides at the close of each bar.

    Parameters
    ----------
    name
        One of ``RULES``.
    table
        Features of one ticker, indexed by time; at least the columns that :func:`columns` names.
    feature_set
        The set that they are of.
    parameters
        Parameters of the rule by name; None for the defaults.
    bar
        Calendar of the bars: no rule looks back over a gap in it. None counts rows. (The features themselves do.)
    side
        ``long`` or ``short`` leaves the other side out.

    Returns
    -------
    pandas.Series
        int8 on the index of the features: 0 none, 1 long, 2 short. A missing or infinite feature gives 0.

    Raises
    ------
    RuleError
        If there is no such rule, a parameter is missing, unknown or not allowed, or a column is missing.
    """
    chosen = get(name)
    values = chosen.defaults if parameters is None else dict(parameters)
    check(name, values)
    if side not in ("both", "long", "short"):
        raise RuleError(f"side is {side!r}; allowed: both, long or short")
    arrays = {}
    for plain, column in columns(name, feature_set).items():
        if column not in table.columns:
            raise RuleError(
                f"rule {name!r} needs the column {column!r} of {feature_set!r}; the features have "
                f"{', '.join(map(str, table.columns))}"
            )
        array = table[column].to_numpy(dtype=np.float64)
        arrays[plain] = np.where(np.isfinite(array), array, np.nan)
    rows = Rows(arrays, segments(pd.DatetimeIndex(table.index), bar))
    long, short = chosen.decide(rows, **values)
    result = np.zeros(len(table), dtype=np.int8)
    result[long] = LONG if side != "short" else 0
    result[short] = SHORT if side != "long" else 0
    return pd.Series(result, index=table.index, name="signal")


def get(name: str) -> Rule:
    """Return a rule. Raises RuleError if there is none of that name."""
    if name not in RULES:
        raise RuleError(f"there is no rule {name!r}; allowed: {', '.join(RULES)}")
    return RULES[name]


def columns(name: str, feature_set: str) -> dict[str, str]:
    """Return the column of a feature set for each feature that a rule reads.

    Raises
    ------
    RuleError
        If there is no such rule, or the set has no such column.
    """
    known = features.columns(feature_set)
    found = {}
    for plain in get(name).columns:
        column = next((column for column in (plain, f"{plain}_relative") if column in known), None)
        if column is None:
            raise RuleError(
                f"rule {name!r} needs a feature {plain!r} or '{plain}_relative', which feature set {feature_set!r} "
                f"lacks; allowed: {', '.join(feature_sets(name))}"
            )
        found[plain] = column
    return found


def feature_sets(name: str) -> list[str]:
    """Names of the feature sets that have all columns of a rule. Raises RuleError if there is no such rule."""
    return [
        feature_set
        for feature_set in features.FEATURE_SETS
        if all({plain, f"{plain}_relative"} & set(features.columns(feature_set)) for plain in get(name).columns)
    ]


def check(name: str, parameters: Mapping[str, Any]) -> None:
    """Refuse parameters that a rule cannot work with.

    Raises
    ------
    RuleError
        Which parameter of which rule is missing, unknown or out of bounds, and what is allowed.
    """
    rule = get(name)
    if set(parameters) != set(rule.parameters):
        raise RuleError(
            f"rule {name!r} got the parameters {', '.join(map(repr, parameters)) or 'none'}; "
            f"allowed: {', '.join(map(repr, rule.parameters))}, each once"
        )
    for key, parameter in rule.parameters.items():
        if not parameter.holds(parameters[key]):
            raise RuleError(f"{name}.{key} is {parameters[key]!r}; allowed: {parameter.allowed}")
    for below, above in zip(rule.ascending, rule.ascending[1:], strict=False):
        if parameters[below] >= parameters[above]:
            raise RuleError(
                f"{name}.{below} is {parameters[below]:g} and {name}.{above} is {parameters[above]:g}; "
                f"allowed: {below} below {above}"
            )
