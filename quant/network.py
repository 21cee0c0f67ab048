"""Convolutional networks over windows of features: building, training steps, prediction and the `.keras` file.

The only module that imports Keras and TensorFlow, and only when one of its functions is called: the import takes
seconds and gigabytes, which a process that merely reads `ARCHITECTURES` must not pay. Networks are built on any
backend of Keras; training and prediction are TensorFlow's.
"""

import contextlib
import functools
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from quant.model_file import LARGEST, ModelError, check
from quant.windows import cut

if TYPE_CHECKING:
    import keras

CLASSES = 3
Model: TypeAlias = "keras.Model"
Precision = Literal["float32", "bfloat16"]
Tower = Callable[[Any, int, int, float, int], Any]


@dataclass(frozen=True)
class Architecture:
    """A registered network: what lies between a window and the three probabilities, and the fewest bars it takes."""

    name: str
    version: int
    tower: Tower
    least_steps: int


ARCHITECTURES: dict[str, Architecture] = {}


def architecture(name: str, version: int, least_steps: int = 4) -> Callable[[Tower], Tower]:
    """Register a function (windows, filters, dense, dropout, seed) → n × units under a name.

    Raises
    ------
    ModelError
        Where the name is taken.
    """

    def register(tower: Tower) -> Tower:
        if name in ARCHITECTURES:
            raise ModelError(f"the architecture {name!r} is registered twice")
        ARCHITECTURES[name] = Architecture(name, version, tower, least_steps)
        return tower

    return register


@architecture("cnn", version=1)
def _first(windows: Any, filters: int, dense: int, dropout: float, seed: int) -> Any:
    """Build the article's first network: 4,670,595 parameters at 15 × 193, 64 filters and 128 units.

    Its pooling drops the last row and column of an odd convolved image: of 15 bars it never sees the newest, of 193
    features never the last. An even number of steps and of features is seen whole.
    """
    return _convolved_once(windows, filters, dense, dropout, seed, pooling="valid")


@architecture("cnn_whole", version=1)
def _whole(windows: Any, filters: int, dense: int, dropout: float, seed: int) -> Any:
    """Build the first network with padded pooling, which sees the whole window: 5,506,179 parameters as above."""
    return _convolved_once(windows, filters, dense, dropout, seed, pooling="same")


@architecture("cnn_tuned", version=1, least_steps=1)
def _tuned(windows: Any, filters: int, dense: int, dropout: float, seed: int) -> Any:
    """Build the article's tuned network: 7,762,519 parameters at 15 × 193, 16 filters and 100 units.

    It keeps a dense layer before flattening, so its size grows with dense² and the window's area.
    """
    layers = _keras().layers
    convolution = {"padding": "same", "activation": "relu", "kernel_initializer": _glorot(seed, 0)}
    pixels = layers.Conv2D(filters, 5, **convolution, name="convolution")(_image(windows))
    pixels = layers.MaxPooling2D(2, padding="same", name="pooling")(pixels)
    pixels = layers.Dense(dense, activation="relu", kernel_initializer=_glorot(seed, 1), name="dense_pixels")(pixels)
    flat = layers.Flatten(name="flatten")(layers.Dropout(dropout, seed=seed, name="dropout")(pixels))
    return layers.Dense(dense, activation="relu", kernel_initializer=_glorot(seed, 2), name="dense")(flat)


@architecture("causal", version=1, least_steps=1)
def _causal(windows: Any, filters: int, dense: int, dropout: float, seed: int) -> Any:
    """Build a temporal network: 120,003 parameters at 15 × 193, 64 filters and 128 units.

    Residual blocks of two convolutions over time that never look ahead, their dilation doubling until they reach over
    the window; what they say of its newest bar is the answer. The order of the features has no meaning to it. Source:
    Bai, Kolter and Koltun, "An Empirical Evaluation of Generic Convolutional and Recurrent Networks for Sequence
    Modeling" (2018), without its weight normalisation.
    """
    layers = _keras().layers
    steps, reach, block, hidden = windows.shape[1], 1, 0, windows
    while reach < steps or not block:
        known = (
            layers.Conv1D(filters, 1, kernel_initializer=_glorot(seed, 0), name="width")(hidden)
            if not block
            else hidden
        )
        for half in (0, 1):
            hidden = layers.Conv1D(
                filters,
                3,
                padding="causal",
                dilation_rate=2**block,
                activation="relu",
                kernel_initializer=_glorot(seed, 10 + 2 * block + half),
                name=f"convolution_{block}_{half}",
            )(hidden)
            hidden = layers.Dropout(dropout, seed=seed + 2 * block + half, name=f"dropout_{block}_{half}")(hidden)
        hidden = layers.Activation("relu", name=f"block_{block}")(layers.Add(name=f"sum_{block}")([known, hidden]))
        reach += 4 * 2**block
        block += 1
    newest = layers.Flatten(name="newest")(layers.Cropping1D((steps - 1, 0), name="crop")(hidden))
    return layers.Dense(dense, activation="relu", kernel_initializer=_glorot(seed, 1), name="dense")(newest)


def build(
    architecture: str,
    steps: int,
    features: int,
    *,
    filters: int,
    dense: int,
    dropout: float,
    seed: int,
    precision: Precision = "float32",
) -> Model:
    """Build a network (n × steps × features) → probabilities (n × 3) of neutral, long and short.

    Its initial weights and its dropout depend on nothing but the arguments.

    Parameters
    ----------
    architecture
        A name of `ARCHITECTURES`.
    steps, features
        Size of a window in bars and features; at least 4 features, and as many bars as the architecture needs.
    filters, dense
        Filters of the convolution, units of the dense layers.
    dropout
        Share of units dropped in training, from 0 to below 1.
    precision
        Of the arithmetic. With ``bfloat16`` (mixed precision) the weights and the probabilities stay float32; it is
        for devices that are faster at it, and a CPU is slower.

    Raises
    ------
    ModelError
        For an unknown architecture or a size that is not allowed.
    """
    if architecture not in ARCHITECTURES:
        raise ModelError(f"architecture {architecture!r} is unknown; known are {', '.join(sorted(ARCHITECTURES))}")
    chosen = ARCHITECTURES[architecture]
    if steps < chosen.least_steps or features < 4:
        raise ModelError(
            f"a window of {architecture} needs at least {chosen.least_steps} steps and 4 features, "
            f"not {steps} × {features}"
        )
    if min(filters, dense) < 1 or not 0 <= dropout < 1:
        raise ModelError(
            f"a network needs filters ≥ 1, dense ≥ 1 and 0 ≤ dropout < 1, not {filters}, {dense} and {dropout}"
        )
    keras = _keras()
    with _policy("float32" if precision == "float32" else "mixed_bfloat16"):
        inputs = keras.Input((steps, features), name="window", dtype="float32")
        units = chosen.tower(inputs, filters, dense, dropout, seed)
        outputs = keras.layers.Dense(
            CLASSES, activation="softmax", kernel_initializer=_glorot(seed, 9), name="probabilities", dtype="float32"
        )(units)
    return keras.Model(inputs, outputs, name=architecture)


def configure(threads: int, deterministic: bool = True) -> None:
    """Fix TensorFlow's threads, and ask for operations that give the same bits on every run.

    Call it before anything else of this module, once a process: both settings hold for all of it. Determinism costs up
    to half of the speed on a CPU.

    Raises
    ------
    ModelError
        Where TensorFlow already runs with another number of threads.
    """
    tensorflow = _tensorflow()
    try:
        tensorflow.config.threading.set_intra_op_parallelism_threads(threads)
        tensorflow.config.threading.set_inter_op_parallelism_threads(1)
    except RuntimeError as error:
        raise ModelError(f"TensorFlow already runs in this process and cannot be set to {threads} threads") from error
    if deterministic:
        tensorflow.config.experimental.enable_op_determinism()


def forget() -> None:
    """Let go of what Keras holds of the networks of this process, so that one after another takes no more memory."""
    keras = _keras()
    keras.utils.clear_session(free_memory=True)


class Learner:
    """A network in training on one of several ranks, each of which holds the same weights."""

    def __init__(
        self, builder: Callable[[], Model], *, learning_rate: float, ranks: int = 1, compiled: bool = False
    ) -> None:
        """Build the network and Adam, together with the other ranks.

        Parameters
        ----------
        builder
            Builds the network; the same on every rank.
        learning_rate
            Of Adam.
        ranks
            Number of ranks. Above 1 the environment must name the others in `TF_CONFIG`, and this must be the first
            use of TensorFlow in the process after `configure`.
        compiled
            Whether XLA compiles losses and gradients: faster on most GPUs, several times slower on a CPU. Not to be
            had with pooling where `configure` asked for determinism.

        Raises
        ------
        ModelError
            Where another number of replicas than `ranks` was found.
        """
        keras, tensorflow = _keras(), _tensorflow()
        distribution = tensorflow.distribute
        strategy = distribution.MultiWorkerMirroredStrategy() if ranks > 1 else distribution.get_strategy()
        if strategy.num_replicas_in_sync != ranks:
            raise ModelError(
                f"training was to run on {ranks} ranks of one device each, but TensorFlow found "
                f"{strategy.num_replicas_in_sync} replicas"
            )
        with strategy.scope():
            self.model = builder()
            self.optimizer = keras.optimizers.Adam(learning_rate)
            self.optimizer.build(self.model.trainable_variables)
        self._learning_rate = learning_rate

        def reduce(function: Callable[..., Any], *arguments: Any) -> Any:
            return strategy.reduce(distribution.ReduceOp.SUM, strategy.run(function, args=arguments), axis=None)

        def slope(windows: Any, labels: Any, weights: Any) -> Any:
            with tensorflow.GradientTape() as tape:
                probabilities = self.model(windows, training=True)
                losses = keras.losses.sparse_categorical_crossentropy(labels, probabilities)
                loss = tensorflow.reduce_sum(losses * weights)
            return loss, tape.gradient(loss, self.model.trainable_variables)

        slope = tensorflow.function(slope, jit_compile=True) if compiled else slope

        def step(windows: Any, labels: Any, weights: Any) -> Any:
            loss, gradients = slope(windows, labels, weights)
            # sums the gradients over the replicas
            self.optimizer.apply_gradients(zip(gradients, self.model.trainable_variables, strict=True))
            return loss

        self._step = tensorflow.function(lambda *batch: reduce(step, *batch))
        self._total = tensorflow.function(lambda values: reduce(lambda mine: mine, values))

    def step(
        self, windows: npt.NDArray[np.float32], labels: npt.NDArray[Any], weights: npt.NDArray[np.floating[Any]]
    ) -> Any:
        """Take one step of Adam on this rank's share of a batch, together with the other ranks.

        Parameters
        ----------
        windows, labels
            Arrays (n × steps × features) and (n); n must be the same on every rank.
        weights
            Array (n) of what each window's loss counts, over the size of the whole batch.

        Returns
        -------
        The weighted loss of the whole batch, as a tensor, so that a device need not be waited for.

        Raises
        ------
        ModelError
            Where a window holds a value that is not finite.
        """
        _check_finite(windows)
        return self._step(windows, labels.astype(np.int32), weights.astype(np.float32))

    def scale_rate(self, share: float) -> None:
        """Set the learning rate of the steps that follow to a share of what it was made with."""
        self.optimizer.learning_rate = self._learning_rate * share

    def total(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Sum an array over the ranks; the same bits on every rank."""
        return np.asarray(self._total(values), dtype=np.float64)

    def state(self) -> list[npt.NDArray[Any]]:
        """All that the next step depends on: weights, dropout's counters, Adam's moments."""
        return [np.asarray(variable) for variable in self._variables()]

    def set_state(self, arrays: Sequence[npt.NDArray[Any]]) -> None:
        """Put back what `state` gave.

        Raises
        ------
        ModelError
            Where the arrays are of another network.
        """
        variables = self._variables()
        expected = [tuple(variable.shape) for variable in variables]
        if expected != [array.shape for array in arrays]:
            raise ModelError(
                f"the training state holds {len(arrays)} arrays that do not fit the network {self.model.name!r} "
                f"with its {len(variables)} variables: it belongs to another configuration"
            )
        for variable, array in zip(variables, arrays, strict=True):
            variable.assign(array)

    def _variables(self) -> list[Any]:
        return [*self.model.variables, *self.optimizer.variables]


def predict(
    model: Model,
    rows: npt.NDArray[np.float32],
    ends: npt.NDArray[np.int64],
    length: int,
    batch: int = 2048,
) -> npt.NDArray[np.float32]:
    """Compute the probabilities of the windows that end at given rows.

    Parameters
    ----------
    rows
        Array (n_rows × features), scaled.
    ends
        Array (n) of the positions of the windows' last rows.
    length
        Rows of a window.
    batch
        Windows at a time. The last digits depend on it and on the number of threads.

    Returns
    -------
    Array (n × 3) float32 of neutral, long and short.

    Raises
    ------
    ModelError
        Where the windows do not have the model's shape, the rows are not float32, or a window holds a value that is
        not finite.
    """
    expected = tuple(model.input_shape[1:])
    given = (length, rows.shape[-1])
    if expected != given or rows.dtype != np.float32:
        raise ModelError(
            f"the model {model.name!r} takes float32 windows of {expected} (steps, features), "
            f"not {rows.dtype} ones of {given}"
        )
    forward = _forward(model)
    probabilities = np.empty((len(ends), CLASSES), dtype=np.float32)
    for start in range(0, len(ends), batch):
        windows = cut(rows, ends[start : start + batch], length)
        _check_finite(windows)
        probabilities[start : start + batch] = forward(windows)
    return probabilities


def save(model: Model) -> bytes:
    """Give the `.keras` file of a model: architecture and weights, without the optimiser."""
    with tempfile.NamedTemporaryFile(suffix=".keras") as file:  # Keras' public interface knows paths only
        model.save(file.name)
        return file.read()


def load(data: bytes, source: str = "model.keras", limit: int = LARGEST) -> Model:
    """Read a `.keras` file, without running any code that it may hold.

    Parameters
    ----------
    data
        The file's bytes.
    source
        What the error names.
    limit
        Bytes above which the file is refused, packed or unpacked.

    Raises
    ------
    ModelError
        Where the file is damaged, too large, or holds a layer with code of its own (`Lambda`).
    """
    check(data, source, limit)
    keras = _keras()
    with tempfile.NamedTemporaryFile(suffix=".keras") as file:
        file.write(data)
        file.flush()
        try:
            return keras.saving.load_model(file.name, compile=False, safe_mode=True)
        except Exception as error:  # a malformed configuration makes Keras raise whatever its layers raise
            raise ModelError(
                f"{source} is no model that Keras can read: {str(error).strip().splitlines()[0]}"
            ) from error


def window_of(model: Model, source: str = "model.keras") -> tuple[int, int]:
    """Return how many bars and features a model takes, once it is known to give three probabilities for them.

    Raises
    ------
    ModelError
        Where it does not take windows (n × steps × features), or does not give probabilities (n × 3).
    """
    inputs, outputs = model.input_shape, model.output_shape
    if not (isinstance(inputs, tuple) and len(inputs) == 3 and all(inputs[1:])) or outputs != (None, CLASSES):
        raise ModelError(
            f"{source} takes {inputs} and gives {outputs}; needed: windows (None, steps, features) of a fixed size, "
            f"and (None, {CLASSES}) probabilities of neutral, long and short"
        )
    steps, features = inputs[1:]
    drawn = np.random.default_rng(0).standard_normal((16, steps, features)).astype(np.float32)
    given = _forward(model)(drawn)
    if not (np.isfinite(given).all() and (given >= 0).all() and np.allclose(given.sum(axis=1), 1, atol=1e-3)):
        raise ModelError(f"{source} gives {given[0].tolist()}, which are no probabilities; needed: softmax at its end")
    return steps, features


@functools.lru_cache(maxsize=16)  # `jobs.protocols` asks one model after another
def _forward(model: Model) -> Callable[[npt.NDArray[np.float32]], Any]:
    """Compile a model once for batches of any size; a trace for each ticker would cost more than its prediction."""
    tensorflow = _tensorflow()
    signature = tensorflow.TensorSpec((None, *model.input_shape[1:]), tensorflow.float32)
    compiled = tensorflow.function(lambda windows: model(windows, training=False), input_signature=[signature])
    return lambda windows: compiled(windows).numpy()


@contextlib.contextmanager
def _policy(name: str) -> Iterator[None]:
    """Precision of the layers built meanwhile; Keras has a setting of the process for it."""
    config = _keras().config
    before = config.dtype_policy()
    config.set_dtype_policy(name)
    try:
        yield
    finally:
        config.set_dtype_policy(before)


def _check_finite(windows: npt.NDArray[np.float32]) -> None:
    # the activation turns NaN into 0, so that nothing later would show it
    if not np.isfinite(windows).all():
        feature = int(np.flatnonzero(~np.isfinite(windows).all(axis=(0, 1)))[0])
        raise ModelError(f"a window holds a value that is not finite, first in the feature at position {feature}")


def _image(windows: Any) -> Any:
    """Windows with a channel, so that a convolution runs over bars and features alike."""
    return _keras().layers.Reshape((*windows.shape[1:], 1), name="image")(windows)


def _convolved_once(windows: Any, filters: int, dense: int, dropout: float, seed: int, pooling: str) -> Any:
    layers = _keras().layers
    pixels = layers.Conv2D(filters, 3, activation="relu", kernel_initializer=_glorot(seed, 0), name="convolution")(
        _image(windows)
    )
    flat = layers.Flatten(name="flatten")(layers.MaxPooling2D(2, padding=pooling, name="pooling")(pixels))
    units = layers.Dense(dense, activation="relu", kernel_initializer=_glorot(seed, 1), name="dense")(flat)
    return layers.Dropout(dropout, seed=seed, name="dropout")(units)


def _glorot(seed: int, layer: int) -> Any:
    return _keras().initializers.GlorotUniform(seed=seed * 10 + layer if layer < 10 else seed * 1_000 + layer)


def _keras() -> Any:
    import keras

    return keras


def _tensorflow() -> Any:
    backend = _keras().backend.backend()
    if backend != "tensorflow":
        raise ModelError(f"Keras runs on {backend!r} here; needed to train and predict: KERAS_BACKEND=tensorflow")
    import tensorflow

    return tensorflow
