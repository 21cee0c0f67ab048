"""The verdict: on which tickers the evidence holds once the number of tickers looked at is counted in.

A ticker is a candidate by its choose part alone. Candidates are tested on the judge part, which had no say in who is
one, and their p-values are corrected for how many they are.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from quant.schemas import SHORTLIST
from quant.statistics import benjamini_hochberg

COLUMNS = tuple(column.name for column in SHORTLIST.columns)
_INTEGERS = ("trial", "judge_trades")
_TEXTS = ("ticker", "reason", "stage")
_STAGES = ("shortlisted", "judge", "choose")
_FROM_CHOOSE = {"trial": "trial", "sharpe": "choose_sharpe", "total_return": "choose_return", "trades": "choose_trades"}
_FROM_JUDGE = {
    "sharpe": "judge_sharpe",
    "total_return": "judge_return",
    "trades": "judge_trades",
    "buy_and_hold_return": "buy_and_hold_return",
    "win_rate": "win_rate",
    "profit_factor": "profit_factor",
    "expectancy": "expectancy",
    "max_drawdown": "max_drawdown",
    "probabilistic_sharpe": "probabilistic_sharpe",
    "sharpe_low": "sharpe_low",
    "sharpe_high": "sharpe_high",
}


class ShortlistError(ValueError):
    """Figures or rules from which no shortlist can be made."""


@dataclass(frozen=True)
class _Rules:
    false_discovery_rate: float
    minimum_trades: int
    minimum_choose_trades: int

    def __post_init__(self) -> None:
        if not 0 < self.false_discovery_rate < 1:
            raise ShortlistError(f"false_discovery_rate is {self.false_discovery_rate}; allowed: above 0 and below 1")
        if min(self.minimum_trades, self.minimum_choose_trades) < 1:
            raise ShortlistError(
                f"minimum_trades is {self.minimum_trades} and minimum_choose_trades {self.minimum_choose_trades}; "
                "allowed: 1 or more"
            )


def shortlist(
    metrics: pd.DataFrame,
    trials: pd.DataFrame,
    *,
    false_discovery_rate: float = 0.1,
    minimum_trades: int = 30,
    minimum_choose_trades: int = 10,
) -> pd.DataFrame:
    """Judge all tickers together.

    A candidate is a ticker whose chosen set made a profit after costs on the choose part. Its p-value is one minus
    the probabilistic Sharpe ratio of the judge part, its q-value the Benjamini–Hochberg correction over all
    candidates; one without a p-value counts there as 1, since leaving it out would be a choice made on the judge part.

    Parameters
    ----------
    metrics
        Columns ``ticker`` and those of ``quant.schemas.METRICS``; at most one row a ticker and part.
    trials
        Columns ``ticker`` and those of ``quant.schemas.TRIALS``: the chosen set of each ticker that has one.
    false_discovery_rate
        Largest q-value of a shortlisted ticker: the share of false entries that is accepted.
    minimum_trades
        Fewest closed trades on the judge part.
    minimum_choose_trades
        Fewest closed trades on the choose part.

    Returns
    -------
    DataFrame
        Columns of ``quant.schemas.SHORTLIST``, one row for every ticker of either frame: the shortlisted ones by
        q-value, then those rejected on judge, then those rejected on choose, ties by ticker.

    Raises
    ------
    ShortlistError
        If a rule is out of range, a column is missing, or a ticker occurs twice.
    """
    rules = _Rules(false_discovery_rate, minimum_trades, minimum_choose_trades)
    table = _figures(metrics, trials)
    candidate = (table["choose_return"] > 0) & (table["choose_trades"] >= rules.minimum_choose_trades)
    table["p_value"] = (1 - table["probabilistic_sharpe"]).where(candidate)
    table["q_value"] = np.nan
    table.loc[candidate, "q_value"] = benjamini_hochberg(table.loc[candidate, "p_value"].fillna(1.0).to_numpy())
    table["q_value"] = table["q_value"].where(table["p_value"].notna())
    table["shortlisted"] = (
        candidate
        & (table["q_value"] <= rules.false_discovery_rate)
        & (table["judge_return"] > 0)
        & (table["judge_trades"] >= rules.minimum_trades)
    )
    table["stage"] = np.select([table["shortlisted"], candidate], ["shortlisted", "judge"], "choose")
    table["reason"] = [_reason(row, rules) for _, row in table.iterrows()]
    return _ordered(table)


def _figures(metrics: pd.DataFrame, trials: pd.DataFrame) -> pd.DataFrame:
    """One row a ticker with the figures of both parts, NaN where there are none."""
    parts = _required(metrics, "metrics", ("ticker", "part", *_FROM_JUDGE))
    judged = _by_ticker(parts[parts["part"] == "judge"], "metrics of the judge part", _FROM_JUDGE)
    chosen = _by_ticker(_required(trials, "trials", ("ticker", *_FROM_CHOOSE)), "trials", _FROM_CHOOSE)
    tickers = sorted({*parts["ticker"], *chosen.index})
    return pd.concat([chosen.reindex(tickers), judged.reindex(tickers)], axis=1).rename_axis("ticker")


def _required(frame: pd.DataFrame, name: str, columns: tuple[str, ...]) -> pd.DataFrame:
    # a frame made of no rows has no columns either
    if frame.empty and not len(frame.columns):
        return pd.DataFrame(columns=list(columns))
    missing = [column for column in columns if column not in frame]
    if missing:
        raise ShortlistError(f"{name} lack the columns {', '.join(missing)}; needed: {', '.join(columns)}")
    return frame[list(columns)]


def _by_ticker(frame: pd.DataFrame, name: str, columns: dict[str, str]) -> pd.DataFrame:
    repeated = frame.loc[frame["ticker"].duplicated(), "ticker"]
    if len(repeated):
        raise ShortlistError(f"{name} have more than one row for {repeated.iloc[0]}; allowed is one")
    figures = frame.set_index("ticker").rename(columns=columns)[list(columns.values())]
    return pd.DataFrame({name: pd.to_numeric(figures[name]).astype("float64") for name in figures})


def _reason(row: pd.Series, rules: _Rules) -> str:
    if row["stage"] == "choose":
        return f"rejected on choose: {_fault_on_choose(row, rules)}"
    evidence = f"p = {row['p_value']:.2g}, q = {row['q_value']:.2g}"
    if row["stage"] == "shortlisted":
        return f"passed: {evidence} ≤ {rules.false_discovery_rate:g} over {row['judge_trades']:.0f} trades on judge"
    if np.isnan(row["judge_trades"]):
        fault = "no bars there"
    elif row["judge_trades"] < rules.minimum_trades:
        fault = f"{row['judge_trades']:.0f} trades, at least {rules.minimum_trades} needed"
    elif np.isnan(row["p_value"]):
        fault = "its daily returns have no spread to test"
    elif not row["judge_return"] > 0:
        fault = f"returned {_percent(row['judge_return'])}"
    else:
        fault = f"{evidence} > {rules.false_discovery_rate:g}"
    return f"rejected on judge: {fault}"


def _fault_on_choose(row: pd.Series, rules: _Rules) -> str:
    if np.isnan(row["trial"]):
        return "no parameter set traded enough to be scored"
    if row["choose_trades"] < rules.minimum_choose_trades:
        return f"the best set made {row['choose_trades']:.0f} trades, at least {rules.minimum_choose_trades} needed"
    return f"the best set returned {_percent(row['choose_return'])}"


def _percent(fraction: float) -> str:
    return f"{fraction * 100:+.1f} %".replace("-", "−")


def _ordered(table: pd.DataFrame) -> pd.DataFrame:
    keys = table.reset_index()
    keys["order"] = keys["stage"].map({stage: place for place, stage in enumerate(_STAGES)})
    result = keys.sort_values(["order", "q_value", "ticker"], na_position="last", ignore_index=True)
    result["rank"] = np.arange(1, len(result) + 1, dtype=np.int64)
    types = {**dict.fromkeys(_INTEGERS, "Int64"), **dict.fromkeys(_TEXTS, "str"), "shortlisted": "bool"}
    return result[list(COLUMNS)].astype(types)
