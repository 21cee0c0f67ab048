"""The verdict: on which tickers the evidence holds once the number of tickers looked at is counted in.

A ticker is a candidate by its choose part alone. Candidates are tested on the judge part, which had no say in who is
one: by rules of which each row says whether it passed, and by the same rules on placebos, in which there is nothing
to be found.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtr

from quant import selection
from quant.schemas import SHORTLIST
from quant.statistics import DAYS, benjamini_hochberg

COLUMNS = tuple(column.name for column in SHORTLIST.columns)
_INTEGERS = ("trial", "judge_trades")
_TEXTS = ("ticker", "reason", "stage", "passed", "failed")
_STAGES = ("shortlisted", "judge", "choose")
_FROM_CHOOSE = {"trial": "trial", "sharpe": "choose_sharpe", "total_return": "choose_return", "trades": "choose_trades"}
_FROM_EVIDENCE = ("effective_trials", "choose_deflated_sharpe", "overfitting", "stability", "walk_forward_sharpe")
_FROM_JUDGE = {
    "sharpe": "judge_sharpe",
    "sharpe_error": "sharpe_error",
    "days": "days",
    "total_return": "judge_return",
    "trades": "judge_trades",
    "buy_and_hold_return": "buy_and_hold_return",
    "win_rate": "win_rate",
    "profit_factor": "profit_factor",
    "expectancy": "expectancy",
    "max_drawdown": "max_drawdown",
    "sharpe_low": "sharpe_low",
    "sharpe_high": "sharpe_high",
}
_FROM_PLACEBO = {
    name: column
    for name, column in _FROM_JUDGE.items()
    if name not in ("buy_and_hold_return", "sharpe_low", "sharpe_high")
}


class ShortlistError(ValueError):
    """Figures or rules from which no shortlist can be made."""


@dataclass(frozen=True)
class Rule:
    """One bound on one column of the table of verdicts; a figure that is missing breaks it."""

    name: str
    column: str
    sign: Literal["≥", "≤", ">"]
    label: str
    percent: bool = False
    on_placebos: bool = True

    def holds(self, table: pd.DataFrame, bound: float) -> NDArray[np.bool_]:
        """Whether each row keeps to the bound."""
        values = table[self.column].to_numpy(dtype=np.float64)
        rounding = 1e-9 * abs(bound)
        kept = {"≥": values >= bound - rounding, "≤": values <= bound + rounding, ">": values > bound}[self.sign]
        return np.asarray(kept, dtype=np.bool_)

    def fault(self, value: float, bound: float) -> str:
        """What is said of a row that breaks it."""
        shown = _share if self.percent else _plain
        return f"{self.label} {'missing' if np.isnan(value) else shown(value)}, needed {self.sign} {shown(bound)}"


RULES = (
    Rule("minimum_trades", "judge_trades", "≥", "trades"),
    Rule("minimum_return", "judge_return", ">", "return", percent=True),
    Rule("deflated_sharpe", "deflated_sharpe", "≥", "deflated Sharpe"),
    Rule("minimum_sharpe", "judge_sharpe", "≥", "Sharpe"),
    Rule("minimum_win_rate", "win_rate", "≥", "win rate", percent=True),
    Rule("minimum_profit_factor", "profit_factor", "≥", "profit factor"),
    Rule("minimum_expectancy", "expectancy", "≥", "expectancy", percent=True),
    Rule("maximum_drawdown", "drawdown", "≤", "drawdown", percent=True),
    # the searches on placebos leave no such figures: they are taken to pass, which errs to the safe side
    Rule("choose_deflated_sharpe", "choose_deflated_sharpe", "≥", "deflated Sharpe on choose", on_placebos=False),
    Rule("maximum_overfitting", "overfitting", "≤", "probability of overfitting", on_placebos=False),
    Rule("false_discovery_rate", "false_discovery_rate", "≤", "false-discovery rate"),
)
DEFAULTS: dict[str, float] = {
    "deflated_sharpe": 0.95,
    "false_discovery_rate": 0.1,
    "minimum_trades": 30,
    "minimum_return": 0.0,
}


class Verdicts(NamedTuple):
    """Verdicts on all tickers, and what they rest on.

    Attributes
    ----------
    table
        Columns of ``quant.schemas.SHORTLIST``, one row for every ticker: the shortlisted ones by q-value, then those
        rejected on judge, then those rejected on choose, ties by p-value and ticker.
    effective_candidates
        Independent candidates that the candidates amount to; NaN where there are none.
    placebo_entries
        Kind of placebo → how many entries the same rules let through in each repetition.
    """

    table: pd.DataFrame
    effective_candidates: float
    placebo_entries: dict[str, list[int]]


def shortlist(
    metrics: pd.DataFrame,
    trials: pd.DataFrame,
    returns: pd.DataFrame,
    placebos: pd.DataFrame | None = None,
    *,
    rules: Mapping[str, float | None] = DEFAULTS,
) -> Verdicts:
    """Judge all tickers together.

    A candidate is a ticker whose chosen set made a profit after costs on the choose part. Its p-value is one minus
    the probabilistic Sharpe ratio of the judge part, its q-value the Benjamini–Hochberg correction over all
    candidates; one without a p-value counts there as 1, since leaving it out would be a choice made on the judge part.
    Its deflated Sharpe ratio is deflated by the effective number of candidates: they are the trials on the judge
    part. What was tried on the choose part has its own deflated Sharpe ratio there.

    The q-value by placebo is the share of false entries that the placebos foretell among the candidates that keep to
    all other rules with a p-value as small (:func:`quant.selection.placebo_q_values`). The false-discovery rate of a
    candidate is the larger of its two q-values.

    Parameters
    ----------
    metrics
        Columns ``ticker`` and those of ``quant.schemas.METRICS``; at most one row a ticker and part.
    trials
        Columns ``ticker``, those of ``quant.schemas.TRIALS`` and, as far as there are any, those of
        ``quant.tuning.Evidence``: the chosen set of each ticker that has one.
    returns
        Daily returns on the judge part, a column a candidate (others are ignored), 0 on days without bars.
    placebos
        Columns ``ticker`` and those of ``quant.schemas.PLACEBOS``; None or empty where none were searched.
    rules
        Bound by name (see ``RULES``); None or no entry for a rule that is off.

    Raises
    ------
    ShortlistError
        If a rule is unknown, a column is missing, or a ticker occurs twice.
    """
    unknown = set(rules) - {rule.name for rule in RULES}
    if unknown:
        raise ShortlistError(f"there is no rule {min(unknown)!r}; allowed: {', '.join(rule.name for rule in RULES)}")
    bounds = {rule: float(bound) for rule in RULES if (bound := rules.get(rule.name)) is not None}
    table = _figures(metrics, trials)
    table["candidate"] = table["choose_return"] > 0
    candidates = table.index[table["candidate"]]
    missing = candidates.difference(returns.columns).intersection(table.index[table["days"] > 0])
    if len(missing):
        raise ShortlistError(f"the daily returns lack {missing[0]}; needed: a column for every candidate")
    effective = _effective(returns.reindex(columns=candidates.intersection(returns.columns)))
    _judge(table, effective if np.isfinite(effective) else 1.0)
    others = [rule for rule in bounds if rule.name != "false_discovery_rate"]
    elsewhere = _placebo_tables(placebos, effective / max(len(candidates), 1), [*table.index])
    score = _statistic(table, {rule: bounds[rule] for rule in others})
    if elsewhere and len(table):
        known = {rule: bounds[rule] for rule in others if rule.on_placebos}
        drawn = np.array([_statistic(one, known) for _, one in elsewhere])
        table["placebo_q_value"] = selection.placebo_q_values(score, drawn)
    table["false_discovery_rate"] = np.fmax(table["q_value"], table["placebo_q_value"])
    verdicts = {rule: rule.holds(table, bound) for rule, bound in bounds.items()}
    table["shortlisted"] = table["candidate"] & table["judge_trades"].notna() & _all(verdicts.values(), len(table))
    table["stage"] = np.select([table["shortlisted"], table["candidate"]], ["shortlisted", "judge"], "choose")
    for column, wanted in (("passed", True), ("failed", False)):
        table[column] = [
            ", ".join(rule.name for rule, holds in verdicts.items() if holds[row] == wanted) if candidate else ""
            for row, candidate in enumerate(table["candidate"])
        ]
    table["reason"] = [_reason(row, bounds) for _, row in table.iterrows()]
    entries: dict[str, list[int]] = {}
    for kind, one in elsewhere:
        kept = [rule.holds(one, bound) for rule, bound in bounds.items() if rule.on_placebos]
        entries.setdefault(kind, []).append(int((one["candidate"] & _all(kept, len(one))).sum()))
    return Verdicts(_ordered(table), effective, entries)


def _judge(table: pd.DataFrame, effective: float) -> None:
    """Add p-value, q-value and deflated Sharpe ratio of the candidates."""
    candidate, error = table["candidate"], table["sharpe_error"]
    table["p_value"] = pd.Series(ndtr(-table["judge_sharpe"] / error), index=table.index).where(candidate)
    table["q_value"] = table["placebo_q_value"] = np.nan
    table.loc[candidate, "q_value"] = benjamini_hochberg(table.loc[candidate, "p_value"].fillna(1.0).to_numpy())
    table["q_value"] = table["q_value"].where(table["p_value"].notna())
    luck = selection.expected_maximum_sharpe(1.0, max(effective, 1.0)) * np.sqrt(
        DAYS / (table["days"] - 1).clip(lower=1)
    )
    deflated = ndtr((table["judge_sharpe"] - luck) / error)
    table["deflated_sharpe"] = pd.Series(deflated, index=table.index).where(candidate)
    table["drawdown"] = -table["max_drawdown"]
    table["false_discovery_rate"] = table["q_value"]


def _effective(returns: pd.DataFrame) -> float:
    """Effective number of candidates; all of them where their days are too few to tell."""
    if not len(returns.columns):
        return np.nan
    counted = selection.effective_trials(returns.fillna(0.0).to_numpy().T)
    return counted if np.isfinite(counted) else float(len(returns.columns))


def _statistic(table: pd.DataFrame, bounds: Mapping[Rule, float]) -> NDArray[np.float64]:
    """How far the Sharpe ratio of each candidate that keeps to the rules is from 0, in standard errors; else NaN."""
    kept = table["candidate"] & _all([rule.holds(table, bound) for rule, bound in bounds.items()], len(table))
    distance: NDArray[np.float64] = (table["judge_sharpe"] / table["sharpe_error"]).where(kept).to_numpy(np.float64)
    return distance


def _all(verdicts: Any, count: int) -> NDArray[np.bool_]:
    kept = np.ones(count, dtype=np.bool_)
    for holds in verdicts:
        kept &= holds
    return kept


def _placebo_tables(
    placebos: pd.DataFrame | None, independence: float, tickers: list[str]
) -> list[tuple[str, pd.DataFrame]]:
    """One table of all tickers a repetition, judged like the real one.

    ``independence`` is the effective number of real candidates over their number: that of the placebos is taken to
    be the same share of theirs.
    """
    if placebos is None or placebos.empty:
        return []
    needed = ("ticker", "kind", "repetition", "choose_return", *_FROM_PLACEBO)
    rows = _required(placebos, "placebos", needed)
    tables = []
    for (kind, _), group in rows.groupby(["kind", "repetition"], sort=True):
        table = _by_ticker(group, f"placebos of {kind}", {"choose_return": "choose_return", **_FROM_PLACEBO})
        table = table.reindex(tickers)
        table["candidate"] = table["choose_return"] > 0
        share = independence if np.isfinite(independence) else 1.0
        _judge(table, float(table["candidate"].sum()) * share)
        tables.append((str(kind), table))
    return tables


def _figures(metrics: pd.DataFrame, trials: pd.DataFrame) -> pd.DataFrame:
    """One row a ticker with the figures of both parts, NaN where there are none."""
    parts = _required(metrics, "metrics", ("ticker", "part", *_FROM_JUDGE))
    judged = _by_ticker(parts[parts["part"] == "judge"], "metrics of the judge part", _FROM_JUDGE)
    known = {**_FROM_CHOOSE, **{name: name for name in _FROM_EVIDENCE}}
    chosen = _required(trials, "trials", ("ticker", *_FROM_CHOOSE))
    chosen = pd.concat([chosen, trials.reindex(columns=list(_FROM_EVIDENCE))], axis=1)
    chosen = _by_ticker(chosen, "trials", known)
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


def _by_ticker(frame: pd.DataFrame, name: str, columns: Mapping[str, str]) -> pd.DataFrame:
    repeated = frame.loc[frame["ticker"].duplicated(), "ticker"]
    if len(repeated):
        raise ShortlistError(f"{name} have more than one row for {repeated.iloc[0]}; allowed is one")
    figures = frame.set_index("ticker").rename(columns=dict(columns))[list(columns.values())]
    return pd.DataFrame({name: pd.to_numeric(figures[name]).astype("float64") for name in figures})


def _reason(row: pd.Series, bounds: Mapping[Rule, float]) -> str:
    if row["stage"] == "choose":
        return f"rejected on choose: {_fault_on_choose(row)}"
    if row["stage"] == "shortlisted":
        return (
            f"passed: p = {row['p_value']:.2g}, false-discovery rate {row['false_discovery_rate']:.2g}, "
            f"deflated Sharpe {_plain(row['deflated_sharpe'])} over {row['judge_trades']:.0f} trades on judge"
        )
    if np.isnan(row["judge_trades"]):
        return "rejected on judge: not judged, for want of bars there or by a failure"
    failed = row["failed"].split(", ")
    faults = [rule.fault(row[rule.column], bound) for rule, bound in bounds.items() if rule.name in failed]
    return f"rejected on judge: {'; '.join(faults)}"


def _fault_on_choose(row: pd.Series) -> str:
    if np.isnan(row["trial"]):
        return "no parameter set traded enough to be scored"
    return f"the best set returned {_percent(row['choose_return'])}"


def _plain(value: float) -> str:
    if 0.9995 < value < 1:
        return "above 0.999"  # a probability that rounds to 1 is not 1
    return (f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}").replace("-", "−")


def _share(fraction: float) -> str:
    return f"{fraction * 100:.3g} %".replace("-", "−")


def _percent(fraction: float) -> str:
    return f"{fraction * 100:+.1f} %".replace("-", "−")


def _ordered(table: pd.DataFrame) -> pd.DataFrame:
    keys = table.reset_index()
    keys["order"] = keys["stage"].map({stage: place for place, stage in enumerate(_STAGES)})
    result = keys.sort_values(["order", "q_value", "p_value", "ticker"], na_position="last", ignore_index=True)
    result["rank"] = np.arange(1, len(result) + 1, dtype=np.int64)
    types = {**dict.fromkeys(_INTEGERS, "Int64"), **dict.fromkeys(_TEXTS, "str"), "shortlisted": "bool"}
    return result[list(COLUMNS)].astype(types)
