"""A seeded, realistic content for reports in tests, with two hostile names in it."""

import functools
import json
from typing import Any

import numpy as np
import pandas as pd

from quant import evaluation_tables, protocols, samplers
from quant.evaluation_tables import Judged
from quant.parameters import to_columns
from quant.quality import KINDS
from quant.report import ModelEvaluation, ReportContent
from quant.report_candles import picture
from quant.report_evaluation import Comparison
from quant.report_parameters import neighbourhood
from quant.report_protocols import ProtocolContent
from quant.report_ticker import Detail
from quant.schemas import (
    EVALUATION,
    EVALUATION_CURVES,
    EVALUATION_GROUPS,
    FAILURES,
    FOLDS,
    METRICS,
    PROTOCOLS,
    TRADES,
    TUNING,
)
from quant.schemas import frame as table
from quant.shortlist import DEFAULTS
from tests.conftest import random_walk

# an element for the browser, and one of the few tags that plot labels know
HOSTILE = "demo:<img src=x onerror=alert(1)><b>"
CHINESE = "demo:币安人生USDT"
ENDS_SCRIPT = "</script><script>alert(2)</script>"

PARTS = {
    "fit": ("2024-01-01", "2024-05-09"),
    "validate": ("2024-05-10", "2024-06-10"),
    "choose": ("2024-06-11", "2024-08-10"),
    "judge": ("2024-08-11", "2024-12-30"),
}


CHOOSE = {
    "total_return": 0.094, "max_drawdown": -0.071, "win_rate": 0.561, "exposure": 0.29, "commission": 40_112.0,
    "profit_factor": 1.24, "expectancy": 0.0012, "annual_return": 0.72, "annual_volatility": 0.19, "sortino": 4.8,
}  # fmt: skip


PASSED = {
    "shortlisted": "minimum_trades, minimum_return, deflated_sharpe, false_discovery_rate",
    "judge": "minimum_trades, minimum_return",
    "choose": "",
}
FAILED = {"shortlisted": "", "judge": "deflated_sharpe, false_discovery_rate", "choose": ""}


def report_content(
    tickers: int = 40, shortlisted: int = 6, seed: int = 0, *, rejected: int = 2, traded: int = 40, **changes: Any
) -> ReportContent:
    """Content of a demo run: the first tickers hold up, two thirds of the others never became candidates.

    The first shortlisted ticker has a hostile name, the second a Chinese one. The shortlisted and some rejected ones
    have candles, with so many trades each.
    """
    generator = np.random.default_rng(seed)
    names = [f"demo:C{number:02d}USDT" for number in range(tickers)]
    names[:2] = [HOSTILE, CHINESE]
    stages = ["shortlisted"] * shortlisted + ["judge"] * ((tickers - shortlisted) // 3)
    stages += ["choose"] * (tickers - len(stages))
    rows = [
        _verdict(name, rank, stage, generator) for rank, (name, stage) in enumerate(zip(names, stages, strict=True), 1)
    ]
    frame = pd.DataFrame(rows)
    picks = sorted(names[:shortlisted])
    days = pd.date_range("2024-08-19", periods=500, freq="D", tz="UTC", name="time")
    curve = np.exp(np.cumsum(np.random.default_rng(seed).normal(0.001, 0.01, len(days))))
    content = {
        "run": "demo",
        "created": "2026-01-31 12:00 UTC",
        "command": ".venv/bin/python -m jobs.pipeline --source demo --store store --run demo",
        "config": f'source = "demo"\n# {ENDS_SCRIPT}\n\n[labels]\nkind = "first_touch"\ntake = 0.01\nhorizon = 6\n',
        "versions": {"assay": "0.1.0", "python": "3.11.4", "pandas": "3.1.1", "keras": "3.15.1"},
        "result_hash": "9f2c1ab47d0e" + "0" * 52,
        "parts": {name: tuple(pd.Timestamp(day, tz="UTC") for day in days) for name, days in PARTS.items()},
        "shortlist": frame,
        "metrics": pd.DataFrame([row for record in rows for row in _metrics(record)]),
        "details": {
            row["ticker"]: detail(
                row, _equity(row, generator), place, traded if place < shortlisted + rejected else None
            )
            for place, row in enumerate(rows)
            if row["stage"] != "choose"
        },
        "bar": "15 minutes",
        "objective": "sharpe",
        "trials": 8,
        "rules": {"minimum_sharpe": None, **DEFAULTS},
        "market": _market(frame),
        "portfolio": pd.DataFrame({"equity": curve, "drawdown": curve / curve.max() - 1, "members": 6}, days),
        "correlations": pd.DataFrame(
            [(one, other, 0.25) for place, one in enumerate(picks) for other in picks[place + 1 :]],
            columns=["ticker", "other", "correlation"],
        ),
        "uncharged": ("slippage", "12 payments of <b>funding</b>"),
        "failures": pd.DataFrame(
            [("ingest", "demo:BAD" + ENDS_SCRIPT, "BarsError", "bad.parquet: the column close is missing")],
            columns=[column.name for column in FAILURES.columns],
        ),
        "parameters": pd.DataFrame([_parameters(row["ticker"], number) for number, row in enumerate(rows)]),
        "label_balance": pd.DataFrame(
            {"neutral": [301_200, 70_310, 152_000, 330_100], "long": [81_020, 22_100, 38_870, 95_400],
             "short": [79_500, 20_800, 41_300, 90_200]},
            index=list(PARTS),
        ),
        "evaluation": ModelEvaluation(
            confusion=np.array([[52_103, 9_120, 9_087], [11_302, 7_980, 2_818], [10_641, 2_699, 7_460]]),
            history=_history(12, generator),
            train_tickers=tuple(names[:5]),
            log_loss=0.8123,
            threshold=0.45,
        ),
        "comparison": comparison(tuple(names)),
        "tuning": table(
            TUNING,
            [
                {"number": number, "bracket": 0, "filters": 16, "dense": 100 + 50 * number, "dropout": 0.1,
                 "learning_rate": 1e-3, "epochs": 20 if number == 2 else 2, "best_epoch": 2 if number < 4 else None,
                 "macro_f1": 0.3 + 0.01 * number if number < 4 else None, "log_loss": 1.1 if number < 4 else None,
                 "status": ("stopped", "stopped", "finished", "stopped", "failed")[number], "chosen": number == 2}
                for number in range(5)
            ],
        ),
        "quality": _quality(names, generator),
        "reasons": pd.DataFrame(
            [("duplicate row", 3, 2), ("high below low", 5, 1), (f"a reason {ENDS_SCRIPT}", 1, 1)],
            columns=["reason", "rows", "tickers"],
        ),
        "flags": {name: _flags(place // 2) for place, name in enumerate(names) if place in (0, 2)},
        "planted": frozenset(names[:6]),
        "protocols": _protocols(HOSTILE),
    }  # fmt: skip
    return ReportContent(**{**content, **changes})


def _protocols(learned: str) -> ProtocolContent:
    """A waterfall from a gain of 900 % to a loss, of one ticker and of all."""
    year = {"start": pd.Timestamp("2024-01-01", tz="UTC"), "end": pd.Timestamp("2024-12-31", tz="UTC")}
    figures = {column.name: 0.0 for column in PROTOCOLS.columns if column.type == "float64"} | {"sharpe": 1.0, **year}
    rows = [
        figures
        | {"step": step, "strategy": strategy, "trades": 40, "listed": step < 8, "optimised": False}
        | {"total_return": 9 * 0.5**step - 0.05}
        for step in range(protocols.STEPS)
        for strategy in (protocols.ASSET, protocols.ENTRIES, protocols.LABEL)
    ]
    made = table(PROTOCOLS, rows).assign(ticker=learned)
    return ProtocolContent(protocols.waterfall(made, [learned]), made[made["step"] == 0])


def _quality(names: list[str], generator: np.random.Generator) -> pd.DataFrame:
    """Few gaps and rows in quarantine, and a first and a third ticker with most of the flags; one was listed late."""
    start = pd.Series(pd.Timestamp("2024-01-01", tz="UTC"), range(len(names)))
    start[start.index % 5 == 3] = pd.Timestamp("2024-04-01", tz="UTC")
    gaps = generator.poisson(0.3, len(names))
    counts = {name: np.zeros(len(names), dtype=int) for name in KINDS} | {"gap": gaps}
    for place in (0, 2):
        some = _flags(place // 2)["kind"].value_counts()
        for name, number in some.items():
            if place < len(names):
                counts[str(name)][place] = number
    return pd.DataFrame(
        {"ticker": names, "rows": 34_944, "first": start.to_numpy(),
         "last": pd.Timestamp("2024-12-30 23:45", tz="UTC"), "gaps": counts["gap"],
         "quarantined": generator.poisson(0.2, len(names)), **counts}
    )  # fmt: skip


def _flags(seed: int) -> pd.DataFrame:
    """An outage that all share, and what is odd about this one alone."""
    generator = np.random.default_rng(seed)
    kinds = np.array(list(KINDS))[generator.integers(0, len(KINDS), 40)]
    start = pd.Timestamp("2024-01-01", tz="UTC") + pd.to_timedelta(generator.integers(0, 360 * 96, 40) * 15, unit="min")
    rows = pd.DataFrame({"kind": kinds, "start": start, "end": start + pd.Timedelta("6h")})
    outage = {"kind": "gap", "start": pd.Timestamp("2024-09-02", tz="UTC"), "end": pd.Timestamp("2024-09-09", tz="UTC")}
    return pd.concat([rows, pd.DataFrame([outage])], ignore_index=True)


@functools.cache
def comparison(names: tuple[str, ...]) -> Comparison:
    """A CNN that knows a little, a regression that knows as much, and trees that know nothing."""
    generator = np.random.default_rng(11)
    times = pd.date_range("2024-06-11", "2024-08-10", freq="30min", tz="UTC", unit="us")
    labels = generator.choice(3, len(times), p=[0.5, 0.25, 0.25])
    truth = np.eye(3)[labels]
    noise = {name: generator.dirichlet([4, 4, 4], len(times)) for name in ("cnn", "logistic", "boosting")}
    known = {"cnn": 0.3, "logistic": 0.3, "boosting": 0.0}
    models = {name: (1 - share) * noise[name] + share * truth for name, share in known.items()}
    models = {"cnn": models["cnn"], "majority": np.tile([0.5, 0.25, 0.25], (len(times), 1)), **models}
    judged = Judged(labels, times, models, (500, 250, 250))
    settings = {"resamples": 50, "block": 4, "seed": 1}
    groups = evaluation_tables.month_rows(judged)
    for place, name in enumerate(names):
        some = slice(place, None, 40) if place else slice(0, 0)  # the first ticker has no windows
        of_it = Judged(labels[some], times[some], {"cnn": models["cnn"][some]}, judged.training_counts)
        groups.append(evaluation_tables.ticker_row(name, of_it, place < 5, **settings))
    statistics = table(EVALUATION, [row for name in evaluation_tables.STATISTICS
                                    for row in evaluation_tables.statistic_rows(name, judged, **settings)])  # fmt: skip
    lifted = 0.3 * (statistics[["statistic"]] == "direction_auc").to_numpy()
    leaking = (statistics[["estimate", "low", "high"]] + lifted).clip(upper=0.99)
    variants = {
        "as_configured": ("", statistics),
        "shuffled_features": ("train.shuffle_features = 1", statistics),
        "other_alignment": ("labels.alignment = seed", statistics.assign(**leaking)),
    }
    return Comparison(
        statistics=statistics,
        ablations=pd.concat(
            [
                found[["model", "statistic", "estimate", "low", "high", "windows"]].assign(
                    variant=name, setting=setting
                )
                for name, (setting, found) in variants.items()
            ]
        ),
        curves=table(EVALUATION_CURVES, evaluation_tables.curve_rows(judged)),
        groups=table(EVALUATION_GROUPS, groups),
        confusions=evaluation_tables.confusions(judged),
        left_out={},
    )


def _market(shortlist: pd.DataFrame) -> dict[str, Any]:
    """What a run of ten placebos says of all candidates together."""
    candidates = int((shortlist["stage"] != "choose").sum())
    return {
        "candidates": candidates,
        "effective_candidates": 0.9 * candidates if candidates else None,
        "placebo_entries": {"shuffled": [0, 1, 0, 0, 0], "walk": [0, 0, 0, 0, 0]},
        "false_entries": 0.2,
        "portfolio": {"total_return": 0.314, "sharpe": 2.72, "max_drawdown": -0.081, "mean_correlation": 0.25},
        "superior_predictive_ability": 0.000999 if candidates else None,
        "tuning_decay": {
            "pairs": candidates,
            "rank_correlation": 0.27,
            "slope": 0.4,
            "intercept": -0.2,
            "median_difference": -0.9,
            "median_ratio": 0.38,
            "same_sign": 0.76,
        },
    }


def _verdict(ticker: str, rank: int, stage: str, generator: np.random.Generator) -> dict[str, Any]:
    judged = stage != "choose"
    held = stage == "shortlisted"
    sharpe = generator.normal(2.6, 0.3) if held else generator.normal(0.1, 0.8)
    p_value = float(generator.uniform(0.0002, 0.01)) if held else float(generator.uniform(0.06, 0.95))
    reasons = {
        "shortlisted": f"passed: p = {p_value:.2g}, false-discovery rate 0.033, deflated Sharpe 0.970 on judge",
        "judge": "rejected on judge: deflated Sharpe 0.41, needed ≥ 0.95; false-discovery rate 0.7, needed ≤ 0.1",
        "choose": "no parameter set earned a positive Sharpe ratio on the choose part",
    }
    figures = {
        "judge_sharpe": sharpe,
        "judge_return": sharpe * 0.08 + generator.normal(0, 0.01),
        "buy_and_hold_return": generator.normal(0.0, 0.3),
        "judge_trades": int(generator.integers(60, 1_400)),
        "win_rate": 0.5 + sharpe * 0.02,
        "profit_factor": 1 + sharpe * 0.08,
        "expectancy": sharpe * 0.0004,
        "max_drawdown": -abs(generator.normal(0.12, 0.05)),
        "p_value": p_value,
        "q_value": min(1.0, 1.5 * p_value),
        "placebo_q_value": 0.033 if held else 0.7,
        "deflated_sharpe": 0.97 if held else 0.41,
        "sharpe_low": sharpe - 1.6,
        "sharpe_high": sharpe + 1.7,
    }
    return {
        "ticker": ticker,
        "rank": rank,
        "shortlisted": held,
        "reason": reasons[stage],
        "stage": stage,
        "trial": rank % 8 if judged else None,
        "choose_sharpe": abs(sharpe) + generator.uniform(0.2, 1.5) if judged else -generator.uniform(0, 2),
        **(figures if judged else dict.fromkeys(figures, None)),
        "effective_trials": 5.41,
        "choose_deflated_sharpe": 0.872,
        "overfitting": 0.164,
        "stability": 0.63 if judged else None,
        "walk_forward_sharpe": 1.31 if judged else None,
        "passed": PASSED[stage],
        "failed": FAILED[stage],
    }


def _metrics(verdict: dict[str, Any]) -> list[dict[str, Any]]:
    idle = {column.name: None for column in METRICS.columns} | {"trades": 0}
    beside = {
        "days": 140,
        "probabilistic_sharpe": 0.97,
        "buy_and_hold_sharpe": 0.2,
        "sharpe_low": None,
        "sharpe_high": None,
    }
    judged = {
        "trades": verdict["judge_trades"], "total_return": verdict["judge_return"], "sharpe": verdict["judge_sharpe"],
        "max_drawdown": verdict["max_drawdown"], "win_rate": verdict["win_rate"], "exposure": 0.31,
        "commission": 81_233.0, "profit_factor": verdict["profit_factor"], "expectancy": verdict["expectancy"],
        "annual_return": 0.61,        "annual_volatility": 0.22, "sortino": 3.9,
    }  # fmt: skip
    common = {**idle, "ticker": verdict["ticker"], "buy_and_hold_return": verdict["buy_and_hold_return"], **beside}
    # every seventh ticker never traded on choose
    trades = 0 if verdict["stage"] == "choose" and verdict["rank"] % 7 == 0 else 44
    choose = {**common, **CHOOSE, "part": "choose", "sharpe": verdict["choose_sharpe"], "trades": trades}
    return [choose] if verdict["stage"] == "choose" else [choose, {**common, **judged, "part": "judge"}]


def _equity(verdict: dict[str, Any], generator: np.random.Generator) -> pd.DataFrame:
    days = pd.date_range(*PARTS["judge"], freq="D", tz="UTC", name="time")
    share = np.linspace(0, 1, len(days))

    def curve(total: float, swing: float) -> np.ndarray[Any, Any]:
        walk = np.cumsum(generator.normal(0, swing, len(days)))
        return np.exp(walk - share * walk[-1] + share * np.log1p(max(total, -0.9)))

    return pd.DataFrame(
        {
            "strategy": curve(verdict["judge_return"], 0.008),
            "buy_and_hold": curve(verdict["buy_and_hold_return"], 0.03),
        },
        index=days,
    )


def detail(verdict: dict[str, Any], equity: pd.DataFrame, seed: int, traded: int | None) -> Detail:
    """What an opened row shows: three folds, a grid of 24 sets, and where it was traded candles with the trades."""
    generator = np.random.default_rng(seed)
    days = pd.date_range(*PARTS["choose"], periods=6, tz="UTC")
    figures = {"total_return": 0.02, "sharpe": 1.1, "trades": 12, "max_drawdown": -0.03}
    folds = [
        {"fold": number, "tune_start": days[0], "test_start": days[number + 1], "test_end": days[number + 2],
         "trial": 3, "score": 1.6, **figures}
        for number in (1, 2, 3)
    ]  # fmt: skip
    bars = random_walk(140 * 96, seed=seed).set_axis(
        pd.date_range(PARTS["judge"][0], periods=140 * 96, freq="15min", tz="UTC", name="time")
    )
    return Detail(
        equity=equity,
        folds=table(FOLDS, folds),
        neighbourhood=neighbourhood(*grid(verdict["choose_sharpe"], generator)),
        picture=picture(bars, trades(bars, traded, generator)) if traded else None,
    )


def grid(best: float, generator: np.random.Generator) -> tuple[pd.DataFrame, np.ndarray[Any, Any], list[str]]:
    """Trials of a full grid of four stops, three targets and two time tables, one without a score; one is chosen."""
    space = {
        "stop_loss": [0.01, 0.015, 0.03, None],
        "take_profit": [0.02, 0.04, None],
        "minimum_profit": [((8, -1.0),), ((4, 0.01), (8, -1.0))],
    }
    sets = samplers.make("grid", space, trials=24, seed=1).ask(24)
    scores = best - generator.uniform(0.1, 1.5, len(sets))
    scores[8], scores[3] = best, np.nan
    trials = pd.DataFrame(
        {"trial": range(len(sets)), **to_columns(sets), "trades": 44, "score": scores, "chosen": np.arange(24) == 8}
    )
    return trials, samplers.coordinates(space, sets), list(space)


def trades(bars: pd.DataFrame, number: int, generator: np.random.Generator) -> pd.DataFrame:
    """Trades from open to open of the bars, the sides in turn."""
    edges = np.sort(generator.choice(len(bars), 2 * number, replace=False)).reshape(-1, 2)
    enter, leave = (bars["open"].to_numpy()[edges[:, place]] for place in (0, 1))
    sign = np.where(np.arange(number) % 2, -1, 1)
    made = pd.DataFrame(
        {"number": range(number), "side": np.where(sign > 0, "long", "short"), "size": 10.0 * sign,
         "entry_time": bars.index[edges[:, 0]], "exit_time": bars.index[edges[:, 1]], "entry_price": enter,
         "exit_price": leave, "pnl": 10 * sign * (leave - enter), "commission": 1.0,
         "trade_return": sign * (leave / enter - 1), "funding": 0.0,
         "exit": np.array(["stop", "target", "order"])[np.arange(number) % 3]}
    )  # fmt: skip
    return made[[column.name for column in TRADES.columns]]


def _parameters(ticker: str, number: int) -> dict[str, Any]:
    return {
        "ticker": ticker,
        "stop_loss_long": 0.015,
        "take_profit_long": 0.04,
        "limit_long": np.nan,
        "stop_loss_short": 0.03,
        "take_profit_short": np.nan,
        "limit_short": np.nan,
        "leverage": 1.0,
        "trailing_activation": 0.02 if number % 2 else np.nan,
        "trailing_distance": 0.01 if number % 2 else np.nan,
        "minimum_profit": json.dumps([[8, -1.0]] if number % 3 else [[4, 0.01], [8, -1.0]]),
    }


def _history(epochs: int, generator: np.random.Generator) -> pd.DataFrame:
    epoch = np.arange(1, epochs + 1)
    decay = np.exp(-epoch / 4)
    return pd.DataFrame(
        {
            "epoch": epoch,
            "loss": 0.75 + 0.3 * decay,
            "validation_loss": 0.81 + 0.25 * decay + generator.normal(0, 0.004, epochs),
            "macro_f1": 0.47 - 0.15 * decay + generator.normal(0, 0.004, epochs),
        }
    )
