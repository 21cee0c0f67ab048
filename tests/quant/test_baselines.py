"""Baselines against their definitions, and on signals that are planted where only some of them look."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import log_softmax
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits

from quant import baselines, evaluation, windows
from quant.baselines import BaselineError
from quant.training import Windows, balanced_weights

STEPS = 5


def planted(count: int = 3000, features: int = 4, seed: int = 0, rule: str = "linear") -> Windows:
    """Windows whose class follows from the last bar, from a product in it, or from the mean of the bars before."""
    generator = np.random.default_rng(seed)
    rows = generator.standard_normal((count + STEPS, features)).astype(np.float32)
    ends = np.arange(STEPS - 1, count + STEPS - 1)
    score = {
        "linear": lambda: rows[ends, 0] - rows[ends, 1],
        "product": lambda: 2 * rows[ends, 0] * rows[ends, 1],
        "mean": lambda: 3 * windows.cut(rows, ends, STEPS)[:, :, 2].mean(axis=1),
        "third": lambda: 2 * rows[ends - 2, 3],
    }[rule]()
    noise = generator.standard_normal(count) * 0.3
    labels = np.where(score + noise > 0.8, 1, np.where(score + noise < -0.8, 2, 0))
    return Windows(rows, ends, labels.astype(np.int8))


def parted(data: Windows, fit: int) -> tuple[Windows, Windows]:
    return Windows(data.rows, data.ends[:fit], data.labels[:fit]), Windows(
        data.rows, data.ends[fit:], data.labels[fit:]
    )


def logistic(fit: Windows, **options) -> baselines.Predictor:
    return baselines.logistic_last_bar(fit, **options)


def boosted(fit: Windows, **options) -> baselines.Predictor:
    return baselines.gradient_boosting(fit, STEPS, **({"trees": 20} | options))


def flat(fit: Windows, **options) -> baselines.Predictor:
    return boosted(fit, view="flat", **options)


FITTED = [logistic, boosted, flat]


def skill(predictor: baselines.Predictor, judge: Windows) -> float:
    return evaluation.direction_auc(judge.labels, predictor(judge.rows, judge.ends))


def test_majority_gives_the_shares_of_the_labels() -> None:
    predictor = baselines.majority(np.array([0, 0, 2, 1, 0], dtype=np.int8))
    assert predictor(np.empty((9, 2)), np.array([3, 5])).tolist() == [[0.6, 0.2, 0.2], [0.6, 0.2, 0.2]]
    assert predictor(np.empty((9, 2)), np.array([], dtype=np.intp)).shape == (0, 3)
    assert baselines.majority(np.array([1]))(np.empty((9, 2)), np.array([3])).tolist() == [[0.0, 1.0, 0.0]]


def test_majority_is_judged_as_the_evaluation_judges_it() -> None:
    data = planted(500)
    fit, judge = parted(data, 300)
    given = baselines.majority(fit.labels)(judge.rows, judge.ends)
    found = evaluation.classification(judge.labels, given)
    expected = evaluation.majority_classification(judge.labels, np.bincount(fit.labels, minlength=3))
    assert found.macro_f1 == expected.macro_f1
    assert found.log_loss == pytest.approx(expected.log_loss)


@pytest.mark.parametrize("class_weights", [False, True])
@pytest.mark.parametrize("penalty", [1.0, 50.0])
def test_logistic_regression_is_the_minimum_of_its_loss(class_weights, penalty) -> None:
    fit, judge = parted(planted(400), 300)
    values = fit.rows[fit.ends].astype(np.float64)
    center, scale = values.mean(axis=0), values.std(axis=0)
    weights = balanced_weights(fit.labels)[fit.labels] if class_weights else np.ones(300)

    def outcome(flat: np.ndarray, rows: np.ndarray) -> np.ndarray:
        return log_softmax((rows - center) / scale @ flat[:12].reshape(4, 3) + flat[12:], axis=1)

    def loss(flat: np.ndarray) -> float:
        logs = outcome(flat, values)[np.arange(300), fit.labels]
        return float(-(weights * logs).sum() + penalty / 2 * (flat[:12] ** 2).sum())

    best = minimize(loss, np.zeros(15), method="BFGS", options={"gtol": 1e-5}).x
    found = baselines.logistic_last_bar(fit, penalty=penalty, class_weights=class_weights)(judge.rows, judge.ends)
    assert np.allclose(found, np.exp(outcome(best, judge.rows[judge.ends].astype(np.float64))), atol=2e-3)


def test_logistic_regression_ignores_the_unit_of_a_feature_and_constants() -> None:
    fit, judge = parted(planted(), 2000)
    found = logistic(fit)(judge.rows, judge.ends)
    units = np.array([100, 0.01, 1, 1], dtype=np.float32)
    moved = np.array([5, 0, -3, 0], dtype=np.float32)
    other = np.concatenate([fit.rows * units + moved, np.full((len(fit.rows), 1), 0.1, dtype=np.float32)], axis=1)
    again = logistic(Windows(other, fit.ends, fit.labels))(other, judge.ends)
    assert np.allclose(found, again, atol=1e-3)


@pytest.mark.parametrize("view", baselines.VIEWS)
def test_boosted_trees_are_those_of_scikit_learn_on_the_view(view) -> None:
    fit, judge = parted(planted(1500), 1000)

    def look(ends: np.ndarray) -> np.ndarray:
        cut = np.stack([fit.rows[end - STEPS + 1 : end + 1] for end in ends])
        return cut.reshape(len(ends), -1) if view == "flat" else np.hstack([cut[:, -1], cut.mean(axis=1)])

    model = HistGradientBoostingClassifier(max_iter=15, early_stopping=False, class_weight="balanced", random_state=0)
    with threadpool_limits(1):
        expected = model.fit(look(fit.ends), fit.labels).predict_proba(look(judge.ends))
    found = baselines.gradient_boosting(fit, STEPS, view=view, trees=15)(judge.rows, judge.ends)
    assert np.allclose(found, expected)


@pytest.mark.parametrize(
    ("rule", "seen_by", "unseen_by"),
    [
        ("linear", [logistic, boosted, flat], []),
        ("product", [boosted, flat], [logistic]),
        ("mean", [boosted, flat], []),
        ("third", [flat], [logistic]),
    ],
)
def test_each_finds_what_lies_where_it_looks(rule, seen_by, unseen_by) -> None:
    fit, judge = parted(planted(6000, rule=rule), 4000)
    for baseline in seen_by:
        assert skill(baseline(fit), judge) > 0.85
    for baseline in unseen_by:
        assert 0.4 < skill(baseline(fit), judge) < 0.6


@pytest.mark.parametrize("baseline", FITTED)
def test_there_is_nothing_to_find_in_noise(baseline) -> None:
    data = planted(6000)
    labels = np.random.default_rng(1).integers(0, 3, 6000).astype(np.int8)
    fit, judge = parted(Windows(data.rows, data.ends, labels), 4000)
    assert 0.45 < skill(baseline(fit), judge) < 0.55


@pytest.mark.parametrize("baseline", FITTED)
def test_equal_seeds_give_equal_probabilities(baseline) -> None:
    fit, judge = parted(planted(), 2000)
    one, again, other = (baseline(fit, most=500, seed=seed)(judge.rows, judge.ends) for seed in (1, 1, 2))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)
    assert np.allclose(one.sum(axis=1), 1.0)
    assert one.shape == (1000, 3)
    # the seed draws windows alone: where all are taken there is nothing to draw
    assert np.array_equal(*(baseline(fit, seed=seed)(judge.rows, judge.ends) for seed in (1, 2)))


@pytest.mark.parametrize("baseline", FITTED)
def test_windows_fitted_on_are_as_many_as_stated(baseline, monkeypatch) -> None:
    seen = []
    weights = baselines._weights
    monkeypatch.setattr(
        baselines, "_weights", lambda labels, balanced: seen.append(len(labels)) or weights(labels, balanced)
    )
    fit = planted(600)
    for most in (100, 600, 10_000):
        baseline(fit, most=most)
    assert seen == [100, 600, 600]


@pytest.mark.parametrize("baseline", FITTED)
def test_a_window_is_judged_by_itself(baseline, monkeypatch) -> None:
    fit, judge = parted(planted(), 2000)
    predictor = baseline(fit)
    found = predictor(judge.rows, judge.ends)
    order = np.random.default_rng(0).permutation(1000)
    assert np.allclose(predictor(judge.rows, judge.ends[order]), found[order])
    first = int(judge.ends[7])
    assert np.allclose(predictor(judge.rows[first - STEPS + 1 : first + 1], np.array([STEPS - 1])), found[7])
    sizes = []
    monkeypatch.setattr(baselines, "_BATCH", 64)
    monkeypatch.setattr(
        baselines, "cut", lambda rows, ends, steps: sizes.append(len(ends)) or windows.cut(rows, ends, steps)
    )
    assert np.allclose(baseline(fit)(judge.rows, judge.ends), found)
    assert all(size <= 64 for size in sizes)


@pytest.mark.parametrize("baseline", FITTED)
def test_rows_that_no_window_holds_are_not_looked_at(baseline) -> None:
    fit, judge = parted(planted(), 2000)
    found = baseline(fit)(judge.rows, judge.ends[:500])
    beyond = fit.rows.copy()
    beyond[judge.ends[499] + 1 :] = np.nan
    assert np.array_equal(baseline(Windows(beyond, fit.ends, fit.labels))(beyond, judge.ends[:500]), found)


def test_logistic_regression_sees_the_last_bar_alone() -> None:
    data = planted()
    fit, _ = parted(data, 2000)
    changed = data.rows.copy()
    changed[:100] += 7
    predictor = logistic(fit)
    chosen = np.array([99 + STEPS - 1, 100])
    assert not np.allclose(changed[chosen[1] - 1], data.rows[chosen[1] - 1])
    assert np.array_equal(predictor(changed, chosen), predictor(data.rows, chosen))


@pytest.mark.parametrize("baseline", FITTED)
def test_a_class_absent_from_the_fit_part_has_no_probability(baseline) -> None:
    data = planted()
    chosen = data.labels != 1
    found = baseline(Windows(data.rows, data.ends[chosen], data.labels[chosen]))(data.rows, data.ends[:50])
    assert (found[:, 1] == 0).all()
    assert np.allclose(found.sum(axis=1), 1.0)
    assert np.ptp(found[:, 2]) > 0.1


@pytest.mark.parametrize("baseline", FITTED)
def test_class_weights_make_rare_classes_likelier(baseline) -> None:
    fit, judge = parted(planted(), 2000)
    rare = int(np.bincount(fit.labels, minlength=3).argmin())
    plain, balanced = (baseline(fit, class_weights=each)(judge.rows, judge.ends) for each in (False, True))
    assert plain[:, rare].mean() < balanced[:, rare].mean()
    assert plain.mean(axis=0) == pytest.approx(np.bincount(judge.labels, minlength=3) / 1000, abs=0.03)


def test_early_stopping_ends_before_the_last_round() -> None:
    data = planted(1000)
    noise = np.random.default_rng(1).integers(0, 3, 1000).astype(np.int8)
    fit = Windows(data.rows, data.ends, noise)
    long, stopped, again = (
        boosted(fit, trees=150, early_stopping=each)(data.rows, data.ends) for each in (False, True, True)
    )
    assert np.array_equal(stopped, again)
    # the longer it learns noise by heart, the surer it is
    assert stopped.max(axis=1).mean() < long.max(axis=1).mean() - 0.1


@pytest.mark.parametrize("baseline", FITTED)
def test_no_window_is_none_to_judge(baseline) -> None:
    fit = planted(200)
    assert baseline(fit)(fit.rows, np.array([], dtype=np.int64)).shape == (0, 3)


@pytest.mark.parametrize("baseline", FITTED)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_windows_that_are_not_finite_are_refused(baseline, value) -> None:
    fit = planted(200)
    predictor = baseline(fit)
    rows = fit.rows.copy()
    rows[50, 2] = value
    with pytest.raises(BaselineError, match="not finite; allowed: windows of finite numbers"):
        baseline(Windows(rows, fit.ends, fit.labels))
    with pytest.raises(BaselineError, match="not finite; allowed: windows of finite numbers"):
        predictor(rows, fit.ends)


@pytest.mark.parametrize("baseline", FITTED)
def test_windows_beyond_the_rows_are_refused(baseline) -> None:
    fit = planted(200)
    for end in (-1, len(fit.rows)):
        with pytest.raises(BaselineError, match="windows end at rows"):
            baseline(fit)(fit.rows, np.array([end]))
        with pytest.raises(BaselineError, match="windows end at rows"):
            baseline(Windows(fit.rows, np.append(fit.ends[:-1], end), fit.labels))


@pytest.mark.parametrize("baseline", FITTED)
@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros(200, dtype=np.int8), r"hold \[0\]; allowed: 0, 1 and 2, at least 2"),
        (np.arange(200, dtype=np.int16) % 4, r"allowed: 0, 1 and 2"),
    ],
)
def test_labels_that_cannot_be_learned_are_refused(baseline, labels, message) -> None:
    fit = planted(200)
    with pytest.raises(BaselineError, match=message):
        baseline(Windows(fit.rows, fit.ends, labels))


@pytest.mark.parametrize("labels", [np.array([], dtype=np.int8), np.array([0, 3]), np.array([-1])])
def test_labels_without_a_majority_are_refused(labels) -> None:
    with pytest.raises(BaselineError, match="allowed: 0, 1 and 2"):
        baselines.majority(labels)


@pytest.mark.parametrize("baseline", FITTED)
def test_other_features_than_those_fitted_on_are_refused(baseline) -> None:
    fit = planted(200)
    with pytest.raises(BaselineError, match=r"shape \(205, 3\); allowed: \(n, 4\)"):
        baseline(fit)(fit.rows[:, :3], fit.ends)


@pytest.mark.parametrize(
    "call",
    [
        lambda fit: logistic(fit, most=0),
        lambda fit: logistic(fit, penalty=0),
        lambda fit: logistic(fit, penalty=np.inf),
        lambda fit: logistic(fit, seed=-1),
        lambda fit: baselines.gradient_boosting(fit, 0),
        lambda fit: boosted(fit, view="last"),
        lambda fit: boosted(fit, trees=0),
        lambda fit: boosted(fit, learning_rate=0.0),
        lambda fit: boosted(fit, most=True),
        lambda fit: boosted(fit, threads=0),
        lambda fit: logistic(fit, threads=0),
    ],
)
def test_settings_out_of_bounds_are_refused(call) -> None:
    with pytest.raises(BaselineError, match="; allowed: "):
        call(planted(200))


def test_baselines_import_neither_keras_nor_scikit_learn() -> None:
    code = (
        "import sys, quant.baselines, quant.evaluation\n"
        "print(sorted({'keras', 'tensorflow', 'sklearn'} & set(sys.modules)))"
    )
    root = Path(__file__).resolve().parents[2]
    outcome = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert outcome.stdout.strip() == "[]"
