"""The training loop: batches, epochs, early stopping and the state that a checkpoint holds.

It knows nothing of Ray or of files: every rank calls `fit` with the same arguments and its own number, and what is
written at the end of an epoch is the caller's affair. Windows are cut batch by batch and never held all at once.
"""

import io
import json
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from quant.decision import confusion, cross_entropy, macro_f1
from quant.network import CLASSES, Learner, predict
from quant.windows import cut

Arrays = list[npt.NDArray[Any]]


class TrainingStateError(ValueError):
    """A training state that cannot be read."""


class TrainingDataError(ValueError):
    """Windows or settings that no network can be trained with."""


@dataclass(frozen=True)
class Windows:
    """Labelled windows, as positions in the rows beneath them.

    Parameters
    ----------
    rows
        Array (n_rows × features) float32, scaled: the rows of all tickers, one ticker after another.
    ends
        Array (n) int64 of the positions of the windows' last rows.
    labels
        Array (n) int8 of 0 neutral, 1 long, 2 short.
    """

    rows: npt.NDArray[np.float32]
    ends: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int8]


@dataclass(frozen=True)
class Settings:
    """How to train.

    Parameters
    ----------
    length
        Rows of a window.
    epochs
        At most so many passes over the fit windows.
    batch
        Windows of a step over all ranks; must be a multiple of the number of ranks. What is left of an epoch's last
        batch is skipped; the next epoch's order is another.
    patience
        Epochs without a better `metric` after which training stops.
    metric
        What early stopping watches on the validate windows: the log-loss (weighted as in training) or the macro-F1.
    class_weights
        Whether rare classes count more, so that all weigh the same in sum.
    seed
        Of the order of the windows.
    """

    length: int
    epochs: int
    batch: int = 512
    patience: int = 3
    metric: Literal["log_loss", "macro_f1"] = "log_loss"
    class_weights: bool = True
    seed: int = 0


@dataclass(frozen=True)
class Metrics:
    """What an epoch came to: the weighted losses of the fit and the validate windows, and the validate macro-F1."""

    epoch: int
    loss: float
    validation_loss: float
    macro_f1: float


@dataclass
class Course:
    """How far training has come: the metrics of each epoch (from 1), the best of them, and its score."""

    history: list[Metrics] = field(default_factory=list)
    best_epoch: int = 0
    best_score: float | None = None

    def record(self, metrics: Metrics, metric: str) -> bool:
        """Append an epoch; tell whether it is the best so far."""
        self.history.append(metrics)
        score = metrics.macro_f1 if metric == "macro_f1" else -metrics.validation_loss
        if self.best_score is not None and score <= self.best_score:
            return False
        self.best_epoch, self.best_score = metrics.epoch, score
        return True

    def over(self, settings: Settings) -> bool:
        """Tell whether no further epoch is to be trained."""
        epoch = len(self.history)
        return epoch >= settings.epochs or (epoch > 0 and epoch - self.best_epoch >= settings.patience)


OnEpoch = Callable[[Metrics, Callable[[], bytes]], None]


def fit(
    learner: Learner,
    train: Windows,
    validate: Windows,
    settings: Settings,
    *,
    rank: int = 0,
    ranks: int = 1,
    state: bytes | None = None,
    on_epoch: OnEpoch | None = None,
) -> Course:
    """Train until the validate metric no longer improves; leave the best epoch's weights in ``learner.model``.

    Every rank must call this with the same arguments but `rank`. Each takes its share of every batch and of the
    validate windows; metrics are summed over the ranks, so that all stop at the same epoch.

    Parameters
    ----------
    train, validate
        The windows of the fit and of the validate part.
    state
        What `on_epoch` was given at the end of an epoch; training goes on from there and ends as if it had never
        been interrupted.
    on_epoch
        Called at the end of each epoch with its metrics and a function that gives the state as bytes.

    Raises
    ------
    TrainingDataError
        For no windows, labels other than 0, 1 and 2, a single class, a batch that the ranks cannot share, or a loss
        that is no number.
    TrainingStateError
        For a state that is damaged.
    ModelError
        For a state of another network, or a window with a value that is not finite.
    """
    _check(train, validate, settings, ranks)
    course, best = Course(), learner.model.get_weights()
    if state is not None:
        course, best = _restore(learner, state)
    weights = balanced_weights(train.labels) if settings.class_weights else np.ones(CLASSES)
    while not course.over(settings):
        epoch = len(course.history) + 1
        loss = _train_epoch(learner, train, settings, weights, epoch, rank, ranks)
        metrics = Metrics(epoch, loss, *_validate(learner, validate, settings, weights, rank, ranks))
        if not np.isfinite([metrics.loss, metrics.validation_loss]).all():
            raise TrainingDataError(
                f"the loss is no number in epoch {epoch} (fit {metrics.loss}, validate {metrics.validation_loss}): "
                "the learning rate is too high, or a feature has values far out of scale"
            )
        if course.record(metrics, settings.metric):
            best = learner.model.get_weights()
        if on_epoch is not None:
            on_epoch(metrics, lambda: _pack(learner.state(), best, course))  # noqa: B023 called within this epoch only
    learner.model.set_weights(best)
    return course


def balanced_weights(labels: npt.NDArray[np.int8]) -> npt.NDArray[np.float64]:
    """Weights (3) by which every class that occurs counts the same in sum, and the mean over all rows is 1.

    n / (classes that occur × count of the class), as scikit-learn's ``class_weight="balanced"``; 0 for a class
    that does not occur.
    """
    counts = np.bincount(labels, minlength=CLASSES)
    occurring = counts > 0
    weights = np.zeros(CLASSES)
    weights[occurring] = len(labels) / (occurring.sum() * counts[occurring])
    return weights


def batches(count: int, batch: int, seed: int, epoch: int, rank: int, ranks: int) -> Iterator[npt.NDArray[np.int64]]:
    """Yield the positions, below `count`, of this rank's share of every batch of an epoch.

    The order is drawn from (seed, epoch) alone; the shares of all ranks make up the batch that one rank would see.
    """
    order = np.random.default_rng([seed, epoch]).permutation(count)
    batch = min(batch, count // ranks * ranks)
    share = batch // ranks
    for start in range(0, count - batch + 1, batch):
        yield order[start + rank * share : start + (rank + 1) * share]


def _train_epoch(
    learner: Learner,
    train: Windows,
    settings: Settings,
    weights: npt.NDArray[np.float64],
    epoch: int,
    rank: int,
    ranks: int,
) -> float:
    losses = []
    for chosen in batches(len(train.ends), settings.batch, settings.seed, epoch, rank, ranks):
        labels = train.labels[chosen]
        windows = cut(train.rows, train.ends[chosen], settings.length)
        losses.append(learner.step(windows, labels, weights[labels] / (len(chosen) * ranks)))
    return float(np.mean([float(loss) for loss in losses]))


def _validate(
    learner: Learner,
    validate: Windows,
    settings: Settings,
    weights: npt.NDArray[np.float64],
    rank: int,
    ranks: int,
) -> tuple[float, float]:
    """Weighted log-loss and macro-F1 of all validate windows, of which this rank computes every `ranks`-th."""
    labels = validate.labels[rank::ranks]
    probabilities = predict(learner.model, validate.rows, validate.ends[rank::ranks], settings.length)
    losses = cross_entropy(labels, probabilities) * weights[labels]
    matrix = confusion(labels, probabilities.argmax(axis=1))
    sums = learner.total(np.concatenate([[losses.sum(), weights[labels].sum()], matrix.ravel()]))
    return float(sums[0] / sums[1]), macro_f1(np.rint(sums[2:]).astype(np.int64).reshape(CLASSES, CLASSES))


def _check(train: Windows, validate: Windows, settings: Settings, ranks: int) -> None:
    if settings.batch < ranks or settings.batch % ranks:
        raise TrainingDataError(f"a batch of {settings.batch} windows cannot be shared evenly by {ranks} ranks")
    for name, windows in (("fit", train), ("validate", validate)):
        if len(windows.ends) < ranks:
            raise TrainingDataError(
                f"the {name} part has {len(windows.ends)} windows; {ranks} ranks need at least one each"
            )
        strange = np.setdiff1d(windows.labels, range(CLASSES))
        if len(windows.labels) != len(windows.ends) or len(strange):
            raise TrainingDataError(
                f"the {name} part has {len(windows.labels)} labels of {len(windows.ends)} windows, "
                f"unknown ones among them: {strange[:5].tolist()}; each window needs one of 0, 1 and 2"
            )
    known = np.unique(train.labels)
    if len(known) < 2 or not np.isin(validate.labels, known).any():
        raise TrainingDataError(
            f"the fit part holds the classes {known.tolist()} and the validate part "
            f"{np.unique(validate.labels).tolist()}; "
            "the fit part needs at least two, of which the validate part shares one"
        )


def _pack(variables: Arrays, best: Arrays, course: Course) -> bytes:
    """Serialise without pickle, so that reading a stranger's state runs no code."""
    record = json.dumps({"course": asdict(course), "variables": len(variables), "best": len(best)})
    arrays = {f"array{position:04d}": array for position, array in enumerate([*variables, *best])}
    buffer = io.BytesIO()
    np.savez(buffer, record=np.frombuffer(record.encode(), dtype=np.uint8), **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def _restore(learner: Learner, state: bytes) -> tuple[Course, Arrays]:
    try:
        with np.load(io.BytesIO(state), allow_pickle=False) as archive:
            record = json.loads(archive["record"].tobytes())
            arrays = [archive[f"array{position:04d}"] for position in range(record["variables"] + record["best"])]
        course = Course(**{**record["course"], "history": [Metrics(**each) for each in record["course"]["history"]]})
    except (ValueError, KeyError, TypeError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise TrainingStateError(f"the training state of {len(state):,} bytes is damaged: {error}") from error
    learner.set_state(arrays[: record["variables"]])
    return course, arrays[record["variables"] :]
