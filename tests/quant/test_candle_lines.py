"""Plain lines are read as `float` and `int` read them, to the last bit; anything else is left to another reader."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant import candle_lines


def read(text: str, width: int = 3, start: int = 0) -> tuple[list[int], list[list[float]]] | None:
    found = candle_lines.read(text.encode(), start, ",", width, 0, [2, 1])
    return None if found is None else (found[0].tolist(), found[1].tolist())


read("1,2,3\n")  # compiled before anything is timed

numbers = st.one_of(
    st.integers(-(10**15), 10**15).map(str),
    st.decimals(-(10**6), 10**6, allow_nan=False, allow_infinity=False, places=8).map(lambda number: f"{number:f}"),
    st.floats(1e-8, 1e7).map(repr).filter(lambda text: "e" not in text and len(text) < 17),
    st.sampled_from(["0", "-0", "0.0", "00012.50", ".5", "7.", "9007199254740992", "0.1234567890123456"]),
)


@given(
    rows=st.lists(st.tuples(st.integers(0, 4 * 10**17), numbers, numbers), min_size=1, max_size=20),
    ending=st.sampled_from(["\n", "\r\n"]),
    closed=st.booleans(),
)
def test_every_value_is_that_of_pythons_own_reader(*, rows: list[tuple[int, str, str]], ending: str, closed: bool):
    text = ending.join(f"{time},{first},{second}" for time, first, second in rows) + ending * closed
    found = read(text)
    assert found is not None
    assert found[0] == [time for time, _, _ in rows]
    expected = [[float(second) for _, _, second in rows], [float(first) for _, first, _ in rows]]
    np.testing.assert_array_equal(np.array(found[1]).view(np.int64), np.array(expected).view(np.int64))


@given(st.text(alphabet="0123456789.,-+eE \"'\n\rnaN\t", max_size=60))
def test_whatever_is_read_of_any_text_is_what_its_lines_say(text: str):
    found = read(text)
    if found is None:
        return
    lines = [line.removesuffix("\r").split(",") for line in text.split("\n")]
    lines = lines[:-1] if text.endswith("\n") or not text else lines
    assert found == (
        [int(line[0]) for line in lines],
        [[float(line[2]) for line in lines], [float(line[1]) for line in lines]],
    )
    assert all(len(line) == 3 for line in lines)


@pytest.mark.parametrize(
    "line",
    [
        "1,2", "1,2,3,4", "1,2,", "1,,3", "1,2, 3", "1,+2,3", "1,2e3,3", "1,nan,3", '1,"2",3', "1,2,3 ", "1,.,3",
        "1,-,3", "1,1.2.3,3", "-1,2,3", "1.0,2,3", "1,9007199254740993,3", "1,0.00000000000000000000001,3",
        "999999999999999999,2,3", "", "1,2,3\r4",
    ],
)  # fmt: skip
def test_anything_that_is_not_plain_is_given_back(line: str):
    assert read(f"1,2,3\n{line}\n4,5,6\n") is None


def test_other_columns_and_what_comes_before_the_start_are_passed_over():
    found = candle_lines.read(b"time;x;v\n5;what, ever;1.5\n6;;2.5", 9, ";", 3, 0, [2])
    assert found is not None
    assert (found[0].tolist(), found[1].tolist()) == ([5, 6], [[1.5, 2.5]])


def test_a_column_that_is_asked_for_twice_is_left_to_another_reader():
    assert candle_lines.read(b"1,2\n", 0, ",", 2, 0, [0]) is None
