"""Where the stages of a run stand: they answer it themselves, and nothing is run."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from types import ModuleType

from jobs.stage import Context, NotDone, StageMissingError
from storage.manifest import Manifest, read_manifest, read_receipts

TO_DO = ("to do", 0.0)


def of_all(context: Context, path: Sequence[ModuleType]) -> dict[str, tuple[str, float]]:
    """By stage of a path, where it stands in words, and the share of it that is done.

    A stage after one that is to be done counts as to be done: if nothing comes of that, it will be unchanged.
    """
    found: dict[str, tuple[str, float]] = {}
    for module in path:
        behind = any(found.get(stage, ("", 1.0))[1] < 1 for stage in module.STAGE.inputs)
        found[module.__name__.removeprefix("jobs.")] = TO_DO if behind else of_one(context, module.run)
    return found


def of_one(context: Context, run: Callable[[Context], Manifest]) -> tuple[str, float]:
    """Where one stage stands, in words and as a share, by what its own function answers."""
    try:
        done = run(replace(context, planned=True))
    except StageMissingError:
        return TO_DO
    except NotDone as answer:
        return _begun(context, answer)
    return f"done at {done.created[:16].replace('T', ' ')}", 1.0


def _begun(context: Context, answer: NotDone) -> tuple[str, float]:
    """What receipts say of a stage that was stopped."""
    receipts = read_receipts(context.store, context.run, answer.stage.name, answer.identity)
    done = sum(len(receipt.items) for receipt in receipts)
    if not done:
        return TO_DO
    failed = len({failure.ticker for receipt in receipts for failure in receipt.failures})
    return f"{done:,} done before", min(done / max(done + failed, _total(context, answer)), 0.999)


def _total(context: Context, answer: NotDone) -> int:
    known = [read_manifest(context.store, context.run, name) for name in answer.stage.inputs]
    return max((len(manifest.tickers) for manifest in known if manifest), default=1)
