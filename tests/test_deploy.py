"""The cluster files are what Ray accepts."""

import re
from pathlib import Path

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def cluster() -> dict:
    return yaml.safe_load((ROOT / "cluster.yaml").read_text(encoding="utf-8"))


def test_ray_accepts_the_cluster(cluster: dict):
    validate_config(prepare_config(cluster))


def test_the_check_is_one(cluster: dict):
    cluster["head_node_typ"] = cluster.pop("head_node_type")
    with pytest.raises(Exception, match="head_node_typ"):
        validate_config(prepare_config(cluster))


def test_no_work_runs_on_the_head_and_workers_start_at_none(cluster: dict):
    types = cluster["available_node_types"]
    assert types["head"]["resources"]["CPU"] == 0
    assert {types[name]["min_workers"] for name in ("cpu", "gpu")} == {0}


def test_the_image_installs_the_lock():
    text = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")
    assert re.search(r"--require-hashes -r requirements\.lock", text)
