"""The search over parameter sets: which sets to try, what each is worth, which to take on.

The sets depend on the space, the number of trials and the seed alone, so trial 7 is the same set for every ticker.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from itertools import islice
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quant.parameters import BracketParameters, CombinationError, checked

Objective = Literal["sharpe", "return", "expectancy", "profit_factor"]
OBJECTIVES: tuple[Objective, ...] = get_args(Objective)

FIELDS = tuple(field.name for field in fields(BracketParameters))
BOTH_SIDES = ("stop_loss", "take_profit", "limit")
LARGEST_PRODUCT = 2**62  # positions in the product are drawn as 64-bit integers
DRAWS_A_TRIAL = 1_000  # bounds the search for allowed sets in a product that holds next to none


class SearchError(ValueError):
    """A search space, a number of trials or an objective that cannot be used."""


def grid(space: Mapping[str, Sequence[Any]], trials: int, seed: int) -> list[BracketParameters]:
    """Return the parameter sets to try, at most ``trials``, in the order of the product.

    All combinations of the listed values that :class:`~quant.parameters.BracketParameters` accepts; where there
    are more than ``trials``, a seeded sample of them without replacement. Combinations that contradict
    themselves (a limit not below its take profit, one of the two trailing values without the other) are left out;
    where fewer than one in a thousand is allowed, the sample may be smaller than ``trials``.

    Parameters
    ----------
    space
        Values by field, None among them where the part may be off. ``stop_loss``, ``take_profit`` and
        ``limit`` stand for the long and the short field with the same value in both. Fields not named keep
        their default; a repeated value counts once.

    Raises
    ------
    SearchError
        If a name is unknown or given twice, a list is empty, ``trials`` is below 1, or no combination is left.
    BracketError
        If a value is not allowed for its field, whatever it is combined with.
    """
    if trials < 1:
        raise SearchError(f"trials is {trials}; allowed: 1 or more")
    axes = _axes(space)
    total = math.prod(len(values) for values in axes.values())
    if total > LARGEST_PRODUCT:
        raise SearchError(f"the search space has {total} combinations; allowed: {LARGEST_PRODUCT} at most")
    found: dict[int, BracketParameters] = {}
    positions = iter(range(total)) if total <= trials else islice(_shuffled(total, seed), DRAWS_A_TRIAL * trials)
    refused: CombinationError | None = None
    for position in positions:
        try:
            found[position] = _combination(axes, position)
        except CombinationError as error:
            refused = error
        if len(found) == trials:
            break
    if not found:
        raise SearchError(f"no combination of the search space is allowed; the last one tried: {refused}")
    return [found[position] for position in sorted(found)]


def scores(figures: Mapping[str, Any], objective: Objective, minimum_trades: int = 1) -> NDArray[np.float64]:
    """Return what the search maximises of each set, NaN for sets with fewer than ``minimum_trades`` closed trades.

    Parameters
    ----------
    figures
        The columns of ``quant.schemas.FIGURES``, one value a set.
    objective
        ``sharpe``, ``return``, ``expectancy`` or ``profit_factor``, in the units of ``quant.schemas.FIGURES``.

    Raises
    ------
    SearchError
        If the objective is none of these.
    """
    if objective not in OBJECTIVES:
        raise SearchError(f"objective is {objective!r}; allowed: {', '.join(OBJECTIVES)}")
    values = np.asarray(figures["total_return" if objective == "return" else objective], dtype=np.float64)
    return np.where(np.asarray(figures["trades"]) < minimum_trades, np.nan, values)


def choose(scores: ArrayLike) -> int | None:
    """Return the index of the highest score, the lowest of equal ones, or None where all are NaN."""
    values = np.asarray(scores, dtype=np.float64)
    return None if np.isnan(values).all() else int(np.nanargmax(values))


def _axes(space: Mapping[str, Sequence[Any]]) -> dict[tuple[str, ...], list[Any]]:
    """Return the values to combine, by the fields that take them."""
    axes: dict[tuple[str, ...], list[Any]] = {}
    for name, values in space.items():
        if name not in FIELDS and name not in BOTH_SIDES:
            raise SearchError(f"the search space names {name!r}; allowed: {', '.join((*BOTH_SIDES, *FIELDS))}")
        names = (f"{name}_long", f"{name}_short") if name in BOTH_SIDES else (name,)
        twice = [taken for taken in names if any(taken in others for others in axes)]
        if twice:
            raise SearchError(f"the search space gives {twice[0]} twice, once for both sides; allowed: one of the two")
        if isinstance(values, str) or not isinstance(values, Sequence) or not values:
            raise SearchError(f"the search space gives {name} = {values!r}; allowed: a list of one value or more")
        axes[names] = list(dict.fromkeys(checked(names[0], value) for value in values))
    return axes


def _combination(axes: Mapping[tuple[str, ...], Sequence[Any]], position: int) -> BracketParameters:
    """Return the set at a position of the product, the last axis running fastest."""
    chosen: dict[str, Any] = {}
    for names, values in reversed(list(axes.items())):
        position, digit = divmod(position, len(values))
        chosen.update(dict.fromkeys(names, values[digit]))
    return BracketParameters(**chosen)


def _shuffled(total: int, seed: int) -> Iterator[int]:
    """Yield 0 … total − 1 in random order, in memory that grows only with what is taken (Fisher–Yates)."""
    generator = np.random.default_rng(seed)
    moved: dict[int, int] = {}
    for position in range(total):
        other = int(generator.integers(position, total))
        yield moved.get(other, other)
        moved[other] = moved.pop(position, position)
