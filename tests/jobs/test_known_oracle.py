"""The whole pipeline with the true pattern as its signals; and with a network, killed while it trains."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pandas as pd
import pytest

from jobs.stage import require
from jobs.train import CHECKPOINT
from quant.demo import DemoMarket, names, oracle, planted
from storage import layout
from storage.manifest import read_manifest
from tests.conftest import ROOT
from tests.jobs.conftest import kill_once, make_context, run_pipeline, write_market

pytestmark = pytest.mark.ray


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
    context = run_pipeline(make_context(tmp_path / "store", run="oracle", signals=str(tmp_path / "oracle.parquet")))
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
    undisturbed = run_pipeline(make_context(tmp_path / "undisturbed", run="demo", **settings))
    context = make_context(tmp_path / "killed", run="demo", **settings)
    flags = ["--config", str(file), "--store", str(tmp_path / "killed"), "--workers", "2"]
    command = [sys.executable, "-m", "jobs.pipeline", *flags]
    kept = layout.checkpoints(context.run, "train")
    kill_once(command, lambda: any(key.endswith(CHECKPOINT) for key in context.store.list(kept)), seconds=300)
    assert read_manifest(context.store, context.run, "train") is None
    again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert require(context, "pipeline").result_hash == require(undisturbed, "pipeline").result_hash
