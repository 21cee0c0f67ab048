"""Manifests and receipts: they come back, they say when they cannot, and they belong to one identity."""

from dataclasses import replace
from uuid import uuid4

import pytest

from storage import layout
from storage.errors import StoreError
from storage.hashing import combine
from storage.manifest import (
    Failure,
    Manifest,
    Receipt,
    TableResult,
    delete_manifest,
    delete_receipts,
    delete_run,
    list_runs,
    read_config,
    read_manifest,
    read_receipts,
    write_config,
    write_manifest,
    write_receipt,
)
from storage.store import Store, open_store

MANIFEST = Manifest(
    stage="ingest",
    fingerprint="ab" * 32,
    config={"source": "demo", "fractions": [0.5, 0.25], "nested": {"币": None, "on": True}},
    versions={"ingest": 1, "numpy": "2.4.6"},
    inputs={"nothing": "cd" * 32},
    tickers={"BTC/USDT:USDT": {"rows": 3, "first": "2024-01-01", "share": 0.5, "last": None, "delisted": False}},
    rows={"bars": 3, "quarantine": 0},
    hashes={"bars": "01" * 32, "quarantine": "02" * 32},
    failures=[Failure("../x", "ingest", "BarsError", "no volume")],
    created="2024-01-01T00:00:00+00:00",
    details={"wall_seconds": 1.5},
)
RECEIPT = Receipt(
    stage="features",
    fingerprint="ab" * 32,
    items={"BTC/USDT:USDT": {"features": TableResult(3, "01" * 32)}, "币": {"features": TableResult(0, "02" * 32)}},
    info={"币": {"rows": 0}},
    failures=[Failure("../x", "features", "ValueError", "two\nlines")],
)


@pytest.fixture
def store() -> Store:
    return open_store(f"memory://{uuid4().hex}")


def test_a_manifest_comes_back(store: Store) -> None:
    write_manifest(store, "first", MANIFEST)
    assert read_manifest(store, "first", "ingest") == MANIFEST
    assert store.list() == ["runs/first/manifests/ingest.json"]


def test_types_of_figures_survive(store: Store) -> None:
    write_manifest(store, "first", MANIFEST)
    back = read_manifest(store, "first", "ingest")
    assert back is not None
    assert {name: type(value).__name__ for name, value in back.tickers["BTC/USDT:USDT"].items()} == {
        "rows": "int", "first": "str", "share": "float", "last": "NoneType", "delisted": "bool"
    }  # fmt: skip


def test_ten_thousand_tickers_fit(store: Store) -> None:
    tickers = {f"binance-um:{number}": {"rows": number, "first": "2024-01-01"} for number in range(10_000)}
    manifest = replace(MANIFEST, tickers=tickers)
    write_manifest(store, "first", manifest)
    assert read_manifest(store, "first", "ingest") == manifest


def test_no_manifest_means_not_complete(store: Store) -> None:
    assert read_manifest(store, "first", "ingest") is None
    write_manifest(store, "first", MANIFEST)
    assert read_manifest(store, "first", "features") is None
    assert read_manifest(store, "second", "ingest") is None
    delete_manifest(store, "first", "ingest")
    delete_manifest(store, "first", "ingest")
    assert read_manifest(store, "first", "ingest") is None


def test_an_unreachable_store_is_not_an_incomplete_stage(aws: None) -> None:
    with pytest.raises(StoreError, match="never-made"):
        read_manifest(open_store("s3://never-made"), "first", "ingest")


def test_the_result_hash_is_that_of_the_tables_alone() -> None:
    assert MANIFEST.result_hash == combine(MANIFEST.hashes)
    assert replace(MANIFEST, created="2025", details={}, failures=[]).result_hash == MANIFEST.result_hash
    assert replace(MANIFEST, hashes={**MANIFEST.hashes, "bars": "03" * 32}).result_hash != MANIFEST.result_hash


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", "Invalid JSON"),
        (b"{", "Invalid JSON"),
        (b"\xff", "Invalid JSON|unicode"),
        (b"[]", "valid"),
        (b"{}", "stage: Field required"),
        (b'{"surprise": 1}', "surprise: Unexpected"),
        (b'{"stage": 1}', "stage: Input should be a valid string"),
    ],
)
def test_a_damaged_manifest_is_named(store: Store, data: bytes, complaint: str) -> None:
    if data.startswith(b'{"'):
        write_manifest(store, "first", MANIFEST)
        text = store.read(layout.manifest("first", "ingest"))
        data = text.replace(b'"stage": "ingest"', data[1:-1]) if b"stage" in data else data[:-1] + b"," + text[1:]
    store.write(layout.manifest("first", "ingest"), data)
    with pytest.raises(StoreError, match=complaint) as caught:
        read_manifest(store, "first", "ingest")
    assert "runs/first/manifests/ingest.json" in str(caught.value)
    assert store.url in str(caught.value)
    assert "\n" not in str(caught.value)


def test_text_is_not_taken_for_a_number(store: Store) -> None:
    write_manifest(store, "first", MANIFEST)
    key = layout.manifest("first", "ingest")
    store.write(key, store.read(key).replace(b'"bars": 3', b'"bars": "3"'))
    with pytest.raises(StoreError, match=r"rows\.bars: Input should be a valid integer"):
        read_manifest(store, "first", "ingest")


def test_what_json_cannot_hold_is_refused(store: Store) -> None:
    with pytest.raises(ValueError, match=r"\['details'\]\['loss'\] is nan"):
        write_manifest(store, "first", replace(MANIFEST, details={"loss": float("nan")}))
    assert store.list() == []


def test_a_receipt_comes_back(store: Store) -> None:
    write_receipt(store, "first", RECEIPT)
    assert read_receipts(store, "first", "features", RECEIPT.fingerprint) == [RECEIPT]
    assert RECEIPT.tickers == ["../x", "BTC/USDT:USDT", "币"]


def test_the_same_tickers_have_one_receipt(store: Store) -> None:
    write_receipt(store, "first", RECEIPT)
    again = replace(RECEIPT, items=dict(reversed(RECEIPT.items.items())), info={})
    write_receipt(store, "first", again)
    assert read_receipts(store, "first", "features", RECEIPT.fingerprint) == [again]
    write_receipt(store, "first", replace(RECEIPT, failures=[]))
    assert len(read_receipts(store, "first", "features", RECEIPT.fingerprint)) == 2


def test_receipts_belong_to_one_fingerprint_and_stage(store: Store) -> None:
    # alike in the digits that the key holds
    other = replace(RECEIPT, fingerprint="ab" * 8 + "cd" * 24, failures=[])
    another = replace(RECEIPT, fingerprint="ef" * 32)
    for receipt in (RECEIPT, other, another):
        write_receipt(store, "first", receipt)
    assert read_receipts(store, "first", "features", RECEIPT.fingerprint) == [RECEIPT]
    assert read_receipts(store, "first", "features", another.fingerprint) == [another]
    assert read_receipts(store, "first", "labels", RECEIPT.fingerprint) == []
    assert read_receipts(store, "second", "features", RECEIPT.fingerprint) == []


def test_receipts_of_a_stage_can_be_forgotten(store: Store) -> None:
    write_receipt(store, "first", RECEIPT)
    write_receipt(store, "first", replace(RECEIPT, stage="features2"))
    delete_receipts(store, "first", "features")
    assert read_receipts(store, "first", "features", RECEIPT.fingerprint) == []
    assert len(read_receipts(store, "first", "features2", RECEIPT.fingerprint)) == 1


def test_a_damaged_receipt_is_named(store: Store) -> None:
    write_receipt(store, "first", RECEIPT)
    (key,) = store.list()
    store.write(key, store.read(key)[:-20])
    with pytest.raises(StoreError, match=key):
        read_receipts(store, "first", "features", RECEIPT.fingerprint)


def test_runs_are_listed_and_removed(store: Store) -> None:
    for run in ("second", "first", "first.b"):
        write_manifest(store, run, MANIFEST)
    store.write(layout.report("first"), b"")
    assert list_runs(store) == ["first", "first.b", "second"]
    delete_run(store, "first", store.list(layout.run_prefix("first")))
    assert list_runs(store) == ["first.b", "second"]
    assert store.list("runs/first") == []


def test_manifests_of_a_run_go_first_then_receipts_and_what_says_whose_it_is_last(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    deleted: list[str] = []
    monkeypatch.setattr(Store, "delete_all", lambda self, keys: deleted.extend(keys))
    keys = [
        layout.config("first"),
        layout.model("first", "cnn", "model.keras"),
        layout.manifest("first", "ingest"),
        layout.progress("first", "ingest"),
        layout.receipt("first", "ingest", "ab" * 32, "cd"),
        layout.table("first", "bars", "A"),
    ]
    delete_run(store, "first", keys)
    assert deleted == [keys[2], keys[4], keys[1], keys[5], keys[0], keys[3]]


def test_a_configuration_comes_back_and_a_damaged_one_is_named(store: Store) -> None:
    assert read_config(store, "first") == {}
    write_config(store, "first", {"rejudge": "january", "ingest": {"tickers": []}})
    assert read_config(store, "first") == {"rejudge": "january", "ingest": {"tickers": []}}
    for damaged in (b"{", b"[1]"):
        store.write(layout.config("first"), damaged)
        with pytest.raises(StoreError, match=r"runs/first/config\.json"):
            read_config(store, "first")
