"""What is tuned, and what is kept of its trials: the records that make a tuning resumable, whoever starts the trials.

After every epoch a trial keeps its metrics (JSON) and its training state (bytes) in a store. A trial that is asked
for again, by a later rung or by the same command after a kill, reports the kept epochs without training and goes on
from the state. The state goes when it is certain that the trial will not go on, and the metrics stay, so that what is
held does not grow with the number of trials.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from quant import hyperband
from quant.space import Space

Configuration = dict[str, Any]
Metrics = dict[str, float]
Objective = Callable[[Any, "Trial"], None]


class TuningError(RuntimeError):
    """A tuning without a single trial that came through."""


class Records(Protocol):
    """Where records are kept: bytes by key, seen by all processes; `storage.store.Store` is one."""

    def read(self, key: str) -> bytes:
        """Return the bytes under a key."""
        ...

    def write(self, key: str, data: bytes) -> None:
        """Put bytes under a key, at once and as a whole."""
        ...

    def exists(self, key: str) -> bool:
        """Whether there is a key."""
        ...

    def delete_prefix(self, prefix: str) -> None:
        """Remove everything below a prefix."""
        ...


@dataclass(frozen=True)
class Study:
    """What is tuned, and where its records lie.

    Parameters
    ----------
    objective
        Called as ``objective(shared, trial)`` in a process of its own, which serves many trials; importable by name.
    shared
        Handed to every call, by way of Ray's object store.
    space
        What may be tried, by name.
    metric, mode
        Which of the reported metrics counts, and whether the highest or the lowest is best. A trial is judged by its
        best epoch.
    epochs
        A trial is trained for at most so many.
    factor
        One in so many trials goes on at each rung.
    seed
        Of the drawing of configurations; trials have theirs from the objective.
    records, prefix
        Store and prefix of the records.
    identity
        Whatever decides the course of a trial besides its configuration, as text: records of another are not used.
    """

    objective: Objective
    shared: Any
    space: Space
    metric: str
    mode: Literal["max", "min"]
    epochs: int
    factor: int
    seed: int
    records: Records
    prefix: str
    identity: str


@dataclass
class Record:
    """What is kept of a trial.

    Attributes
    ----------
    epochs
        Metrics of every epoch, from the first.
    over
        Whether training ended by itself, before it had to.
    error
        What went wrong, empty where nothing did.
    """

    epochs: list[Metrics] = field(default_factory=list)
    over: bool = False
    error: str = ""

    def until(self, epoch: int) -> "Record":
        """Return what was known after an epoch: a trial may have been trained further by another search, or failed."""
        before = len(self.epochs) < epoch
        return Record(self.epochs[:epoch], self.over and before, self.error if before else "")


@dataclass(frozen=True)
class Result:
    """What a trial came to.

    Attributes
    ----------
    number
        In the order of drawing.
    bracket
        Of Hyperband; 0 with ASHA.
    trained
        Epochs.
    best_epoch, metrics
        The best epoch by the study's metric, and its metrics; 0 and none where there is no epoch.
    status
        ``finished`` for trained to the end, ``stopped`` for given up on the way, ``failed``.
    error
        What went wrong with a failed one.
    """

    number: int
    bracket: int
    configuration: Configuration
    trained: int
    best_epoch: int
    metrics: Metrics
    status: Literal["finished", "stopped", "failed"]
    error: str


@dataclass(frozen=True)
class Trial:
    """What an objective sees: train until an epoch, from where the trial was left, and report every epoch.

    Attributes
    ----------
    configuration
        Values by name.
    until
        Last epoch to train; returning before it says that no more epochs would help.
    epochs
        Epochs of a trial that comes through.
    state
        What was last reported, None to start afresh.
    reported
        Epochs that are recorded; one more than the state knows of, at most.
    folder
        Key of a folder for what else the objective keeps; it goes when the state does.
    """

    configuration: Configuration
    until: int
    epochs: int
    state: bytes | None
    reported: int
    folder: str
    _told: Callable[[int, Metrics, Callable[[], bytes] | None], None]

    def report(self, epoch: int, metrics: Mapping[str, float], state: Callable[[], bytes] | None = None) -> None:
        """Report an epoch, from 1; one that was reported before is passed over. May end the process's thread.

        Parameters
        ----------
        state
            Gives what training can go on from; None where the objective keeps that itself.

        Raises
        ------
        ValueError
            If an epoch before it was not reported, or the study's metric is missing.
        """
        self._told(epoch, dict(metrics), state)


@dataclass(frozen=True)
class Book:
    """The records of a study, by the key of a trial's configuration."""

    study: Study

    def key(self, configuration: Configuration) -> str:
        """Return the prefix of what is kept of a trial."""
        text = json.dumps([self.study.identity, configuration], sort_keys=True, allow_nan=False)
        return f"{self.study.prefix}/{hashlib.sha256(text.encode()).hexdigest()[:24]}"

    def read(self, key: str) -> Record:
        """Return what is known of a trial, nothing of a new one."""
        place = f"{key}/record.json"
        records = self.study.records
        return Record(**json.loads(records.read(place))) if records.exists(place) else Record()

    def write(self, key: str, record: Record) -> None:
        """Keep what is known of a trial."""
        self.study.records.write(f"{key}/record.json", json.dumps(vars(record), indent=1).encode())

    def state(self, key: str) -> bytes | None:
        """Return what training goes on from, None where nothing is kept."""
        place = f"{key}/state/state"
        return self.study.records.read(place) if self.study.records.exists(place) else None

    def keep(self, key: str, state: bytes) -> None:
        """Keep what training goes on from."""
        self.study.records.write(f"{key}/state/state", state)

    def drop(self, key: str) -> None:
        """Drop that, for a trial that will not go on."""
        self.study.records.delete_prefix(f"{key}/state")


def outcome(study: Study, number: int, bracket: int, configuration: Configuration, record: Record, lost: str) -> Result:
    """Return what a trial came to by its record; `lost` says what went wrong beside it, empty where nothing did."""
    epochs = record.epochs
    scores = {epoch: signed(study, metrics[study.metric]) for epoch, metrics in enumerate(epochs, start=1)}
    order = hyperband.ranked(scores)
    error = record.error or lost
    status: Literal["finished", "stopped", "failed"] = "stopped"
    if error or not order:
        status = "failed"
    elif record.over or len(epochs) == study.epochs:
        status = "finished"
    best_epoch = order[0] if order else 0
    metrics = epochs[best_epoch - 1] if order else {}
    return Result(
        number,
        bracket,
        configuration,
        len(epochs),
        best_epoch,
        metrics,
        status,
        error or ("" if order else "no epoch has a metric that is a number"),
    )


def score(study: Study, result: Result) -> float | None:
    """Return what a trial is ranked by, higher is better; None for a failed one."""
    return None if result.status == "failed" else signed(study, result.metrics[study.metric])


def signed(study: Study, value: float) -> float:
    """Turn a metric so that higher is better; and back."""
    return value if study.mode == "max" else -value


def best(study: Study, results: Sequence[Result]) -> Result:
    """Return the result with the best metric at its best epoch; of equals the one drawn first.

    Raises
    ------
    TuningError
        If every trial failed.
    """
    checked(results, "tune")
    scores = {position: score(study, result) for position, result in enumerate(results)}
    return results[hyperband.ranked(scores)[0]]


def checked(results: Sequence[Result], name: str) -> list[Result]:
    """Return the results, or raise :class:`TuningError` where every trial failed."""
    if all(result.status == "failed" for result in results):
        first = results[0] if results else None
        raise TuningError(
            f"{name}: all of the {len(results)} trials failed"
            + (f"; the first, {first.configuration}: {first.error}" if first else "")
        )
    return list(results)
