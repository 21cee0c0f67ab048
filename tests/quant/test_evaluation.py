"""Evaluation against scikit-learn, hand-computed cases and simulations of known truth."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn import metrics
from sklearn.calibration import calibration_curve

from quant import decision, evaluation
from quant.evaluation import STATISTICS, EvaluationError, Interval

NAMES = ("neutral", "long", "short")


def sample(rows: int = 600, seed: int = 0, ties: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Labels, and probabilities that know something of them; with ties, of few values."""
    generator = np.random.default_rng(seed)
    labels = generator.choice(3, rows, p=[0.5, 0.3, 0.2])
    raw = generator.dirichlet([2.0, 1.0, 1.0], rows) + 0.2 * np.eye(3)[labels]
    if ties:
        raw = np.ceil(raw * 4)
    return labels.astype(np.int8), raw / raw.sum(axis=1, keepdims=True)


def spread(rows: int, days: int, seed: int = 0) -> pd.DatetimeIndex:
    """Times in no order over so many days, each of which has at least one."""
    generator = np.random.default_rng(seed)
    number = np.concatenate([np.arange(days), generator.integers(0, days, rows - days)])
    minutes = generator.integers(0, 1440, rows)
    times = pd.Timestamp("2024-01-15", tz="UTC") + pd.to_timedelta(number * 1440 + minutes, unit="min")
    return pd.DatetimeIndex(times)[generator.permutation(rows)]


@st.composite
def judged(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Any labels with probabilities that often are equal, a class often absent."""
    rows = draw(st.integers(1, 40))
    labels = draw(arrays.arrays(np.int8, rows, elements=st.integers(0, 2)))
    raw = draw(arrays.arrays(np.int64, (rows, 3), elements=st.integers(0, 3))) + np.array([1, 0, 0])
    return labels, raw / raw.sum(axis=1, keepdims=True)


def same(one: float, other: float) -> bool:
    return bool(np.isclose(one, other, rtol=1e-9, atol=1e-12, equal_nan=True))


# --- classification


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("ties", [False, True])
def test_classification_agrees_with_scikit_learn(dtype, ties) -> None:
    labels, probabilities = sample(ties=ties)
    probabilities = probabilities.clip(1e-4).astype(dtype)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    found = evaluation.classification(labels, probabilities)
    predicted = probabilities.argmax(axis=1)
    precision, recall, f1, support = metrics.precision_recall_fscore_support(labels, predicted)
    assert np.array_equal(found.confusion, metrics.confusion_matrix(labels, predicted))
    assert np.allclose(found.precision, precision)
    assert np.allclose(found.recall, recall)
    assert np.allclose(found.f1, f1)
    assert np.array_equal(found.support, support)
    assert found.macro_f1 == pytest.approx(metrics.f1_score(labels, predicted, average="macro"))
    assert found.accuracy == pytest.approx(metrics.accuracy_score(labels, predicted))
    exact = probabilities.astype(np.float64)
    exact /= exact.sum(axis=1, keepdims=True)
    assert found.log_loss == pytest.approx(metrics.log_loss(labels, exact), rel=1e-6)


def test_classification_by_hand() -> None:
    labels = np.array([0, 1, 1, 2])
    probabilities = np.array([[0.5, 0.25, 0.25], [0.25, 0.5, 0.25], [0.5, 0.25, 0.25], [0.5, 0.25, 0.25]])
    found = evaluation.classification(labels, probabilities)
    assert found.confusion.tolist() == [[1, 0, 0], [1, 1, 0], [1, 0, 0]]
    assert found.recall.tolist() == [1.0, 0.5, 0.0]
    assert found.precision[:2].tolist() == [1 / 3, 1.0]
    assert np.isnan(found.precision[2])  # never named
    assert found.f1.tolist() == [0.5, 2 / 3, 0.0]
    assert found.macro_f1 == pytest.approx((0.5 + 2 / 3) / 3)
    assert found.log_loss == pytest.approx((2 * np.log(2) + 2 * np.log(4)) / 4)
    assert found.accuracy == 0.5


@given(judged())
def test_classification_says_what_the_figures_of_a_manifest_say(case) -> None:
    labels, probabilities = case
    found, plain = evaluation.classification(labels, probabilities), decision.figures(labels, probabilities)
    assert found.confusion.tolist() == plain["confusion"]
    for name in ("macro_f1", "log_loss", "accuracy"):
        assert same(getattr(found, name), plain[name])
    for number, label in enumerate(NAMES):
        for name in ("precision", "recall", "f1"):
            value = plain["classes"][label][name]
            assert same(getattr(found, name)[number], np.nan if value is None else value)
        assert found.support[number] == plain["classes"][label]["count"]


def test_majority_is_that_of_the_training_windows() -> None:
    labels = np.array([1, 1, 1, 0])
    found = evaluation.majority_classification(labels, [8, 4, 4])
    assert found.confusion.tolist() == [[1, 0, 0], [3, 0, 0], [0, 0, 0]]
    assert found.accuracy == 0.25
    assert found.log_loss == pytest.approx((np.log(2) + 3 * np.log(4)) / 4)
    # neither true nor named: no F1
    assert found.f1[:2].tolist() == [pytest.approx(0.4), 0.0]
    assert np.isnan(found.f1[2])


@pytest.mark.parametrize("counts", [[1, 2], [0, 0, 0], [1, -1, 3], [0.5, 0.25, 0.25], [[1, 2, 3]]])
def test_training_counts_that_are_none_are_refused(counts) -> None:
    with pytest.raises(EvaluationError, match="allowed: three whole numbers"):
        evaluation.majority_classification(np.array([0, 1]), counts)


# --- curves


def along(curve: evaluation.Curves) -> tuple[np.ndarray, np.ndarray]:
    """Distance along the ROC curve, which rises all the way, and the true-positive rate there."""
    return curve.false_positive_rate + curve.true_positive_rate, curve.true_positive_rate


@pytest.mark.parametrize("ties", [False, True])
def test_curves_agree_with_scikit_learn(ties) -> None:
    labels, probabilities = sample(120, ties=ties)
    for number, side in enumerate(("long", "short"), start=1):
        found = evaluation.curves(labels, probabilities, points=1000)[side]
        positive, score = labels == number, probabilities[:, number]
        x, y, _ = metrics.roc_curve(positive, score, drop_intermediate=False)
        assert found.roc_auc == pytest.approx(metrics.roc_auc_score(positive, score))
        corners = set(zip(found.false_positive_rate, found.true_positive_rate, strict=True))
        assert corners <= set(zip(x, y, strict=True))
        assert np.allclose(np.interp(x + y, *along(found)), y)
        precision, recall, _ = metrics.precision_recall_curve(positive, score)
        assert np.allclose(found.recall, recall[::-1])
        assert np.allclose(found.precision, precision[::-1])
        assert found.average_precision == pytest.approx(metrics.average_precision_score(positive, score))
        assert found.share == pytest.approx(positive.mean())


@given(judged())
@settings(max_examples=200)
def test_areas_of_any_labels_agree_with_scikit_learn(case) -> None:
    labels, probabilities = case
    for number, side in enumerate(("long", "short"), start=1):
        found = evaluation.curves(labels, probabilities)[side]
        positive, score = labels == number, probabilities[:, number]
        if positive.any() and not positive.all():
            assert same(found.roc_auc, metrics.roc_auc_score(positive, score))
            assert same(found.roc_auc, np.trapezoid(found.true_positive_rate, found.false_positive_rate))
        else:
            assert np.isnan(found.roc_auc)
            assert len(found.true_positive_rate) == 0
        if positive.any():
            assert same(found.average_precision, metrics.average_precision_score(positive, score))
        else:
            assert np.isnan(found.average_precision)
            assert len(found.recall) == 0


def steps_area(curve: evaluation.Curves) -> float:
    return float(np.diff(curve.recall) @ curve.precision[1:])


def alternating(rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Long and neutral in turn, from the likeliest on: every vertex of the ROC curve is a corner."""
    score = np.linspace(0.9, 0.1, rows)
    return np.arange(rows) % 2, np.stack([1 - score, score, np.zeros(rows)], axis=1)


@pytest.mark.parametrize("case", [alternating(rows) for rows in (300, 396, 398, 400, 401, 600, 1000)])
def test_thinning_keeps_the_area_of_the_worst_staircase(case) -> None:
    found = evaluation.curves(*case)["long"]
    assert len(found.false_positive_rate) <= 200
    assert np.trapezoid(found.true_positive_rate, found.false_positive_rate) == pytest.approx(found.roc_auc, abs=1e-3)


@given(st.integers(0, 10_000), st.integers(201, 5000), st.booleans(), st.sampled_from([20, 50, 200]))
@settings(max_examples=60, deadline=None)
def test_thinned_curves_keep_ends_area_and_course(seed, rows, ties, points) -> None:
    labels, probabilities = sample(rows, seed, ties)
    labels[:2] = (1, 0)
    found = evaluation.curves(labels, probabilities, points)["long"]
    x, y, recall, precision = found.false_positive_rate, found.true_positive_rate, found.recall, found.precision
    assert len(x) <= points
    assert len(recall) <= points
    assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1)
    assert (recall[0], precision[0], recall[-1]) == (0, 1, 1)
    assert (np.diff(x) >= 0).all()
    assert (np.diff(y) >= 0).all()
    assert (np.diff(recall) >= 0).all()
    assert ((precision >= 0) & (precision <= 1 + 1e-12)).all()
    assert np.trapezoid(y, x) == pytest.approx(found.roc_auc, abs=1e-3 if points == 200 else 1e-2)
    assert steps_area(found) == pytest.approx(found.average_precision)
    full = evaluation.curves(labels, probabilities, 10**6)["long"]
    # the thinned points lie on the curve
    assert np.allclose(y, np.interp(x + y, *along(full)))
    assert precision[-1] == full.precision[-1] == pytest.approx(found.share)
    # and the course of the area as steps is that of all windows
    area = np.cumsum(np.diff(full.recall) * full.precision[1:])
    assert np.allclose(
        np.cumsum(np.diff(recall) * precision[1:])[:-1],
        area[np.searchsorted(full.recall[1:], recall[1:-1] - 1e-12)] if len(full.recall) > points else area[:-1],
    )


def test_perfect_probabilities_have_a_curve_of_three_points() -> None:
    labels = np.repeat([0, 1], 500)
    score = np.linspace(0, 1, 1000)
    found = evaluation.curves(labels, np.stack([1 - score, score, 0 * score], axis=1))["long"]
    assert found.false_positive_rate.tolist() == [0, 0, 1]
    assert found.true_positive_rate.tolist() == [0, 1, 1]
    assert found.roc_auc == 1.0
    assert found.average_precision == pytest.approx(1.0)
    assert found.precision[:-1] == pytest.approx(1.0)


def test_constant_probabilities_tell_nothing() -> None:
    labels = np.array([0, 1, 2, 1])
    constant = np.full((4, 3), 1 / 3)
    found = evaluation.curves(labels, constant)["long"]
    assert found.roc_auc == 0.5
    assert found.average_precision == found.share == 0.5
    assert found.false_positive_rate.tolist() == [0, 1]
    assert evaluation.direction_auc(labels, constant) == 0.5


def test_a_class_that_is_everywhere() -> None:
    found = evaluation.curves(np.array([1, 1]), np.array([[0.5, 0.5, 0.0], [0.4, 0.6, 0.0]]))
    assert np.isnan(found["long"].roc_auc)
    assert found["long"].average_precision == 1.0
    assert np.isnan(found["short"].average_precision)
    assert found["short"].share == 0.0


# --- calibration


@pytest.mark.parametrize("bins", [1, 4, 10])
@pytest.mark.parametrize("ties", [False, True])
def test_calibration_agrees_with_scikit_learn(bins, ties) -> None:
    labels, probabilities = sample(ties=ties)
    for number, side in enumerate(("long", "short"), start=1):
        found = evaluation.calibration(labels, probabilities, bins)[side]
        observed, predicted = calibration_curve(
            labels == number, probabilities[:, number], n_bins=bins, strategy="quantile"
        )
        assert np.allclose(found.observed, observed)
        assert np.allclose(found.predicted, predicted)
        assert found.count.sum() == len(labels)
        if not ties:
            assert np.ptp(found.count) <= 1
        assert found.error == pytest.approx(np.sum(found.count * np.abs(observed - predicted)) / len(labels))


def test_calibration_by_hand() -> None:
    labels = np.array([0, 1, 1, 1])
    long = np.array([0.1, 0.3, 0.6, 0.8])
    found = evaluation.calibration(labels, np.stack([1 - long, long, 0 * long], axis=1), bins=2)
    assert found["long"].predicted == pytest.approx([0.2, 0.7])
    assert found["long"].observed == pytest.approx([0.5, 1.0])
    assert found["long"].count.tolist() == [2, 2]
    assert found["long"].error == pytest.approx(0.3)
    assert found["short"].count.tolist() == [4]
    assert found["short"].error == 0.0


def test_calibrated_probabilities_err_as_little_as_chance_does() -> None:
    generator = np.random.default_rng(0)
    probabilities = generator.dirichlet([2, 1, 1], 50_000)
    labels = (generator.random((50_000, 1)) > probabilities.cumsum(axis=1)).sum(axis=1)
    assert evaluation.calibration(labels, probabilities)["long"].error < 0.01
    overdone = probabilities**2 / (probabilities**2).sum(axis=1, keepdims=True)
    assert evaluation.calibration(labels, overdone)["long"].error > 0.03


# --- direction


@given(judged())
@settings(max_examples=200)
def test_direction_auc_agrees_with_scikit_learn(case) -> None:
    labels, probabilities = case
    chosen = labels > 0
    found = evaluation.direction_auc(labels, probabilities)
    if len(np.unique(labels[chosen])) < 2:
        assert np.isnan(found)
        return
    long, short = probabilities[chosen, 1], probabilities[chosen, 2]
    both = np.where(long + short > 0, long + short, 1)
    score = np.round(np.where(long + short > 0, long / both, 0.5), 12)
    assert same(found, metrics.roc_auc_score(labels[chosen] == 1, score))


@given(judged())
def test_direction_auc_turns_with_the_sides(case) -> None:
    labels, probabilities = case
    mirrored = np.array([0, 2, 1])[labels]
    found = evaluation.direction_auc(labels, probabilities)
    assert same(found, evaluation.direction_auc(mirrored, probabilities[:, [0, 2, 1]]))
    assert same(found, 1 - evaluation.direction_auc(mirrored, probabilities))


def test_shares_that_differ_by_rounding_are_ties() -> None:
    # 0.2 / (0.2 + 0.6) is not 0.125 / 0.5 in floating point
    probabilities = np.array([[0.2, 0.2, 0.6], [0.5, 0.125, 0.375]])
    assert evaluation.direction_auc(np.array([1, 2]), probabilities) == 0.5
    assert evaluation.direction_auc(np.array([2, 1]), probabilities[:, [0, 2, 1]]) == 0.5


def test_direction_auc_by_hand() -> None:
    # scores 0.75 and 0.5 of the long ones, 0.5 and 0.2 of the short ones: 3 pairs right, one tied
    probabilities = np.array([[0.2, 0.6, 0.2], [1.0, 0.0, 0.0], [0.0, 0.5, 0.5], [0.0, 0.2, 0.8], [0.0, 0.0, 1.0]])
    assert evaluation.direction_auc(np.array([1, 1, 2, 2, 0]), probabilities) == 3.5 / 4


# --- intervals


@pytest.mark.parametrize("statistic", STATISTICS)
@pytest.mark.parametrize("ties", [False, True])
def test_weighted_days_are_as_good_as_repeated_windows(statistic, ties) -> None:
    """The oracle: lay out the windows of the days drawn, as often as drawn, and compute the statistic of them."""
    labels, probabilities = sample(300, seed=3, ties=ties)
    times = spread(300, 12)
    codes = np.unique(times.floor("D"), return_inverse=True)[1]
    generator = np.random.default_rng(5)
    draws = np.vstack([np.ones((1, 12)), evaluation._draw_days(12, 2, 20, generator)])
    values = evaluation._weighted(statistic, labels.astype(np.int64), probabilities, codes, 12)(draws)
    for weights, value in zip(draws, values, strict=True):
        chosen = np.repeat(np.arange(300), weights[codes].astype(int))
        assert same(value, plainly(statistic, labels[chosen], probabilities[chosen]))


def plainly(statistic: str, labels: np.ndarray, probabilities: np.ndarray) -> float:
    if statistic == "direction_auc":
        return evaluation.direction_auc(labels, probabilities)
    if statistic in ("accuracy", "macro_f1", "log_loss"):
        return getattr(evaluation.classification(labels, probabilities), statistic)
    name, _, label = statistic.rpartition("_")
    if name in ("roc_auc", "average_precision"):
        return getattr(evaluation.curves(labels, probabilities)[label], name)
    return float(getattr(evaluation.classification(labels, probabilities), name)[NAMES.index(label)])


@given(st.integers(1, 40), st.integers(1, 50), st.integers(0, 100))
def test_draws_of_days_are_runs_around_the_circle(days, block, seed) -> None:
    drawn = evaluation._draw_days(days, block, 50, np.random.default_rng(seed))
    assert drawn.shape == (50, days)
    assert (drawn.sum(axis=1) == days).all()
    if block >= days:
        assert (drawn == 1).all()


def test_every_day_is_drawn_as_often() -> None:
    drawn = evaluation._draw_days(10, 4, 40_000, np.random.default_rng(0))
    assert np.allclose(drawn.mean(axis=0), 1.0, atol=0.03)


def walked(seed: int, days: int = 120, windows: int = 25) -> tuple[np.ndarray, np.ndarray, pd.DatetimeIndex]:
    """Labels that follow the market of a day, and a model that has an opinion of the day: as good as a coin."""
    generator = np.random.default_rng(seed)
    market, opinion = generator.standard_normal((2, days, 1)) * 0.7
    rise = market + generator.standard_normal((days, windows))
    view = opinion + generator.standard_normal((days, windows))
    long = 1 / (1 + np.exp(-view.ravel()))
    labels = np.where(rise.ravel() > 0, 1, 2)
    number = np.repeat(np.arange(days), windows)
    times = pd.DatetimeIndex(pd.Timestamp("2024-01-01", tz="UTC") + pd.to_timedelta(number, unit="D"))
    return labels, np.stack([0 * long, long, 1 - long], axis=1), times


@pytest.mark.parametrize(("statistic", "truth"), [("direction_auc", 0.5), ("accuracy", 0.5), ("roc_auc_short", 0.5)])
def test_interval_over_days_holds_the_truth_where_one_over_windows_does_not(statistic, truth) -> None:
    trials, held, held_singly = 200, 0, 0
    for seed in range(trials):
        labels, probabilities, times = walked(seed)
        # every window a day of its own: the bootstrap of independent windows
        alone = pd.date_range("2000-01-01", periods=len(times), tz="UTC")
        days = evaluation.interval(statistic, labels, probabilities, times, block=1, resamples=200, seed=seed)
        single = evaluation.interval(statistic, labels, probabilities, alone, block=1, resamples=200, seed=seed)
        held += days.low <= truth <= days.high
        held_singly += single.low <= truth <= single.high
    # of 200, 190 are due; the binomial deviation is 3
    assert held / trials >= 0.90
    assert held_singly / trials <= 0.80


def test_longer_blocks_hold_the_truth_where_days_follow_one_another() -> None:
    generator = np.random.default_rng(1)
    held = {1: 0, 10: 0}
    for seed in range(150):
        shocks = generator.standard_normal((2, 207))
        # two independent moving averages of eight days
        market, opinion = np.sum([shocks[:, lag : lag + 200] for lag in range(8)], axis=0) / np.sqrt(8)
        labels = np.repeat(np.where(market + 0.3 * generator.standard_normal(200) > 0, 1, 2), 2)
        long = np.repeat(1 / (1 + np.exp(-opinion)), 2)
        times = pd.date_range("2024-01-01", periods=400, freq="12h", tz="UTC")
        probabilities = np.stack([0 * long, long, 1 - long], axis=1)
        for block in held:
            found = evaluation.interval(
                "direction_auc", labels, probabilities, times, block=block, resamples=200, seed=seed
            )
            held[block] += found.low <= 0.5 <= found.high
    assert held[10] / 150 >= 0.85
    assert held[1] / 150 <= 0.80


def test_interval_is_that_of_its_seed_and_of_no_order() -> None:
    labels, probabilities = sample(500)
    times = spread(500, 40)
    found = evaluation.interval("macro_f1", labels, probabilities, times, seed=7)
    assert found == evaluation.interval("macro_f1", labels, probabilities, times, seed=7)
    assert found != evaluation.interval("macro_f1", labels, probabilities, times, seed=8)
    order = np.random.default_rng(0).permutation(500)
    assert found == evaluation.interval("macro_f1", labels[order], probabilities[order], times[order], seed=7)
    shifted = times.tz_convert("Asia/Tokyo")  # the same moments: days are those of UTC
    assert found == evaluation.interval("macro_f1", labels, probabilities, shifted, seed=7)
    assert found.low < found.estimate < found.high
    assert found.estimate == pytest.approx(evaluation.classification(labels, probabilities).macro_f1)
    assert (found.days, found.block) == (40, 3)


def test_a_higher_level_is_wider() -> None:
    labels, probabilities = sample(500)
    narrow, wide = (
        evaluation.interval("direction_auc", labels, probabilities, spread(500, 60), level=level, seed=1)
        for level in (0.5, 0.95)
    )
    assert wide.low < narrow.low < narrow.high < wide.high


def test_too_few_days_have_no_interval() -> None:
    labels, probabilities = sample(100)
    one_day = pd.DatetimeIndex(["2024-01-01T12:00Z"] * 100)
    found = evaluation.interval("accuracy", labels, probabilities, one_day, seed=0)
    assert found.estimate == pytest.approx(evaluation.classification(labels, probabilities).accuracy)
    assert np.isnan([found.low, found.high]).all()
    assert found.days == 1
    times = spread(100, 20)
    assert np.isnan(evaluation.interval("accuracy", labels, probabilities, times, block=5, seed=0).low)
    assert not np.isnan(evaluation.interval("accuracy", labels, probabilities, times, block=4, seed=0).low)


def test_a_class_that_is_absent_has_no_interval() -> None:
    labels, probabilities = sample(200)
    times = spread(200, 30)
    labels[labels == 2] = 0
    for statistic in ("direction_auc", "roc_auc_short", "average_precision_short", "recall_short"):
        found = evaluation.interval(statistic, labels, probabilities, times, seed=0)
        assert np.isnan([found.estimate, found.low, found.high]).all()
    assert not np.isnan(evaluation.interval("macro_f1", labels, probabilities, times, seed=0).low)


def test_resamples_without_the_class_are_left_out() -> None:
    labels, probabilities = sample(200)
    times = spread(200, 30)
    labels[labels == 2] = 0
    labels[0] = 2  # one day in thirty: every third resample lacks it
    found = evaluation.interval("roc_auc_short", labels, probabilities, times, block=1, seed=0)
    assert 0 <= found.low <= found.high <= 1


def test_one_window() -> None:
    labels, probabilities = np.array([1]), np.array([[0.2, 0.5, 0.3]])
    times = pd.DatetimeIndex(["2024-01-01T00:00Z"])
    assert evaluation.classification(labels, probabilities).macro_f1 == 1.0
    assert evaluation.calibration(labels, probabilities)["long"].error == pytest.approx(0.5)
    assert np.isnan(evaluation.direction_auc(labels, probabilities))
    for statistic in STATISTICS:
        assert np.isnan(evaluation.interval(statistic, labels, probabilities, times, seed=0).low)
    assert evaluation.by(["A"], labels, probabilities, least=1).loc["A", "macro_f1"] == 1.0


# --- differences


def test_a_model_does_not_differ_from_itself() -> None:
    labels, probabilities = sample(300)
    for statistic in STATISTICS:
        found = evaluation.difference_interval(statistic, labels, probabilities, probabilities, spread(300, 30), seed=0)
        assert found == Interval(0.0, 0.0, 0.0, 30, 3)


def test_a_difference_turns_with_the_models_and_is_narrower_than_the_two_together() -> None:
    labels, probabilities, times = walked(4)
    generator = np.random.default_rng(0)
    blurred = 0.8 * probabilities + 0.2 * generator.dirichlet([1, 1, 1], len(labels))
    one, other = (
        evaluation.interval("direction_auc", labels, each, times, seed=2) for each in (probabilities, blurred)
    )
    found = evaluation.difference_interval("direction_auc", labels, probabilities, blurred, times, seed=2)
    turned = evaluation.difference_interval("direction_auc", labels, blurred, probabilities, times, seed=2)
    assert found.estimate == pytest.approx(one.estimate - other.estimate)
    assert (turned.low, turned.high) == (pytest.approx(-found.high), pytest.approx(-found.low))
    assert found.high - found.low < 0.5 * min(one.high - one.low, other.high - other.low)


def test_the_interval_of_a_difference_holds_none_where_there_is_none() -> None:
    held = 0
    for seed in range(300):
        labels, probabilities, times = walked(seed)
        generator = np.random.default_rng([seed, 1])
        one, other = (0.7 * probabilities + 0.3 * generator.dirichlet([1, 1, 1], len(labels)) for _ in range(2))
        found = evaluation.difference_interval(
            "direction_auc", labels, one, other, times, block=1, resamples=200, seed=seed
        )
        held += found.low <= 0 <= found.high
    assert held / 300 >= 0.90


# --- groups


def test_groups_are_judged_as_if_alone() -> None:
    labels, probabilities = sample(900, seed=2)
    groups = np.random.default_rng(0).choice(["B", "A", "C"], 900)
    found = evaluation.by(groups, labels, probabilities)
    assert found.index.tolist() == ["A", "B", "C"]
    assert found.index.name == "group"
    for name, row in found.iterrows():
        chosen = groups == name
        assert row["count"] == chosen.sum()
        assert row["directional"] == (labels[chosen] > 0).sum()
        assert same(row["macro_f1"], evaluation.classification(labels[chosen], probabilities[chosen]).macro_f1)
        assert same(row["direction_auc"], evaluation.direction_auc(labels[chosen], probabilities[chosen]))


def test_groups_with_too_few_windows_are_nan() -> None:
    labels = np.array([1, 2, 0, 0, 1, 1, 0, 0, 0])
    probabilities = sample(9)[1]
    groups = pd.Series(list("aaaabbbcc"))
    found = evaluation.by(groups, labels, probabilities, least=3)
    assert found["count"].tolist() == [4, 3, 2]
    assert found["directional"].tolist() == [2, 2, 0]
    assert found["macro_f1"].isna().tolist() == [False, False, True]
    assert found["direction_auc"].isna().all()
    assert evaluation.by(groups, labels, probabilities, least=2)["direction_auc"].isna().tolist() == [False, True, True]


def test_months_are_those_of_utc() -> None:
    times = pd.DatetimeIndex(["2024-01-31T23:59", "2024-02-01T00:00", "2024-02-29T12:00"], tz="UTC")
    expected = pd.DatetimeIndex(["2024-01-01", "2024-02-01", "2024-02-01"], tz="UTC")
    assert evaluation.months(times).equals(expected)
    assert evaluation.months(times.tz_convert("America/New_York")).equals(expected)
    labels, probabilities = sample(3)
    found = evaluation.by(evaluation.months(times), labels, probabilities, least=1)
    assert found.index.tolist() == expected[:2].tolist()
    assert found["count"].tolist() == [1, 2]


# --- refusals


CALLS = {
    "classification": evaluation.classification,
    "majority": lambda labels, _: evaluation.majority_classification(labels, [1, 1, 1]),
    "curves": evaluation.curves,
    "calibration": evaluation.calibration,
    "direction_auc": evaluation.direction_auc,
    "interval": lambda labels, given: evaluation.interval("accuracy", labels, given, spread(20, 20), seed=0),
    "difference": lambda labels, given: evaluation.difference_interval(
        "accuracy", labels, sample(20)[1], given, spread(20, 20), seed=0
    ),
    "by": lambda labels, given: evaluation.by(["a"] * 20, labels, given),
}


@pytest.mark.parametrize("name", [name for name in CALLS if name != "majority"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -0.1, 1.2])
def test_probabilities_that_are_none_are_refused(name, value) -> None:
    labels, probabilities = sample(20)
    probabilities[3, 1] = value
    with pytest.raises(EvaluationError, match=r"1 of 20 windows.*window 3; allowed: finite numbers within 0 … 1"):
        CALLS[name](labels, probabilities)


def test_probabilities_that_do_not_sum_to_one_are_refused() -> None:
    labels, probabilities = sample(20)
    with pytest.raises(EvaluationError, match="20 of 20 windows"):
        evaluation.classification(labels, probabilities * 0.9)


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("label", [3, -1])
def test_unknown_labels_are_refused(name, label) -> None:
    labels, probabilities = sample(20)
    labels[4] = label
    with pytest.raises(EvaluationError, match=rf"hold \[{label}\]; allowed: 0 neutral, 1 long and 2 short"):
        CALLS[name](labels, probabilities)


@pytest.mark.parametrize("name", [name for name in CALLS if name != "majority"])
def test_shapes_that_do_not_fit_are_refused(name) -> None:
    labels, probabilities = sample(20)
    for wrong in ((labels[:19], probabilities), (labels, probabilities[:, :2]), (labels[:0], probabilities[:0])):
        with pytest.raises(EvaluationError, match=r"allowed: \(n,\) and \(n, 3\), n from 1"):
            CALLS[name](*wrong)


def test_whole_numbers_are_no_probabilities() -> None:
    with pytest.raises(EvaluationError, match="float32 and float64"):
        evaluation.classification(np.array([0]), np.array([[1, 0, 0]]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"statistic": "sharpe"}, "allowed: accuracy, macro_f1"),
        ({"level": 1.0}, "level"),
        ({"level": np.nan}, "level"),
        ({"resamples": 0}, "resamples"),
        ({"block": 0}, "block"),
        ({"block": 2.5}, "block"),
        ({"seed": -1}, "seed"),
        ({"times": spread(19, 5)}, "19 times for 20 windows"),
        ({"times": spread(20, 5).tz_localize(None)}, "with a time zone"),
        ({"times": pd.DatetimeIndex([pd.NaT] * 20, tz="UTC")}, "no missing time"),
        ({"times": np.arange(20)}, "allowed: a DatetimeIndex"),
    ],
)
def test_options_out_of_bounds_are_refused(options, message) -> None:
    labels, probabilities = sample(20)
    arguments = {"statistic": "accuracy", "times": spread(20, 5), "seed": 0} | options
    with pytest.raises(EvaluationError, match=message):
        evaluation.interval(labels=labels, probabilities=probabilities, **arguments)
    with pytest.raises(EvaluationError, match=message):
        evaluation.difference_interval(labels=labels, one=probabilities, other=probabilities, **arguments)


@pytest.mark.parametrize(
    "call",
    [
        lambda labels, given: evaluation.curves(labels, given, points=19),
        lambda labels, given: evaluation.calibration(labels, given, bins=0),
        lambda labels, given: evaluation.by(["a"] * 20, labels, given, least=0),
        lambda labels, given: evaluation.by(["a"] * 19, labels, given),
        lambda labels, given: evaluation.by(["a", None] * 10, labels, given),
    ],
)
def test_other_options_out_of_bounds_are_refused(call) -> None:
    with pytest.raises(EvaluationError, match="allowed: "):
        call(*sample(20))


# --- several models at once


@pytest.mark.parametrize("statistic", ["macro_f1", "direction_auc", "average_precision_long", "log_loss"])
def test_models_compared_at_once_are_those_compared_one_by_one(statistic: str) -> None:
    generator = np.random.default_rng(5)
    labels = generator.integers(0, 3, 600)
    models = {name: generator.dirichlet([2, 1, 1], 600) for name in ("cnn", "other", "third")}
    times = spread(600, 40)
    found = evaluation.compared(statistic, labels, models, times, "cnn", resamples=50, seed=3)
    for name, (alone, difference) in found.items():
        assert alone == evaluation.interval(statistic, labels, models[name], times, resamples=50, seed=3)
        expected = evaluation.difference_interval(
            statistic, labels, models["cnn"], models[name], times, resamples=50, seed=3
        )
        assert difference == (None if name == "cnn" else expected)
    with pytest.raises(EvaluationError, match="the reference is 'lstm'; allowed: cnn, other, third"):
        evaluation.compared(statistic, labels, models, times, "lstm", seed=3)


def test_weighted_probabilities_are_brought_back_to_the_shares() -> None:
    """Where the score says nothing, balanced training says a third each, and the truth is the shares."""
    np.testing.assert_allclose(evaluation.at_shares(np.full((2, 3), 1 / 3), [60, 30, 10]), [[0.6, 0.3, 0.1]] * 2)
    # odds are scaled by the ratio of the shares, and nothing else
    given = np.array([[0.2, 0.5, 0.3]])
    back = evaluation.at_shares(given, [50, 25, 25])
    assert back[0, 1] / back[0, 0] == pytest.approx(0.5 / 0.2 * 25 / 50)
    assert back.sum() == pytest.approx(1.0)
    np.testing.assert_allclose(evaluation.at_shares(np.array([[0.0, 0.0, 1.0]]), [3, 1, 0]), [[0.75, 0.25, 0.0]])
    with pytest.raises(EvaluationError, match="training counts"):
        evaluation.at_shares(given, [0, 0, 0])
    with pytest.raises(EvaluationError, match="shape"):
        evaluation.at_shares(given[0], [1, 1, 1])
