"""Runs that differ from another in a few settings, over the same instants and on the tickers that it learned from."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from jobs import market, train
from jobs.config import RunConfig
from jobs.stage import Context, require

Change = Mapping[str, Mapping[str, Any]]


def changed(context: Context, name: str, change: Change) -> Context:
    """The run of a variant: the same instants, the tickers that the model learned from, and some settings changed."""
    learned = require(context, "train").details["tickers"]
    parts = market.parts(context, market.of(context))
    # hyperparameters that the run tuned are the variant's, too: it is not tuned again
    given = train.tuned(context).config.model_dump(by_alias=True)
    given["run"] = f"{context.run}-{name}"
    given["train"]["tuned"] = False
    given["ingest"]["tickers"] = tuple(ticker.partition(":")[2] for ticker in learned)
    given["train"]["tickers"] = tuple(learned)
    given["split"] |= {"start": parts["fit"].start, "end": parts["judge"].end}
    for section, values in change.items():
        given[section] |= values
    return replace(context, config=RunConfig.model_validate(given))


def roughly(config: RunConfig, name: str, change: Change) -> RunConfig:
    """The configuration of a variant while the run has no model: with the settings changed, and nothing settled."""
    changed = {section: getattr(config, section).model_copy(update=dict(values)) for section, values in change.items()}
    return config.model_copy(update={"run": f"{config.run}-{name}", **changed})


def words(change: Change) -> str:
    """The settings of a variant as they would be configured."""
    return ", ".join(
        f"{section}.{key} = {value}" for section, values in change.items() for key, value in values.items()
    )


def differs(config: RunConfig, change: Change) -> bool:
    """Whether a change changes anything."""
    return any(
        getattr(getattr(config, section), key) != value for section, of in change.items() for key, value in of.items()
    )
