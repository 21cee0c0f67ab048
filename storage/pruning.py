"""What of a store nobody needs any more, decided from listings and records alone: nothing is read or deleted here.

Two questions are answered. Which runs go as a whole: those named, or old ones. And what goes of a run that stays: what
its manifests do not refer to. Of a run that may be in progress nothing goes, and of a key that `storage.layout` does
not format neither that nor its run.
"""

import datetime
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from quant.schemas import DATASETS, FAILURES, REPORT_FIGURES
from storage import layout
from storage.entries import Entry, Unfinished
from storage.layout import Place
from storage.manifest import Manifest, ProgressRecord

SETTLING = datetime.timedelta(minutes=1)  # after which a word that the run was stopped is its last
UNNAMED = {FAILURES.name, REPORT_FIGURES.name}  # tables of the run as a whole, which no manifest names
RECORD = "record.json"  # what a tuning keeps of its trials for the next one


@dataclass(frozen=True)
class Rules:
    """What is asked for.

    Parameters
    ----------
    runs
        Names of runs that go whatever their age.
    keep
        The newest so many runs stay; None sets no number.
    older_than
        Runs that did not change for so long go; None sets no age. With ``keep``, a run goes by both or not at all.
    quiet
        A run that is not at its end, and a write that has not ended, count as in progress for so long after they
        were last heard of.
    stages
        Names of the stages that exist.
    summary
        Name of the stage whose manifest says that the whole path was walked.
    """

    runs: tuple[str, ...] = ()
    keep: int | None = None
    older_than: datetime.timedelta | None = None
    quiet: datetime.timedelta = datetime.timedelta(days=1)
    stages: frozenset[str] = frozenset()
    summary: str = "pipeline"


@dataclass(frozen=True)
class Records:
    """What a run says of itself.

    Parameters
    ----------
    manifests, progress
        By stage.
    checkpoints
        By folder of a training, the names of the checkpoints that it would go on from.
    needs
        Runs that it reads from, now or when it is run again.
    reads
        Runs that it serves while it is in progress.
    damaged
        Records that cannot be read: what nobody refers to is then not known.
    writer
        Who holds its lease, in words; empty where nobody does.
    """

    manifests: Mapping[str, Manifest] = field(default_factory=dict)
    progress: Mapping[str, ProgressRecord] = field(default_factory=dict)
    checkpoints: Mapping[str, frozenset[str]] = field(default_factory=dict)
    needs: frozenset[str] = frozenset()
    reads: frozenset[str] = frozenset()
    damaged: tuple[str, ...] = ()
    writer: str = ""


@dataclass(frozen=True)
class Removal:
    """Something that goes: a whole run (kind ``run``), or the objects of one kind in a run that stays."""

    run: str
    kind: str
    reason: str
    objects: int
    size: int
    changed: datetime.datetime
    entries: Mapping[str, Entry] = field(default_factory=dict, repr=False)
    writes: tuple[Unfinished, ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class Seen:
    """A run as it was found.

    Parameters
    ----------
    whole
        The removal of all of it, should it go.
    leftovers
        What goes where it stays.
    busy
        Why it may be in progress, empty where it is not.
    strange
        Keys that this version does not know.
    """

    name: str
    whole: Removal
    leftovers: tuple[Removal, ...]
    busy: str
    strange: tuple[str, ...]
    records: Records

    @property
    def changed(self) -> datetime.datetime:
        """When it last changed."""
        return self.whole.changed


@dataclass(frozen=True)
class Plan:
    """What goes, and why runs stay that would go by their age, number or name."""

    removals: tuple[Removal, ...]
    stays: Mapping[str, str]


def see(
    name: str,
    entries: Mapping[str, Entry],
    writes: Sequence[Unfinished],
    records: Records,
    rules: Rules,
    moment: datetime.datetime,
) -> Seen:
    """Judge one run by the listing of its objects and unfinished writes and by its records."""
    places = {key: layout.place(name, key) for key in entries}
    strange = tuple(sorted(key for key, place in places.items() if place is None))
    known = {key: place for key, place in places.items() if place is not None}
    busy = _busy(name, entries, known, records, rules, moment)
    leftovers = [] if busy or records.damaged else _leftovers(name, entries, known, records, rules)
    dead = [write for write in writes if moment - write.changed > rules.quiet]
    if dead:
        leftovers.append(_removal(name, "unfinished writes", "their writers are gone", {}, dead))
    # the records of the removal of a whole run are not kept: there may be many runs, and many objects in each
    whole = _removal(name, "run", "", entries, writes)
    whole = Removal(whole.run, whole.kind, whole.reason, whole.objects, whole.size, whole.changed)
    return Seen(name, whole, tuple(leftovers), busy, strange, records)


def plan(runs: Iterable[Seen], rules: Rules, moment: datetime.datetime) -> Plan:
    """Decide what goes of all the runs of a store."""
    seen = {run.name: run for run in runs}
    wanted = _wanted(seen, rules, moment)
    stays: dict[str, str] = {}
    for name in wanted:
        run = seen[name]
        if run.busy:
            stays[name] = run.busy
        elif run.strange:
            stays[name] = f"it holds {len(run.strange)} objects that are not known, the first {run.strange[0]!r}"
    # what a run that stays needs stays, too, and so does what that needs
    open_ = [name for name in seen if name not in wanted or name in stays]
    needed: dict[str, str] = {}
    while open_:
        run = seen[open_.pop()]
        for other in run.records.needs | (run.records.reads if run.busy else frozenset()):
            if other in seen and other != run.name:
                needed.setdefault(other, run.name)
                if other in wanted and other not in stays:
                    stays[other] = f"run '{run.name}' needs it"
                    open_.append(other)
    removals: list[Removal] = []
    for name in sorted(seen):
        if name in wanted and name not in stays:
            whole = seen[name].whole
            removals.append(Removal(name, "run", wanted[name], whole.objects, whole.size, whole.changed))
        else:
            # another run may read what the manifests of this one do not name
            spared = name in needed
            removals += [one for one in seen[name].leftovers if not spared or one.kind == "unfinished writes"]
    return Plan(tuple(removals), stays)


def _wanted(seen: Mapping[str, Seen], rules: Rules, moment: datetime.datetime) -> dict[str, str]:
    """Runs that should go by name, or by age and number, with the reason."""
    found: dict[str, str] = {}
    newest = sorted(seen, key=lambda name: (seen[name].changed, name), reverse=True)
    if rules.keep is not None or rules.older_than is not None:
        for position, name in enumerate(newest):
            beyond = rules.keep is None or position >= rules.keep
            old = rules.older_than is None or moment - seen[name].changed > rules.older_than
            if beyond and old:
                number = [] if rules.keep is None else [f"not among the newest {rules.keep}"]
                age = [] if rules.older_than is None else [f"unchanged for over {_days(rules.older_than)}"]
                found[name] = " and ".join([*number, *age])
    return found | {name: "named" for name in rules.runs if name in seen}


def _days(span: datetime.timedelta) -> str:
    return f"{span / datetime.timedelta(days=1):g} days"


def _busy(
    name: str,
    entries: Mapping[str, Entry],
    known: Mapping[str, Place],
    records: Records,
    rules: Rules,
    moment: datetime.datetime,
) -> str:
    """Say why a run may be in progress; empty where it has come to its end, was stopped, or is long silent."""
    newest = max((entry.changed for entry in entries.values()), default=None)
    if newest is None or moment - newest > rules.quiet:
        return ""
    if records.writer:
        return f"it is written to by {records.writer}"
    last = max(records.progress.values(), key=lambda record: record.updated, default=None)
    if last is not None and last.stopped:
        updated = datetime.datetime.fromisoformat(last.updated)
        if newest - updated < SETTLING:
            return ""
    if _ended(name, entries, known, records, rules):
        return ""
    minutes = max(0, round((moment - newest) / datetime.timedelta(minutes=1)))
    return f"it may be in progress: it has not come to its end, and last changed {minutes} minutes ago"


def _ended(name: str, entries: Mapping[str, Entry], known: Mapping[str, Place], records: Records, rules: Rules) -> bool:
    """Whether the whole path was walked, and nothing of it taken up again."""
    summary = records.manifests.get(rules.summary)
    if summary is None or records.damaged:
        return False
    for stage, result in summary.inputs.items():
        manifest = records.manifests.get(stage)
        if manifest is None or manifest.result_hash != result:
            return False
    if any(record.done < record.total and not record.stopped for record in records.progress.values()):
        return False
    started = entries.get(layout.config(name))
    ends = [entries[key].changed for key, place in known.items() if place.kind in ("manifests", "report.html")]
    return started is None or started.changed <= max(ends)


def _leftovers(
    name: str,
    entries: Mapping[str, Entry],
    known: Mapping[str, Place],
    records: Records,
    rules: Rules,
) -> list[Removal]:
    """What nobody refers to in a run that stays, and that is not in progress."""
    by_kind: dict[str, dict[str, Place]] = defaultdict(dict)
    for key, place in known.items():
        by_kind[place.kind][key] = place
    stages = {stage: manifest for stage, manifest in records.manifests.items() if stage != rules.summary}
    receipts = _receipts(by_kind["receipts"], entries, stages)
    unfinished = {
        place.name for key, place in by_kind["receipts"].items() if key not in receipts and place.name not in stages
    }
    models = {str(manifest.details.get(name)) for manifest in stages.values() for name in ("architecture", "model")}
    chosen = {
        ("receipts", "of work that is complete, or was given up"): receipts,
        ("tables", "of tickers or datasets that no manifest names"): _tables(
            by_kind["tables"], stages, resumable=bool(unfinished)
        ),
        ("models", "that no manifest refers to"): [
            key for key, place in by_kind["models"].items() if place.name not in models
        ],
        ("checkpoints", "that no training goes on from"): _checkpoints(
            name, by_kind["checkpoints"], entries, stages, records.checkpoints
        ),
        ("progress", "of stages that do not exist"): [
            key for key, place in by_kind["progress"].items() if place.name not in rules.stages
        ],
    }
    return [
        _removal(name, kind, reason, {key: entries[key] for key in sorted(keys)}, [])
        for (kind, reason), keys in chosen.items()
        if keys
    ]


def _receipts(places: Mapping[str, Place], entries: Mapping[str, Entry], stages: Mapping[str, Manifest]) -> set[str]:
    """Receipts of stages that are complete without failures, and of fingerprints other than the one gone on from."""

    def current(stage: str, folders: Mapping[str, datetime.datetime]) -> str | None:
        manifest = stages.get(stage)
        if manifest is None:
            return max(folders, key=lambda folder: (folders[folder], folder))
        # a stage with failures goes on from the receipts of the others
        return manifest.fingerprint if manifest.failures else None

    return _stale(
        places,
        entries,
        current,
        folder=lambda place: place.rest,
        same=lambda folder, fingerprint: fingerprint.startswith(folder),
    )


def _stale(
    places: Mapping[str, Place],
    entries: Mapping[str, Entry],
    current: Callable[[str, Mapping[str, datetime.datetime]], str | None],
    folder: Callable[[Place], str],
    same: Callable[[str, str], bool],
) -> set[str]:
    """Keys outside the one folder of each stage that is current; all where none is."""
    newest: dict[str, dict[str, datetime.datetime]] = defaultdict(dict)
    for key, place in places.items():
        changed = newest[place.name].get(folder(place))
        entry = entries[key].changed
        newest[place.name][folder(place)] = entry if changed is None else max(changed, entry)
    kept = {stage: current(stage, folders) for stage, folders in newest.items()}

    def stale(place: Place) -> bool:
        this = kept[place.name]
        return this is None or not same(folder(place), this)

    return {key for key, place in places.items() if stale(place)}


def _tables(places: Mapping[str, Place], stages: Mapping[str, Manifest], *, resumable: bool) -> set[str]:
    """Tables that no manifest names, be it the dataset or the ticker.

    A stage that goes on from receipts has tables that no manifest names yet: where there is one, datasets that none
    names stay.
    """
    tickers: dict[str, set[str]] = defaultdict(set)
    for manifest in stages.values():
        for name in manifest.rows:
            tickers[name] |= set(manifest.tickers)
    found = set()
    for key, place in places.items():
        dataset = DATASETS.get(place.name)
        if dataset is None or place.name in UNNAMED:
            continue
        if place.name not in tickers:
            unnamed = not resumable
        else:
            unnamed = dataset.by_ticker and layout.unquote(place.rest) not in tickers[place.name]
        if unnamed:
            found.add(key)
    return found


def _checkpoints(
    run: str,
    places: Mapping[str, Place],
    entries: Mapping[str, Entry],
    stages: Mapping[str, Manifest],
    used: Mapping[str, frozenset[str]],
) -> set[str]:
    """Checkpoints that nothing goes on from.

    Of each stage the folder that changed last is the one gone on from. Of a stage that is complete only the records
    of trials stay, which another tuning uses; of one that is not, what its own record of checkpoints names.
    """
    stale = _stale(
        places,
        entries,
        lambda stage, folders: max(folders, key=lambda folder: (folders[folder], folder)),
        folder=lambda place: place.rest.partition("/")[0],
        same=lambda folder, newest: folder == newest,
    )
    for key, place in places.items():
        if place.name in stages:
            if key.rpartition("/")[2] != RECORD:
                stale.add(key)
            continue
        for training, names in used.items():
            inside = key.removeprefix(f"{training}/").partition("/")[0]
            if key.startswith(f"{training}/checkpoint_") and inside not in names and "/" in key[len(training) + 1 :]:
                stale.add(key)
    return stale


def _removal(run: str, kind: str, reason: str, entries: Mapping[str, Entry], writes: Sequence[Unfinished]) -> Removal:
    moments = [*(entry.changed for entry in entries.values()), *(write.changed for write in writes)]
    return Removal(
        run,
        kind,
        reason,
        objects=len(entries) + len(writes),
        size=sum(entry.size for entry in entries.values()) + sum(write.size for write in writes),
        changed=max(moments),
        entries=dict(entries),
        writes=tuple(writes),
    )
