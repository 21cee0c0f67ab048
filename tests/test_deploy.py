"""The cluster files are what Ray accepts, agree with the locks and with each other, and hold no secret."""

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr
from ray.autoscaler._private.util import prepare_config, validate_config

from jobs.config import RunConfig
from jobs.runner import ConfigError, parse

ROOT = Path(__file__).resolve().parents[1]
GIB = 2**30
# CPUs, GiB and GPUs of the instance types in use
INSTANCES = {"m6i.xlarge": (4, 16, 0), "c6i.4xlarge": (16, 32, 0), "g5.2xlarge": (8, 32, 1)}


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def locked(name: str) -> dict[str, str]:
    """Versions in a lock; where one depends on the platform, that of any."""
    return dict(re.findall(r"^([A-Za-z0-9._-]+)==([^ ;\\\\]+)", text(name), flags=re.MULTILINE))


@pytest.fixture
def cluster() -> dict:
    return yaml.safe_load(text("cluster.yaml"))


@pytest.fixture
def rayjob() -> dict:
    return yaml.safe_load(text("deploy/rayjob.yaml"))


def groups(rayjob: dict) -> dict[str, dict]:
    """The head and the worker groups by name."""
    spec = rayjob["spec"]["rayClusterSpec"]
    return {"head": spec["headGroupSpec"]} | {group["groupName"]: group for group in spec["workerGroupSpecs"]}


def container(group: dict) -> dict:
    (only,) = group["template"]["spec"]["containers"]
    return only


# the launcher


def test_ray_accepts_the_cluster(cluster: dict):
    validate_config(prepare_config(cluster))


def test_the_check_is_one(cluster: dict):
    cluster["head_node_typ"] = cluster.pop("head_node_type")
    with pytest.raises(Exception, match="head_node_typ"):
        validate_config(prepare_config(cluster))


def test_the_check_reaches_into_a_node_type(cluster: dict):
    cluster["available_node_types"]["gpu"]["docker"]["image"] = "other"
    with pytest.raises(Exception, match="image"):
        validate_config(prepare_config(cluster))


def test_no_work_runs_on_the_head_and_workers_start_at_none(cluster: dict):
    types = cluster["available_node_types"]
    assert types["head"]["resources"]["CPU"] == 0
    assert {types[name]["min_workers"] for name in ("cpu", "gpu")} == {0}
    assert cluster["max_workers"] == sum(types[name]["max_workers"] for name in ("cpu", "gpu"))
    assert cluster["idle_timeout_minutes"] > 0


def test_workers_are_spot_and_the_head_is_not(cluster: dict):
    spot = {
        name: kind["node_config"].get("InstanceMarketOptions", {}).get("MarketType") == "spot"
        for name, kind in cluster["available_node_types"].items()
    }
    assert spot == {"head": False, "cpu": True, "gpu": True}


def test_what_a_node_offers_is_what_its_machine_has(cluster: dict):
    stores = {
        "head": re.search(r"--object-store-memory=(\d+)", " ".join(cluster["head_start_ray_commands"])),
        "worker": re.search(r"--object-store-memory=(\d+)", " ".join(cluster["worker_start_ray_commands"])),
    }
    for name, kind in cluster["available_node_types"].items():
        cpus, memory, gpus = INSTANCES[kind["node_config"]["InstanceType"]]
        assert kind["resources"]["CPU"] == (0 if name == "head" else cpus)
        assert kind["resources"].get("GPU", 0) == gpus
        store = stores["head" if name == "head" else "worker"]
        assert store is not None
        # a tenth or more stays for the system, Ray itself and the container
        assert 0.4 * memory * GIB < kind["resources"]["memory"] + int(store.group(1)) < 0.9 * memory * GIB


def test_every_ray_of_the_cluster_asks_for_the_token(cluster: dict):
    starts = [
        line for key in ("head", "worker") for line in cluster[f"{key}_start_ray_commands"] if "ray start" in line
    ]
    assert len(starts) == 2
    assert all("RAY_AUTH_MODE=token ray start " in line for line in starts)
    assert "--dashboard-host=127.0.0.1" in starts[0]
    assert "~/.ray/auth_token" in cluster["file_mounts"]


def test_nothing_is_installed_on_a_node_that_starts(cluster: dict):
    prepared = prepare_config(cluster)
    for key in ("initialization_commands", "setup_commands", "head_setup_commands", "worker_setup_commands"):
        assert prepared[key] == []
    # the head's autoscaler needs boto3, which is then the image's
    assert "boto3" in locked("requirements.lock")


@pytest.mark.parametrize("name", ["cluster.yaml", "deploy/rayjob.yaml", "deploy/runtime_env.yaml", "deploy/Dockerfile"])
def test_no_file_holds_a_secret(name: str):
    assert not re.search(
        r"AWS_[A-Z_]*(KEY|TOKEN)|AKIA[0-9A-Z]{16}|RAY_AUTH_TOKEN\b|password", text(name), re.IGNORECASE
    )


def test_every_node_has_a_role(cluster: dict):
    for kind in cluster["available_node_types"].values():
        assert kind["node_config"]["IamInstanceProfile"]["Name"]


# versions


def test_images_and_versions_agree(cluster: dict, rayjob: dict):
    images = {
        "head": cluster["docker"]["image"],
        "cpu": cluster["docker"]["image"],
        "gpu": cluster["available_node_types"]["gpu"]["docker"]["worker_image"],
    }
    assert {name: container(group)["image"] for name, group in groups(rayjob).items()} == images
    version = re.search(r'^version = "(.+)"$', text("pyproject.toml"), flags=re.MULTILINE)
    assert version is not None
    assert {name.partition(":")[2] for name in images.values()} == {version.group(1)}
    built = dict(re.findall(r"docker build .*-t (\S+)(?: --build-arg LOCK=(\S+))? \.", text("deploy/Dockerfile")))
    assert built == {images["cpu"]: "", images["gpu"]: "requirements-gpu.lock"}
    versions = {locked(name)["ray"] for name in ("requirements.lock", "requirements-gpu.lock")}
    assert versions == {rayjob["spec"]["rayClusterSpec"]["rayVersion"]}


def test_both_images_hold_the_same_versions_of_what_the_project_asks_for():
    plain, gpu = locked("requirements.lock"), locked("requirements-gpu.lock")
    asked = tomllib.loads(text("pyproject.toml"))["project"]["dependencies"]
    names = [re.split(r"[\[=<>]", line)[0].lower() for line in asked]
    assert len(names) > 10
    assert {name: plain[name] for name in names} == {name: gpu[name] for name in names}


def test_the_image_installs_the_lock_on_the_python_that_it_was_made_for():
    image = text("deploy/Dockerfile")
    assert "ARG LOCK=requirements.lock" in image
    assert "pip install --no-cache-dir --require-hashes -r ${LOCK}" in image
    python = re.search(r"^FROM python:(\d\.\d+)-slim$", image, flags=re.MULTILINE)
    assert python is not None
    made_for = set(re.findall(r"--python-version (\S+)", text("Makefile")))
    assert made_for == {python.group(1)}


def test_the_image_holds_the_code_and_its_context_lets_it_in():
    copied = set(re.findall(r"^COPY (\w+) /opt/assay/\1$", text("deploy/Dockerfile"), flags=re.MULTILINE))
    assert copied == {"jobs", "actors", "storage", "quant"}
    let_in = {line[1:] for line in text(".dockerignore").splitlines() if line.startswith("!")}
    assert let_in == copied | {"requirements.lock", "requirements-gpu.lock"}


# KubeRay

QUANTITIES = {"cpu": str, "memory": str, "nvidia.com/gpu": str}
CONTAINER = {
    "name!": str,
    "image!": str,
    "ports": [{"name!": str, "containerPort!": int}],
    "resources!": {"requests!": QUANTITIES, "limits!": QUANTITIES},
}
TEMPLATE = {
    "spec!": {
        "serviceAccountName!": "assay",
        # an autoscaler of version 2 takes a container that started again for a node that it does not know
        "restartPolicy!": "Never",
        "nodeSelector!": {"karpenter.sh/capacity-type!": ("on-demand", "spot")},
        "tolerations": [{"key!": str, "operator!": ("Equal", "Exists"), "value": str, "effect!": "NoSchedule"}],
        "containers!": [CONTAINER],
    }
}
START = {"num-cpus": str, "object-store-memory!": str}
# The fields in use, of the types in KubeRay's API reference for ray.io/v1; "!" marks those that must be there.
RAYJOB = {
    "apiVersion!": "ray.io/v1",
    "kind!": "RayJob",
    "metadata!": {"name!": str},
    "spec!": {
        "submissionMode!": ("K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"),
        "entrypoint!": str,
        "runtimeEnvYAML!": str,
        "shutdownAfterJobFinishes!": bool,
        "ttlSecondsAfterFinished!": int,
        "backoffLimit!": int,
        "rayClusterSpec!": {
            "rayVersion!": str,
            "authOptions!": {"mode!": ("token",)},
            "enableInTreeAutoscaling!": bool,
            "autoscalerOptions!": {
                "version!": ("v2",),
                "idleTimeoutSeconds!": int,
                "upscalingMode": ("Default", "Aggressive", "Conservative"),
            },
            "headGroupSpec!": {"rayStartParams!": START, "template!": TEMPLATE},
            "workerGroupSpecs!": [
                {
                    "groupName!": str,
                    "replicas": int,
                    "minReplicas!": int,
                    "maxReplicas!": int,
                    "rayStartParams!": START,
                    "template!": TEMPLATE,
                }
            ],
        },
    },
}


def flaws(value: Any, allowed: Any, place: str = "") -> list[str]:
    """Where a document differs from what is allowed: a type, a text or several, a list of one kind, or fields."""
    if isinstance(allowed, dict):
        if not isinstance(value, dict):
            return [f"{place} is no mapping"]
        fields = {name.removesuffix("!"): kind for name, kind in allowed.items()}
        missing = {name[:-1] for name in allowed if name.endswith("!")} - value.keys()
        return [
            *(f"{place}.{name} is missing" for name in sorted(missing)),
            *(f"{place}.{name} is unknown" for name in sorted(value.keys() - fields.keys())),
            *(
                flaw
                for name in value.keys() & fields.keys()
                for flaw in flaws(value[name], fields[name], f"{place}.{name}")
            ),
        ]
    if isinstance(allowed, list):
        if not isinstance(value, list) or not value:
            return [f"{place} is no list, or empty"]
        return [flaw for index, item in enumerate(value) for flaw in flaws(item, allowed[0], f"{place}[{index}]")]
    if isinstance(allowed, type):
        return [] if type(value) is allowed else [f"{place} = {value!r} is no {allowed.__name__}"]
    choices = allowed if isinstance(allowed, tuple) else (allowed,)
    return [] if value in choices else [f"{place} = {value!r} is none of {choices}"]


def test_the_rayjob_has_the_fields_of_its_kind(rayjob: dict):
    assert flaws(rayjob, RAYJOB) == []


def test_the_check_of_fields_is_one(rayjob: dict):
    cluster = rayjob["spec"]["rayClusterSpec"]
    cluster["enableInTreeAutoscaler"] = cluster.pop("enableInTreeAutoscaling")
    cluster["autoscalerOptions"]["idleTimeoutSeconds"] = "300"
    rayjob["spec"]["submissionMode"] = "HttpMode"
    found = " ".join(flaws(rayjob, RAYJOB))
    for part in (
        "enableInTreeAutoscaling is missing",
        "enableInTreeAutoscaler is unknown",
        "'300' is no int",
        "HttpMode",
    ):
        assert part in found


def test_rays_autoscaler_reads_the_rayjob(rayjob: dict, cluster: dict):
    """By the function with which it reads a RayCluster from Kubernetes."""
    resource = {"metadata": {"name": "assay", "namespace": "default"}, "spec": rayjob["spec"]["rayClusterSpec"]}
    read = _derive_autoscaling_config_from_ray_cr(resource)
    kinds, same = read["available_node_types"], cluster["available_node_types"]
    assert kinds["headgroup"]["resources"]["CPU"] == 0
    assert read["idle_timeout_minutes"] == cluster["idle_timeout_minutes"]
    for name in ("cpu", "gpu"):
        assert (kinds[name]["min_workers"], kinds[name]["max_workers"]) == (0, same[name]["max_workers"])
        # a pod fits on the launcher's machine, beside what Kubernetes runs there
        cpus, memory, gpus = INSTANCES[same[name]["node_config"]["InstanceType"]]
        assert 0 < kinds[name]["resources"]["CPU"] < cpus
        assert 0 < kinds[name]["resources"]["memory"] < 0.9 * memory * GIB
        assert kinds[name]["resources"].get("GPU", 0) == gpus


def test_requests_are_limits(rayjob: dict):
    for name, group in groups(rayjob).items():
        resources = container(group)["resources"]
        assert resources["requests"] == resources["limits"], name


def test_worker_pods_go_to_spot_nodes_and_the_head_does_not(rayjob: dict):
    for name, group in groups(rayjob).items():
        spec, spot = group["template"]["spec"], name != "head"
        assert spec["nodeSelector"]["karpenter.sh/capacity-type"] == ("spot" if spot else "on-demand")
        tolerated = {(item["key"], item.get("value")) for item in spec.get("tolerations", [])}
        assert (("karpenter.sh/capacity-type", "spot") in tolerated) == spot
        assert (("nvidia.com/gpu", None) in tolerated) == (name == "gpu")


def test_the_rayjob_runs_a_job_that_there_is(rayjob: dict):
    python, flag, module, *arguments = shlex.split(rayjob["spec"]["entrypoint"])
    assert (python, flag) == ("python", "-m")
    config = parse(module.removeprefix("jobs."), "", arguments)
    assert config == RunConfig(source="s3://BUCKET/candles", store="s3://BUCKET/research", run="NAME")
    with pytest.raises(ConfigError):
        parse("pipeline", "", [*arguments, "--stor", "x"])


def test_the_runtime_environment_is_one(rayjob: dict):
    there = yaml.safe_load(rayjob["spec"]["runtimeEnvYAML"])
    assert there["env_vars"].pop("PYTHONPATH") == "/opt/assay"
    assert there == yaml.safe_load(text("deploy/runtime_env.yaml"))
