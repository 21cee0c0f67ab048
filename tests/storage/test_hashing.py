"""Hashes change with the results and with nothing else."""

from dataclasses import replace
from decimal import Context, Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant import schemas
from quant.schemas import Column, Dataset
from storage.errors import SchemaError
from storage.hashing import canonical_json, combine, fingerprint, frame_hash, round_digits

TRADES = pd.DataFrame(
    {
        "number": [0, 1, 2],
        "side": ["long", "short", "long"],
        "size": [1.5, -2.0, 0.25],
        "entry_time": pd.to_datetime(["2024-01-01", "2024-01-02", "2024-01-03"], utc=True),
        "exit_time": pd.to_datetime(["2024-01-02", "2024-01-03", "2024-01-04"], utc=True),
        "entry_price": [100.0, 110.0, 0.000123456789],
        "exit_price": [110.0, 100.0, 0.000123456799],
        "pnl": [15.0, 20.0, -0.0],
        "commission": [0.1, 0.1, 0.1],
        "trade_return": [0.1, 0.09, 0.0],
        "funding": [0.0, -0.5, 0.25],
        "exit": ["target", "order", "stop"],
    }
)
FEATURES = pd.DataFrame(
    {"beta": [np.nan, 1.0, -0.0], "alpha": [np.inf, 2.0, 3.0]},
    dtype="float32",
    index=pd.date_range("2024-01-01", periods=3, freq="15min", tz="UTC", name="time"),
)
LABELS = pd.DataFrame(
    {
        "time": FEATURES.index,
        "label": pd.array([0, 2, None], dtype="Int8"),
        "outcome": [0.1, -0.1, np.nan],
    }
)
CHANGES = {
    "number": 3,
    "side": "short",
    "size": 0.2500001,
    "entry_time": pd.Timestamp("2024-01-03 00:00:00.000001", tz="UTC"),
    "exit_time": pd.Timestamp("2024-01-05", tz="UTC"),
    "entry_price": 0.000123456788,
    "exit_price": 0.0001234568,
    "pnl": 1e-12,
    "commission": -0.1,
    "trade_return": 1e-9,
    "funding": 0.2500001,
    "exit": "target",
}


@pytest.mark.parametrize(("column", "value"), CHANGES.items())
def test_one_changed_cell_of_one_trade_changes_the_hash(column: str, value: object) -> None:
    changed = TRADES.copy()
    changed.loc[2, column] = value
    assert frame_hash(changed, schemas.TRADES) != frame_hash(TRADES, schemas.TRADES)


def test_a_missing_trade_changes_the_hash() -> None:
    hashes = {frame_hash(TRADES.head(rows), schemas.TRADES) for rows in range(4)}
    assert len(hashes) == 4


def test_text_does_not_run_from_one_row_into_the_next() -> None:
    first, second = TRADES.copy(), TRADES.copy()
    first["side"] = ["ab", "c", ""]
    second["side"] = ["a", "bc", ""]
    assert frame_hash(first, schemas.TRADES) != frame_hash(second, schemas.TRADES)


@given(st.floats(-1e-12, 1e-12))
@settings(deadline=None)
def test_a_perturbation_in_the_twelfth_digit_does_not_change_the_hash(relative: float) -> None:
    perturbed = TRADES.copy()
    numbers = perturbed.select_dtypes("float64").columns
    perturbed[numbers] *= 1 + relative
    assert frame_hash(perturbed, schemas.TRADES) == frame_hash(TRADES, schemas.TRADES)


@given(st.permutations(list(TRADES.columns)), st.permutations([0, 1, 2]), st.sampled_from(["s", "ms", "us", "ns"]))
@settings(deadline=None, max_examples=30)
def test_order_and_unit_do_not_matter(columns: list[str], rows: list[int], unit: str) -> None:
    shuffled = TRADES.loc[rows, columns].astype({"exit_time": f"datetime64[{unit}, UTC]"})
    assert frame_hash(shuffled, schemas.TRADES) == frame_hash(TRADES, schemas.TRADES)


def test_the_place_of_the_key_and_the_order_of_features_do_not_matter() -> None:
    expected = frame_hash(FEATURES, schemas.FEATURES)
    assert frame_hash(FEATURES.reset_index(), schemas.FEATURES) == expected
    assert frame_hash(FEATURES[["alpha", "beta"]], schemas.FEATURES) == expected
    assert frame_hash(FEATURES.rename(columns={"alpha": "gamma"}), schemas.FEATURES) != expected
    swapped = FEATURES.rename(columns={"alpha": "beta", "beta": "alpha"})
    assert frame_hash(swapped, schemas.FEATURES) != expected


def test_float32_enters_by_its_bits_with_one_nan_and_one_zero() -> None:
    expected = frame_hash(FEATURES, schemas.FEATURES)
    other = FEATURES.copy()
    payload = np.array([0xFFC00001], dtype=np.uint32).view(np.float32)[0]
    other["beta"] = np.array([payload, 1.0, 0.0], dtype=np.float32)
    assert frame_hash(other, schemas.FEATURES) == expected
    other.loc[other.index[1], "beta"] = np.nextafter(np.float32(1), np.float32(2))
    assert frame_hash(other, schemas.FEATURES) != expected


@pytest.mark.parametrize("label", [[0, 2, 0], [0, 2, 1], [0, None, 2], [None, 2, None]])
def test_a_null_is_not_a_value(label: list[int | None]) -> None:
    other = LABELS.assign(label=pd.array(label, dtype="Int8"))
    assert frame_hash(other, schemas.LABELS) != frame_hash(LABELS, schemas.LABELS)


def test_plain_and_masked_integers_of_one_value_are_the_same() -> None:
    plain = LABELS.assign(label=np.array([0, 2, 1], dtype=np.int8))
    masked = LABELS.assign(label=pd.array([0, 2, 1], dtype="Int8"))
    assert frame_hash(plain, schemas.LABELS) == frame_hash(masked, schemas.LABELS)


def test_text_booleans_and_absent_text_enter() -> None:
    dataset = Dataset("d", 1, "", ("n",), (
        Column("n", "int64", "", ""), Column("text", "string", "", "", nullable=True), Column("flag", "bool", "", "")
    ))  # fmt: skip
    frames = [
        pd.DataFrame({"n": [0], "text": [text], "flag": [flag]})
        for text, flag in (("币", True), ("币", False), ("", True), (None, True))
    ]
    assert len({frame_hash(frame, dataset) for frame in frames}) == 4


def test_name_version_and_types_of_the_dataset_enter() -> None:
    trades = schemas.TRADES
    datasets = [trades, replace(trades, version=trades.version + 1), replace(trades, name="other")]
    assert len({frame_hash(TRADES, dataset) for dataset in datasets}) == 3


def test_a_key_that_is_there_twice_has_no_hash() -> None:
    with pytest.raises(SchemaError, match="more than once"):
        frame_hash(pd.concat([TRADES, TRADES]), schemas.TRADES)


def test_the_hash_of_a_known_frame_stays() -> None:
    # a change here makes every stored result hash incomparable: raise the datasets' versions with it
    assert frame_hash(TRADES, schemas.TRADES)[:16] == "99c97323de66bd24"


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(allow_nan=False, allow_infinity=False))
@settings(deadline=None, max_examples=300)
def test_rounding_agrees_with_decimal_arithmetic(value: float, other: float) -> None:
    nine = Context(prec=9)
    codes = round_digits(np.array([value, other]))
    for number, code in zip((value, other), codes, strict=True):
        if abs(number) < 1e-290:
            assert code == 0
            continue
        exact = nine.create_decimal(Decimal(number))
        neighbours = {exact, nine.next_plus(exact), nine.next_minus(exact)}
        decoded = Decimal(int(abs(code)) >> 10).scaleb((int(abs(code)) & 1023) - 290 - 8) * (-1 if code < 0 else 1)
        # one unit of the ninth digit off is right where the number lies on the edge between two
        edge = abs(abs(Decimal(number) - exact) / Decimal(10) ** (exact.adjusted() - 8) - Decimal("0.5")) < Decimal(
            "1e-6"
        )
        assert decoded == exact or (edge and decoded in neighbours)


@pytest.mark.parametrize(
    ("value", "same"),
    [
        (1.0, 1.0 + 1e-10),
        (9.999999999, 10.0),
        (0.1 + 0.2, 0.3),
        (1e23, 1e23 * (1 + 1e-15)),
        (123456789.4, 123456789.0),
        (0.0, -0.0),
        (1e-300, 0.0),
        (np.nan, -np.nan),
    ],
)
def test_values_equal_in_nine_digits_are_the_same(value: float, same: float) -> None:
    codes = round_digits(np.array([value, same, -value, -same]))
    assert codes[0] == codes[1]
    assert codes[2] == codes[3]


def test_values_that_differ_in_nine_digits_are_not() -> None:
    values = [0.0, 1.0, -1.0, 1.00000001, 10.0, 0.1, 1e300, 1e-289, np.inf, -np.inf, np.nan, 123456789.0, 123456790.0]
    assert len(set(round_digits(np.array(values)).tolist())) == len(values)


def test_a_fingerprint_does_not_depend_on_the_order_of_keys() -> None:
    first = {"b": [1, 2.5, None, True], "a": {"x": "币", "y": (1,)}}
    second = {"a": {"y": [1], "x": "币"}, "b": [1, 2.5, None, True]}
    assert fingerprint(first) == fingerprint(second)
    assert canonical_json(first) == '{"a":{"x":"\\u5e01","y":[1]},"b":[1,2.5,null,true]}'


@pytest.mark.parametrize(
    "other", [{"a": 2}, {"a": 1.5}, {"a": True}, {"a": "1"}, {"a": None}, {"a": [1]}, {"b": 1}, {}]
)
def test_a_fingerprint_changes_with_its_payload(other: dict[str, object]) -> None:
    assert fingerprint(other) != fingerprint({"a": 1})


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ({"a": [1, float("nan")]}, r"payload\['a'\]\[1\] is nan"),
        ({"a": float("inf")}, r"payload\['a'\] is inf"),
        ({"a": {1: 2}}, r"payload\['a'\] has the key 1 of type int"),
        ({"a": {1, 2}}, r"payload\['a'\] is \{1, 2\} of type set"),
        ({"a": np.int64(1)}, "of type int64"),
        ({"a": pd.Timestamp("2024-01-01")}, "of type Timestamp"),
        ({"a": b"x"}, "of type bytes"),
    ],
)
def test_what_has_no_one_json_form_is_refused_by_its_place(value: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        fingerprint(value)


def test_combined_hashes_depend_on_names_and_hashes_and_not_on_order() -> None:
    assert combine({"a": "1", "b": "2"}) == combine({"b": "2", "a": "1"})
    others = [{"a": "2", "b": "1"}, {"a": "1"}, {"a": "1", "b": "2", "c": ""}, {"a": "12", "b": ""}, {}]
    assert len({combine(other) for other in [*others, {"a": "1", "b": "2"}]}) == 6
