"""The whole pipeline, CNN included, where the answer is known, and on real candles."""

import shutil
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from actors.connect import connect
from jobs import ablate, pipeline
from jobs.config import Ablate
from jobs.stage import Context, require
from jobs.train import CARD, CHECKPOINT, MODEL, SCALER
from quant.demo import DemoMarket, names, oracle, planted
from quant.scaling import Scaler
from quant.schemas import ABLATIONS, EVALUATION, QUARANTINE, SHORTLIST, SIGNALS
from storage import layout
from storage.manifest import read_manifest
from storage.tables import read_table
from tests.conftest import ROOT
from tests.jobs.conftest import kill_once, make_context, write_market

pytestmark = pytest.mark.ray

EIGHT = ("ETHUSDT", "BTCUSDT", "ADAUSDT", "APTUSDT", "1000SHIBUSDT", "SOLUSDT", "AVAXUSDT", "BNBUSDT")


def run(context: Context) -> Context:
    with connect(None, 2):
        pipeline.run(context)
    return context


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Context:
    """The demo as `make demo` runs it; `benchmarks.demo_recall` runs it by many seeds."""
    return run(make_context(tmp_path_factory.mktemp("demo"), run="demo", audit={"gate": "stop"}))


@pytest.mark.timeout(900)
def test_what_is_planted_in_the_demo_market_is_found_and_hardly_anything_else(demo: Context):
    planted = set(require(demo, "ingest").details["planted"])
    listed = set(require(demo, "shortlist").details["shortlisted"])
    assert len(planted) == 6
    assert len(planted & listed) >= 5, f"missed {planted - listed}"
    assert len(listed - planted) <= 1, f"fooled by {listed - planted}"
    page = demo.store.read(layout.report(demo.run)).decode()
    assert "confusion" in page.lower()
    assert "No leak was found by" in page


@pytest.mark.timeout(900)
def test_the_cnn_is_judged_beside_simple_models_out_of_sample(demo: Context):
    table = read_table(demo.store, demo.run, EVALUATION).set_index(["model", "statistic"])
    assert table.loc[("cnn", "macro_f1"), "low"] > table.loc[("majority", "macro_f1"), "high"]
    # most bars hold no direction, so that what a network knows better shows in its probabilities
    for simple in ("majority", "logistic", "boosting"):
        assert table.loc[(simple, "log_loss_at_shares"), "difference_high"] < 0, simple
    assert "Against simple models" in demo.store.read(layout.report(demo.run)).decode()


@pytest.mark.timeout(900)
def test_with_the_true_pattern_as_signal_every_planted_ticker_is_found_and_nothing_else(tmp_path: Path):
    """All forty tickers carry the signals of one who knows the pattern; in six of them something follows."""
    market = DemoMarket()
    frames = [
        pd.DataFrame({"ticker": ticker, "time": known.index[known != 0], "signal": known[known != 0].to_numpy()})
        for ticker in names(market)
        for known in [oracle(market, ticker)]
    ]
    pd.concat(frames).to_parquet(tmp_path / "oracle.parquet")
    context = run(make_context(tmp_path / "store", run="oracle", signals=str(tmp_path / "oracle.parquet")))
    assert set(require(context, "shortlist").details["shortlisted"]) == set(planted(market))


@pytest.mark.timeout(900)
def test_a_driver_killed_while_it_trains_is_resumed_to_the_same_result(tmp_path: Path):
    """SIGKILL once the first epoch is kept; the same command then goes on from there."""
    # what there is to learn, and what is judged after the training, matters little here
    market = write_market(tmp_path / "candles", ("AAAUSDT", "BBBUSDT"), 12_000)
    file = tmp_path / "run.toml"
    file.write_text(
        f"source = '{market}'\n[train]\nepochs = 6\npatience = 6\nfilters = 8\n"
        "[evaluate]\nenabled = false\n[search]\ntrials = 4\n"
    )
    settings = tomllib.loads(file.read_text())
    undisturbed = run(make_context(tmp_path / "undisturbed", run="demo", **settings))
    context = make_context(tmp_path / "killed", run="demo", **settings)
    flags = ["--config", str(file), "--store", str(tmp_path / "killed"), "--workers", "2"]
    command = [sys.executable, "-m", "jobs.pipeline", *flags]
    kept = layout.checkpoints(context.run, "train")
    kill_once(command, lambda: any(key.endswith(CHECKPOINT) for key in context.store.list(kept)), seconds=300)
    assert read_manifest(context.store, context.run, "train") is None
    again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert require(context, "pipeline").result_hash == require(undisturbed, "pipeline").result_hash


@pytest.fixture(scope="module")
def real(market_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Context:
    """The article's path over eight real perpetuals: 193 features, trained on ETHUSDT alone."""
    folder = tmp_path_factory.mktemp("real")
    for name in EIGHT:
        shutil.copy(market_data / "binance_um_15m" / f"{name}.parquet", folder)
    (folder / "BADUSDT.parquet").write_bytes((folder / "BTCUSDT.parquet").read_bytes()[:5000])
    return run(
        make_context(
            tmp_path_factory.mktemp("store"),
            source=str(folder),
            run="real",
            ingest={"venue": "binance"},
            features={"set": "ta193_relative"},
            labels={"kind": "first_touch", "take": 0.01, "ratio": 2, "horizon": 3},
            split={"fit": 0.4, "validate": 0.1, "choose": 0.2, "judge": 0.3},
            train={"tickers": ("ETHUSDT",), "epochs": 2, "filters": 8},
            search={"stop_loss": (0.055,), "take_profit": (0.055,), "trials": 2},
            audit={"gate": "stop"},
        )
    )


@pytest.mark.market_data
@pytest.mark.timeout(900)
def test_eight_real_perpetuals_are_judged_and_a_truncated_file_costs_none_of_them(real: Context):
    verdicts = read_table(real.store, real.run, SHORTLIST)
    assert sorted(verdicts["ticker"]) == sorted(f"binance-um:{name}" for name in EIGHT)
    assert verdicts["reason"].str.len().min() > 10
    failures = require(real, "pipeline").failures
    assert [(failure.ticker, failure.stage) for failure in failures] == [("binance-um:BADUSDT", "ingest")]
    assert "BADUSDT.parquet" in failures[0].message
    assert len(read_table(real.store, real.run, QUARANTINE, "binance-um:ETHUSDT")) == 0


@pytest.mark.market_data
def test_the_model_folder_holds_what_is_needed_to_use_it_again(real: Context):
    trained = require(real, "train")
    folder = layout.models(real.run, "cnn_whole")
    assert sorted(real.store.list(folder)) == sorted(f"{folder}/{name}" for name in (MODEL, SCALER, CARD))
    scaler = Scaler.from_json(real.store.read(f"{folder}/{SCALER}").decode())
    assert list(scaler.columns) == trained.details["features"]["columns"]
    assert len(scaler.columns) == 192
    assert trained.details["tickers"] == ["binance-um:ETHUSDT"]
    assert sum(map(sum, trained.details["validate"]["confusion"])) == trained.details["windows"]["validate"]
    assert real.store.list(layout.checkpoints(real.run, "train")) == []


@pytest.mark.market_data
def test_signals_are_decided_on_the_unseen_parts_alone(real: Context):
    parts = require(real, "predict").config["parts"]
    signals = read_table(real.store, real.run, SIGNALS, "binance-um:ETHUSDT")
    assert str(signals.index[0]) >= parts["choose"][0] > parts["validate"][1]
    assert str(signals.index[-1]) < parts["judge"][1]
    assert signals["probability_long"].notna().mean() > 0.99


@pytest.mark.slow  # another training of the network, and the whole path before it
@pytest.mark.market_data
@pytest.mark.timeout(900)
def test_the_ablations_show_the_leak_of_the_labels(real: Context):
    """The article's alignment of the labels alone lifts the AUC on the very same bars far above a coin's."""
    chosen = real.config.model_copy(update={"ablate": Ablate(variants=("other_alignment",))})
    with connect(None, 2):
        ablate.run(replace(real, config=chosen))
    found = read_table(real.store, real.run, ABLATIONS).set_index(["variant", "model", "statistic"])
    # two epochs of eight filters learn some of the leak, the simple models nearly all of it
    for model, known in (("cnn", 0.6), ("logistic", 0.9), ("boosting", 0.9)):
        honest, seed = (found.loc[(name, model, "direction_auc")] for name in ("as_configured", "other_alignment"))
        assert seed["low"] > max(known, honest["high"]), model
        assert honest["low"] < 0.56
    assert "With one thing changed" in real.store.read(layout.report(real.run)).decode()
    assert require(real, "ablate").config["changes"] == {"other_alignment": {"labels": {"alignment": "seed"}}}


@pytest.mark.market_data
def test_a_second_run_trains_nothing(real: Context):
    before = real.store.stamp(layout.manifest(real.run, "train"))
    failed = require(real, "ingest").failures
    assert run(real) is real
    assert real.store.stamp(layout.manifest(real.run, "train")) == before
    assert require(real, "ingest").failures == failed
