"""Clean pipelines are not flagged: every feature set by every label, and every rule, on walks and on real bars."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from jobs import audit, backtest, features, ingest, labels, predict, search
from jobs.stage import Context
from quant import rules
from tests.conftest import random_walk
from tests.jobs.conftest import make_context, serially

SETS = ("pattern8", "pattern8_relative", "ta193", "ta193_relative")
KINDS = ("first_touch", "forward_max", "triple_barrier")
RULES = [(name, rule) for name in SETS for rule in rules.RULES if name in rules.feature_sets(rule)]
ROWS = 4_000
FEWER = {"labels": 60}


def walks(folder: Path) -> Path:
    for seed in (60, 61):
        bars = random_walk(ROWS, seed=seed)
        bars.loc[bars.index[300::211], "volume"] = 0.0
        bars.drop(bars.index[[900, 2_000, 2_001]]).reset_index().to_parquet(folder / f"WALK{seed}USDT.parquet")
    return folder


def real(folder: Path, market_data: Path) -> Path:
    for path in sorted((market_data / "binance_um_15m").glob("*.parquet"))[17::125]:
        pd.read_parquet(path).iloc[-ROWS:].to_parquet(folder / path.name)
    return folder


def pipelines(market: Path, store: Path) -> Iterator[tuple[str, Context]]:
    for name, kind in itertools.product(SETS, KINDS):
        asked = {"kind": kind, "take": 0.006, "ratio": 1.5, "horizon": 3}
        context = make_context(store, source=str(market), run=name, features={"set": name}, labels=asked, audit=FEWER)
        for job in (ingest, features, labels):
            job.run(context, fan_out=serially)
        yield f"{name} {kind}", context
    for name, rule in RULES:
        # in the same run, whose labels are not this configuration's
        given = {"source": str(market), "run": name, "rule": rule, "features": {"set": name}}
        context = make_context(store, **given, search={"trials": 2, "folds": 0, "minimum_trades": 1})
        for job in (ingest, features, predict, search, backtest):
            job.run(context, fan_out=serially)
        yield f"{name} {rule}", context


def check(market: Path, store: Path) -> None:
    """No leak in any of 20 pipelines on two tickers each, and of each check made none but what must be warned of."""
    made = 0
    for name, context in pipelines(market, store):
        found = audit.table(audit.run(context, fan_out=serially))
        wrong = found[(found["verdict"] == "leak") | (found["verdict"].eq("warning") & (found["check"] != "funding"))]
        assert wrong.empty, f"{name}: {wrong.to_dict('records')}"
        made += int((found["verdict"] == "passed").sum())
    assert made > 200


def test_no_pipeline_on_random_walks_is_flagged(tmp_path: Path):
    (tmp_path / "market").mkdir()
    check(walks(tmp_path / "market"), tmp_path / "store")
    assert len(SETS) * len(KINDS) + len(RULES) == 20


@pytest.mark.market_data
def test_no_pipeline_on_real_bars_is_flagged(market_data: Path, tmp_path: Path):
    (tmp_path / "market").mkdir()
    check(real(tmp_path / "market", market_data), tmp_path / "store")
