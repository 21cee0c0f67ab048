"""One search over one asset: every set tried, the best one chosen, and how much of its score is luck.

Nothing of the size of all trials × days is kept: sets are replayed in batches, and of each batch there remain its
figures, the sums that the statistics need, and the daily returns of the best set so far.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from quant import engine, search, selection
from quant.bracket_input import Policy
from quant.costs import Costs
from quant.parameters import BracketParameters
from quant.samplers import Sampler
from quant.schemas import TRIALS
from quant.statistics import Floats

BLOCKS = 16
LARGEST_BATCH = 1_000


@dataclass(frozen=True, kw_only=True)
class Goal:
    """What a search maximises, and under which rules.

    Parameters
    ----------
    objective, minimum_trades
        As for :func:`quant.search.scores`.
    batch
        Sets that a sampler which learns is asked for at once.
    """

    costs: Costs
    policy: Policy
    objective: search.Objective
    minimum_trades: int
    batch: int = 10


class Tuned(NamedTuple):
    """What a search found.

    Attributes
    ----------
    trials
        Columns of ``quant.schemas.TRIALS``, in the order tried.
    sets
        The sets themselves, in that order.
    chosen
        Position of the best set, None where no set has a score.
    returns
        Daily returns of the best set; empty where there is none.
    """

    trials: pd.DataFrame
    sets: tuple[BracketParameters, ...]
    chosen: int | None
    returns: Floats

    @property
    def parameters(self) -> BracketParameters | None:
        """The best set."""
        return None if self.chosen is None else self.sets[self.chosen]


@dataclass(frozen=True)
class Evidence:
    """How much of the chosen set's score is luck, on the part that it was chosen on.

    Attributes
    ----------
    effective_trials
        Independent trials that the search amounts to (:func:`quant.selection.effective_trials`).
    choose_deflated_sharpe
        Of the chosen set, deflated by so many trials (:func:`quant.selection.deflated_sharpe`).
    overfitting
        Probability of backtest overfitting (:func:`quant.selection.probability_of_overfitting`).
    stability
        Median score of the chosen set's neighbours over its own (:func:`quant.selection.parameter_stability`).
    """

    effective_trials: float
    choose_deflated_sharpe: float
    overfitting: float
    stability: float


class Record:
    """What the statistics need of all trials, taken in batch by batch."""

    def __init__(self) -> None:
        """Begin without any trial."""
        self._moments: list[NDArray[np.float64]] = []  # 3 × sets × blocks: count, sum and sum of squares
        self._luck = selection.EffectiveTrials()

    def add(self, returns: Floats) -> None:
        """Take in the daily returns of some sets, sets × days."""
        edges = np.linspace(0, returns.shape[1], BLOCKS + 1).astype(np.intp)
        counts = np.broadcast_to(np.diff(edges).astype(np.float64), (len(returns), BLOCKS))
        # not np.add.reduceat, which returns an element where a block is empty
        sums = [
            [part.sum(axis=1) for part in np.split(values, edges[1:-1], axis=1)] for values in (returns, returns**2)
        ]
        self._moments.append(np.stack([counts, *(np.stack(columns, axis=1) for columns in sums)]))
        self._luck.add(returns)

    def evidence(self, found: Tuned, coordinates: Floats) -> Evidence:
        """Return what the record says of the set that was chosen.

        Parameters
        ----------
        found
            The search, all of whose sets were taken in.
        coordinates
            Sets × axes of the space (:func:`quant.samplers.coordinates`).
        """
        trials = self._luck.number()
        overfitting = selection.probability_of_overfitting(*np.concatenate(self._moments, axis=1))
        if found.chosen is None:
            return Evidence(trials, np.nan, overfitting.probability, np.nan)
        deflated = selection.deflated_sharpe(found.returns, trials) if np.isfinite(trials) else np.nan
        scores = found.trials["score"].to_numpy(dtype=np.float64)
        stability = selection.parameter_stability(scores, coordinates, found.chosen).ratio
        return Evidence(trials, deflated, overfitting.probability, stability)


def tune(
    bars: pd.DataFrame,
    signal: pd.Series,
    sets: Sampler | engine.ParameterSets,
    goal: Goal,
    *,
    funding: pd.Series | None = None,
    record: Record | None = None,
) -> Tuned:
    """Try parameter sets on bars and choose the best; nothing is carried over the end of the bars.

    Parameters
    ----------
    bars, signal, funding
        As for :func:`quant.engine.sweep_metrics`.
    sets
        A sampler, asked and told in batches until it has no more; or the sets themselves.
    record
        Takes in the daily returns of all sets.

    Raises
    ------
    SearchError
        If the sampler has no sets.
    BracketError
        As the engine.
    """
    parts: list[dict[str, Any]] = []
    tried: list[BracketParameters] = []
    best, returns = np.nan, np.empty(0)
    for batch in _batches(sets, goal.batch):
        figures, daily = engine.sweep_metrics(
            bars, signal, batch, goal.costs, goal.policy, funding=funding, close_at_end=True
        )
        scores = search.scores(figures, goal.objective, goal.minimum_trades)
        tried += batch.parameters
        parts.append({**batch.columns, **figures, "score": scores})
        highest = search.choose(scores)
        if highest is not None and not scores[highest] <= best:
            best, returns = scores[highest], daily[highest].copy()
        if record is not None:
            record.add(daily)
        if not isinstance(sets, engine.ParameterSets):
            sets.tell(batch.parameters, scores.tolist())
    if not parts:
        raise search.SearchError("the sampler has no parameter sets left; needed: one or more")
    trials = pd.concat([pd.DataFrame(part) for part in parts], ignore_index=True)
    chosen = search.choose(trials["score"].to_numpy())
    trials.insert(0, "trial", np.arange(len(trials), dtype=np.int64))
    trials["chosen"] = trials["trial"] == (-1 if chosen is None else chosen)
    return Tuned(trials[[column.name for column in TRIALS.columns]], tuple(tried), chosen, returns)


def _batches(sets: Sampler | engine.ParameterSets, batch: int) -> Iterator[engine.ParameterSets]:
    if not isinstance(sets, engine.ParameterSets):
        while asked := sets.ask(batch):
            yield engine.prepare(asked)
    elif len(sets.parameters) <= LARGEST_BATCH:
        yield sets
    else:
        for start in range(0, len(sets.parameters), LARGEST_BATCH):
            yield engine.prepare(sets.parameters[start : start + LARGEST_BATCH])
