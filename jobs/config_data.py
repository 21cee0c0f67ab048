"""Settings of the data: which bars are read, what describes them, what is foreseen, and how time is cut."""

from datetime import date, datetime
from typing import Literal
from zoneinfo import ZoneInfo

import pandas as pd
from pydantic import Field, model_validator

from jobs.config_parts import Count, Fraction, Section, seconds
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
    columns: dict[str, str] = Field(default={})
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
        return pd.Timedelta(seconds=seconds(self.bar)) if self.bar else None

    @model_validator(mode="after")
    def _readable(self) -> "Ingest":
        if self.bar is not None and not seconds(self.bar):
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
