"""Samplers: which parameter sets a search tries, by a grid, a low-discrepancy sequence or a model of the scores so far.

What a sampler proposes depends on the space, the seed, the sizes of the batches (``tpe`` alone) and the scores told to
it, and on nothing else, so a search is resumed by asking and telling a fresh sampler the same once more. No sampler
proposes a set twice.
"""

import hashlib
import math
import warnings
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from decimal import Decimal
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args

import numpy as np
import numpy.typing as npt

from quant import search
from quant.parameters import BracketParameters, CombinationError, checked, is_number
from quant.search import BOTH_SIDES, FIELDS, SearchError

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.study import Study
    from optuna.trial import Trial

Name = Literal["grid", "sobol", "tpe"]
NAMES: tuple[Name, ...] = get_args(Name)

NARROWEST_RANGE = 1e-4  # of the larger bound; in a narrower one, points of a sequence could round to the same value
LARGEST_RANGE = 100_000  # values of a range with a step, which are held as a list
PATIENCE = 2**15  # draws in a row without a new set, after which a sequence ends
STARTUP = 10  # scores that the model of tpe starts from; Optuna's own default
ATTEMPTS = 10  # proposals of the model in a row that may contradict themselves or repeat
_BLOCK = 64  # points drawn at once; a power of 2, or SciPy warns

Position = int | float
"""Where a value lies on its axis: the index of a listed one, or the share of a continuous range below it."""


@dataclass(frozen=True)
class Range:
    """Numbers from ``low`` to ``high``, both included.

    Parameters
    ----------
    low, high
        The smallest and the largest value, ``low`` below ``high``.
    step
        Distance between neighbouring values, counted from ``low``; None for all values. The last one is the largest
        that is not above ``high``.
    log
        Whether every factor, rather than every difference, is equally likely.

    Raises
    ------
    SearchError
        If a bound or the step is no finite number, ``high`` is not above ``low`` by a ten-thousandth of it, ``step``
        does not fit into the range or makes more than 100,000 values of it, or ``log`` comes with a step or with a
        ``low`` that is not above 0.
    """

    low: float
    high: float
    step: float | None = None
    log: bool = False

    def __post_init__(self) -> None:
        """Check what the numbers say together."""
        for name, value in (("low", self.low), ("high", self.high), ("step", self.step)):
            if not is_number(value) and not (name == "step" and value is None):
                raise SearchError(f"the {name} of a range is {value!r}; allowed: a finite number")
        if not isinstance(self.log, bool):
            raise SearchError(f"log of a range is {self.log!r}; allowed: true or false")
        if not self.high - self.low >= NARROWEST_RANGE * max(abs(self.low), abs(self.high)):
            raise SearchError(
                f"a range goes from {self.low} to {self.high}; allowed: a high above the low, by {NARROWEST_RANGE:.2%} "
                "of it at least"
            )
        if self.log and (self.step is not None or not self.low > 0):
            raise SearchError(
                f"a logarithmic range goes from {self.low} to {self.high} with a step of {self.step}; "
                "allowed: a low above 0 and no step"
            )
        if self.step is not None and not (self.step > 0 and 1 <= self._steps() < LARGEST_RANGE):
            raise SearchError(
                f"a range from {self.low} to {self.high} has a step of {self.step}; allowed: above 0, within the "
                f"range, and making {LARGEST_RANGE} values at most"
            )

    @classmethod
    def of(cls, mapping: Mapping[str, Any]) -> "Range":
        """Return the range of a mapping with ``low``, ``high`` and, as one likes, ``step`` and ``log``.

        Raises
        ------
        SearchError
            If a key is missing or unknown, or as the class itself.
        """
        known = [field.name for field in fields(cls)]
        if not {"low", "high"} <= set(mapping) <= set(known):
            raise SearchError(
                f"a range is given by {', '.join(map(str, mapping)) or 'nothing'}; allowed: {', '.join(known)}, "
                "the first two always"
            )
        return cls(**mapping)

    def values(self) -> tuple[float, ...]:
        """Return the values of a range with a step, in decimal arithmetic: 0.01 and two steps of 0.01 make 0.03.

        Raises
        ------
        SearchError
            If the range has no step.
        """
        if self.step is None:
            raise SearchError(f"the range from {self.low} to {self.high} has no step; allowed: a range with a step")
        low, step = _decimal(self.low), _decimal(self.step)
        return tuple(float(low + number * step) for number in range(self._steps() + 1))

    def at(self, share: float) -> float:
        """Return the value that has this share (0 … 1) of the range below it."""
        if self.log:
            value = math.exp(math.log(self.low) + share * (math.log(self.high) - math.log(self.low)))
        else:
            value = self.low + share * (self.high - self.low)
        return float(min(max(value, self.low), self.high))

    def share(self, value: float) -> float:
        """Return the share of the range below a value within it: what :meth:`at` takes."""
        if self.log:
            return (math.log(value) - math.log(self.low)) / (math.log(self.high) - math.log(self.low))
        return (value - self.low) / (self.high - self.low)

    def _steps(self) -> int:
        return int((_decimal(self.high) - _decimal(self.low)) // _decimal(self.step or math.inf))


Space = Mapping[str, Sequence[Any] | Range | Mapping[str, Any]]
"""What may be tried, by the name of a field of :class:`~quant.parameters.BracketParameters`.

A list of values, None among them where the part may be off; or a :class:`Range`, or the mapping that makes one.
``stop_loss``, ``take_profit`` and ``limit`` stand for the long and the short field with the same value in both. Fields
not named keep their default; a repeated value counts once.
"""


class Sampler(Protocol):
    """Where the parameter sets of a search come from: asked for a batch, told its scores, asked for the next."""

    def ask(self, count: int) -> list[BracketParameters]:
        """Return the next ``count`` sets, fewer where the trials or the space are used up, and then none.

        Raises
        ------
        SearchError
            If ``count`` is below 1.
        """
        ...

    def tell(self, parameters: Sequence[BracketParameters], scores: Sequence[float]) -> None:
        """Take in scores, higher being better, NaN standing for a set with too few trades to be judged.

        Raises
        ------
        SearchError
            If there are not as many scores as sets, or a set was never asked for or told before.
        """
        ...


def make(name: str, space: Space, *, trials: int, seed: int) -> Sampler:
    """Return the sampler of a name.

    ``grid``
        All combinations in the order of the product, or a seeded sample of them where there are more than ``trials``,
        by :func:`quant.search.grid`. Ranges need a step.
    ``sobol``
        The Sobol' sequence, scrambled with the seed (SciPy's ``qmc.Sobol``), which fills the space evenly from the
        first trial on. Trial i is the same whatever the batches and the number of trials. Combinations that contradict
        themselves are passed over, and so are repeated ones; none is mended, which would heap trials on the border:
        what is left covers the allowed part of the space as evenly as before. The sequence ends when a finite space is
        used up, or 32,768 points in a row brought nothing new.
    ``tpe``
        Optuna's tree-structured Parzen estimator, multivariate, so that it sees how parameters act together. Until 10
        sets have a score other than NaN it proposes the sets of ``sobol``; then it asks the model, which takes the
        sets that are asked and not yet told for bad ones, so that a batch spreads out (Optuna's ``constant_liar``).
        Sets with NaN rank below all others. Ten proposals in a row that contradict themselves or repeat an earlier
        set give way to the next new set of ``sobol``. Listed values have no order for it; those of a range have.
        Small batches serve it best: 10 found better sets than 50. Optuna is imported by the first ``tpe`` of a process
        (0.05 s where SciPy is loaded), and the model takes 2.5 ms a trial over 200 trials of eight free parameters, on
        one core: far more than a replay, and than the 15 to 40 µs of ``sobol``.

    Sources: Sobol', "On the distribution of points in a cube and the approximate evaluation of integrals" (1967);
    Matoušek, "On the L2-discrepancy for anchored boxes" (1998), for the scrambling; Bergstra et al., "Algorithms for
    Hyper-Parameter Optimization" (2011); Watanabe, "Tree-Structured Parzen Estimator", arXiv 2304.11127 (2023).

    Parameters
    ----------
    space
        What may be tried, by field.
    trials
        Most sets to propose in all.
    seed
        Whole, 0 or more; equal seeds give equal sets.

    Raises
    ------
    SearchError
        If the sampler is unknown, a name is unknown or given twice, values are neither a list nor a range, ``trials``
        or ``seed`` is out of range, or no combination of the space is allowed.
    BracketError
        If a value is not allowed for its field, whatever it is combined with.
    """
    for what, value, least in (("trials", trials, 1), ("seed", seed, 0)):
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
            raise SearchError(f"{what} is {value!r}; allowed: whole numbers from {least}")
    axes = _axes(space)
    if name == "grid":
        return _Fixed(iter(search.grid(_lists(axes), trials, seed)), trials)
    if name == "sobol":
        return _Fixed((parameters for _, parameters in _sequence(axes, seed)), trials)
    if name == "tpe":
        return _Modelled(axes, trials, seed)
    raise SearchError(f"the sampler is {name!r}; allowed: {', '.join(NAMES)}")


def coordinates(space: Space, parameters: Sequence[BracketParameters]) -> npt.NDArray[np.float64]:
    """Return where sets lie in the space, so that neighbours can be told by their distance.

    Parameters
    ----------
    space
        What could be tried, by field.
    parameters
        n sets of the space.

    Returns
    -------
    Array (n × d) of 0 … 1, a column for each name of the space, in its order. A continuous range counts in equal
    differences, or in equal factors if it is logarithmic; listed values and those of a range with a step are equally
    far apart in the order they are given in, None like any other. An axis with a single value is 0.

    Raises
    ------
    SearchError
        If a set does not belong to the space, or as :func:`make`.
    """
    axes = _axes(space)
    result = np.empty((len(parameters), len(axes)))
    for column, axis in enumerate(axes):
        places = {value: place for place, value in enumerate(axis.values)}
        for row, chosen in enumerate(parameters):
            result[row, column] = _coordinate(axis, chosen, places)
    return result


def ticker_seed(seed: int, ticker: str) -> int:
    """Return the seed of one ticker, 0 … 2⁶³ − 1: the same in every process, unlike what ``hash`` gives."""
    digest = hashlib.sha256(f"{seed}:{ticker}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


@dataclass(frozen=True)
class _Axis:
    """One dimension of a space: the fields that share a value, and the values or the continuous range of it."""

    names: tuple[str, ...]
    values: tuple[Any, ...] = ()
    span: Range | None = None

    def position(self, share: float) -> Position:
        """Return the position of a share (0 to below 1) of the axis."""
        return int(share * len(self.values)) if self.values else share

    def value(self, position: Position) -> Any:
        return self.values[int(position)] if self.values or self.span is None else self.span.at(position)


def _decimal(number: float) -> Decimal:
    return Decimal(str(float(number)))


def _axes(space: Space) -> tuple[_Axis, ...]:
    """Return the dimensions of a space, in its order, with every value checked."""
    axes: list[_Axis] = []
    taken: set[str] = set()
    for name, given in space.items():
        if name not in FIELDS and name not in BOTH_SIDES:
            raise SearchError(f"the search space names {name!r}; allowed: {', '.join((*BOTH_SIDES, *FIELDS))}")
        names = (f"{name}_long", f"{name}_short") if name in BOTH_SIDES else (name,)
        if not taken.isdisjoint(names):
            twice = next(field for field in names if field in taken)
            raise SearchError(f"the search space gives {twice} twice, once for both sides; allowed: one of the two")
        taken.update(names)
        choice = Range.of(given) if isinstance(given, Mapping) else given
        if isinstance(choice, Range):
            axes.append(_range_axis(names, choice))
        elif isinstance(choice, str) or not isinstance(choice, Sequence) or not choice:
            raise SearchError(
                f"the search space gives {name} = {given!r}; allowed: a list of one value or more, or a range"
            )
        else:
            axes.append(_Axis(names, tuple(dict.fromkeys(checked(names[0], value) for value in choice))))
    return tuple(axes)


def _range_axis(names: tuple[str, ...], span: Range) -> _Axis:
    if names == ("minimum_profit",):
        raise SearchError(f"the search space gives minimum_profit = {span}; allowed: a list of time tables")
    for bound in (span.low, span.high):
        checked(names[0], bound)
    return _Axis(names, () if span.step is None else span.values(), span)


def _lists(axes: Sequence[_Axis]) -> dict[str, Sequence[Any]]:
    """Return the values by field as the grid takes them."""
    lists: dict[str, Sequence[Any]] = {}
    for axis in axes:
        name = axis.names[0] if len(axis.names) == 1 else axis.names[0].removesuffix("_long")
        if not axis.values:
            raise SearchError(
                f"the search space gives {name} = {axis.span}; allowed in a grid: a list, or a range with a step"
            )
        lists[name] = axis.values
    return lists


def _combination(axes: Sequence[_Axis], positions: Sequence[Position]) -> BracketParameters:
    chosen: dict[str, Any] = {}
    for axis, position in zip(axes, positions, strict=True):
        chosen.update(dict.fromkeys(axis.names, axis.value(position)))
    return BracketParameters(**chosen)


def _coordinate(axis: _Axis, chosen: BracketParameters, places: Mapping[Any, int]) -> float:
    value = getattr(chosen, axis.names[0])
    same = all(getattr(chosen, name) == value for name in axis.names)
    if same and axis.values and value in places:
        return places[value] / max(len(axis.values) - 1, 1)
    if same and not axis.values and axis.span and value is not None and axis.span.low <= value <= axis.span.high:
        return axis.span.share(value)
    given = ", ".join(f"{name} = {getattr(chosen, name)}" for name in axis.names)
    raise SearchError(f"a set has {given}; allowed in its search space: {axis.span or list(axis.values)}")


def _sequence(axes: Sequence[_Axis], seed: int) -> Iterator[tuple[tuple[Position, ...], BracketParameters]]:
    """Return the sets of :func:`_draw` after making sure that there is one."""
    sets = _draw(axes, seed)
    return chain([next(sets)], sets)


def _draw(axes: Sequence[_Axis], seed: int) -> Iterator[tuple[tuple[Position, ...], BracketParameters]]:
    """Yield the distinct allowed sets of a scrambled Sobol' sequence, each after its positions on the axes."""
    from scipy.stats import qmc  # a third of a second to import, which a worker with a grid can do without

    free = [column for column, axis in enumerate(axes) if len(axis.values) != 1]
    finite = all(axis.values for axis in axes)
    total = math.prod(len(axis.values) for axis in axes)
    # no dimension for a fixed field: the fewer there are, the more even the sequence
    engine = qmc.Sobol(max(len(free), 1), rng=np.random.default_rng(seed))
    seen: set[tuple[Position, ...]] = set()
    misses, found = 0, False
    refused: CombinationError | None = None
    while misses < PATIENCE and not (finite and len(seen) == total):
        for point in engine.random(_BLOCK).tolist():
            misses += 1
            positions: list[Position] = [0] * len(axes)
            for column, share in zip(free, point, strict=False):
                positions[column] = axes[column].position(share)
            where = tuple(positions)
            if where in seen:
                continue
            if finite:  # a continuous sequence does not repeat, and need not be remembered
                seen.add(where)
            try:
                parameters = _combination(axes, where)
            except CombinationError as error:
                refused = error
            else:
                misses, found = 0, True
                yield where, parameters
    if not found:
        raise SearchError(f"no combination of the search space is allowed; the last one tried: {refused}")


def _check_count(count: int) -> None:
    if count < 1:
        raise SearchError(f"{count} sets are asked for; allowed: 1 or more")


def _check_told(
    parameters: Sequence[BracketParameters], scores: Sequence[float], asked: Container[BracketParameters]
) -> None:
    if len(parameters) != len(scores):
        raise SearchError(f"{len(scores)} scores are told for {len(parameters)} sets; allowed: one for each")
    told: set[BracketParameters] = set()
    for chosen in parameters:
        if chosen not in asked or chosen in told:
            raise SearchError(f"a score is told for {chosen}; allowed: sets asked for and not yet told")
        told.add(chosen)


class _Fixed:
    """Sets that do not depend on any score."""

    def __init__(self, sets: Iterator[BracketParameters], trials: int) -> None:
        self._sets = islice(sets, trials)
        self._open: set[BracketParameters] = set()

    def ask(self, count: int) -> list[BracketParameters]:
        _check_count(count)
        batch = list(islice(self._sets, count))
        self._open.update(batch)
        return batch

    def tell(self, parameters: Sequence[BracketParameters], scores: Sequence[float]) -> None:
        _check_told(parameters, scores, self._open)
        self._open.difference_update(parameters)


class _Modelled:
    """Sets by the tree-structured Parzen estimator, begun and helped out by the Sobol' sequence."""

    def __init__(self, axes: Sequence[_Axis], trials: int, seed: int) -> None:
        self._axes = axes
        self._sequence = _sequence(axes, seed)
        self._study = _study(seed)
        self._distributions = _distributions(axes)
        self._left = trials
        self._scored = 0
        self._seen: set[BracketParameters] = set()
        self._open: dict[BracketParameters, Trial] = {}

    def ask(self, count: int) -> list[BracketParameters]:
        _check_count(count)
        batch: list[BracketParameters] = []
        while len(batch) < min(count, self._left):
            proposed = self._from_model() or self._from_sequence()
            if proposed is None:
                break
            parameters, trial = proposed
            self._seen.add(parameters)
            self._open[parameters] = trial
            batch.append(parameters)
        self._left -= len(batch)
        return batch

    def tell(self, parameters: Sequence[BracketParameters], scores: Sequence[float]) -> None:
        from optuna.trial import TrialState

        _check_told(parameters, scores, self._open)
        for chosen, score in zip(parameters, scores, strict=True):
            if math.isnan(score):
                self._study.tell(self._open.pop(chosen), state=TrialState.PRUNED)
            else:
                self._study.tell(self._open.pop(chosen), float(score))
                self._scored += 1

    def _from_model(self) -> tuple[BracketParameters, "Trial"] | None:
        """Return a new set that the model proposes, or None where it has too few scores or no new one to offer."""
        from optuna.trial import TrialState

        for _ in range(ATTEMPTS if self._scored >= STARTUP else 0):
            trial = self._study.ask(self._distributions)
            try:
                parameters = _combination(self._axes, [trial.params.get(axis.names[0], 0) for axis in self._axes])
            except CombinationError:
                self._study.tell(trial, state=TrialState.PRUNED)  # bad, so that the model learns to avoid it
                continue
            if parameters not in self._seen:
                return parameters, trial
            self._study.tell(trial, state=TrialState.FAIL)  # forgotten: it says nothing new
        return None

    def _from_sequence(self) -> tuple[BracketParameters, "Trial"] | None:
        for where, parameters in self._sequence:
            if parameters not in self._seen:
                positions = {axis.names[0]: position for axis, position in zip(self._axes, where, strict=True)}
                self._study.enqueue_trial({name: positions[name] for name in self._distributions})
                return parameters, self._study.ask(self._distributions)
        return None


def _study(seed: int) -> "Study":
    """Return a study of Optuna in memory, made without a word."""
    import optuna

    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = optuna.samplers.TPESampler(
                n_startup_trials=STARTUP,
                multivariate=True,
                constant_liar=True,
                seed=int(np.random.SeedSequence(seed).generate_state(1)[0]),  # Optuna's seeds have 32 bits
            )
        return optuna.create_study(direction="maximize", sampler=sampler)
    finally:
        optuna.logging.set_verbosity(verbosity)


def _distributions(axes: Sequence[_Axis]) -> dict[str, "BaseDistribution"]:
    """Return what Optuna draws the positions from, by the first field of every axis that has a choice."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    distributions: dict[str, BaseDistribution] = {}
    for axis in axes:
        last = len(axis.values) - 1
        if not axis.values:
            distributions[axis.names[0]] = FloatDistribution(0.0, 1.0)
        elif axis.span is not None:
            distributions[axis.names[0]] = IntDistribution(0, last)
        elif last > 0:
            distributions[axis.names[0]] = CategoricalDistribution(range(last + 1))
    return distributions
