"""Show how far a run is, from the store alone: what is done, what runs, what failed, and how long it will take.

python -m jobs.status --config run.toml --store URL --run NAME

It starts no Ray and changes nothing, so it can be asked from anywhere that sees the store, while the run goes on.
"""

import datetime
from dataclasses import dataclass

from actors.progress import duration, rate
from jobs import pipeline
from jobs.stage import Context
from storage.manifest import Manifest, ProgressRecord, list_runs, read_manifest, read_progress

SILENT = 120.0  # seconds without a word after which that is said: the stage may be dead, or at a long epoch


class NoRunError(ValueError):
    """There is no such run in the store."""


@dataclass(frozen=True)
class State:
    """Where a stage stands: a word for it, and the rest as a person reads it."""

    stage: str
    word: str
    rest: str = ""


def look(context: Context) -> None:
    """Print a line a stage.

    Raises
    ------
    NoRunError
        If the store holds nothing of the run.
    """
    found = states(context, datetime.datetime.now(datetime.UTC))
    print(f"run '{context.run}' in {context.store.url}")
    for state in found:
        print(f"  {state.stage:<10} {state.word:<8} {state.rest}".rstrip())


def states(context: Context, moment: datetime.datetime) -> list[State]:
    """Return where each stage of the run's path stands at a moment, in order.

    Raises
    ------
    NoRunError
        If the store holds nothing of the run.
    """
    runs = list_runs(context.store)
    if context.run not in runs:
        there = ", ".join(runs) or "none"
        raise NoRunError(f"{context.store.url} holds no run '{context.run}' (--run); the runs there: {there}.")
    stages = [stage.__name__.removeprefix("jobs.") for stage in pipeline.path(context.config)]
    return [
        state(
            stage,
            read_manifest(context.store, context.run, stage),
            read_progress(context.store, context.run, stage),
            moment,
        )
        for stage in stages
    ]


def state(stage: str, manifest: Manifest | None, progress: ProgressRecord | None, moment: datetime.datetime) -> State:
    """Say where a stage stands, by its manifest and by what was last heard of it."""
    if manifest is not None:
        parts = [f"{len(manifest.tickers):,} tickers"] if manifest.tickers else []
        parts += [f"{len(manifest.failures)} failed"] if manifest.failures else []
        return State(stage, "done", ", ".join([*parts, f"at {manifest.created}"]))
    if progress is None:
        return State(stage, "to do")
    silent = (moment - datetime.datetime.fromisoformat(progress.updated)).total_seconds()
    left = progress.total - progress.done
    parts = [f"{progress.before + progress.done:,} of {progress.before + progress.total:,} {progress.unit}"]
    parts += [f"{progress.failed} failed"] if progress.failed else []
    parts += [rate(progress.done, progress.seconds)] if progress.done and progress.seconds > 0 else []
    if progress.stopped:
        return State(stage, "stopped", ", ".join([*parts, f"at {progress.updated}; the same command goes on"]))
    if silent > SILENT:
        parts.append(f"no word for {duration(silent)}; if it was killed, the same command goes on")
        return State(stage, "silent", ", ".join(parts))
    if progress.done and progress.seconds > 0:
        parts.append(f"{duration(max(0.0, left * progress.seconds / progress.done - silent))} left")
    return State(stage, "runs", ", ".join([*parts, progress.note] if progress.note else parts))


if __name__ == "__main__":
    from jobs.runner import main

    main("status")
