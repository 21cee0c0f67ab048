"""The audit of whole runs: nothing is found in a clean one, and what is planted in its tables is found and named."""

import dataclasses
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from actors.connect import connect
from actors.outcome import Outcome
from jobs import audit, backtest, dataset, features, ingest, labels, patterns, pipeline, predict, search, train
from jobs import market as of_the_run
from jobs.audit import LeakError
from jobs.config_verdict import Audit
from jobs.runner import main
from jobs.stage import Context, ShardJob, require, write_whole
from quant import feature_registry, network, scaling, training
from quant import features as feature_sets
from quant.schemas import AUDIT, FEATURES, LABELS, LANDMARKS, SIGNALS, TRADES
from storage import layout
from storage.manifest import read_manifest, write_manifest
from storage.tables import read_table, write_table
from tests.conftest import random_walk
from tests.jobs.conftest import make_context, serially

TICKERS = ("AAAUSDT", "BBBUSDT", "CCCUSDT")
TICKER = "local-um:BBBUSDT"
ROWS = 3_000
SETTINGS: dict[str, Any] = {
    "run": "audited",
    "labels": {"take": 0.006, "ratio": 1.5, "horizon": 3},
    "train": {"steps": 6, "filters": 2, "dense": 4, "epochs": 1, "architecture": "cnn", "threads": 1},
    "predict": {"threshold": 0.36},
    "audit": {"labels": 60},
    "search": {"trials": 4, "folds": 0, "minimum_trades": 1},
    "costs": {"commission": 0.0},
}


@pytest.fixture(scope="module")
def walks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three random walks with two gaps each."""
    folder = tmp_path_factory.mktemp("walks")
    for seed, ticker in enumerate(TICKERS):
        bars = random_walk(ROWS, seed=40 + seed)
        bars.drop(bars.index[[1_500, 2_300, 2_301]]).reset_index().to_parquet(folder / f"{ticker}.parquet")
    return folder


def with_the_model(
    function: Any, shards: list[Any], *, shared: ShardJob, calendar: Any = "as it is", **_: Any
) -> Iterator[Outcome[Any, Any]]:
    """What the actors of ``predict`` do, as a plain loop; on another calendar where one is given."""
    if calendar != "as it is":
        shared = dataclasses.replace(shared, extra=dataclasses.replace(shared.extra, calendar=calendar))
    ready = predict.loaded(function, shared)
    for shard in shards:
        yield Outcome(shard, ready(shard), None)


def learn(context: Context) -> None:
    """Train the model of a run as a rank of Ray Train does, in this process."""
    settings, tickers = context.config.train, [f"local-um:{ticker}" for ticker in TICKERS[:2]]
    network.configure(settings.threads)
    data = dataset.load(context, tickers)
    learner = train.learner_of(settings, len(data.scaler.columns))
    course = training.fit(
        learner,
        data.fit,
        data.validate,
        train.settings_of(settings),
        rank=0,
        ranks=1,
        state=None,
        on_epoch=lambda metrics, state: None,
    )
    card = train._save(context, tickers, data, learner, course)
    parts = of_the_run.parts(context, of_the_run.of(context))
    asked = {"parts": {name: [str(part.start), str(part.end)] for name, part in parts.items()}}
    write_whole(context, train.STAGE, asked, {}, hashes={"model": card["hash"]}, details=card)


@pytest.fixture(scope="module")
def finished(walks: Path, tmp_path_factory: pytest.TempPathFactory) -> Context:
    """A clean run with a model, up to its trades."""
    context = make_context(tmp_path_factory.mktemp("store"), source=str(walks), **SETTINGS)
    for job in (ingest, features, labels):
        job.run(context, fan_out=serially)
    learn(context)
    predict.run(context, fan_out=with_the_model)
    for job in (search, backtest):
        job.run(context, fan_out=serially)
    return context


@pytest.fixture
def copied(finished: Context, tmp_path: Path) -> Context:
    """The same run in a store of its own, for something to be planted in it."""
    shutil.copytree(finished.config.store, tmp_path / "store", ignore=shutil.ignore_patterns("audit.json"))
    config = finished.config.model_copy(update={"store": str(tmp_path / "store")})
    return make_context(tmp_path / "store", **config.model_dump(by_alias=True, exclude={"store"}))


def audited(context: Context) -> dict[str, pd.Series]:
    """The leaks and warnings of a run by check: the first ticker of each."""
    found = audit.table(audit.run(context, fan_out=serially))
    told = found[found["verdict"].isin(["leak", "warning"])]
    return {str(row["check"]): row for _, row in told[::-1].iterrows()}


def leaks(context: Context) -> dict[str, pd.Series]:
    return {check: row for check, row in audited(context).items() if row["verdict"] == "leak"}


def test_nothing_is_found_in_a_clean_run(finished: Context, capsys: pytest.CaptureFixture[str]):
    manifest = audit.run(finished, fan_out=serially)
    found = audit.table(manifest)
    assert found[found["verdict"] == "leak"].empty
    # a perpetual without funding is worth a word, whatever else is right
    assert set(found.loc[found["verdict"] == "warning", "check"]) <= {"funding"}
    passed = set(found.loc[found["verdict"] == "passed", "check"])
    assert passed >= {"features_future", "features_start", "labels", "signals_future", "gaps", "scaler"}
    assert passed >= {"parts", "fills", "same_bar"}
    assert audit.conclude(manifest) == 0
    audit.gate(finished, manifest)
    text = capsys.readouterr().out
    assert "No leak was found by" in text
    assert "audit of 3 of 3 tickers" in text
    told = pd.concat([read_table(finished.store, finished.run, AUDIT, ticker) for ticker in manifest.tickers])
    assert len(told) == len(found) == manifest.rows["audit"]
    # as anybody reads it
    frame = pd.read_parquet(Path(finished.config.store) / layout.tables(finished.run, "audit"))
    assert set(frame["ticker"]) == set(manifest.tickers)


def test_an_audit_is_not_done_twice_and_is_the_same_shard_by_shard(finished: Context):
    def singly(function: Any, shards: list[Any], **settings: Any) -> Iterator[Outcome[Any, Any]]:
        yield from serially(function, [[item] for shard in shards for item in reversed(shard)], **settings)

    first = audit.run(finished, fan_out=serially)
    assert audit.run(finished, fan_out=lambda *_, **__: pytest.fail("done twice")) == first
    finished.store.delete(layout.manifest(finished.run, "audit"))
    assert audit.run(finished, fan_out=singly).result_hash == first.result_hash


# --- planted in the tables of the run ---------------------------------------------------------------------------------


def replace_table(context: Context, table: Any, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    write_table(
        context.store, context.run, table, change(read_table(context.store, context.run, table, TICKER)), TICKER
    )


def test_a_feature_that_knows_the_next_bar_is_named(copied: Context):
    name = read_table(copied.store, copied.run, FEATURES, TICKER).columns[2]
    replace_table(copied, FEATURES, lambda table: table.assign(**{name: table[name].shift(-1)}))
    found = leaks(copied)["features_future"]
    assert (found["ticker"], found["column"]) == (TICKER, name)
    assert found["effect"] > 0


def test_labels_of_another_time_are_named(copied: Context):
    replace_table(copied, LABELS, lambda table: table.assign(label=table["label"].shift(1)))
    found = leaks(copied)["labels"]
    assert (found["ticker"], found["column"]) == (TICKER, "label")


def test_signals_that_their_probabilities_do_not_say_are_named(copied: Context):
    later = read_table(copied.store, copied.run, FEATURES, TICKER).index[2_800]

    def plant(table: pd.DataFrame) -> pd.DataFrame:
        table.loc[later, "signal"] = 1 if table.loc[later, "signal"] == 2 else 2
        return table

    replace_table(copied, SIGNALS, plant)
    found = leaks(copied)["signals_future"]
    assert (found["ticker"], found["column"], found["first"]) == (TICKER, "signal", later)


def test_predictions_of_another_model_are_named(copied: Context):
    settings = copied.config.train
    columns = require(copied, "train").details["features"]["columns"]
    other = network.build("cnn", settings.steps, len(columns), filters=2, dense=4, dropout=0.0, seed=99)
    copied.store.write(layout.model(copied.run, "cnn", train.MODEL), network.save(other))
    found = leaks(copied)["signals_future"]
    assert found["column"] == "probability_long"
    assert found["effect"] > 1e-3


def test_a_scaler_fitted_on_all_rows_is_named(copied: Context):
    config = copied.config.model_copy(update={"train": copied.config.train.model_copy(update={"scaler_rows": "all"})})
    seed = dataclasses.replace(copied, config=config)
    scaler = dataset.load(seed, require(copied, "train").details["tickers"]).scaler
    copied.store.write(layout.model(copied.run, "cnn", train.SCALER), scaler.to_json().encode())
    found = leaks(copied)["scaler"]
    assert found["ticker"] == "all"
    assert "fitted on all rows" in found["detail"]
    assert found["column"] in scaler.columns


def test_windows_that_ignore_gaps_are_named(copied: Context):
    copied.store.delete(layout.manifest(copied.run, "predict"))
    predict.run(copied, fan_out=partial(with_the_model, calendar=None))
    found = leaks(copied)["gaps"]
    bars = of_the_run.bars(copied, str(found["ticker"])).index
    assert found["column"] == "signal"
    window = bars[bars <= found["first"]][-copied.config.train.steps :]
    assert window[-1] - window[0] > (len(window) - 1) * pd.Timedelta("15min")
    assert found["effect"] > copied.config.train.steps - 2


def test_trades_on_the_bar_of_their_signal_are_named(copied: Context):
    index = of_the_run.bars(copied, TICKER).index

    def earlier(table: pd.DataFrame) -> pd.DataFrame:
        return table.assign(entry_time=index[index.get_indexer(pd.DatetimeIndex(table["entry_time"])) - 1])

    replace_table(copied, TRADES, earlier)
    found = leaks(copied)["fills"]
    assert (found["ticker"], found["column"], found["unit"]) == (TICKER, "signal", "trades")


def planted_manifest(context: Context, stage: str, **config: Any) -> None:
    known = read_manifest(context.store, context.run, stage)
    assert known is not None
    write_manifest(context.store, context.run, dataclasses.replace(known, config={**known.config, **config}))


def test_a_part_without_a_purge_is_named(copied: Context):
    parts = require(copied, "train").config["parts"]
    wider = {**parts, "fit": [parts["fit"][0], parts["validate"][0]]}
    planted_manifest(copied, "train", parts=wider)
    found = leaks(copied)["parts"]
    assert (found["ticker"], found["column"]) == ("all", "fit / validate")
    assert found["effect"] == copied.config.labels.horizon


def test_a_leak_ends_the_pipeline_where_that_is_asked_for(copied: Context):
    replace_table(copied, LABELS, lambda table: table.assign(label=table["label"].shift(1)))
    manifest = audit.run(copied, fan_out=serially)
    assert audit.conclude(manifest) == 1
    audit.gate(copied, manifest)
    config = copied.config.model_copy(update={"audit": copied.config.audit.model_copy(update={"gate": "stop"})})
    with pytest.raises(LeakError, match=f"the first, labels of {TICKER}: .* Mend it, or set audit.gate"):
        audit.gate(dataclasses.replace(copied, config=config), manifest)


# --- planted in code and settings --------------------------------------------------------------------


def test_a_registered_feature_that_looks_ahead_is_named(walks: Path, tmp_path: Path):
    chosen = feature_registry.feature_set("planted", "for a test", "propagate")
    try:
        chosen.feature({"tomorrow": ("", "return of the next bar")}, start=feature_registry.finite(0))(
            lambda candles: np.append(candles.close[1:] / candles.close[:-1] - 1, 0.0)
        )
        context = make_context(tmp_path, source=str(walks), **{**SETTINGS, "features": {"set": "planted"}})
        for job in (ingest, features, labels):
            job.run(context, fan_out=serially)
        found = leaks(context)
    finally:
        feature_registry.FEATURE_SETS.pop("planted")
    assert found["features_future"]["column"] == "tomorrow"
    assert "same_bar" in found


def test_the_articles_alignment_is_named(walks: Path, tmp_path: Path):
    asked = {**SETTINGS["labels"], "alignment": "seed"}
    context = make_context(tmp_path, source=str(walks), **{**SETTINGS, "labels": asked})
    for job in (ingest, features, labels):
        job.run(context, fan_out=serially)
    found = leaks(context)
    assert set(found) >= {"labels", "same_bar"}
    assert found["same_bar"]["effect"] > 0.8


def by_rule(walks: Path, store: Path, rule: str) -> Context:
    """A run with the signals of a rule, up to its trades."""
    given = {"source": str(walks), "run": "rule", "rule": rule, "rules": {"momentum": {"threshold": 0.005}}}
    context = make_context(store, **given, search=SETTINGS["search"], costs=SETTINGS["costs"])
    for job in (ingest, features, predict, search, backtest):
        job.run(context, fan_out=serially)
    return context


def a_bar_early(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(signal=table["signal"].shift(-1).fillna(0).astype("int8"))


@pytest.mark.parametrize("rule", ["rsi_reversion", "momentum"])
def test_a_rule_is_clean_and_its_signals_moved_by_a_bar_are_not(walks: Path, tmp_path: Path, rule: str):
    context = by_rule(walks, tmp_path, rule)
    assert leaks(context) == {}
    context.store.delete(layout.manifest(context.run, "audit"))
    replace_table(context, SIGNALS, a_bar_early)
    found = leaks(context)
    assert (found["signals_future"]["ticker"], found["signals_future"]["column"]) == (TICKER, "signal")


def test_a_model_of_ones_own_is_clean_and_found_out_when_it_is_another(walks: Path, tmp_path: Path):
    columns = feature_sets.columns("pattern8_relative")[:5]
    rows = feature_sets.compute(random_walk(2_000), "pattern8_relative")[list(columns)].dropna()
    (tmp_path / "scaler.json").write_text(scaling.fit("robust", rows, columns).to_json())
    mine, other = (network.build("cnn", 6, 5, filters=2, dense=4, dropout=0.0, seed=seed) for seed in (1, 2))
    (tmp_path / "z.keras").write_bytes(network.save(mine))
    given = {"source": str(walks), "run": "own", "train": {"threads": 1}}
    files = {"model": str(tmp_path / "z.keras"), "scaler": str(tmp_path / "scaler.json")}
    context = make_context(tmp_path / "store", **given, **files, predict={"threshold": 0.3})
    for job in (ingest, features):
        job.run(context, fan_out=serially)
    predict.run(context, fan_out=with_the_model)
    # what the signals are from is told by the run, not by the flags of the audit
    plain = make_context(tmp_path / "store", **given)
    manifest = audit.run(plain, fan_out=serially)
    found = audit.table(manifest).set_index(["check", "ticker"])["verdict"]
    assert "leak" not in set(found)
    assert found["signals_future", TICKER] == found["gaps", TICKER] == "passed"
    assert found["scaler", "all"] == "not applicable"
    plain.store.delete(layout.manifest("own", "audit"))
    (tmp_path / "z.keras").write_bytes(network.save(other))
    assert leaks(plain)["signals_future"]["column"] == "probability_long"


def test_clusters_are_clean_and_their_windows_elsewhere_are_not(walks: Path, tmp_path: Path):
    asked = {"trade": True, "length": 6, "landmarks": 300, "clusters": 3, "refits": 0, "resamples": 100}
    context = make_context(tmp_path, source=str(walks), run="clusters", patterns=asked)
    patterns.run(context, fan_out=serially)
    sides = {"0": "long", "1": "short"}  # on walks no cluster differs
    known = require(context, "pattern_outcomes")
    write_manifest(context.store, "clusters", dataclasses.replace(known, details={**known.details, "sides": sides}))
    predict.run(context, fan_out=serially)
    assert read_table(context.store, "clusters", SIGNALS, TICKER)["signal"].nunique() == 3
    manifest = audit.run(context, fan_out=serially)
    found = audit.table(manifest).set_index(["check", "ticker"])["verdict"]
    assert "leak" not in set(found)
    assert found["signals_future", TICKER] == found["gaps", TICKER] == found["scaler", "all"] == "passed"
    context.store.delete(layout.manifest("clusters", "audit"))
    replace_table(context, SIGNALS, a_bar_early)
    landmarks = read_table(context.store, "clusters", LANDMARKS)
    landmarks["time"] = landmarks["time"] + pd.Timedelta(days=10)
    write_table(context.store, "clusters", LANDMARKS, landmarks)
    assert set(leaks(context)) == {"signals_future", "scaler"}


def test_signals_of_the_next_bars_are_warned_of_and_a_universe_of_survivors_too(tmp_path: Path):
    folder, frames = tmp_path / "market", []
    folder.mkdir()
    for number in range(5):
        bars = random_walk(ROWS, seed=number)
        bars.reset_index().to_parquet(folder / f"T{number}USDT.parquet")
        rises = bars["close"].shift(-1) > bars["open"].shift(-1)
        frames.append(pd.DataFrame({"ticker": f"T{number}USDT", "time": bars.index, "signal": np.where(rises, 1, 2)}))
    pd.concat(frames).to_parquet(tmp_path / "signals.parquet")
    context = make_context(tmp_path / "store", source=str(folder), signals=str(tmp_path / "signals.parquet"), run="own")
    for job in (ingest, predict):
        job.run(context, fan_out=serially)
    found = audited(context)
    assert {check: row["verdict"] for check, row in found.items()} == {"own_signals": "warning", "universe": "warning"}
    assert found["own_signals"]["effect"] == pytest.approx(1.0, abs=0.001)
    assert found["universe"]["ticker"] == "all"


@pytest.mark.ray
@pytest.mark.timeout(300)
def test_the_job_ends_with_1_where_there_is_a_leak(walks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    context = by_rule(walks, tmp_path, "momentum")
    replace_table(context, SIGNALS, a_bar_early)
    alone = audit.run(context, fan_out=serially).result_hash
    context.store.delete(layout.manifest(context.run, "audit"))
    # the manifests tell what the run was made with, whatever the flags leave out
    flags = ["--store", str(tmp_path), "--run", "rule", "--workers", "2"]
    with pytest.raises(SystemExit) as ended:
        main("audit", flags)
    assert ended.value.code == 1
    assert "LEAK" in capsys.readouterr().out
    assert require(context, "audit").result_hash == alone


@pytest.mark.ray
@pytest.mark.timeout(300)
def test_a_pipeline_is_audited_and_a_leak_can_end_it_before_the_shortlist(
    walks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    context = by_rule(walks, tmp_path, "momentum")
    gated = dataclasses.replace(context, config=context.config.model_copy(update={"audit": Audit(gate="stop")}))
    with connect(None, 2):
        pipeline.run(gated)
        assert "audit: No leak was found by" in capsys.readouterr().out
        page = context.store.read(layout.report(context.run)).decode()
        assert "No leak was found by" in page
        replace_table(context, SIGNALS, a_bar_early)
        context.store.delete(layout.manifest(context.run, "audit"))
        with pytest.raises(LeakError, match=r"has .* leaks; the first, signals_future of"):
            pipeline.run(gated)
        shown = dataclasses.replace(context, config=context.config.model_copy(update={"audit": Audit()}))
        pipeline.run(shown)
    assert "No figure of this run can be believed" in " ".join(capsys.readouterr().out.split())
    page = context.store.read(layout.report(context.run)).decode()
    assert 'role="alert"' in page
