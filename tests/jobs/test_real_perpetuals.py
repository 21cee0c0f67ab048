"""The article's path over eight real perpetuals, as its users walk it."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from actors.connect import connect
from jobs import ablate
from jobs.config_model import Ablate
from jobs.stage import Context, require
from jobs.train import CARD, MODEL, SCALER
from quant.scaling import Scaler
from quant.schemas import ABLATIONS, QUARANTINE, SHORTLIST, SIGNALS
from storage import layout
from storage.tables import read_table
from tests.jobs.conftest import make_context, run_pipeline

pytestmark = pytest.mark.ray

EIGHT = ("ETHUSDT", "BTCUSDT", "ADAUSDT", "APTUSDT", "1000SHIBUSDT", "SOLUSDT", "AVAXUSDT", "BNBUSDT")


@pytest.fixture(scope="module")
def real(market_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Context:
    """The article's path over eight real perpetuals: 193 features, trained on ETHUSDT alone."""
    folder = tmp_path_factory.mktemp("real")
    for name in EIGHT:
        shutil.copy(market_data / "binance_um_15m" / f"{name}.parquet", folder)
    (folder / "BADUSDT.parquet").write_bytes((folder / "BTCUSDT.parquet").read_bytes()[:5000])
    return run_pipeline(
        make_context(
            tmp_path_factory.mktemp("store"),
            source=str(folder),
            run="real",
            ingest={"venue": "binance"},
            features={"set": "ta193_relative"},
            labels={"kind": "first_touch", "take": 0.01, "ratio": 2, "horizon": 3},
            split={"fit": 0.4, "validate": 0.1, "choose": 0.2, "judge": 0.3},
            train={"tickers": ("ETHUSDT",), "epochs": 2, "filters": 8},
            evaluate={"windows": 20_000, "baseline_windows": 10_000, "resamples": 50},
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
    assert run_pipeline(real) is real
    assert real.store.stamp(layout.manifest(real.run, "train")) == before
    assert require(real, "ingest").failures == failed
