"""How many windows a second the CNN learns from, and what share of the device's peak that is.

    .venv/bin/python -m benchmarks.train_throughput
    .venv/bin/python -m benchmarks.train_throughput --ray --architecture cnn_tuned --filters 16 --dense 100
    KERAS_BACKEND=jax python -m benchmarks.train_throughput  # or torch; Keras, pandas and no TensorFlow are needed

On any backend it times `model.fit` on windows in memory. On TensorFlow it does so turn by turn with this project's
training: the whole loop on the same windows, its step on batches in memory, the step on windows that are cut from the
rows meanwhile; and prediction beside `model.predict`. With ``--ray`` the loop runs under Ray Train, too. With
``--deterministic`` all use operations that give the same bits on every run, as the jobs do. The peak is what a large
product of matrices reaches on the same backend. The last line is the rate of `model.fit` (or of Ray Train).
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np

if not __package__:  # run by its path, on a machine that has little but this checkout, Keras and pandas
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from quant import network, training
from quant.prefetch import prefetched

SIDE = 2_048  # of the matrices whose product tells the peak
# turn by turn, what each way is compared with
RATIOS = {
    "our training": "model.fit",
    "our step, arrays in memory": "model.fit",
    "our step, windows cut ahead": "our step, arrays in memory",
    "our prediction": "model.predict",
}


def main() -> None:
    """Print all rates, the last one alone on its line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architecture", default="cnn", choices=sorted(network.ARCHITECTURES))
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--features", type=int, default=193)
    parser.add_argument("--filters", type=int, default=64)
    parser.add_argument("--dense", type=int, default=128)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--batches", type=int, default=12, help="batches a turn")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--deterministic", action="store_true", help="as the jobs train")
    parser.add_argument("--ray", action="store_true", help="train under Ray Train with one worker as well")
    arguments = parser.parse_args()
    settings = vars(arguments)
    backend = keras.backend.backend()
    rates = measured(settings) if backend == "tensorflow" else {"model.fit": fitted(settings)}
    peak, flops = peak_of_device(), operations(settings)
    for name, values in rates.items():
        print(f"{name:<32} {spread(values, ',.0f')} samples/s", flush=True)
    for name, other in RATIOS.items():
        if name in rates:
            print(f"{name} / {other}: {spread(np.divide(rates[name], rates[other]), '.2f')}")
    rate = float(np.median(rates["model.fit"]))
    print(
        f"{backend}: {flops / 1e6:,.0f} million operations a sample and step, peak {peak / 1e9:,.0f} billion a second: "
        f"model.fit reaches {rate * flops / peak:.1%} of it"
    )
    if arguments.ray:
        # both are medians: the first epoch after another process has stopped is often a slow one
        pairs = [(np.median(fitted(settings)), np.median(under_ray(settings))) for _ in range(settings["turns"])]
        print(f"Ray Train, one worker / model.fit: {spread([ray / fit for fit, ray in pairs], '.2f')}")
        rate = float(np.median([ray for _, ray in pairs]))
    print(f"{rate:.1f} samples/s")


def spread(values: Any, form: str) -> str:
    """The median of the turns and between what they lie."""
    return f"{np.median(values):{form}} ({np.min(values):{form}} to {np.max(values):{form}})"


def build(settings: dict[str, Any]) -> keras.Model:
    """The network as asked for."""
    size = {name: settings[name] for name in ("filters", "dense")}
    return network.build(settings["architecture"], settings["steps"], settings["features"], dropout=0.3, seed=0, **size)


def arrays(settings: dict[str, Any]) -> training.Windows:
    """Random rows, and the windows of one turn in them."""
    generator = np.random.default_rng(0)
    count = settings["batch"] * settings["batches"]
    rows = generator.standard_normal((count + settings["steps"], settings["features"]), dtype=np.float32)
    ends = np.arange(settings["steps"], len(rows), dtype=np.int64)
    return training.Windows(rows, ends, generator.integers(0, 3, count).astype(np.int8))


def fitted(settings: dict[str, Any]) -> list[float]:
    """Samples a second of `model.fit` by turn, on any backend."""
    turn = fit_turn(settings)
    turn()
    return [turn() for _ in range(settings["turns"])]


def fit_turn(settings: dict[str, Any]) -> Callable[[], float]:
    """One epoch of `model.fit` on windows in memory; gives samples a second."""
    windows = arrays(settings)
    images = network.cut(windows.rows, windows.ends, settings["steps"])
    model = build(settings)
    model.compile(optimizer=keras.optimizers.Adam(1e-4), loss="sparse_categorical_crossentropy")

    def turn() -> float:
        started = time.perf_counter()
        model.fit(images, windows.labels, batch_size=settings["batch"], epochs=1, verbose=0, shuffle=False)
        return len(images) / (time.perf_counter() - started)

    return turn


def measured(settings: dict[str, Any], names: Collection[str] = ()) -> dict[str, list[float]]:
    """All ways on TensorFlow, or those named, turn by turn."""
    network.configure(settings["threads"], deterministic=settings["deterministic"])
    windows, size, length = arrays(settings), settings["batch"], settings["steps"]
    images = network.cut(windows.rows, windows.ends, length)
    learner = network.Learner(lambda: build(settings), learning_rate=1e-4)
    weights = np.full(size, 1 / size)

    def timed(run: Callable[[], Any]) -> float:
        started = time.perf_counter()
        run()
        return len(images) / (time.perf_counter() - started)

    def steps(batches: Iterable[Any]) -> None:
        for images, labels in batches:
            loss = learner.step(images, labels, weights)
        float(loss)  # the device is waited for

    def cut() -> Iterator[Any]:
        for ends, labels in zip(windows.ends.reshape(-1, size), windows.labels.reshape(-1, size), strict=True):
            yield network.cut(windows.rows, ends, length), labels

    kept = list(zip(images.reshape(-1, size, *images.shape[1:]), windows.labels.reshape(-1, size), strict=True))
    few = training.Windows(windows.rows, windows.ends[:64], windows.labels[:64])
    once = training.Settings(length, 1, batch=size)
    ways: dict[str, Callable[[], float]] = {
        "model.fit": fit_turn(settings),
        "our training": lambda: timed(lambda: training.fit(learner, windows, few, once)),
        "our step, arrays in memory": lambda: timed(lambda: steps(kept)),
        "our step, windows cut ahead": lambda: timed(lambda: steps(prefetched(cut(), 2))),
        "model.predict": lambda: timed(lambda: learner.model.predict(images, batch_size=size, verbose=0)),
        "our prediction": lambda: timed(
            lambda: network.predict(learner.model, windows.rows, windows.ends, length, size)
        ),
    }
    ways = {name: way for name, way in ways.items() if not names or name in names}
    for way in ways.values():
        way()
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(settings["turns"]):
        for name, way in ways.items():
            rates[name].append(way())
    return rates


def under_ray(settings: dict[str, Any]) -> list[float]:
    """Samples a second of the epochs of a training under Ray Train with one worker, validation left out."""
    from actors.connect import connect
    from actors.train import run_training

    with tempfile.TemporaryDirectory() as folder, connect(None, None):
        found: list[float] = run_training(
            on_rank, settings, workers=1, storage_url=f"file://{folder}", name="throughput", cpus_per_worker=1
        )
    return found


def on_rank(settings: dict[str, Any], _rank: Any) -> list[float]:
    """Our training, in a worker of Ray Train."""
    return measured(settings, ("our training",))["our training"]


def operations(settings: dict[str, Any]) -> float:
    """Multiplications and additions of a training step a sample: three times those of the forward pass."""
    total = 0.0
    for layer in build(settings).layers:
        kernel = getattr(layer, "kernel", None)
        if kernel is not None:
            # a kernel is applied at every place of the output
            places = int(np.prod(layer.output.shape[1:-1])) if len(layer.output.shape) > 2 else 1
            total += 2.0 * int(np.prod(kernel.shape)) * places
    return 3 * total


def peak_of_device() -> float:
    """Operations a second that a product of large matrices reaches."""
    one = keras.ops.convert_to_tensor(np.ones((SIDE, SIDE), dtype=np.float32))
    best = 0.0
    for _ in range(5):
        started = time.perf_counter()
        np.asarray(keras.ops.convert_to_numpy(keras.ops.matmul(one, one))[0, 0])
        best = max(best, 2.0 * SIDE**3 / (time.perf_counter() - started))
    return best


if __name__ == "__main__":
    main()
