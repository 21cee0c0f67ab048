"""The tables of a run: every column with its type, unit and meaning.

One place defines what a dataset is; ``storage`` checks frames against it on write and on read, and
``docs/datasets.md`` is generated from it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

ColumnType = Literal["time", "float64", "float32", "int64", "int8", "string", "bool"]


@dataclass(frozen=True)
class Column:
    """One column: its type, its unit, what it means, and whether nulls (NaN included) are allowed."""

    name: str
    type: ColumnType
    unit: str
    meaning: str
    nullable: bool = False


@dataclass(frozen=True)
class Dataset:
    """A table of a run.

    Parameters
    ----------
    key
        Columns that identify a row; rows are sorted by them and unique in them (within a ticker,
        where the dataset is partitioned by ticker).
    by_ticker
        Whether there is one Parquet file a ticker, under a Hive partition ``ticker=…``.
    open_columns
        The type of columns beyond those listed (the features of a set), or None where none are allowed.
    """

    name: str
    version: int
    meaning: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    by_ticker: bool = True
    open_columns: ColumnType | None = None


TIME = Column("time", "time", "UTC", "open of the bar")

BARS = Dataset(
    "bars",
    1,
    "Candles as validated: unique, increasing, on the bar grid; gaps stay gaps",
    ("time",),
    (
        TIME,
        Column("open", "float64", "quote currency", "first price"),
        Column("high", "float64", "quote currency", "highest price"),
        Column("low", "float64", "quote currency", "lowest price"),
        Column("close", "float64", "quote currency", "last price"),
        Column("volume", "float64", "base currency", "volume traded"),
    ),
)

QUARANTINE = Dataset(
    "quarantine",
    1,
    "Rows of the source that did not become bars, with the reason",
    ("row",),
    (
        Column("row", "int64", "position in the source", "which row, from 0"),
        Column("time", "time", "UTC", "open of the bar as the source gives it", nullable=True),
        Column("reason", "string", "", "which rule was broken"),
        Column("detail", "string", "", "the values that broke it"),
    ),
)

QUALITY = Dataset(
    "quality",
    1,
    "What is odd about the bars, flagged and left as it is",
    ("kind", "start"),
    (
        Column("kind", "string", "gap, redenomination, spike, stale, volume or zero volume", "what was found"),
        Column("start", "time", "UTC", "open of the first bar concerned; of a gap, of the first that is missing"),
        Column("end", "time", "UTC", "open of the last bar concerned; of a gap, of the last that is missing"),
        Column("bars", "int64", "count", "bars concerned or missing"),
        Column("value", "float64", "as detail names it", "hours, price, price ratio, fraction or usual volumes"),
        Column("detail", "string", "", "the value in words"),
    ),
)

FUNDING = Dataset(
    "funding",
    1,
    "Funding rates as the source gives them; empty where there is none",
    ("time",),
    (
        Column("time", "time", "UTC", "when the payment is due"),
        Column("rate", "float64", "fraction", "share of the position's value that longs pay to shorts"),
    ),
)

SESSIONS = Dataset(
    "sessions",
    1,
    "Every instant at which any ticker has a bar, where the calendar is of sessions: what counts as the next bar",
    ("time",),
    (TIME,),
    by_ticker=False,
)

FEATURES = Dataset(
    "features",
    1,
    "Indicators at the close of each bar; one column a feature of the configured set",
    ("time",),
    (TIME,),
    open_columns="float32",
)

LABELS = Dataset(
    "labels",
    1,
    "What came after each bar; null where the horizon runs past the data or across a gap",
    ("time",),
    (
        TIME,
        Column("label", "int8", "0 neutral, 1 long, 2 short", "class of what followed", nullable=True),
        Column("outcome", "float64", "fraction", "return from the next open to the horizon's close", nullable=True),
    ),
)

SIGNALS = Dataset(
    "signals",
    1,
    "What the model decided at the close of each bar; traded from the next bar's open",
    ("time",),
    (
        TIME,
        Column("signal", "int8", "0 none, 1 long, 2 short", "decision"),
        Column("probability_long", "float32", "probability", "model's probability of class 1", nullable=True),
        Column("probability_short", "float32", "probability", "model's probability of class 2", nullable=True),
    ),
)

PARAMETERS = (
    Column("stop_loss_long", "float64", "fraction of price", "stop below a long's deciding close", nullable=True),
    Column("take_profit_long", "float64", "fraction of price", "target above a long's deciding close", nullable=True),
    Column("limit_long", "float64", "fraction of price", "worst entry accepted by a long", nullable=True),
    Column("stop_loss_short", "float64", "fraction of price", "stop above a short's deciding close", nullable=True),
    Column("take_profit_short", "float64", "fraction of price", "target below a short's deciding close", nullable=True),
    Column("limit_short", "float64", "fraction of price", "worst entry accepted by a short", nullable=True),
    Column("leverage", "float64", "multiple", "position value over margin"),
    Column("trailing_activation", "float64", "fraction of price", "gain that starts the trailing stop", nullable=True),
    Column("trailing_distance", "float64", "fraction of price", "distance of the trailing stop", nullable=True),
    Column("minimum_profit", "string", "JSON pairs (bars, fraction)", "time table of exits"),
)

FIGURES = (
    Column("trades", "int64", "count", "closed trades"),
    Column("total_return", "float64", "fraction", "equity at the end over cash, minus 1"),
    Column("annual_return", "float64", "fraction a year", "geometric", nullable=True),
    Column("annual_volatility", "float64", "fraction a year", "of daily returns", nullable=True),
    Column("sharpe", "float64", "a year", "mean over standard deviation of daily returns, annualised", nullable=True),
    Column("sortino", "float64", "a year", "as Sharpe, over the downside deviation", nullable=True),
    Column("max_drawdown", "float64", "fraction", "largest fall from a peak of equity, negative"),
    Column("win_rate", "float64", "fraction", "trades with a profit after costs", nullable=True),
    Column("profit_factor", "float64", "ratio", "sum of gains over sum of losses", nullable=True),
    Column("expectancy", "float64", "fraction", "mean return of a trade after costs", nullable=True),
    Column("exposure", "float64", "fraction", "share of bars with a position"),
    Column("commission", "float64", "quote currency", "paid in all"),
)

TRIALS = Dataset(
    "trials",
    1,
    "Every parameter set tried on the choose part",
    ("trial",),
    (
        Column("trial", "int64", "", "number of the parameter set; the same set for every ticker, but with tpe"),
        *PARAMETERS,
        *FIGURES,
        Column("score", "float64", "as configured", "what the search maximises", nullable=True),
        Column("chosen", "bool", "", "whether this set was taken on to the judge part"),
    ),
)

FOLDS = Dataset(
    "folds",
    1,
    "Walk-forward within the choose part: the set chosen on what came before, and its figures on what followed",
    ("fold",),
    (
        Column("fold", "int64", "", "number of the fold, from 1"),
        Column("tune_start", "time", "UTC", "first instant of the stretch that the set was chosen on"),
        Column("test_start", "time", "UTC", "first instant of the stretch that it was tested on"),
        Column("test_end", "time", "UTC", "instant after that stretch"),
        Column(
            "trial", "int64", "", "the chosen set; null where none had a score, and nothing was traded", nullable=True
        ),
        Column("score", "float64", "as configured", "of the chosen set where it was chosen", nullable=True),
        *FIGURES,
    ),
)

PLACEBOS = Dataset(
    "placebos",
    1,
    "The same search where nothing is to be found: what it chose there, and its figures on the judge part",
    ("kind", "repetition"),
    (
        Column("kind", "string", "shuffled or walk", "signals block-shuffled, or a random walk of the same volatility"),
        Column("repetition", "int64", "", "from 0"),
        Column("trial", "int64", "", "the chosen set; null where none had a score", nullable=True),
        Column("choose_return", "float64", "fraction", "of the chosen set on the choose part", nullable=True),
        Column("choose_trades", "int64", "count", "of the chosen set on the choose part", nullable=True),
        *FIGURES,
        Column("days", "int64", "count", "daily returns behind the Sharpe ratio"),
        Column("sharpe_error", "float64", "a year", "standard error of the Sharpe ratio", nullable=True),
        Column("probabilistic_sharpe", "float64", "probability", "that the true Sharpe exceeds 0", nullable=True),
    ),
)

TUNING = Dataset(
    "tuning",
    1,
    "Every configuration of the network that was tried, and its best epoch on the validate part",
    ("number",),
    (
        Column("number", "int64", "", "in the order of drawing, from 0"),
        Column("bracket", "int64", "", "of Hyperband, by how often it halves; 0 with ASHA"),
        Column("filters", "int64", "count", "of the convolution"),
        Column("dense", "int64", "count", "units of the dense layer"),
        Column("dropout", "float64", "fraction", "of units dropped while training"),
        Column("learning_rate", "float64", "", "Adam's step"),
        Column("epochs", "int64", "count", "passes over the fit part"),
        Column("best_epoch", "int64", "", "the best by the objective, from 1", nullable=True),
        Column("macro_f1", "float64", "", "of the best epoch", nullable=True),
        Column("log_loss", "float64", "nats", "of the best epoch, weighted as in training", nullable=True),
        Column("status", "string", "finished, stopped or failed", "trained to the end, or given up on the way"),
        Column("chosen", "bool", "", "whether it is the best"),
    ),
    by_ticker=False,
)

TRADES = Dataset(
    "trades",
    2,
    "Trades of the chosen parameters on the judge part",
    ("number",),
    (
        Column("number", "int64", "", "in order of exit, from 0"),
        Column("side", "string", "long or short", "direction"),
        Column("size", "float64", "units, negative when short", "position"),
        Column("entry_time", "time", "UTC", "bar of the entry"),
        Column("exit_time", "time", "UTC", "bar of the exit"),
        Column("entry_price", "float64", "quote currency", "fill"),
        Column("exit_price", "float64", "quote currency", "fill"),
        Column("pnl", "float64", "quote currency", "profit after commission"),
        Column("commission", "float64", "quote currency", "entry and exit"),
        Column("trade_return", "float64", "fraction", "profit after commission over entry value"),
        Column("funding", "float64", "quote currency", "paid while it was open, not part of the profit"),
        Column("exit", "string", "order, stop, target, liquidation or ruin", "how it ended"),
    ),
)

METRICS = Dataset(
    "metrics",
    2,
    "Figures of each part: the chosen parameters on choose and judge, and buy-and-hold beside them",
    ("part",),
    (
        Column("part", "string", "choose or judge", "part of the calendar"),
        *FIGURES,
        Column("funding", "float64", "quote currency", "paid in all", nullable=True),
        Column("funding_missing", "int64", "count", "payments whose rate is not known, and which count as 0"),
        Column(
            "capacity", "float64", "quote currency", "cash at which the median entry is 1 % of its bar", nullable=True
        ),
        Column("buy_and_hold_return", "float64", "fraction", "of the same part", nullable=True),
        Column("buy_and_hold_sharpe", "float64", "a year", "of the same part", nullable=True),
        Column("days", "int64", "count", "daily returns behind the Sharpe ratio"),
        Column("sharpe_error", "float64", "a year", "standard error of the Sharpe ratio", nullable=True),
        Column("probabilistic_sharpe", "float64", "probability", "that the true Sharpe exceeds 0", nullable=True),
        Column("sharpe_low", "float64", "a year", "5 % point of the bootstrapped Sharpe", nullable=True),
        Column("sharpe_high", "float64", "a year", "95 % point of the bootstrapped Sharpe", nullable=True),
    ),
)

EQUITY = Dataset(
    "equity",
    1,
    "Equity at the end of each UTC day of the judge part, as a multiple of the starting cash",
    ("time",),
    (
        Column("time", "time", "UTC", "day"),
        Column("strategy", "float64", "multiple of cash", "chosen parameters"),
        Column("buy_and_hold", "float64", "multiple of cash", "the asset itself"),
    ),
)

SHORTLIST = Dataset(
    "shortlist",
    2,
    "Every ticker with its verdict, best first",
    ("rank",),
    (
        Column("ticker", "string", "venue-market:symbol", "asset"),
        Column("rank", "int64", "", "1 is best; rejected tickers follow the shortlisted ones"),
        Column("shortlisted", "bool", "", "whether the evidence holds"),
        Column("reason", "string", "", "why it was rejected, or what it passed"),
        Column("stage", "string", "choose, judge or shortlisted", "how far it came"),
        Column("trial", "int64", "", "the chosen parameter set", nullable=True),
        Column("choose_sharpe", "float64", "a year", "of the chosen set on the choose part", nullable=True),
        Column("judge_sharpe", "float64", "a year", "of the chosen set on the judge part", nullable=True),
        Column("judge_return", "float64", "fraction", "on the judge part", nullable=True),
        Column("buy_and_hold_return", "float64", "fraction", "on the judge part", nullable=True),
        Column("judge_trades", "int64", "count", "on the judge part", nullable=True),
        Column("win_rate", "float64", "fraction", "on the judge part", nullable=True),
        Column("profit_factor", "float64", "ratio", "on the judge part", nullable=True),
        Column("expectancy", "float64", "fraction", "on the judge part", nullable=True),
        Column("max_drawdown", "float64", "fraction", "on the judge part", nullable=True),
        Column("p_value", "float64", "probability", "of a Sharpe this high with no edge", nullable=True),
        Column("q_value", "float64", "rate", "p-value corrected for the number of candidates", nullable=True),
        Column("placebo_q_value", "float64", "rate", "share of false entries as the placebos tell", nullable=True),
        Column(
            "deflated_sharpe", "float64", "probability", "that it beats the luckiest of the candidates", nullable=True
        ),
        Column("sharpe_low", "float64", "a year", "5 % point of the bootstrapped Sharpe", nullable=True),
        Column("sharpe_high", "float64", "a year", "95 % point of the bootstrapped Sharpe", nullable=True),
        Column("effective_trials", "float64", "count", "independent trials the search amounts to", nullable=True),
        Column("choose_deflated_sharpe", "float64", "probability", "the same on choose, for the trials", nullable=True),
        Column("overfitting", "float64", "probability", "of backtest overfitting on choose, by CSCV", nullable=True),
        Column("stability", "float64", "ratio", "score of the chosen set's neighbours over its own", nullable=True),
        Column("walk_forward_sharpe", "float64", "a year", "of the folds' tests on choose, joined", nullable=True),
        Column("passed", "string", "names", "rules that it passed"),
        Column("failed", "string", "names", "rules that it failed"),
    ),
    by_ticker=False,
)

PORTFOLIO = Dataset(
    "portfolio",
    1,
    "The shortlisted tickers together on the judge part: equal weights, set back every day",
    ("time",),
    (
        Column("time", "time", "UTC", "day"),
        Column("equity", "float64", "multiple of the start", "at the end of the day"),
        Column("drawdown", "float64", "fraction", "from the highest equity so far, negative"),
        Column("members", "int64", "count", "tickers that were traded on the day"),
    ),
    by_ticker=False,
)

CORRELATIONS = Dataset(
    "correlations",
    1,
    "How alike the shortlisted tickers' daily returns on the judge part are",
    ("ticker", "other"),
    (
        Column("ticker", "string", "venue-market:symbol", "one of the two"),
        Column("other", "string", "venue-market:symbol", "the other"),
        Column("correlation", "float64", "", "of daily returns, over the days that both have", nullable=True),
    ),
    by_ticker=False,
)

EVALUATION = Dataset(
    "evaluation",
    1,
    "The model and simple ones on the same windows of the choose part, of the tickers that the model learned from",
    ("model", "statistic"),
    (
        Column("model", "string", "cnn, majority, logistic or boosting", "which model"),
        Column("statistic", "string", "", "see `quant.evaluation`; _at_shares: class weights taken back"),
        Column("estimate", "float64", "as the statistic", "of all windows", nullable=True),
        Column("low", "float64", "as the statistic", "2.5 % point of the bootstrap over blocks of days", nullable=True),
        Column("high", "float64", "as the statistic", "97.5 % point", nullable=True),
        Column("difference", "float64", "as the statistic", "the CNN's less this model's", nullable=True),
        Column("difference_low", "float64", "as the statistic", "2.5 % point of the difference", nullable=True),
        Column("difference_high", "float64", "as the statistic", "97.5 % point of the difference", nullable=True),
        Column("windows", "int64", "count", "windows judged"),
        Column("days", "int64", "count", "days that have windows"),
        Column("block", "int64", "days", "length of the blocks drawn"),
    ),
    by_ticker=False,
)

EVALUATION_CURVES = Dataset(
    "evaluation_curves",
    1,
    "ROC, precision-recall and calibration of the model and of simple ones, each side against the other two classes",
    ("model", "side", "curve", "point"),
    (
        Column("model", "string", "cnn, majority, logistic or boosting", "which model"),
        Column("side", "string", "long or short", "which class"),
        Column("curve", "string", "roc, precision_recall or calibration", "which curve"),
        Column("point", "int64", "", "along the curve, from 0"),
        Column("x", "float64", "fraction", "false positives; recall; mean probability at the shares of the classes"),
        Column("y", "float64", "fraction", "true positives; precision; share truly of the class"),
        Column("windows", "int64", "count", "of a bin of the calibration", nullable=True),
    ),
    by_ticker=False,
)

EVALUATION_GROUPS = Dataset(
    "evaluation_groups",
    1,
    "The model by ticker, and it and simple ones by month, on the choose part",
    ("kind", "group", "model"),
    (
        Column("kind", "string", "month or ticker", "months are of the tickers that the model learned from together"),
        Column("group", "string", "", "the month (2024-01) or the ticker"),
        Column("model", "string", "cnn, majority, logistic or boosting", "which model"),
        Column("learned", "bool", "", "whether the model learned from the ticker, on the fit part"),
        Column("windows", "int64", "count", "windows judged"),
        Column("directional", "int64", "count", "windows of class long or short"),
        Column("macro_f1", "float64", "fraction", "mean F1 of the classes", nullable=True),
        Column("direction_auc", "float64", "probability", "that a long window looks more long", nullable=True),
        Column("low", "float64", "probability", "2.5 % point of the direction AUC, of a ticker", nullable=True),
        Column("high", "float64", "probability", "97.5 % point of the direction AUC, of a ticker", nullable=True),
    ),
    by_ticker=False,
)

ABLATIONS = Dataset(
    "ablations",
    1,
    "The model and simple ones trained and judged again with one thing changed, on the choose part",
    ("variant", "model", "statistic"),
    (
        Column("variant", "string", "see `jobs.ablate`", "what was changed; as_configured is the run itself"),
        Column("setting", "string", "", "the settings that were changed, and to what"),
        Column("model", "string", "cnn, majority, logistic or boosting", "which model"),
        Column("statistic", "string", "", "as in `evaluation`"),
        Column("estimate", "float64", "as the statistic", "of all windows", nullable=True),
        Column("low", "float64", "as the statistic", "2.5 % point of the bootstrap over blocks of days", nullable=True),
        Column("high", "float64", "as the statistic", "97.5 % point", nullable=True),
        Column("windows", "int64", "count", "windows judged"),
    ),
    by_ticker=False,
)

LANDMARKS = Dataset(
    "landmarks",
    1,
    "The windows that the patterns were fitted on: where each lies, its cluster, what followed, and its scaled values",
    ("number",),
    (
        Column("number", "int64", "", "in the order of fitting, from 0"),
        Column("ticker", "string", "venue-market:symbol", "asset"),
        Column("time", "time", "UTC", "open of the window's last bar"),
        Column("x", "float32", "", "place in the plane"),
        Column("y", "float32", "", "place in the plane"),
        Column("cluster", "int8", "", "cluster; −1 is noise"),
        Column("outcome", "float64", "fraction", "best close of the bars ahead over the window's last", nullable=True),
        Column("forward_return", "float64", "fraction", "from the next open to the last close ahead", nullable=True),
    ),
    by_ticker=False,
    open_columns="float32",
)

PROFILES = Dataset(
    "profiles",
    1,
    "How the features of each cluster run over its windows, in real units",
    ("cluster", "feature", "step"),
    (
        Column("cluster", "int8", "", "cluster; −1 is noise, −2 all windows"),
        Column("feature", "string", "", "column of the feature set"),
        Column("step", "int64", "bars", "before the window's last bar, 0 or negative"),
        Column("mean", "float64", "as the feature", "of the cluster's windows", nullable=True),
        *(
            Column(f"q{share}", "float64", "as the feature", f"{share} % point", nullable=True)
            for share in (10, 25, 50, 75, 90)
        ),
    ),
    by_ticker=False,
)

CLUSTER_COUNTS = Dataset(
    "cluster_counts",
    1,
    "Numbers of clusters that were tried; empty where the number was given",
    ("count",),
    (
        Column("count", "int64", "", "clusters"),
        Column("stability", "float64", "adjusted Rand index", "mean agreement with fits on bootstrap samples"),
        Column("stability_error", "float64", "adjusted Rand index", "standard deviation of it"),
        Column("silhouette", "float64", "", "mean silhouette of the windows in the plane"),
        Column("chosen", "bool", "", "whether it was taken"),
    ),
    by_ticker=False,
)

PATTERNS = Dataset(
    "patterns",
    1,
    "The cluster of the window that ends at each bar, where it lies, and what followed",
    ("time",),
    (
        TIME,
        Column("cluster", "int8", "", "cluster; −1 is noise"),
        Column("x", "float32", "", "place in the plane"),
        Column("y", "float32", "", "place in the plane"),
        Column("distance", "float32", "scaled units", "to the nearest window of the fit part"),
        Column("outcome", "float64", "fraction", "best close of the bars ahead over this close", nullable=True),
        Column("forward_return", "float64", "fraction", "from the next open to the last close ahead", nullable=True),
    ),
)

CLUSTER_OUTCOMES = Dataset(
    "cluster_outcomes",
    1,
    "What followed the windows of each cluster, against all windows of the same part",
    ("part", "cluster"),
    (
        Column("part", "string", "fit, validate or choose", "part of the calendar"),
        Column("cluster", "int8", "", "cluster; −1 is noise"),
        Column("windows", "int64", "count", "windows with a known outcome"),
        Column("episodes", "int64", "count", "of windows that share no bar with the one before"),
        Column("days", "int64", "count", "days that have a window of the cluster"),
        *(
            column
            for name, unit, meaning in (
                ("hit", "fraction", "share of windows whose outcome reaches the answer"),
                ("return", "fraction", "mean forward return"),
            )
            for column in (
                Column("hit_rate" if name == "hit" else "mean_return", "float64", unit, meaning, nullable=True),
                Column(
                    "base_rate" if name == "hit" else "base_return", "float64", unit, "of all windows", nullable=True
                ),
                Column(f"{name}_difference", "float64", unit, "the cluster's less that of all", nullable=True),
                Column(f"{name}_low", "float64", unit, "2.5 % point, blocks of days drawn anew", nullable=True),
                Column(f"{name}_high", "float64", unit, "97.5 % point", nullable=True),
                Column(f"{name}_p_value", "float64", "probability", "of such a difference by chance", nullable=True),
                Column(f"{name}_q_value", "float64", "rate", "corrected for the clusters", nullable=True),
                Column(f"{name}_differs", "bool", "", "whether that is within `patterns.false_discovery_rate`"),
            )
        ),
    ),
    by_ticker=False,
)

CLUSTER_HISTOGRAMS = Dataset(
    "cluster_histograms",
    1,
    "How the outcomes of each cluster, and of all windows, are spread over the validate and choose parts",
    ("cluster", "low"),
    (
        Column("cluster", "int8", "", "cluster; −1 is noise, −2 all windows"),
        Column("low", "float64", "fraction", "lower border of the bin; the first reaches further down"),
        Column("high", "float64", "fraction", "upper border of the bin; the last reaches further up"),
        Column("windows", "int64", "count", "windows in the bin"),
    ),
    by_ticker=False,
)

AUDIT = Dataset(
    "audit",
    1,
    "What the audit says of each check, of one ticker or (under the ticker `all`) of the run as a whole",
    ("check",),
    (
        Column("check", "string", "see docs/audit.md", "what was checked"),
        Column("verdict", "string", "passed, leak, warning or not applicable", "what came of it"),
        Column("column", "string", "", "what it was found in; empty where there is nothing to name"),
        Column("first", "time", "UTC", "open of the first bar that is wrong", nullable=True),
        Column("effect", "float64", "as unit", "how large it is", nullable=True),
        Column("unit", "string", "", "of the effect"),
        Column("detail", "string", "", "the same in a sentence"),
    ),
)

PROTOCOLS = Dataset(
    "protocols",
    1,
    "What each protocol between the article's and the honest one makes of a ticker, the traps removed one at a time",
    ("step", "strategy"),
    (
        Column("step", "int64", "", "how many traps are removed, in the order of docs/protocols.md"),
        Column("strategy", "string", "see docs/protocols.md", "all_bars, test_part, label or asset: which backtest"),
        Column("start", "time", "UTC", "open of the first bar traded"),
        Column("end", "time", "UTC", "open of the last bar traded"),
        Column("held", "float64", "fraction", "return of holding over these bars, without costs"),
        Column("optimised", "bool", "", "whether parameters were searched, since those of the article did not do"),
        Column("listed", "bool", "", "whether the asset would be listed"),
        *FIGURES,
    ),
)

PROTOCOL_STEPS = Dataset(
    "protocol_steps",
    1,
    "What each step from the article's protocol to the honest one comes to",
    ("scope", "step"),
    (
        Column("scope", "string", "", "a ticker that the model learned from, or all assets"),
        Column("step", "int64", "", "how many traps are removed"),
        Column("trap", "string", "see docs/protocols.md", "the trap removed last; empty at step 0"),
        Column("meaning", "string", "", "what is done from this step on"),
        Column("tickers", "int64", "count", "tickers with bars"),
        Column("total_return", "float64", "fraction", "of the ticker, or the mean over all assets", nullable=True),
        Column("annual_return", "float64", "fraction a year", "the same, geometric", nullable=True),
        Column("sharpe", "float64", "a year", "of the ticker, or the median over all assets", nullable=True),
        Column("trades", "int64", "count", "closed trades, of all assets together"),
        Column("held", "float64", "fraction", "return of holding over the same bars, or its mean", nullable=True),
        Column("listed", "int64", "count", "assets that would be listed"),
        Column("listed_return", "float64", "fraction", "mean of their returns", nullable=True),
    ),
    by_ticker=False,
)

REPORT_FIGURES = Dataset(
    "report_figures",
    1,
    "Figures of the report that no other table holds: counts and statistics of the run, and of single tickers",
    ("section", "ticker", "name"),
    (
        Column("section", "string", "", "of the page"),
        Column("ticker", "string", "venue-market:symbol", "asset; empty for the run as a whole"),
        Column("name", "string", "", "what it is"),
        Column("value", "float64", "as the name says; shares are fractions", "the figure", nullable=True),
        Column("text", "string", "", "the same where it is no number; else empty"),
    ),
    by_ticker=False,
)

FAILURES = Dataset(
    "failures",
    1,
    "Tickers that could not be processed, by stage",
    ("stage", "ticker"),
    (
        Column("stage", "string", "", "where it failed"),
        Column("ticker", "string", "venue-market:symbol", "asset, or the file where the asset is not known"),
        Column("error", "string", "", "type of the error"),
        Column("message", "string", "", "what was wrong, and where"),
    ),
    by_ticker=False,
)

DATASETS: dict[str, Dataset] = {
    dataset.name: dataset
    for dataset in (
        BARS,
        QUARANTINE,
        QUALITY,
        FUNDING,
        SESSIONS,
        FEATURES,
        LABELS,
        SIGNALS,
        EVALUATION,
        EVALUATION_CURVES,
        EVALUATION_GROUPS,
        ABLATIONS,
        LANDMARKS,
        PROFILES,
        CLUSTER_COUNTS,
        PATTERNS,
        CLUSTER_OUTCOMES,
        CLUSTER_HISTOGRAMS,
        TRIALS,
        FOLDS,
        PLACEBOS,
        TUNING,
        TRADES,
        METRICS,
        EQUITY,
        SHORTLIST,
        PORTFOLIO,
        CORRELATIONS,
        AUDIT,
        PROTOCOLS,
        PROTOCOL_STEPS,
        REPORT_FIGURES,
        FAILURES,
    )
}


def frame(dataset: Dataset, rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Rows as a frame with the dataset's columns and types, also where there are none; missing values are null."""
    table = pd.DataFrame(list(rows), columns=[column.name for column in dataset.columns])
    return table.astype({column.name: _DTYPES.get(column.type, column.type) for column in dataset.columns})


_DTYPES = {"time": "datetime64[us, UTC]", "int64": "Int64", "int8": "Int8", "string": "str"}
