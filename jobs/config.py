"""The configuration of a run: one frozen model, validated before anything starts.

Every job reads the same model, from ``--config run.toml`` and from flags that override it
(``--labels.horizon 8``). The defaults are the demo's. ``docs/configuration.md`` is generated from it.
"""

import re
from datetime import date, datetime
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from quant import rules
from quant.candle_columns import MAPPED
from quant.features import FEATURE_SETS

EMBEDDED = ("demo", "shapes", "samples")
"""Sources that are no files."""

BULK = "binance"
"""The source that is Binance's bulk data."""
CCXT = "ccxt:"
"""What precedes the name of an exchange as a source."""
OWN_FUNDING = "source"
"""In place of the URL of a file of funding rates: those that the source holds."""
UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
"""Seconds of the units of a length of time."""

Fraction = Annotated[float, Field(gt=0, lt=1)]
Count = Annotated[int, Field(ge=1)]
Sides = tuple[Annotated[float, Field(gt=0, lt=1)] | None, ...]


class Section(BaseModel):
    """A part of the configuration: frozen, and refusing keys that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


class Ingest(Section):
    """Which bars are read, and how."""

    bar: str | None = None
    """Length of a bar ("15m", "1h", "1d"); None infers it from each file."""
    calendar: Literal["continuous", "sessions"] = "continuous"
    """"continuous" for crypto, where a missing bar is a gap; "sessions" for exchanges that close."""
    venue: str = "local"
    """First part of the canonical ticker, for sources that do not name it."""
    market: str = "um"
    """Second part of the canonical ticker: "um" for USDT perpetuals, "spot", "stock"."""
    columns: dict[str, str] = {}
    """A file's own names of columns by the standard ones, for names that cannot be told, such as { time = "Zeit" };
    the standard ones are time, close_time, open, high, low, close, volume, rate and symbol."""
    zone: str | None = None
    """Zone of times that have none, such as "Europe/Berlin"; None reads them as UTC and says so."""
    funding: str | None = None
    """URL of funding rates (ticker, time, rate; Parquet or CSV), or "source" for those that the source holds; None:
    funding is not charged."""
    tickers: tuple[str, ...] = ()
    """Symbols to read; all where empty. A symbol that the source lacks is a failure of its own."""
    since: date | None = None
    """First day of bars to read, and of a service to fetch; None: all that there is."""
    until: date | None = None
    """Last day of bars to read, and of a service to fetch; None: up to now."""
    quote: str | None = None
    """Quote currency that the symbols of a service must have, such as USDT; None: any."""
    endpoint: str | None = None
    """Address of a mirror of the service, in place of its own."""
    rate: float | None = Field(default=None, gt=0)
    """Requests a second to the service, of all workers together; None: 20 for bulk data, and through ccxt what the
    exchange allows."""
    demo_seed: int = Field(default=0, ge=0)
    """Seed of the demo market, and of the market of shapes."""
    demo_edge: float = Field(default=1.0, ge=0)
    """Strength of what follows a planted pattern there; 1 is the documented market, at 0 nothing does."""

    @property
    def length(self) -> pd.Timedelta | None:
        """Length of a bar, where it is set."""
        return pd.Timedelta(seconds=_seconds(self.bar)) if self.bar else None

    @model_validator(mode="after")
    def _readable(self) -> "Ingest":
        if self.bar is not None and not _seconds(self.bar):
            raise ValueError(f"bar is '{self.bar}'; allowed: a whole number of s, m, h, d or w, as in 15m")
        unknown = sorted(set(self.columns) - set(MAPPED))
        if unknown:
            raise ValueError(f"columns names '{unknown[0]}'; allowed: {', '.join(MAPPED)}")
        if self.zone is not None:
            try:
                ZoneInfo(self.zone)
            except (ValueError, OSError, KeyError) as error:
                raise ValueError(f"zone is '{self.zone}'; allowed: names such as Europe/Berlin or UTC") from error
        return self


class Features(Section):
    """Which indicators describe a bar."""

    set: str = "pattern8_relative"
    """Feature set: pattern8, ta193, or the scale-free twin of either."""
    whole_numbers: bool = False
    """Whether values are cut to whole numbers as the article does; there to show its effect (`jobs.protocols`)."""

    @model_validator(mode="after")
    def _known(self) -> "Features":
        if self.set not in FEATURE_SETS:
            raise ValueError(f"'{self.set}' is not a feature set; allowed: {', '.join(FEATURE_SETS)}")
        return self


class RsiReversion(Section):
    """Parameters of the rule `rsi_reversion`."""

    lower: float = 30.0
    """RSI, 0 to 100, below which the rule is long."""
    upper: float = 70.0
    """RSI above which it is short."""


class BollingerBreakout(Section):
    """Parameters of the rule `bollinger_breakout`."""

    lower: float = 0.0
    """%B below which the rule goes short: 0 is the lower band."""
    upper: float = 1.0
    """%B above which it goes long: 1 is the upper band."""


class MacdCross(Section):
    """Parameters of the rule `macd_cross`."""

    confirmation: int = 1
    """Bars before the crossing that must all lie on the other side."""


class Momentum(Section):
    """Parameters of the rule `momentum`."""

    bars: int = 20
    """Bars over which the close has changed."""
    threshold: float = 0.02
    """Change, as a fraction, that must be exceeded."""


class Rules(Section):
    """Parameters of the rules that `rule` may name; docs/rules.md says what each may be."""

    side: rules.Side = "both"
    """"long" or "short" leaves the other side's signals out."""
    rsi_reversion: RsiReversion = RsiReversion()
    bollinger_breakout: BollingerBreakout = BollingerBreakout()
    macd_cross: MacdCross = MacdCross()
    momentum: Momentum = Momentum()

    @model_validator(mode="after")
    def _allowed(self) -> "Rules":
        for name in rules.RULES:
            rules.check(name, self.of(name))
        return self

    def of(self, rule: str) -> dict[str, float]:
        """Parameters of a rule by name."""
        parameters: Section = getattr(self, rule)
        return parameters.model_dump()


class Labels(Section):
    """What the model is asked to foresee."""

    kind: Literal["first_touch", "forward_max", "triple_barrier"] = "first_touch"
    """How a label is drawn from the bars that follow."""
    take: Fraction = 0.004
    """Move that makes a label long or short, as a fraction of price."""
    ratio: float = Field(default=1.0, ge=1)
    """The adverse move may reach take / ratio before the label is lost."""
    horizon: Count = 1
    """Bars looked ahead."""
    alignment: Literal["honest", "seed"] = "honest"
    """"seed" shifts labels one bar forward as the article does, which leaks."""


class Split(Section):
    """The four calendar parts: the same instants for every ticker."""

    fit: Fraction = 0.32
    """Share of the calendar on which weights and scaler are fitted."""
    validate_: Fraction = Field(default=0.14, alias="validate")
    """Share for early stopping and for the confidence threshold."""
    choose: Fraction = 0.16
    """Share on which strategy parameters are chosen."""
    judge: Fraction = 0.38
    """Share looked at once, to judge."""
    embargo: int = Field(default=96, ge=0)
    """Bars left out at the start of each later part, beyond the purge of one horizon before it."""
    start: datetime | None = None
    """First instant of the calendar; None: the first at which half of the tickers have bars."""
    end: datetime | None = None
    """Instant after the last of the calendar; None: after the last bar."""

    @model_validator(mode="after")
    def _whole(self) -> "Split":
        total = self.fit + self.validate_ + self.choose + self.judge
        if abs(total - 1) > 1e-9:
            raise ValueError(f"fit + validate + choose + judge is {total:g}; it must be 1")
        return self


class Train(Section):
    """How the CNN is trained."""

    tickers: tuple[str, ...] = ()
    """Canonical tickers or symbols to learn from; the demo's majors on the demo market, else all, where empty."""
    architecture: Literal["cnn_whole", "cnn", "cnn_tuned", "causal"] = "cnn_whole"
    """The article's first 2D CNN padded so that it sees the newest bar, that CNN as it is, the tuned one; or a temporal
    network of causal, dilated convolutions."""
    steps: Count = 15
    """Bars in a window."""
    filters: Count = 16
    """Filters of the convolution."""
    dense: Count = 64
    """Units of the dense layer."""
    dropout: float = Field(default=0.3, ge=0, lt=1)
    """Share of units dropped while training."""
    learning_rate: float = Field(default=3e-3, gt=0)
    """Adam's step."""
    batch: Count = 512
    """Windows in a batch, over all workers together."""
    epochs: Count = 12
    """Passes over the fit part at most."""
    patience: Count = 4
    """Passes without a better score before training stops."""
    watch: Literal["log_loss", "macro_f1"] = "log_loss"
    """Score on the validate part that training stops by, and whose best pass is kept."""
    schedule: Literal["constant", "cosine"] = "cosine"
    """How the learning rate runs over the passes: level, or down half a cosine to nearly 0."""
    warmup: int = Field(default=0, ge=0)
    """Passes over which the learning rate first rises."""
    class_weights: bool = True
    """Whether rare classes count more, so that all weigh the same in sum."""
    scaler: Literal["robust", "minmax"] = "robust"
    """Statistics that features are scaled by: median and interquartile range, or least and range."""
    scaler_rows: Literal["fit", "all"] = "fit"
    """Rows that the statistics are of; "all" looks at the future as the article does, which leaks."""
    shuffle_features: int | None = Field(default=None, ge=0)
    """Seed by which the order of the features is shuffled, to see what it means to a network; None keeps it."""
    clip: float = Field(default=12.0, gt=0)
    """Scaled features are clipped to this many interquartile ranges (minmax: ranges)."""
    seed: int = Field(default=1, ge=0)
    """Seed of the weights, the dropout and the shuffling."""
    workers: Count = 1
    """Data-parallel Ray Train workers."""
    gpu: bool = False
    """Whether each worker takes a GPU."""
    threads: Count = 2
    """CPU threads of a worker; changes the weights in the seventh digit, so it is part of the fingerprint."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Arithmetic: bfloat16 keeps the weights in float32, and is faster on recent GPUs and slower on CPUs."""
    compiled: bool = False
    """Whether XLA compiles the training step: faster on most GPUs, several times slower on CPUs, and the weights of two
    runs may differ in their last digits."""
    tuned: bool = False
    """Whether filters, dense, dropout and learning_rate are the best that `jobs.tune` found, which the pipeline then
    runs first."""
    memory: float = Field(default=2.0, gt=0)
    """Rows that a worker holds at most, in GB: the tickers are read in groups where they are more."""


class Predict(Section):
    """How the model is applied."""

    actors: int | None = Field(default=None, ge=1)
    """Model-holding actors at work side by side; None: as many as there are cores and memory for."""
    batch: Count = 8192
    """Windows in a batch."""
    threshold: float | None = Field(default=None, gt=0)
    """Least probability of a signal; None: chosen on the validate part."""


class Evaluate(Section):
    """How the model is judged beside simple models, on the choose part. No verdict rests on it."""

    enabled: bool = True
    """Whether it is judged at all."""
    windows: Count = 100_000
    """Windows judged at most; of more, every second, third, … is taken, so that all days stay."""
    baseline_windows: Count = 50_000
    """Windows of the fit part that a simple model is fitted on at most, drawn at random."""
    resamples: Count = 200
    """Bootstrap samples behind an interval."""
    seed: int = Field(default=1, ge=0)
    """Seed of the windows and of the days drawn."""


class Ablate(Section):
    """What the model is tried without (`jobs.ablate`)."""

    variants: tuple[Literal["fewest_steps", "shuffled_features", "other_scale", "other_alignment"], ...] = (
        "fewest_steps",
        "shuffled_features",
        "other_scale",
        "other_alignment",
    )
    """The newest bars alone; the features in another order; raw features in place of scale-free ones or the other way
    round; labels of the article's alignment, which leaks, in place of honest ones or the other way round."""
    seed: int = Field(default=1, ge=0)
    """Seed of the order of the features."""


class Patterns(Section):
    """Which shapes recur before a bar, and what follows them (`jobs.patterns`)."""

    trade: bool = False
    """Whether clusters that differ give the signals, in place of the CNN."""
    protocol: Literal["honest", "seed"] = "honest"
    """"honest" fits an outcome-blind sample of the fit part and judges later parts; "seed" does what the clustering
    notebook does, on all bars and on those windows alone that a rise followed."""
    length: int = Field(default=18, ge=2, le=500)
    """Bars of a window."""
    horizon: int = Field(default=5, ge=2)
    """Bars from a window's last bar on, itself included, in which its outcome comes about."""
    answer: float = Field(default=0.05, gt=0)
    """Rise of the best close ahead that counts as a hit, as a fraction."""
    landmarks: int = Field(default=20_000, ge=50)
    """Windows that are fitted at most, drawn from the fit part whatever followed them; all others are placed."""
    clip: float = Field(default=12.0, gt=0)
    """Scaled features are clipped to this many interquartile ranges (honest)."""
    reducer: Literal["own", "umap-learn", "cuml", "auto"] | None = None
    """What lays the windows out in the plane: this project's UMAP, the same at any number of threads; umap-learn; cuml,
    which asks for a GPU; or cuml where it is installed, with a GPU if `train.gpu` is set, and else our own. None: our
    own, and umap-learn under "seed"."""
    neighbours: int = Field(default=30, ge=2, le=500)
    """Windows that UMAP keeps a window together with, itself included."""
    minimum_distance: float = Field(default=0.0, ge=0, le=1)
    """How close UMAP lets neighbours come to lie at least."""
    clustering: Literal["kmeans", "hdbscan"] = "kmeans"
    """How the plane is cut into clusters."""
    clusters: int | None = Field(default=None, ge=2, le=100)
    """Clusters of k-means; None: 8 under "seed", else the number of `counts` that stability and silhouette choose."""
    counts: tuple[Annotated[int, Field(ge=2, le=100)], ...] = (4, 6, 8, 10, 12, 16)
    """Numbers of clusters to choose among."""
    smallest: int = Field(default=100, ge=2)
    """Windows of a cluster of HDBSCAN at least."""
    seed: int = Field(default=42, ge=0, lt=2**32)
    """Seed of the sample, the layout, the clusters and the resampling."""
    refits: int = Field(default=3, ge=0)
    """Fits with other seeds, and as many on bootstrap samples, that the clusters are held against; 0 for none."""
    resamples: int = Field(default=1000, ge=100)
    """Bootstrap samples of days behind an interval and a p-value."""
    false_discovery_rate: Fraction = 0.1
    """Share of clusters that may be said to differ from the base rate by mistake."""
    threads: Count = 2
    """Cores of the task that fits; they never change the result of our own UMAP."""
    shown: int = Field(default=30_000, ge=1)
    """Windows that the page shows at most."""
    page_bars: int = Field(default=1_500_000, ge=1_000)
    """Bars that the page of the patterns holds at most, so that its windows can be looked at one by one."""


class Span(Section):
    """Numbers from a low to a high one, to draw from."""

    low: float
    """The smallest value."""
    high: float
    """The largest value."""
    step: float | None = None
    """Distance between neighbouring values; null for all values between. A grid needs one."""
    log: bool = False
    """Whether every factor, rather than every difference, is equally likely."""


class Spans(Section):
    """A section with settings that are a list or a range."""

    @field_validator("*", mode="before")
    @classmethod
    def _range_from_a_flag(cls, value: object) -> object:
        """Take a range out of the list that a flag's JSON arrives in."""
        alone = isinstance(value, list | tuple) and len(value) == 1 and isinstance(value[0], dict)
        return value[0] if alone else value


class Search(Spans):
    """Which strategy parameters are tried on the choose part."""

    sampler: Literal["grid", "sobol", "tpe"] = "grid"
    """How sets are drawn: a grid; a sequence that fills the space evenly; or a model of each ticker's scores so far."""
    batch: Count = 10
    """Sets that tpe proposes at once; small ones serve it best."""

    policy: Literal["reverse", "exclusive", "stack"] = "reverse"
    """What a signal does while a position is open."""
    objective: Literal["sharpe", "return", "expectancy", "profit_factor"] = "sharpe"
    """What the choice maximises."""
    trials: Count = 8
    """Parameter sets at most; of a grid a seeded sample where the product of the lists is larger."""
    seed: int = Field(default=1, ge=0)
    """Seed of the sampler; tpe has one of its own for every ticker, made of this one."""
    minimum_trades: Count = 10
    """Fewer trades on the choose part leave a set without a score."""
    trend_filter: bool = False
    """Whether entries against the EMA ladder 22, 55, 108 are left out, as in the article."""
    folds: int = Field(default=3, ge=0)
    """Walk-forward folds within the choose part: choose on what came before, test on what follows; 0 for none."""
    stop_loss: Sides | Span = (0.02, None)
    """Stop losses tried, as fractions of price: a list, with null for none, or a range such as
    { low = 0.01, high = 0.06 }, with step or log as one likes. The next five are given likewise."""
    take_profit: Sides | Span = (0.02, None)
    """Take profits tried, as fractions of price; null for none."""
    limit: Sides | Span = (None,)
    """Limits tried, as fractions of price: the worst entry accepted; null enters at the open."""
    leverage: tuple[Annotated[float, Field(ge=1)], ...] | Span = (1.0,)
    """Leverages tried."""
    trailing_activation: Sides | Span = (None,)
    """Gains that start the trailing stop; null for none."""
    trailing_distance: Sides | Span = (None,)
    """Distances of the trailing stop; null for none."""
    minimum_profit: tuple[tuple[tuple[int, float], ...], ...] = (((1, -1.0),), ((2, -1.0),))
    """Time tables of exits tried: pairs of (bars held, least move that closes); (4, -1) closes after 4 bars."""


class Tune(Spans):
    """Which hyperparameters of the network are tried, by `jobs.tune`; the space is the article's."""

    algorithm: Literal["hyperband", "asha"] = "hyperband"
    """Synchronous Hyperband on configurations drawn at random; or ASHA on those that a tree-structured Parzen estimator
    proposes."""
    objective: Literal["macro_f1", "log_loss"] = "macro_f1"
    """Score on the validate part, of a trial's best epoch: highest macro-F1, or least log-loss weighted as in
    training."""
    epochs: Count = 20
    """Passes over the fit part of a trial that comes through."""
    factor: int = Field(default=3, ge=2)
    """One in so many trials goes on at each rung."""
    iterations: Count = 1
    """Rounds of Hyperband, each with configurations of its own."""
    trials: Count = 30
    """Trials of ASHA."""
    seed: int = Field(default=1, ge=0)
    """Seed of the drawing; the network's own is `train.seed`."""
    concurrent: Count | None = None
    """Trials side by side; None: as many as there is room for, one where a trial has several workers. Never changes
    what Hyperband finds; ASHA repeats itself with 1 alone."""
    workers: Count = 1
    """Data-parallel Ray Train workers of a trial."""
    gpus: float = Field(default=0.0, ge=0)
    """GPUs of a trial; 0.25 lets four share one. With several workers 0, or one for each of them."""
    filters: tuple[Count, ...] | Span = Span(low=16, high=64, step=16)
    """Filters of the convolution: a list, or a range such as { low = 16, high = 64, step = 16 }; likewise the next."""
    dense: tuple[Count, ...] | Span = Span(low=100, high=300, step=50)
    """Units of the dense layer."""
    dropout: tuple[Annotated[float, Field(ge=0, lt=1)], ...] | Span = Span(low=0.1, high=0.5, step=0.1)
    """Share of units dropped while training."""
    learning_rate: tuple[Annotated[float, Field(gt=0)], ...] | Span = (1e-2, 1e-3, 1e-4)
    """Adam's step."""

    @model_validator(mode="after")
    def _possible(self) -> "Tune":
        for name, lowest, highest in (
            ("filters", 1, None),
            ("dense", 1, None),
            ("dropout", 0, 1),
            ("learning_rate", 0, None),
        ):
            axis = getattr(self, name)
            if not isinstance(axis, Span):
                if not axis:
                    raise ValueError(f"{name} is empty; allowed: one value or more")
                continue
            whole = [axis.low, axis.step or 0.5]
            if name in ("filters", "dense") and not all(value == int(value) for value in whole):
                raise ValueError(f"{name} goes from {axis.low:g} by {axis.step}; allowed: whole numbers")
            if axis.low < lowest or (highest is not None and axis.high >= highest):
                raise ValueError(f"{name} goes from {axis.low:g} to {axis.high:g}; allowed: what `train.{name}` may be")
        if self.workers > 1 and self.gpus not in (0, self.workers):
            raise ValueError(
                f"gpus is {self.gpus:g} for trials of {self.workers} workers; allowed: 0 or {self.workers}, since a "
                "worker among several takes a whole one"
            )
        return self


class Costs(Section):
    """What trading costs. All but the first two are beyond backtesting.py (docs/perpetual-rules.md)."""

    commission: float = Field(default=0.001, ge=-0.1, lt=0.1)
    """Fee a side, as a fraction of value; the article's 0.1 %."""
    cash: float = Field(default=10_000_000.0, gt=0)
    """Starting cash in quote currency; where units are whole it must exceed a unit's price by far."""
    maker_commission: float | None = Field(default=None, ge=-0.1, lt=0.1)
    """Fee of orders that rest in the book (targets, limit entries); None: the same."""
    slippage: float = Field(default=0.0, ge=0, lt=1)
    """Fraction by which entries, stops and closes fill worse than the price."""
    lot_size: float = Field(default=1.0, gt=0)
    """Smallest step of a size in units; 1 trades whole units, 1e-8 next to any fraction."""
    minimum_notional: float = Field(default=0.0, ge=0)
    """Least value of an entry in quote currency."""
    maintenance_margin: float = Field(default=0.0, ge=0, lt=1)
    """Share of its value below which a position's margin may not fall, or it is liquidated within the bar; 0: never."""
    liquidation_fee: float = Field(default=0.0, ge=0, lt=1)
    """Fraction of the value of a liquidated position, on top of the commission."""
    missing_funding: Literal["refuse", "zero"] = "refuse"
    """Where `ingest.funding` lacks payments of a ticker: its failure, or 0 with their number in `metrics`."""


class Placebo(Section):
    """The same search where there is nothing to find."""

    repetitions: int = Field(default=5, ge=0)
    """Searches a ticker on block-shuffled signals, and as many on random walks of its volatility; 0 for none."""
    block: Count = 200
    """Bars in a block of shuffled signals: several times the pause between signals, far below the choose part."""
    seed: int = Field(default=1, ge=0)
    """Seed of the shuffling and of the walks; every ticker has one of its own, made of this one."""


class Shortlist(Section):
    """When a ticker is believed: rules on the judge part unless they say otherwise. None switches a rule off."""

    deflated_sharpe: Fraction | None = 0.95
    """Least probability that the Sharpe ratio exceeds what the best of the candidates would show by luck."""
    false_discovery_rate: Fraction | None = 0.1
    """Share of false entries accepted: by Benjamini and Hochberg's procedure, and by the placebos."""
    minimum_trades: Count | None = 30
    """Fewest trades."""
    minimum_return: float | None = 0.0
    """Return to exceed, as a fraction."""
    minimum_win_rate: Fraction | None = None
    """Least share of winning trades."""
    minimum_profit_factor: float | None = Field(default=None, gt=0)
    """Least sum of gains over sum of losses."""
    minimum_expectancy: float | None = None
    """Least mean return of a trade after costs, as a fraction."""
    minimum_sharpe: float | None = None
    """Least Sharpe ratio a year."""
    maximum_drawdown: Fraction | None = None
    """Largest fall from a peak of equity, as a fraction."""
    choose_deflated_sharpe: Fraction | None = None
    """Least deflated Sharpe ratio on the choose part, counting the effective number of trials of the search."""
    maximum_overfitting: Fraction | None = None
    """Largest probability of backtest overfitting of the search on the choose part."""


class Audit(Section):
    """How a run is checked for leakage (`jobs.audit`); docs/audit.md says what each check does."""

    tickers: Count = 8
    """Tickers that are audited, spread from the shortest history to the longest; the shortlisted ones come on top."""
    cuts: Count = 6
    """Instants a ticker at which the future is cut off and everything computed again."""
    labels: Count = 200
    """Labels a ticker that are computed again where all bars outside their horizon are replaced."""
    columns: Count = 12
    """Features by which it is told what the scaler was fitted on."""
    seed: int = Field(default=1, ge=0)
    """Seed of the instants, the labels, the columns and the walks."""
    gate: Literal["report", "stop", "off"] = "report"
    """What a leak does in the pipeline: it is shown, or it ends the run before the shortlist; "off" looks for none."""


class Protocols(Section):
    """What the article's protocol is taken to list (`jobs.protocols`): the least of the entries that it shows."""

    minimum_return: float = 0.25
    """Least return, as a fraction."""
    minimum_win_rate: Fraction = 0.59
    """Least share of winning trades."""
    minimum_expectancy: float = 0.004
    """Least mean return of a trade after costs, as a fraction."""
    minimum_sharpe: float = 0.59
    """Least Sharpe ratio a year."""


class Compare(Section):
    """Which runs are compared (`jobs.compare`)."""

    runs: tuple[str, ...] = ()
    """The two runs, where they are not the first two arguments."""

    @model_validator(mode="after")
    def _two(self) -> "Compare":
        if len(self.runs) not in (0, 2):
            raise ValueError(f"runs names {len(self.runs)} runs; allowed: two")
        return self


class Plan(Section):
    """The machines that `jobs.plan` reckons with; they decide nothing in a run."""

    nodes: Count = 1
    """Worker nodes."""
    cpus: int | None = Field(default=None, ge=1)
    """Cores of each; None: `workers`, or this machine's."""
    memory: float | None = Field(default=None, gt=0)
    """Memory of each in GB; None: this machine's."""
    gpu_nodes: int = Field(default=0, ge=0)
    """Worker nodes with a GPU, on which the model is trained and applied where `train.gpu` is set."""
    gpu_cpus: Count = 8
    """Cores of each of those."""
    node_start: float = Field(default=0.0, ge=0)
    """Seconds until a node is there that the autoscaler asked for; 0 where all are up."""
    price: float | None = Field(default=None, ge=0)
    """Price of a node for an hour, in any currency; None prints no cost."""
    gpu_price: float | None = Field(default=None, ge=0)
    """Price of a GPU node for an hour."""


class Status(Section):
    """How a run is watched (`jobs.status`)."""

    watch: bool = False
    """Whether to show it again and again, until the run has ended."""
    every: float = Field(default=10.0, gt=0)
    """Seconds between two looks."""


class Prune(Section):
    """What is removed of a store (`jobs.prune`)."""

    runs: tuple[str, ...] = ()
    """Runs to remove as a whole, whatever their age."""
    keep: int | None = Field(default=None, ge=0)
    """The newest so many runs stay and the others go; None sets no number."""
    older_than_days: float | None = Field(default=None, ge=0)
    """Runs that have not changed for so long go; None sets no age. With `keep`, a run goes by both or not at all."""
    quiet_hours: float = Field(default=24.0, gt=0)
    """A run that has not come to its end, and a write that has not ended, count as in progress for so long after they
    were last heard of."""
    delete: bool = False
    """Whether to remove what is shown."""


class RunConfig(Section):
    """The configuration of a run."""

    source: str = "demo"
    """"demo", "shapes" (a market in which shapes recur, for `jobs.patterns`), "samples"; or a file, a directory or a
    URL to read bars from; or "binance", its bulk data, or "ccxt:" with the name of an exchange, to fetch them from."""
    store: str = "store"
    """URL of the object store: a path, file://, s3:// or memory://."""
    run: str = "demo"
    """Name of the run within the store."""
    signals: str | None = None
    """URL of your own signals (ticker, time, signal 0/1/2; Parquet or CSV) in place of the CNN."""
    rule: str | None = None
    """Name of a registered rule (docs/rules.md) whose signals take the place of the CNN's; see `rules`."""
    model: str | None = None
    """URL of your own Keras model (.keras: windows of bars × features in, three probabilities out) in place of one
    trained here; it needs `scaler` and `predict.threshold`."""
    scaler: str | None = None
    """URL of that model's scaler, JSON as in the model folder of a run; its columns are features of `features.set`."""
    rejudge: str | None = None
    """Name of an earlier run in the same store, whose shortlist is judged again on the bars after its judge part:
    its model and its parameters are taken over, and nothing is trained or searched."""
    every: str | None = None
    """Length of time ("15m", "1h", "1d") after which `jobs.pipeline` runs again, just after each multiple of it since
    1970 UTC, until a signal ends it (docs/keeping-up.md); None: once. Other jobs leave it alone."""
    workers: int | None = Field(default=None, ge=1)
    """CPUs to use in local mode; None: all. Never changes a result."""
    address: str | None = None
    """Address of a Ray cluster to join; None: local, or the cluster that the job was submitted to."""
    worker_memory: float | None = Field(default=None, gt=0)
    """Memory in GB that is reserved for each worker of a stage, so that fewer run side by side on a node; None reserves
    nothing. Never changes a result."""
    tolerate: int = Field(default=0, ge=0)
    """Failed tickers accepted before the exit code says failure."""
    ingest: Ingest = Ingest()
    features: Features = Features()
    rules: Rules = Rules()
    labels: Labels = Labels()
    split: Split = Split()
    train: Train = Train()
    tune: Tune = Tune()
    predict: Predict = Predict()
    evaluate: Evaluate = Evaluate()
    ablate: Ablate = Ablate()
    patterns: Patterns = Patterns()
    search: Search = Search()
    costs: Costs = Costs()
    placebo: Placebo = Placebo()
    shortlist: Shortlist = Shortlist()
    audit: Audit = Audit()
    protocols: Protocols = Protocols()
    compare: Compare = Compare()
    plan: Plan = Plan()
    status: Status = Status()
    prune: Prune = Prune()

    @field_validator("every")
    @classmethod
    def _a_length_of_time(cls, value: str | None) -> str | None:
        if value is not None and _seconds(value) < 1:
            raise ValueError(
                "it is no length of time of a second or more; allowed: a whole number of s, m, h, d or w, as in 15m"
            )
        return value

    @model_validator(mode="after")
    def _one_source_of_signals(self) -> "RunConfig":
        given = self.given
        if len(given) > 1:
            raise ValueError(
                f"{' and '.join(given)} are {'both' if len(given) == 2 else 'all'} set; allowed: one of them"
            )
        if bool(self.model) != bool(self.scaler):
            raise ValueError("model and scaler belong together; allowed: both or neither")
        if self.model and self.predict.threshold is None:
            raise ValueError(
                "predict.threshold is missing; a model of your own needs one, since none is chosen on validate"
            )
        return self

    @model_validator(mode="after")
    def _clusters_that_can_be_traded(self) -> "RunConfig":
        if self.patterns.trade and self.patterns.protocol == "seed":
            raise ValueError(
                'patterns.trade is set with patterns.protocol "seed", whose clusters saw all bars; allowed: "honest"'
            )
        if self.patterns.trade and self.rejudge:
            raise ValueError(
                "patterns.trade and rejudge are both set; allowed: one of them, since clusters are traded in the run "
                "that found them"
            )
        return self

    @model_validator(mode="after")
    def _rule_with_its_features(self) -> "RunConfig":
        if self.rule:
            rules.columns(self.rule, self.features.set)
        return self

    @property
    def service(self) -> bool:
        """Whether the source is a service that market data is fetched from, into the store's archive."""
        return self.source == BULK or self.source.startswith(CCXT)

    @property
    def urls(self) -> dict[str, str]:
        """What the configuration reads from, beside the store, by the name of the setting."""
        read = {name: getattr(self, name) for name in ("source", "signals", "model", "scaler")}
        read["ingest.funding"] = self.ingest.funding if self.ingest.funding != OWN_FUNDING else None
        if self.source in EMBEDDED or self.service:
            del read["source"]
        return {name: url for name, url in read.items() if url}

    @property
    def every_seconds(self) -> float:
        """Seconds between two closes that the run is kept up with; 0 where it is run once."""
        return _seconds(self.every) if self.every else 0.0

    @property
    def given(self) -> tuple[str, ...]:
        """Settings that give the signals, or the model behind them, so that none is trained; one at most."""
        sources = {
            "model": self.model,
            "signals": self.signals,
            "rule": self.rule,
            "patterns.trade": self.patterns.trade,
        }
        return tuple(name for name, value in sources.items() if value)


def _seconds(length: str) -> float:
    """Seconds of a length of time such as "15m"; 0 for a text that is none."""
    found = re.fullmatch(rf"(\d+)([{''.join(UNITS)}])", length)
    return float(found[1]) * UNITS[found[2]] if found else 0.0
