"""The whole path from bars to a judged shortlist and its report, from one configuration.

python -m jobs.pipeline --source demo --store store --run demo

With --every 15m it goes on until a signal ends it, and does at each close what new bars require.
"""

import logging
import time
from dataclasses import asdict
from types import ModuleType

from jobs import (
    audit,
    backtest,
    evaluate,
    features,
    ingest,
    labels,
    patterns,
    placebo,
    predict,
    report,
    search,
    shortlist,
    train,
    tune,
)
from jobs.config import RunConfig
from jobs.stage import Context, now
from quant import report_lines
from quant.report import ReportContent
from quant.schemas import FAILURES, frame
from storage import layout
from storage.hashing import combine
from storage.manifest import Failure, Manifest, write_manifest
from storage.tables import write_table

STAGE = "pipeline"
REPEATS = True
"""With ``--every`` it is run again as the bars close."""
HASHED = (
    *("features", "labels", "patterns", "signals"),
    *("trials", "folds", "placebos", "trades", "metrics", "shortlist"),
)

logger = logging.getLogger("assay")


def run(context: Context) -> Manifest:
    """Say what there is to do, and run every stage that is not up to date."""
    from jobs import plan  # which reads the path of this module

    plan.announce(context)
    return run_stages(context)


def run_stages(context: Context) -> Manifest:
    """Run every stage that is not up to date; the result hash covers all tables that a verdict rests on."""
    stages = path(context.config)
    manifests = {}
    for number, stage in enumerate(stages, start=1):
        started = time.perf_counter()
        name = stage.__name__.removeprefix("jobs.")
        logger.info("stage %d of %d: %s", number, len(stages), name)
        if stage is audit:
            # the tickers that are about to be shortlisted are looked at, before anybody is told of them
            listed = shortlist.listed(shortlist.judge(context)[0])
            manifests[name] = audit.run(context, listed=listed)
            audit.gate(context, manifests[name])
        else:
            manifests[name] = stage.run(context)
        logger.info("%s: done in %.1f s", name, time.perf_counter() - started)
    manifest = summary(context, manifests)
    write_failures(context, manifest.failures)
    write_manifest(context.store, context.run, manifest)
    print_summary(context, manifest, report.write(context))
    return manifest


def path(config: RunConfig) -> list[ModuleType]:
    """Stages of a run, in order."""
    if config.signals:
        model = [predict]
    elif config.model or config.rule:
        model = [features, predict]
    elif config.patterns.trade:
        model = [features, patterns, predict]
    else:
        # an earlier run that is judged again brings its model along
        tuned = [tune] if config.train.tuned and not config.rejudge else []
        model = [features, labels, *tuned, train, predict, evaluate]
    checked = [] if config.audit.gate == "off" else [audit]
    return [ingest, *model, search, placebo, backtest, *checked, shortlist]


def summary(context: Context, manifests: dict[str, Manifest]) -> Manifest:
    """Manifest of the run: the result hash over its tables, and the failures of all stages."""
    hashes = {name: value for manifest in manifests.values() for name, value in manifest.hashes.items()}
    return Manifest(
        stage=STAGE,
        fingerprint=combine({name: manifest.fingerprint for name, manifest in manifests.items()}),
        config=context.config.model_dump(mode="json", by_alias=True),
        versions={},
        inputs={name: manifest.result_hash for name, manifest in manifests.items()},
        tickers={},
        rows={name: count for manifest in manifests.values() for name, count in manifest.rows.items()},
        hashes={name: hashes[name] for name in HASHED if name in hashes},
        failures=[row for manifest in manifests.values() for row in manifest.failures],
        created=now(),
        details={"tickers": len(manifests["ingest"].tickers)},
    )


def write_failures(context: Context, failures: list[Failure]) -> None:
    """Write the failures of all stages as one table."""
    table = frame(FAILURES, [asdict(row) for row in failures])
    write_table(context.store, context.run, FAILURES, table.sort_values(list(FAILURES.key), ignore_index=True))


def print_summary(context: Context, manifest: Manifest, told: ReportContent) -> None:
    """Print what the report says and where it is; its path is the last line."""
    print("\n".join(report_lines.lines(told)))
    print(f"\nresult hash: {manifest.result_hash}")
    print(f"tables: {context.store.address(layout.run_prefix(context.run))}")
    print(f"report: {context.store.address(layout.report(context.run))}")


if __name__ == "__main__":
    from jobs.runner import main

    main("pipeline")
