"""Judge all tickers together: who keeps to the rules once luck is counted in; export who does.

python -m jobs.shortlist --config run.toml --store URL --run NAME
"""

from dataclasses import asdict
from itertools import chain
from typing import Any

import pandas as pd

from jobs import exports
from jobs.gather import gather
from jobs.stage import Context, FanOut, Stage, fan_out, require, stage_fingerprint, up_to_date, write_whole
from quant import portfolio, selection
from quant.metrics import daily_returns
from quant.schemas import CORRELATIONS, EQUITY, PORTFOLIO, SHORTLIST, frame
from quant.shortlist import Verdicts, shortlist
from storage.manifest import Manifest
from storage.tables import read_table

STAGE = Stage("shortlist", 2, ("search", "placebo", "backtest"), (SHORTLIST, PORTFOLIO, CORRELATIONS))


def run(context: Context, fan_out: FanOut = fan_out) -> Manifest:
    """Bring the shortlist of the run, and its exports, up to date."""
    settings = context.config.shortlist.model_dump()
    if done := up_to_date(context, STAGE, stage_fingerprint(context, STAGE, settings)):
        return done
    verdicts, returns = judge(context, fan_out)
    picks = listed(verdicts)
    picked = returns.reindex(columns=picks).dropna(how="all")
    frames = {
        SHORTLIST: verdicts.table,
        PORTFOLIO: portfolio.equal_weights(picked) if picks else frame(PORTFOLIO, []),
        CORRELATIONS: portfolio.correlations(picked.reindex(columns=sorted(picks[: portfolio.MOST]))),
    }
    chosen = chosen_sets(require(context, "search"))
    exports.write(context, verdicts.table, chosen, require(context, "backtest"))
    details = {
        "shortlisted": picks,
        "portfolio": portfolio.summary(picked),
        **of_the_market(verdicts, returns),
    }
    return write_whole(context, STAGE, settings, frames, details=details)


def judge(context: Context, fan_out: FanOut = fan_out) -> tuple[Verdicts, pd.DataFrame]:
    """The verdict on every ticker, and the candidates' daily returns on the judge part; nothing is written."""
    searched, judged = require(context, "search"), require(context, "backtest")
    # a ticker whose judged run failed has no curve
    candidates = [
        ticker
        for ticker, row in sorted(chosen_sets(searched).items())
        if row["total_return"] > 0 and ticker in judged.tickers
    ]
    returns = candidate_returns(context, candidates, fan_out)
    verdicts = shortlist(
        metrics_frame(judged),
        trials_frame(searched),
        returns,
        placebos_frame(require(context, "placebo")),
        rules=context.config.shortlist.model_dump(),
    )
    return verdicts, returns


def listed(verdicts: Verdicts) -> list[str]:
    """Tickers that keep to all rules, best first."""
    return list(verdicts.table.loc[verdicts.table["shortlisted"], "ticker"])


def chosen_sets(searched: Manifest) -> dict[str, dict[str, Any]]:
    """The chosen set of every ticker that has one."""
    return {ticker: info["chosen"] for ticker, info in searched.tickers.items() if info["chosen"]}


def of_the_market(verdicts: Verdicts, returns: pd.DataFrame) -> dict[str, Any]:
    """What can be said of all candidates together."""
    table = verdicts.table
    candidates = table[table["stage"] != "choose"]
    # all candidates and days at once, so that what they have in common counts
    ability = selection.superior_predictive_ability(returns.fillna(0.0).to_numpy().T)
    decay = selection.tuning_decay(candidates["choose_sharpe"], candidates["judge_sharpe"])
    repetitions = sum(map(len, verdicts.placebo_entries.values()))
    entries = sum(map(sum, verdicts.placebo_entries.values()))
    return {
        "candidates": len(candidates),
        "effective_candidates": verdicts.effective_candidates,
        "placebo_entries": verdicts.placebo_entries,
        # one more than was seen, so that few repetitions do not pass for certainty
        "false_entries": (entries + 1) / repetitions if repetitions else None,
        "superior_predictive_ability": ability.consistent,
        "tuning_decay": asdict(decay),
    }


def candidate_returns(context: Context, candidates: list[str], fan_out: FanOut) -> pd.DataFrame:
    """Daily returns on the judge part, a column a candidate in this order, NaN on days without bars."""
    parts = [*gather(daily, candidates, context, name="returns", shared=context, fan_out=fan_out)]
    found = pd.concat(parts, axis=1, sort=True) if parts else pd.DataFrame()
    return found.reindex(columns=[ticker for ticker in candidates if ticker in found.columns])


def daily(tickers: list[str], context: Context) -> pd.DataFrame:
    """Daily returns of some tickers, those left out that were not traded on a single day."""
    curves = {
        ticker: read_table(context.store, context.run, EQUITY, ticker, columns=["strategy"])["strategy"]
        for ticker in tickers
    }
    return pd.DataFrame({ticker: daily_returns(curve) for ticker, curve in curves.items() if len(curve)})


def placebos_frame(manifest: Manifest) -> pd.DataFrame:
    """What the searches on placebos left, of all tickers."""
    found = [(ticker, info["columns"]) for ticker, info in manifest.tickers.items()]
    if not found:
        return pd.DataFrame()
    tickers = [ticker for ticker, columns in found for _ in columns["kind"]]
    names = found[0][1]
    return pd.DataFrame(
        {"ticker": tickers, **{name: [*chain.from_iterable(columns[name] for _, columns in found)] for name in names}}
    )


def metrics_frame(judged: Manifest) -> pd.DataFrame:
    """Figures of all tickers and parts, from the manifest alone: no round trip a ticker."""
    rows = [{"ticker": ticker, **row} for ticker, info in judged.tickers.items() for row in info["metrics"]]
    return pd.DataFrame(rows)


def trials_frame(searched: Manifest) -> pd.DataFrame:
    """The chosen trial of every ticker that has one, and how much of it is luck."""
    return pd.DataFrame(
        [
            {"ticker": ticker, **info["chosen"], **info["evidence"]}
            for ticker, info in searched.tickers.items()
            if info["chosen"]
        ]
    )


if __name__ == "__main__":
    from jobs.runner import main

    main("shortlist")
