"""Remove old runs, objects that nobody refers to and orphaned checkpoints, after showing what it would remove.

python -m jobs.prune --store URL [--prune.keep N] [--prune.older_than_days D] [--prune.runs '["NAME"]'] [--prune.delete]

Without --prune.delete it only shows. Whole runs go by name, or by number and age; of the runs that stay goes what they
do not need: receipts of work that is complete, tables and models that no manifest names, checkpoints that no training
goes on from, and unfinished writes of writers that are gone. A run that may be in progress is left alone, and so is one
that such a run, or one that stays, reads from; so is what this version does not know. It starts no Ray.
"""

import datetime
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from actors.progress import amount, duration
from jobs import ablate, pipeline, protocols
from jobs.config_data import EMBEDDED
from jobs.runner import names
from jobs.stage import Context
from storage import layout
from storage.entries import Entry, Unfinished
from storage.errors import KeyMissing, StoreError
from storage.lease import writer
from storage.manifest import (
    Manifest,
    ProgressRecord,
    delete_run,
    list_runs,
    read_config,
    read_manifest,
    read_progress,
)
from storage.pruning import Plan, Records, Removal, Rules, Seen, plan, see
from storage.store import Store, open_store

# what a training keeps of its checkpoints, written by Ray Train
SNAPSHOT = "checkpoint_manager_snapshot.json"


class PruneError(ValueError):
    """A run that was named and cannot be removed."""


def look(context: Context) -> None:
    """Show what goes, and remove it where that is asked for.

    Raises
    ------
    PruneError
        If a named run is not there, or has to stay.
    """
    rules = rules_of(context)
    moment = datetime.datetime.now(datetime.UTC)
    found = planned(context.store, rules, moment)
    refused = {name: found.stays[name] for name in rules.runs if name in found.stays}
    if refused:
        raise PruneError("; ".join(f"run '{name}' stays: {reason}" for name, reason in refused.items()) + ".")
    for line in lines(found, context.store, moment):
        print(line)
    if not found.removals:
        return
    if not context.config.prune.delete:
        print("nothing was removed; --prune.delete removes it")
        return
    done = [remove(context.store, removal, rules) for removal in found.removals]
    objects, size = sum(one.objects for one in done), sum(one.size for one in done)
    print(f"removed {objects:,} objects, {amount(size)}")


def rules_of(context: Context) -> Rules:
    """What is asked for.

    Raises
    ------
    PruneError
        If a run is named that the store does not hold.
    """
    settings = context.config.prune
    there = list_runs(context.store)
    for name in settings.runs:
        if name not in there:
            shown = ", ".join(there) or "none"
            raise PruneError(f"{context.store.url} holds no run '{name}' (prune.runs); the runs there: {shown}.")
    age = settings.older_than_days
    return Rules(
        runs=settings.runs,
        keep=settings.keep,
        older_than=None if age is None else datetime.timedelta(days=age),
        quiet=datetime.timedelta(hours=settings.quiet_hours),
        stages=frozenset(names()),
        summary=pipeline.STAGE,
    )


def planned(store: Store, rules: Rules, moment: datetime.datetime) -> Plan:
    """Look at every run and decide what goes; one listing a run, and no request a ticker."""
    writes: dict[str, list[Unfinished]] = {}
    for write in store.unfinished(layout.runs()):
        parts = write.key.split("/")
        if len(parts) > 2 and is_run(parts[1]):
            writes.setdefault(parts[1], []).append(write)
    found = sorted({name for name in list_runs(store) if is_run(name)} | set(writes))
    return plan((seen(store, name, writes.get(name, []), rules, moment) for name in found), rules, moment)


def seen(store: Store, name: str, writes: Sequence[Unfinished], rules: Rules, moment: datetime.datetime) -> Seen:
    """Judge one run."""
    entries = store.entries(layout.run_prefix(name))
    return see(name, entries, writes, records(store, name, entries), rules, moment)


def is_run(name: str) -> bool:
    """Whether a folder has a name that a run may have."""
    try:
        layout.run_prefix(name)
    except StoreError:
        return False
    return True


def records(store: Store, run: str, entries: Mapping[str, Entry]) -> Records:
    """Read what a run says of itself; what cannot be read is named, and is no reason to stop."""
    manifests: dict[str, Manifest] = {}
    progress: dict[str, ProgressRecord] = {}
    checkpoints: dict[str, frozenset[str]] = {}
    damaged: list[str] = []
    config: dict[str, object] = {}
    for key in entries:
        place = layout.place(run, key)
        try:
            if place is None:
                continue
            if place.kind == "manifests" and (manifest := read_manifest(store, run, place.name)):
                manifests[place.name] = manifest
            elif place.kind == "progress":
                # it decides nothing that its age does not: one that cannot be read is as good as none
                with suppress(StoreError):
                    if record := read_progress(store, run, place.name):
                        progress[place.name] = record
            elif place.kind == "checkpoints" and key.endswith(f"/{SNAPSHOT}"):
                checkpoints[key.removesuffix(f"/{SNAPSHOT}")] = checkpoint_names(store.read(key))
            elif place.kind == "config.json":
                config = read_config(store, run)
        except KeyMissing:
            continue  # gone since it was listed
        except StoreError:
            damaged.append(key)
    walked = manifests[pipeline.STAGE].config if pipeline.STAGE in manifests else {}
    needs = {name for one in (config, walked) for name in needed(store, one)}
    holder = writer(store, run) if any(key.startswith(f"{layout.leases(run)}/") for key in entries) else None
    return Records(
        manifests, progress, checkpoints, frozenset(needs), frozenset(served(run)), tuple(damaged), holder or ""
    )


def checkpoint_names(snapshot: bytes) -> frozenset[str]:
    """Names of the checkpoints that Ray Train's own record of them holds.

    Raises
    ------
    StoreError
        If it is no such record.
    """
    try:
        found = json.loads(snapshot)
        results = [*found["checkpoint_results"], *found["pending_training_results"], found["latest_checkpoint_result"]]
        return frozenset(str(result["checkpoint_dir_name"]) for result in results if result)
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(f"a record of checkpoints cannot be read: {error!r}") from error


def needed(store: Store, config: Mapping[str, object]) -> set[str]:
    """Runs that a run reads from by its configuration: the one judged again, and those that its URLs lead into."""
    found = {str(config["rejudge"])} if config.get("rejudge") else set()
    ingest = config.get("ingest")
    urls = [config.get(name) for name in ("source", "signals", "model", "scaler")]
    urls.append(ingest.get("funding") if isinstance(ingest, Mapping) else None)  # "source" leads into no run
    inside = f"{store.url.rstrip('/')}/{layout.runs()}/"
    for url in urls:
        if isinstance(url, str) and url not in EMBEDDED:
            try:
                whole = open_store(url).url
            except StoreError:
                continue
            if whole.startswith(inside):
                found.add(whole.removeprefix(inside).partition("/")[0])
    return found


def served(run: str) -> set[str]:
    """The run that this one would be a variant of, by its name."""
    variants = (*ablate.VARIANTS, *protocols.SEEDS.values())
    return {run.removesuffix(f"-{variant}") for variant in variants if run.endswith(f"-{variant}")}


def remove(store: Store, removal: Removal, rules: Rules) -> Removal:
    """Remove what was planned and still is as it was; return what went."""
    prefix = layout.run_prefix(removal.run)
    entries, writes = store.entries(prefix), store.unfinished(prefix)
    moment = datetime.datetime.now(datetime.UTC)
    again = see(removal.run, entries, writes, records(store, removal.run, entries), rules, moment)
    if removal.kind == "run":
        if again.busy or again.strange or again.changed != removal.changed:
            print(f"run '{removal.run}' has changed since, and stays")
            return replace(removal, objects=0, size=0)
        keys = list(entries)
    else:
        due = next(
            (one for one in again.leftovers if one.kind == removal.kind), replace(removal, entries={}, writes=())
        )
        keys = [key for key, entry in removal.entries.items() if due.entries.get(key) == entry]
        writes = [write for write in removal.writes if write in due.writes]
    for write in writes:
        store.abandon(write)
    delete_run(store, removal.run, keys)
    size = sum(entries[key].size for key in keys) + sum(write.size for write in writes)
    return replace(removal, objects=len(keys) + len(writes), size=size)


def lines(found: Plan, store: Store, moment: datetime.datetime) -> list[str]:
    """The plan as a person reads it."""
    header = ("run", "kind", "objects", "bytes", "age", "reason")
    rows = [
        (one.run, one.kind, f"{one.objects:,}", amount(one.size), age(moment - one.changed), one.reason)
        for one in found.removals
    ]
    objects, size = sum(one.objects for one in found.removals), sum(one.size for one in found.removals)
    rows.append(("in all", "", f"{objects:,}", amount(size), "", ""))
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    numbers = (2, 3, 4)

    def row_of(cells: Sequence[str]) -> str:
        padded = [
            cell.rjust(width) if column in numbers else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return "  ".join(padded).rstrip()

    table = [row_of(row) for row in (header, *rows)] if found.removals else ["there is nothing to remove"]
    return [
        f"store {store.url}",
        *table,
        *(f"run '{name}' stays: {reason}" for name, reason in sorted(found.stays.items())),
    ]


def age(span: datetime.timedelta) -> str:
    """A length of time in days where it is one or more."""
    days = span / datetime.timedelta(days=1)
    return f"{days:.0f} days" if days >= 2 else duration(max(0.0, span.total_seconds()))


if __name__ == "__main__":
    from jobs.runner import main

    main("prune")
