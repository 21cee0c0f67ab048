"""What a stage has done: its manifest, written last, and until then the receipts of its shards.

A manifest exists exactly where the stage is complete. A receipt says what one shard finished, so that an
interrupted stage goes on with the rest.
"""

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from storage import layout
from storage.errors import KeyMissing, StoreError
from storage.hashing import canonical_json, combine, fingerprint
from storage.store import Store

Scalar = str | int | float | bool | None
Record = TypeVar("Record")

RECEIPTS_AT_ONCE = 16

_STRICT = ConfigDict(extra="forbid", strict=True)


@dataclass(frozen=True)
class Failure:
    """A ticker that a stage could not process; the columns of the dataset ``failures``."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    ticker: str
    stage: str
    error: str
    message: str


@dataclass(frozen=True)
class Usage:
    """What work has cost, for `jobs.plan` to learn from; it enters no hash.

    Parameters
    ----------
    shards
        Pieces that it was done in.
    seconds
        Of the workers, added up.
    expected_seconds
        What the rates in the code say of the same work.
    requests, bytes_read, bytes_written
        Of object storage, by the workers.
    peak_bytes
        Largest resident memory of a worker process.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    shards: int = 0
    seconds: float = 0.0
    expected_seconds: float = 0.0
    requests: int = 0
    bytes_read: int = 0
    bytes_written: int = 0
    peak_bytes: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        """Both together."""
        return Usage(
            shards=self.shards + other.shards,
            seconds=self.seconds + other.seconds,
            expected_seconds=self.expected_seconds + other.expected_seconds,
            requests=self.requests + other.requests,
            bytes_read=self.bytes_read + other.bytes_read,
            bytes_written=self.bytes_written + other.bytes_written,
            peak_bytes=max(self.peak_bytes, other.peak_bytes),
        )


@dataclass(frozen=True)
class Manifest:
    """A completed stage.

    Parameters
    ----------
    stage
        Its name.
    fingerprint
        Hash of its inputs, parameters and code versions: the identity of the work.
    config
        The resolved parameters.
    versions
        Versions of the code and features that took part, by name.
    inputs
        Result hash of each stage that was read, by its name.
    tickers
        By ticker, a few figures such as rows, first and last.
    rows
        Rows in all, by dataset.
    hashes
        Combined hash of the tables, by dataset.
    failures
        The tickers that failed.
    created
        When, as ISO 8601 in UTC; it enters no hash.
    details
        Whatever else a reader of the run may want to know.
    usage
        What it cost to bring about; it enters no hash.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    stage: str
    fingerprint: str
    config: dict[str, Any]
    versions: dict[str, Scalar]
    inputs: dict[str, str]
    tickers: dict[str, dict[str, Any]]
    rows: dict[str, int]
    hashes: dict[str, str]
    failures: list[Failure]
    created: str
    details: dict[str, Any] = field(default_factory=dict)
    usage: Usage = Usage()

    @property
    def result_hash(self) -> str:
        """Hash of everything the stage wrote, the same for the same work wherever and whenever it is done."""
        return combine(self.hashes)


@dataclass(frozen=True)
class TableResult:
    """Rows and hash of one table."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    rows: int
    hash: str


@dataclass(frozen=True)
class Receipt:
    """What one shard of a stage finished.

    Parameters
    ----------
    stage, fingerprint
        The stage and the identity of its work.
    items
        By ticker and dataset, the tables written.
    info
        By ticker, the figures for the manifest.
    failures
        The tickers of the shard that failed.
    usage
        What it cost; it enters no hash.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    stage: str
    fingerprint: str
    items: dict[str, dict[str, TableResult]]
    info: dict[str, dict[str, Any]] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    usage: Usage = Usage()

    @property
    def tickers(self) -> list[str]:
        """The tickers that the shard is done with, sorted, failed ones included."""
        return sorted({*self.items, *(failure.ticker for failure in self.failures)})


@dataclass(frozen=True)
class ProgressRecord:
    """What was last heard of a stage while it ran; it decides nothing and enters no hash.

    Parameters
    ----------
    unit
        What is counted: tickers, epochs, trials.
    before
        Done before the stage was resumed.
    total, done, failed
        Since then.
    seconds
        Since then, too.
    stopped
        Whether an error or an interrupt ended it.
    updated
        When, as ISO 8601 in UTC.
    share
        Of the work since the resumption, the part that is done, by weight; None where the count says it.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    stage: str
    unit: str
    before: int
    total: int
    done: int
    failed: int
    seconds: float
    note: str
    stopped: bool
    updated: str
    share: float | None = None


_MANIFEST = TypeAdapter(Manifest)
_PROGRESS = TypeAdapter(ProgressRecord)
_RECEIPT = TypeAdapter(Receipt)


def write_manifest(store: Store, run: str, manifest: Manifest) -> None:
    """Declare a stage complete; everything that it wrote must be in the store already.

    Raises
    ------
    ValueError
        For what JSON cannot hold, NaN among it, naming where it stands.
    StoreError
        Where the store refuses.
    """
    _write(store, layout.manifest(run, manifest.stage), manifest)


def read_manifest(store: Store, run: str, stage: str) -> Manifest | None:
    """Return the manifest of a stage, or None where it is not complete.

    Raises
    ------
    StoreError
        Where the manifest is damaged, or the store refuses.
    """
    try:
        return _read(store, layout.manifest(run, stage), _MANIFEST)
    except KeyMissing:
        return None


def delete_manifest(store: Store, run: str, stage: str) -> None:
    """Declare a stage incomplete: before its tables are touched, so that they never stand beside an old manifest."""
    store.delete(layout.manifest(run, stage))


def write_receipt(store: Store, run: str, receipt: Receipt) -> None:
    """Record what a shard finished; the same tickers overwrite their receipt.

    Raises
    ------
    ValueError
        For what JSON cannot hold, NaN among it, naming where it stands.
    StoreError
        Where the store refuses.
    """
    digest = fingerprint({"tickers": receipt.tickers})
    _write(store, layout.receipt(run, receipt.stage, receipt.fingerprint, digest), receipt)


def read_receipts(store: Store, run: str, stage: str, fingerprint: str) -> list[Receipt]:
    """Return the receipts of a stage that belong to this fingerprint, in the order of their keys.

    Raises
    ------
    StoreError
        Where a receipt is damaged, or the store refuses.
    """
    keys = store.list(layout.receipts(run, stage, fingerprint))
    # side by side, since a store over a network answers each after some hundredths of a second
    with ThreadPoolExecutor(RECEIPTS_AT_ONCE) as pool:
        receipts = list(pool.map(lambda key: _read(store, key, _RECEIPT), keys))
    # the key holds only the beginning of the fingerprint
    return [receipt for receipt in receipts if receipt.fingerprint == fingerprint]


def delete_receipts(store: Store, run: str, stage: str) -> None:
    """Forget the receipts of a stage, of whatever fingerprint."""
    store.delete_prefix(layout.receipts(run, stage))


def write_progress(store: Store, run: str, progress: ProgressRecord) -> None:
    """Record how far a stage is, in place of what was recorded before.

    Raises
    ------
    StoreError
        Where the store refuses.
    """
    _write(store, layout.progress(run, progress.stage), progress)


def write_config(store: Store, run: str, config: Mapping[str, Any]) -> None:
    """Record the configuration of a job that is about to start, in place of what was recorded before.

    Raises
    ------
    ValueError
        For what JSON cannot hold, naming where it stands.
    StoreError
        Where the store refuses.
    """
    store.write(layout.config(run), canonical_json(config, indent=2).encode())


def read_config(store: Store, run: str) -> dict[str, Any]:
    """Return the configuration of the job that was last started in a run; empty where none is recorded.

    Raises
    ------
    StoreError
        Where the record is damaged, or the store refuses.
    """
    key = layout.config(run)
    try:
        text = store.read(key)
    except KeyMissing:
        return {}
    try:
        found = json.loads(text)
    except ValueError as error:
        raise StoreError(f"{key!r} in the store {store.url} is no valid JSON ({error}); delete it") from error
    if not isinstance(found, dict):
        raise StoreError(f"{key!r} in the store {store.url} is no configuration; delete it")
    return found


def read_progress(store: Store, run: str, stage: str) -> ProgressRecord | None:
    """Return what was last heard of a stage, None where it has never run.

    Raises
    ------
    StoreError
        Where the record is damaged, or the store refuses.
    """
    try:
        return _read(store, layout.progress(run, stage), _PROGRESS)
    except KeyMissing:
        return None


def list_runs(store: Store) -> list[str]:
    """Return the names of the runs in a store, sorted."""
    return store.folders(layout.runs())


def delete_run(store: Store, run: str, keys: Sequence[str]) -> None:
    """Remove these keys of a run: manifests first and then receipts, so that no half-deleted stage looks done.

    The records that say whose the rest is go last.
    """
    first = [f"{layout.manifests(run)}/", f"{layout.run_prefix(run)}/receipts/"]
    last = [layout.config(run), f"{layout.run_prefix(run)}/progress/"]
    ranks = {prefix: rank for rank, prefix in enumerate([*first, "", *last])}

    def rank(key: str) -> int:
        return next((ranks[prefix] for prefix in (*first, *last) if key.startswith(prefix)), ranks[""])

    store.delete_all(sorted(keys, key=lambda key: (rank(key), key)))


def _write(store: Store, key: str, record: Manifest | Receipt | ProgressRecord) -> None:
    store.write(key, canonical_json(asdict(record), indent=2).encode())


def _read(store: Store, key: str, record: TypeAdapter[Record]) -> Record:
    data = store.read(key)
    try:
        return record.validate_json(data)
    except ValidationError as error:
        problem = "; ".join(f"{'.'.join(map(str, one['loc'])) or 'text'}: {one['msg']}" for one in error.errors()[:3])
        raise StoreError(
            f"{key!r} in the store {store.url} is no valid record of a stage ({problem}); "
            "delete it and run the stage again"
        ) from error
