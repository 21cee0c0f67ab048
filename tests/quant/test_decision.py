import numpy as np
import pytest
from sklearn import metrics

from quant import decision


def random_probabilities(rows: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet([2.0, 1.0, 1.0], rows).astype(np.float32)


def test_signal_is_the_likelier_side_from_the_threshold_on() -> None:
    probabilities = np.array(
        [[0.2, 0.5, 0.3], [0.2, 0.3, 0.5], [0.1, 0.45, 0.45], [0.52, 0.48, 0.0], [np.nan, np.nan, np.nan]]
    )
    assert decision.signals(probabilities, 0.5).tolist() == [1, 2, 0, 0, 0]
    assert decision.signals(probabilities, 0.4).tolist() == [1, 2, 0, 1, 0]
    assert decision.signals(probabilities, 0.4).dtype == np.int8
    assert not decision.signals(probabilities, decision.NEVER).any()


def test_threshold_taken_from_float32_probabilities_reaches_its_own_row() -> None:
    probabilities = random_probabilities(400)
    long = probabilities[:, 1]
    threshold = float(long[7])
    expected = (long >= long[7]) & (long > probabilities[:, 2])
    assert np.array_equal(decision.signals(probabilities, threshold) == 1, expected)


def test_wrong_shape_is_named() -> None:
    with pytest.raises(decision.DecisionError, match=r"\(n, 3\).*\(4, 2\)"):
        decision.signals(np.zeros((4, 2)), 0.5)


def planted(rows: int = 4000, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of which only the confident ones foretell the outcome."""
    generator = np.random.default_rng(seed)
    probabilities = random_probabilities(rows, seed)
    direction = np.where(probabilities[:, 1] > probabilities[:, 2], 1.0, -1.0)
    confident = probabilities[:, 1:].max(axis=1) > 0.6
    return probabilities, generator.normal(0, 0.01, rows) + np.where(confident, 0.008, 0.0) * direction


def test_threshold_finds_where_the_edge_begins() -> None:
    probabilities, outcome = planted()
    threshold = decision.choose_threshold(probabilities, outcome, cost=0.002)
    assert 0.55 < threshold < 0.66
    signals = decision.signals(probabilities, threshold)
    assert np.where(signals == 1, outcome, -outcome)[signals > 0].mean() > 0.005


def test_threshold_maximises_the_t_statistic_of_net_outcomes() -> None:
    probabilities, outcome = planted(600)
    quantiles = (0.2, 0.5, 0.8)
    favoured = probabilities[:, 1:].max(axis=1)
    scores = {}
    for candidate in np.quantile(favoured, quantiles, method="higher"):
        signals = decision.signals(probabilities, float(candidate))
        net = (np.where(signals == 1, outcome, -outcome) - 0.002)[signals > 0]
        scores[float(candidate)] = net.mean() / (net.std(ddof=1) / np.sqrt(len(net)))
    chosen = decision.choose_threshold(probabilities, outcome, 0.002, quantiles=quantiles)
    assert chosen == max(scores, key=scores.__getitem__)


def test_an_edge_smaller_than_the_cost_is_never_traded() -> None:
    probabilities = random_probabilities(4000)
    direction = np.where(probabilities[:, 1] > probabilities[:, 2], 1.0, -1.0)
    outcome = np.random.default_rng(3).normal(0, 0.01, 4000) + 0.001 * direction
    assert decision.choose_threshold(probabilities, outcome, cost=0.0) < 1
    assert decision.choose_threshold(probabilities, outcome, cost=0.003) == decision.NEVER > 1


def test_too_few_signals_do_not_qualify() -> None:
    probabilities, outcome = planted(200)
    assert decision.choose_threshold(probabilities, outcome, 0.0, minimum_signals=201) == decision.NEVER
    assert decision.choose_threshold(probabilities, outcome, 0.0, quantiles=(0.99,)) == decision.NEVER
    assert decision.choose_threshold(probabilities, outcome, 0.0, quantiles=(0.99,), minimum_signals=2) < 1


def test_unknown_outcomes_change_nothing() -> None:
    probabilities, outcome = planted()
    more = np.concatenate([random_probabilities(500, 9), probabilities])
    unknown = np.concatenate([np.full(500, np.nan), outcome])
    assert decision.choose_threshold(more, unknown, 0.002) == decision.choose_threshold(probabilities, outcome, 0.002)
    assert decision.choose_threshold(more[:500], unknown[:500], 0.0) == decision.NEVER


def test_among_equals_the_threshold_that_trades_least_wins() -> None:
    # 60 confident rows that earn, and 60 less confident ones that neither earn nor lose: the sums are equal
    probabilities = np.concatenate([np.tile([[0.1, 0.8, 0.1]], (60, 1)), np.tile([[0.3, 0.6, 0.1]], (60, 1))])
    outcome = np.concatenate([np.tile([0.01, 0.02], 30), np.zeros(60)])
    chosen = decision.choose_threshold(probabilities, outcome, 0.0, quantiles=(0.0, 1.0), minimum_signals=10)
    assert chosen == pytest.approx(0.8)


def test_all_that_earns_its_costs_is_taken_and_not_the_surest_few_alone() -> None:
    # the less confident rows earn less, and less surely, so the t-statistic falls with them while the sum grows
    probabilities = np.concatenate([np.tile([[0.1, 0.8, 0.1]], (60, 1)), np.tile([[0.3, 0.6, 0.1]], (60, 1))])
    outcome = np.concatenate([np.tile([0.019, 0.021], 30), np.tile([0.05, -0.03], 30)])
    chosen = decision.choose_threshold(probabilities, outcome, 0.0, quantiles=(0.0, 1.0), minimum_signals=10)
    assert chosen == pytest.approx(0.6)
    dear = decision.choose_threshold(probabilities, outcome, 0.015, quantiles=(0.0, 1.0), minimum_signals=10)
    assert dear == pytest.approx(0.8)


def test_repeating_rows_within_a_group_lends_no_confidence() -> None:
    generator = np.random.default_rng(5)
    probabilities, outcome = random_probabilities(300, 5), generator.normal(0.0, 0.01, 300)
    direction = np.where(probabilities[:, 1] > probabilities[:, 2], 1.0, -1.0)
    outcome += direction * 0.0008
    repeated, groups = np.repeat(probabilities, 25, axis=0), np.repeat(np.arange(300), 25)
    settings = {"cost": 0.0, "quantiles": (0.0,), "minimum_t": 2.5}
    assert decision.choose_threshold(probabilities, outcome, **settings) == decision.NEVER
    assert decision.choose_threshold(repeated, np.repeat(outcome, 25), **settings) < 1
    assert decision.choose_threshold(repeated, np.repeat(outcome, 25), groups=groups, **settings) == decision.NEVER


def test_lengths_must_agree() -> None:
    with pytest.raises(decision.DecisionError, match="10 rows of probabilities, 9 outcomes"):
        decision.choose_threshold(random_probabilities(10), np.zeros(9), 0.0)


def test_figures_agree_with_scikit_learn() -> None:
    probabilities = random_probabilities(500)
    labels = np.random.default_rng(2).choice(3, 500, p=[0.7, 0.2, 0.1]).astype(np.int8)
    predicted = probabilities.argmax(axis=1)
    figures = decision.figures(labels, probabilities)
    assert figures["confusion"] == metrics.confusion_matrix(labels, predicted).tolist()
    assert figures["accuracy"] == pytest.approx(metrics.accuracy_score(labels, predicted))
    assert figures["macro_f1"] == pytest.approx(metrics.f1_score(labels, predicted, average="macro"))
    assert figures["balanced_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(labels, predicted))
    exact = probabilities.astype(np.float64)
    assert figures["log_loss"] == pytest.approx(metrics.log_loss(labels, exact / exact.sum(axis=1, keepdims=True)))
    assert figures["majority_accuracy"] == pytest.approx(np.mean(labels == 0))
    assert figures["majority_macro_f1"] == pytest.approx(
        metrics.f1_score(labels, np.zeros_like(labels), average="macro", zero_division=0)
    )
    report = metrics.classification_report(labels, predicted, output_dict=True)
    for code, name in enumerate(decision.CLASSES):
        assert figures["classes"][name]["precision"] == pytest.approx(report[str(code)]["precision"])
        assert figures["classes"][name]["recall"] == pytest.approx(report[str(code)]["recall"])
        assert figures["classes"][name]["f1"] == pytest.approx(report[str(code)]["f1-score"])


def test_an_always_neutral_model_has_a_poor_macro_f1() -> None:
    labels = np.array([0] * 74 + [1] * 13 + [2] * 13, dtype=np.int8)
    figures = decision.figures(labels, np.tile([[0.9, 0.05, 0.05]], (100, 1)))
    assert figures["accuracy"] == figures["majority_accuracy"] == 0.74
    assert figures["macro_f1"] == figures["majority_macro_f1"] == pytest.approx(0.2835, abs=1e-4)
    assert figures["balanced_accuracy"] == pytest.approx(1 / 3)
    assert figures["classes"]["long"]["precision"] is None


def test_a_class_that_does_not_occur_counts_nowhere() -> None:
    labels = np.array([0, 1, 1, 0], dtype=np.int8)
    figures = decision.figures(labels, np.eye(3)[labels])
    assert figures["macro_f1"] == figures["balanced_accuracy"] == 1.0
    assert figures["classes"]["short"]["recall"] is None
    assert figures["log_loss"] == 0.0


def test_certain_mistakes_have_a_finite_log_loss() -> None:
    assert 80 < decision.log_loss(np.array([1]), np.array([[1.0, 0.0, 0.0]])) < 100


@pytest.mark.parametrize(
    ("labels", "probabilities", "message"),
    [
        ([], np.empty((0, 3)), "0 labels"),
        ([0], np.full((1, 3), np.nan), "finite"),
        ([3], np.full((1, 3), 1 / 3), r"\[3\].*0, 1 and 2"),
        ([0, 1], np.full((1, 3), 1 / 3), "2 labels do not match 1"),
    ],
)
def test_figures_of_nonsense_are_refused(labels: list[int], probabilities: np.ndarray, message: str) -> None:
    with pytest.raises(decision.DecisionError, match=message):
        decision.figures(np.array(labels, dtype=np.int8), probabilities)
