"""Hyperparameter tuning on Ray Tune: synchronous Hyperband, and ASHA fed by a tree-structured Parzen estimator.

Ray Tune starts trials and shares out the cluster; what has been learned lies in records of our own (`actors.trials`).
"""

import contextlib
import logging
import os
import shutil
import tempfile
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.callback import Callback
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler

from actors.connect import require
from actors.nodes import Waiting
from actors.progress import Progress
from actors.trials import (
    Book,
    Configuration,
    Metrics,
    Record,
    Result,
    Study,
    Trial,
    TuningError,
    checked,
    outcome,
    score,
    signed,
)
from quant import hyperband
from quant.hyperband import Bracket
from quant.samplers import Range
from quant.space import draw, settled

# a trial's process that died is replaced so often; an error of the objective is recorded and not tried again
_LOST_PROCESSES = 1
_LOST = (
    f"its process died more often than the {_LOST_PROCESSES} time allowed; it was killed or crashed, usually for want "
    "of memory"
)
_ENVIRONMENT = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # no files for TensorBoard
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C is the driver's
    "TUNE_MAX_PENDING_TRIALS_PG": "1000",  # where few are pending, a rung whose trials end at once hangs
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000",  # its snapshots are pickles, which are never read here
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # relative store URLs must mean the same in a trial as in the driver
}


@dataclass(frozen=True)
class Resources:
    """What the trials hold.

    Parameters
    ----------
    cpus, gpus
        Of a trial's process; fractions are shares of one. Ray Tune refuses 0 CPUs: a trial whose work is done by ranks
        that it starts takes a hundredth of one.
    concurrent
        Trials at a time, at most; None for as many as there is room for.
    ranks, rank_cpus, rank_gpus
        Ranks that each trial starts, and what each of them holds; 0 where a trial trains in its own process.
    settings
        Names of the settings that decide all this, for the message where it can never be had.
    reuse
        Whether a process serves one trial after another, which saves 2 s each. Not to be had where a trial starts
        threads or processes that outlive a stop.
    """

    cpus: float = 1
    gpus: float = 0
    concurrent: int | None = None
    reuse: bool = True
    ranks: int = 0
    rank_cpus: float = 1
    rank_gpus: float = 0
    settings: str = ""


@dataclass(frozen=True)
class _Task:
    """One trial of a rung: train after one epoch until another."""

    number: int
    bracket: int
    configuration: Configuration
    after: int
    until: int
    kept: int  # trials of the bracket's rung that go on


def run_hyperband(study: Study, resources: Resources, *, iterations: int = 1, name: str = "tune") -> list[Result]:
    """Tune by synchronous Hyperband (`quant.hyperband`); same seed, same results, whatever runs side by side.

    The rungs of all brackets of an iteration are climbed together, each by one call of Ray Tune.

    Raises
    ------
    TuningError
        If every trial failed.
    HyperbandError, SearchError
        For epochs and a factor that make no brackets, or a space with too few configurations.
    ValueError
        If a trial asks for more than the cluster can ever have.
    """
    made = hyperband.brackets(study.epochs, study.factor)
    each = sum(bracket.rungs[0].trials for bracket in made)
    configurations = draw(study.space, each * iterations, study.seed)
    results: list[Result] = []
    with _quiet(), Progress(_planned(made) * iterations, name, unit="epochs") as progress:
        for first in range(0, len(configurations), each):
            results += _iteration(study, resources, made, configurations[first : first + each], first, progress)
    return checked(results, name)


def _iteration(
    study: Study,
    resources: Resources,
    made: Sequence[Bracket],
    configurations: Sequence[Configuration],
    first: int,
    progress: Progress,
) -> list[Result]:
    book, results = Book(study), {}
    members: dict[int, dict[int, Configuration]] = {}
    drawn = iter(enumerate(configurations, start=first))
    for bracket in made:
        members[bracket.number] = dict(next(drawn) for _ in range(bracket.rungs[0].trials))
    for level in range(len(made)):
        tasks = [
            _Task(
                number,
                bracket.number,
                configuration,
                after=bracket.rungs[level - 1].epochs if level else 0,
                until=bracket.rungs[level].epochs,
                kept=bracket.rungs[level + 1].trials if level < bracket.number else 0,
            )
            for bracket in made
            if level <= bracket.number
            for number, configuration in members[bracket.number].items()
        ]
        if not tasks:
            break  # all that could have gone on have failed
        watch = _Rung(study, book, tasks, progress)
        lost = _fit(study, resources, {"task": tune.grid_search(tasks)}, FIFOScheduler(), None, 1, watch)
        for task in tasks:
            record = book.read(book.key(task.configuration)).until(task.until)
            # the records know better than Ray Tune, which may put the end of a shared process down to another trial
            short = len(record.epochs) < task.until and not record.over and not record.error
            error = lost.get(task.number, _LOST) if short else ""
            results[task.number] = outcome(study, task.number, task.bracket, task.configuration, record, error)
        for bracket in made:
            mine = {number: score(study, results[number]) for number in members[bracket.number]}
            count = bracket.rungs[level + 1].trials if level < bracket.number else 0
            going = hyperband.survivors(mine, count)
            for number in set(mine) - set(going):
                book.drop(book.key(results[number].configuration))
            members[bracket.number] = {number: results[number].configuration for number in going}
    return [results[number] for number in sorted(results)]


def run_asha(study: Study, resources: Resources, *, trials: int, name: str = "tune") -> list[Result]:
    """Tune by ASHA, with configurations proposed by a tree-structured Parzen estimator.

    The same seed gives the same results where ``resources.concurrent`` is 1; side by side, what is proposed and what
    is stopped depends on which trial ends first. A resumed run then may propose other trials than the killed one.

    Raises
    ------
    TuningError
        If every trial failed.
    ValueError
        If `trials` is below 1, or a trial asks for more than the cluster can ever have.
    """
    if trials < 1:
        raise ValueError(f"{name}: {trials} trials are asked for; allowed: 1 or more")
    book = Book(study)
    with _quiet(), Progress(trials, name, unit="trials") as progress:
        watch = _Stopped(study, book, progress)
        scheduler = ASHAScheduler(time_attr="epoch", max_t=study.epochs, grace_period=1, reduction_factor=study.factor)
        lost = _fit(study, resources, {}, scheduler, _searcher(study, resources.concurrent == 1), trials, watch)
    results = []
    for number, (trial, configuration) in enumerate(watch.configurations.items()):
        record, seen = book.read(book.key(configuration)), watch.epochs.get(trial, 0)
        known = Record(record.epochs[:seen], over=record.over and len(record.epochs) <= seen)
        failed = (record.error or lost[number]) if number in lost else ""
        results.append(outcome(study, number, 0, configuration, known, failed))
    return checked(results, name)


def _fit(
    study: Study,
    resources: Resources,
    space: dict[str, Any],
    scheduler: Any,
    searcher: Any,
    samples: int,
    watch: "_Watch",
) -> dict[int, str]:
    """Run Ray Tune; give, by number, what became of trials whose processes were lost."""
    require("tune", cpus=resources.cpus, gpus=resources.gpus, settings=resources.settings)
    if resources.ranks:
        cpus, gpus = resources.rank_cpus, resources.rank_gpus
        require("tune", cpus=cpus, gpus=gpus, workers=resources.ranks, settings=resources.settings)
    watch.waiting = Waiting("tune", {"CPU": resources.cpus, "GPU": resources.gpus})
    held = {"cpu": resources.cpus, **({"gpu": resources.gpus} if resources.gpus else {})}
    directory = tempfile.mkdtemp(prefix="assay-tune-")
    try:
        tuner = tune.Tuner(
            tune.with_resources(tune.with_parameters(_train, study=study), held),
            param_space=space,
            tune_config=tune.TuneConfig(
                metric="score",
                mode="max",
                scheduler=scheduler,
                search_alg=searcher,
                num_samples=samples,
                max_concurrent_trials=resources.concurrent,
                reuse_actors=resources.reuse,
            ),
            run_config=tune.RunConfig(
                name="trials",
                storage_path=directory,
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=_LOST_PROCESSES),
                callbacks=[watch],
            ),
        )
        grid = tuner.fit()
        return {
            watch.number(position): _explained(grid[position].error)
            for position in range(len(grid))
            if grid[position].error is not None
        }
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _explained(error: Any) -> str:
    """What Ray Tune says of a trial, without the numbers of processes, which another run would not repeat."""
    text = str(error).strip()
    if "died" in text:
        return _LOST
    return text.splitlines()[-1] if text else type(error).__name__


def _train(config: dict[str, Any], study: Study) -> None:
    """Be a trial of Ray Tune: report what is kept, train what is missing."""
    # a warning of a library inside a trial is nobody's to act upon
    warnings.simplefilter("ignore")
    task: _Task | None = config.get("task")
    book = Book(study)
    configuration = task.configuration if task else settled(study.space, config)
    after, until = (task.after, task.until) if task else (0, study.epochs)
    key = book.key(configuration)
    record = book.read(key)

    def tell(epoch: int) -> None:
        if epoch > after:
            highest = max(signed(study, metrics[study.metric]) for metrics in record.epochs[:epoch])
            tune.report({"epoch": epoch, "score": highest})

    for epoch in range(1, min(until, len(record.epochs)) + 1):
        tell(epoch)
    if not record.error and not record.over and len(record.epochs) < until:

        def told(epoch: int, metrics: Metrics, state: Callable[[], bytes] | None) -> None:
            if epoch > len(record.epochs) + 1 or study.metric not in metrics:
                raise ValueError(
                    f"epoch {epoch} was reported with {', '.join(metrics)}; needed: epoch {len(record.epochs) + 1}, "
                    f"and {study.metric} among its metrics"
                )
            fresh = epoch > len(record.epochs)
            if fresh:
                record.epochs.append(metrics)
                # a trial of the same configuration may be ahead
                if len(book.read(key).epochs) < epoch:
                    book.write(key, record)
            # after the last epoch nothing goes on
            if state is not None and epoch < study.epochs:
                book.keep(key, state())
            if fresh:
                tell(epoch)

        trial = Trial(configuration, until, study.epochs, book.state(key), len(record.epochs), f"{key}/state", told)
        try:
            study.objective(study.shared, trial)
            if not record.epochs:
                raise ValueError("the objective reported no epoch")
        except Exception as error:
            record.error = f"{type(error).__name__}: {error}"
        record.over = not record.error and len(record.epochs) < until
        if record.error or record.over:
            book.write(key, record)
    if record.error and task is None:
        # so that it counts as failed for the searcher
        raise TuningError(record.error)


class _Watch(Callback, ABC):  # type: ignore[misc]
    """What the driver does when a trial reports or ends: progress, and dropping states that nobody will need."""

    def __init__(self, study: Study, book: Book, progress: Progress) -> None:
        self.study, self.book, self.progress = study, book, progress
        self.best = float("-inf")
        self.waiting: Waiting | None = None

    def on_step_begin(self, iteration: int, trials: Any, **info: Any) -> None:
        """Say what trials wait for; called several times a second."""
        del iteration, trials, info
        if self.waiting is not None:
            self.waiting.look()

    def __getstate__(self) -> dict[str, Any]:
        """Leave nothing for Ray Tune's snapshots: they are never read, and a terminal cannot be pickled."""
        return {}

    @abstractmethod
    def number(self, position: int) -> int:
        """Number of a trial, by its position among those of this call."""

    def note(self, result: Mapping[str, Any] | None = None) -> str:
        """Say what the best metric so far is, that of a result included."""
        self.best = max(self.best, result["score"] if result else self.best)
        return f"best {self.study.metric} {signed(self.study, self.best):.4f}"


class _Rung(_Watch):
    """Watches one rung of all brackets."""

    def __init__(self, study: Study, book: Book, tasks: Sequence[_Task], progress: Progress) -> None:
        super().__init__(study, book, progress)
        self._left = {task.number: task.until - task.after for task in tasks}
        self._scores: dict[int, dict[int, float | None]] = {task.bracket: {} for task in tasks}
        self._keys = {task.number: book.key(task.configuration) for task in tasks}

    def number(self, position: int) -> int:
        return list(self._keys)[position]

    def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **info: Any) -> None:
        del iteration, trials, info
        if "score" in result:
            number = trial.config["task"].number
            ahead = min(1, self._left[number])
            self._left[number] -= ahead
            self.progress.advance(ahead, self.note(result))

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        del iteration, trials, info
        task: _Task = trial.config["task"]
        record = self.book.read(self._keys[task.number]).until(task.until)
        self._end(task.number)
        result = outcome(self.study, task.number, task.bracket, task.configuration, record, "")
        scores = self._scores[task.bracket]
        scores[task.number] = score(self.study, result)
        going = set(hyperband.survivors(scores, task.kept))
        for number in set(scores) - going:
            self.book.drop(self._keys[number])

    def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """Count a trial whose process was lost; its state goes with the rung."""
        del iteration, trials, info
        self._end(trial.config["task"].number)

    def _end(self, number: int) -> None:
        # epochs that a trial did without
        self.progress.advance(self._left[number])
        self._left[number] = 0


class _Stopped(_Watch):
    """Watches the trials of ASHA, which never go on once they have ended."""

    def __init__(self, study: Study, book: Book, progress: Progress) -> None:
        super().__init__(study, book, progress)
        self.configurations: dict[str, Configuration] = {}
        self.epochs: dict[str, int] = {}  # last one that was asked for

    def number(self, position: int) -> int:
        return position

    def on_trial_start(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        del iteration, trials, info
        self.configurations.setdefault(trial.trial_id, settled(self.study.space, trial.config))

    def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **info: Any) -> None:
        del iteration, trials, info
        if "score" in result:
            self.epochs[trial.trial_id] = result["epoch"]
            self.note(result)

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        del iteration, trials, info
        self._end(trial)

    def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        del iteration, trials, info
        self._end(trial, failed=1)

    def _end(self, trial: Any, failed: int = 0) -> None:
        self.book.drop(self.book.key(self.configurations[trial.trial_id]))
        self.progress.advance(note=self.note(), failed=failed)


def _searcher(study: Study, alone: bool) -> Any:
    """Optuna's sampler, imported here because few runs need it."""
    import optuna
    from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
    from optuna.samplers import TPESampler
    from ray.tune.search.optuna import OptunaSearch

    optuna.logging.set_verbosity(optuna.logging.CRITICAL)

    def distribution(axis: Sequence[Any] | Range) -> BaseDistribution:
        if not isinstance(axis, Range):
            return CategoricalDistribution(tuple(axis))
        high = axis.values()[-1] if axis.step else axis.high
        return FloatDistribution(axis.low, high, step=axis.step, log=axis.log)

    space = {name: distribution(axis) for name, axis in study.space.items()}
    # a trial that has not ended yet counts as a poor one, so that its neighbours are not proposed as well
    sampler = TPESampler(seed=study.seed, constant_liar=not alone)
    return OptunaSearch(space=space, metric="score", mode="max", sampler=sampler)


def _planned(made: Sequence[Bracket]) -> int:
    """Epochs of an iteration where no trial ends early."""
    total = 0
    for bracket in made:
        before = 0
        for rung in bracket.rungs:
            total += rung.trials * (rung.epochs - before)
            before = rung.epochs
    return total


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Set what Ray Tune reads from the environment, and keep it from writing to the terminal."""
    added = {name: value for name, value in _ENVIRONMENT.items() if name not in os.environ}
    os.environ.update(added)
    loggers = [logging.getLogger(name) for name in ("ray.tune", "ray.air", "ray.train")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        # some of its tables come whatever the verbosity
        with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        for name in added:
            os.environ.pop(name, None)
