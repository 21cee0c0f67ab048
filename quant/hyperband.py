"""Synchronous Hyperband: how many configurations are trained for how many epochs, and which of them go on.

Source: Li, Jamieson, DeSalvo, Rostamizadeh and Talwalkar, "Hyperband: A Novel Bandit-Based Approach to Hyperparameter
Optimization", JMLR 18 (2018), algorithm 1. Epochs are whole, so the paper's r·ηⁱ is rounded up.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass


class HyperbandError(ValueError):
    """Epochs or a factor that make no brackets."""


@dataclass(frozen=True)
class Rung:
    """How many trials of a bracket are trained up to, and including, which epoch."""

    trials: int
    epochs: int


@dataclass(frozen=True)
class Bracket:
    """Successive halving of some configurations: fewer of them at every rung, each trained further."""

    number: int
    rungs: tuple[Rung, ...]


def brackets(epochs: int, factor: int) -> list[Bracket]:
    """Return the brackets of one iteration of Hyperband, the one with most configurations first.

    Parameters
    ----------
    epochs
        Of a trial that comes through every rung: R of the paper.
    factor
        One in so many trials goes on at a rung: η of the paper.

    Raises
    ------
    HyperbandError
        If `epochs` is below 1 or `factor` below 2.
    """
    if epochs < 1 or factor < 2:
        raise HyperbandError(
            f"Hyperband was asked for {epochs} epochs by a factor of {factor}; allowed: 1 epoch or more, and a factor "
            "of 2 or more"
        )
    most = 0
    while factor ** (most + 1) <= epochs:  # the logarithm, which as a float may fall short of a whole number
        most += 1
    return [_bracket(number, most, epochs, factor) for number in range(most, -1, -1)]


def _bracket(number: int, most: int, epochs: int, factor: int) -> Bracket:
    trials = _upwards((most + 1) * factor**number, number + 1)
    rungs = (Rung(trials // factor**level, _upwards(epochs, factor ** (number - level))) for level in range(number + 1))
    return Bracket(number, tuple(rungs))


def survivors(scores: Mapping[int, float | None], count: int) -> list[int]:
    """Return the numbers of the trials that go on, at most `count`, in ascending order.

    Parameters
    ----------
    scores
        By the number of the trial, higher being better. None and NaN stand for a trial that failed: it never goes on,
        so fewer may than `count`. Of equal scores the lower number is the better.

    Raises
    ------
    HyperbandError
        If `count` is negative.
    """
    if count < 0:
        raise HyperbandError(f"{count} trials are to go on; allowed: 0 or more")
    return sorted(ranked(scores)[:count])


def ranked(scores: Mapping[int, float | None]) -> list[int]:
    """Return the numbers of the trials that did not fail, best first; of equal scores the lower number."""
    sound = {number: score for number, score in scores.items() if score is not None and not math.isnan(score)}
    return sorted(sound, key=lambda number: (-sound[number], number))


def _upwards(numerator: int, denominator: int) -> int:
    return -(-numerator // denominator)
