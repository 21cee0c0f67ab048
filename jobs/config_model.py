"""Settings of the model and of the patterns: how they are fitted, tuned, applied and looked into."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from jobs.config_parts import Count, Fraction, Section, Span, Spans


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
