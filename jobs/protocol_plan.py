"""What `jobs.protocols` does beside the run, before it does it: models to train, and every asset by each protocol."""

from collections.abc import Mapping
from dataclasses import replace

from jobs import protocols, standing, train, variants
from jobs.config import RunConfig
from jobs.estimate import Cluster, Expected, learned, one, stage_of
from jobs.stage import Context


def stages(
    context: Context,
    rows: Mapping[str, float],
    cluster: Cluster,
    factors: Mapping[str, float],
    states: Mapping[str, tuple[str, float]],
) -> list[tuple[Expected, tuple[str, float]]]:
    """Each stage that is beside the run, with where it stands: those of every model, then the trading.

    Parameters
    ----------
    rows
        Bars of every ticker of the run.
    factors
        By stage, how many times as long as its rate says it has really taken.
    states
        Where the run's own stages stand. As long as its model is to do, the others are, too.

    Raises
    ------
    NoModelError, ProtocolsError
        If the run trains no model of its own.
    """
    protocols.refuse_without_training(context)
    known = all(states[name][1] >= 1 for name in ("ingest", "train"))
    configs = list(protocols.seeds(context).values()) if known else roughly(context.config)
    found = []
    for config in configs:
        theirs = standing.of_all(replace(context, config=config), protocols.PATH) if known else {}
        for module in protocols.PATH:
            name = module.STAGE.name
            stage = one(
                module, stage_of(module, config), config, learned(config, rows), cluster, factors.get(name, 1.0)
            )
            label = f"{config.run.removeprefix(f'{context.run}-')} {name}"
            found.append((replace(stage, name=label, beside=module is train), theirs.get(name, standing.TO_DO)))
    ready = known and all(done >= 1 for _, (_, done) in found) and all(done >= 1 for _, done in states.values())
    name = protocols.STAGE.name
    trading = one(protocols, protocols.stage(context.config), context.config, rows, cluster, factors.get(name, 1.0))
    return [*found, (trading, standing.of_one(context, protocols.trade) if ready else standing.TO_DO)]


def roughly(config: RunConfig) -> list[RunConfig]:
    """The models' configurations while the run has no model: instants and tickers are only what is configured."""
    return [
        variants.roughly(config, protocols.name_of(traps), change)
        for traps, change in protocols.changes(config).items()
    ]
