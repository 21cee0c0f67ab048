"""Show how far a run is, from the store alone: what is done, what runs, what failed, and how long it will take.

python -m jobs.status --store URL --run NAME [--status.watch]

A line a stage: done, failed and left, in the unit that it counts, its rate and the time left. It starts no Ray and
changes nothing, so it can be asked from anywhere that sees the store, while the run goes on. --status.watch asks again
every ten seconds (--status.every) until the run has ended.
"""

import datetime
import sys
import time
from dataclasses import astuple, dataclass

from pydantic import ValidationError

from actors.progress import duration, rate
from jobs import pipeline
from jobs.config import RunConfig
from jobs.stage import Context
from storage import layout
from storage.errors import StoreError
from storage.manifest import Manifest, ProgressRecord, list_runs, read_config, read_manifest, read_progress

SILENT = 120.0  # seconds without a word after which that is said: the stage may be dead, or at a long epoch
CLEAR = "\x1b[2J\x1b[H"  # a terminal's screen
HEADER = ("stage", "state", "unit", "done", "failed", "left", "rate", "time left", "")
NUMBERS = (3, 4, 5, 6, 7)
BY_HAND = ("patterns",)  # stages that may be run beside the path

Known = dict[str, tuple[str, Manifest]]


class NoRunError(ValueError):
    """There is no such run in the store."""


@dataclass(frozen=True)
class State:
    """Where a stage stands, each part as a person reads it; empty where it is not known or does not apply."""

    stage: str
    word: str
    unit: str = ""
    done: str = ""
    failed: str = ""
    left: str = ""
    rate: str = ""
    time_left: str = ""
    note: str = ""


def look(context: Context) -> None:
    """Print a line a stage, once or until the run has ended.

    Raises
    ------
    NoRunError
        If the store holds nothing of the run.
    """
    settings = context.config.status
    known: Known = {}
    while True:
        found = states(context, datetime.datetime.now(datetime.UTC), known)
        if settings.watch and sys.stdout.isatty():
            print(CLEAR, end="")
        print("\n".join([f"run '{context.run}' in {context.store.url}", *lines(found)]), flush=True)
        if not settings.watch or ended(found):
            return
        time.sleep(settings.every)


def ended(found: list[State]) -> bool:
    """Whether a run has come to its end, or was stopped on the way."""
    words = {state.word for state in found}
    return words == {"done"} or ("stopped" in words and not words & {"runs", "silent"})


def states(context: Context, moment: datetime.datetime, known: Known | None = None) -> list[State]:
    """Return where each stage of the run's path stands at a moment, in order.

    Parameters
    ----------
    known
        Manifests read before, by key and stamp; what is read is added to them.

    Raises
    ------
    NoRunError
        If the store holds nothing of the run.
    """
    known = {} if known is None else known
    runs = list_runs(context.store)
    if context.run not in runs:
        there = ", ".join(runs) or "none"
        raise NoRunError(f"{context.store.url} holds no run '{context.run}' (--run); the runs there: {there}.")
    stamps = context.store.stamps(layout.manifests(context.run))
    stages = [stage.__name__.removeprefix("jobs.") for stage in pipeline.path(configured(context))]
    found = [state(stage, *heard(context, stage, stamps, known), moment) for stage in stages]
    by_hand = [state(name, *heard(context, name, stamps, known), moment) for name in BY_HAND if name not in stages]
    return found + [one for one in by_hand if one.word != "to do"]


def heard(
    context: Context, stage: str, stamps: dict[str, str], known: Known
) -> tuple[Manifest | None, ProgressRecord | None]:
    """What the store has of a stage: its manifest, else its progress."""
    key = layout.manifest(context.run, stage)
    if key not in stamps:
        return None, read_progress(context.store, context.run, stage)
    if known.get(key, ("",))[0] != stamps[key] and (manifest := read_manifest(context.store, context.run, stage)):
        known[key] = stamps[key], manifest
    return known[key][1] if key in known else None, None


def configured(context: Context) -> RunConfig:
    """The configuration that the run was last started with, which says what its stages are; else the one given."""
    try:
        recorded = read_config(context.store, context.run)
        return RunConfig.model_validate(recorded) if recorded else context.config
    except (StoreError, ValidationError):
        return context.config


def state(stage: str, manifest: Manifest | None, progress: ProgressRecord | None, moment: datetime.datetime) -> State:
    """Say where a stage stands, by its manifest or by what was last heard of it."""
    if manifest is not None:
        count = len(manifest.tickers)
        return State(
            stage,
            "done",
            "tickers" if count else "",
            f"{count:,}" if count else "",
            f"{len(manifest.failures):,}",
            "0",
            note=f"at {manifest.created}",
        )
    if progress is None:
        return State(stage, "to do")
    silent = (moment - datetime.datetime.fromisoformat(progress.updated)).total_seconds()
    going = progress.done > 0 and progress.seconds > 0
    word, time_left, note = "runs", "", progress.note
    if progress.stopped:
        word, note = "stopped", f"at {progress.updated}; the same command goes on"
    elif silent > SILENT:
        word, note = "silent", f"no word for {duration(silent)}; if it was killed, the same command goes on"
    elif going:
        share = progress.share or progress.done / progress.total
        time_left = duration(max(0.0, (1 - share) * progress.seconds / share - silent))
    return State(
        stage,
        word,
        progress.unit,
        f"{progress.before + progress.done:,}",
        f"{progress.failed:,}",
        f"{progress.total - progress.done:,}",
        rate(progress.done, progress.seconds) if going else "",
        time_left,
        note,
    )


def lines(found: list[State]) -> list[str]:
    """The states as a table."""
    rows = [HEADER, *(astuple(one) for one in found)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER))]
    return [
        "  "
        + "  ".join(
            cell.rjust(width) if column in NUMBERS else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


if __name__ == "__main__":
    from jobs.runner import main

    main("status")
