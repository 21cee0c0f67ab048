"""Training on the ranks of Ray Train: starting them, passing reports on, keeping checkpoints, restarting what died.

The loop that runs on each rank is an ordinary function (config, context) → result in a job module; it sees a
`Context` and neither Ray nor where checkpoints lie. A rank that dies is replaced and all go on from the last
checkpoint; an error raised by the loop itself is not tried again.
"""

import contextlib
import json
import os
import shutil
import socket
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow.fs
import ray
import ray.exceptions
import ray.train
import ray.util
from ray.train import Checkpoint, CheckpointConfig, FailureConfig, LoggingConfig, RunConfig, ScalingConfig
from ray.train.backend import Backend, BackendConfig
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer
from ray.train.v2.api.exceptions import WorkerGroupError
from ray.util.queue import Queue
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from actors.connect import environment, require
from actors.nodes import LOCAL_RESOURCE, Waiting

Loop = Callable[[dict[str, Any], "Context"], Any]
OnReport = Callable[[dict[str, Any]], None]

_KEPT_CHECKPOINTS = 2
# a start of the ranks is given up after a minute: long enough together for a node to be bought
_START_ATTEMPTS = 10
_POLL_SECONDS = 0.2
_ENVIRONMENT = {
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.1",  # a report waits for the next check: 0.09 s in place of 1.9 s
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # relative store URLs must mean the same on a rank as in the driver
}
# no cloud takes this machine back, so that one actor less need be started
_LOCAL_ENVIRONMENT = {"RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0"}
# what Ray says of a record of checkpoints that a killed controller left half written: the run starts afresh
_BROKEN_RECORD = "CheckpointManagerInitializationError"
# what TensorFlow raises on the ranks that survive another one; by name, because TensorFlow is not imported here
_PEER_LOST = frozenset({"UnavailableError", "AbortedError", "CancelledError", "DeadlineExceededError", "InternalError"})
# what it raises where another process took the port between the choice of it and TensorFlow's start
_PORT_TAKEN = "Could not start gRPC server"


class TrainingError(RuntimeError):
    """Training that could not be finished."""


class LoopError(Exception):
    """An error of the loop on a rank, as text: its class may not be importable, or only slowly, elsewhere."""

    def __init__(self, summary: str, details: str, peer_lost: bool) -> None:
        """Keep the error's name and message, its traceback, and whether it would not come again by itself."""
        super().__init__(summary, details, peer_lost)
        self.summary = summary
        self.details = details
        self.peer_lost = peer_lost

    def __str__(self) -> str:
        """Show the traceback on the rank."""
        return self.details


@dataclass(frozen=True)
class Context:
    """What a loop knows of the run: its rank, how many there are, and the way to report and to resume."""

    rank: int
    world_size: int
    reports: Queue | None

    def report(self, metrics: Mapping[str, Any], checkpoint: Mapping[str, bytes] | None = None) -> None:
        """Report the metrics of an epoch and keep a checkpoint.

        Every rank must call it equally often; it returns once all have. Rank 0's metrics and checkpoint count.

        Parameters
        ----------
        metrics
            Plain values by name.
        checkpoint
            Contents by file name, or None to keep none this time.
        """
        kept = dict(metrics)
        if self.rank or checkpoint is None:
            ray.train.report(kept)
        else:
            directory = Path(tempfile.mkdtemp(prefix="checkpoint-"))
            try:
                for name, data in checkpoint.items():
                    (directory / name).write_bytes(data)
                ray.train.report(kept, checkpoint=Checkpoint.from_directory(directory))
            finally:
                shutil.rmtree(directory, ignore_errors=True)
        if self.rank == 0 and self.reports is not None:
            with contextlib.suppress(ray.exceptions.RayActorError):
                self.reports.put(kept)

    def latest_checkpoint(self) -> dict[str, bytes] | None:
        """Give the contents of the last checkpoint by file name; None where the run starts afresh."""
        checkpoint = ray.train.get_checkpoint()
        if checkpoint is None:
            return None
        with checkpoint.as_directory() as directory:
            return {path.name: path.read_bytes() for path in sorted(Path(directory).iterdir()) if path.is_file()}


def run_training(
    loop: Loop,
    config: dict[str, Any],
    *,
    workers: int,
    storage_url: str,
    name: str,
    cpus_per_worker: float = 1,
    use_gpu: bool = False,
    max_failures: int = 3,
    on_report: OnReport | None = None,
    settings: str = "",
) -> Any:
    """Run a loop on every rank and return what rank 0 returned.

    A run of the same name in the same place goes on from its last checkpoint, be it after a rank, or the driver, was
    killed; so the name must tell one configuration from another. What lies under ``storage_url/name`` is the caller's
    to delete once the result is safe.

    Parameters
    ----------
    loop
        Function (config, context) → result, importable on the ranks. The result and `config` travel by pickle.
    workers
        Number of ranks. With more than one, ``TF_CONFIG`` names them all to TensorFlow.
    storage_url
        Where checkpoints are kept: ``file://`` (seen by all nodes) or ``s3://``, whose endpoint and credentials come
        from the environment. The last two are kept.
    cpus_per_worker, use_gpu
        What a rank holds; a GPU is one whole.
    max_failures
        How many times a dead rank is replaced.
    on_report
        Called in this thread with each report of rank 0; after a restart an epoch may come twice.
    settings
        Names of the settings that decide what the ranks hold, for the message where it can never be had.

    Raises
    ------
    TrainingError
        Where the loop raised, ranks died more often than allowed, or could not be started.
    ValueError
        For a storage that other processes cannot see, such as ``memory://``, and where the cluster can never hold all
        ranks at once.
    """
    filesystem, path = _storage(storage_url)
    require("training", cpus=cpus_per_worker, gpus=int(use_gpu), workers=workers, settings=settings)
    resources = {"CPU": cpus_per_worker, **({"GPU": 1} if use_gpu else {})}
    asked = _ENVIRONMENT | (_LOCAL_ENVIRONMENT if LOCAL_RESOURCE in ray.cluster_resources() else {})
    unset = {name: value for name, value in asked.items() if name not in os.environ}  # the user's own count
    with environment(unset), _queue(on_report) as reports:
        failures = 0
        while True:
            trainer = DataParallelTrainer(
                _on_rank(loop, reports),
                train_loop_config=config,
                backend_config=_TensorFlowRanks(),
                scaling_config=ScalingConfig(num_workers=workers, use_gpu=use_gpu, resources_per_worker=resources),
                run_config=RunConfig(
                    name=name,
                    storage_path=path,
                    storage_filesystem=filesystem,
                    # whether to try again is decided here: Ray would repeat an error of the loop, too
                    failure_config=FailureConfig(max_failures=0, controller_failure_limit=_START_ATTEMPTS),
                    checkpoint_config=CheckpointConfig(num_to_keep=_KEPT_CHECKPOINTS),
                    logging_config=LoggingConfig(log_level="CRITICAL"),
                ),
            )
            result, error = _fit(trainer, reports, on_report, Waiting("training", resources, workers))
            if error is None:
                return result
            if failures == max_failures or not _is_retryable(error):
                raise TrainingError(_explain(error, name, max_failures, workers, resources)) from _cause(error)
            failures += 1
            if _BROKEN_RECORD in str(error):
                filesystem.delete_dir(f"{path}/{name}")


def _on_rank(loop: Loop, reports: Queue | None) -> Callable[[dict[str, Any]], Any]:
    def run(config: dict[str, Any]) -> Any:
        rank = ray.train.get_context().get_world_rank()
        try:
            result = loop(config, Context(rank, ray.train.get_context().get_world_size(), reports))
        except Exception as error:
            raise LoopError(f"{type(error).__name__}: {error}", traceback.format_exc(), _passes(error)) from None
        return result if rank == 0 else None

    return run


def _passes(error: Exception) -> bool:
    """Tell whether an error only followed another rank's end, or a port that was free when it was chosen."""
    kind = type(error)
    return kind.__module__.startswith("tensorflow") and (kind.__name__ in _PEER_LOST or _PORT_TAKEN in str(error))


def _fit(
    trainer: DataParallelTrainer, reports: Queue | None, on_report: OnReport | None, waiting: Waiting
) -> tuple[Any, Exception | None]:
    """Run a trainer to its end, passing reports on meanwhile; give rank 0's result or the error.

    In a thread of its own, because in the main one Ray would take over Ctrl-C, and keep it after the training.
    """
    ended: list[tuple[Any, Exception | None]] = []

    def run() -> None:
        try:
            ended.append((trainer.fit().return_value, None))
        except Exception as error:
            ended.append((None, error))

    thread = threading.Thread(target=run, name="training", daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(_POLL_SECONDS)
        waiting.look()
        if reports is None or on_report is None:
            continue
        # a lost queue costs the progress, not the training
        with contextlib.suppress(ray.exceptions.RayActorError):
            for metrics in reports.get_nowait_batch(reports.qsize()):
                on_report(metrics)
    return ended[0]


@contextlib.contextmanager
def _queue(on_report: OnReport | None) -> Iterator[Queue | None]:
    if on_report is None:
        yield None
        return
    # beside the driver: an actor that needs no processor may be put anywhere, and would be lost with a rank's node
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    queue = Queue(actor_options={"num_cpus": 0, "scheduling_strategy": here})
    try:
        yield queue
    finally:
        queue.shutdown(force=True)


def _storage(url: str) -> tuple[pyarrow.fs.FileSystem, str]:
    scheme, _, path = url.rstrip("/").partition("://")
    if scheme == "file" and path:
        return pyarrow.fs.LocalFileSystem(), str(Path(path).absolute())
    if scheme == "s3" and path:
        # unlike the constructor, a URI takes AWS_ENDPOINT_URL into account; it is percent-decoded
        return pyarrow.fs.FileSystem.from_uri(f"s3://{quote(path)}")
    raise ValueError(
        f"checkpoints cannot be kept at {url!r}: the ranks are processes of their own, so the store must be one that "
        "all of them see; file:// and s3:// are allowed"
    )


def _is_retryable(error: Exception) -> bool:
    """Tell whether a process or node was lost; an error of the loop would come again."""
    if isinstance(error, WorkerGroupError):
        failures = error.worker_failures.values()
        return all(failure.peer_lost for failure in failures if isinstance(failure, LoopError))
    # an actor that could not even be made would fail again
    return isinstance(error, ray.exceptions.RayActorError) and (
        _BROKEN_RECORD in str(error) or not error.actor_init_failed
    )


def _cause(error: Exception) -> Exception:
    """The error of the loop, whose text is the traceback on its rank, where there is one."""
    failures = error.worker_failures.values() if isinstance(error, WorkerGroupError) else ()
    own = [failure for failure in failures if isinstance(failure, LoopError)]
    return min(own, key=lambda failure: failure.peer_lost, default=error)


def _explain(error: Exception, name: str, max_failures: int, workers: int, resources: Mapping[str, float]) -> str:
    cause = _cause(error)
    if isinstance(cause, LoopError) and not cause.peer_lost:
        return f"the training {name!r} failed on one of its {workers} ranks: {cause.summary}"
    if _is_retryable(error):
        ranks = sorted(error.worker_failures) if isinstance(error, WorkerGroupError) else []
        lost = f"rank {', '.join(map(str, ranks))}" if ranks else "the controller"
        return (
            f"the training {name!r} lost processes more often than the {max_failures} times allowed, the last time "
            f"{lost} of {workers} ranks; they were killed or crashed, usually for want of memory"
        )
    available = ray.cluster_resources()
    return (
        f"the training {name!r} could not be run on {workers} ranks of {dict(resources)} each (the cluster has "
        f"{available.get('CPU', 0):g} CPUs and {available.get('GPU', 0):g} GPUs): {_last_line(error)}"
    )


def _last_line(error: Exception) -> str:
    """What a traceback given as a text ends with: the error itself."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


class _TensorFlowBackend(Backend):
    """Tell TensorFlow on each rank where all of them listen; Ray's own version imports TensorFlow in the driver."""

    def on_start(self, worker_group: Any, backend_config: BackendConfig) -> None:
        """Set `TF_CONFIG` on every rank, unless there is one only."""
        del backend_config
        if len(worker_group) < 2:
            return
        addresses = worker_group.execute(_free_address)
        ray.get(
            [worker_group.execute_single_async(rank, _name_ranks, addresses, rank) for rank in range(len(worker_group))]
        )


@dataclass
class _TensorFlowRanks(BackendConfig):
    @property
    def backend_cls(self) -> type[Backend]:
        """The class that Ray Train makes on its controller."""
        return _TensorFlowBackend


def _free_address() -> str:
    with socket.socket() as listener:
        listener.bind(("", 0))
        return f"{ray.util.get_node_ip_address()}:{listener.getsockname()[1]}"


def _name_ranks(addresses: list[str], rank: int) -> None:
    os.environ["TF_CONFIG"] = json.dumps({"cluster": {"worker": addresses}, "task": {"type": "worker", "index": rank}})
