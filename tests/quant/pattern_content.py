"""A seeded content for pages of patterns in tests: walks as bars, planted shapes as clusters, one hostile ticker."""

from typing import Any

import numpy as np
import pandas as pd

from quant.report_patterns import OUTCOME_COLUMNS, PatternContent
from tests.quant.report_content import CHINESE, ENDS_SCRIPT, HOSTILE

LENGTH, HORIZON = 18, 4
ENDS_BOTH = "demo:</script><img src=x onerror=alert(3)>"
UNITS = {
    "atr_relative": "fraction of close",
    "bb_pct_b_relative": "half band widths",
    "bb_width_relative": "percent",
    "log_return": "logarithm",
    "rsi_relative": "points",
    "v_roc_relative": "logarithm",
}
SCALES = {"atr_relative": 0.012, "bb_pct_b_relative": 0.7, "bb_width_relative": 4.0, "log_return": 0.008,
          "rsi_relative": 14.0, "v_roc_relative": 0.6}  # fmt: skip


def bars(seed: int, rows: int, price: float = 100.0) -> pd.DataFrame:
    """A walk of hourly bars with a hole of eleven hours and one empty row, and what the viewer shows beside them."""
    generator = np.random.default_rng(seed)
    times = pd.date_range("2025-08-15 03:00", periods=rows, freq="h", tz="UTC", name="time")
    swing = 0.006 * np.exp(0.5 * np.sin(np.arange(rows) / 40))
    close = price * np.exp(np.cumsum(generator.standard_t(4, rows) * swing))
    opened = np.concatenate([[price], close[:-1]])
    high = np.maximum(opened, close) * np.exp(np.abs(generator.normal(0, swing)))
    low = np.minimum(opened, close) * np.exp(-np.abs(generator.normal(0, swing)))
    frame = pd.DataFrame({"open": opened, "high": high, "low": low, "close": close,
                          "volume": 1e5 / price * generator.lognormal(0, 0.8, rows)}, times)  # fmt: skip
    middle = frame["close"].rolling(20).mean()
    deviation = frame["close"].rolling(20).std(ddof=0)
    frame["bb_lower"], frame["bb_middle"], frame["bb_upper"] = middle - 2 * deviation, middle, middle + 2 * deviation
    frame["bb_width"] = 400 * deviation / middle
    change = frame["close"].diff()
    up, down = (side.ewm(alpha=1 / 9, min_periods=9).mean() for side in (change.clip(lower=0), -change.clip(upper=0)))
    frame["rsi"] = 50 - 100 / (1 + up / down)
    frame.iloc[rows // 3] = np.nan
    hole = np.arange(rows // 2, rows // 2 + 11)
    return frame.drop(frame.index[hole])


def pattern_content(
    windows: int = 900, tickers: int = 12, rows: int = 400, clusters: int = 5, seed: int = 0, **changes: Any
) -> PatternContent:
    """Content of an honest run: cluster 1 is followed by the outcome more often, cluster 2 less often.

    The first ticker has a hostile name, the second a Chinese one; the last has no bars.
    """
    generator = np.random.default_rng(seed)
    names = [ENDS_BOTH, CHINESE, HOSTILE, *(f"demo:C{number:03d}USDT" for number in range(3, tickers))][:tickers]
    market = {name: bars(number, rows, 10.0 ** (number % 7 - 3)) for number, name in enumerate(names)}
    points = _points(market, windows, clusters, generator)
    content = {
        "run": "demo",
        "created": "2026-01-31 12:00 UTC",
        "protocol": "honest",
        "settings": {"Features": "pattern8_relative", "Reducer": f"UMAP, 30 neighbours {ENDS_SCRIPT}"},
        "bar": "1h",
        "length": LENGTH,
        "horizon": HORIZON,
        "outcome": "best close of the next 4 bars at least 5 % above this close",
        "units": UNITS,
        "points": points,
        "profiles": _profiles(clusters),
        "outcomes": _outcomes(clusters),
        "histograms": _histograms(points, clusters),
        "counts": pd.DataFrame(
            {"count": [3, clusters, 8, 12], "stability": [0.92, 0.95, 0.71, 0.58],
             "stability_error": [0.03, 0.02, 0.05, 0.04], "silhouette": [0.41, 0.52, 0.44, 0.39]}
        ),
        "figures": {
            "tickers": tickers, "windows": windows, "episodes": windows // 5, "effective_share": 0.2,
            "ticker_information": 0.021, "ticker_information_shuffled": 0.016, "month_information": 0.034,
            "month_information_shuffled": 0.004, "seed_agreement": 0.913, "bootstrap_agreement": 0.871,
            "trustworthiness": 0.962, "placed_distance": 0.0712, "placed_kept": 0.973, "noise_share": None,
        },
        "sides": {1: "long", 2: "short"},
        "bars": {name: frame for name, frame in market.items() if name != names[-1]},
    }  # fmt: skip
    return PatternContent(**{**content, **changes})


def seed_content(**changes: Any) -> PatternContent:
    """Content of the notebook's own protocol: winners only, no later days."""
    made = pattern_content()
    points = made.points[made.points["outcome"] >= 0.02]
    figures = {"windows": 26_721, "episodes": 5_628, "ticker_information": 0.25, "ticker_information_shuffled": 0.016}
    nothing = {"outcomes": pd.DataFrame(), "histograms": pd.DataFrame(), "counts": None, "sides": {}}
    return pattern_content(**{"protocol": "seed", "points": points, "figures": figures, **nothing, **changes})


def _points(
    market: dict[str, pd.DataFrame], windows: int, clusters: int, generator: np.random.Generator
) -> pd.DataFrame:
    """Windows of all tickers as arcs in a plane, one arc a cluster, a few of them noise."""
    names = list(market)
    number = generator.integers(0, len(names), windows)
    cluster = generator.integers(-1, clusters, windows)
    cluster = np.where(generator.random(windows) < 0.85, np.abs(cluster), cluster)
    angle, along = 2 * np.pi * (cluster + 1) / (clusters + 1), generator.normal(0, 1, windows)
    noise = cluster == -1
    spread = np.where(noise, 3.5, 0.35)
    x = np.where(noise, 0, 6 * np.cos(angle) + 1.6 * along * np.sin(2 * angle + 0.3 * along))
    y = np.where(noise, 0, 5 * np.sin(angle) + 1.6 * along * np.cos(2 * angle + 0.3 * along))
    whole = {name: frame.dropna() for name, frame in market.items()}
    rows = [int(generator.integers(20, len(whole[names[ticker]]))) for ticker in number]
    times = [whole[names[ticker]].index[row] for ticker, row in zip(number, rows, strict=True)]
    outcome = generator.normal(0.012 + 0.012 * (cluster == 1) - 0.01 * (cluster == 2), 0.02)
    frame = pd.DataFrame({
        "ticker": [names[ticker] for ticker in number], "time": pd.DatetimeIndex(times),
        "x": x + generator.normal(0, spread), "y": y + generator.normal(0, spread), "cluster": cluster,
        "outcome": np.where(generator.random(windows) < 0.02, np.nan, outcome),
    })  # fmt: skip
    hit = (frame["outcome"] >= 0.05).astype("boolean").mask(frame["outcome"].isna())
    return frame.assign(hit=hit).drop_duplicates(["ticker", "time"], ignore_index=True)


def _profiles(clusters: int) -> pd.DataFrame:
    """A shape a cluster and feature: steps as an angle, so that each differs; all windows are flat."""
    steps = np.arange(1 - LENGTH, 1)
    frames = []
    for cluster in (-2, *range(clusters)):
        for place, (feature, scale) in enumerate(SCALES.items()):
            size = scale if cluster >= 0 else 0.1 * scale
            mean = size * np.sin(steps / 5 + cluster + place) * np.exp(steps / 12)
            spread = scale * (0.6 + 0.3 * np.cos(steps / 6))
            frames.append(
                pd.DataFrame(
                    {
                        "cluster": cluster,
                        "feature": feature,
                        "step": steps,
                        "mean": mean,
                        "q10": mean - 1.3 * spread,
                        "q25": mean - 0.7 * spread,
                        "q50": mean,
                        "q75": mean + 0.7 * spread,
                        "q90": mean + 1.4 * spread,
                    }
                )
            )
    return pd.concat(frames, ignore_index=True)


def _outcomes(clusters: int) -> pd.DataFrame:
    rows = []
    for part, base in (("fit", 0.081), ("validate", 0.074), ("choose", 0.069)):
        for cluster in range(-1, clusters):
            lift = {1: 0.041, 2: -0.022}.get(cluster, 0.002 * (cluster - 1))
            real = cluster in (1, 2)
            rows.append({
                "part": part, "cluster": cluster, "windows": 4_000 + 700 * cluster, "episodes": 800 + 90 * cluster,
                "days": 61, "hit_rate": base + lift, "base_rate": base, "hit_difference": lift,
                "hit_low": lift - 0.015, "hit_high": lift + 0.017, "hit_p_value": 0.001 if real else 0.4,
                "hit_q_value": 0.0063 if real else 0.55, "mean_return": 0.0004 + lift / 20, "base_return": 0.0004,
                "return_difference": lift / 20, "return_low": lift / 20 - 0.001, "return_high": lift / 20 + 0.001,
                "return_p_value": 0.02 if cluster == 1 else 0.6, "return_q_value": 0.08 if cluster == 1 else 0.7,
            })  # fmt: skip
    frame = pd.DataFrame(rows, columns=list(OUTCOME_COLUMNS))
    # noise has too few days for an interval
    unknown = [name for name in frame if name.split("_")[-1] in ("low", "high", "value")]
    return frame.astype(dict.fromkeys(unknown, "Float64")).assign(
        **{name: frame[name].astype("Float64").mask(frame["cluster"] == -1) for name in unknown}
    )


def _histograms(points: pd.DataFrame, clusters: int) -> pd.DataFrame:
    edges = np.linspace(-0.06, 0.1, 33)
    known = points.dropna(subset="outcome")
    frames = []
    for cluster in (-2, *range(clusters)):
        own = known if cluster == -2 else known[known["cluster"] == cluster]
        windows, _ = np.histogram(own["outcome"].clip(edges[0], edges[-1]), edges)
        frames.append(pd.DataFrame({"cluster": cluster, "low": edges[:-1], "high": edges[1:], "windows": windows}))
    return pd.concat(frames, ignore_index=True)
