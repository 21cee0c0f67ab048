"""Train and judge the model again with one thing changed at a time, to see what it rests on.

python -m jobs.ablate --config run.toml --store URL --run NAME

Each variant is a run of its own, NAME-VARIANT, over the same instants and on the tickers that the model learned from
alone; it is resumed and kept like any other. The report of the run shows them side by side.
"""

import logging
from collections.abc import Callable
from typing import Any

import pandas as pd

from jobs import evaluate, features, ingest, labels, predict, report, train
from jobs.config import RunConfig
from jobs.stage import Context, Stage, require, require_training, stage_fingerprint, up_to_date, write_whole
from jobs.variants import Change, changed, differs, words
from quant.network import ARCHITECTURES
from quant.schemas import ABLATIONS, EVALUATION, frame
from storage.manifest import Manifest, read_manifest
from storage.tables import read_table

STAGE = Stage("ablate", 1, ("evaluate",), (ABLATIONS,))
AS_CONFIGURED = "as_configured"
PATH = (ingest, features, labels, train, predict, evaluate)

logger = logging.getLogger("assay")


class AblateError(ValueError):
    """A run whose model cannot be tried without something."""


def fewest_steps(config: RunConfig) -> Change:
    """As few bars as the architecture takes."""
    return {"train": {"steps": ARCHITECTURES[config.train.architecture].least_steps}}


def shuffled_features(config: RunConfig) -> Change:
    """The features in another order, which a convolution over them notices."""
    return {"train": {"shuffle_features": config.ablate.seed}}


def other_scale(config: RunConfig) -> Change:
    """Raw features in place of scale-free ones, or the other way round."""
    name = config.features.set
    return {"features": {"set": name.removesuffix("_relative") if name.endswith("_relative") else f"{name}_relative"}}


def other_alignment(config: RunConfig) -> Change:
    """The article's labels in place of honest ones, or the other way round."""
    return {"labels": {"alignment": "honest" if config.labels.alignment == "seed" else "seed"}}


VARIANTS: dict[str, Callable[[RunConfig], Change]] = {
    change.__name__: change for change in (fewest_steps, shuffled_features, other_scale, other_alignment)
}


def run(context: Context) -> Manifest:
    """Bring all variants and the table over them up to date."""
    require_training(context, STAGE.name)
    if context.config.rejudge:
        raise AblateError("ablate: this run trained no model of its own (rejudge is set)")
    settings = {"changes": changes(context.config)}
    if done := up_to_date(context, STAGE, stage_fingerprint(context, STAGE, settings)):
        return done
    rows = rows_of(context, AS_CONFIGURED, {})
    for number, (name, change) in enumerate(settings["changes"].items(), start=1):
        logger.info("ablate: variant %d of %d: %s (%s)", number, len(settings["changes"]), name, words(change))
        variant = changed(context, name, change)
        for stage in PATH:
            stage.run(variant)
        rows += rows_of(variant, name, change)
    table = frame(ABLATIONS, rows).sort_values(list(ABLATIONS.key), ignore_index=True)
    manifest = write_whole(context, STAGE, settings, {ABLATIONS: table})
    if read_manifest(context.store, context.run, "pipeline") is not None:
        report.write(context)
    print_summary(table)
    return manifest


def changes(config: RunConfig) -> dict[str, Change]:
    """What each variant changes; one that would change nothing is left out."""
    found = {name: VARIANTS[name](config) for name in config.ablate.variants}
    return {name: change for name, change in found.items() if differs(config, change)}


def rows_of(context: Context, variant: str, change: Change) -> list[dict[str, Any]]:
    """The evaluation of a run as rows of the table over all."""
    reason = require(context, "evaluate").details["reason"]
    if reason:
        raise AblateError(f"ablate: run '{context.run}' has no evaluation: {reason}")
    found = read_table(context.store, context.run, EVALUATION)
    columns = [column.name for column in ABLATIONS.columns if column.name in found.columns]
    return found[columns].assign(variant=variant, setting=words(change)).to_dict("records")


def print_summary(table: pd.DataFrame) -> None:
    """Print the macro-F1 and the AUC of long against short of the network in each variant."""
    chosen = table[(table["model"] == evaluate.CNN) & table["statistic"].isin(["macro_f1", "direction_auc"])]
    cells = chosen.assign(
        shown=[f"{row.estimate:.3f} ({row.low:.3f} to {row.high:.3f})" for row in chosen.itertuples(index=False)]
    )
    wide = cells.pivot_table("shown", ["variant", "setting"], "statistic", aggfunc="first").reset_index()
    print(f"\n{wide.rename_axis(columns=None).to_string(index=False)}")


if __name__ == "__main__":
    from jobs.runner import main

    main("ablate")
