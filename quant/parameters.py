"""Parameters of the strategy ``bracket``: what they are, what is allowed, and how a table holds them."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from numbers import Integral, Real
from operator import attrgetter
from typing import Any

import numpy as np
import pandas as pd

SMALLEST_FRACTION = 1e-9  # below it close × (1 + fraction) may round to the close, which backtesting.py refuses


class BracketError(ValueError):
    """A parameter, a cost, a signal or bars that the strategy ``bracket`` cannot run on."""


class CombinationError(BracketError):
    """Parameters that are valid one by one and contradict each other."""


@dataclass(frozen=True)
class BracketParameters:
    """One parameter set of the strategy; None switches a part off.

    Parameters
    ----------
    stop_loss_long, stop_loss_short
        Distance of the stop from the deciding close, as a fraction of it.
    take_profit_long, take_profit_short
        Distance of the target from the deciding close, as a fraction of it.
    limit_long, limit_short
        Worst entry accepted, as a distance from the deciding close; None enters at market.
    leverage
        Position value over margin, 1 or more.
    trailing_activation, trailing_distance
        Move in favour, at a close, from which the stop follows, and its distance from that close.
    minimum_profit
        Time table of exits: pairs (bars held, least move that closes), bars increasing. A negative
        fraction closes at a loss as well.

    Raises
    ------
    BracketError
        If a value is outside what is allowed; :class:`CombinationError` if a limit is not below its
        take profit, or only one of the two trailing values is given.
    """

    stop_loss_long: float | None = None
    take_profit_long: float | None = None
    limit_long: float | None = None
    stop_loss_short: float | None = None
    take_profit_short: float | None = None
    limit_short: float | None = None
    leverage: float = 1.0
    trailing_activation: float | None = None
    trailing_distance: float | None = None
    minimum_profit: tuple[tuple[int, float], ...] | None = None

    def __post_init__(self) -> None:
        """Check every value, bring it into its normal form, and check what they say together."""
        for field in fields(self):
            object.__setattr__(self, field.name, checked(field.name, getattr(self, field.name)))
        _check_limit("long", self.limit_long, self.take_profit_long)
        _check_limit("short", self.limit_short, self.take_profit_short)
        if (self.trailing_activation is None) != (self.trailing_distance is None):
            raise CombinationError(
                f"trailing_activation is {self.trailing_activation} and trailing_distance is "
                f"{self.trailing_distance}; allowed: both, or None for both"
            )


def checked(name: str, value: Any) -> Any:
    """Return one value of :class:`BracketParameters` in its normal form.

    Fractions and the leverage become floats, a time table a tuple of (int, float) or None.

    Raises
    ------
    BracketError
        If the value is not allowed for the field, whatever the other fields hold.
    """
    if name == "minimum_profit":
        return _time_table(value)
    if name == "leverage":
        if not is_number(value) or float(value) < 1:
            raise BracketError(f"leverage is {value!r}; allowed: a finite number, 1 or more")
        return float(value)
    if value is None:
        return None
    if not is_number(value) or not SMALLEST_FRACTION <= float(value) < 1:
        raise BracketError(
            f"{name} is {value!r}; allowed: a fraction of the price above 0 (at least {SMALLEST_FRACTION}) "
            "and below 1, or None to switch it off"
        )
    return float(value)


def is_number(value: Any) -> bool:
    """Return whether the value is a finite real number; booleans are not."""
    return isinstance(value, Real) and not isinstance(value, bool | np.bool_) and math.isfinite(value)


def _time_table(value: Any) -> tuple[tuple[int, float], ...] | None:
    if value is None:
        return None
    allowed = "allowed: pairs (bars, fraction), bars whole, 0 or more and increasing, fractions finite; or None"
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise BracketError(f"minimum_profit is {value!r}; {allowed}")
    for pair in value:
        if not isinstance(pair, Sequence) or len(pair) != 2 or not all(is_number(part) for part in pair):
            raise BracketError(f"minimum_profit holds {pair!r}; {allowed}")
        if not isinstance(pair[0], Integral) or pair[0] < 0:
            raise BracketError(f"minimum_profit holds {pair!r} with bars = {pair[0]!r}; {allowed}")
    table = tuple((int(bars), float(fraction)) for bars, fraction in value)
    if any(later[0] <= earlier[0] for earlier, later in pairwise(table)):
        raise BracketError(f"minimum_profit is {table}, whose bars do not increase; {allowed}")
    return table or None


def _check_limit(side: str, limit: float | None, take_profit: float | None) -> None:
    if limit is not None and take_profit is not None and take_profit - limit < SMALLEST_FRACTION:
        raise CombinationError(
            f"limit_{side} is {limit} and take_profit_{side} is {take_profit}; allowed: a limit below the take profit, "
            "since an entry beyond its own target would close at once"
        )


def to_row(parameters: BracketParameters) -> dict[str, float | str]:
    """Return the columns ``quant.schemas.PARAMETERS``: NaN for None, the time table as JSON pairs."""
    row: dict[str, float | str] = {}
    for field in fields(parameters):
        value = getattr(parameters, field.name)
        if field.name == "minimum_profit":
            row[field.name] = json.dumps(value or [])
        else:
            row[field.name] = math.nan if value is None else value
    return row


def to_columns(parameters: Sequence[BracketParameters]) -> dict[str, Any]:
    """Return what :func:`to_row` returns of each set, as one array a column."""
    names = [field.name for field in fields(BracketParameters)]
    rows = list(map(attrgetter(*names), parameters))
    # the time table is the last of the fields
    values = np.array([row[:-1] for row in rows], dtype=np.float64).reshape(-1, len(names) - 1)
    columns: dict[str, Any] = dict(zip(names, values.T, strict=False))
    return {**columns, names[-1]: [json.dumps(row[-1]) if row[-1] else "[]" for row in rows]}


def from_row(row: Mapping[str, Any] | pd.Series) -> BracketParameters:
    """Return the parameters that :func:`to_row` wrote; other entries of the row are ignored.

    Raises
    ------
    BracketError
        If a column is missing, or a value is not allowed.
    """
    values: dict[str, Any] = {}
    for field in fields(BracketParameters):
        if field.name not in row:
            raise BracketError(
                f"the row of a parameter set lacks {field.name!r}; it has {', '.join(map(str, row.keys()))}"
            )
        value = row[field.name]
        if field.name == "minimum_profit":
            values[field.name] = json.loads(value)
        else:
            values[field.name] = None if pd.isna(value) else value
    return BracketParameters(**values)
