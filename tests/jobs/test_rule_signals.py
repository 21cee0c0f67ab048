"""A registered rule in place of the model: the same path, nothing trained, the same result however many workers."""

import shlex
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from actors.connect import connect
from jobs import (
    ablate,
    backtest,
    evaluate,
    exports,
    features,
    ingest,
    pipeline,
    placebo,
    predict,
    report,
    search,
    shortlist,
    train,
    tune,
)
from jobs import market as of_the_run
from jobs.rule_signals import AnotherRuleError
from jobs.runner import ConfigError, parse
from jobs.stage import Context, NoModelError, require
from quant import rules
from quant.features import compute
from quant.schemas import SHORTLIST, SIGNALS
from storage import layout
from storage.manifest import Manifest
from storage.tables import read_table
from tests.jobs.conftest import TICKERS, make_context, serially

TICKER = "local-um:BBBUSDT"
LENIENT = {"deflated_sharpe": None, "false_discovery_rate": None, "minimum_return": None, "minimum_trades": 1}
PARAMETERS = {"lower": 25.0, "upper": 80.0}


def configured(store: Path, market: Path, run: str = "rsi", **settings: Any) -> Context:
    given: dict[str, Any] = {
        "source": str(market),
        "run": run,
        "rule": "rsi_reversion",
        "rules": {"rsi_reversion": PARAMETERS},
        "search": {"trials": 4, "folds": 0, "minimum_trades": 1},
        "placebo": {"repetitions": 1},
        "costs": {"commission": 0.0},
        "shortlist": LENIENT,
    }
    return make_context(store, **{**given, **settings})


def predicted(context: Context) -> Manifest:
    ingest.run(context, fan_out=serially)
    features.run(context, fan_out=serially)
    return predict.run(context, fan_out=serially)


@pytest.fixture(scope="module")
def finished(market: Path, tmp_path_factory: pytest.TempPathFactory) -> Context:
    """A run to its end on two workers."""
    context = configured(tmp_path_factory.mktemp("store"), market)
    with connect(None, 2):
        pipeline.run(context)
    return context


@pytest.mark.ray
def test_the_result_is_that_of_a_plain_loop(finished: Context, market: Path, tmp_path: Path):
    plain = configured(tmp_path, market)
    predicted(plain)
    for job in (search, placebo, backtest):
        job.run(plain, fan_out=serially)
    shortlist.run(plain, fan_out=serially)
    stages = ("ingest", "features", "predict", "search", "placebo", "backtest", "shortlist")
    assert [stage.__name__ for stage in pipeline.path(plain.config)] == [f"jobs.{stage}" for stage in stages]
    for stage in stages:
        assert require(plain, stage).result_hash == require(finished, stage).result_hash, stage


@pytest.mark.ray
def test_signals_are_the_rules_on_the_choose_and_judge_parts(finished: Context, market: Path):
    found = read_table(finished.store, finished.run, SIGNALS, TICKER)
    bars = pd.read_parquet(market / "BBBUSDT.parquet").set_index("time")
    # as the features stage keeps them
    table = compute(bars, "pattern8_relative").astype("float32")
    whole = rules.signals("rsi_reversion", table, "pattern8_relative", PARAMETERS, bar=pd.Timedelta(minutes=15))
    parts = of_the_run.parts(finished, of_the_run.of(finished))
    due = whole[(whole.index >= parts["choose"].start) & (whole.index < parts["judge"].end)]
    assert found["signal"].tolist() == due.tolist()
    assert found.index.equals(due.index)
    assert found[["probability_long", "probability_short"]].isna().all(axis=None)
    counts = require(finished, "predict").tickers[TICKER]
    assert (counts["rows"], counts["long"], counts["short"]) == (len(due), (due == 1).sum(), (due == 2).sum())
    assert min(counts["long"], counts["short"]) > 0


@pytest.mark.ray
def test_the_report_and_the_exports_name_the_rule(finished: Context):
    page = finished.store.read(layout.report(finished.run)).decode()
    assert "those of the rule <code>rsi_reversion (lower 25, upper 80)</code>" in page
    assert "came from a file" not in page
    assert exports.model_name(finished) == "rule rsi_reversion"
    flags = shlex.split(report.command(finished))[3:]
    assert flags[flags.index("--rule") + 1] == "rsi_reversion"
    again = parse("pipeline", "", flags)
    assert (again.rule, again.rules) == (finished.config.rule, finished.config.rules)


def test_an_old_shortlist_is_judged_again_by_the_same_rule_alone(market: Path, tmp_path: Path):
    old = tmp_path / "old"
    old.mkdir()
    for ticker in TICKERS:
        pd.read_parquet(market / f"{ticker}.parquet").iloc[:3_000].to_parquet(old / f"{ticker}.parquet")
    first = configured(tmp_path / "store", old, "january")
    predicted(first)
    for job in (search, placebo, backtest):
        job.run(first, fan_out=serially)
    shortlist.run(first, fan_out=serially)
    listed = require(first, "shortlist").details["shortlisted"]
    assert listed

    def again(**settings: Any) -> Context:
        return configured(tmp_path / "store", market, "february", rejudge="january", **settings)

    predicted(again())
    for job in (search, placebo, backtest):
        job.run(again(), fan_out=serially)
    shortlist.run(again(), fan_out=serially)
    assert sorted(read_table(first.store, "february", SHORTLIST)["ticker"]) == sorted(listed)
    with pytest.raises(AnotherRuleError, match=r"parameters of the rule is \{'lower': 30.0.*'january' was made with"):
        predicted(again(rules={}))
    with pytest.raises(AnotherRuleError, match="rule of the rule is 'momentum', and run 'january'"):
        predicted(again(rule="momentum"))
    with pytest.raises(train.AnotherModelError, match=r"'january' has no model.*the rule rsi_reversion"):
        train.run(again(rule=None))


def test_whatever_makes_the_rule_another_makes_the_signals_anew(market: Path, tmp_path: Path):
    counts = []

    def fingerprint(**settings: Any) -> str:
        done = predicted(configured(tmp_path, market, ingest={"tickers": ("AAAUSDT",)}, **settings))
        counts.append(done.tickers["local-um:AAAUSDT"])
        return done.fingerprint

    changes: list[dict[str, Any]] = [
        {},
        {"rules": {"rsi_reversion": {"lower": 26.0, "upper": 80.0}}},
        {"rules": {"rsi_reversion": PARAMETERS, "side": "long"}},
        {"rule": "momentum"},
        {"split": {"embargo": 10}},
        {"features": {"set": "pattern8"}},
    ]
    found = [fingerprint(**change) for change in changes]
    assert len(set(found)) == len(found)
    assert counts[2] == {**counts[0], "short": 0} != counts[0]
    # parameters of a rule that is not asked for are none of the run
    assert fingerprint(rules={"rsi_reversion": PARAMETERS, "momentum": {"bars": 7}}) == found[0]
    before = require(configured(tmp_path, market), "predict").created
    assert fingerprint() == found[0]
    assert require(configured(tmp_path, market), "predict").created == before


def test_a_new_version_of_a_rule_makes_the_signals_anew(market: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    context = configured(tmp_path, market, ingest={"tickers": ("AAAUSDT",)})
    before = predicted(context).fingerprint
    rule = rules.RULES["rsi_reversion"]
    monkeypatch.setitem(rules.RULES, rule.name, rules.Rule(**{**vars(rule), "version": rule.version + 1}))
    assert predict.run(context, fan_out=serially).fingerprint != before


@pytest.mark.parametrize("job", [train, tune, evaluate, ablate])
def test_there_is_no_model_to_train_or_judge(job: Any, market: Path, tmp_path: Path):
    with pytest.raises(NoModelError, match=r"trains no model of its own, since rule is set \('rsi_reversion'\)"):
        job.run(configured(tmp_path, market))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--rule rsi_reversion --signals s.csv", "signals and rule are both set; allowed: one of them"),
        ("--rule rsi_reversion --model m --scaler s --predict.threshold 0.5", "model and rule are both set"),
        ("--rule moon", "there is no rule 'moon'; allowed: rsi_reversion, bollinger_breakout"),
        ("--rule rsi_reversion --features.set ta193", "needs a feature 'rsi' .*'ta193' lacks; allowed: pattern8"),
        ("--rules.rsi_reversion.lower 101", r"rules: rsi_reversion\.lower is 101\.0; allowed: from 0 to 100"),
        ("--rules.rsi_reversion.lower 70", "lower is 70 and rsi_reversion.upper is 70; allowed: lower below upper"),
        ("--rules.momentum.bars 0", r"momentum\.bars is 0; allowed: whole numbers from 1 to 500"),
        ("--rules.momentum.bars 2.5", r"rules\.momentum\.bars = '2.5': input should be a valid integer"),
        ("--rules.side up", "rules.side = 'up': input should be 'both', 'long' or 'short'"),
        ("--rules.momentum.bar 3", r"--rules\.momentum\.bar is not known; did you mean --rules\.momentum\.bars\?"),
    ],
)
def test_what_cannot_be_is_refused_at_the_start(flags: str, message: str):
    with pytest.raises(ConfigError, match=message) as caught:
        parse("pipeline", "", flags.split())
    assert "\n" not in str(caught.value)


def test_a_wrong_key_of_the_file_is_explained(tmp_path: Path):
    (tmp_path / "run.toml").write_text('rule = "momentum"\n[rules.momentum]\nbarz = 3\n', encoding="utf-8")
    with pytest.raises(ConfigError, match=r"rules\.momentum\.barz: there is no such setting; did you mean 'bars'\?"):
        parse("pipeline", "", ["--config", str(tmp_path / "run.toml")])
