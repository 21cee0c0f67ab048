"""The pipeline on real Ray against object storage that misbehaves: the tables of a quiet disk, or one clear end."""

import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import boto3
import pandas as pd
import pytest

from actors.connect import connect
from actors.outcome import Outcome, guarded
from actors.progress import Snapshot
from jobs import evaluate, pipeline
from jobs.runner import REFUSED, keep, main
from jobs.stage import Context, Item, Produced, Stage, run_stage
from quant.schemas import DATASETS, LABELS
from quant.splits import Part
from storage import layout, patience, s3
from storage.hashing import frame_hash
from storage.manifest import Manifest, read_manifest, write_manifest
from storage.store import StoreUnavailableError, open_store
from storage.tables import read_table, tickers
from tests.jobs.conftest import make_context
from tests.storage.conftest import point_at, s3_server
from tests.storage.fault_proxy import (
    BAD_GATEWAY,
    HALTING,
    NO_BUCKET,
    PASSING,
    SILENT,
    Fault,
    FaultProxy,
    Request,
    always,
    first,
    nothing,
    share,
)

pytestmark = pytest.mark.ray

BUCKET = "assay-runs"
STALLS = (SILENT, HALTING)


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """A moto server."""
    with s3_server() as url:
        yield url


@pytest.fixture(scope="module")
def shared_proxy(endpoint: str) -> Iterator[FaultProxy]:
    """A proxy to which the environment leads, before Ray starts: its workers have the environment of that moment."""
    with FaultProxy(endpoint) as proxy, pytest.MonkeyPatch.context() as patch:
        point_at(proxy.url, patch)
        boto3.client("s3").create_bucket(Bucket=BUCKET)
        yield proxy


@pytest.fixture
def proxy(shared_proxy: FaultProxy) -> Iterator[FaultProxy]:
    shared_proxy.requests.clear()
    shared_proxy.done.clear()
    yield shared_proxy
    shared_proxy.plan = nothing


@pytest.fixture(scope="module")
def undisturbed(shared_proxy: FaultProxy, market: Any, signals: Any, tmp_path_factory: Any) -> Iterator[Context]:
    """A run on the local disk, and a Ray that stays for the others."""
    context = make_context(
        tmp_path_factory.mktemp("undisturbed"), source=str(market), signals=str(signals), run="first"
    )
    with connect(None, 2):
        pipeline.run(context)
        yield context


def on_s3(local: Context, prefix: str) -> Context:
    config = local.config.model_copy(update={"store": f"s3://{BUCKET}/{prefix}"})
    return Context(config, open_store(config.store), workers=2)


def result_hash(context: Context) -> str:
    manifest = read_manifest(context.store, context.run, "pipeline")
    assert manifest is not None
    return manifest.result_hash


def lasting(context: Context) -> list[str]:
    """Every key but those of the progress, which is kept where that costs no waiting."""
    return [key for key in context.store.list() if "/progress/" not in key]


def hashes(context: Context) -> dict[str, str]:
    """Hash of every table of the run, by its key."""
    found = {}
    keys = set(context.store.list(layout.run_prefix(context.run)))
    for dataset in DATASETS.values():
        for ticker in tickers(context.store, context.run, dataset) if dataset.by_ticker else [None]:
            key = layout.table(context.run, dataset.name, ticker)
            if key in keys:
                table = read_table(context.store, context.run, dataset, ticker)
                found[key] = frame_hash(table.reset_index() if dataset.key == ("time",) else table, dataset)
    assert set(found) == {key for key in keys if key.startswith(f"{layout.run_prefix(context.run)}/tables/")}
    return found


def test_a_few_percent_of_every_fault_change_nothing(
    undisturbed: Context, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = {fault: 0.02 for fault in PASSING if fault not in STALLS}
    shares = share(faults, seed=224)
    # The driver gives up an answer after a second; the workers, whom this does not reach, after twenty.
    monkeypatch.setattr(s3, "READ_SECONDS", 1.0)
    monkeypatch.setattr(patience, "FIRST_PAUSE", 0.02)
    stalls = [first(SILENT, 1, "write"), first(HALTING, 1, "write")]

    def plan(request: Request) -> Fault | None:
        if "/manifests/" in request.path and (fault := next(filter(None, (s(request) for s in stalls)), None)):
            return fault
        return shares(request)

    proxy.plan = plan
    context = on_s3(undisturbed, "faults")
    assert pipeline.run(context).result_hash == result_hash(undisturbed)
    proxy.plan = nothing
    assert set(proxy.done) == set(PASSING)
    assert lasting(context) == lasting(undisturbed)
    assert hashes(context) == hashes(undisturbed)
    assert "Uploads" not in boto3.client("s3").list_multipart_uploads(Bucket=BUCKET)


def test_a_bucket_that_vanishes_ends_the_run_at_once_and_it_goes_on_when_it_is_back(
    undisturbed: Context, proxy: FaultProxy, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = threading.Event()

    def plan(request: Request) -> Fault | None:
        """The bucket is gone once the first table of the search is there."""
        if gone.is_set():
            return NO_BUCKET
        if request.operation == "write" and "/tables/trials/" in request.path:
            gone.set()
        return None

    proxy.plan = plan
    context = on_s3(undisturbed, "vanished")
    config = context.config
    arguments = [
        *("--source", config.source, "--signals", str(config.signals)),
        *("--store", config.store, "--run", config.run, "--audit.gate", "off"),
    ]
    with pytest.raises(SystemExit) as ended:
        main("pipeline", arguments)
    assert ended.value.code == REFUSED
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert f"the bucket '{BUCKET}' does not exist; create it" in last
    assert config.store in last
    # a few requests that were on their way, and none for every ticker and shard that was left
    assert proxy.done[NO_BUCKET] < 20
    proxy.plan = nothing
    ingested = context.store.stamp(layout.manifest(config.run, "ingest"))
    with pytest.raises(SystemExit) as ended:
        main("pipeline", arguments)
    assert ended.value.code == 0
    assert result_hash(context) == result_hash(undisturbed)
    assert hashes(context) == hashes(undisturbed)
    assert context.store.stamp(layout.manifest(config.run, "ingest")) == ingested


MADE: Counter[str] = Counter()


def produce(context: Context, item: Item, extra: Any) -> Produced:
    MADE[item.ticker] += 1
    index = pd.date_range("2024-01-01", periods=3, freq="15min", tz="UTC", unit="us", name="time")
    frame = pd.DataFrame({"label": [0, 1, 2], "outcome": 1.0}, index=index).astype({"label": "Int8"})
    return Produced({LABELS: frame}, {"rows": 3})


def one_by_one(function: Any, shards: list[Any], *, shared: Any, **_: Any) -> Iterator[Outcome[Any, Any]]:
    """The fan-out as a plain loop in which errors are outcomes, as they are on a cluster."""
    for shard in shards:
        yield Outcome(shard, *guarded(function, shard, shared))


def as_one(function: Any, shards: list[list[Item]], **rest: Any) -> Iterator[Outcome[Any, Any]]:
    """All tickers as one shard."""
    return one_by_one(function, [[item for shard in shards for item in shard]], **rest)


def toy(context: Context, fan_out: Any) -> Any:
    items = [Item(name) for name in "ABCDEF"]
    return run_stage(context, Stage("toy", 1, (), (LABELS,)), items, produce, settings={}, fan_out=fan_out)


def apart(function: Any, shards: list[list[Item]], **rest: Any) -> Iterator[Outcome[Any, Any]]:
    """Every ticker as a shard."""
    return one_by_one(function, [[item] for shard in shards for item in shard], **rest)


@pytest.fixture
def hasty(proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch) -> Context:
    """A run of the toy stage whose requests are tried twice."""
    MADE.clear()
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    return make_context(f"s3://{BUCKET}/toy", run=uuid4().hex)


def test_a_ticker_that_the_store_refuses_fails_alone_and_is_done_by_the_next_run(
    hasty: Context, proxy: FaultProxy
) -> None:
    proxy.plan = lambda request: BAD_GATEWAY if "ticker%3DB" in request.path and request.operation == "write" else None
    manifest = toy(hasty, as_one)
    assert [(failure.ticker, failure.error) for failure in manifest.failures] == [("B", "StoreUnavailableError")]
    assert "2 attempts" in manifest.failures[0].message
    proxy.plan = nothing
    assert toy(hasty, as_one).failures == []
    assert Counter("ABBCDEF") == MADE


@pytest.mark.parametrize(("fan_out", "tried"), [(as_one, "AB"), (apart, "A")])
def test_a_store_that_refuses_every_ticker_ends_the_stage(
    hasty: Context, proxy: FaultProxy, fan_out: Any, tried: str
) -> None:
    proxy.plan = always(BAD_GATEWAY, "write")
    with pytest.raises(StoreUnavailableError, match=r"2 attempts within .* run the same command again"):
        toy(hasty, fan_out)
    assert Counter(tried) == MADE


@pytest.mark.parametrize("learned", [(), ("A",)])
def test_a_store_that_is_gone_is_no_verdict_on_a_model(
    hasty: Context, proxy: FaultProxy, learned: tuple[str, ...]
) -> None:
    moment = pd.Timestamp("2024-01-01", tz="UTC")
    task = evaluate.Task(hasty, Part("choose", moment, moment), learned, (1, 1, 1), 1, 1.0)
    for stage in ("predict", "labels"):
        done = Manifest(stage, "", {}, {}, {}, {name: {"rows": 3} for name in "ABC"}, {}, {}, [], "")
        write_manifest(hasty.store, hasty.run, done)
    proxy.plan = lambda request: NO_BUCKET if "/tables/" in request.path else None
    with pytest.raises(StoreUnavailableError, match="does not exist"):
        evaluate.judge(task, one_by_one)


def test_the_progress_of_a_stage_waits_for_no_store(hasty: Context, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "10")
    proxy.plan = always(BAD_GATEWAY)
    keep(hasty, Snapshot("toy", "tickers", 0, 6, 1, 0, 1.0, "", stopped=False, share=0.2))
    assert proxy.count("write") == patience.HASTY_ATTEMPTS
