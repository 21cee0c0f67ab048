"""Settings of the verdict: what is searched, what trading costs, and when a ticker is believed."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from jobs.config_parts import Count, Fraction, Section, Sides, Span, Spans


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
