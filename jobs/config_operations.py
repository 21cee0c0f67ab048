"""Settings of the jobs about runs: plans, watching, clearing up."""

from typing import Literal

from pydantic import Field

from jobs.config_parts import Count, Section


class Plan(Section):
    """What `jobs.plan` foretells, and the machines that it reckons with; they decide nothing in a run."""

    job: Literal["pipeline", "protocols"] = "pipeline"
    """What `jobs.plan` foretells: the run, or the run with the article's models and protocols beside it."""
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
