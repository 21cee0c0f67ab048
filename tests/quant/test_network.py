import io
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest

from quant import network, training
from quant.model_file import ModelError
from quant.windows import cut

# Keras 3.15 copies weights by np.array(variable), which NumPy 2 objects to
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

LENGTH, FEATURES = 15, 8


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    network.configure(threads=1)


def small(seed: int = 0, dropout: float = 0.2) -> network.Learner:
    def builder() -> object:
        return network.build("cnn_whole", LENGTH, FEATURES, filters=8, dense=32, dropout=dropout, seed=seed)

    return network.Learner(builder, learning_rate=8e-3)


def pattern(count: int = 3000, seed: int = 0, threshold: float = 0.25, noise: float = 0.0) -> training.Windows:
    """Windows whose class is told by the mean of feature 2 over the last three rows, the newest among them."""
    generator = np.random.default_rng(seed)
    rows = generator.standard_normal((count + LENGTH - 1, FEATURES)).astype(np.float32)
    ends = np.arange(LENGTH - 1, len(rows))
    told = rows[ends[:, None] - np.arange(3), 2].mean(axis=1) + noise * generator.standard_normal(count)
    labels = np.where(told > threshold, 1, np.where(told < -threshold, 2, 0))
    return training.Windows(rows, ends, labels.astype(np.int8))


SETTINGS = training.Settings(length=LENGTH, epochs=4, batch=64, patience=4)


def predicted(learner: network.Learner, windows: training.Windows) -> np.ndarray:
    return network.predict(learner.model, windows.rows, windows.ends, LENGTH).argmax(axis=1)


def recall(predicted: np.ndarray, labels: np.ndarray) -> float:
    return float(np.mean([np.mean(predicted[labels == code] == code) for code in (1, 2)]))


@pytest.mark.parametrize(
    ("name", "filters", "dense", "parameters"),
    [
        ("cnn", 64, 128, 4_670_595),
        ("cnn_whole", 64, 128, 5_506_179),
        ("cnn_tuned", 16, 100, 7_762_519),
        ("causal", 64, 128, 120_003),
    ],
)
def test_networks_have_the_size_that_they_state(name: str, filters: int, dense: int, parameters: int) -> None:
    model = network.build(name, 15, 193, filters=filters, dense=dense, dropout=0.5, seed=0)
    assert model.count_params() == parameters


@pytest.mark.parametrize(("name", "sees"), [("cnn", False), ("cnn_whole", True), ("cnn_tuned", True), ("causal", True)])
def test_the_newest_of_fifteen_bars_is_seen_by_all_but_the_articles_first(name: str, sees: bool) -> None:
    model = network.build(name, 15, 8, filters=8, dense=16, dropout=0.5, seed=0)
    windows = np.random.default_rng(0).standard_normal((20, 15, 8)).astype(np.float32)
    moved = windows.copy()
    moved[:, -1] += 1.0
    assert np.array_equal(model(windows), model(moved)) != sees


@pytest.mark.parametrize("name", network.ARCHITECTURES)
def test_every_architecture_gives_probabilities_of_narrow_windows(name: str) -> None:
    model = network.build(name, LENGTH, FEATURES, filters=4, dense=8, dropout=0.5, seed=0)
    windows = pattern(50)
    probabilities = network.predict(model, windows.rows, windows.ends, LENGTH, batch=16)
    assert probabilities.shape == (50, 3)
    assert probabilities.dtype == np.float32
    assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("name", ["cnn_tuned", "causal"])
def test_a_window_of_one_bar_is_taken_by_those_that_pad(name: str) -> None:
    model = network.build(name, 1, 8, filters=4, dense=8, dropout=0.1, seed=0)
    assert model(np.zeros((2, 1, 8), dtype=np.float32)).shape == (2, 3)


@pytest.mark.parametrize("steps", [1, 5, 15, 40])
def test_the_causal_network_sees_every_bar(steps: int) -> None:
    model = network.build("causal", steps, 6, filters=8, dense=16, dropout=0.0, seed=3)
    window = np.random.default_rng(0).standard_normal((1, steps, 6)).astype(np.float32)
    for bar in range(steps):
        moved = window.copy()
        moved[:, bar] += 3.0
        assert not np.array_equal(model(window), model(moved)), bar


def test_a_causal_convolution_does_not_look_ahead() -> None:
    model = network.build("causal", 15, 6, filters=8, dense=16, dropout=0.0, seed=3)
    keras = network._keras()
    inner = keras.Model(model.input, model.get_layer("block_1").output)
    window = np.random.default_rng(0).standard_normal((1, 15, 6)).astype(np.float32)
    moved = window.copy()
    moved[:, 10:] += 1.0
    assert np.array_equal(inner(window)[:, :10], inner(moved)[:, :10])
    assert not np.array_equal(inner(window)[:, 10:], inner(moved)[:, 10:])


def test_an_architecture_is_registered_once() -> None:
    with pytest.raises(ModelError, match="'cnn' is registered twice"):
        network.architecture("cnn", version=2)(lambda windows, filters, dense, dropout, seed: windows)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "rnn"}, "'rnn' is unknown; known are causal, cnn, cnn_tuned, cnn_whole"),
        ({"steps": 1}, "a window of cnn needs at least 4 steps.* not 1 × 8"),
        ({"dropout": 1.0}, "dropout < 1"),
        ({"filters": 0}, "filters ≥ 1"),
    ],
)
def test_impossible_networks_are_refused(changes: dict[str, object], message: str) -> None:
    size = {"architecture": "cnn", "steps": 15, "features": 8, "filters": 4, "dense": 8, "dropout": 0.1, "seed": 0}
    with pytest.raises(ModelError, match=message):
        network.build(**{**size, **changes})


def test_initial_weights_follow_the_seed() -> None:
    one, same, other = (small(seed).model.get_weights() for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(one, same, strict=True))
    assert not np.array_equal(one[0], other[0])


def test_learns_a_planted_pattern() -> None:
    learner = small()
    course = training.fit(learner, pattern(), pattern(800, seed=1), replace(SETTINGS, epochs=8))
    unseen = pattern(1500, seed=2)
    accuracy = np.mean(predicted(learner, unseen) == unseen.labels)
    assert accuracy > 0.65 > np.bincount(unseen.labels).max() / 1500 + 0.3
    assert course.history[-1].loss < course.history[0].loss
    assert [metrics.epoch for metrics in course.history] == list(range(1, len(course.history) + 1))


def test_batches_of_all_ranks_make_up_the_batch_of_one() -> None:
    whole = list(training.batches(103, 20, seed=[4, 2], rank=0, ranks=1))
    shares = [list(training.batches(103, 20, [4, 2], rank, 4)) for rank in range(4)]
    assert len(whole) == 5
    for step, batch in enumerate(whole):
        assert np.array_equal(np.concatenate([share[step] for share in shares]), batch)
    assert len(np.unique(np.concatenate(whole))) == 100
    assert not np.array_equal(whole[0], next(training.batches(103, 20, [4, 3], 0, 1)))
    assert [len(batch) for batch in training.batches(7, 64, [0, 1], 1, 2)] == [3]


def test_class_weights_are_scikit_learns_and_leave_out_what_does_not_occur() -> None:
    from sklearn.utils.class_weight import compute_class_weight

    labels = np.random.default_rng(0).choice(3, 1000, p=[0.8, 0.15, 0.05]).astype(np.int8)
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    assert np.allclose(training.balanced_weights(labels), expected)
    assert training.balanced_weights(np.array([0, 0, 0, 1], dtype=np.int8)).tolist() == [4 / 6, 2.0, 0.0]


def test_class_weights_make_a_rare_class_found() -> None:
    train, validate, unseen = (pattern(n, seed, 0.9, noise=0.25) for n, seed in ((3000, 0), (600, 1), (2000, 2)))
    found = []
    for weighted in (True, False):
        learner = small()
        training.fit(learner, train, validate, replace(SETTINGS, class_weights=weighted))
        found.append(recall(predicted(learner, unseen), unseen.labels))
    assert found[0] > found[1] + 0.2


def test_the_same_seed_gives_the_same_bits_and_another_does_not() -> None:
    train, validate = pattern(1000), pattern(300, seed=1)
    outcomes = []
    for seed in (0, 0, 1):
        learner = small()
        training.fit(learner, train, validate, replace(SETTINGS, epochs=2, seed=seed))
        outcomes.append(learner.model.get_weights())
    assert all(np.array_equal(a, b) for a, b in zip(outcomes[0], outcomes[1], strict=True))
    assert not np.array_equal(outcomes[0][0], outcomes[2][0])


def test_resumed_training_equals_uninterrupted_training() -> None:
    train, validate = pattern(1000), pattern(300, seed=1)
    states: list[bytes] = []
    whole = small()
    course = training.fit(whole, train, validate, SETTINGS, on_epoch=lambda metrics, state: states.append(state()))
    resumed = small(seed=9)
    again = training.fit(resumed, train, validate, SETTINGS, state=states[1])
    assert len(course.history) == 4
    assert again == course
    for one, other in zip(whole.model.get_weights(), resumed.model.get_weights(), strict=True):
        assert np.array_equal(one, other)
    finished = small(seed=9)
    assert training.fit(finished, train, validate, SETTINGS, state=states[-1]) == course
    assert np.array_equal(finished.model.get_weights()[0], whole.model.get_weights()[0])


@pytest.mark.parametrize("metric", ["log_loss", "macro_f1"])
def test_early_stopping_restores_the_best_epoch(metric: str) -> None:
    generator = np.random.default_rng(0)
    train, validate = pattern(400), pattern(400, seed=1)
    noise = replace(train, labels=generator.integers(0, 3, 400).astype(np.int8))
    weights: list[list[np.ndarray]] = []
    learner = small(dropout=0.0)
    settings = replace(SETTINGS, epochs=40, batch=32, patience=2, metric=metric)
    course = training.fit(
        learner, noise, validate, settings, on_epoch=lambda *_: weights.append(learner.model.get_weights())
    )
    scores = [-m.validation_loss if metric == "log_loss" else m.macro_f1 for m in course.history]
    assert course.best_epoch == int(np.argmax(scores)) + 1
    assert len(course.history) == course.best_epoch + 2 < 40
    for best, last, now in zip(weights[course.best_epoch - 1], weights[-1], learner.model.get_weights(), strict=True):
        assert np.array_equal(best, now)
        assert not np.array_equal(last, now)


def test_validation_loss_is_the_weighted_log_loss() -> None:
    train, validate = pattern(500, threshold=0.7), pattern(300, seed=1)
    learner = small()
    (metrics,) = training.fit(learner, train, validate, replace(SETTINGS, epochs=1)).history
    probabilities = network.predict(learner.model, validate.rows, validate.ends, LENGTH).astype(np.float64)
    weights = training.balanced_weights(train.labels)[validate.labels]
    losses = -np.log(probabilities[np.arange(300), validate.labels])
    assert metrics.validation_loss == pytest.approx(np.average(losses, weights=weights), rel=1e-6)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda state: state[: len(state) // 2], "damaged"),
        (lambda state: b"", "of 0 bytes is damaged"),
        (lambda state: state[:2000] + bytes(64) + state[2064:], "damaged"),
    ],
)
def test_a_damaged_state_is_refused(damage: Callable[[bytes], bytes], message: str) -> None:
    train, validate, states = pattern(200), pattern(100, seed=1), []
    settings = replace(SETTINGS, epochs=1)
    training.fit(small(), train, validate, settings, on_epoch=lambda metrics, state: states.append(state()))
    with pytest.raises(training.TrainingStateError, match=message):
        training.fit(small(), train, validate, settings, state=damage(states[0]))


def test_a_state_of_another_network_is_refused() -> None:
    train, validate, states = pattern(200), pattern(100, seed=1), []
    settings = replace(SETTINGS, epochs=1)
    training.fit(small(), train, validate, settings, on_epoch=lambda metrics, state: states.append(state()))
    other = network.Learner(
        lambda: network.build("cnn_whole", LENGTH, FEATURES, filters=5, dense=32, dropout=0.2, seed=0),
        learning_rate=1e-3,
    )
    with pytest.raises(ModelError, match="belongs to another configuration"):
        training.fit(other, train, validate, settings, state=states[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: replace(w, ends=w.ends[:0], labels=w.labels[:0]), "fit part has 0 windows"),
        (lambda w: replace(w, labels=w.labels[:-1]), "99 labels of 100 windows"),
        (lambda w: replace(w, labels=np.full(100, 7, np.int8)), r"\[7\]"),
        (lambda w: replace(w, labels=np.zeros(100, np.int8)), r"classes \[0\]"),
    ],
)
def test_windows_that_cannot_be_trained_on_are_refused(
    change: Callable[[training.Windows], training.Windows], message: str
) -> None:
    with pytest.raises(training.TrainingDataError, match=message):
        training.fit(small(), change(pattern(100)), pattern(50, seed=1), SETTINGS)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(value: float) -> None:
    windows = pattern(100)
    windows.rows[60, 5] = value
    with pytest.raises(ModelError, match="not finite, first in the feature at position 5"):
        training.fit(small(), windows, pattern(50, seed=1), SETTINGS)
    with pytest.raises(ModelError, match="not finite"):
        network.predict(small().model, windows.rows, windows.ends, LENGTH)


def test_a_training_that_diverges_is_stopped() -> None:
    learner = network.Learner(lambda: small().model, learning_rate=1e30)
    with pytest.raises(training.TrainingDataError, match=r"no number in epoch 1.*learning rate"):
        training.fit(learner, pattern(400), pattern(50, seed=1), SETTINGS)


def test_a_batch_must_be_shared_evenly() -> None:
    with pytest.raises(training.TrainingDataError, match="64 windows cannot be shared evenly by 3 ranks"):
        training.fit(small(), pattern(100), pattern(50, seed=1), SETTINGS, ranks=3)


def test_predictions_are_those_of_the_model_window_by_window() -> None:
    learner, windows = small(), pattern(100)
    probabilities = network.predict(learner.model, windows.rows, windows.ends[::-1], LENGTH, batch=7)
    direct = np.asarray(learner.model(cut(windows.rows, windows.ends[::-1], LENGTH), training=False))
    assert np.allclose(probabilities, direct, atol=1e-6)
    assert network.predict(learner.model, windows.rows, windows.ends[:0], LENGTH).shape == (0, 3)


def test_predict_follows_the_weights_after_its_first_call() -> None:
    learner, windows = small(), pattern(10)
    before = network.predict(learner.model, windows.rows, windows.ends, LENGTH)
    learner.model.set_weights([weight + 0.1 for weight in learner.model.get_weights()])
    assert not np.allclose(before, network.predict(learner.model, windows.rows, windows.ends, LENGTH))


@pytest.mark.parametrize(
    ("rows", "length"),
    [(np.zeros((40, 9), np.float32), 15), (np.zeros((40, 8), np.float32), 14), (np.zeros((40, 8)), 15)],
)
def test_windows_that_do_not_fit_the_model_are_named(rows: np.ndarray, length: int) -> None:
    with pytest.raises(ModelError, match=r"takes float32 windows of \(15, 8\)"):
        network.predict(small().model, rows, np.array([20]), length)


def test_a_saved_model_predicts_the_same_and_holds_no_optimizer() -> None:
    learner, windows = small(), pattern(300)
    training.fit(learner, windows, pattern(100, seed=1), replace(SETTINGS, epochs=1))
    data = network.save(learner.model)
    loaded = network.load(data)
    assert zipfile.is_zipfile(io.BytesIO(data))
    for ends in (windows.ends, windows.ends[:1]):
        expected = network.predict(learner.model, windows.rows, ends, LENGTH)
        assert np.array_equal(network.predict(loaded, windows.rows, ends, LENGTH), expected)
    assert len(data) < 4 * learner.model.count_params() + 40_000


def test_a_model_saved_after_fit_is_read_without_what_it_was_compiled_with() -> None:
    windows, model = pattern(50), small().model
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(cut(windows.rows, windows.ends, LENGTH), windows.labels, shuffle=False, verbose=0)
    loaded = network.load(network.save(model))
    assert not hasattr(loaded, "optimizer")
    expected = network.predict(model, windows.rows, windows.ends, LENGTH)
    assert np.array_equal(network.predict(loaded, windows.rows, windows.ends, LENGTH), expected)


def test_a_model_with_code_of_its_own_is_refused() -> None:
    import keras

    inputs = keras.Input((LENGTH, FEATURES))
    by_lambda = keras.Model(inputs, keras.layers.Lambda(lambda x: x * 2, output_shape=(LENGTH, FEATURES))(inputs))
    with pytest.raises(ModelError, match=r"stolen.keras holds 'Lambda' of 'keras.layers', which could run code"):
        network.load(network.save(by_lambda), source="stolen.keras")


def test_a_configuration_that_names_a_function_is_refused() -> None:
    harmless = network.save(small().model)
    forged = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(harmless)) as source, zipfile.ZipFile(forged, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            if name == "config.json":
                reach = b'{"module": "builtins", "class_name": "function", "config": "eval", "registered_name": "eval"}'
                assert b'"relu"' in content
                content = content.replace(b'"relu"', reach)
            target.writestr(name, content)
    with pytest.raises(ModelError, match="'function' of 'builtins'"):
        network.load(forged.getvalue())


def test_damaged_models_are_refused() -> None:
    data = network.save(small().model)
    flipped = bytearray(data)
    flipped[len(data) // 2] ^= 0xFF
    for damaged in (b"", b"no zip", data[:10], data[: len(data) // 2], data[:-1], bytes(flipped)):
        with pytest.raises(ModelError, match=r"model\.keras is (damaged|not a whole)"):
            network.load(damaged)


def test_a_model_whose_weights_do_not_fit_is_refused() -> None:
    small_model, forged = network.save(small().model), io.BytesIO()
    large = network.save(network.build("cnn_whole", LENGTH, FEATURES, filters=9, dense=32, dropout=0.2, seed=0))
    with (
        zipfile.ZipFile(io.BytesIO(small_model)) as one,
        zipfile.ZipFile(io.BytesIO(large)) as other,
        zipfile.ZipFile(forged, "w") as target,
    ):
        for name in one.namelist():
            target.writestr(name, (other if name == "config.json" else one).read(name))
    with pytest.raises(ModelError, match="no model that Keras can read"):
        network.load(forged.getvalue())


def test_a_large_model_is_refused_packed_and_unpacked() -> None:
    data = network.save(small().model)
    with pytest.raises(ModelError, match="at most 1,000 are allowed"):
        network.load(data, limit=1000)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target:
        target.writestr("model.weights.h5", bytes(3_000_000))
    with pytest.raises(ModelError, match="unpacks to 3,000,000 bytes"):
        network.load(packed.getvalue(), limit=100_000)


def test_threads_cannot_be_changed_once_tensorflow_runs() -> None:
    small()
    network.configure(threads=1)
    with pytest.raises(ModelError, match="cannot be set to 3 threads"):
        network.configure(threads=3)


class Parted:
    """Windows in several groups, each with rows of its own."""

    def __init__(self, whole: training.Windows, count: int) -> None:
        self.pieces = [
            training.Windows(
                cut(whole.rows, ends, LENGTH).reshape(-1, FEATURES), np.arange(1, len(ends) + 1) * LENGTH - 1, classes
            )
            for ends, classes in zip(
                np.array_split(whole.ends, count), np.array_split(whole.labels, count), strict=True
            )
        ]
        self.labels = whole.labels

    def groups(self, generator: np.random.Generator | None = None) -> Iterator[training.Windows]:
        order = np.arange(len(self.pieces)) if generator is None else generator.permutation(len(self.pieces))
        yield from (self.pieces[position] for position in order)


def test_a_feed_of_groups_is_learned_from_as_well_as_one() -> None:
    train, validate, judge = pattern(), pattern(600, seed=1), pattern(1000, seed=2)
    whole, parted = small(), small()
    training.fit(whole, train, validate, SETTINGS)
    course = training.fit(parted, Parted(train, 5), Parted(validate, 3), SETTINGS)
    assert recall(predicted(parted, judge), judge.labels) > 0.8
    assert recall(predicted(whole, judge), judge.labels) > 0.8
    # the groups of the validate part are judged as one part
    both = [training.probabilities(parted.model, feed, LENGTH) for feed in (validate, Parted(validate, 3))]
    np.testing.assert_allclose(*both, rtol=1e-4, atol=1e-6)
    assert len(course.history) == SETTINGS.epochs


def test_a_pause_changes_nothing() -> None:
    train, validate = pattern(600), pattern(200, seed=1)
    straight, paused = small(), small()
    expected = training.fit(straight, train, validate, SETTINGS)
    states: list[bytes] = []
    for until in (1, 3, None):
        course = training.fit(
            paused,
            train,
            validate,
            replace(SETTINGS, until=until),
            state=states[-1] if states else None,
            on_epoch=lambda _, state: states.append(state()),
        )
        assert len(course.history) == (until or SETTINGS.epochs)
    assert course == expected
    for one, two in zip(paused.state(), straight.state(), strict=True):
        assert np.array_equal(one, two)


def test_the_learning_rate_rises_and_falls() -> None:
    settings = training.Settings(length=LENGTH, epochs=10, schedule="cosine", warmup=2)
    rates = [training.rate(settings, epoch) for epoch in range(1, 11)]
    assert rates[:3] == pytest.approx([1 / 3, 2 / 3, 1.0])
    assert rates[2:] == sorted(rates[2:], reverse=True)
    assert 0 < rates[-1] < 0.05
    assert {training.rate(replace(settings, schedule="constant", warmup=0), epoch) for epoch in range(1, 11)} == {1.0}
    with pytest.raises(training.TrainingDataError, match="warm-up of 4 epochs does not fit into 4"):
        training.fit(small(), pattern(100), pattern(50, seed=1), replace(SETTINGS, warmup=4))


def test_the_learning_rate_of_an_epoch_is_that_of_its_steps() -> None:
    learner = small()
    training.fit(learner, pattern(100), pattern(50, seed=1), replace(SETTINGS, schedule="cosine"))
    expected = 8e-3 * training.rate(replace(SETTINGS, schedule="cosine"), SETTINGS.epochs)
    assert float(learner.optimizer.learning_rate) == pytest.approx(expected)


# XLA has no pooling that gives the same bits twice, and this process asked for them
@pytest.mark.parametrize(
    ("name", "precision", "compiled"), [("cnn_whole", "bfloat16", False), ("causal", "float32", True)]
)
def test_other_arithmetic_learns_the_same(name: str, precision: network.Precision, compiled: bool) -> None:
    learner = network.Learner(
        lambda: network.build(name, LENGTH, FEATURES, filters=8, dense=32, dropout=0.2, seed=0, precision=precision),
        learning_rate=8e-3,
        compiled=compiled,
    )
    judge = pattern(1000, seed=2)
    training.fit(learner, pattern(), pattern(600, seed=1), SETTINGS)
    # a coin comes to a third; where exactly bfloat16 ends depends on the machine's instructions
    assert recall(predicted(learner, judge), judge.labels) > 0.6
    assert {str(variable.dtype) for variable in learner.model.trainable_variables} == {"float32"}
    loaded = network.load(network.save(learner.model))
    given = network.predict(loaded, judge.rows, judge.ends, LENGTH)
    assert np.array_equal(given, network.predict(learner.model, judge.rows, judge.ends, LENGTH))
    np.testing.assert_allclose(given.sum(axis=1), 1, atol=1e-5)
