"""What goes of a store, decided from listings and records: every reason, and every reason not to."""

import datetime
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from storage import layout
from storage.entries import Entry, Unfinished
from storage.manifest import Failure, Manifest, ProgressRecord
from storage.pruning import Plan, Records, Rules, Seen, plan, see

NOW = datetime.datetime(2026, 6, 1, 12, tzinfo=datetime.UTC)
DAY = datetime.timedelta(days=1)
RULES = Rules(stages=frozenset({"ingest", "features", "train", "tune", "search", "pipeline"}))
PRINT, OTHER = "ab" * 32, "cd" * 32


def manifest(stage: str, tickers: Sequence[str] = (), **settings: Any) -> Manifest:
    outputs = {"ingest": ("bars",), "features": ("features",), "search": ("trials",)}.get(stage, ())
    given: dict[str, Any] = {
        "fingerprint": PRINT,
        "config": {},
        "inputs": {},
        "failures": [],
        "details": {},
        "rows": dict.fromkeys(outputs, 1),
        "hashes": {stage: "01" * 32},
    }
    return Manifest(
        stage=stage, versions={}, tickers={ticker: {} for ticker in tickers}, created="", **given | settings
    )


def progress(stage: str, done: int = 1, *, stopped: bool = False, ago: datetime.timedelta) -> ProgressRecord:
    return ProgressRecord(stage, "tickers", 0, 2, done, 0, 1.0, "", stopped, (NOW - ago).isoformat(), 0.5)


def run(
    name: str,
    keys: Sequence[str] = (),
    *,
    ago: datetime.timedelta = 10 * DAY,
    fresh: Sequence[str] = (),
    writes: Sequence[Unfinished] = (),
    records: Records | None = None,
    rules: Rules = RULES,
) -> Seen:
    """A run with a report and these keys, all so old but for the fresh ones, of a minute ago."""
    entries = dict.fromkeys([layout.report(name), *keys], Entry(10, NOW - ago))
    entries |= dict.fromkeys(fresh, Entry(10, NOW - datetime.timedelta(minutes=1)))
    return see(name, entries, writes, records or Records(), rules, NOW)


def gone(found: Plan, kind: str) -> dict[str, list[str]]:
    """Keys of one kind that go, by run."""
    return {one.run: sorted(one.entries) for one in found.removals if one.kind == kind}


def removed(seen: Sequence[Seen], **settings: Any) -> list[str]:
    found = plan(seen, replace(RULES, **settings), NOW)
    return [one.run for one in found.removals if one.kind == "run"]


@pytest.fixture
def aged() -> list[Seen]:
    return [run(name, ago=days * DAY) for name, days in (("a", 40), ("b", 30), ("c", 20), ("d", 2))]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, []),
        ({"keep": 2}, ["a", "b"]),
        ({"keep": 0}, ["a", "b", "c", "d"]),
        ({"keep": 9}, []),
        ({"older_than": 25 * DAY}, ["a", "b"]),
        ({"older_than": 25 * DAY, "keep": 3}, ["a"]),
        ({"older_than": 90 * DAY, "keep": 1}, []),
        ({"runs": ("d",)}, ["d"]),
        ({"runs": ("d",), "keep": 3}, ["a", "d"]),
    ],
)
def test_runs_go_by_number_age_and_name(aged: list[Seen], settings: dict[str, Any], expected: list[str]) -> None:
    assert removed(aged, **settings) == expected


def test_a_removal_says_how_much_how_old_and_why(aged: list[Seen]) -> None:
    (found,) = plan(aged, replace(RULES, keep=2, older_than=35 * DAY), NOW).removals
    assert (found.run, found.objects, found.size, NOW - found.changed) == ("a", 1, 10, 40 * DAY)
    assert found.reason == "not among the newest 2 and unchanged for over 35 days"


def busy(records: Records, *, ago: datetime.timedelta, fresh: Sequence[str] = ()) -> bool:
    """Whether a run with these records counts as in progress."""
    keys = [
        *(layout.manifest("a", stage) for stage in records.manifests),
        *(layout.progress("a", stage) for stage in records.progress),
    ]
    seen = run("a", keys, ago=ago, fresh=fresh, records=records)
    assert bool(removed([seen], runs=("a",))) is not bool(seen.busy)
    return bool(seen.busy)


HOUR, MINUTE = datetime.timedelta(hours=1), datetime.timedelta(minutes=1)
INGEST = manifest("ingest", ["A"])
WALKED = {"ingest": INGEST, "pipeline": manifest("pipeline", inputs={"ingest": INGEST.result_hash})}


@pytest.mark.parametrize("ago", [MINUTE, HOUR, 23 * HOUR])
def test_a_run_that_is_not_at_its_end_is_in_progress_for_a_day_after_it_was_last_heard_of(
    ago: datetime.timedelta,
) -> None:
    assert busy(Records(), ago=ago)
    assert busy(Records(manifests={"ingest": INGEST}), ago=ago)
    assert busy(Records(progress={"ingest": progress("ingest", ago=ago)}), ago=ago)
    assert not busy(Records(progress={"ingest": progress("ingest", ago=25 * HOUR)}), ago=25 * HOUR)


def test_a_run_that_was_stopped_or_has_come_to_its_end_is_not() -> None:
    stopped = {"ingest": progress("ingest", ago=2 * HOUR), "search": progress("search", stopped=True, ago=HOUR)}
    assert not busy(Records(progress=stopped), ago=HOUR)
    assert not busy(Records(manifests=WALKED), ago=MINUTE)


def test_a_run_that_goes_on_after_a_stop_or_after_its_end_is() -> None:
    stopped = {"search": progress("search", stopped=True, ago=HOUR)}
    assert busy(Records(progress=stopped), ago=HOUR, fresh=[layout.table("a", "trials", "A")])
    later = stopped | {"ingest": progress("ingest", ago=MINUTE)}
    assert busy(Records(progress=later), ago=HOUR, fresh=[layout.progress("a", "ingest")])
    again = WALKED | {"ingest": manifest("ingest", ["A"], hashes={"bars": "99"})}
    assert busy(Records(manifests=again), ago=HOUR)
    assert busy(Records(manifests={"pipeline": WALKED["pipeline"]}), ago=HOUR)
    assert busy(Records(manifests=WALKED, progress={"search": progress("search", ago=MINUTE)}), ago=MINUTE)
    # a job was started, and has written nothing yet
    assert busy(Records(manifests=WALKED), ago=HOUR, fresh=[layout.config("a")])


def test_a_run_that_another_needs_stays_unless_that_one_goes_too() -> None:
    january, february = run("january"), run("february", records=Records(needs=frozenset({"january"})))
    march = run("march", records=Records(needs=frozenset({"february"})))
    all_ = [january, february, march]
    assert removed(all_, runs=("january",)) == []
    assert plan(all_, replace(RULES, runs=("january",)), NOW).stays == {"january": "run 'february' needs it"}
    assert removed(all_, runs=("january", "february")) == []
    assert removed(all_, runs=("january", "february", "march")) == ["february", "january", "march"]
    assert removed(all_, runs=("march",)) == ["march"]


def test_a_run_whose_variant_is_in_progress_stays() -> None:
    variants = [run("a-fewest_steps", ago=ago, records=Records(reads=frozenset({"a"}))) for ago in (HOUR, 10 * DAY)]
    assert [removed([run("a"), variant], runs=("a",)) for variant in variants] == [[], ["a"]]


def test_a_run_with_something_unknown_in_it_stays_and_so_does_that() -> None:
    seen = run("a", ["runs/a/notes.txt", layout.progress("a", "strange")])
    found = plan([seen], replace(RULES, runs=("a",)), NOW)
    assert found.stays == {"a": "it holds 1 objects that are not known, the first 'runs/a/notes.txt'"}
    assert [(one.kind, list(one.entries)) for one in found.removals] == [("progress", ["runs/a/progress/strange.json"])]


RECEIPTS = [layout.receipt("a", "ingest", identity, "e0") for identity in (PRINT, OTHER)]


@pytest.mark.parametrize(
    ("manifests", "expected"),
    [
        ({"ingest": INGEST}, RECEIPTS),  # complete: what was killed before it had forgotten them
        ({"ingest": replace(INGEST, failures=[Failure("B", "ingest", "x", "y")])}, RECEIPTS[1:]),  # goes on with B
        ({}, RECEIPTS[:1]),  # not complete: the folder that changed last is gone on from
    ],
)
def test_receipts_go_that_no_stage_goes_on_from(manifests: dict[str, Manifest], expected: list[str]) -> None:
    entries = {RECEIPTS[0]: Entry(1, NOW - 9 * DAY), RECEIPTS[1]: Entry(1, NOW - 8 * DAY)}
    seen = see("a", entries, [], Records(manifests=manifests), RULES, NOW)
    assert gone(plan([seen], RULES, NOW), "receipts") == {"a": sorted(expected)}


def test_tables_go_that_no_manifest_names() -> None:
    keys = {
        name: layout.table("a", dataset, ticker)
        for name, dataset, ticker in (
            ("kept", "bars", "A"),
            ("stranger", "bars", "B/USDT"),
            ("dropped", "trials", "A"),
            ("whole", "shortlist", None),
            ("failures", "failures", None),
            ("figures", "report_figures", None),
            ("future", "not_a_dataset_yet", "A"),
        )
    }
    walked = manifest("pipeline", rows={"bars": 1, "trials": 1, "shortlist": 1})
    records = Records(manifests={"ingest": INGEST, "pipeline": walked})
    seen = run("a", list(keys.values()), records=records)
    assert gone(plan([seen], RULES, NOW), "tables") == {
        "a": sorted(keys[name] for name in ("stranger", "dropped", "whole"))
    }
    # the search goes on from a receipt: its tables are in no manifest yet
    going = run("a", [*keys.values(), layout.receipt("a", "search", PRINT, "e0")], records=records)
    assert gone(plan([going], RULES, NOW), "tables") == {"a": [keys["stranger"]]}


def test_models_go_that_no_manifest_refers_to() -> None:
    keys = [layout.model("a", name, "model.keras") for name in ("cnn", "causal", "patterns")]
    trained, fitted = (
        manifest(name, details=details)
        for name, details in (("train", {"architecture": "cnn"}), ("pattern_fit", {"model": "patterns"}))
    )
    records = Records(manifests={"train": trained, "pattern_fit": fitted})
    assert gone(plan([run("a", keys, records=records)], RULES, NOW), "models") == {"a": [keys[1]]}
    assert gone(plan([run("a", keys)], RULES, NOW), "models") == {"a": sorted(keys)}


def test_checkpoints_go_that_no_training_goes_on_from() -> None:
    train = layout.checkpoints("a", "train")
    names = ("one/checkpoint_1/state.npz", "one/checkpoint_2/state.npz", "one/checkpoint_manager_snapshot.json")
    entries = {f"{train}/{name}": Entry(1, NOW - 8 * DAY) for name in names}
    entries[f"{train}/two/checkpoint_9/state.npz"] = Entry(1, NOW - 9 * DAY)
    used = {f"{train}/one": frozenset({"checkpoint_1"})}
    unfinished = see("a", entries, [], Records(checkpoints=used), RULES, NOW)
    assert gone(plan([unfinished], RULES, NOW), "checkpoints") == {
        "a": [f"{train}/one/checkpoint_2/state.npz", f"{train}/two/checkpoint_9/state.npz"]
    }
    done = Records(manifests={"train": manifest("train")}, checkpoints=used)
    assert gone(plan([see("a", entries, [], done, RULES, NOW)], RULES, NOW), "checkpoints") == {"a": sorted(entries)}


def test_of_a_tuning_that_is_complete_the_records_of_its_trials_stay() -> None:
    tune = layout.checkpoints("a", "tune")
    record, state, older = f"{tune}/two/t1/record.json", f"{tune}/two/t1/state/state", f"{tune}/one/t1/record.json"
    entries = {key: Entry(1, NOW - days * DAY) for key, days in ((record, 8), (state, 8), (older, 9))}
    for manifests, expected in (({"tune": manifest("tune")}, [older, state]), ({}, [older])):
        seen = see("a", entries, [], Records(manifests=manifests), RULES, NOW)
        assert gone(plan([seen], RULES, NOW), "checkpoints") == {"a": expected}


def test_nothing_goes_of_a_run_in_progress_nor_of_one_whose_records_are_damaged_or_that_another_reads() -> None:
    keys = [*RECEIPTS, layout.table("a", "bars", "B"), layout.model("a", "cnn", "model.keras")]
    records = Records(manifests={"ingest": INGEST})
    assert len(plan([run("a", keys, records=records)], RULES, NOW).removals) == 3
    assert plan([run("a", keys, records=records, ago=HOUR)], RULES, NOW).removals == ()
    damaged = replace(records, damaged=("runs/a/manifests/search.json",))
    assert plan([run("a", keys, records=damaged)], RULES, NOW).removals == ()
    reader = run("b", records=Records(needs=frozenset({"a"})))
    assert plan([run("a", keys, records=records), reader], RULES, NOW).removals == ()


def test_unfinished_writes_go_when_their_writers_must_be_gone() -> None:
    old = Unfinished("runs/a/x", "id", 5, NOW - 2 * DAY)
    young = replace(old, key="runs/a/y", changed=NOW - HOUR)
    for seen in (run("a", writes=[old, young]), run("a", ago=MINUTE, writes=[old, young])):
        (found,) = plan([seen], RULES, NOW).removals
        assert (found.kind, found.writes, found.size) == ("unfinished writes", (old,), 5)
    (whole,) = plan([run("a", writes=[old, young])], replace(RULES, runs=("a",)), NOW).removals
    assert (whole.kind, whole.objects, whole.size) == ("run", 3, 20)
