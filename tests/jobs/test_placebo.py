"""The same search where there is nothing to find, as a plain loop on a small market."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from jobs import ingest, placebo, predict, search
from jobs import market as of_the_run
from jobs.stage import Context, require
from quant import metrics, statistics
from quant.bracket import reference
from quant.parameters import from_row
from quant.placebo import random_walk, seeds, shuffled_signal
from quant.schemas import PLACEBOS, TRIALS
from storage.tables import read_table
from tests.jobs.conftest import make_context, serially
from tests.jobs.test_search import SPACE

TICKER = "local-um:AAAUSDT"


def placebos(folder: Path, source: Path, signals: Path, **settings: Any) -> Context:
    """A run up to the placebos."""
    context = make_context(
        folder,
        source=str(source),
        signals=str(signals),
        run="first",
        search={**SPACE, "sampler": "sobol", "trials": 6},
        placebo={"repetitions": 2, "block": 100, **settings},
    )
    for job in (ingest, predict, search, placebo):
        job.run(context, fan_out=serially)
    return context


@pytest.mark.parametrize("kind", ["shuffled", "walk"])
def test_a_placebo_is_the_search_on_what_was_drawn_and_its_choice_on_the_judge_part(
    kind: str, market: Path, signals: Path, tmp_path: Path
):
    context = placebos(tmp_path, market, signals)
    rows = read_table(context.store, context.run, PLACEBOS, TICKER)
    assert rows[["kind", "repetition"]].to_numpy().tolist() == [
        ["shuffled", 0], ["shuffled", 1], ["walk", 0], ["walk", 1]
    ]  # fmt: skip
    row = rows[(rows["kind"] == kind) & (rows["repetition"] == 1)].iloc[0]
    drawn = {}
    for name, seed in zip(("choose", "judge"), seeds(1, f"{TICKER} {kind}", 4)[2:], strict=True):
        bars, signal, *_ = of_the_run.stretch(context, TICKER, parts(context)[name])
        drawn[name] = (
            (bars, shuffled_signal(signal, 100, seed)) if kind == "shuffled" else (random_walk(bars, seed), signal)
        )
    tried = read_table(context.store, context.run, TRIALS, TICKER)
    sets = [from_row(trial) for _, trial in tried.iterrows()]
    costs = search.costs(context)
    tuned = [metrics.figures(reference(*drawn["choose"], chosen, costs, close_at_end=True)) for chosen in sets]
    scored = pd.Series({number: one["sharpe"] for number, one in enumerate(tuned) if one["trades"] >= 5})
    assert row["trial"] == scored.idxmax()
    assert row["choose_return"] == pytest.approx(tuned[row["trial"]]["total_return"], rel=1e-9)
    judged = reference(*drawn["judge"], sets[row["trial"]], costs, close_at_end=True)
    for name, value in metrics.figures(judged).items():
        assert row[name] == pytest.approx(value, rel=1e-9, abs=1e-12), name
    returns = metrics.daily_returns(metrics.daily_equity(judged))
    assert row["sharpe_error"] == pytest.approx(statistics.sharpe_error(returns))
    assert row["days"] == len(returns)


def parts(context: Context) -> Any:
    return of_the_run.parts(context, of_the_run.of(context))


def test_more_repetitions_keep_the_first_ones(market: Path, signals: Path, tmp_path: Path):
    few = placebos(tmp_path / "few", market, signals)
    many = placebos(tmp_path / "many", market, signals, repetitions=3)
    first, more = (read_table(context.store, context.run, PLACEBOS, TICKER) for context in (few, many))
    pd.testing.assert_frame_equal(first, more[more["repetition"] < 2].reset_index(drop=True))
    other = placebos(tmp_path / "other", market, signals, seed=2)
    assert not first.equals(read_table(other.store, other.run, PLACEBOS, TICKER))


def test_without_repetitions_there_is_nothing_to_do(market: Path, signals: Path, tmp_path: Path):
    context = placebos(tmp_path, market, signals, repetitions=0)
    assert require(context, "placebo").tickers == {}
    assert require(context, "placebo").rows == {"placebos": 0}
