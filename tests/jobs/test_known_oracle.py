"""The whole pipeline with the true pattern as its signals; and a training that is killed."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pandas as pd
import pytest

from actors.connect import connect
from jobs import features, ingest, labels, train
from jobs.stage import require
from quant.demo import DemoMarket, names, oracle, planted
from storage import layout
from storage.manifest import read_manifest
from tests.conftest import ROOT
from tests.jobs.conftest import kill_once, make_context, run_pipeline, write_market

pytestmark = pytest.mark.ray


@pytest.mark.timeout(900)
def test_with_the_true_pattern_as_signal_every_planted_ticker_is_found_and_nothing_else(tmp_path: Path):
    """All tickers carry the signals of one who knows the pattern; in six of them something follows, in twelve nothing.

    The other 22 of the demo market would take a minute more.
    """
    market = DemoMarket()
    others = [name for name in names(market) if name not in planted(market)]
    tickers = (*planted(market), *others[:12])
    frames = [
        pd.DataFrame({"ticker": ticker, "time": known.index[known != 0], "signal": known[known != 0].to_numpy()})
        for ticker in tickers
        for known in [oracle(market, ticker)]
    ]
    pd.concat(frames).to_parquet(tmp_path / "oracle.parquet")
    context = run_pipeline(
        make_context(
            tmp_path / "store", run="oracle", signals=str(tmp_path / "oracle.parquet"), ingest={"tickers": tickers}
        )
    )
    assert set(require(context, "shortlist").details["shortlisted"]) == set(planted(market))


@pytest.mark.timeout(900)
def test_a_driver_killed_while_it_trains_is_resumed_to_the_same_result(tmp_path: Path):
    """SIGKILL once the first epoch is kept; the same command then goes on from there."""
    # what there is to learn matters little here, and what is judged after the training not at all
    market = write_market(tmp_path / "candles", ("AAAUSDT", "BBBUSDT"), 12_000)
    file = tmp_path / "run.toml"
    file.write_text(f"source = '{market}'\n[train]\nepochs = 6\npatience = 6\nfilters = 8\n")
    settings = tomllib.loads(file.read_text())
    undisturbed, context = (make_context(tmp_path / name, run="demo", **settings) for name in ("undisturbed", "killed"))
    with connect(None, 2):
        for each in (undisturbed, context):
            for stage in (ingest, features, labels):
                stage.run(each)
        train.run(undisturbed)
    flags = ["--config", str(file), "--store", context.config.store, "--run", "demo", "--workers", "2"]
    command = [sys.executable, "-m", "jobs.train", *flags]
    kept = layout.checkpoints(context.run, "train")
    kill_once(command, lambda: any(key.endswith(train.CHECKPOINT) for key in context.store.list(kept)), seconds=300)
    assert read_manifest(context.store, context.run, "train") is None
    again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert require(context, "train").hashes == require(undisturbed, "train").hashes
