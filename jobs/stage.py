"""How a stage runs: skipped when unchanged, resumed where it stopped, complete when its manifest is written.

A stage maps tickers to tables. Its identity is the hash of its inputs' results, its settings and its code
versions. Each shard leaves a receipt after its tables; the manifest comes last, so that its existence means
that the stage is complete. Running again does what is missing and nothing twice.
"""

import datetime
import functools
import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from actors.fan_out import Outcome, fan_out
from actors.progress import Progress
from actors.sharding import shards
from jobs import shard_log
from jobs.config import RunConfig
from jobs.rates import Meter, Rate
from quant.schemas import Dataset
from storage import layout
from storage.errors import StoreUnavailableError
from storage.hashing import combine, fingerprint
from storage.manifest import (
    Failure,
    Manifest,
    Receipt,
    TableResult,
    Usage,
    delete_manifest,
    delete_receipts,
    read_manifest,
    read_receipts,
    write_manifest,
    write_receipt,
)
from storage.store import Store
from storage.tables import tickers as stored_tickers
from storage.tables import write_table

logger = logging.getLogger("assay")


class StageMissingError(ValueError):
    """A job was asked to run before the stage that it reads from."""


class NotDone(Exception):  # noqa: N818  an answer to `jobs.plan`, not an error
    """A stage is not up to date; raised only where it is asked and not to be run."""

    def __init__(self, stage: "Stage", identity: str) -> None:
        """Takes the stage as it would run, with its cost."""
        super().__init__(stage.name)
        self.stage = stage
        self.identity = identity


class NoModelError(ValueError):
    """A job about the model was asked for in a run that trains none."""


class AllFailedError(ValueError):
    """No ticker came through a stage."""


@dataclass(frozen=True)
class Context:
    """What a shard needs wherever it runs.

    ``workers`` is how many tasks may come to run side by side: it sizes shards and never changes a result. Where
    ``planned`` is set, a stage that is not up to date raises `NotDone` in place of being done.
    """

    config: RunConfig
    store: Store
    workers: int = 1
    planned: bool = False

    @property
    def run(self) -> str:
        """Name of the run."""
        return self.config.run


@dataclass(frozen=True)
class Stage:
    """A step of the data path.

    Parameters
    ----------
    version
        Raised by whoever changes what the stage computes; enters the fingerprint.
    inputs
        Stages whose manifests must exist, and whose results enter the fingerprint.
    outputs
        Datasets that the stage writes for every ticker.
    rate
        What a ticker and a row of it cost, as measured: shards are sized by it, and runs planned.
    prepare
        Called in a worker before each shard, and not counted in what the shard costs; the first call may take long.
    """

    name: str
    version: int
    inputs: tuple[str, ...]
    outputs: tuple[Dataset, ...]
    rate: Rate = field(default_factory=Rate)
    prepare: Callable[[], object] | None = None


@dataclass(frozen=True)
class Item:
    """One unit of work: a ticker, what it is read from, and about how many rows it has."""

    ticker: str
    payload: Any = None
    rows: float = 0.0


@dataclass(frozen=True)
class Produced:
    """What one ticker yields: a frame for each output, and a few figures for the manifest."""

    frames: Mapping[Dataset, pd.DataFrame]
    info: Mapping[str, Any] = field(default_factory=dict)


Produce = Callable[[Context, Item, Any], Produced]
FanOut = Callable[..., Iterator[Outcome[list[Item], Receipt]]]


def run_stage(
    context: Context,
    stage: Stage,
    items: Sequence[Item] | Callable[[], Sequence[Item]],
    produce: Produce,
    *,
    settings: Mapping[str, Any],
    extra: Any = None,
    fan_out: FanOut = fan_out,
    details: Mapping[str, Any] | None = None,
) -> Manifest:
    """Bring ``stage`` up to date for ``items`` and return its manifest.

    Parameters
    ----------
    items
        Or a function that finds them, called only where the stage is not up to date.
    produce
        Called in a worker for each item with the context, the item and ``extra``; importable by name.
    settings
        Whatever decides the result, as JSON-able values; enters the fingerprint.
    fan_out
        How shards are spread; a plain loop in tests.

    Raises
    ------
    AllFailedError
        If there were items and none came through.
    StoreUnavailableError
        If the store does not work any more; what was finished before is kept.
    """
    inputs = inputs_of(context, stage)
    identity = _fingerprint(stage, settings, inputs)
    if done := up_to_date(context, stage, identity):
        return done
    items = items() if callable(items) else items
    _forget_others(context, stage, identity)
    receipts = read_receipts(context.store, context.run, stage.name, identity)
    finished = {ticker for receipt in receipts for ticker in receipt.items}
    missing = [item for item in items if item.ticker not in finished]
    if finished:
        logger.info("%s: resuming, %d of %d tickers were done before", stage.name, len(finished), len(items))
    job = ShardJob(context, stage, identity, produce, extra)
    fresh = _spread(job, missing, fan_out, before=len(finished))
    manifest = _manifest(stage, identity, settings, inputs, [*receipts, *fresh], details or {})
    if items and not manifest.tickers:
        first = manifest.failures[0]
        raise AllFailedError(
            f"{stage.name}: none of the {len(items)} tickers came through. The first, {first.ticker}: {first.message}"
        )
    _remove_strangers(context, stage, manifest)
    write_manifest(context.store, context.run, manifest)
    if not manifest.failures:
        delete_receipts(context.store, context.run, stage.name)
    return manifest


def write_whole(
    context: Context,
    stage: Stage,
    settings: Mapping[str, Any],
    frames: Mapping[Dataset, pd.DataFrame],
    *,
    hashes: Mapping[str, str] | None = None,
    failures: Sequence[Failure] = (),
    details: Mapping[str, Any] | None = None,
    usage: Usage = Usage(),  # noqa: B008  (frozen)
) -> Manifest:
    """Write the tables that a stage has of the run as a whole, then its manifest, and return that.

    Called by a stage that is not :func:`up_to_date`.

    Parameters
    ----------
    hashes
        Of results that are no tables, by name.
    """
    written = {
        dataset: write_table(context.store, context.run, dataset, table.sort_values(list(dataset.key)))
        for dataset, table in frames.items()
    }
    inputs = inputs_of(context, stage)
    manifest = Manifest(
        stage=stage.name,
        fingerprint=_fingerprint(stage, settings, inputs),
        config=dict(settings),
        versions=_versions(stage),
        inputs=inputs,
        tickers={},
        rows={dataset.name: table.rows for dataset, table in written.items()},
        hashes={dataset.name: table.hash for dataset, table in written.items()} | dict(hashes or {}),
        failures=list(failures),
        created=now(),
        details=plain(details or {}),
        usage=usage,
    )
    write_manifest(context.store, context.run, manifest)
    return manifest


def up_to_date(context: Context, stage: Stage, identity: str) -> Manifest | None:
    """Return the manifest of a stage that was completed with this identity and without failures, if it was.

    Any other manifest is removed: what the stage is about to overwrite must not be taken for that one's.
    """
    done = read_manifest(context.store, context.run, stage.name)
    if done is not None and done.fingerprint == identity and not done.failures:
        if not context.planned:
            logger.info("%s: unchanged", stage.name)
        return done
    if context.planned:
        raise NotDone(stage, identity)
    delete_manifest(context.store, context.run, stage.name)
    return None


def stage_fingerprint(context: Context, stage: Stage, settings: Mapping[str, Any]) -> str:
    """Identity of a stage: its name, version, settings, output schemas and its inputs' results."""
    return _fingerprint(stage, settings, inputs_of(context, stage))


def inputs_of(context: Context, stage: Stage) -> dict[str, str]:
    """Result hash of every stage that this one reads."""
    return {name: require(context, name).result_hash for name in stage.inputs}


def _fingerprint(stage: Stage, settings: Mapping[str, Any], inputs: Mapping[str, str]) -> str:
    return fingerprint(
        {
            "stage": stage.name,
            "version": stage.version,
            "schemas": {dataset.name: dataset.version for dataset in stage.outputs},
            "inputs": dict(inputs),
            "settings": dict(settings),
        }
    )


def require(context: Context, stage: str) -> Manifest:
    """Manifest of a stage that must be complete.

    Raises
    ------
    StageMissingError
        If the stage has not been run, or not to its end, in this run.
    """
    manifest = read_manifest(context.store, context.run, stage)
    if manifest is None:
        raise StageMissingError(
            f"Run '{context.run}' in {context.store.url} has no complete '{stage}' stage. "
            f"Run `python -m jobs.{stage}` with the same --config, --store and --run first, "
            "or `python -m jobs.pipeline` for the whole path."
        )
    return manifest


def require_training(context: Context, stage: str) -> None:
    """Refuse a job that is about the run's model where the run trains none.

    Raises
    ------
    NoModelError
        If the signals, or the model behind them, are given.
    """
    if given := context.config.given:
        name = given[0]
        value = functools.reduce(getattr, name.split("."), context.config)
        raise NoModelError(
            f"{stage}: run '{context.run}' trains no model of its own, since {name} is set ({value!r}). Leave {name} "
            "out to train one; `python -m jobs.predict` makes the signals of this run without."
        )


def items_of(manifest: Manifest) -> list[Item]:
    """One item for each ticker that came through a stage, with its rows."""
    return [Item(ticker, rows=float(info.get("rows", 0))) for ticker, info in sorted(manifest.tickers.items())]


@dataclass(frozen=True)
class ShardJob:
    """What is put once into the object store and shared by all shards of a stage."""

    context: Context
    stage: Stage
    identity: str
    produce: Produce
    extra: Any


def run_shard(items: list[Item], job: ShardJob) -> Receipt:
    """Process the tickers of one shard: a ticker that fails is a row of the receipt, and costs no other."""
    if job.stage.prepare:
        job.stage.prepare()
    meter = Meter()
    tables: dict[str, dict[str, TableResult]] = {}
    info: dict[str, dict[str, Any]] = {}
    failures: list[Failure] = []
    for item in items:
        try:
            produced = job.produce(job.context, item, job.extra)
            written = {
                dataset.name: write_table(job.context.store, job.context.run, dataset, frame, item.ticker)
                for dataset, frame in produced.frames.items()
            }
        except Exception as error:  # whatever is wrong with one ticker is that ticker's failure
            if no_store(error, failures):
                raise
            failures.append(Failure(item.ticker, job.stage.name, type(error).__name__, str(error)))
        else:
            tables[item.ticker] = {name: TableResult(table.rows, table.hash) for name, table in written.items()}
            info[item.ticker] = plain(produced.info)
    expected = job.stage.rate.seconds(sum(item.rows for item in items), len(items))
    receipt = Receipt(job.stage.name, job.identity, tables, info, failures, meter.usage(expected))
    write_receipt(job.context.store, job.context.run, receipt)
    shard_log.in_worker(job.context.run, receipt)
    return receipt


def no_store(error: Exception, failures: Sequence[Failure]) -> bool:
    """Whether a second ticker of a shard met a store that does not work: then no ticker is at fault, and all would."""
    return isinstance(error, StoreUnavailableError) and any(f.error == type(error).__name__ for f in failures)


def stop_without_store(outcome: Outcome[Any, Any]) -> None:
    """End the run where a shard found that the store does not work: the others would only wait for it in their turn.

    Raises
    ------
    StoreUnavailableError
        With the words of the shard.
    """
    if outcome.error is not None and outcome.error.type_name == StoreUnavailableError.__name__:
        raise StoreUnavailableError(outcome.error.message)


def plain(value: Any) -> Any:
    """The value as JSON holds it: NumPy scalars as Python's, numbers that are none as null."""
    if isinstance(value, Mapping):
        return {str(name): plain(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _spread(job: ShardJob, items: Sequence[Item], fan_out: FanOut, before: int) -> list[Receipt]:
    name = job.stage.name
    seconds = [job.stage.rate.seconds(item.rows) for item in items]
    parts = shards(list(items), seconds, workers=job.context.workers, seconds_per_weight=1.0)
    receipts = []
    with Progress(len(items), name, before=before, weight=sum(seconds)) as progress:
        for outcome in fan_out(run_shard, parts, name=name, shared=job, split=_singles, memory=reserved(job.context)):
            stop_without_store(outcome)
            receipt = outcome.value or _lost(job, outcome)
            receipts.append(receipt)
            shard_log.in_driver(job.context.run, receipt, outcome)
            weight = sum(job.stage.rate.seconds(item.rows) for item in outcome.shard)
            progress.advance(len(outcome.shard), failed=len(receipt.failures), weight=weight)
    return receipts


def reserved(context: Context) -> int | None:
    """Bytes to reserve for each worker."""
    wanted = context.config.worker_memory
    return None if wanted is None else int(wanted * 1e9)


def _lost(job: ShardJob, outcome: Outcome[list[Item], Receipt]) -> Receipt:
    """A receipt, kept nowhere, for a shard whose workers died under it."""
    error = outcome.error
    assert error is not None  # noqa: S101  (an outcome has a value or an error)
    failures = [Failure(item.ticker, job.stage.name, error.type_name, error.message) for item in outcome.shard]
    return Receipt(job.stage.name, job.identity, {}, {}, failures)


def _singles(shard: list[Item]) -> list[list[Item]]:
    return [[item] for item in shard]


def _manifest(
    stage: Stage,
    identity: str,
    settings: Mapping[str, Any],
    inputs: Mapping[str, str],
    receipts: Sequence[Receipt],
    details: Mapping[str, Any],
) -> Manifest:
    tables = {ticker: entry for receipt in receipts for ticker, entry in receipt.items.items()}
    info = {ticker: entry for receipt in receipts for ticker, entry in receipt.info.items()}
    # a ticker that failed before and was done now is done
    failures = {f.ticker: f for receipt in receipts for f in receipt.failures if f.ticker not in tables}
    return Manifest(
        stage=stage.name,
        fingerprint=identity,
        config=dict(settings),
        versions=_versions(stage),
        inputs=dict(inputs),
        tickers={ticker: info[ticker] for ticker in sorted(tables)},
        rows={d.name: sum(entry[d.name].rows for entry in tables.values()) for d in stage.outputs},
        hashes={d.name: combine({t: entry[d.name].hash for t, entry in tables.items()}) for d in stage.outputs},
        failures=[failures[ticker] for ticker in sorted(failures)],
        created=now(),
        details=dict(details),
        usage=sum((receipt.usage for receipt in receipts), Usage()),
    )


def _versions(stage: Stage) -> dict[str, int]:
    return {"stage": stage.version, **{dataset.name: dataset.version for dataset in stage.outputs}}


def now() -> str:
    """The time of day for a manifest; it enters no hash."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _forget_others(context: Context, stage: Stage, identity: str) -> None:
    """Delete the receipts of other configurations: their tables are about to be overwritten."""
    prefix = layout.receipts(context.run, stage.name)
    for folder in context.store.folders(prefix):
        if not identity.startswith(folder):
            context.store.delete_prefix(f"{prefix}/{folder}")


def _remove_strangers(context: Context, stage: Stage, manifest: Manifest) -> None:
    """Delete tables of tickers that an earlier configuration of this run left behind."""
    for dataset in stage.outputs:
        for ticker in set(stored_tickers(context.store, context.run, dataset)) - set(manifest.tickers):
            context.store.delete(layout.table(context.run, dataset.name, ticker))
