"""How the page of patterns speaks: what was found, what to beware of, and every figure in plain words."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd

from quant import report_words as words
from quant.clusters import ALL, NOISE
from quant.report_figures import Record, value_of

PARTS: dict[str, str] = {
    "fit": "where the clusters were made, so no evidence",
    "validate": "later than the fit part",
    "choose": "later than the other two",
}
LATER = ("choose", "validate")
"""Parts that took no part in making the clusters, the one to trust first."""

Form = Callable[[float | None], str]


def _decimals(value: float | None) -> str:
    return words.MISSING if value is None else f"{value:.3f}".replace("-", "−")


FIGURES: dict[str, tuple[str, str, Form]] = {
    "tickers": ("Tickers", "Tickers that the windows are of.", words.count),
    "windows": (
        "Windows",
        "Windows that were clustered. They overlap, so they are far from as many independent cases.",
        words.count,
    ),
    "episodes": (
        "Episodes",
        "Stretches of a ticker whose windows share bars, each counted once: closer to the number of independent cases.",
        words.count,
    ),
    "effective_share": ("Effective share", "Episodes over windows: what a window counts on average.", words.percent),
    "landmarks": ("Landmarks", "Windows that the plane was fitted on; all others were placed among them.", words.count),
    "placed_windows": ("Placed windows", "Windows placed in the plane after it was fitted.", words.count),
    "noise_share": ("Noise", "Share of the windows that lie in no cluster.", words.percent),
    "ticker_information": (
        "Clusters and tickers",
        "Normalised mutual information of cluster and ticker: 0 where a cluster says nothing of the ticker, 1 where it "
        "gives it away. Much above what shuffling leaves, the clusters follow tickers rather than patterns.",
        _decimals,
    ),
    "month_information": (
        "Clusters and months",
        "Normalised mutual information of cluster and month: much above what shuffling leaves, the clusters follow the "
        "times rather than patterns.",
        _decimals,
    ),
    "seed_agreement": (
        "Agreement of seeds",
        "Adjusted Rand index of the clusters under other seeds: 1 is the same clusters again, 0 is chance.",
        _decimals,
    ),
    "bootstrap_agreement": (
        "Agreement of samples",
        "Adjusted Rand index of the clusters of resampled windows: 1 is the same clusters again, 0 is chance.",
        _decimals,
    ),
    "trustworthiness": (
        "Trustworthiness",
        "How far neighbours in the plane are neighbours in truth too: 1 is perfect, 0.5 is chance.",
        _decimals,
    ),
    "placed_distance": (
        "Placing again",
        "Median distance in the plane between where a window was fitted and where it lands when placed as if new.",
        _decimals,
    ),
    "placed_kept": ("Kept when placed", "Share of those windows that keep their cluster.", words.percent),
}
SHUFFLED = {"ticker_information_shuffled": "ticker_information", "month_information_shuffled": "month_information"}
"""What the same figure is when nothing is there to find → the figure that it stands beside."""

GLOSSARY: dict[str, tuple[str, str]] = {
    "cluster": ("Cluster", "Windows whose features ran alike."),
    "noise": ("Noise", "Windows that are like too few others to belong to a cluster."),
    "window": ("Window", "So many bars in a row of one ticker; it is named by its last bar."),
    "base_rate": ("Base rate", "Share of all windows of the same days that the outcome followed."),
    "difference": (
        "Difference",
        "The cluster's share less the base rate, in percentage points. The 95% interval comes from replaying shuffled "
        "blocks of days of all tickers together.",
    ),
    "q_value": (
        "q-value",
        "The p-value of the difference, corrected for the number of clusters. Small is good.",
    ),
    "forward_return": ("Mean return", "Mean return from the last close of a window over the bars looked ahead."),
    "stability": (
        "Stability",
        "Mean adjusted Rand index of the clusters of resampled windows with those of all windows; 1 is perfect.",
    ),
    "silhouette": (
        "Silhouette",
        "How much closer a window is to its own cluster than to the next one in the plane, from −1 to 1.",
    ),
}  # fmt: skip


def name(cluster: int) -> str:
    """What a cluster is called on the page."""
    return {ALL: "All windows", NOISE: "Noise"}.get(cluster, f"Cluster {cluster}")


def points(value: float | None) -> str:
    """A difference of shares in percentage points: 0.041 → +4.1 points."""
    if value is None:
        return words.MISSING
    return f"{100 * value:{'+' if value else ''}.1f} points".replace("-", "−")


def between(low: float | None, high: float | None, form: Form) -> str:
    """The two ends of an interval, the unit said once; empty where either is missing."""
    return "" if low is None or high is None else f"{form(low).removesuffix(' points')} to {form(high)}"


def figure_cards(figures: Mapping[str, float | None]) -> list[dict[str, str]]:
    """The figures that are known: label, number, what shuffling leaves, and what it means."""
    known = {key: value_of({key: value}, key) for key, value in figures.items()}
    beside = {shown: known.get(key) for key, shown in SHUFFLED.items()}
    return [
        {
            "label": label,
            "text": form(known[key]),
            "note": "" if beside.get(key) is None else f"{form(beside[key])} when shuffled",
            "meaning": meaning,
        }
        for key, (label, meaning, form) in FIGURES.items()
        if known.get(key) is not None
    ]


def found(outcomes: pd.DataFrame, clusters: Sequence[int], protocol: str, rate: float) -> dict[str, Any]:
    """What was found: a title, what it means, and a sentence for each cluster that differs on later days.

    Parameters
    ----------
    outcomes
        Outcomes by part and cluster as in ``PatternContent``; may be empty.
    clusters
        Clusters that there are, without noise.
    protocol
        "honest" or "seed".
    rate
        Largest q-value at which a cluster is said to differ.
    """
    number = words.quantity(len(clusters), "cluster", "clusters")
    if protocol == "seed":
        return {
            "title": f"{number} of what came before a rise",
            "lead": "These clusters describe. They do not tell a rise from a fall.",
            "sub": "Only windows before a rise were clustered, as in the notebook, so nothing here says how often the "
            "same pattern came before a fall.",
            "told": [],
        }
    part = next((name for name in LATER if (outcomes["part"] == name).any()), None) if len(outcomes) else None
    if part is None:
        return {
            "title": f"{number}, and no later day to test them on",
            "lead": "They describe what there was; whether anything follows from them is not known.",
            "sub": "No window of a later part was placed, so no outcome could be compared with its base rate.",
            "told": [],
        }
    table = outcomes[(outcomes["part"] == part) & (outcomes["cluster"] != NOISE)]
    differing = table[table["hit_q_value"].astype("Float64").fillna(1.0) <= rate].sort_values("hit_q_value")
    tested = words.quantity(len(table), "pattern", "patterns")
    said = {"told": [_told(record, outcomes, part) for record in differing.to_dict("records")] + _returns(table, rate)}
    if differing.empty:
        return said | {
            "title": f"No pattern differs from the base rate: none of {len(table)}",
            "lead": "That is a good answer.",
            "sub": f"On the {part} part, whose days had no part in making the clusters, the outcome followed none of "
            "them more or less often than it follows any window, once it is counted in that several were tested.",
        }
    return said | {
        "title": f"{len(differing)} of {tested} {'differs' if len(differing) == 1 else 'differ'} from the base rate",
        "lead": f"{words.listing([name(cluster) for cluster in differing['cluster']])}.",
        "sub": f"On the {part} part, whose days had no part in making the clusters. At a false-discovery rate of "
        f"{words.percent(rate, digits=0)}, at most that share of such a list is expected to be there by luck.",
    }


def _told(record: Record, outcomes: pd.DataFrame, part: str) -> str:
    difference = value_of(record, "hit_difference")
    interval = between(value_of(record, "hit_low"), value_of(record, "hit_high"), points)
    windows = (
        f"{words.count(value_of(record, 'windows'))} windows ({words.count(value_of(record, 'episodes'))} episodes)"
    )
    said = (
        f"{name(int(record['cluster']))}: the outcome followed {words.percent(value_of(record, 'hit_rate'))} of its "
        f"{windows} and {words.percent(value_of(record, 'base_rate'))} of all, {points(difference)}"
        f"{f' (95% interval {interval})' if interval else ''}, q-value "
        f"{words.probability(value_of(record, 'hit_q_value'))}."
    )
    before = outcomes[(outcomes["part"] == "validate") & (outcomes["cluster"] == record["cluster"])]
    earlier = value_of(before.iloc[0].to_dict(), "hit_difference") if part != "validate" and len(before) else None
    return said if earlier is None else f"{said} On the validate part it was {points(earlier)}."


def _returns(table: pd.DataFrame, rate: float) -> list[str]:
    """Clusters whose mean return differs, in a sentence; nothing where none does."""
    differing = table[table["return_q_value"].astype("Float64").fillna(1.0) <= rate]
    parts = [
        f"{name(int(row['cluster']))} ({words.percent(value_of(row, 'return_difference'), signed=True, digits=2)})"
        for row in differing.to_dict("records")
    ]
    return [f"The mean return after the window differs from that of all windows for {words.listing(parts)}."] * bool(
        parts
    )


def caveats(protocol: str, figures: Mapping[str, float | None]) -> list[tuple[str, str]]:
    """What this page cannot tell, the boldest first, with the run's own figures where they are known."""
    known = {key: value for key in figures if (value := value_of({key: figures[key]}, key)) is not None}
    overlap = ""
    if {"windows", "episodes"} <= known.keys():
        overlap = f" {words.count(known['windows'])} windows here are {words.count(known['episodes'])} episodes."
    independent = ("Windows are not independent cases.", f"Neighbouring windows share all bars but one.{overlap}")
    dead = (
        "Dead tickers are missing.",
        "Data of what is listed today leaves out what was delisted, which makes the past look kinder than it was.",
    )
    if protocol != "seed":
        return [
            (
                "A test can be read once.",
                "Change a setting after reading this page and run again on the same days, and its p-values flatter.",
            ),
            independent,
            (
                "A difference is not a profit.",
                "Fees, slippage and the wait for a fill are not in these figures; a backtest of the cluster's signals "
                "has them.",
            ),
            dead,
        ]
    follows = ""
    if {"ticker_information", "ticker_information_shuffled"} <= known.keys():
        follows = (
            f" The normalised mutual information of cluster and ticker is {known['ticker_information']:.3f}, and "
            f"{known['ticker_information_shuffled']:.3f} when shuffled."
        )
    return [
        (
            "The outcome is a best case, not a return.",
            "It is the best close of the bars that followed: nobody sells at the best close every time.",
        ),
        (
            "Only winners were clustered.",
            "Without the windows before a fall there is no base rate, and no cluster can be said to foretell anything.",
        ),
        (
            "Clusters may follow tickers.",
            "All tickers share one scaler although some features are in units of price and volume, so a cluster can "
            f"stand for what a coin costs.{follows}",
        ),
        independent,
        (
            "Nothing was held back.",
            "Scaler, plane and clusters were fitted on all windows, so no later day is left to test them on.",
        ),
        ("Windows run across gaps.", "Missing bars were not looked for: some windows join bars that are hours apart."),
        dead,
    ]
