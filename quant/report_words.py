"""How the report speaks: numbers formatted for people, and every statistic in plain words."""

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
    "p_value": (
        "p-value",
        "How often pure luck would show a Sharpe ratio this high on the judge part. Small is good.",
    ),
    "q_value": (
        "q-value",
        "The p-value corrected for how many tickers were judged. The shortlist is cut on this one: among the "
        "tickers below the limit, at most that share is expected to be there by luck.",
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
    "log_loss": ("Log-loss", "How wrong the model's probabilities are; lower is better."),
    "gaps": ("Gaps", "Places where bars are missing. They stay missing: nothing is invented to fill them."),
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
    return _signed(f"{value:,.2f}").replace("inf", "∞")


def count(value: float | None) -> str:
    """A whole number with thousands separated."""
    if value is None or pd.isna(value):
        return MISSING
    return _signed(f"{int(value):,}")


def probability(value: float | None) -> str:
    """A probability with three significant digits; below 0.0001 only that it is."""
    if value is None or pd.isna(value):
        return MISSING
    if 0 <= value < 0.0001:
        return "<0.0001"
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


def listing(names: list[str], limit: int = 8) -> str:
    """Names joined by commas, the rest of a long list as a count."""
    if len(names) <= limit:
        return ", ".join(names)
    return f"{', '.join(names[:limit])} and {len(names) - limit} more"
