"""The training loop: batches, epochs, early stopping and the state that a checkpoint holds.

It knows nothing of Ray or of files: every rank calls `fit` with the same arguments and its own number, and what is
written at the end of an epoch is the caller's affair. Windows are cut batch by batch and never held all at once; of
rows that are too many for the memory, a `Feed` holds a group of tickers at a time.
"""

import io
import json
import math
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from quant.decision import confusion, cross_entropy, macro_f1
from quant.network import CLASSES, Learner, Model, predict
from quant.prefetch import prefetched
from quant.windows import cut

Arrays = list[npt.NDArray[Any]]

_BATCHES_AHEAD = 2
_GROUPS, _DRAW = 2**32 - 1, 2**32 - 2  # streams of random numbers beside those of the batches


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

    Raises
    ------
    TrainingDataError
        If there is not one label a window.
    """

    rows: npt.NDArray[np.float32]
    ends: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int8]

    def __post_init__(self) -> None:
        """Refuse labels that are not one a window."""
        if len(self.labels) != len(self.ends):
            raise TrainingDataError(
                f"there are {len(self.labels)} labels of {len(self.ends)} windows; each window needs one"
            )

    def groups(self, generator: np.random.Generator | None = None) -> Iterator["Windows"]:
        """Yield all windows at once: a feed of one group."""
        del generator
        yield self


class Feed(Protocol):
    """Labelled windows that need not all be in memory.

    ``labels`` are those of all windows, in the order of the groups that are asked for without a generator.
    """

    @property
    def labels(self) -> npt.NDArray[np.int8]:
        """Array (n) int8 of 0 neutral, 1 long, 2 short."""

    def groups(self, generator: np.random.Generator | None = None) -> Iterator[Windows]:
        """Yield every window once, a group at a time; groups and their order are drawn where there is a generator."""


@dataclass(frozen=True)
class Settings:
    """How to train.

    Parameters
    ----------
    length
        Rows of a window.
    epochs
        At most so many passes over the fit windows.
    until
        Epoch after which to stop although more are planned, for a tuner that looks at all its trials there; training
        goes on from the state as if it had not stopped.
    batch
        Windows of a step over all ranks; must be a multiple of the number of ranks. What is left of a group's last
        batch is skipped; the next epoch's order is another.
    schedule
        How the learning rate runs over the planned epochs: ``constant``, or by half a cosine to nearly 0.
    warmup
        Epochs over which it first rises to its full height, evenly.
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
    until: int | None = None
    batch: int = 512
    schedule: Literal["constant", "cosine"] = "constant"
    warmup: int = 0
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
        last = settings.epochs if settings.until is None else min(settings.until, settings.epochs)
        return epoch >= last or (epoch > 0 and epoch - self.best_epoch >= settings.patience)


OnEpoch = Callable[[Metrics, Callable[[], bytes]], None]


def fit(
    learner: Learner,
    train: Feed,
    validate: Feed,
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
        The windows of the fit and of the validate part; `Windows`, or another feed.
    state
        What `on_epoch` was given at the end of an epoch; training goes on from there and ends as if it had never
        been interrupted.
    on_epoch
        Called at the end of each epoch with its metrics and a function that gives the state as bytes.

    Raises
    ------
    TrainingDataError
        For no windows, labels other than 0, 1 and 2, a single class, a batch that the ranks cannot share, a warm-up
        longer than the training, or a loss that is no number.
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
        learner.scale_rate(rate(settings, epoch))
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


def rate(settings: Settings, epoch: int) -> float:
    """Share of the learning rate in an epoch (from 1), which depends on nothing but the two."""
    if epoch <= settings.warmup:
        return epoch / (settings.warmup + 1)
    if settings.schedule == "constant":
        return 1.0
    done = (epoch - 1 - settings.warmup) / (settings.epochs - settings.warmup)
    return 0.5 * (1 + math.cos(math.pi * done))


def probabilities(model: Model, feed: Feed, length: int) -> npt.NDArray[np.float32]:
    """Probabilities (n × 3) of all windows of a feed, in the order of its labels; errors as `network.predict`."""
    return np.concatenate([predict(model, group.rows, group.ends, length) for group in feed.groups()])


def drawn(feed: Feed, length: int, most: int, seed: int) -> Windows:
    """Draw windows without replacement, all where there are no more, and hold no other rows.

    Parameters
    ----------
    length
        Rows of a window.
    most
        Windows to draw at most.
    seed
        Equal seeds draw equal windows.

    Returns
    -------
    The windows in the order of the feed's labels. Where the feed has several groups, each has rows of its own.
    """
    chosen = np.arange(len(feed.labels))
    if len(chosen) > most:
        chosen = np.sort(np.random.default_rng([seed, _DRAW]).choice(len(chosen), most, replace=False))
    rows, start = [], 0
    for group in feed.groups():
        mine = chosen[(chosen >= start) & (chosen < start + len(group.ends))] - start
        if len(group.ends) == len(feed.labels):
            return Windows(group.rows, group.ends[mine], group.labels[mine])
        rows.append(cut(group.rows, group.ends[mine], length).reshape(-1, group.rows.shape[1]))
        start += len(group.ends)
    ends = np.arange(len(chosen), dtype=np.int64) * length + length - 1
    return Windows(np.concatenate(rows), ends, feed.labels[chosen])


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


def batches(count: int, batch: int, seed: Sequence[int], rank: int, ranks: int) -> Iterator[npt.NDArray[np.int64]]:
    """Yield the positions, below `count`, of this rank's share of every batch of a group.

    The order is drawn from the seed alone; the shares of all ranks make up the batch that one rank would see.
    """
    order = np.random.default_rng(seed).permutation(count)
    batch = min(batch, count // ranks * ranks)
    share = batch // ranks
    for start in range(0, count - batch + 1, batch) if batch else ():
        yield order[start + rank * share : start + (rank + 1) * share]


def _train_epoch(
    learner: Learner,
    train: Feed,
    settings: Settings,
    weights: npt.NDArray[np.float64],
    epoch: int,
    rank: int,
    ranks: int,
) -> float:
    shares = _shares(train, settings, epoch, rank, ranks)
    # windows are cut on the processor while the device is at work on those before
    losses = [
        learner.step(windows, labels, weights[labels] / (len(labels) * ranks))
        for windows, labels in prefetched(shares, _BATCHES_AHEAD)
    ]
    return float(np.mean([float(loss) for loss in losses]))


def _shares(
    train: Feed, settings: Settings, epoch: int, rank: int, ranks: int
) -> Iterator[tuple[npt.NDArray[np.float32], npt.NDArray[np.int8]]]:
    """Yield windows and labels of this rank's share of every batch of an epoch."""
    groups = train.groups(np.random.default_rng([settings.seed, epoch, _GROUPS]))
    for number, group in enumerate(groups):
        for chosen in batches(len(group.ends), settings.batch, [settings.seed, epoch, number], rank, ranks):
            yield cut(group.rows, group.ends[chosen], settings.length), group.labels[chosen]


def _validate(
    learner: Learner,
    validate: Feed,
    settings: Settings,
    weights: npt.NDArray[np.float64],
    rank: int,
    ranks: int,
) -> tuple[float, float]:
    """Weighted log-loss and macro-F1 of all validate windows, of which this rank computes every `ranks`-th."""
    sums = np.zeros(2 + CLASSES**2)
    for group in validate.groups():
        labels = group.labels[rank::ranks]
        given = predict(learner.model, group.rows, group.ends[rank::ranks], settings.length)
        losses = cross_entropy(labels, given) * weights[labels]
        matrix = confusion(labels, given.argmax(axis=1))
        sums += np.concatenate([[losses.sum(), weights[labels].sum()], matrix.ravel()])
    sums = learner.total(sums)
    return float(sums[0] / sums[1]), macro_f1(np.rint(sums[2:]).astype(np.int64).reshape(CLASSES, CLASSES))


def _check(train: Feed, validate: Feed, settings: Settings, ranks: int) -> None:
    if settings.batch < ranks or settings.batch % ranks:
        raise TrainingDataError(f"a batch of {settings.batch} windows cannot be shared evenly by {ranks} ranks")
    if not 0 <= settings.warmup < settings.epochs:
        raise TrainingDataError(
            f"a warm-up of {settings.warmup} epochs does not fit into {settings.epochs}; allowed: 0 to one less"
        )
    for name, feed in (("fit", train), ("validate", validate)):
        if len(feed.labels) < ranks:
            raise TrainingDataError(
                f"the {name} part has {len(feed.labels)} windows; {ranks} ranks need at least one each"
            )
        strange = np.setdiff1d(feed.labels, range(CLASSES))
        if len(strange):
            raise TrainingDataError(
                f"the {name} part has {len(feed.labels)} labels, unknown ones among them: {strange[:5].tolist()}; "
                "each window needs one of 0, 1 and 2"
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
