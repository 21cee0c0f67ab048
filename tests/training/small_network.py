"""A small network trained on the ranks of Ray Train, which stumble where they are told to."""

import json
import os
import socket
import time
from pathlib import Path
from typing import Any

import numpy as np
import ray

from actors.train import Context, OnReport, run_training

EPOCHS = 4
Arrays = list[Any]


def stumble(config: dict[str, Any], rank: int, epoch: int) -> None:
    if (rank, epoch) != (config.get("rank", 0), config.get("at")):
        return
    with Path(config["marks"]).open("a") as marks:
        marks.write("x")
    if config["how"] == "raise":
        raise ValueError("the feature rsi_9 of demo:AAA is constant")
    if config["how"] == "die" or Path(config["marks"]).stat().st_size == 1:
        os._exit(1)


def wait_to_be_killed(config: dict[str, Any], rank: int, epoch: int) -> None:
    """Say on which node a rank is, and wait, the first time only: the others are in the next epoch by then."""
    place = Path(config["node"])
    if (rank, epoch) != (config["rank"], config["at"]) or place.exists():
        return
    unfinished = place.with_suffix(".part")
    unfinished.write_text(ray.get_runtime_context().get_node_id())
    unfinished.rename(place)
    time.sleep(600)


def take_the_port(place: Path) -> None:
    """Listen where this rank's TensorFlow is about to, the first time only, as any process of the machine might."""
    if place.exists():
        return
    place.touch()
    told = json.loads(os.environ["TF_CONFIG"])
    port = told["cluster"]["worker"][told["task"]["index"]].rpartition(":")[2]
    taken.append(socket.create_server(("", int(port))))


taken: list[socket.socket] = []


def options(directory: Path, **changes: Any) -> dict[str, Any]:
    return {"workers": 1, "storage_url": f"file://{directory}/checkpoints", "name": "counted", **changes}


def training_of_a_network(config: dict[str, Any], context: Context) -> dict[str, Any]:
    """Train a small network on a planted pattern, ten steps an epoch; leave this rank's weights in files."""
    from quant import network, training

    if "port" in config and context.rank == 1:
        take_the_port(Path(config["port"]))
    network.configure(threads=1)
    learner = network.Learner(
        lambda: network.build("cnn_whole", 15, 8, filters=4, dense=16, dropout=config["dropout"], seed=0),
        learning_rate=3e-3,
        ranks=context.world_size,
    )
    parts = []
    for count, seed in ((1000, 0), (301, 1)):
        rows = np.random.default_rng(seed).standard_normal((count + 14, 8)).astype(np.float32)
        ends = np.arange(14, len(rows))
        told = rows[ends[:, None] - np.arange(3), 2].mean(axis=1)
        parts.append(training.Windows(rows, ends, np.where(told > 0.5, 1, np.where(told < -0.5, 2, 0)).astype(np.int8)))
    checkpoint = context.latest_checkpoint()

    def on_epoch(metrics: training.Metrics, state: Any) -> None:
        if "marks" in config:
            stumble(config, context.rank, metrics.epoch)
        np.savez(f"{config['weights']}-{context.rank}-{metrics.epoch}.npz", *learner.model.get_weights())
        context.report({"epoch": metrics.epoch, "loss": metrics.loss}, {"state.npz": state()})
        if "node" in config:
            wait_to_be_killed(config, context.rank, metrics.epoch)

    course = training.fit(
        learner,
        *parts,
        training.Settings(length=15, epochs=EPOCHS, batch=100, patience=4),
        rank=context.rank,
        ranks=context.world_size,
        state=checkpoint["state.npz"] if checkpoint else None,
        on_epoch=on_epoch,
    )
    np.savez(f"{config['weights']}-{context.rank}-end.npz", *learner.model.get_weights())
    return {
        "model": network.save(learner.model),
        "losses": [(metrics.loss, metrics.validation_loss, metrics.macro_f1) for metrics in course.history],
        "resumed": checkpoint is not None,
    }


def train_network(
    directory: Path, name: str, workers: int, on_report: OnReport | None = None, **config: Any
) -> tuple[dict[str, Any], list[list[Arrays]]]:
    """Return what rank 0 returned, and of each rank its weights after every epoch and at the end."""
    config = {"weights": str(directory / name), "dropout": 0.0, **config}
    result = run_training(
        training_of_a_network, config, on_report=on_report, **options(directory, workers=workers, name=name)
    )
    moments = [*range(1, EPOCHS + 1), "end"]
    return result, [[read(f"{config['weights']}-{rank}-{moment}.npz") for moment in moments] for rank in range(workers)]


def read(path: str) -> Arrays:
    with np.load(path) as archive:
        return [archive[key] for key in archive.files]


def same(one: list[list[Arrays]], other: list[list[Arrays]]) -> bool:
    """Whether all ranks had the same weights, bit for bit, after every epoch and at the end."""
    return all(
        np.array_equal(mine, theirs)
        for ranks in zip(one, other, strict=True)
        for moments in zip(*ranks, strict=True)
        for mine, theirs in zip(*moments, strict=True)
    )
