"""Keys: where things are, and that no name leads anywhere else."""

from urllib.parse import unquote as hive_decoded
from uuid import uuid4

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from storage import layout
from storage.errors import StoreError
from storage.store import open_store

STRANGE = [
    "BTC/USDT:USDT", "币安人生USDT", "../../x", ".", "..", "", "a%2Fb", "a%252Fb", "BTC", "btc", " ", "a b+c", "a=b",
    "ticker=x", "a\\b", "\x00", "\n", "é", "e\u0301", "__HIVE_DEFAULT_PARTITION__", "~-._", "🚀", "x" * 5_000,
]  # fmt: skip
TEXT = st.text(st.characters(exclude_categories=["Cs"]))


@given(TEXT)
@settings(max_examples=300, deadline=None)
def test_any_ticker_reads_back_unchanged(ticker: str) -> None:
    quoted = layout.quote(ticker)
    assert layout.unquote(quoted) == ticker
    assert hive_decoded(quoted) == ticker
    assert set(quoted) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-~%")
    assert layout.ticker_of(layout.table("run", "bars", ticker)) == ticker


for strange in STRANGE:
    test_any_ticker_reads_back_unchanged = example(strange)(test_any_ticker_reads_back_unchanged)


@given(st.lists(TEXT, unique=True, max_size=8))
@settings(max_examples=100, deadline=None)
def test_different_tickers_have_different_keys(tickers: list[str]) -> None:
    assert len({layout.table("run", "bars", ticker) for ticker in tickers}) == len(tickers)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
@example("../../x")
@example("..")
@example("")
@settings(max_examples=100, deadline=None)
def test_a_table_of_any_ticker_can_be_stored(ticker: str) -> None:
    store = open_store(f"memory://{uuid4().hex}")
    key = layout.table("run", "bars", ticker)
    store.write(key, ticker.encode())
    assert store.list(layout.tables("run", "bars")) == [key]
    assert store.read(key).decode() == ticker
    store.delete(key)


def test_a_ticker_too_long_for_a_file_name_is_refused_by_every_store() -> None:
    with pytest.raises(StoreError, match="longer than the 255 bytes"):
        open_store("memory://long").write(layout.table("run", "bars", "币" * 28), b"")


def test_a_lone_surrogate_is_refused() -> None:
    with pytest.raises(StoreError, match=r"'\\ud800' holds a lone surrogate"):
        layout.quote("\ud800")


@pytest.mark.parametrize("foreign", ["BTC USDT", "a%2fb", "a%", "%FF", "%41", "币"])
def test_what_quote_does_not_write_is_not_read_as_a_ticker(foreign: str) -> None:
    with pytest.raises(StoreError, match=r"is not a ticker as storage\.layout\.quote writes it"):
        layout.unquote(foreign)


def test_everything_of_a_run_has_its_place() -> None:
    assert layout.runs() == "runs"
    assert layout.run_prefix("first") == "runs/first"
    assert layout.tables("first", "bars") == "runs/first/tables/bars"
    assert layout.table("first", "bars", "BTC/USDT:USDT") == (
        "runs/first/tables/bars/ticker=BTC%2FUSDT%3AUSDT/data.parquet"
    )
    assert layout.table("first", "shortlist") == "runs/first/tables/shortlist/data.parquet"
    assert layout.manifests("first") == "runs/first/manifests"
    assert layout.manifest("first", "ingest") == "runs/first/manifests/ingest.json"
    assert layout.receipts("first", "ingest") == "runs/first/receipts/ingest"
    assert layout.receipts("first", "ingest", "ab" * 32) == "runs/first/receipts/ingest/abababababababab"
    assert layout.receipt("first", "ingest", "ab" * 32, "c0") == "runs/first/receipts/ingest/abababababababab/c0.json"
    assert layout.models("first", "cnn") == "runs/first/models/cnn"
    assert layout.model("first", "cnn", "model.keras") == "runs/first/models/cnn/model.keras"
    assert layout.checkpoints("first", "cnn") == "runs/first/checkpoints/cnn"
    assert layout.export("first", "custom_assets.json") == "runs/first/exports/custom_assets.json"
    assert layout.export("first", "freqtrade", "pairs.json") == "runs/first/exports/freqtrade/pairs.json"
    assert layout.report("first") == "runs/first/report.html"


def test_a_key_says_what_it_is() -> None:
    places = {
        layout.table("a", "bars", "BTC/USDT"): ("tables", "bars", "BTC%2FUSDT"),
        layout.table("a", "shortlist"): ("tables", "shortlist", ""),
        layout.manifest("a", "ingest"): ("manifests", "ingest", ""),
        layout.receipt("a", "ingest", "ab" * 32, "c0"): ("receipts", "ingest", "ab" * 8),
        layout.progress("a", "ingest"): ("progress", "ingest", ""),
        layout.model("a", "cnn", "model.keras"): ("models", "cnn", "model.keras"),
        f"{layout.checkpoints('a', 'train')}/x/y z/state": ("checkpoints", "train", "x/y z/state"),
        layout.export("a", "freqtrade", "pairs.json"): ("exports", "freqtrade", ""),
        layout.report("a"): ("report.html", "", ""),
        layout.config("a"): ("config.json", "", ""),
        layout.lease("a", 12): ("leases", "0000000012", ""),
    }
    assert {key: layout.place("a", key) for key in places} == places


@pytest.mark.parametrize(
    "key",
    [
        "runs/a/notes.txt", "runs/a/manifests/x/y.json", "runs/a/manifests/ingest.json.bak", "runs/a/tables/bars/x",
        "runs/a/tables/bars/ticker=a%2fb/data.parquet", "runs/a/models/cnn", "runs/a/report.html/x",
        "runs/ab/report.html",
        "runs/a/tables/bars/ticker=A/B/data.parquet", "runs/a/receipts/ingest/x.json", "runs/a/.hidden", "other/a",
    ],
)  # fmt: skip
def test_a_key_that_is_formatted_nowhere_is_nothing(key: str) -> None:
    assert layout.place("a", key) is None


def test_only_tables_by_ticker_have_a_ticker() -> None:
    assert layout.ticker_of("runs/first/tables/shortlist/data.parquet") is None
    assert layout.ticker_of("runs/first/report.html") is None


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "a b", "é", "-a", "_a", "a\n", "a%20", "x" * 101])
def test_names_that_could_lead_elsewhere_are_refused(name: str) -> None:
    for key in (
        layout.run_prefix,
        lambda name: layout.tables("run", name),
        lambda name: layout.manifest("run", name),
        lambda name: layout.receipts("run", name),
        lambda name: layout.receipt("run", "stage", name, "digest"),
        lambda name: layout.receipt("run", "stage", "fingerprint", name),
        lambda name: layout.model("run", name, "file"),
        lambda name: layout.model("run", "name", name),
        lambda name: layout.checkpoints("run", name),
        lambda name: layout.export("run", name),
    ):
        with pytest.raises(StoreError, match="cannot be used in a key: allowed are 1 to 100 ASCII letters"):
            key(name)
