"""The pipeline on several real Ray nodes of which some are lost: the tables of the undisturbed run, and no others."""

import contextlib
import hashlib
import json
import logging
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from ray.cluster_utils import Cluster

from actors import sharding
from actors.fan_out import fan_out
from actors.outcome import Outcome
from actors.pool import map_actors
from jobs import ingest, pipeline
from jobs.stage import Context, Item, ShardJob
from storage import layout
from storage.manifest import Manifest, Receipt, read_manifest
from tests.conftest import ROOT
from tests.faults.nodes import add, at_work, head, joined, text, vanish, wait
from tests.jobs.conftest import make_context

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]

INLINE = 100 * 1024  # bytes; what is larger goes through the object store of a node, and is lost with it
SETTINGS = {"placebo": {"repetitions": 0}, "workers": 2, "run": "first"}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A head that computes nothing and two nodes, with an object store of 80 MB each; a ticker is a shard."""
    with head() as cluster, joined(cluster), pytest.MonkeyPatch.context() as patch:
        patch.setattr(sharding, "SHORTEST_SHARD_SECONDS", 1e-9)
        for _ in range(2):
            add(cluster)
        yield cluster


@pytest.fixture(scope="module")
def undisturbed(cluster: Cluster, market: Path, signals: Path, tmp_path_factory: pytest.TempPathFactory) -> Context:
    store = tmp_path_factory.mktemp("undisturbed")
    context = make_context(store, source=str(market), signals=str(signals), **SETTINGS)
    pipeline.run(context)
    return context


@pytest.fixture
def context(market: Path, signals: Path, tmp_path: Path) -> Context:
    return make_context(tmp_path / "store", source=str(market), signals=str(signals), **SETTINGS)


def tables(context: Context) -> dict[str, str]:
    """Every table of the run with the hash of its bytes, and whatever else lies where only tables should."""
    store = context.store
    return {
        key: hashlib.sha256(store.read(key)).hexdigest()
        for key in store.list(f"{layout.run_prefix(context.run)}/tables")
    }


def hash_of(context: Context) -> str:
    manifest = read_manifest(context.store, context.run, "pipeline")
    assert manifest is not None
    assert not manifest.failures
    return manifest.result_hash


def receipts(context: Context, *stage: str) -> list[str]:
    return context.store.list("/".join([f"{layout.run_prefix(context.run)}/receipts", *stage]))


def assert_as_undisturbed(context: Context, undisturbed: Context) -> None:
    assert hash_of(context) == hash_of(undisturbed)
    assert tables(context) == tables(undisturbed)
    assert receipts(context) == []


def by_actors(
    function: Any, parts: list[list[Item]], *, name: str, shared: ShardJob, **_: Any
) -> Iterator[Outcome[list[Item], Receipt]]:
    """How the stage that holds a model is spread, without the model; nothing that travels fills an object store."""
    if name != ingest.STAGE.name:  # what it looks into before
        yield from fan_out(function, parts, name=name, shared=shared)
        return
    assert len(pickle.dumps(shared)) < INLINE
    for outcome in map_actors(partial(handler, function, shared), parts, name=name, actors=2):
        assert len(pickle.dumps(outcome.value)) < INLINE
        yield outcome


def handler(function: Any, job: ShardJob) -> Any:
    return partial(function, job=job)


def run_with_pool(context: Context) -> Manifest:
    """The whole path, its first stage on actors."""
    ingest.run(context, by_actors)
    return pipeline.run(context)


def test_a_node_lost_under_plain_tasks_changes_nothing(
    cluster: Cluster, undisturbed: Context, context: Context, caplog: pytest.LogCaptureFixture
) -> None:
    with ThreadPoolExecutor(1) as driver, caplog.at_level(logging.WARNING, "assay"):
        running = driver.submit(pipeline.run, context)
        node, _ = wait(lambda: running.done() or at_work(cluster, "ray::search"))
        vanish(cluster, node)
        add(cluster)
        running.result()
    assert "search: a worker was lost (NodeDiedError); its shard runs again" in caplog.text
    assert_as_undisturbed(context, undisturbed)


def test_an_actor_and_then_a_node_lost_under_a_pool_change_nothing(
    cluster: Cluster, undisturbed: Context, context: Context, caplog: pytest.LogCaptureFixture
) -> None:
    with ThreadPoolExecutor(1) as driver, caplog.at_level(logging.WARNING, "assay"):
        running = driver.submit(run_with_pool, context)
        _, actor = wait(lambda: running.done() or at_work(cluster, "ray::_Actor.handle"))
        os.kill(actor, signal.SIGKILL)
        wait(lambda: not text(Path(f"/proc/{actor}/cmdline")))
        node, _ = wait(lambda: running.done() or at_work(cluster, "ray::_Actor.handle"))
        vanish(cluster, node)
        add(cluster)
        running.result()
    assert caplog.text.count("ingest: an actor was lost") == 2
    assert_as_undisturbed(context, undisturbed)


def test_after_the_head_is_lost_a_new_cluster_does_what_is_missing(
    cluster: Cluster, undisturbed: Context, context: Context
) -> None:
    """The head takes the driver along. The ingest has left a first receipt then, and not the last one."""
    with head(cpus=1) as other:
        flags = tuple(
            f"--{name}={value}"
            for name, value in {
                "source": context.config.source,
                "signals": context.config.signals,
                "store": context.config.store,
                "run": context.run,
                "placebo.repetitions": 0,
                "address": other.address,
            }.items()
        )
        command = [sys.executable, "-m", "tests.jobs.driving", *flags]
        with subprocess.Popen(command, cwd=ROOT, start_new_session=True, stderr=subprocess.PIPE, text=True) as driver:
            try:
                wait(lambda: driver.poll() is not None or receipts(context, "ingest"), seconds=120)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(driver.pid, signal.SIGKILL)
                messages = driver.communicate()[1]
        assert driver.returncode == -signal.SIGKILL, messages
        vanish(other, other.head_node)
    done = [json.loads(context.store.read(key)) for key in receipts(context, "ingest")]
    kept = {layout.table(context.run, "bars", ticker) for receipt in done for ticker in receipt["items"]}
    assert 0 < len(kept) < 4
    assert read_manifest(context.store, context.run, "ingest") is None
    stamps = context.store.stamps(layout.run_prefix(context.run))
    pipeline.run(context)
    after = context.store.stamps(layout.run_prefix(context.run))
    assert {key: after[key] for key in kept} == {key: stamps[key] for key in kept}
    assert_as_undisturbed(context, undisturbed)
