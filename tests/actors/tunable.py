"""Cheap objectives, and a driver to be killed: `python -m tests.actors.tunable DIRECTORY ALGORITHM`."""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from actors.connect import connect
from actors.trials import Result, Study, Trial
from actors.tune import Resources, run_asha, run_hyperband
from quant.samplers import Range
from storage.store import open_store
from tests.actors import tunable

SPACE = {"rate": Range(0.001, 0.1, log=True), "units": Range(16, 64, step=16), "kind": ("plain", "deep")}


def climb(shared: dict[str, Any], trial: Trial) -> None:
    """Come nearer to a height that the configuration decides, an epoch at a time, and note each epoch trained."""
    rate, units = trial.configuration["rate"], trial.configuration["units"]
    if rate < shared.get("fails_below", 0):
        raise ValueError(f"the rate {rate} is too low")
    if rate > shared.get("dies_above", 1):
        os._exit(1)
    state = json.loads(trial.state) if trial.state else {"epoch": 0, "height": 0.0}
    while state["epoch"] < trial.until:
        time.sleep(shared.get("seconds", 0))
        epoch = state["epoch"] + 1
        if epoch >= shared.get("fails_at", 99) and units == shared["fails_with"]:
            raise ValueError(f"{units} units are too many for epoch {epoch}")
        goal = units / 64 - abs(rate - 0.02) * 5
        state = {"epoch": epoch, "height": state["height"] + (goal - state["height"]) * 0.5}
        with (Path(shared["directory"]) / "epochs.txt").open("a") as trained:
            states = len(list(Path(shared["directory"]).rglob("state/state")))
            trained.write(f"{rate:.17g} {epoch} {states}\n")
        metrics = {"height": state["height"], "loss": 1 - state["height"]}
        trial.report(epoch, metrics, lambda: json.dumps(state).encode())  # noqa: B023 (called at once)
        if epoch >= shared.get("patience", 99):
            return


def study(directory: Path, **changes: Any) -> Study:
    directory.mkdir(parents=True, exist_ok=True)
    shared = {"directory": str(directory), **changes.pop("shared", {})}
    given: dict[str, Any] = {
        "objective": tunable.climb,
        "shared": shared,
        "space": SPACE,
        "metric": "height",
        "mode": "max",
        "epochs": 3,
        "factor": 3,
        "seed": 1,
        "records": open_store(str(directory)),
        "prefix": "tune",
        "identity": "one",
    }
    return Study(**{**given, **changes})


def tune(algorithm: str, given: Study, concurrent: int = 1) -> list[Result]:
    if algorithm == "hyperband":
        return run_hyperband(given, Resources(concurrent=concurrent))
    return run_asha(given, Resources(concurrent=concurrent), trials=8)


def main() -> None:
    directory, algorithm = Path(sys.argv[1]), sys.argv[2]
    with connect("local", 2):
        tune(algorithm, tunable.study(directory, shared={"seconds": 0.1}))


if __name__ == "__main__":
    main()
