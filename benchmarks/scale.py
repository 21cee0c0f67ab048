"""How runs scale: the simulation of `jobs.estimate` against measured runs, and what it says of large clusters.

    python -m benchmarks.scale --measure --sizes 500 10000 --workers 1 2     # runs, writes docs/scale.json
    python -m benchmarks.scale                                               # writes docs/scale.md and docs/scale.svg

The runs are ingest → features → a registered rule as signal → search on random walks of 500 bars. What a ticker costs
is measured once, in a run of `--calibrate` tickers with one worker; that alone drives the simulation of the others.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

from actors.connect import connect
from actors.progress import amount
from actors.simulation import Machines, Span
from benchmarks.ten_thousand import write_market
from jobs import features, ingest, pipeline, predict, search
from jobs.config import RunConfig
from jobs.estimate import CLUSTER_START, DISPATCH, WORKER_START, Cluster, Expected, expected, went
from jobs.plan import NODE_BANDWIDTH, ROUND_TRIP, STORE_REQUESTS
from jobs.rates import peak
from jobs.stage import Context
from storage.manifest import read_manifest
from storage.store import open_store

ROOT = Path(__file__).resolve().parents[1]
MEASURED = ROOT / "docs" / "scale.json"
PATH = (ingest, features, predict, search)
BARS = 500
TICKERS, MINUTES = 10_000, 5 * 365 * 24 * 60  # 1m bars of five years
NODES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
CORES, NODE_GB, PRICE = 16, 32, 0.68  # a node of cluster.yaml and its price an hour on demand, in US dollars
NODE_START = 90.0


def config_of(source: Path, store: str, run: str) -> RunConfig:
    """The run that is measured and simulated."""
    return RunConfig.model_validate(
        {
            "source": str(source),
            "store": store,
            "run": run,
            "rule": "rsi_reversion",
            "split": {"embargo": 0},
            "search": {"minimum_trades": 1},
        }
    )


def measured(config: RunConfig, workers: int) -> dict[str, float]:
    """Seconds of every stage on a Ray of this machine, which starts before the clock does."""
    seconds = {}
    with connect(None, workers):
        context = Context(config, open_store(config.store), workers)
        for job in PATH:
            started = time.perf_counter()
            job.run(context)
            seconds[job.STAGE.name] = time.perf_counter() - started
    return seconds


def simulated(config: RunConfig, tickers: int, workers: int, factors: dict[str, float]) -> dict[str, float]:
    """The same by simulation."""
    cluster = here(workers)
    rows = {f"T{number}": float(BARS) for number in range(tickers)}
    stages = [stage for stage in expected(config, rows, cluster, factors) if stage.name in {j.STAGE.name for j in PATH}]
    return {span.name: span.seconds for span in went(stages, cluster)}


def here(workers: int) -> Cluster:
    """This machine."""
    machine = Machines(cpus=workers, worker_start=WORKER_START, dispatch=DISPATCH)
    return Cluster(machine, machine)


def factors_of(config: RunConfig) -> dict[str, float]:
    """How much longer than its rate says each stage took, worker seconds against worker seconds."""
    found = {}
    for job in PATH:
        manifest = read_manifest(open_store(config.store), config.run, job.STAGE.name)
        assert manifest is not None  # noqa: S101
        found[manifest.stage] = manifest.usage.seconds / manifest.usage.expected_seconds
    return found


def measure(sizes: Sequence[int], workers: Sequence[int], calibrate: int) -> dict[str, Any]:
    """Calibrate on one run, then measure and simulate the others."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        for count in {calibrate, *sizes}:
            write_market(place / f"market{count}", count, BARS)
        known = config_of(place / f"market{calibrate}", str(place / "store"), "calibration")
        measured(known, 1)
        factors = factors_of(known)
        print("worker seconds over the rates in the code:", {name: round(value, 2) for name, value in factors.items()})
        rows = []
        for count in sizes:
            for number in workers:
                config = config_of(place / f"market{count}", str(place / "store"), f"t{count}w{number}")
                real = measured(config, number)
                foretold = simulated(config, count, number, factors)
                largest = peak()  # so far, which is that of the largest market
                rows.append(
                    {"tickers": count, "workers": number, "measured": real, "simulated": foretold, "driver": largest}
                )
                total, guess = sum(real.values()), sum(foretold.values())
                off = guess / total - 1
                print(f"{count:,} tickers, {number} workers: {total:.1f} s, simulated {guess:.1f} s ({off:+.0%})")
                print("  ", {name: (round(real[name], 1), round(float(foretold[name]), 1)) for name in real})
    return {"calibrated_on": calibrate, "factors": factors, "runs": rows}


def cloud(nodes: int) -> Cluster:
    """So many CPU nodes of cluster.yaml before S3."""
    machines = Machines(
        nodes=nodes,
        cpus=CORES,
        node_start=NODE_START,
        worker_start=WORKER_START,
        dispatch=DISPATCH,
        round_trip=ROUND_TRIP,
        node_bandwidth=NODE_BANDWIDTH,
        store_requests=STORE_REQUESTS,
    )
    return Cluster(machines, machines)


def run_of(nodes: int) -> tuple[list[Expected], list[Span]]:
    """The large run on so many nodes: every stage of the pipeline with a rule as signal."""
    config = RunConfig.model_validate(
        {"source": "s3://bucket/bars", "store": "s3://bucket/store", "rule": "rsi_reversion"}
    )
    rows = {f"T{number}": float(MINUTES) for number in range(TICKERS)}
    cluster = cloud(nodes)
    stages = expected(config, rows, cluster)
    return stages, went(stages, cluster)


def causes(spans: Sequence[Span]) -> dict[str, float]:
    """Seconds of the stages by what held each of them up, most first."""
    found: dict[str, float] = {}
    for span in spans:
        found[span.cause] = found.get(span.cause, 0.0) + span.seconds
    return dict(sorted(found.items(), key=lambda pair: -pair[1]))


def duration(seconds: float) -> str:
    """Minutes or hours."""
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def page() -> str:
    """The page, but for its plot."""
    known = json.loads(MEASURED.read_text(encoding="utf-8"))
    text = [HEAD.format(calibrated=known["calibrated_on"])]
    text += [
        "| tickers | workers | measured | a ticker | simulated | difference | furthest off |",
        "|---|---|---|---|---|---|---|",
    ]
    for run in known["runs"]:
        real, guess = run["measured"], run["simulated"]
        total, foretold = sum(real.values()), sum(guess.values())
        worst = max(real, key=lambda name: abs(guess[name] - real[name]))
        text.append(
            f"| {run['tickers']:,} | {run['workers']} | {total:.1f} s | {1000 * total / run['tickers']:.0f} ms | "
            f"{foretold:.1f} s | {foretold / total - 1:+.0%} | "
            f"{worst}: {real[worst]:.1f} s, simulated {guess[worst]:.1f} s |"
        )
    text.append(TWO)
    text.append(f"The driver's memory at its peak: {amount(max(run['driver'] for run in known['runs']))}.")
    stages, _ = run_of(1)
    text.append(
        CLUSTERS.format(
            minutes=MINUTES,
            read=amount(sum(stage.bytes_read for stage in stages)),
            written=amount(sum(stage.bytes_written for stage in stages)),
            memory=amount(max(stage.memory for stage in stages)),
            room=amount(CORES * max(stage.memory for stage in stages)),
            round_trip=1000 * ROUND_TRIP,
            bandwidth=amount(NODE_BANDWIDTH),
            requests=STORE_REQUESTS,
            start=NODE_START,
            price=PRICE,
        )
    )
    text += ["| nodes | cores | time | processors at work | price | held up by |", "|---|---|---|---|---|---|"]
    for nodes in NODES:
        stages, spans = run_of(nodes)
        total = CLUSTER_START + sum(span.seconds for span in spans)
        held = causes(spans)
        busy = sum(span.busy * span.seconds for span in spans) / total
        named = ", ".join(f"{cause} {seconds / total:.0%}" for cause, seconds in list(held.items())[:3])
        price = PRICE * nodes * total / 3600
        text.append(f"| {nodes:,} | {nodes * CORES:,} | {duration(total)} | {busy:.0%} | {price:,.0f} $ | {named} |")
    text.append(STAGES)
    text += ["| stage | " + " | ".join(f"{nodes:,}" for nodes in NODES) + " |", "|---|" + "---|" * len(NODES)]
    all_spans = [run_of(nodes)[1] for nodes in NODES]
    for number, job in enumerate(pipeline.path(RunConfig(rule="rsi_reversion"))):
        cells = [f"{duration(spans[number].seconds)}, {spans[number].cause}" for spans in all_spans]
        text.append(f"| {job.STAGE.name} | " + " | ".join(cells) + " |")
    return "\n".join([*text, "", TAIL.strip(), ""])


def plot(path: Path) -> None:
    """Time against nodes, stage by stage, beside what twice the nodes in half the time would be."""
    found = [run_of(nodes)[1] for nodes in NODES]
    totals = [sum(span.seconds for span in spans) for spans in found]
    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    axes.plot(NODES, [seconds / 3600 for seconds in totals], "o-", color="black", label="whole run")
    axes.plot(
        NODES, [totals[0] / 3600 / nodes for nodes in NODES], ":", color="grey", label="twice the nodes, half the time"
    )
    for number, span in enumerate(found[0]):
        axes.plot(NODES, [spans[number].seconds / 3600 for spans in found], "-", linewidth=1, label=span.name)
    axes.set(xscale="log", yscale="log", xlabel=f"nodes of {CORES} cores", ylabel="hours")
    axes.set_title(f"{TICKERS:,} tickers × 5 years of 1m bars, simulated", fontsize=10)
    axes.grid(visible=True, which="major", alpha=0.3)
    axes.legend(fontsize=8)
    mpl.rcParams["svg.hashsalt"] = "scale"
    figure.savefig(path, format="svg", metadata={"Date": None})
    plt.close(figure)


HEAD = """# How it scales

Generated by `python -m benchmarks.scale` from the rates in the code and `docs/scale.json`, which `--measure` writes.

## The simulation against measured runs

`actors/simulation.py` goes through a fan-out shard by shard: what the driver does for each, what workers compute, wait
for and move. Here it foretells ingest → features → a registered rule as signal → search over random walks of 500 bars,
on the two cores of the machine of docs/benchmarks.md. What a ticker costs was measured in one run of {calibrated:,}
tickers with one worker; nothing else was fitted to the runs below.
"""

TWO = """
Two workers share the two cores with the driver, Ray's own processes and the disk, to which every table is brought
before its receipt: at 500 bars a ticker, where that is most of the work, they bring less than twice one.
"""

CLUSTERS = """
## Ten thousand tickers, 1m bars, five years

{minutes:,} bars a ticker, the whole path with a rule as signal (`pattern8_relative`, 8 sets of parameters, 5
repetitions of both placebos); {read} read and {written} written. A worker holds {memory} at most, the sixteen of a node
{room}. Simulated on nodes of `cluster.yaml` (16 cores, {price} $ an hour on demand; spot is about a third) that take
{start:.0f} s to come, before S3: {round_trip:.0f} ms for an answer, {bandwidth} a second and node, {requests:,}
requests a second over all. These four are assumptions; nobody ran this at a cloud. "Processors" is the good answer:
more nodes would help.

![time against nodes](scale.svg)
"""

STAGES = """
Stage by stage, and what holds each up:
"""

TAIL = """
"Store bandwidth" is that of each node here, so that twice the nodes still halve it. From about a hundred nodes on the
nodes' own start and the driver, which sends and takes every shard and reads and writes the manifests, take longer than
the work: more nodes cost more and bring nothing. Beyond 10,000 cores a ticker would be the next bound, since it is the
smallest piece of work. Where a node has less memory than its workers together, `worker_memory` lets fewer run there.
The model knows neither stragglers nor spot nodes that go.
"""


def main() -> None:
    """Measure, or write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", action="store_true")
    parser.add_argument("--sizes", type=int, nargs="+", default=[500, 10_000])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--calibrate", type=int, default=1_000)
    given = parser.parse_args()
    if given.measure:
        known = measure(given.sizes, given.workers, given.calibrate)
        MEASURED.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
    (ROOT / "docs" / "scale.md").write_text(page(), encoding="utf-8")
    plot(ROOT / "docs" / "scale.svg")
    print((ROOT / "docs" / "scale.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
