"""An objective whose trials train on ranks of their own."""

from typing import Any

from actors.train import Context, run_training
from actors.trials import Trial
from tests.actors import nesting


def loop(config: dict[str, Any], context: Context) -> int:
    for epoch in range(1, config["until"] + 1):
        context.report({"epoch": epoch}, {"epoch.txt": b"kept"})
    return context.world_size


def climb(shared: dict[str, Any], trial: Trial) -> None:
    def report(metrics: dict[str, Any]) -> None:
        trial.report(metrics["epoch"], {"height": trial.configuration["rate"] * metrics["epoch"]})

    ranks = run_training(
        nesting.loop,
        {"until": trial.until},
        workers=2,
        storage_url=f"file://{shared['directory']}/{trial.folder}",
        name="ranks",
        cpus_per_worker=0.99,
        on_report=report,
    )
    for epoch in range(1, trial.until + 1):
        report({"epoch": epoch, "ranks": ranks})
