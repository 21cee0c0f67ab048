"""How the report speaks: numbers formatted for people, and every statistic in plain words."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

MISSING = "–"

GLOSSARY: dict[str, tuple[str, str]] = {
    "judge_return": (
        "Return",
        "What the strategy made on the judge part after fees, as a share of the starting cash.",
    ),
    "buy_and_hold_return": (
        "Buy and hold",
        "What simply holding the asset over the same days would have made.",
    ),
    "sharpe": (
        "Sharpe ratio",
        "Reward for risk: the mean of the daily returns over their standard deviation, scaled to a year. "
        "Below 0 loses money; 1 is good; above 3 deserves suspicion.",
    ),
    "interval": (
        "90% interval",
        "Where the true Sharpe ratio plausibly lies, found by replaying shuffled blocks of the same days. "
        "An interval that includes 0 means the result could be luck.",
    ),
    "trades": ("Trades", "Positions opened and closed. Few trades mean little evidence."),
    "win_rate": ("Win rate", "Share of trades that ended with a profit after fees."),
    "profit_factor": ("Profit factor", "All gains divided by all losses. Above 1 the gains outweigh the losses."),
    "expectancy": ("Expectancy", "Mean return of a trade after fees."),
    "max_drawdown": ("Max drawdown", "The largest fall of the account from an earlier peak."),
    "portfolio_return": (
        "Return together",
        "What all shortlisted tickers with equal weights, set back every day, made on the judge part.",
    ),
    "correlation": (
        "Mean correlation",
        "How alike the daily returns of two shortlisted tickers are on average: near 1 they are one bet, near 0 they "
        "spread the risk.",
    ),
    "funding": ("Funding", "Paid to or received from the other side of a perpetual, over all trades."),
    "capacity": (
        "Capacity",
        "Starting cash with which half of the entries would take at most 1% of what was traded in their bar. With more "
        "money the trades themselves would move the price.",
    ),
    "p_value": (
        "p-value",
        "How often pure luck would show a Sharpe ratio this high on the judge part. Small is good.",
    ),
    "q_value": (
        "q-value",
        "The p-value corrected for how many candidates were judged (Benjamini and Hochberg's procedure).",
    ),
    "placebo_q_value": (
        "q-value by placebo",
        "Share of false entries that the placebos foretell among the candidates with a result as strong as this one.",
    ),
    "false_discovery_rate": (
        "False-discovery rate",
        "Share of the entries expected to be there by luck if the shortlist ended with this ticker: the larger of "
        "its q-value and its q-value by placebo.",
    ),
    "deflated_sharpe": (
        "Deflated Sharpe",
        "Probability that the true Sharpe ratio exceeds what the best of the candidates would show by luck alone.",
    ),
    "placebo": (
        "Placebos",
        "The same market with nothing to find in it: the signals shuffled in blocks, or the prices replaced by random "
        "walks. Whatever passes the rules there passes by luck.",
    ),
    "superior_predictive_ability": (
        "All candidates together",
        "Hansen's test for superior predictive ability: how often luck alone would give the best of so many "
        "candidates a result like this. Small is good.",
    ),
    "effective_trials": (
        "Effective trials",
        "Number of independent parameter sets that the search amounts to: sets that trade alike hardly count twice.",
    ),
    "choose_deflated_sharpe": (
        "Deflated Sharpe on choose",
        "Probability that the chosen set's true Sharpe ratio on choose exceeds what the best of the effective "
        "trials would show by luck alone.",
    ),
    "overfitting": (
        "Probability of overfitting",
        "How often the set that is best on one half of the choose part is below the median of all sets on the other "
        "half, over many ways to halve it.",
    ),
    "stability": (
        "Stability",
        "Median score of the parameter sets next to the chosen one, over its own: near 1 it stands on a plateau, far "
        "below 1 on a lone peak.",
    ),
    "walk_forward_sharpe": (
        "Walk-forward Sharpe",
        "Sharpe ratio on the choose part where each stretch is traded with the set chosen on the days before it.",
    ),
    "sortino": ("Sortino ratio", "As the Sharpe ratio, but only falls count as risk."),
    "annual_return": ("Annual return", "The return scaled to one year."),
    "annual_volatility": ("Annual volatility", "How much the daily results swing, scaled to one year."),
    "exposure": ("Exposure", "Share of the time with a position in the market."),
    "commission": ("Commission", "Fees paid in all, in the quote currency."),
    "probabilistic_sharpe": (
        "Probability of skill",
        "Probability that the true Sharpe ratio is above 0, allowing for fat tails (the probabilistic Sharpe ratio).",
    ),
    "choose_sharpe": (
        "Sharpe on choose",
        "The Sharpe ratio that the search maximised on the choose part. It flatters by construction.",
    ),
    "stage": ("Stopped at", "The step of the selection that the ticker did not pass."),
    "macro_f1": (
        "Macro-F1",
        "Mean over the three classes of F1, the balance of precision and recall; 1 is perfect. "
        "A rare class counts as much as a common one.",
    ),
    "precision": ("Precision", "Of what the model called this class, the share that was."),
    "recall": ("Recall", "Of what truly was this class, the share that the model found."),
    "log_loss": (
        "Log-loss",
        "How wrong the probabilities are as given; lower is better. Models that learn with class weights speak of "
        "classes equally common, so this one does not do them justice; the majority's is that of the class shares.",
    ),
    "log_loss_at_shares": (
        "Log-loss at class shares",
        "The log-loss once the class weights are taken back, so that all models speak of classes as common as in the "
        "fit part. Lower is better.",
    ),
    "accuracy": ("Accuracy", "Share of the windows whose likeliest class is the true one. It flatters common classes."),
    "direction_auc": (
        "Direction AUC",
        "Probability that a window before a rise looks more like a rise than one before a fall does. 0.5 is a coin; "
        "neutral windows do not count.",
    ),
    "roc_auc": (
        "ROC AUC",
        "Probability that a window of this class looks more like it than one of another class does; 0.5 is a coin.",
    ),
    "average_precision": (
        "Average precision",
        "Precision averaged over all thresholds, weighted by what recall each adds. Guessing gives the class's share.",
    ),
    "gaps": ("Gaps", "Places where bars are missing. They stay missing: nothing is invented to fill them."),
    "flagged": (
        "Flagged",
        "Places where valid bars look odd, gaps aside: spikes, stale prices, splits and such. They stay as they are.",
    ),
    "quarantined": ("Quarantined", "Rows of the source that broke a rule and were set aside, with the reason."),
    "purge": (
        "Purge",
        "Bars left out between two parts, so that no label of one part looks into the next.",
    ),
}

PART_PURPOSES: dict[str, str] = {
    "fit": "the model learns its weights",
    "validate": "the model stops early and picks its threshold",
    "choose": "the strategy's parameters are searched",
    "judge": "looked at once, for the verdict",
}

CLASS_NAMES = ("neutral", "long", "short")

PLACEBO_KINDS = {"shuffled": "with shuffled signals", "walk": "of random walks"}


def _signed(text: str) -> str:
    """The text with a true minus sign, which is as wide as a digit."""
    return text.replace("-", "−")


def percent(value: float | None, signed: bool = False, digits: int = 1) -> str:
    """A fraction as a percentage: 0.1234 → 12.3%, signed → +12.3%."""
    if value is None or pd.isna(value):
        return MISSING
    return _signed(f"{value:{'+' if signed and value else ''},.{digits}%}")


def decimal(value: float | None) -> str:
    """A plain figure with two decimals; an infinite one (no loss at all) as ∞."""
    if value is None or pd.isna(value):
        return MISSING
    return _signed(f"{value:z,.2f}").replace("inf", "∞")


def count(value: float | None) -> str:
    """A whole number with thousands separated."""
    if value is None or pd.isna(value):
        return MISSING
    return _signed(f"{int(value):,}")


def probability(value: float | None) -> str:
    """A probability with three significant digits; only that it is below 0.0001, or next to 1."""
    if value is None or pd.isna(value):
        return MISSING
    if 0 <= value < 0.0001:
        return "<0.0001"
    if 0.9995 <= value < 1:
        return ">0.999"
    return f"{value:#.3g}"


def interval(low: float | None, high: float | None) -> str:
    """Two ends of an interval, or nothing where either is missing."""
    if low is None or high is None or pd.isna(low) or pd.isna(high):
        return ""
    return f"{decimal(low)} to {decimal(high)}"


def day(value: pd.Timestamp | None) -> str:
    """A moment as its UTC day."""
    if value is None or pd.isna(value):
        return MISSING
    return pd.Timestamp(value).strftime("%Y-%m-%d")


def listing(names: Sequence[str], limit: int = 8) -> str:
    """Names joined by commas, the rest of a long list as a count."""
    if len(names) <= limit:
        return ", ".join(names)
    return f"{', '.join(names[:limit])} and {len(names) - limit} more"


def paragraph(text: str, width: int = 120) -> list[str]:
    """A text as lines for a terminal, all but the first set in by two."""
    return textwrap.wrap(text, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def quantity(number: int, singular: str, plural: str) -> str:
    """A number with its noun: 1 entry, 2 entries."""
    return f"{number:,} {singular if number == 1 else plural}"


def length_of(span: pd.Timedelta) -> str:
    """A length of time in the largest unit that it is a whole number of: 15 minutes, 1 day."""
    for name in ("day", "hour", "minute"):
        unit = pd.Timedelta(1, unit=name)
        if span >= unit and not span % unit:
            return quantity(span // unit, name, f"{name}s")
    return quantity(round(span.total_seconds()), "second", "seconds")


OBJECTIVES = {
    "sharpe": ("Sharpe ratio", decimal),
    "return": ("return", percent),
    "expectancy": ("mean return of a trade", lambda value: percent(value, digits=2)),
    "profit_factor": ("profit factor", decimal),
}
"""What a search may maximise: how it is called, and how it is written."""


def placebo_sentence(market: Mapping[str, Any], shortlisted: int) -> str:
    """What the placebos say of the shortlist, or that there were none."""
    entries = {kind: found for kind, found in (market.get("placebo_entries") or {}).items() if found}
    expected = _number(market, "false_entries")
    if not entries or expected is None:
        return (
            "None were searched in this run, so nothing here measures how many entries the same search would let "
            "through by luck alone."
        )
    kinds = ", ".join(f"{len(found)} {PLACEBO_KINDS.get(kind, kind)}" for kind, found in entries.items())
    markets = quantity(sum(map(len, entries.values())), "placebo market", "placebo markets")
    through = quantity(sum(map(sum, entries.values())), "entry", "entries")
    said = f"The same search on {markets} ({kinds}) let {through} through in all."
    # one entry more than was seen: see ``jobs.shortlist.of_the_market``
    false = f"{expected:.2g}" if expected < 10 else count(expected)
    if not shortlisted:
        return f"{said} Counting one more to be safe, luck puts about {false} on a shortlist."
    rate = percent(min(expected / shortlisted, 1.0), digits=0)
    return (
        f"{said} Counting one more to be safe, about {false} false entries are expected on a shortlist like this one "
        f"of {shortlisted:,}: a false-discovery rate of {rate}."
    )


def candidates_sentence(market: Mapping[str, Any]) -> str:
    """What can be said of all candidates together."""
    candidates = int(_number(market, "candidates") or 0)
    if not candidates:
        return "There were no candidates, so there is nothing to test."
    effective, tested = (_number(market, name) for name in ("effective_candidates", "superior_predictive_ability"))
    independent = "" if effective is None else f", which count as about {effective:,.1f} independent ones"
    said = f"{quantity(candidates, 'candidate', 'candidates')}{independent}"
    if tested is None:
        return f"{said}. Too little was traded on judge to test them together."
    return (
        f"{said}. If none of them were better than not trading, the best would look as good as it does with a "
        f"probability of {probability(tested)} (p-value of the test for superior predictive ability)."
    )


def decay_sentence(market: Mapping[str, Any]) -> str:
    """What was left on judge of the Sharpe ratios on choose; empty where nothing can be said."""
    decay = market.get("tuning_decay") or {}
    ratio, same, order = (_number(decay, name) for name in ("median_ratio", "same_sign", "rank_correlation"))
    parts = [
        None if ratio is None else f"the median candidate kept {percent(ratio, digits=0)} of its Sharpe ratio",
        None if same is None else f"{percent(same, digits=0)} of them kept its sign",
        None
        if order is None
        else f"the rank correlation of promise and outcome is {decimal(order)} (1: the best promise had the best "
        "outcome; 0: promises told nothing of outcomes)",
    ]
    said = "; ".join(part for part in parts if part)
    pairs = int(_number(decay, "pairs") or 0)
    return f"From choose to judge, over {quantity(pairs, 'candidate', 'candidates')}: {said}." if said else ""


def _number(values: Mapping[str, Any], name: str) -> float | None:
    value = values.get(name)
    return None if value is None or pd.isna(value) else float(value)
