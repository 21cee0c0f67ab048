"""The evaluation of a run's model, as a plain loop on a small market: the same figures as scikit-learn's."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics

from actors.outcome import Outcome, ShardError
from jobs import evaluate, features, ingest, labels, market, report
from jobs.dataset import load
from jobs.evaluate import EvaluateError
from jobs.stage import Context, require
from quant import baselines, evaluation
from quant.schemas import EVALUATION, EVALUATION_CURVES, EVALUATION_GROUPS, LABELS, SIGNALS
from quant.training import drawn
from storage import layout
from storage.manifest import Manifest, delete_manifest, write_manifest
from storage.tables import read_table, write_table
from tests.jobs.conftest import make_context, serially

LEARNED = ["local-um:AAAUSDT", "local-um:BBBUSDT"]
SETTINGS = {"baseline_windows": 400, "resamples": 20}


def guarded(function: Any, shards: list[Any], *, shared: Any = None, **_: Any) -> Any:
    """The fan-out as a plain loop in which an error is an outcome, as on a cluster."""
    for shard in shards:
        try:
            yield Outcome(shard, function(shard, shared), None)
        except Exception as error:  # what the cluster would hand on
            yield Outcome(shard, None, ShardError("bug", type(error).__name__, str(error), ""))


def written(stage: str, tickers: dict[str, dict[str, Any]], details: dict[str, Any], result: str) -> Manifest:
    return Manifest(stage, result, {}, {}, {}, tickers, {}, {stage: result}, [], "2026-01-01", details)


@pytest.fixture
def context(market: Path, tmp_path: Path) -> Context:
    """A run with signals that know the label a little; no network is trained for it."""
    found = make_context(
        tmp_path,
        source=str(market),
        run="first",
        train={"tickers": ("AAAUSDT", "BBBUSDT"), "steps": 6},
        split={"fit": 0.4, "validate": 0.1, "choose": 0.3, "judge": 0.2, "embargo": 10},
        labels={"take": 0.002},
        evaluate=SETTINGS,
    )
    for job in (ingest, features, labels):
        job.run(found, fan_out=serially)
    predicted(found, require(found, "labels").tickers)
    return found


def predicted(context: Context, tickers: Any) -> None:
    """Manifests and signals as ``train`` and ``predict`` leave them."""
    data = load(context, LEARNED)
    counts = np.bincount(data.fit.labels, minlength=3).tolist()
    details = {"tickers": LEARNED, "classes": {"fit": counts, "validate": counts}}
    write_manifest(context.store, context.run, written("train", {}, details, "t"))
    choose = market.parts(context, market.of(context))["choose"]
    info = {}
    for seed, ticker in enumerate(sorted(tickers)):
        known = read_table(context.store, context.run, LABELS, ticker)
        known = known[known.index >= choose.start]
        given = np.random.default_rng(seed).dirichlet([3, 3, 3], len(known))
        truth = known["label"].to_numpy(dtype=float, na_value=0).astype(int)
        given = 0.9 * given + 0.1 * np.eye(3)[truth]
        frame = pd.DataFrame(
            {"signal": 0, "probability_long": given[:, 1], "probability_short": given[:, 2]}, known.index
        )
        frame = frame.astype({"signal": "int8", "probability_long": "float32", "probability_short": "float32"})
        frame.iloc[:30, 1:] = np.nan  # no window yet
        write_table(context.store, context.run, SIGNALS, frame, ticker)
        info[ticker] = {"rows": len(frame), "windows": len(frame) - 30}
    write_manifest(context.store, context.run, written("predict", info, {}, "p"))


def tables(context: Context) -> list[pd.DataFrame]:
    return [read_table(context.store, context.run, one) for one in (EVALUATION, EVALUATION_CURVES, EVALUATION_GROUPS)]


def plainly(context: Context, tickers: list[str]) -> tuple[np.ndarray, np.ndarray, pd.DataFrame]:
    """Labels, probabilities and rows of signals of the windows on choose, read without the job."""
    choose = market.parts(context, market.of(context))["choose"]
    frames = []
    for ticker in tickers:
        both = read_table(context.store, context.run, SIGNALS, ticker).join(
            read_table(context.store, context.run, LABELS, ticker)
        )
        frames.append(both[(both.index >= choose.start) & (both.index < choose.end)].assign(ticker=ticker))
    table = pd.concat(frames).dropna(subset=["probability_long", "label"])
    sides = table[["probability_long", "probability_short"]].to_numpy(float)
    return table["label"].to_numpy(int), np.column_stack([1 - sides.sum(axis=1), sides]), table


def test_figures_are_those_of_scikit_learn_on_the_choose_part_alone(context: Context):
    done = evaluate.run(context, fan_out=serially)
    truth, given, _ = plainly(context, LEARNED)
    statistics, curves, _ = tables(context)
    found = statistics.set_index(["model", "statistic"])["estimate"]
    named = given.argmax(axis=1)
    either = truth > 0
    expected = {
        "accuracy": metrics.accuracy_score(truth, named),
        "macro_f1": metrics.f1_score(truth, named, average="macro"),
        "log_loss": metrics.log_loss(truth, given),
        "direction_auc": metrics.roc_auc_score(truth[either] == 1, (given[:, 1] / given[:, 1:].sum(axis=1))[either]),
        "roc_auc_long": metrics.roc_auc_score(truth == 1, given[:, 1]),
        "roc_auc_short": metrics.roc_auc_score(truth == 2, given[:, 2]),
        "average_precision_long": metrics.average_precision_score(truth == 1, given[:, 1]),
        "average_precision_short": metrics.average_precision_score(truth == 2, given[:, 2]),
    }
    for name, value in expected.items():
        assert found["cnn", name] == pytest.approx(value, abs=1e-6), name
    counts = np.array(require(context, "train").details["classes"]["fit"])
    assert found["majority", "log_loss"] == pytest.approx(
        metrics.log_loss(truth, np.tile(counts / counts.sum(), (len(truth), 1)))
    )
    assert found["cnn", "log_loss_at_shares"] == pytest.approx(
        metrics.log_loss(truth, evaluation.at_shares(given, counts))
    )
    np.testing.assert_array_equal(done.details["confusions"]["cnn"], metrics.confusion_matrix(truth, named))
    roc = curves[(curves["model"] == "cnn") & (curves["side"] == "long") & (curves["curve"] == "roc")]
    assert np.trapezoid(roc["y"], roc["x"]) == pytest.approx(expected["roc_auc_long"], abs=2e-3)
    assert set(statistics["windows"]) == {len(truth)}


def test_simple_models_are_fitted_on_the_fit_part_and_judged_on_the_same_windows(context: Context):
    evaluate.run(context, fan_out=serially)
    truth, _, rows = plainly(context, LEARNED)
    data = load(context, LEARNED)
    predict = baselines.logistic_last_bar(drawn(data.fit, context.config.train.steps, 400, 1), seed=1)
    values = []
    for ticker in LEARNED:
        table = read_table(context.store, context.run, evaluate.FEATURES, ticker)
        scaled = data.scaler.transform(table)
        values.append(predict(scaled, table.index.get_indexer(rows.index[rows["ticker"] == ticker])))
    expected = metrics.f1_score(truth, np.concatenate(values).argmax(axis=1), average="macro")
    table = tables(context)[0].set_index(["model", "statistic"])
    assert table.loc[("logistic", "macro_f1"), "estimate"] == pytest.approx(expected)
    assert set(table.index.get_level_values(0)) == {"cnn", "majority", "logistic", "boosting"}
    row = table.loc[("boosting", "macro_f1")]
    assert row["difference"] == pytest.approx(table.loc[("cnn", "macro_f1"), "estimate"] - row["estimate"])


def test_every_ticker_has_its_row_and_every_month_its_models(context: Context):
    evaluate.run(context, fan_out=serially)
    groups = tables(context)[2]
    by_ticker = groups[groups["kind"] == "ticker"].set_index("group")
    assert sorted(by_ticker.index) == sorted(require(context, "labels").tickers)
    assert sorted(by_ticker.index[by_ticker["learned"]]) == LEARNED
    truth, given, _ = plainly(context, ["local-um:CCCUSDT"])
    figures = by_ticker.loc["local-um:CCCUSDT"]
    assert figures["windows"] == len(truth)
    assert figures["macro_f1"] == pytest.approx(metrics.f1_score(truth, given.argmax(axis=1), average="macro"))
    assert figures["direction_auc"] == pytest.approx(evaluation.direction_auc(truth, given))
    months = groups[groups["kind"] == "month"]
    assert months.groupby("group")["model"].nunique().eq(4).all()


def test_the_result_does_not_depend_on_the_workers_and_is_not_computed_twice(context: Context):
    first = evaluate.run(context, fan_out=serially)
    stamp = context.store.stamp(layout.manifest(context.run, "evaluate"))
    assert asdict(evaluate.run(context, fan_out=None)) == asdict(first)
    assert context.store.stamp(layout.manifest(context.run, "evaluate")) == stamp
    delete_manifest(context.store, context.run, "evaluate")
    again = evaluate.run(replace(context, workers=7), fan_out=serially)
    assert again.result_hash == first.result_hash


def test_a_ticker_without_windows_has_a_row_without_figures(context: Context):
    frame = read_table(context.store, context.run, SIGNALS, "local-um:DDDUSDT")
    frame[["probability_long", "probability_short"]] = np.float32(np.nan)
    write_table(context.store, context.run, SIGNALS, frame, "local-um:DDDUSDT")
    assert evaluate.run(context, fan_out=serially).failures == []
    groups = tables(context)[2].set_index("group")
    assert groups.loc["local-um:DDDUSDT", "windows"] == 0
    assert np.isnan(groups.loc["local-um:DDDUSDT", "direction_auc"])


def test_no_window_at_all_is_a_reason_and_no_error(context: Context):
    for ticker in LEARNED:
        frame = read_table(context.store, context.run, SIGNALS, ticker)
        frame[["probability_long", "probability_short"]] = np.float32(np.nan)
        write_table(context.store, context.run, SIGNALS, frame, ticker)
    done = evaluate.run(context, fan_out=guarded)
    assert "no labelled window" in done.details["reason"]
    assert len(tables(context)[0]) == 0
    shown = report.comparison(context)
    assert shown is not None
    assert shown.matrix() is None


def test_classes_that_are_missing_cost_the_models_that_need_them_only(context: Context):
    for ticker in require(context, "labels").tickers:
        frame = read_table(context.store, context.run, LABELS, ticker)
        frame["label"] = frame["label"].where(frame["label"].isna(), 0).astype("Int8")
        write_table(context.store, context.run, LABELS, frame, ticker)
    details = {"tickers": LEARNED, "classes": {"fit": [900, 0, 0], "validate": [9, 0, 0]}}
    write_manifest(context.store, context.run, written("train", {}, details, "neutral"))
    done = evaluate.run(context, fan_out=guarded)
    assert set(done.details["left_out"]) == {"logistic", "boosting"}
    assert "at least 2 of them" in done.details["left_out"]["logistic"]
    found = tables(context)[0].set_index(["model", "statistic"])["estimate"]
    assert np.isnan(found["cnn", "direction_auc"])
    assert found["majority", "accuracy"] == 1.0


def test_a_ticker_that_fails_costs_no_other(context: Context):
    context.store.delete(layout.table(context.run, SIGNALS.name, "local-um:CCCUSDT"))
    done = evaluate.run(context, fan_out=guarded)
    assert [failure.ticker for failure in done.failures] == ["local-um:CCCUSDT"]
    groups = tables(context)[2]
    assert len(groups[groups["kind"] == "ticker"]) == 3
    context.store.delete(layout.table(context.run, SIGNALS.name, LEARNED[0]))
    with pytest.raises(EvaluateError, match="evaluate: "):
        evaluate.run(context, fan_out=guarded)


def test_switched_off_it_says_so(context: Context):
    settings = context.config.evaluate.model_copy(update={"enabled": False})
    off = replace(context, config=context.config.model_copy(update={"evaluate": settings}))
    assert evaluate.run(off, fan_out=guarded).details["reason"] == "evaluate.enabled is false"


def test_of_many_windows_every_so_manieth_is_judged(context: Context):
    fewer = context.config.model_copy(update={"evaluate": context.config.evaluate.model_copy(update={"windows": 500})})
    done = evaluate.run(replace(context, config=fewer), fan_out=serially)
    assert done.details["stride"] > 1
    counted = set(tables(context)[0]["windows"])
    assert len(counted) == 1
    assert 350 <= counted.pop() <= 550
