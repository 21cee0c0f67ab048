"""What the nodes of the cluster offer, those that are up and those that could be started, and waiting for them."""

import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray
from ray._private import state
from ray.core.generated.autoscaler_pb2 import GetClusterStatusReply
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

LOCAL_RESOURCE = "assay_local"  # marks a Ray that connect started: one machine, which never grows
HEAD_RESOURCE = "node:__internal_head__"  # Ray's own mark
MONITORS = ("autoscaler/_private/monitor.py", "autoscaler/v2/monitor.py")  # the process that starts nodes
SECONDS_TO_ASK_THE_HEAD = 60.0
SECONDS_BETWEEN_LOOKS = 5.0
SECONDS_BETWEEN_LINES = 30.0

Resources = Mapping[str, float]  # amounts by Ray's names: CPU, GPU, and memory in bytes

log = logging.getLogger("assay")


class ResourcesError(ValueError):
    """Resources that the cluster can never offer, for which Ray would wait without a word."""


@dataclass(frozen=True)
class NodeType:
    """Nodes that are alike: what one of them has, and how many of them there can be."""

    name: str
    resources: Resources
    most: int


@dataclass(frozen=True)
class Offer:
    """What a cluster has and could have.

    `up` are its living nodes, the `head` among them apart, `types` those that an autoscaler may start, `workers` of
    them at most. `known` is False where there is an autoscaler whose node types cannot be read.
    """

    up: tuple[NodeType, ...]
    head: tuple[NodeType, ...]
    types: tuple[NodeType, ...]
    workers: int
    known: bool

    def now(self, request: Resources) -> int:
        """Returns how many such requests the living nodes hold side by side."""
        return _held((*self.up, *self.head), request, math.inf)

    def ever(self, request: Resources) -> float:
        """Returns how many such requests the cluster could hold side by side; infinite where that is not known."""
        if not self.known:
            return math.inf
        grown = _held(self.types, request, self.workers) + _held(self.head, request, math.inf)
        return max(self.now(request), grown)

    def nodes(self, request: Resources) -> tuple[int, int]:
        """Returns how many nodes that can hold such a request are up, and how many there could be."""
        up = sum(1 for node in (*self.up, *self.head) if fits(node.resources, request))
        could = sum(kind.most for kind in self.types if fits(kind.resources, request))
        return up, max(up, min(could, self.workers))

    def cpus(self) -> float:
        """Returns how many CPUs the cluster could have for work without a GPU; infinite where that is not known.

        An autoscaler starts a node with a GPU for such work only where nothing else is left.
        """
        plain = tuple(kind for kind in self.types if not kind.resources.get("GPU"))
        return replace(self, types=plain or self.types).ever({"CPU": 1.0})


def offer() -> Offer:
    """Returns what the connected cluster has and could have; node types are asked for once a process."""
    living = [node for node in ray.nodes() if node["Alive"]]
    nodes = [NodeType(node["NodeManagerAddress"], node["Resources"], 1) for node in living]
    head = tuple(node for node in nodes if HEAD_RESOURCE in node.resources)
    up = tuple(node for node in nodes if HEAD_RESOURCE not in node.resources)
    address = ray.get_runtime_context().gcs_address
    if address not in _configurations:
        _configurations[address] = _configuration(living)
    configuration = _configurations[address]
    types, workers = types_of(configuration or {})
    return Offer(up, head, types, workers, known=configuration is not None)


def forget() -> None:
    """Forgets the node types: a cluster is joined that may have been started anew at the same address."""
    _configurations.clear()


_configurations: dict[str, dict[str, Any] | None] = {}


def fits(resources: Resources, request: Resources) -> int:
    """Returns how many such requests a node holds.

    What is not listed a node does not have, except memory: a node type is asked for its memory when it is first up.
    """
    counts = [
        math.floor(resources.get(name, 0.0) / wanted + 1e-9)
        for name, wanted in request.items()
        if wanted > 0 and (name != "memory" or "memory" in resources)
    ]
    return min(counts, default=0)


def _held(kinds: Iterable[NodeType], request: Resources, most: float) -> int:
    """Returns how many such requests `most` nodes hold, the roomiest first."""
    held = 0
    for room, kind in sorted(((fits(kind.resources, request), kind) for kind in kinds), key=lambda pair: -pair[0]):
        nodes = int(min(kind.most, most))
        held, most = held + room * nodes, most - nodes
    return held


def types_of(configuration: Mapping[str, Any]) -> tuple[tuple[NodeType, ...], int]:
    """Returns the node types of a cluster launcher's configuration, and how many workers there may be in all.

    A type that may have no nodes is among them, so that a message can name it; there is none without an autoscaler.
    """
    workers = int(configuration.get("max_workers", 2))  # Ray's own default
    head = configuration.get("head_node_type")
    types = (
        NodeType(name, kind.get("resources") or {}, int(kind.get("max_workers", 0 if name == head else workers)))
        for name, kind in (configuration.get("available_node_types") or {}).items()
    )
    return tuple(sorted(types, key=lambda kind: kind.name)), workers


def _configuration(nodes: Iterable[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Returns the autoscaler's configuration, an empty one of a cluster that has none, None where nobody knows.

    A hosted Ray may report its node groups; Ray's own autoscalers have theirs in a file, which is read on the head.
    """
    if LOCAL_RESOURCE in ray.cluster_resources():
        return {}
    reported = state.state.get_cluster_config()
    if reported is not None and reported.node_group_configs:
        endless = 2**31 - 1
        groups = {
            group.name: {
                "resources": dict(group.resources),
                "max_workers": endless if group.max_count < 0 else group.max_count,
            }
            for group in reported.node_group_configs
        }
        return {"max_workers": endless, "available_node_types": groups}
    heads = [node["NodeID"] for node in nodes if HEAD_RESOURCE in node["Resources"]]
    if not heads:
        return None
    there = NodeAffinitySchedulingStrategy(heads[0], soft=False)
    question = ray.remote(_read_configuration).options(num_cpus=0, scheduling_strategy=there, name="node types")
    try:
        return ray.get(question.remote(), timeout=SECONDS_TO_ASK_THE_HEAD)
    except RayError as error:
        log.warning("the node types of the cluster are not known: %s", str(error).strip().rpartition("\n")[2])
        return None


def _read_configuration() -> dict[str, Any] | None:
    """Finds the monitor of this process's cluster on this machine, the head, and reads what it was started with."""
    import psutil  # comes inside Ray, which has to be imported first
    import yaml

    mine = f"--gcs-address={ray.get_runtime_context().gcs_address}"
    for process in psutil.process_iter():
        try:
            line = process.cmdline()
            if mine not in line or not any(part.endswith(MONITORS) for part in line):
                continue
            given = [part.partition("=")[2] for part in line if part.startswith("--autoscaling-config=")]
            return yaml.safe_load((Path(process.cwd()) / given[0]).read_text(encoding="utf-8")) if given else {}
        except (psutil.Error, OSError, yaml.YAMLError):
            continue
    return None


def refuse_impossible(name: str, request: Resources, workers: int, settings: str) -> None:
    """Raises where the cluster can never hold so many workers side by side, each with what it requests.

    Args:
        name: of the work, for the message.
        request: of each worker.
        workers: needed at the same time.
        settings: names of the settings that decide the request, for the message.

    Raises:
        ResourcesError: it cannot.
    """
    offered = offer()
    most = offered.ever(request)
    if most < workers:
        raise ResourcesError(_refusal(name, request, workers, int(most), offered, settings))


def _refusal(name: str, request: Resources, workers: int, most: int, offered: Offer, settings: str) -> str:
    each = f"each of {workers} workers" if workers > 1 else "a worker"
    less = f"Ask for less ({settings})" if settings else "Ask for less"
    if LOCAL_RESOURCE in {name for node in offered.head for name in node.resources}:
        (machine,) = offered.head
        has = f"this machine's Ray has {amounts(machine.resources, request)} in all"
        return f"{name}: {each} asks for {amounts(request)}, but {has}. {less}, or run on a cluster."
    if most:
        room = largest((*offered.types, *offered.up, *offered.head), request)
        return (
            f"{name}: {workers} workers with {amounts(request)} each are needed at the same time, and this cluster "
            f"holds {most} at most: the roomiest for them is {_described(room, request, offered)}. {less}, or "
            "let the cluster have more nodes of that type."
        )
    usable = tuple(kind for kind in offered.types if kind.most) or (*offered.up, *offered.head)
    text = (
        f"{name}: {each} asks for {amounts(request)}, and no node {'type ' if offered.types else ''}of this cluster "
        f"has that: the largest is {_described(largest(usable, request), request, offered)}. "
    )
    text += "" if offered.types else "No autoscaler could start another. "
    barred = [kind.name for kind in offered.types if not kind.most and fits(kind.resources, request)]
    if barred:
        return f"{text}{less}, or raise max_workers of the node type {barred[0]!r}, which has it and may have no nodes."
    return f"{text}{less}, or give the cluster nodes that have it."


def largest(kinds: Iterable[NodeType], request: Resources) -> NodeType:
    """Returns the kind of node that comes closest to a request."""

    def nearness(kind: NodeType) -> tuple[float, ...]:
        shares = sorted(min(1.0, kind.resources.get(name, 0.0) / wanted) for name, wanted in request.items() if wanted)
        return (min(kind.most, 1), fits(kind.resources, request), *shares, kind.resources.get("CPU", 0.0))

    return max(kinds, key=nearness)


def _described(kind: NodeType, request: Resources, offered: Offer) -> str:
    has = amounts(kind.resources, request)
    if kind in offered.types:
        return f"{kind.name!r} with {has}, of which there can be {min(kind.most, offered.workers)}"
    return f"the node {kind.name} with {has}"


def amounts(resources: Resources, asked: Resources | None = None) -> str:
    """Returns resources as a person says them: `2 CPU, 1 GPU, 7.5 GB of memory`.

    A GPU or memory that is not there is left out, unless it is asked for.
    """
    shown = [f"{resources.get('CPU', 0.0):g} CPU"]
    if resources.get("GPU") or (asked or {}).get("GPU"):
        shown.append(f"{resources.get('GPU', 0.0):g} GPU")
    if resources.get("memory"):
        shown.append(f"{resources['memory'] / 1e9:,.1f} GB of memory")
    return ", ".join(shown)


class Waiting:
    """Says now and then what work waits for while no living node can hold it; a wait for nothing it ends."""

    def __init__(
        self, name: str, request: Resources, workers: int = 1, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Takes the name of the work, what each worker requests, and how many are needed at the same time."""
        self._name = name
        self._request = request
        self._workers = workers
        self._clock = clock
        self._looked = clock()
        self._said = -math.inf

    def look(self) -> None:
        """Looks at the cluster where the last look is some seconds past.

        Raises:
            ResourcesError: the autoscaler, whose node types are not known, says that none of them has it.
        """
        if self._clock() - self._looked < SECONDS_BETWEEN_LOOKS:
            return
        self._looked = self._clock()
        offered = offer()
        if offered.now(self._request) >= self._workers:
            return
        if not offered.known and _infeasible(self._request):
            raise ResourcesError(
                f"{self._name}: a worker asks for {amounts(self._request)}, and the cluster's autoscaler says that "
                "none of its node types has that. Ask for less, or give the cluster a node type that has it."
            )
        if self._looked - self._said >= SECONDS_BETWEEN_LINES:
            self._said = self._looked
            log.info("%s", self._line(offered))

    def _line(self, offered: Offer) -> str:
        up, most = offered.nodes(self._request)
        of = f" of {most}" if offered.known else ""
        many = f"nodes for {self._workers} workers, each" if self._workers > 1 else "a node"
        return f"{self._name}: waiting for {many} with {amounts(self._request)}; {up}{of} nodes are up"


def _infeasible(request: Resources) -> bool:
    """Tells whether autoscaler v2 has reported a request of this shape, which waits, as one that no node type has."""
    reply = GetClusterStatusReply()
    reply.ParseFromString(ray._private.worker.global_worker.gcs_client.get_cluster_status())
    wanted = {name: amount for name, amount in request.items() if amount}
    said = reply.autoscaling_state
    alone = [dict(each.resources_bundle) for each in said.infeasible_resource_requests]
    together = [
        dict(each.resources_bundle) for gang in said.infeasible_gang_resource_requests for each in gang.requests
    ]
    return wanted in alone or wanted in together
