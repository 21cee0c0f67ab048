"""Say what a run will do before it does: stages, shards, bytes, memory, time and price; refuse what cannot fit.

python -m jobs.plan --config run.toml --store URL --run NAME [--plan.job protocols]

Nothing is run, and nothing written. Times are those of the rates in the code, corrected by what the same stages have
really cost in earlier runs of the store, on the machines described by the settings under `plan`: by default this one.
"""

import logging
import os
from dataclasses import dataclass, replace

from actors.progress import amount, duration
from actors.simulation import Machines, Span
from jobs import pipeline, sources, standing
from jobs.config import RunConfig
from jobs.estimate import (
    CLUSTER_START,
    DISPATCH,
    OBJECT_STORE,
    WORKER_START,
    Cluster,
    Expected,
    expected,
    went,
    without,
)
from jobs.ingest import made_up, names
from jobs.stage import Context
from storage.manifest import list_runs, read_manifest

ROUND_TRIP = 0.03  # seconds until an object store over a network answers
NODE_BANDWIDTH = 600e6  # bytes a second
STORE_REQUESTS = 3_500  # a second that S3 takes writes of one prefix
LEAST_MEASURED = 2.0  # seconds of a stage from which a correction may be taken
RUNS_LOOKED_AT = 5
PROTOCOLS = "protocols"

logger = logging.getLogger("assay")


class PlanError(ValueError):
    """A run that cannot fit on the machines it was planned for."""


class UnknownMarketError(PlanError):
    """A market of unknown size."""


@dataclass(frozen=True)
class Row:
    """A stage of the plan: its state in words, the share done before, what it takes, and how it will go."""

    state: str
    done: float
    expected: Expected
    span: Span


@dataclass(frozen=True)
class Plan:
    """A run before it runs: its stages, its market, its machines, and the stages whose rates are measured ones."""

    rows: tuple[Row, ...]
    tickers: int
    bars: float
    basis: str
    cluster: Cluster
    measured: tuple[str, ...]

    @property
    def seconds(self) -> float:
        """Of everything that is left to do."""
        return CLUSTER_START + sum(row.span.seconds for row in self.rows if row.done < 1)

    @property
    def models(self) -> list[Row]:
        """The training of each model that `jobs.protocols` wants beside the run's."""
        return [row for row in self.rows if row.expected.beside]


def look(context: Context) -> None:
    """Print the plan.

    Raises
    ------
    PlanError
        If it cannot fit on the machines: what is asked for, what there is, and which setting to change.
    """
    made = plan(context)
    print(text(context, made))
    refuse_what_cannot_fit(context.config, made)


def announce(context: Context, job: str = pipeline.STAGE) -> None:
    """Say in a line what a job that begins will take on the cores that it has, and warn where it may not fit.

    It refuses nothing: what the cluster really has the fan-out knows better.
    """
    # whether there is a GPU is not known here, so that one is reckoned with
    here = {"job": job, "nodes": 1, "cpus": context.workers, "gpu_nodes": 1, "gpu_cpus": context.workers}
    settings = context.config.plan.model_copy(update=here)
    asked = replace(context, config=context.config.model_copy(update={"plan": settings}))
    try:
        made = plan(asked)
    except UnknownMarketError:
        logger.info("plan: what there is to do is known once the market data is here")
        return
    left = [row for row in made.rows if row.done < 1]
    if not left:
        return
    largest = max(left, key=lambda row: row.expected.memory).expected
    logger.info(
        "plan: %d of %d stages to do, %s%s tickers, %s bars %s, about %s on %d cores; a worker takes up to %s (%s). "
        "`python -m jobs.plan` says more.",
        len(left),
        len(made.rows),
        f"{models_in_words(made)}, " if made.models else "",
        f"{made.tickers:,}",
        f"{made.bars:,.0f}",
        made.basis,
        duration(made.seconds - CLUSTER_START),
        context.workers,
        amount(largest.memory),
        largest.name,
    )
    if context.workers <= (os.cpu_count() or 1):  # of a cluster's nodes the memory is not known
        try:
            refuse_what_cannot_fit(asked.config, made)
        except PlanError as error:
            logger.warning("it may not fit: %s", error)


def plan(context: Context) -> Plan:
    """The plan of what is left of a run.

    Raises
    ------
    PlanError
        If a worker asks for more cores or GPUs than any node has.
    NoModelError
        If the article's protocols are asked for, beside a run that trains no model.
    """
    rows, basis = market_size(context)
    cluster = machines(context.config)
    factors = corrections(context)
    states = standing.of_all(context, pipeline.path(context.config))
    found = [(stage, states[stage.name]) for stage in expected(context.config, rows, cluster, factors)]
    if context.config.plan.job == PROTOCOLS:
        # only where it is asked for: it brings backtesting.py along
        from jobs import protocol_plan

        found += protocol_plan.stages(context, rows, cluster, factors, states)
    stages = [without(stage, done) for stage, (_, done) in found]
    for stage in stages:
        _refuse_what_no_node_has(stage, cluster)
    spans = went(stages, cluster)
    return Plan(
        rows=tuple(Row(*state, stage, span) for (_, state), stage, span in zip(found, stages, spans, strict=True)),
        tickers=len(rows),
        bars=sum(rows.values()),
        basis=basis,
        cluster=cluster,
        measured=tuple(factors),
    )


def market_size(context: Context) -> tuple[dict[str, float], str]:
    """Bars of every ticker, and how they are known.

    Raises
    ------
    UnknownMarketError
        If they are still to be fetched from a service.
    """
    ingested = read_manifest(context.store, context.run, "ingest")
    if ingested is not None and ingested.tickers:
        return {ticker: float(info["rows"]) for ticker, info in ingested.tickers.items() if info["rows"]}, "as ingested"
    config = context.config
    if config.service:
        raise UnknownMarketError(
            f"What '{config.source}' has is known once it is fetched. Run `python -m jobs.ingest` with the same "
            "--config, --store and --run first, which says how much that is before it begins; then plan what follows."
        )
    wanted = set(config.ingest.tickers)
    if market := made_up(context):
        rows, basis = dict.fromkeys(names(market), float(market.bars)), f"of the market '{config.source}'"
    elif config.source == "samples":
        rows, basis = {source.ticker: source.rows for source in sources.of_the_library()}, "of the samples"
    else:
        found = sources.files(config.source, config.ingest)
        rows, basis = sources.expected_rows(found, config.ingest), "by the sizes of the files"
    named = {ticker: count for ticker, count in rows.items() if {ticker, ticker.partition(":")[2]} & wanted}
    return (named if wanted else rows), basis


def machines(config: RunConfig) -> Cluster:
    """The nodes that the settings describe."""
    settings = config.plan
    remote = config.store.startswith("s3://")
    common = {
        "worker_start": WORKER_START,
        "dispatch": DISPATCH,
        "node_start": settings.node_start,
        "round_trip": ROUND_TRIP if remote else 0.0,
        "node_bandwidth": NODE_BANDWIDTH if remote else float("inf"),
        "store_requests": STORE_REQUESTS if remote else float("inf"),
    }
    cpus = settings.cpus or config.workers or os.cpu_count() or 1
    nodes = Machines(nodes=settings.nodes, cpus=cpus, **common)
    if not settings.gpu_nodes:
        return Cluster(nodes, nodes)
    return Cluster(nodes, Machines(nodes=settings.gpu_nodes, cpus=settings.gpu_cpus, gpus=1, **common))


def node_memory(config: RunConfig) -> float:
    """Bytes of a node."""
    if config.plan.memory:
        return config.plan.memory * 1e9
    return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


def corrections(context: Context) -> dict[str, float]:
    """How many times as long as its rate says a stage has really taken, by stage, where a run of the store tells.

    The run itself comes first, then others from the end of the alphabet, where names with dates have their newest.
    """
    names = [name for name in reversed(list_runs(context.store)) if name != context.run]
    factors: dict[str, float] = {}
    stages = [module.__name__.removeprefix("jobs.") for module in pipeline.path(context.config)]
    for stage in [*stages, PROTOCOLS] if context.config.plan.job == PROTOCOLS else stages:
        for run in [context.run, *names[:RUNS_LOOKED_AT]]:
            known = read_manifest(context.store, run, stage)
            if known is not None and known.usage.expected_seconds and known.usage.seconds >= LEAST_MEASURED:
                factors[stage] = known.usage.seconds / known.usage.expected_seconds
                break
    return factors


def refuse_what_cannot_fit(config: RunConfig, made: Plan) -> None:
    """Raise where a worker, or all that run on a node, need more than a node has.

    Raises
    ------
    PlanError
        Naming the stage, the numbers and the setting to change.
    """
    room = node_memory(config) - OBJECT_STORE
    for row in made.rows:
        stage, nodes = row.expected, made.cluster.gpu if row.expected.gpu else made.cluster.cpu
        if row.done >= 1 or not stage.work.shards:
            continue
        together = min(-(-row.span.slots // nodes.nodes), len(stage.work.shards))
        if config.worker_memory:
            together = min(together, int(room // (config.worker_memory * 1e9)))
        if stage.memory * together > room:
            fitting = int(room // stage.memory)
            fewer = (
                f"set workers to {fitting}"
                if nodes.nodes == 1
                else f"set worker_memory to {room / max(1, fitting) / 1e9:.2f}, so that {fitting} run side by side"
            )
            knob = fewer if fitting else "choose fewer bars by split.start, or other tickers by ingest.tickers"
            raise PlanError(
                f"{stage.name} would run {together} workers of {amount(stage.memory)} on a node that has "
                f"{amount(room)} for them: {knob}, or run on nodes with more memory (plan.memory says how much they "
                "have)."
            )


def _refuse_what_no_node_has(stage: Expected, cluster: Cluster) -> None:
    nodes = cluster.gpu if stage.gpu else cluster.cpu
    if nodes.slots(stage.work) < 1:
        raise PlanError(
            f"{stage.name} asks for {stage.work.cpus:g} CPU and {stage.work.gpus:g} GPU a worker; a node has "
            f"{nodes.cpus:g} and {nodes.gpus:g}. Set plan.gpu_nodes and plan.gpu_cpus to what the cluster has, "
            "train.gpu to false, or train.threads lower."
        )


def text(context: Context, made: Plan) -> str:
    """The plan as a person reads it."""
    config, nodes = context.config, made.cluster.cpu
    head = (
        f"plan of run '{context.run}' in {context.store.url}: {made.tickers:,} tickers, {made.bars:,.0f} bars "
        f"{made.basis}\non {nodes.nodes:,} node{'s' if nodes.nodes > 1 else ''} of {nodes.cpus:g} cores and "
        f"{amount(node_memory(config))}\n"
    )
    table = [("stage", "state", "tickers", "shards", "read", "written", "a worker", "time", "held up by")]
    table += [_cells(row) for row in made.rows]
    widths = [max(len(line[column]) for line in table) for column in range(len(table[0]))]
    lines = [
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in table
    ]
    whose = f"{', '.join(made.measured)} as measured in this store, the others" if made.measured else "all"
    lines += ["", models_in_words(made)] if made.models else []
    foot = f"\nabout {duration(made.seconds)} in all; rates: {whose} as built in"
    return "\n".join([head, *lines, foot, *_price(config, made)])


def models_in_words(made: Plan) -> str:
    """How many models are trained beside the run's, and how long that takes."""
    left = [row.span.seconds for row in made.models if row.done < 1]
    count = len(made.models)
    return (
        f"{count} model{'s' if count > 1 else ''} beside the run's, {len(left)} to be trained"
        + f" in about {duration(sum(left))}" * bool(left)
    )


def _cells(row: Row) -> tuple[str, ...]:
    stage = row.expected
    if row.done >= 1:
        return (stage.name, row.state, f"{stage.tickers:,}", "", "", "", "", "", "")
    return (
        stage.name,
        row.state,
        f"{stage.tickers:,}",
        f"{len(stage.work.shards):,}",
        amount(stage.bytes_read),
        amount(stage.bytes_written),
        amount(stage.memory),
        duration(row.span.seconds),
        row.span.cause,
    )


def _price(config: RunConfig, made: Plan) -> list[str]:
    settings = config.plan
    if settings.price is None and settings.gpu_price is None:
        return []
    hours = made.seconds / 3600
    gpu_seconds = sum(row.span.seconds for row in made.rows if row.expected.gpu and row.done < 1)
    of_cpus = (settings.price or 0.0) * settings.nodes * hours
    of_gpus = (settings.gpu_price or 0.0) * settings.gpu_nodes * gpu_seconds / 3600
    return [
        f"about {of_cpus + of_gpus:,.2f} at the given prices: {settings.nodes:,} nodes for {duration(made.seconds)}"
        + (f", {settings.gpu_nodes:,} GPU nodes for {duration(gpu_seconds)}" if settings.gpu_nodes else "")
    ]


if __name__ == "__main__":
    from jobs.runner import main

    main("plan")
