"""Several Ray nodes on this machine, and ways to lose one."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import ray
from ray._common.utils import get_system_memory
from ray._private.utils import get_used_memory
from ray.cluster_utils import Cluster

from actors.connect import WORKER_VARIABLES
from tests.conftest import ROOT

STORE = 80 * 2**20  # bytes of a node's object store, about the least that Ray allows
THRESHOLD = "RAY_memory_usage_threshold"  # share of the memory above which a node kills workers
# A node that vanishes is known as dead after two seconds in place of fifteen; memory is looked at every second.
SYSTEM = {
    "health_check_initial_delay_ms": 500,
    "health_check_period_ms": 500,
    "health_check_failure_threshold": 3,
    "memory_monitor_refresh_ms": 1000,
}


@contextmanager
def head(cpus: int = 0, **system: Any) -> Iterator[Cluster]:
    """A head that computes nothing, unless it is given processors; its workers and those of its nodes inherit."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**WORKER_VARIABLES, "PYTHONPATH": str(ROOT)}.items():
            patch.setenv(name, value)
        cluster = Cluster(
            initialize_head=True,
            head_node_args={
                "num_cpus": cpus,
                "include_dashboard": False,
                "object_store_memory": STORE,
                "_system_config": SYSTEM | system,
            },
        )
        try:
            yield cluster
        finally:
            cluster.shutdown()


@contextmanager
def joined(cluster: Cluster) -> Iterator[None]:
    """This process as the driver."""
    ray.init(address=cluster.address, configure_logging=False, log_to_driver=False)
    try:
        yield
    finally:
        ray.shutdown()


def add(cluster: Cluster, cpus: int = 1, **options: Any) -> Any:
    return cluster.add_node(num_cpus=cpus, object_store_memory=STORE, **options)


def add_with_room(cluster: Cluster, room: int = 0) -> Any:
    """A node whose memory its monitor finds used up once `room` bytes more are in use than now; with 0 it always is."""
    share = (get_used_memory() + room) / get_system_memory() if room else 0.0001
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(THRESHOLD, f"{min(share, 0.95):.4f}")
        return add(cluster)


def remove_all(cluster: Cluster) -> None:
    """Removes all nodes but the head."""
    for node in [*cluster.worker_nodes]:
        cluster.remove_node(node, allow_graceful=False)


def workers(node: Any) -> list[Any]:
    """The processes of a node below its raylet."""
    import psutil  # comes inside Ray, which has to be imported first

    with suppress(psutil.NoSuchProcess):
        return psutil.Process(raylet(node)).children(recursive=True)
    return []


def raylet(node: Any) -> int:
    return int(node.all_processes["raylet"][0].process.pid)


def vanish(cluster: Cluster, node: Any) -> None:
    """SIGKILL to all of a node at once: a machine that is taken away without notice."""
    for pid in (*(process.pid for process in workers(node)), raylet(node)):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    cluster.remove_node(node, allow_graceful=False)


def at_work(cluster: Cluster, title: str) -> tuple[Any, int] | None:
    """A node, and the process there that runs a task of this title for certain: it is stopped. None where none does."""
    for node in cluster.worker_nodes:
        for process in workers(node):
            with suppress(Exception):  # it may have ended since
                if not process.cmdline()[0].startswith(title):
                    continue
                process.suspend()
                if process.cmdline()[0].startswith(title):
                    return node, process.pid
                process.resume()
    return None


def wait(happened: Callable[[], Any], seconds: float = 60) -> Any:
    """Polls until something is there, and returns it."""
    give_up = time.monotonic() + seconds
    while not (found := happened()):
        assert time.monotonic() < give_up, "it never happened"
        time.sleep(0.02)
    return found


def text(path: Path) -> str:
    """What a file holds, nothing where it is not there."""
    try:
        return path.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
