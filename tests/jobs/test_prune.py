"""Old runs and what nobody refers to: shown first, removed when asked, and never what a run needs."""

import datetime
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import ray

from actors.progress import amount, told
from jobs import ingest, own_signals, prune
from jobs.runner import keep, main
from jobs.stage import Context
from quant.schemas import BARS, SIGNALS
from storage import layout
from storage.lease import held
from storage.manifest import Manifest, list_runs, read_manifest, read_receipts, write_config, write_manifest
from storage.pruning import Rules
from storage.store import Store, StoreError
from storage.tables import tickers
from tests.jobs.conftest import TICKERS, make_context, serially

TOY = Manifest(
    stage="ingest",
    fingerprint="ab" * 32,
    config={},
    versions={},
    inputs={},
    tickers={},
    rows={"bars": 1},
    hashes={"bars": "01" * 32},
    failures=[],
    created="",
)


def go(context: Context, *stages: Any, fan_out: Any = serially) -> None:
    """Run stages as the runner does, but for Ray."""
    write_config(context.store, context.run, context.config.model_dump(mode="json", by_alias=True))
    with told(partial(keep, context)):
        for stage in stages:
            stage.run(context, fan_out=fan_out)


def interrupted(function: Any, shards: Sequence[Any], **settings: Any) -> Iterator[Any]:
    yield next(serially(function, [shards[0][:1]], **settings))
    raise KeyboardInterrupt


def grow_old(context: Context, run: str, days: float = 30.0) -> None:
    """Set the clock of a run's files back."""
    moment = datetime.datetime.now().timestamp() - days * 86_400
    for path in Path(context.store.address(layout.run_prefix(run))).rglob("*"):
        os.utime(path, (moment, moment))


def pruned(context: Context, *flags: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main("prune", ["--store", context.store.url, *flags])
    return int(ended.value.code or 0)


@pytest.fixture
def runs(context: Context) -> Callable[..., Context]:
    """Makes runs on one store, with bars and signals."""

    def make(name: str, **settings: Any) -> Context:
        given = {"source": context.config.source, "signals": context.config.signals, "run": name}
        return make_context(context.store.url, **given | settings)

    return make


def test_it_shows_first_and_removes_when_asked_without_ray(
    runs: Callable[..., Context], capsys: pytest.CaptureFixture[str]
):
    for name in ("first", "second"):
        go(runs(name), ingest)
    context = runs("first")
    grow_old(context, "first")
    before = context.store.list()
    assert pruned(context, "--prune.older_than_days", "7") == 0
    shown = capsys.readouterr().out.splitlines()
    size = sum(entry.size for key, entry in context.store.entries().items() if key.startswith("runs/first/"))
    assert shown[0] == f"store {context.store.url}"
    assert shown[1].split() == ["run", "kind", "objects", "bytes", "age", "reason"]
    assert shown[2].split()[:3] == ["first", "run", "19"]
    assert amount(size) in shown[2]
    assert shown[2].endswith("30 days  unchanged for over 7 days")
    assert shown[3].split()[:3] == ["in", "all", "19"]
    assert shown[4] == "nothing was removed; --prune.delete removes it"
    assert context.store.list() == before
    assert pruned(context, "--prune.older_than_days", "7", "--prune.delete") == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"removed 19 objects, {amount(size)}"
    assert list_runs(context.store) == ["second"]
    assert not Path(context.store.address("runs/first")).exists()
    assert pruned(context, "--prune.older_than_days", "7", "--prune.delete") == 0
    assert capsys.readouterr().out.splitlines()[1] == "there is nothing to remove"
    assert not ray.is_initialized()


def test_a_run_that_is_written_to_stays_however_complete_it_is(
    runs: Callable[..., Context], capsys: pytest.CaptureFixture[str]
):
    """As between two rounds of ``--every``."""
    context = runs("kept-up")
    go(context, ingest, own_signals)
    flags = ["--prune.runs", '["kept-up"]', "--prune.delete"]
    with held(context.store, context.run, "jobs.pipeline", lost=lambda: None):
        assert pruned(context, *flags) == 2
    assert f"it is written to by process {os.getpid()} on" in capsys.readouterr().err
    assert list_runs(context.store) == ["kept-up"]


def test_a_run_in_its_midst_loses_nothing_and_comes_to_its_end(
    runs: Callable[..., Context], capsys: pytest.CaptureFixture[str]
):
    """Prune while a stage is at its second shard, with all that may be asked for."""
    context = runs("midst")
    flags = ["--prune.keep", "0", "--prune.older_than_days", "0", "--prune.delete"]

    def meanwhile(function: Any, shards: Sequence[Any], **settings: Any) -> Iterator[Any]:
        for number, outcome in enumerate(
            serially(function, [[item] for shard in shards for item in shard], **settings)
        ):
            if number == 2:
                before = context.store.list()
                assert pruned(context, *flags) == 0
                assert context.store.list() == before
            yield outcome

    go(context, ingest)
    go(context, own_signals, fan_out=meanwhile)
    assert "it may be in progress" in capsys.readouterr().out
    other = runs("quietly")
    go(other, ingest, own_signals)
    for stage in ("ingest", "predict"):
        ours, theirs = (read_manifest(context.store, run, stage) for run in ("midst", "quietly"))
        assert ours is not None and theirs is not None
        assert ours.result_hash == theirs.result_hash
    assert pruned(context, "--prune.runs", '["midst"]', "--prune.delete") == 2
    assert "run 'midst' stays: it may be in progress" in capsys.readouterr().err
    assert "midst" in list_runs(context.store)


def test_a_run_that_is_judged_again_stays_even_before_the_later_run_has_got_to_it(
    runs: Callable[..., Context], capsys: pytest.CaptureFixture[str]
):
    go(runs("january"), ingest)
    later = runs("february", rejudge="january")
    write_config(later.store, later.run, later.config.model_dump(mode="json", by_alias=True))
    for name in ("january", "february"):
        grow_old(later, name)
    assert pruned(later, "--prune.keep", "1", "--prune.delete") == 0
    assert list_runs(later.store) == ["february", "january"]
    assert pruned(later, "--prune.runs", '["january"]', "--prune.delete") == 2
    assert "run 'january' stays: run 'february' needs it" in capsys.readouterr().err
    assert pruned(later, "--prune.runs", '["january", "february"]', "--prune.delete") == 0
    assert list_runs(later.store) == []


def test_a_run_of_an_ablation_or_of_a_model_of_the_article_serves_the_run_that_it_is_named_after():
    for variant in ("other_alignment", "seed_whole_numbers", "seed_price_levels"):
        assert prune.served(f"mine-{variant}") == {"mine"}
    assert prune.served("mine-seed_potatoes") == set()


def test_a_run_that_a_url_of_another_leads_into_stays(runs: Callable[..., Context]):
    context = runs("january")
    inside = {"model": "models/cnn/model.keras", "scaler": "models/cnn/scaler.json"}
    urls = {name: f"{context.store.address('runs/january')}/{path}" for name, path in inside.items()}
    assert prune.needed(context.store, {**urls, "signals": None, "source": "demo", "ingest": {}}) == {"january"}
    funding = {"funding": f"{context.store.url}/runs/b/tables/x.parquet"}
    assert prune.needed(context.store, {"source": "/elsewhere/runs/c", "ingest": funding, "rejudge": "a"}) == {"a", "b"}


def test_what_an_interrupted_run_goes_on_from_stays_and_the_rest_goes(runs: Callable[..., Context]):
    context = runs("first")
    go(context, ingest)
    with pytest.raises(KeyboardInterrupt):
        go(context, own_signals, fan_out=interrupted)
    store = context.store
    (kept,) = store.list(layout.receipts("first", "predict"))
    given_up = [
        layout.receipt("first", "ingest", "ab" * 32, "cd"),
        layout.table("first", "bars", "left/over"),
        layout.model("first", "cnn", "model.keras"),
        layout.progress("first", "no_such_stage"),
        f"{layout.checkpoints('first', 'train')}/one/checkpoint_1/state.npz",
        f"{layout.checkpoints('first', 'train')}/one/checkpoint_2/state.npz",
    ]
    snapshot = {
        "checkpoint_results": [{"checkpoint_dir_name": "checkpoint_1"}],
        "pending_training_results": [],
        "latest_checkpoint_result": {"checkpoint_dir_name": "checkpoint_1"},
    }
    for key in given_up:
        store.write(key, b"left behind")
    store.write(f"{layout.checkpoints('first', 'train')}/one/{prune.SNAPSHOT}", json.dumps(snapshot).encode())
    Path(store.address("runs/first"), ".0123456789abcdef.partial").write_bytes(b"half")
    before = set(store.list())
    grow_old(context, "first", days=2.0)
    assert pruned(context, "--prune.delete") == 0
    assert before - set(store.list()) == set(given_up) - {given_up[4]}
    assert store.exists(kept)
    assert store.unfinished() == []
    assert tickers(store, "first", BARS) == [f"local-um:{name}" for name in TICKERS]
    done = Counter[str]()

    def counted(function: Any, shards: Sequence[Any], **settings: Any) -> Iterator[Any]:
        done.update(item.ticker for shard in shards for item in shard)
        yield from serially(function, shards, **settings)

    go(context, own_signals, fan_out=counted)
    assert len(done) == len(TICKERS) - 1
    assert len(tickers(store, "first", SIGNALS)) == len(TICKERS)


def test_what_is_not_known_and_what_lies_outside_of_runs_is_never_touched(
    runs: Callable[..., Context], capsys: pytest.CaptureFixture[str]
):
    context = runs("first")
    strange = ["elsewhere/x", "runs/first/notes.txt", "runs/no name/x", "runs/stray.json", "top"]
    for key in [*strange, layout.report("first"), layout.report("second")]:
        context.store.write(key, b"")
    for folder in ("elsewhere", "runs", "runs/no name"):
        Path(context.store.address(folder), ".0123456789abcdef.partial").write_bytes(b"half")
    grow_old(context, "first")
    moment = datetime.datetime.now().timestamp() - 30 * 86_400
    for path in Path(context.store.address("runs")).rglob("*"):
        os.utime(path, (moment, moment))
    assert pruned(context, "--prune.keep", "0", "--prune.delete") == 0
    assert len(context.store.unfinished()) == 3
    assert "run 'first' stays: it holds 1 objects that are not known" in capsys.readouterr().out
    assert context.store.list() == sorted([*strange, layout.report("first")])


def test_a_run_that_is_not_there_is_refused_with_those_that_are(
    runs: Callable[..., Context], capsys: pytest.CaptureFixture[str]
):
    context = runs("first")
    context.store.write(layout.report("first"), b"")
    assert pruned(context, "--prune.runs", '["frist"]') == 2
    assert "holds no run 'frist' (prune.runs); the runs there: first." in capsys.readouterr().err


class Counting:
    """A backend that counts what is asked of it, and fails at the given deletion."""

    def __init__(self, backend: Any, fail_at: int = 10**9) -> None:
        self.backend, self.fail_at = backend, fail_at
        self.calls: Counter[str] = Counter()
        self.deleted: list[str] = []

    def __getattr__(self, name: str) -> Any:
        self.calls[name] += 1
        return getattr(self.backend, name)

    def delete_all(self, keys: Sequence[str]) -> None:
        for key in keys:
            if len(self.deleted) == self.fail_at:
                raise OSError("the power went")
            self.backend.delete(key)
            self.deleted.append(key)


def counting(store: Store, **settings: Any) -> tuple[Store, Counting]:
    backend = Counting(store.backend, **settings)
    return Store(store.url, backend), backend


def filled(name: str, count: int) -> Store:
    """A store in memory with a run of many tickers, and its manifest."""
    context = make_context(f"memory://prune-{name}", run="first")
    if list_runs(context.store):
        context.store.delete_prefix("runs")
    manifest = replace(TOY, tickers={f"T{number}": {} for number in range(count)})
    for number in range(count):
        context.store.write(layout.table("first", "bars", f"T{number}"), b"bars")
    context.store.write(layout.receipt("first", "ingest", manifest.fingerprint, "e0"), b"{}")
    write_manifest(context.store, "first", manifest)
    return context.store


def test_a_run_costs_one_listing_and_no_request_a_ticker():
    calls = []
    for count in (2, 60):
        store, backend = counting(filled("listing", count))
        prune.planned(store, Rules(), later())
        calls.append(dict(backend.calls))
    assert calls[0] == calls[1]
    assert calls[0] == {"unfinished": 1, "folders": 1, "entries": 1, "read": 1}


@pytest.mark.parametrize("fail_at", range(4))
def test_an_interrupted_prune_leaves_no_stage_that_looks_done(fail_at: int):
    original = filled("interrupted", 2)
    store, backend = counting(original, fail_at=fail_at)
    rules = Rules(runs=("first",))
    (whole,) = [one for one in prune.planned(store, rules, later()).removals if one.kind == "run"]
    with pytest.raises(StoreError, match="the power went"):
        prune.remove(store, whole, replace(rules, quiet=datetime.timedelta(0)))
    left = [ticker for ticker in ("T0", "T1") if original.exists(layout.table("first", "bars", ticker))]
    if len(left) < 2:
        assert read_manifest(original, "first", "ingest") is None
        assert read_receipts(original, "first", "ingest", TOY.fingerprint) == []
    assert len(backend.deleted) == fail_at


def test_a_run_that_comes_to_life_after_it_was_shown_stays(capsys: pytest.CaptureFixture[str]):
    store = filled("alive", 2)
    rules = Rules(runs=("first",))
    (whole,) = [one for one in prune.planned(store, rules, later()).removals if one.kind == "run"]
    store.write(layout.table("first", "bars", "T0"), b"newer")
    before = store.list()
    # not even where nothing but the change itself says that it lives
    assert prune.remove(store, whole, replace(rules, quiet=datetime.timedelta(0))).objects == 0
    assert store.list() == before
    assert "run 'first' has changed since, and stays" in capsys.readouterr().out


def later() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=3)
