import logging
import math
from dataclasses import replace

import pytest
import yaml

from actors.fan_out import TASKS_AHEAD, _capacity
from actors.nodes import NodeType, Offer, Waiting, amounts, fits, types_of
from tests.conftest import ROOT

HEAD = NodeType("10.0.0.1", {"node:__internal_head__": 1.0, "memory": 8e9}, 1)
SMALL = NodeType("10.0.0.2", {"CPU": 16.0, "memory": 32e9}, 1)


@pytest.fixture
def offered() -> Offer:
    """What the cluster of `cluster.yaml` offers while a head and one worker are up."""
    types, workers = types_of(yaml.safe_load((ROOT / "cluster.yaml").read_text(encoding="utf-8")))
    return Offer((SMALL,), (HEAD,), types, workers, known=True)


def test_the_clusters_own_file_says_what_it_could_grow_to(offered: Offer) -> None:
    assert [(kind.name, kind.most) for kind in offered.types] == [("cpu", 32), ("gpu", 2), ("head", 0)]
    assert offered.workers == 34
    assert offered.cpus() == 32 * 16
    assert (offered.now({"CPU": 1}), offered.ever({"CPU": 1})) == (16, 32 * 16 + 2 * 8)
    assert offered.ever({"CPU": 8, "GPU": 1}) == 2
    assert offered.ever({"CPU": 8, "GPU": 0.25}) == 2
    assert offered.ever({"CPU": 1, "GPU": 0.25}) == 8
    assert offered.ever({"CPU": 17}) == 0
    assert offered.nodes({"CPU": 1}) == (1, 34)


def test_workers_of_all_types_are_bounded_together_and_the_roomiest_come_first() -> None:
    types = (NodeType("large", {"CPU": 8}, 2), NodeType("small", {"CPU": 1}, 10))
    assert Offer((), (), types, 3, known=True).ever({"CPU": 1}) == 17


def test_a_type_without_most_workers_has_as_many_as_the_cluster_and_the_head_type_none() -> None:
    kinds = {"head": {"resources": {"CPU": 4}}, "worker": {"resources": {"CPU": 2}}}
    types, workers = types_of({"max_workers": 5, "head_node_type": "head", "available_node_types": kinds})
    assert (types, workers) == ((NodeType("head", {"CPU": 4}, 0), NodeType("worker", {"CPU": 2}, 5)), 5)


def test_living_nodes_count_where_there_are_more_than_the_types_say() -> None:
    assert Offer((SMALL, SMALL), (HEAD,), (), 0, known=True).ever({"CPU": 4}) == 8


def test_nothing_is_impossible_where_the_types_are_not_known() -> None:
    assert Offer((), (HEAD,), (), 0, known=False).ever({"CPU": 1e6}) == math.inf


def test_what_a_node_holds() -> None:
    assert fits({"CPU": 4, "memory": 10e9}, {"CPU": 1, "memory": 4e9}) == 2
    assert fits({"CPU": 4}, {"CPU": 1, "memory": 4e9}) == 4  # not known before such a node is up
    assert fits({"CPU": 0.3}, {"CPU": 0.1}) == 3
    assert fits({"CPU": 4}, {"CPU": 1, "GPU": 1}) == 0


def test_resources_as_a_person_says_them() -> None:
    assert (
        amounts({"CPU": 2.0, "GPU": 0.5, "memory": 7.5e9, "object_store_memory": 1})
        == "2 CPU, 0.5 GPU, 7.5 GB of memory"
    )
    assert amounts({"CPU": 2.0}, {"CPU": 1, "GPU": 1}) == "2 CPU, 0 GPU"


def test_an_autoscaler_is_shown_all_that_it_could_start_for_within_a_bound(
    offered: Offer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def in_flight(offer: Offer, cpus: float = 1) -> int:
        monkeypatch.setattr("actors.fan_out.offer", lambda: offer)
        return _capacity({"CPU": cpus})()

    assert in_flight(offered) == 32 * 16 + 2 * 8
    assert in_flight(offered, cpus=16) == 32
    assert in_flight(replace(offered, types=(NodeType("cpu", {"CPU": 16}, 300),), workers=300)) == TASKS_AHEAD
    assert in_flight(replace(offered, known=False)) == TASKS_AHEAD
    assert in_flight(replace(offered, up=(SMALL,) * 40)) == 2 * 40 * 16
    assert in_flight(Offer((), (HEAD,), (), 0, known=True)) == 2


def test_a_wait_is_told_now_and_then_and_work_is_not(
    offered: Offer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("actors.nodes.offer", lambda: offered)
    now = [0.0]
    waits = Waiting("train", {"CPU": 2, "GPU": 1}, workers=2, clock=lambda: now[0])
    works = Waiting("features", {"CPU": 1}, clock=lambda: now[0])
    told = []
    with caplog.at_level(logging.INFO, "assay"):
        for now[0] in range(70):
            waits.look()
            works.look()
            told += [now[0]] * (len(caplog.messages) - len(told))
    assert told == [5, 35, 65]
    assert set(caplog.messages) == {
        "train: waiting for nodes for 2 workers, each with 2 CPU, 1 GPU; 0 of 2 nodes are up"
    }
