"""The configuration of a run: one frozen model, validated before anything starts.

Every job reads the same model, from ``--config run.toml`` and from flags that override it (``--labels.horizon 8``). Its
sections are in ``config_data``, ``config_model``, ``config_verdict`` and ``config_operations``. The defaults are the
demo's. ``docs/configuration.md`` is generated from it.
"""

from pydantic import Field, field_validator, model_validator

from jobs.config_data import BULK, CCXT, EMBEDDED, OWN_FUNDING, Features, Ingest, Labels, Rules, Split
from jobs.config_model import Ablate, Evaluate, Patterns, Predict, Train, Tune
from jobs.config_operations import Plan, Prune, Status
from jobs.config_parts import Section, seconds
from jobs.config_verdict import Audit, Compare, Costs, Placebo, Protocols, Search, Shortlist
from quant import rules


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
        if value is not None and seconds(value) < 1:
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
        return seconds(self.every) if self.every else 0.0

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
