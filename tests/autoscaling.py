"""A Ray that really starts and stops nodes, on this machine: its nodes are processes of Ray's fake multi-node provider.

`ray.cluster_utils.AutoscalingCluster` would run `ray stop --force`, which ends every Ray of the machine.
"""

import contextlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import ray
from ray._private import ray_constants
from ray._private.authentication.authentication_token_setup import ensure_token_if_auth_enabled
from ray._raylet import Config
from ray.autoscaler._private.fake_multi_node import node_provider
from ray.autoscaler._private.fake_multi_node.node_provider import FAKE_HEAD_NODE_ID, FAKE_HEAD_NODE_TYPE
from ray.autoscaler._private.util import prepare_config

from actors.connect import Cluster, connect
from tests.conftest import ROOT

STORE_BYTES = 100_000_000  # of each node's object store
IDLE_MINUTES = 0.03
# Ray listens on loopback alone, and asks for the token that a local Ray of the same process would have turned on
VARIABLES = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_AUTH_MODE": "token"}
# what a launcher would run and copy: nothing
COMMANDS = ("initialization", "setup", "head_setup", "worker_setup", "head_start_ray", "worker_start_ray")
NOTHING = {"file_mounts": {}, "cluster_synced_files": [], **{f"{name}_commands": [] for name in COMMANDS}}


@dataclass(frozen=True)
class Autoscaling:
    """A running cluster: where it can be joined, and the session that all of its processes belong to."""

    address: str
    session: int

    def processes(self) -> dict[int, str]:
        """Returns the numbers and titles of its living processes: the head's, the nodes' and their workers'."""
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                state, _, _, session = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
                if int(session) == self.session and state not in "ZX":
                    found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        return found

    def raylets(self) -> int:
        """Returns how many nodes are up, the head among them."""
        return sum("/raylet/raylet " in title for title in self.processes().values())


@contextlib.contextmanager
def autoscaling(types: dict[str, dict[str, Any]], *, version: int = 1) -> Iterator[Autoscaling]:
    """Starts a head with no CPU, whose autoscaler may start nodes of these types, and ends all that was started.

    Args:
        types: resources and most nodes by name, as in `cluster.yaml`.
        version: of the autoscaler, 1 or 2.
    """
    address = f"127.0.0.1:{_free_port()}"
    # short: the path of a socket may have 107 characters
    with tempfile.TemporaryDirectory(prefix="assay-") as place, _settings():
        head = _start(Path(place), address, types, version)
        cluster = Autoscaling(address, head.pid)
        try:
            # the raylet is the last to start
            until(lambda: head.poll() is not None or cluster.raylets(), 120)
            assert head.poll() is None, (Path(place) / "output").read_text()
            yield cluster
        finally:
            until(lambda: not _killed(cluster), 30)
            head.wait()


@contextlib.contextmanager
def joined(cluster: Autoscaling) -> Iterator[Cluster]:
    """Joins such a cluster from this process."""
    # the workers import from the checkout, where compiled code is kept: that it is shipped is tested elsewhere
    with _settings():
        ray.init(cluster.address, log_to_driver=False, logging_level=logging.ERROR)
        try:
            with connect() as connected:
                yield connected
        finally:
            ray.shutdown()


def until(happened: Callable[[], object], seconds: float) -> None:
    """Waits until something has happened."""
    give_up = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < give_up, "waited in vain"
        time.sleep(0.1)


def _start(directory: Path, address: str, types: dict[str, dict[str, Any]], version: int) -> "subprocess.Popen[bytes]":
    (directory / "cluster.json").write_text(json.dumps(_configuration(address, types)))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")} | VARIABLES
    environment |= {
        "RAY_FAKE_CLUSTER": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        "AUTOSCALER_UPDATE_INTERVAL_S": "1",
        "RAY_OVERRIDE_NODE_ID_FOR_TESTING": FAKE_HEAD_NODE_ID,
        "RAY_CLOUD_INSTANCE_ID": FAKE_HEAD_NODE_ID,
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        **({"RAY_enable_autoscaler_v2": "1"} if version == 2 else {}),
    }
    command = [
        str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", "--num-cpus=0", "--num-gpus=0",
        f"--autoscaling-config={directory / 'cluster.json'}", f"--temp-dir={directory}",
        "--node-ip-address=127.0.0.1", f"--port={address.rpartition(':')[2]}", "--include-dashboard=false",
        "--min-worker-port=0", "--max-worker-port=0", "--dashboard-agent-listen-port=0",
        f"--ray-client-server-port={_free_port()}", f"--object-store-memory={STORE_BYTES}",
    ]  # fmt: skip
    with (directory / "output").open("w") as output:
        return subprocess.Popen(
            command, env=environment, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )


def _configuration(address: str, types: dict[str, dict[str, Any]]) -> Any:
    nodes = {
        name: {**kind, "node_config": {}, "resources": {"object_store_memory": STORE_BYTES, **kind["resources"]}}
        for name, kind in types.items()
    }
    head = {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0}
    return prepare_config(
        {
            "cluster_name": "fake",
            "max_workers": sum(kind["max_workers"] for kind in types.values()),
            "idle_timeout_minutes": IDLE_MINUTES,
            # by the class, because Ray's wheel lacks the file of defaults that the type `fake_multinode` is read with
            "provider": {
                "type": "external",
                "module": f"{node_provider.__name__}.FakeMultiNodeProvider",
                "gcs_address": address,
                "head_node_id": FAKE_HEAD_NODE_ID,
                "launch_multiple": True,
                "use_node_id_as_ip": True,
                "disable_node_updaters": True,
                "disable_launch_config_check": True,
            },
            "available_node_types": {FAKE_HEAD_NODE_TYPE: head, **nodes},
            "head_node_type": FAKE_HEAD_NODE_TYPE,
            **NOTHING,
        }
    )


@contextlib.contextmanager
def _settings() -> Iterator[None]:
    """Sets in this process what the cluster has in its environment, and sees that there is a token."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in VARIABLES.items():
            patch.setenv(name, value)
        patch.setattr(ray_constants, "ENABLE_RAY_CLUSTER", False)  # read from the environment when Ray is imported
        Config.initialize("")
        ensure_token_if_auth_enabled()
        yield


def _killed(cluster: Autoscaling) -> dict[int, str]:
    """Kills what lives of a cluster, and returns it: while a process dies, it may still have started another one."""
    living = cluster.processes()
    for pid in living:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return living


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
