"""The chosen parameters of a ticker as the report shows them, and how the sets around them did on the choose part."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from quant import report_words as words
from quant.report_figures import Record, value_of
from quant.search import BOTH_SIDES
from quant.selection import parameter_stability

MOST = 300
"""Sets that are drawn, the nearest ones."""
_SAME = 1e-9  # places that are equal but for rounding are equal
_LABELS = {
    "stop_loss": "Stop loss",
    "take_profit": "Take profit",
    "limit": "Entry limit",
    "trailing_activation": "Trailing stop from",
    "trailing_distance": "Trailing distance",
    "minimum_profit": "Timed exit",
    "leverage": "Leverage",
}


class Step(NamedTuple):
    """A set that differs from the chosen one in one parameter alone: its value there in words, its number, its score.

    The number is None where no such set was tried.
    """

    value: str
    trial: int | None
    score: float


class Axis(NamedTuple):
    """One parameter: what it is called, its chosen value, and the nearest set on either side."""

    label: str
    chosen: str
    before: Step
    after: Step


@dataclass(frozen=True, eq=False)
class Neighbourhood:
    """How the sets around the chosen one did, as ``quant.selection.parameter_stability`` sees them.

    Parameters
    ----------
    trial, score
        Of the chosen set.
    sets
        The others with a score, nearest first: trial, distance, score, trades, and whether the stability counts it
        (near).
    median, worst
        Score of the sets that the stability counts; NaN where there are none.
    axes
        The parameters of which more than one value was tried.
    """

    trial: int
    score: float
    sets: pd.DataFrame
    median: float
    worst: float
    axes: tuple[Axis, ...]


def neighbourhood(trials: pd.DataFrame, places: npt.NDArray[np.float64], names: Sequence[str]) -> Neighbourhood | None:
    """Return what lies around the chosen set; None where none was chosen, or nothing but it was tried.

    Parameters
    ----------
    trials
        ``schemas.TRIALS``.
    places
        Sets × axes of the space (``quant.samplers.coordinates``).
    names
        Of the axes.
    """
    chosen = np.flatnonzero(trials["chosen"])
    if len(trials) < 2 or not len(chosen):
        return None
    own = int(chosen[0])
    scores = trials["score"].to_numpy(np.float64, na_value=np.nan)
    found = parameter_stability(scores, places, own)
    distances = np.sqrt(((places - places[own]) ** 2).sum(axis=1))
    sets = pd.DataFrame({"trial": trials["trial"], "distance": distances, "score": scores, "trades": trials["trades"]})
    sets = sets[(distances > _SAME) & ~np.isnan(scores)].sort_values(["distance", "trial"], kind="stable")
    sets = sets.assign(near=np.arange(len(sets)) < found.neighbours).reset_index(drop=True)
    axes = tuple(
        _axis(trials, places, own, column, name)
        for column, name in enumerate(names)
        if np.ptp(places[:, column]) > _SAME
    )
    return Neighbourhood(int(trials["trial"].iloc[own]), found.score, sets, found.median, found.worst, axes)


def _axis(trials: pd.DataFrame, places: npt.NDArray[np.float64], own: int, column: int, name: str) -> Axis:
    """One parameter, with the nearest sets that differ from the chosen one in it alone."""
    moved = places - places[own]
    alone = (np.abs(np.delete(moved, column, axis=1)) <= _SAME).all(axis=1)

    def step(sign: int) -> Step:
        beyond = np.flatnonzero(alone & (sign * moved[:, column] > _SAME))
        if not len(beyond):
            return Step("", None, np.nan)
        row = trials.iloc[beyond[np.argmin(np.abs(moved[beyond, column]))]].to_dict()
        score = value_of(row, "score")
        return Step(parameter(row, name), int(row["trial"]), np.nan if score is None else score)

    label = _LABELS.get(name, name.replace("_", " ").capitalize())
    return Axis(label, parameter(trials.iloc[own].to_dict(), name), step(-1), step(1))


def parameter(row: Record, name: str) -> str:
    """One parameter of a set in words; one that both sides share is read off the long side."""
    if name == "minimum_profit":
        return _timed(row)
    if name == "leverage":
        return f"×{words.decimal(value_of(row, name))}"
    return _or_off(value_of(row, f"{name}_long" if name in BOTH_SIDES else name))


def parameter_rows(parameters: Record) -> list[list[str]]:
    """The chosen parameters of one ticker as rows (name, for longs, for shorts); one text spans both sides."""
    sides = [
        [_LABELS[name], *(_or_off(value_of(parameters, f"{name}_{side}")) for side in ("long", "short"))]
        for name in BOTH_SIDES
    ]
    activation, distance = value_of(parameters, "trailing_activation"), value_of(parameters, "trailing_distance")
    trailing = "off" if activation is None else f"from {words.percent(activation)}, at {words.percent(distance)}"
    leverage = parameter(parameters, "leverage")
    return [*sides, ["Trailing stop", trailing], ["Timed exit", _timed(parameters)], ["Leverage", leverage]]


def sentence(found: Neighbourhood, objective: str) -> str:
    """What the neighbourhood comes to, in plain words."""
    name, form = words.OBJECTIVES[objective]
    near = int(found.sets["near"].sum())
    if not near:
        return f"The chosen set's {name} is {form(found.score)}; no other set that was tried has one."
    left = len(found.sets) - MOST
    drawn = f"; the {words.count(left)} farthest are left out" if left > 0 else ""
    return (
        "Each dot is a set that was tried: how far it lies from the chosen one, each parameter counting alike, and its "
        f"{name} on choose{drawn}. Of the nearest {near} (coloured) the median is {form(found.median)} (dashed) and "
        f"the worst {form(found.worst)}, against {form(found.score)} of the chosen set (star). Where the neighbours do "
        "nearly as well the choice stands on a plateau; on a lone peak it is luck."
    )


def shown(found: Neighbourhood, objective: str) -> dict[str, Any]:
    """The neighbourhood as the page draws and lists it."""
    form = words.OBJECTIVES[objective][1]

    def cell(step: Step) -> list[str]:
        if step.trial is None:
            return [words.MISSING, ""]
        return [step.value, words.MISSING if np.isnan(step.score) else form(step.score)]

    drawn = found.sets.head(MOST)
    return {
        "said": sentence(found, objective),
        "trial": found.trial,
        "score": _drawn(found.score),
        "median": _drawn(found.median),
        "sets": {
            "trial": drawn["trial"].tolist(),
            "distance": drawn["distance"].round(4).tolist(),
            "score": [_drawn(score) for score in drawn["score"]],
            "trades": drawn["trades"].tolist(),
            "near": int(found.sets["near"].sum()),
        },
        "axes": [
            [axis.label, cell(axis.before), [axis.chosen, form(found.score)], cell(axis.after)] for axis in found.axes
        ],
        "steps": any(step.trial is not None for axis in found.axes for step in (axis.before, axis.after)),
    }


def _drawn(score: float) -> float | None:
    """A score as JSON can hold it: a profit factor without a loss is infinite."""
    return float(f"{score:.5g}") if np.isfinite(score) else None


def _timed(row: Record) -> str:
    return "; ".join(_timed_exit(bars, least) for bars, least in json.loads(str(row["minimum_profit"]))) or "off"


def _timed_exit(bars: int, least: float) -> str:
    condition = "whatever the result" if least <= -1 else f"at {words.percent(least, signed=True)} or better"
    return f"after {words.quantity(bars, 'bar', 'bars')}, {condition}"


def _or_off(value: float | None) -> str:
    return "off" if value is None else words.percent(value, digits=2)
