"""How two runs differ, from the store alone."""

import dataclasses
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from jobs import backtest, compare, ingest, placebo, predict, search, shortlist
from jobs.compare import Run
from jobs.runner import ConfigError, main, parse
from jobs.stage import Context, require
from quant.schemas import SHORTLIST
from storage import layout
from storage.manifest import write_config, write_manifest
from storage.store import open_store
from storage.tables import read_table
from tests.conftest import random_walk
from tests.jobs.conftest import make_context, serially

SETTINGS: dict[str, Any] = {
    "search": {"trials": 4, "folds": 0, "minimum_trades": 1},
    "placebo": {"repetitions": 1},
    "costs": {"commission": 0.0},
    "shortlist": {"deflated_sharpe": None, "false_discovery_rate": None, "minimum_trades": 1},
}


def done(store: Path | str, market: Path, signals: Path, run: str, **changed: Any) -> Context:
    context = make_context(store, source=str(market), signals=str(signals), run=run, **{**SETTINGS, **changed})
    write_config(context.store, run, context.config.model_dump(mode="json", by_alias=True))
    for job in (ingest, predict, search, placebo, backtest, shortlist):
        job.run(context, fan_out=serially)
    return context


@pytest.fixture(scope="module")
def store(market: Path, signals: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Four runs: two alike, one with other fees, one with other bars."""
    folder = str(tmp_path_factory.mktemp("runs"))
    done(folder, market, signals, "first")
    done(folder, market, signals, "twin")
    done(folder, market, signals, "dear", costs={"commission": 0.004})
    longer = tmp_path_factory.mktemp("longer")
    for path in market.glob("*.parquet"):
        pd.read_parquet(path).to_parquet(longer / path.name)
    random_walk(4_100, seed=1).reset_index().to_parquet(longer / "BBBUSDT.parquet")
    (longer / "DDDUSDT.parquet").unlink()
    known = pd.read_parquet(signals)
    known[known["ticker"] != "DDDUSDT"].to_parquet(longer / "signals.PARQUET")
    (longer / "signals.PARQUET").rename(longer.with_suffix(".parquet"))
    done(folder, longer, longer.with_suffix(".parquet"), "longer")
    return folder


def ended(store: str, *names: str) -> int:
    with pytest.raises(SystemExit) as end:
        main("compare", compare.arguments([*names, "--store", store]))
    return int(end.value.code or 0)


def test_runs_that_are_alike_are_the_same(store: str, capsys: pytest.CaptureFixture[str]):
    assert ended(store, "first", "twin") == 0
    told = capsys.readouterr().out
    assert "configuration: the same" in told
    assert "data: the same" in told
    assert told.rstrip().endswith("The results are the same.")


def test_other_settings_part_where_they_first_matter(store: str, capsys: pytest.CaptureFixture[str]):
    assert ended(store, "first", "dear") == 1
    told = capsys.readouterr().out
    assert any(line.split() == ["costs.commission", "0.0", "0.004"] for line in told.splitlines())
    assert "data: the same" in told
    lines = {line.split()[0]: line.split()[1:] for line in told.splitlines() if line.strip()}
    assert lines["ingest"] == lines["predict"] == ["same", "same"]
    assert lines["search"] == ["differ", "differ"]
    assert "They part at the stage search, having been asked for something else." in told


def test_other_data_are_named_ticker_by_ticker(store: str, capsys: pytest.CaptureFixture[str]):
    assert ended(store, "first", "longer") == 1
    told = capsys.readouterr().out
    assert any(line.split() == ["tickers", "4", "3"] for line in told.splitlines())
    assert any("local-um:BBBUSDT" in line and "4,000" in line and "4,100" in line for line in told.splitlines())
    assert any("local-um:DDDUSDT" in line and "not there" in line for line in told.splitlines())
    assert not any(line.strip().startswith("local-um:AAAUSDT  4,000") for line in told.splitlines())
    assert "They part at the stage ingest" in told


def test_what_is_gained_and_lost_is_told_with_the_rule_that_kept_it_off(store: str):
    first, dear = (Run(open_store(store), name) for name in ("first", "dear"))
    rows = {row[0]: row[1:] for row in compare.shortlisted(first, dear)}
    before, after = (
        set(table.loc[table["shortlisted"], "ticker"])
        for table in (read_table(open_store(store), run, SHORTLIST) for run in ("first", "dear"))
    )
    assert before
    assert {ticker: row[0] for ticker, row in rows.items()} == {
        ticker: "kept" if ticker in before & after else "lost" if ticker in before else "gained"
        for ticker in before | after
    }
    lost = next(ticker for ticker, row in rows.items() if row[0] == "lost")
    reason = read_table(open_store(store), "dear", SHORTLIST).set_index("ticker").loc[lost, "reason"]
    assert rows[lost][1].startswith("in 'dear' ")
    assert reason in rows[lost][1]


def test_the_figures_are_those_of_the_tables(store: str):
    run = Run(open_store(store), "first")
    table = read_table(open_store(store), "first", SHORTLIST)
    candidates = table[table["stage"] != "choose"]
    assert run.figures["candidates"] == len(candidates)
    assert run.figures["shortlisted"] == table["shortlisted"].sum()
    assert run.figures["median Sharpe of candidates"] == pytest.approx(candidates["judge_sharpe"].median())
    kinds = require(make_context(store, run="first"), "shortlist").details["placebo_entries"]
    entries = [entry for kind in kinds.values() for entry in kind]
    assert run.figures["placebo entries a market"] == pytest.approx(sum(entries) / len(entries))


def test_a_changed_table_is_a_difference_with_the_same_settings(
    store: str, market: Path, signals: Path, tmp_path: Path
):
    for name in ("one", "other"):
        done(tmp_path, market, signals, name)
    context = make_context(tmp_path, source=str(market), signals=str(signals), run="other", **SETTINGS)
    known = require(context, "backtest")
    context.store.delete(layout.manifest("other", "backtest"))
    changed = dataclasses.replace(known, hashes={**known.hashes, "trades": "0" * 64})
    write_manifest(context.store, "other", changed)
    one, other = (Run(context.store, name) for name in ("one", "other"))
    assert not compare.same(one, other)
    assert compare.parting(one, other) == (
        "The results differ. They part at the stage backtest, with the same settings and inputs."
    )


def test_a_run_that_did_not_come_so_far_is_told(store: str, market: Path, signals: Path, tmp_path: Path):
    done(tmp_path, market, signals, "whole")
    half = make_context(tmp_path, source=str(market), signals=str(signals), run="half", **SETTINGS)
    ingest.run(half, fan_out=serially)
    one, other = (Run(half.store, name) for name in ("whole", "half"))
    assert not compare.same(one, other)
    assert ("predict", "only 'whole' has it", "") in compare.stages(one, other)
    assert "They part at the stage predict: only 'whole' has it." in compare.parting(one, other)
    assert compare.figures(one, other)[0][2] == "—"


def test_a_run_that_is_missing_ends_with_2_and_names_those_there(store: str, capsys: pytest.CaptureFixture[str]):
    assert ended(store, "first", "nowhere") == 2
    assert (
        "holds no run 'nowhere' (--compare.runs); the runs there: dear, first, longer, twin." in capsys.readouterr().err
    )
    assert ended(store) == 2
    assert "compare needs the names of two runs" in capsys.readouterr().err


def test_names_may_stand_anywhere_among_the_flags():
    asked = ["--compare.runs", '["a", "b"]']
    assert compare.arguments(["a", "b", "--store", "s"]) == ["--store", "s", *asked]
    assert compare.arguments(["--store", "s", "a", "b"]) == ["--store", "s", *asked]
    assert compare.arguments(["a", "--store=s", "b"]) == ["--store=s", *asked]
    assert compare.arguments(["--help"]) == ["--help"]
    assert parse("compare", "", compare.arguments(["a", "b"])).compare.runs == ("a", "b")
    with pytest.raises(ConfigError, match="runs names 1 runs; allowed: two"):
        parse("compare", "", compare.arguments(["a"]))


def test_comparing_changes_nothing(store: str):
    before = open_store(store).stamps("runs")
    ended(store, "first", "dear")
    assert open_store(store).stamps("runs") == before


def test_of_long_tables_the_rest_is_counted():
    lines = list(compare._table(("name", "value"), [(f"n{number}", str(number)) for number in range(50)]))
    assert len(lines) == 1 + compare.SHOWN + 1
    assert lines[-1] == "  … and 30 more"
