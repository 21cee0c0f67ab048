"""On a cluster of no nodes but a head: work brings nodes, nodes leave when idle, and what no node has is refused."""

import logging
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import ray

from actors import nodes, tune
from actors.connect import Cluster, connect, require
from actors.fan_out import fan_out
from actors.nodes import ResourcesError
from actors.pool import map_actors
from actors.train import run_training
from jobs import ingest, pipeline
from jobs.config import RunConfig
from jobs.runner import execute
from jobs.stage import Context
from tests.autoscaling import Autoscaling, autoscaling, joined, until
from tests.jobs import test_autoscaling as here
from tests.jobs.conftest import make_context

pytestmark = [
    pytest.mark.ray,
    # Ray Train copies the context of Ray Data, which warns of deprecated fields of its own
    pytest.mark.filterwarnings("ignore:`use_:DeprecationWarning:ray.data.context"),
]

# as in cluster.yaml, but smaller; and a type that is switched off
TYPES = {
    "cpu": {"resources": {"CPU": 1}, "max_workers": 3},
    "gpu": {"resources": {"CPU": 2, "GPU": 1}, "max_workers": 1},
    "giant": {"resources": {"CPU": 64, "GPU": 8}, "max_workers": 0},
}


@pytest.fixture(scope="module", params=[1, pytest.param(2, marks=pytest.mark.slow)], ids=["v1", "v2"])
def machines(request: pytest.FixtureRequest) -> Iterator[Autoscaling]:
    """A cluster with Ray's autoscaler, whose second version KubeRay uses."""
    with autoscaling(TYPES, version=request.param) as machines:
        yield machines
    assert machines.processes() == {}


@pytest.fixture(scope="module")
def undisturbed(market: Path, signals: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The result hash of a run on this machine, whose Ray has ended again."""
    store = tmp_path_factory.mktemp("undisturbed")
    with connect("local", 2):
        return pipeline.run(make_context(store, source=str(market), signals=str(signals), run="first")).result_hash


@pytest.fixture(scope="module")
def cluster(undisturbed: str, machines: Autoscaling) -> Iterator[Cluster]:
    """That cluster, joined; it comes after the local run, since a process has one Ray."""
    with joined(machines) as cluster:
        yield cluster


def meet(shard: int, shared: tuple[Path, int]) -> str:
    """Returns on which node the shard ran, once so many shards have been begun."""
    directory, count = shared
    (directory / str(shard)).touch()
    while len(list(directory.iterdir())) < count:
        time.sleep(0.05)
    return ray.get_runtime_context().get_node_id()


def own_node(config: dict[str, Any], context: Any) -> dict[str, float]:
    """Returns what the node of a rank has."""
    del config, context
    (mine,) = [node for node in ray.nodes() if node["NodeID"] == ray.get_runtime_context().get_node_id()]
    return {name: mine["Resources"].get(name, 0.0) for name in ("CPU", "GPU")}


def test_a_cluster_of_no_nodes_knows_what_it_could_grow_to(cluster: Cluster) -> None:
    assert (cluster.nodes, cluster.cpus, cluster.most_cpus, cluster.local) == (1, 0, 3, False)


def test_a_job_cuts_its_shards_for_all_that_could_be_started(cluster: Cluster, tmp_path: Path) -> None:
    seen: list[int] = []

    def run(context: Context) -> Any:
        seen.append(context.workers)
        return SimpleNamespace(failures=[])

    assert execute(cast("Any", SimpleNamespace(run=run)), RunConfig(store=str(tmp_path))) == 0
    assert seen == [3]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (
            {"cpus": 2, "gpus": 2},
            r"train: a worker asks for 2 CPU, 2 GPU, and no node type of this cluster has that: the largest is 'gpu' "
            r"with 2 CPU, 1 GPU, of which there can be 1\. Ask for less \(train\.gpu\), or raise max_workers of the "
            r"node type 'giant', which has it and may have no nodes\.",
        ),
        (
            {"cpus": 65},
            r"asks for 65 CPU, .* the largest is 'gpu' with 2 CPU, 1 GPU.* or give the cluster nodes that have it",
        ),
        (
            {"cpus": 1, "gpus": 1, "workers": 2},
            r"train: 2 workers with 1 CPU, 1 GPU each are needed at the same time, and this cluster holds 1 at most: "
            r"the roomiest for them is 'gpu' .*more nodes of that type",
        ),
        ({"cpus": 1, "workers": 6}, r"train: 6 workers with 1 CPU each .* holds 5 at most"),
    ],
)
def test_what_no_node_type_has_is_refused_at_once(cluster: Cluster, asked: dict[str, int], message: str) -> None:
    with pytest.raises(ResourcesError, match=message):
        require("train", settings="train.gpu", **asked)


def test_what_the_node_types_have_is_let_through(cluster: Cluster) -> None:
    require("train", cpus=1, gpus=0.5, memory=2**30, workers=2)
    require("train", cpus=1, workers=5)


def test_every_way_to_spread_work_refuses(cluster: Cluster, tmp_path: Path) -> None:
    with pytest.raises(ResourcesError, match="met: a worker asks for 3 CPU"):
        fan_out(here.meet, [1], name="met", cpus=3)
    with pytest.raises(ResourcesError, match="pool: a worker asks for 1 CPU, 2 GPU"):
        map_actors(here.meet, [1], name="pool", actors=1, gpus=2)
    with pytest.raises(ResourcesError, match="training: 2 workers with 1 CPU, 1 GPU each"):
        run_training(here.own_node, {}, workers=2, storage_url=f"file://{tmp_path}", name="gpu", use_gpu=True)
    study: Any = None  # nothing is asked of it before the refusal
    with pytest.raises(ResourcesError, match="tune: 2 workers with 1 CPU, 1 GPU each"):
        tune._fit(study, tune.Resources(cpus=0.01, ranks=2, rank_gpus=1), {}, None, None, 1, study)


def test_shards_bring_nodes_and_say_what_they_wait_for(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("actors.fan_out.SECONDS_BETWEEN_LOOKS", 0.1)
    monkeypatch.setattr("actors.nodes.SECONDS_BETWEEN_LOOKS", 0.1)
    monkeypatch.setattr("actors.outcome.SECONDS_BETWEEN_LOOKS", 0.1)
    with caplog.at_level(logging.INFO, "assay"):
        outcomes = list(fan_out(here.meet, range(3), name="met", shared=(tmp_path, 3)))
    assert len({outcome.value for outcome in outcomes}) == 3  # nodes, since each shard waits for the others
    # a gpu node would do as well
    assert set(caplog.messages) == {"met: waiting for a node with 1 CPU; 0 of 4 nodes are up"}


def test_training_with_a_gpu_brings_a_node_that_has_one(cluster: Cluster, tmp_path: Path) -> None:
    storage = f"file://{tmp_path}"
    assert run_training(here.own_node, {}, workers=1, storage_url=storage, name="gpu", use_gpu=True) == {
        "CPU": 2,
        "GPU": 1,
    }


def test_a_run_from_whose_midst_all_nodes_leave_has_the_result_of_an_undisturbed_one(
    undisturbed: str, cluster: Cluster, machines: Autoscaling, market: Path, signals: Path, tmp_path: Path
) -> None:
    config = make_context(tmp_path / "store", source=str(market), signals=str(signals), run="first").config
    context = Context(config, make_context(config.store).store, int(cluster.most_cpus))
    ingest.run(context)
    until(lambda: machines.raylets() == 1 and not ray.cluster_resources().get("CPU"), 180)
    seen = len(ray.nodes())  # those that are gone among them
    assert pipeline.run(context).result_hash == undisturbed
    assert len(ray.nodes()) > seen


@pytest.mark.parametrize("machines", [pytest.param(2, marks=pytest.mark.slow)], indirect=True, ids=["v2"])
def test_where_node_types_are_not_known_the_autoscaler_itself_ends_a_wait_for_nothing(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nodes, "_configuration", lambda living: None)
    nodes.forget()
    waiting = fan_out(here.meet, [1], name="met", cpus=3)
    with pytest.raises(ResourcesError, match="met: a worker asks for 3 CPU, and the cluster's autoscaler says"):
        list(waiting)
    nodes.forget()
