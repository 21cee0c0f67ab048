"""Stages: skipped when unchanged, resumed where they stopped, complete when their manifest is there."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest

from actors.outcome import Outcome, ShardError
from jobs.rates import Rate
from jobs.stage import (
    AllFailedError,
    Context,
    Item,
    Produced,
    Stage,
    StageMissingError,
    plain,
    require,
    run_stage,
    up_to_date,
)
from quant.schemas import LABELS
from storage import layout
from storage.manifest import read_manifest, read_receipts
from storage.tables import read_table, tickers
from tests.jobs.conftest import make_context, serially

STAGE = Stage("toy", 1, (), (LABELS,), rate=Rate(ticker=1.0))
CALLS: Counter[str] = Counter()
BROKEN: set[str] = set()


class PlannedError(Exception):
    pass


def produce(context: Context, item: Item, extra: Any) -> Produced:
    CALLS[item.ticker] += 1
    if item.ticker in BROKEN:
        raise PlannedError(f"{item.ticker} is broken")
    index = pd.date_range("2024-01-01", periods=3, freq="15min", tz="UTC", unit="us", name="time")
    frame = pd.DataFrame({"label": [0, 1, 2], "outcome": float(extra)}, index=index).astype({"label": "Int8"})
    return Produced({LABELS: frame}, {"rows": np.int64(3), "nothing": np.nan})


@pytest.fixture(autouse=True)
def fresh() -> None:
    CALLS.clear()
    BROKEN.clear()


@pytest.fixture
def toy() -> Context:
    context = make_context("memory://stages", run="first")
    for run in context.store.folders("runs"):
        context.store.delete_prefix(f"runs/{run}")
    return context


def run(context: Context, names: str = "ABCDE", value: float = 1.0, fan_out: Any = serially, **settings: Any) -> Any:
    items = [Item(name) for name in names]
    return run_stage(context, STAGE, items, produce, settings={"v": value, **settings}, extra=value, fan_out=fan_out)


def test_an_unchanged_stage_is_not_done_again(toy: Context):
    first = run(toy)
    assert run(toy) == first
    assert set(CALLS.values()) == {1}
    assert first.tickers["A"] == {"rows": 3, "nothing": None}
    assert first.rows == {"labels": 15}


def test_changed_settings_change_the_identity_and_the_result(toy: Context):
    first, second = run(toy), run(toy, value=2.0)
    assert first.fingerprint != second.fingerprint
    assert first.result_hash != second.result_hash
    assert read_table(toy.store, toy.run, LABELS, "A")["outcome"].tolist() == [2.0] * 3


def test_a_ticker_that_fails_costs_no_other_and_is_tried_again(toy: Context):
    BROKEN.add("C")
    manifest = run(toy)
    assert list(manifest.tickers) == ["A", "B", "D", "E"]
    assert [(f.ticker, f.stage, f.error, f.message) for f in manifest.failures] == [
        ("C", "toy", "PlannedError", "C is broken")
    ]
    BROKEN.clear()
    mended = run(toy)
    assert not mended.failures
    assert CALLS == {"A": 1, "B": 1, "C": 2, "D": 1, "E": 1}
    assert read_receipts(toy.store, toy.run, "toy", mended.fingerprint) == []


def test_when_all_fail_the_first_reason_is_told(toy: Context):
    BROKEN.update("ABCDE")
    with pytest.raises(AllFailedError, match=r"none of the 5 tickers came through\. The first, A: A is broken"):
        run(toy)
    assert read_manifest(toy.store, toy.run, "toy") is None


def interrupted(function: Any, shards: list[Any], **options: Any) -> Iterator[Outcome[Any, Any]]:
    yield from serially(function, shards[:2], **options)
    raise KeyboardInterrupt


def test_an_interrupted_stage_goes_on_with_the_rest(toy: Context):
    with pytest.raises(KeyboardInterrupt):
        run(toy, fan_out=interrupted)
    assert read_manifest(toy.store, toy.run, "toy") is None
    resumed = run(toy)
    assert set(CALLS.values()) == {1}
    other = make_context("memory://stages", run="other")
    assert run(other).result_hash == resumed.result_hash


def test_receipts_of_another_configuration_are_not_believed(toy: Context):
    """Half of A, then half of B over it, then A again: nothing of B may remain."""
    for value in (1.0, 2.0):
        with pytest.raises(KeyboardInterrupt):
            run(toy, value=value, fan_out=interrupted)
    run(toy, value=1.0)
    for name in "ABCDE":
        assert read_table(toy.store, toy.run, LABELS, name)["outcome"].tolist() == [1.0] * 3


def lost(function: Any, shards: list[Any], **options: Any) -> Iterator[Outcome[Any, Any]]:
    yield from serially(function, shards[1:], **options)
    yield Outcome(shards[0], None, ShardError("system", "WorkerCrashedError", "the worker died", ""))


def test_a_shard_whose_workers_died_is_a_failure_of_its_tickers(toy: Context):
    manifest = run(toy, fan_out=lost)
    assert {failure.error for failure in manifest.failures} == {"WorkerCrashedError"}
    assert len(manifest.failures) + len(manifest.tickers) == 5
    assert not run(toy).failures


def test_tickers_of_an_earlier_configuration_do_not_stay_behind(toy: Context):
    run(toy, "ABCDE")
    run(toy, "AB", scope="smaller")
    assert tickers(toy.store, toy.run, LABELS) == ["A", "B"]


def test_a_changed_table_changes_the_hash(toy: Context):
    assert run(toy, value=1.0).hashes != run(make_context("memory://stages", run="x"), value=1.0 + 1e-6).hashes


def test_a_missing_stage_says_what_to_run(toy: Context):
    with pytest.raises(StageMissingError, match=r"has no complete 'ingest' stage.*python -m jobs\.ingest"):
        require(toy, "ingest")


def test_the_manifest_is_written_last(toy: Context, monkeypatch: pytest.MonkeyPatch):
    written: list[str] = []
    write = type(toy.store).write
    monkeypatch.setattr(type(toy.store), "write", lambda self, key, data: (written.append(key), write(self, key, data)))
    run(toy)
    assert written[-1] == layout.manifest("first", "toy")
    assert sum("data.parquet" in key for key in written) == 5


def test_what_is_about_to_be_overwritten_is_no_longer_complete(toy: Context):
    """Else a stage killed half-way would leave new files under the old manifest, for the old settings to find."""
    done = run(toy)
    assert up_to_date(toy, STAGE, done.fingerprint) == done
    assert up_to_date(toy, STAGE, "another") is None
    assert read_manifest(toy.store, toy.run, STAGE.name) is None


def test_plain_values_are_jsons():
    assert plain({"a": np.float64("nan"), 2: [np.int64(1), (np.bool_(True), float("inf"))]}) == {
        "a": None,
        "2": [1, [True, None]],
    }


def test_many_tickers_of_few_rows_are_many_shards(toy: Context):
    """A ticker costs something however few rows it has; else they would all lie in one task, and one worker work."""
    counts = []

    def counted(function: Any, shards: list[Any], **_: Any) -> Any:
        counts.append(len(shards))
        return serially(function, shards, **_)

    names = [f"T{number}" for number in range(40)]
    quick = Stage("quick", 1, (), (LABELS,), rate=Rate(ticker=0.1))
    run_stage(toy, quick, [Item(name) for name in names], produce, settings={}, extra=1.0, fan_out=counted)
    assert counts == [4]


def test_items_are_looked_for_only_where_there_is_something_to_do(toy: Context):
    def found() -> list[Item]:
        CALLS["found"] += 1
        return [Item("A")]

    for _ in range(2):
        manifest = run_stage(toy, STAGE, found, produce, settings={}, extra=1.0, fan_out=serially)
    assert list(manifest.tickers) == ["A"]
    assert CALLS == {"found": 1, "A": 1}
