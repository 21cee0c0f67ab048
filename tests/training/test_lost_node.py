import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.cluster_utils import Cluster

from actors.connect import require
from actors.nodes import ResourcesError
from tests.training.small_network import Arrays, same, train_network

pytestmark = [pytest.mark.ray]


@pytest.fixture(scope="module")
def nodes() -> Iterator[Cluster]:
    """A head that computes nothing, and two nodes with a processor each."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        for _ in range(2):
            cluster.add_node(num_cpus=1)
        ray.init(address=cluster.address, configure_logging=False, log_to_driver=False)
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()


@pytest.fixture(scope="module")
def undisturbed(nodes: Cluster, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], list[list[Arrays]]]:
    return train_network(tmp_path_factory.mktemp("undisturbed"), "undisturbed", 2)


# rank 0 holds the checkpoints; another minute for a node of the other is for the slow set
@pytest.mark.parametrize("rank", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_node_is_lost_and_the_run_ends_with_the_undisturbed_weights(
    tmp_path: Path, nodes: Cluster, undisturbed: tuple[dict[str, Any], list[list[Arrays]]], rank: int
) -> None:
    place = tmp_path / "node"
    epochs: list[int] = []

    def replace_the_node(report: dict[str, Any]) -> None:
        epochs.append(report["epoch"])
        if epochs != [1, 2]:
            return
        wait(place.exists)
        (lost,) = [node for node in nodes.worker_nodes if node.node_id == place.read_text()]
        nodes.remove_node(lost, allow_graceful=False)
        nodes.add_node(num_cpus=1)

    result, weights = train_network(tmp_path, "disturbed", 2, replace_the_node, rank=rank, at=2, node=str(place))
    assert place.exists()
    assert result["resumed"]
    assert result["losses"] == undisturbed[0]["losses"]
    assert same(weights, undisturbed[1])
    assert epochs[-1] == 4


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"cpus": 1, "gpus": 1}, r"no node of this cluster has that: .* with 1 CPU, 0 GPU.*No autoscaler could start"),
        ({"cpus": 1, "workers": 3}, "3 workers with 1 CPU each are needed at the same time, .* holds 2 at most"),
    ],
)
def test_what_the_nodes_of_a_cluster_without_autoscaler_lack_is_refused(
    nodes: Cluster, asked: dict[str, int], message: str
) -> None:
    with pytest.raises(ResourcesError, match=message):
        require("train", **asked)


def wait(happened: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < give_up
        time.sleep(0.05)
