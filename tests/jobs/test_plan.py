"""The plan of a run: what is done, what is left, what it takes, and what cannot fit."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jobs import backtest, features, ingest, labels, placebo, plan, predict, protocols, search, shortlist
from jobs.config import RunConfig
from jobs.estimate import expected
from jobs.runner import main
from jobs.stage import Context, NoModelError
from storage.manifest import Usage, write_manifest
from tests.jobs.conftest import ROWS, TICKERS, make_context, serially

BUSY = {"source": "demo", "signals": None, "rule": "rsi_reversion"}  # more shards than there are cores
PATH = (ingest, predict, search, placebo, backtest)


def with_settings(context: Context, **settings: Any) -> Context:
    """The same run with other settings."""
    given = {**context.config.model_dump(by_alias=True), **settings}
    return Context(RunConfig.model_validate(given), context.store)


def words(context: Context) -> dict[str, str]:
    """The first word of each stage's state."""
    return {row.expected.name: row.state.split()[0] for row in plan.plan(context).rows}


def test_before_anything_runs_all_is_to_do_and_nothing_is_written(context: Context):
    made = plan.plan(context)
    assert {row.state for row in made.rows} == {"to do"}
    assert made.basis == "by the sizes of the files"
    assert made.tickers == len(TICKERS)
    assert made.bars == pytest.approx(len(TICKERS) * ROWS, rel=0.05)
    assert context.store.list() == []


def test_what_is_done_is_said_and_what_follows_a_change_is_to_do(context: Context):
    for job in PATH:
        job.run(context, fan_out=serially)
    assert words(context) == {
        **dict.fromkeys(("ingest", "predict", "search", "placebo", "backtest"), "done"),
        "shortlist": "to",
    }
    before = context.store.stamps()
    changed = with_settings(context, search={"trials": 3})
    assert words(changed) == {
        **dict.fromkeys(("ingest", "predict"), "done"),
        **dict.fromkeys(("search", "placebo", "backtest", "shortlist"), "to"),
    }
    assert context.store.stamps() == before, "planning is reading"
    made = plan.plan(changed)
    assert (made.basis, made.bars) == ("as ingested", len(TICKERS) * ROWS)
    shortlist.run(context, fan_out=serially)
    assert plan.plan(context).seconds == plan.CLUSTER_START


def interrupted(function: Any, shards: Any, **settings: Any) -> Any:
    yield next(serially(function, [shards[0][:1]], **settings))
    raise KeyboardInterrupt


def test_a_stage_that_was_stopped_goes_on_with_the_rest(context: Context):
    ingest.run(context, fan_out=serially)
    with pytest.raises(KeyboardInterrupt):
        predict.run(context, fan_out=interrupted)
    (row,) = [row for row in plan.plan(context).rows if row.expected.name == "predict"]
    assert (row.state, row.done) == ("1 done before", 0.25)


def test_requests_and_bytes_are_those_that_a_run_makes(market: Path, tmp_path: Path):
    """The rates against what the meter counts, for stages whose tables have a size that one can foretell."""
    context = make_context(tmp_path / "store", source=str(market), features={"set": "pattern8_relative"})
    for job in (ingest, features, labels):
        job.run(context, fan_out=serially)
    rows = {ticker: float(ROWS) for ticker in TICKERS}
    stages = {stage.name: stage for stage in expected(context.config, rows, plan.machines(context.config))}
    for job in (ingest, features, labels):
        used = job.run(context, fan_out=serially).usage
        stage = stages[job.STAGE.name]
        assert used.requests == stage.requests, stage.name
        assert stage.bytes_read == pytest.approx(used.bytes_read, rel=0.25), stage.name
        assert stage.bytes_written == pytest.approx(used.bytes_written, rel=0.25), stage.name


def test_rates_are_corrected_by_what_runs_of_the_store_have_cost(context: Context):
    known = ingest.run(context, fan_out=serially)
    assert known.usage.expected_seconds > 0
    for stage, used in {"search": Usage(seconds=30.0, expected_seconds=10.0), "placebo": Usage(seconds=0.1)}.items():
        write_manifest(context.store, "elsewhere", replace(known, stage=stage, usage=used))
    assert plan.corrections(context).get("search") == 3.0
    assert "placebo" not in plan.corrections(context), "too short to say anything"
    plain, corrected = (
        expected(context.config, {"a": 4e6}, plan.machines(context.config), factors)
        for factors in ({}, {"search": 3.0})
    )
    for one, other in zip(plain, corrected, strict=True):
        ratio = 3.0 if one.name == "search" else 1.0
        assert sum(shard.seconds for shard in other.work.shards) == pytest.approx(
            ratio * sum(shard.seconds for shard in one.work.shards)
        )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {**BUSY, "plan": {"memory": 2.0, "cpus": 8}},
            r"ingest would run 8 workers of 577 MB on a node that has 800 MB for them: set workers to 1, or run on",
        ),
        ({"plan": {"memory": 1.3}}, r"on a node that has 100 MB for them: choose fewer bars by split\.start"),
        (
            {**BUSY, "plan": {"memory": 5.0, "cpus": 16, "nodes": 3}},
            r"would run 16 workers of 577 MB on a node that has 3\.8 GB .* set worker_memory to 0\.63, so that 6 run",
        ),
        (
            {"signals": None, "train": {"gpu": True}},
            r"train asks for 2 CPU and 1 GPU a worker; a node has 2 and 0\. Set plan\.gpu_nodes",
        ),
    ],
)
def test_what_cannot_fit_is_refused_with_the_setting_to_change(
    context: Context, settings: dict[str, Any], message: str
):
    with pytest.raises(plan.PlanError, match=message):
        plan.look(with_settings(context, workers=2, **settings))


def test_more_nodes_take_less_time_and_cost_what_they_cost(context: Context):
    def planned(nodes: int) -> plan.Plan:
        return plan.plan(with_settings(context, plan={"nodes": nodes, "cpus": 16, "memory": 64.0}))

    one, many = planned(1), planned(64)
    assert many.seconds <= one.seconds
    config = context.config.model_copy(update={"plan": context.config.plan.model_copy(update={"price": 3600.0})})
    assert plan.text(Context(config, context.store), one).splitlines()[-1].startswith(f"about {one.seconds:,.2f} at")


def test_a_run_that_begins_is_announced_and_never_refused(context: Context, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.INFO, logger="assay"):
        plan.announce(with_settings(context, signals=None, train={"gpu": True}))
        plan.announce(with_settings(context, plan={"memory": 1.3}))
    first, second, warned = caplog.messages
    assert first.startswith("plan: 10 of 10 stages to do, 4 tickers, 16,")
    assert second.startswith("plan: 6 of 6 stages to do")
    assert warned.startswith("it may not fit: ingest would run 1 workers")


def test_the_articles_models_are_counted_but_for_those_that_are_the_runs_own(context: Context):
    def planned(**settings: Any) -> plan.Plan:
        return plan.plan(with_settings(context, signals=None, plan={"job": "protocols"}, **settings))

    made = planned()
    names = [row.expected.name for row in made.rows]
    models = ["seed_whole_numbers", "seed_label", "seed_scaler", "seed_window", "seed_price_levels"]
    path = [f"{model} {stage}" for model in models for stage in ("ingest", "features", "labels", "train")]
    assert names[10:] == [*path, "protocols"]
    assert [row.expected.name for row in made.models] == [f"{model} train" for model in models]
    assert "5 models beside the run's, 5 to be trained in about" in plan.text(context, made)
    own = planned(
        features=protocols.IN_PLACE["price_levels"]["features"],
        train=protocols.IN_PLACE["window"]["train"] | protocols.IN_PLACE["scaler"]["train"],
    )
    assert [row.expected.name for row in own.models] == ["seed_whole_numbers train", "seed_label train"]
    # each is reckoned by its own network and tickers, as the run's is
    network = next(row.expected for row in own.rows if row.expected.name == "train")
    assert own.models[0].expected.work.shards == network.work.shards
    assert made.models[0].expected.work.shards == own.models[0].expected.work.shards
    (first,) = planned(train={"tickers": ["AAAUSDT"]}).models[:1]
    assert first.expected.tickers == 1 < made.models[0].expected.tickers == len(TICKERS)


def test_the_articles_protocols_are_not_planned_where_no_model_is_trained(context: Context):
    with pytest.raises(NoModelError, match="trains no model of its own, since signals is set"):
        plan.plan(with_settings(context, plan={"job": "protocols"}))


def test_it_is_asked_as_a_job_and_exits_with_2_where_nothing_fits(
    context: Context, market: Path, capsys: pytest.CaptureFixture[str]
):
    flags = ["--source", str(market), "--signals", str(context.config.signals), "--store", context.store.url]
    with pytest.raises(SystemExit) as caught:
        main("plan", [*flags, "--plan.memory", "1.3"])
    assert caught.value.code == 2
    shown = capsys.readouterr()
    assert shown.out.splitlines()[0].startswith("plan of run 'demo' in file://")
    assert "PlanError: ingest would run" in shown.err


def test_what_a_service_has_is_not_known_before_it_is_fetched(context: Context, caplog: pytest.LogCaptureFixture):
    fetching = with_settings(context, source="binance")
    with pytest.raises(plan.UnknownMarketError, match=r"Run `python -m jobs\.ingest` .* first"):
        plan.plan(fetching)
    with caplog.at_level(logging.INFO, "assay"):
        plan.announce(fetching)
    assert "known once the market data is here" in caplog.text
