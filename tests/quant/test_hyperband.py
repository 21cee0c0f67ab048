import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant.hyperband import HyperbandError, Rung, brackets, ranked, survivors

SCORES = st.dictionaries(
    st.integers(0, 50), st.one_of(st.none(), st.just(math.nan), st.sampled_from([0.0, 0.25, 0.5]), st.floats(-1, 1))
)


def table(epochs: int, factor: int) -> dict[int, list[tuple[int, int]]]:
    return {each.number: [(rung.trials, rung.epochs) for rung in each.rungs] for each in brackets(epochs, factor)}


def test_the_table_of_the_paper():
    assert table(81, 3) == {
        4: [(81, 1), (27, 3), (9, 9), (3, 27), (1, 81)],
        3: [(34, 3), (11, 9), (3, 27), (1, 81)],
        2: [(15, 9), (5, 27), (1, 81)],
        1: [(8, 27), (2, 81)],
        0: [(5, 81)],
    }


def test_the_settings_of_the_article():
    assert table(20, 3) == {2: [(9, 3), (3, 7), (1, 20)], 1: [(5, 7), (1, 20)], 0: [(3, 20)]}


def test_an_epoch_alone_is_a_bracket_of_one_rung():
    assert table(1, 3) == {0: [(1, 1)]}


@given(st.integers(1, 3_000), st.integers(2, 6))
def test_brackets_are_what_the_paper_says(epochs: int, factor: int):
    made = brackets(epochs, factor)
    most = made[0].number
    assert factor**most <= epochs < factor ** (most + 1)
    assert [bracket.number for bracket in made] == list(range(most, -1, -1))
    for bracket in made:
        assert len(bracket.rungs) == bracket.number + 1
        assert bracket.rungs[-1].epochs == epochs
        assert bracket.rungs[0].trials == math.ceil((most + 1) * factor**bracket.number / (bracket.number + 1))
        for before, after in zip(bracket.rungs, bracket.rungs[1:], strict=False):
            assert after.trials == before.trials // factor >= 1
            assert before.epochs < after.epochs <= factor * before.epochs
        # a bracket costs about as much as any other: (most + 1) trainings to the end, and what rounding adds
        assert (
            sum(rung.trials * epochs / factor ** (bracket.number - level) for level, rung in enumerate(bracket.rungs))
            <= (most + 1 + bracket.number + 1) * epochs
        )


@given(SCORES, st.integers(0, 60))
def test_those_go_on_that_no_other_beats(scores: dict[int, float | None], count: int):
    chosen = survivors(scores, count)
    sound = {number for number, score in scores.items() if score is not None and not math.isnan(score)}
    assert chosen == sorted(set(chosen))
    assert set(chosen) <= sound
    assert len(chosen) == min(count, len(sound))
    for inside in chosen:
        for outside in sound - set(chosen):
            assert (-scores[inside], inside) < (-scores[outside], outside)  # type: ignore[operator]


@given(SCORES, st.integers(0, 20))
def test_the_order_in_which_trials_ended_does_not_matter(scores: dict[int, float | None], count: int):
    assert survivors(dict(reversed(scores.items())), count) == survivors(scores, count)


def test_of_equals_the_earlier_goes_on_and_a_failed_one_never():
    assert survivors({3: 0.5, 1: 0.5, 2: 0.5, 0: None}, 2) == [1, 2]
    assert survivors({0: None, 1: math.nan, 2: -9.0}, 2) == [2]
    assert ranked({0: 0.1, 1: None, 2: 0.3, 3: 0.3}) == [2, 3, 0]


@pytest.mark.parametrize(("epochs", "factor"), [(0, 3), (-1, 3), (9, 1), (9, 0)])
def test_what_makes_no_brackets_is_refused(epochs: int, factor: int):
    with pytest.raises(HyperbandError, match=f"{epochs} epochs by a factor of {factor}; allowed"):
        brackets(epochs, factor)


def test_a_negative_count_is_refused():
    with pytest.raises(HyperbandError, match="-1 trials are to go on; allowed: 0 or more"):
        survivors({}, -1)


def test_rungs_compare_by_value():
    assert brackets(3, 3)[0].rungs == (Rung(2 * 3 // 2, 1), Rung(1, 3))
