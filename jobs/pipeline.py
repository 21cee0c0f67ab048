"""The whole path from bars to a judged shortlist and its report, from one configuration.

python -m jobs.pipeline --source demo --store store --run demo

With --every 15m it goes on until a signal ends it, and does at each close what new bars require.
"""

import logging
import time
from dataclasses import asdict
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd

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
from jobs.stage import Context, now, require
from quant.schemas import FAILURES, SHORTLIST, frame
from storage import layout
from storage.hashing import combine
from storage.manifest import Failure, Manifest, read_manifest, write_manifest
from storage.tables import read_table, write_table

STAGE = "pipeline"
REPEATS = True
"""With ``--every`` it is run again as the bars close."""
HASHED = (
    *("features", "labels", "patterns", "signals"),
    *("trials", "folds", "placebos", "trades", "metrics", "shortlist"),
)

logger = logging.getLogger("assay")


def run(context: Context) -> Manifest:
    """Run every stage that is not up to date; the result hash covers all tables that a verdict rests on."""
    from jobs import plan  # which reads the path of this module

    plan.announce(context)
    stages = path(context.config)
    manifests = {}
    for number, stage in enumerate(stages, start=1):
        started = time.perf_counter()
        name = stage.__name__.removeprefix("jobs.")
        logger.info("stage %d of %d: %s", number, len(stages), name)
        manifests[name] = stage.run(context)
        if stage is audit:
            audit.gate(context, manifests[name])
        logger.info("%s: done in %.1f s", name, time.perf_counter() - started)
    manifest = summary(context, manifests)
    write_failures(context, manifest.failures)
    write_manifest(context.store, context.run, manifest)
    report.run(context)
    print_summary(context, manifest)
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


def print_summary(context: Context, manifest: Manifest) -> None:
    """Print the shortlist and where the report is; the path of the report is the last line."""
    verdicts = read_table(context.store, context.run, SHORTLIST)
    shown = verdicts[verdicts["shortlisted"]]
    print(f"\n{len(shown)} of {len(verdicts)} tickers hold up on the judge part:\n")
    if len(shown):
        print(_table(shown))
    else:
        print("  none: no evidence that the strategy works on any of them, which is a good answer to have")
    print(f"\n{luck(require(context, 'shortlist').details)}")
    print("\nrejected:")
    for stage, group in verdicts[~verdicts["shortlisted"]].groupby("stage"):
        print(f"  {len(group):>4} on {stage}, for example {group.iloc[0]['ticker']}: {group.iloc[0]['reason']}")
    if audited := read_manifest(context.store, context.run, audit.STAGE.name):
        print(f"\naudit: {' '.join(audit.sentences(audited))}")
    print(f"\nresult hash: {manifest.result_hash}")
    print(f"tables: {context.store.address(layout.run_prefix(context.run))}")
    print(f"report: {context.store.address(layout.report(context.run))}")


def luck(details: dict[str, Any]) -> str:
    """What the placebos say of the shortlist, in one sentence."""
    kinds = details["placebo_entries"]
    if not kinds:
        return "No placebos were searched (placebo.repetitions is 0): how much of this is luck is not measured."
    markets, entries = sum(map(len, kinds.values())), sum(map(sum, kinds.values()))
    return (
        f"Candidates: {details['candidates']}. "
        f"The same search on {markets} placebo markets ({', '.join(kinds)}) let {entries} entries through."
    )


def _table(verdicts: pd.DataFrame) -> str:
    percent, plain, tiny = "{:+.1%}".format, "{:.2f}".format, "{:.2g}".format
    columns = {
        "ticker": ("ticker", str),
        "judge_return": ("return", percent),
        "buy_and_hold_return": ("held", percent),
        "judge_sharpe": ("Sharpe", plain),
        "deflated_sharpe": ("deflated", "{:.3f}".format),
        "judge_trades": ("trades", "{:.0f}".format),
        "win_rate": ("wins", "{:.0%}".format),
        "max_drawdown": ("drawdown", percent),
        "p_value": ("p", tiny),
        "false_discovery_rate": ("FDR", tiny),
    }
    rates = np.fmax(verdicts["q_value"], verdicts["placebo_q_value"])
    shown = verdicts.assign(false_discovery_rate=rates)[list(columns)]
    shown.columns = [name for name, _ in columns.values()]
    return str(shown.to_string(formatters=dict(columns.values()), index=False))


if __name__ == "__main__":
    from jobs.runner import main

    main("pipeline")
