"""The space that hyperparameters are drawn from: lists of values and ranges, by name."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from quant.samplers import Range
from quant.search import SearchError

Space = Mapping[str, Sequence[Any] | Range]
"""What may be tried, by name: a list of values, or a range."""


def size(space: Space) -> float:
    """Return the number of configurations; infinite where a range has no step."""
    return math.prod(math.inf if _endless(axis) else len(set(_values(axis))) for axis in space.values())


def draw(space: Space, count: int, seed: int) -> list[dict[str, Any]]:
    """Draw configurations at random, none of them twice; the first of them are the same for any `count`.

    Raises
    ------
    SearchError
        If the space has no axis, an axis no value, or there are fewer configurations than asked for.
    """
    if not space or count > size(space):
        raise SearchError(
            f"{count} configurations are to be drawn from a space of {size(space) if space else 0:g} "
            f"({', '.join(space) or 'no axis'}); allowed: as many as it has. Widen the space or draw fewer."
        )
    axes = {name: axis if _endless(axis) else _values(axis) for name, axis in space.items()}
    generator = np.random.default_rng(seed)
    drawn: dict[tuple[Any, ...], dict[str, Any]] = {}
    while len(drawn) < count:
        shares = generator.random(len(space))
        configuration = {name: _at(axis, share) for (name, axis), share in zip(axes.items(), shares, strict=True)}
        drawn.setdefault(tuple(configuration.values()), configuration)
    return list(drawn.values())


def settled(space: Space, configuration: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration with the values of the space itself where another library has rounded them."""
    return {name: _nearest(axis, configuration[name]) for name, axis in space.items()}


def _nearest(axis: Sequence[Any] | Range, value: Any) -> Any:
    if isinstance(axis, Range) and axis.step is not None:
        return min(axis.values(), key=lambda known: abs(known - value))
    return value


def _at(axis: Sequence[Any] | Range, share: float) -> Any:
    if isinstance(axis, Range) and axis.step is None:
        return axis.at(share)
    values = _values(axis)
    return values[int(share * len(values))]


def _values(axis: Sequence[Any] | Range) -> Sequence[Any]:
    return axis.values() if isinstance(axis, Range) else axis


def _endless(axis: Sequence[Any] | Range) -> bool:
    return isinstance(axis, Range) and axis.step is None
