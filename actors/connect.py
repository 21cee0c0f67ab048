"""Where the work runs: a Ray of our own on this machine, or the cluster that the job was submitted to."""

import json
import logging
import math
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray._private import ray_constants
from ray._private.runtime_env.constants import RAY_JOB_CONFIG_JSON_ENV_VAR
from ray.exceptions import RayError

from actors.nodes import LOCAL_RESOURCE, forget, offer, refuse_impossible

PROJECT = Path(__file__).resolve().parents[1]
OBJECT_STORE_BYTES = 2**30
OBJECT_STORE_SHARE = 0.2  # of the machine's memory, where that is less
PROBE_SECONDS = 10.0
HTTP2_SETTINGS_TYPE = b"\x04"
HTTP2_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0" + HTTP2_SETTINGS_TYPE + b"\0" * 5  # RFC 9113, 3.4
CPUS_OF_AN_UNKNOWN_CLUSTER = 64.0  # shards for so many, where an autoscaler does not say how far it goes
# A raylet gives up where its agents, which import for seconds, have not answered after 15 (ray-project/ray#65983).
NOT_UP = "timed out during startup"
START_ATTEMPTS = 3
WORKER_VARIABLES = {"OMP_NUM_THREADS": "1"}  # the shards are the parallelism
LOCAL_VARIABLES = {
    "RAY_ADDRESS": None,  # Ray's tools would follow it to another cluster
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # where off, Ray binds loopback only
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # under `uv run` every worker would build an environment
    "RAY_USAGE_STATS_ENABLED": "0",
}
# Ray reads these two variables when it is first imported, which may have been long ago.
LOCAL_CONSTANTS = {"ENABLE_RAY_CLUSTER": False, "RAY_ENABLE_UV_RUN_RUNTIME_ENV": False}

log = logging.getLogger("assay")


class AddressError(ValueError):
    """An address at which no Ray cluster can be."""


class ClusterConnectionError(ConnectionError):
    """A cluster that cannot be reached, or does not let us in."""


@dataclass(frozen=True)
class Cluster:
    """What the work runs on: counts, `memory` in bytes that tasks may reserve, all as they were at the start.

    `most_cpus` are the CPUs that it could grow to; those that it has, where nothing could start another node.
    """

    nodes: int
    cpus: float
    most_cpus: float
    gpus: float
    memory: int
    address: str
    local: bool


@contextmanager
def connect(address: str | None = None, cpus: int | None = None, *, dashboard: bool = False) -> Iterator[Cluster]:
    """Starts Ray on this machine or joins a cluster, and leaves it at the end, after an exception too.

    A cluster is joined where `address` names one or where the process was started by `ray job submit`. Otherwise
    Ray starts here, listening on loopback only; a cluster that happens to run and RAY_ADDRESS are ignored. Where
    Ray is already initialised in this process it is used as it is and stays.

    Args:
        address: `host:port` or `auto` joins, `local` starts here even inside a submitted job, None decides.
        cpus: of a Ray started here, by default all; a joined cluster has its own.
        dashboard: of a Ray started here. Trainers inside Ray Tune trials hang without it.

    Raises:
        AddressError: an address that is not allowed.
        ValueError: a number of CPUs that is not allowed.
        ClusterConnectionError: the cluster cannot be reached or does not let us in, or Ray does not come up here.
    """
    if ray.is_initialized():
        yield _describe(local=LOCAL_RESOURCE in ray.cluster_resources())
        return
    submitted = RAY_JOB_CONFIG_JSON_ENV_VAR in os.environ
    if address is None:
        address = os.environ.get("RAY_ADDRESS", "auto") if submitted else "local"
    local = address == "local"
    with environment(LOCAL_VARIABLES if local else {}):
        try:
            if local:
                _start(cpus, dashboard)
            else:
                _join(address, cpus)
            yield _describe(local)
        finally:
            ray.shutdown()


def require(
    name: str, *, cpus: float, gpus: float = 0, memory: int | None = None, workers: int = 1, settings: str = ""
) -> None:
    """Refuses resources that the work can never get, for which Ray would wait without a word.

    A request must fit a living node, or a node type of the cluster's autoscaler that may have nodes; and the nodes
    that there can be must hold all `workers` at the same time. Where the node types are not known, all is let through.

    Args:
        name: of the work, for the message.
        cpus: of a worker, above 0.
        gpus: of a worker.
        memory: bytes of a worker.
        workers: needed at the same time.
        settings: names of the settings that decide all this, for the message.

    Raises:
        RuntimeError: Ray is not initialised; it would otherwise start by itself, with settings that are not ours.
        ValueError: a number is out of range.
        ResourcesError: the cluster can never have it.
    """
    if not ray.is_initialized():
        raise RuntimeError(f"{name}: Ray is not running; call this inside `with actors.connect.connect(...)`.")
    if cpus <= 0:
        raise ValueError(f"{name}: cpus is {cpus}; every worker needs a request above 0.")
    refuse_impossible(name, {"CPU": cpus, "GPU": gpus, "memory": memory or 0}, workers, settings)


@contextmanager
def environment(changes: Mapping[str, str | None]) -> Iterator[None]:
    """Sets environment variables, or removes them where None, and puts them back at the end."""
    before = {name: os.environ.get(name) for name in changes}
    _set_variables(changes)
    try:
        yield
    finally:
        _set_variables(before)


def _start(cpus: int | None, dashboard: bool) -> None:
    if cpus is not None and cpus < 1:
        raise ValueError(f"cpus is {cpus}; allowed is 1 or more, or None for all of this machine's.")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    python_path = os.pathsep.join(filter(None, [str(PROJECT), os.environ.get("PYTHONPATH")]))
    settings: dict[str, Any] = {
        "address": "local",
        "num_cpus": cpus or os.cpu_count(),
        "resources": {LOCAL_RESOURCE: 1},
        "object_store_memory": min(OBJECT_STORE_BYTES, int(OBJECT_STORE_SHARE * memory)),
        "include_dashboard": dashboard,
        "log_to_driver": False,  # what goes wrong in a shard comes back as its outcome
        "logging_level": logging.ERROR,
        "runtime_env": {"worker_process_setup_hook": _name_this_ray} if dashboard else None,
    }
    # Workers inherit the variables: one that has a runtime environment takes twice as long to start.
    with _constants(LOCAL_CONSTANTS), environment({**WORKER_VARIABLES, "PYTHONPATH": python_path}):
        for attempt in range(1, START_ATTEMPTS + 1):
            try:
                ray.init(**settings)
                return
            except Exception as error:  # Ray has no class for it
                if NOT_UP not in str(error):
                    raise
                if attempt == START_ATTEMPTS:
                    raise ClusterConnectionError(
                        f"Ray did not come up on this machine in {attempt} attempts: {error} Its processes wait 15 "
                        "seconds for each other: end other work, or read raylet.err among the logs of Ray's session."
                    ) from error
                log.warning("Ray did not come up in time, as where much else is at work; trying again")


def _name_this_ray() -> None:
    """Called in each worker at its start: where several Rays run on a machine, the dashboard's clients give up else."""
    os.environ["RAY_ADDRESS"] = ray.get_runtime_context().gcs_address


def _join(address: str, cpus: int | None) -> None:
    if cpus is not None:
        log.info("cpus = %d is ignored: the cluster at %s has its own", cpus, address)
    if address != "auto":
        _probe(address)
    try:
        ray.init(address=address, logging_level=logging.ERROR, runtime_env=_runtime_environment(os.environ))
    except (ConnectionError, RuntimeError, RayError) as error:
        raise ClusterConnectionError(
            f"The Ray cluster at {address!r} cannot be joined: {error} Check that it runs the same versions of Ray "
            "and Python, and that RAY_AUTH_MODE and the token are set as on the cluster; leave the address out to "
            "run on this machine."
        ) from error


def _probe(address: str) -> None:
    """Tries whether gRPC answers at the address: Ray itself would go on trying for minutes, without a word."""
    host, _, port = address.rpartition(":")
    if "://" in address or not host or not port.isdecimal():
        raise AddressError(
            f"The Ray address is {address!r}; allowed are 'host:port' of a cluster's head, 'auto' and 'local'. For "
            "an http:// or ray:// address, submit the job instead: `ray job submit`."
        )
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=PROBE_SECONDS) as connection:
            if os.environ.get("RAY_USE_TLS", "0") in ("0", "false"):
                connection.sendall(HTTP2_GREETING)
                if connection.recv(4, socket.MSG_WAITALL)[3:] != HTTP2_SETTINGS_TYPE:
                    raise ConnectionError("something other than Ray listens there; Ray's own port is often 6379")
    except (OSError, OverflowError) as error:
        raise ClusterConnectionError(
            f"No Ray cluster answers at {address!r}: {error}. Check the address and that the cluster runs, or leave "
            "the address out to run on this machine."
        ) from error


def _runtime_environment(variables: Mapping[str, str]) -> dict[str, Any]:
    """Returns what to add for the workers: `ray job submit` has shipped the code, and refuses a variable set twice."""
    if RAY_JOB_CONFIG_JSON_ENV_VAR not in variables:
        return {"working_dir": str(PROJECT), "env_vars": WORKER_VARIABLES}
    submitted = json.loads(variables[RAY_JOB_CONFIG_JSON_ENV_VAR]).get("runtime_env") or {}
    given = submitted.get("env_vars") or {}
    return {"env_vars": {name: value for name, value in WORKER_VARIABLES.items() if name not in given}}


def _describe(local: bool) -> Cluster:
    forget()
    total, most = ray.cluster_resources(), offer().cpus()
    return Cluster(
        nodes=sum(node["Alive"] for node in ray.nodes()),
        cpus=total.get("CPU", 0.0),
        most_cpus=max(total.get("CPU", 0.0), CPUS_OF_AN_UNKNOWN_CLUSTER if most == math.inf else most),
        gpus=total.get("GPU", 0.0),
        memory=int(total.get("memory", 0)),
        address=ray.get_runtime_context().gcs_address,
        local=local,
    )


def _set_variables(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


@contextmanager
def _constants(changes: Mapping[str, Any]) -> Iterator[None]:
    """Sets constants of Ray and puts them back at the end."""
    before = {name: getattr(ray_constants, name) for name in changes}
    vars(ray_constants).update(changes)
    try:
        yield
    finally:
        vars(ray_constants).update(before)
