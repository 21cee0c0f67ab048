"""What a run will cost, stage by stage, before it runs: from the market's size, the stages' rates and the machines.

`jobs.plan` prints it, and ``benchmarks/scale.py`` draws it for clusters that nobody has at hand.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import ModuleType

import numpy as np

from actors.sharding import shards
from actors.simulation import Machines, Shard, Span, Work, simulate
from jobs import pipeline
from jobs.config import RunConfig
from jobs.rates import Rate
from jobs.stage import Stage
from quant import demo

WORKER_START = 2.5  # seconds until a worker process has imported what its first shard needs
DISPATCH = 4e-3  # of the driver for each shard
DRIVER_STAGE = 0.25  # of the driver for each stage: reading and writing manifests
DRIVER_TICKER = 2e-4  # and for each ticker of it
CLUSTER_START = 6.0  # of Ray on this machine, and the driver's imports
OBJECT_STORE = 1.2e9  # what Ray and the driver take of a node's memory
WITH_MODELS = ("predict", "protocols")  # stages whose actors hold models
ON_LATER_BARS = ("search", "placebo", "backtest", "protocols")


@dataclass(frozen=True)
class Expected:
    """A stage as it will run.

    Parameters
    ----------
    tickers, rows
        What it works on.
    requests, bytes_read, bytes_written
        Of object storage.
    memory
        Bytes of a worker on the largest ticker.
    gpu
        Whether it runs on the GPU nodes.
    beside
        Whether it trains a model beside the run's.
    """

    name: str
    work: Work
    tickers: int
    rows: float
    requests: float
    bytes_read: float
    bytes_written: float
    memory: float
    gpu: bool = False
    beside: bool = False


@dataclass(frozen=True)
class Cluster:
    """Worker nodes of the two kinds; a GPU node may be the CPU node itself."""

    cpu: Machines
    gpu: Machines

    @property
    def cpus(self) -> int:
        """Cores of all CPU nodes."""
        return int(self.cpu.nodes * self.cpu.cpus)


def stage_of(module: ModuleType, config: RunConfig) -> Stage:
    """The stage of a job as configured, with its rate."""
    found: Stage = module.stage(config) if hasattr(module, "stage") else module.STAGE
    return found


def expected(
    config: RunConfig, rows: Mapping[str, float], cluster: Cluster, factors: Mapping[str, float] | None = None
) -> list[Expected]:
    """Every stage of a run on tickers of so many bars.

    Parameters
    ----------
    factors
        By stage, how many times as long as its rate says it has really taken.
    """
    return [
        one(module, stage_of(module, config), config, rows, cluster, (factors or {}).get(_name(module), 1.0))
        for module in pipeline.path(config)
    ]


def one(
    module: ModuleType, stage: Stage, config: RunConfig, rows: Mapping[str, float], cluster: Cluster, factor: float
) -> Expected:
    """One stage of it."""
    counts = _rows(stage.name, config, rows)
    rate = stage.rate
    driver = DRIVER_STAGE + DRIVER_TICKER * len(counts)
    workers, cpus = _workers(stage, config, cluster)
    gpu = config.train.gpu and stage.name in ("train", *WITH_MODELS)
    if hasattr(module, "produce"):
        pieces = _shards(counts, rate, workers or cluster.cpus, factor)
    else:
        whole = factor * rate.seconds(float(counts.sum()), len(counts))
        pieces = [Shard(whole / cpus)] if rate.start else []
        driver += 0.0 if rate.start else whole
    return Expected(
        name=stage.name,
        work=Work(stage.name, pieces, driver, rate.start, cpus, float(gpu), workers),
        tickers=len(counts),
        rows=float(counts.sum()),
        requests=rate.requests * len(counts),
        bytes_read=rate.read_row * float(counts.sum()),
        bytes_written=rate.written * len(counts) + rate.written_row * float(counts.sum()),
        memory=rate.memory + rate.memory_row * float(counts.max(initial=0.0)),
        gpu=gpu,
    )


def learned(config: RunConfig, rows: Mapping[str, float]) -> dict[str, float]:
    """Bars of the tickers that the model learns from."""
    wanted = set(config.train.tickers) or (set(demo.MAJORS) if config.source == "demo" else set(rows))
    return {name: count for name, count in rows.items() if {name, name.partition(":")[2]} & wanted}


def went(stages: Sequence[Expected], cluster: Cluster) -> list[Span]:
    """How the stages go one after the other; nodes and workers of the first serve the later ones."""
    spans = []
    warm: set[bool] = set()
    for stage in stages:
        machines = cluster.gpu if stage.gpu else cluster.cpu
        spans.append(simulate(stage.work, machines, warm=stage.gpu in warm))
        if stage.work.shards:
            warm.add(stage.gpu)
    return spans


def without(stage: Expected, done: float) -> Expected:
    """The stage with a share of it done before."""
    left = stage.work.shards[round(done * len(stage.work.shards)) :] if done < 1 else []
    return replace(stage, work=replace(stage.work, shards=left, alone=0.0 if done >= 1 else stage.work.alone))


def _shards(counts: np.ndarray, rate: Rate, workers: int, factor: float) -> list[Shard]:
    """The shards that `jobs.stage` would make of the tickers."""
    seconds = [rate.seconds(count) for count in counts]
    moved = rate.read_row + rate.written_row
    return [
        Shard(
            factor * float(sum(seconds[position] for position in part)),
            rate.requests * len(part),
            rate.written * len(part) + moved * float(counts[part].sum()),
        )
        for part in shards(range(len(counts)), seconds, workers=workers, seconds_per_weight=1.0)
    ]


def _workers(stage: Stage, config: RunConfig, cluster: Cluster) -> tuple[int | None, float]:
    """Most workers of a stage, None for what fits, and the cores of each."""
    if stage.name in ("train", "tune"):
        return config.train.workers, min(config.train.threads, cluster.cpu.cpus)
    if stage.name in WITH_MODELS and stage.rate.start:
        cores = min(config.train.threads, cluster.cpu.cpus)
        return config.predict.actors or max(1, int(cluster.cpus // cores)), cores
    return None, 1.0


def _rows(stage: str, config: RunConfig, rows: Mapping[str, float]) -> np.ndarray:
    """Rows of every ticker that a stage works on: after `predict` those that have signals."""
    if stage in ("tune", "train", "evaluate"):
        rows = learned(config, rows)
    if stage == "audit":  # a sample, and no more than the longest of them
        rows = dict(sorted(rows.items(), key=lambda each: -each[1])[: config.audit.tickers])
    bars = np.array(list(rows.values()))
    judged = config.split.choose + config.split.judge
    return bars * judged if stage in ON_LATER_BARS and not config.signals else bars


def _name(module: ModuleType) -> str:
    return module.__name__.removeprefix("jobs.")
