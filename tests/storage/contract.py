"""What every store must do, whatever it is made of."""

import datetime
import pickle
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from storage.store import KeyMissing, Store, StoreError, open_store

ROOT = Path(__file__).resolve().parents[2]


class StoreContract:
    """Subclassed by one class a backend, which has a fixture ``url`` of an empty store."""

    @pytest.fixture
    def store(self, url: str) -> Store:
        return open_store(url)

    def test_reads_what_was_written(self, store: Store) -> None:
        store.write("runs/a/report.html", b"<p>\x00\xff")
        assert store.read("runs/a/report.html") == b"<p>\x00\xff"

    def test_opens_a_file_of_which_parts_are_read(self, store: Store) -> None:
        store.write("a/b", bytes(range(256)) * 100)
        with store.open("a/b") as file:
            file.seek(1000)
            assert file.read(3) == (bytes(range(256)) * 100)[1000:1003]
        with pytest.raises(KeyMissing, match="no key 'a/c'"):
            store.open("a/c")

    def test_stamps_change_with_the_object(self, store: Store) -> None:
        store.write("a/b", b"one")
        store.write("a/c", b"other")
        before = store.stamps("a")
        assert sorted(before) == ["a/b", "a/c"]
        assert store.stamps("a") == before
        assert store.stamp("a/b") == before["a/b"]
        store.write("a/b", b"two")
        after = store.stamps("a")
        assert after["a/b"] != before["a/b"]
        assert after["a/c"] == before["a/c"]

    def test_entries_have_size_and_time_of_change(self, store: Store) -> None:
        before = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=2)  # S3 tells whole seconds
        store.write("runs/a/x", b"123")
        store.write("runs/a/b/y", b"")
        store.write("runs/ab/z", b"")
        found = store.entries("runs/a")
        assert {key: entry.size for key, entry in found.items()} == {"runs/a/x": 3, "runs/a/b/y": 0}
        after = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=2)
        assert all(before < entry.changed < after for entry in found.values())
        assert store.entries("runs/a") == found
        assert store.entries("nothing") == {}
        assert store.unfinished() == []

    def test_deletes_many_at_once_and_nothing_else(self, store: Store) -> None:
        for key in ("runs/a/x/1", "runs/a/x/2", "runs/a/y", "runs/b"):
            store.write(key, b"")
        store.delete_all([])
        store.delete_all(["runs/a/x/2", "runs/a/x/1", "runs/a/nothing"])
        assert store.list() == ["runs/a/y", "runs/b"]
        with pytest.raises(StoreError, match="cannot be used"):
            store.delete_all(["runs/a/y", "../x"])
        assert store.list() == ["runs/a/y", "runs/b"]

    def test_holds_empty_and_large_objects(self, store: Store) -> None:
        large = bytes(range(256)) * 16_384
        store.write("empty", b"")
        store.write("large", large)
        assert store.read("empty") == b""
        assert store.read("large") == large

    def test_overwrites(self, store: Store) -> None:
        store.write("key", b"a long first version")
        store.write("key", b"second")
        assert store.read("key") == b"second"
        assert store.list() == ["key"]

    def test_creates_what_is_not_there_and_leaves_what_is(self, store: Store) -> None:
        assert store.create("folder/new", b"first") is True
        assert store.create("folder/new", b"second") is False
        assert store.read("folder/new") == b"first"
        store.write("old", b"put")
        assert store.create("old", b"created") is False
        assert store.read("old") == b"put"
        store.delete("old")
        assert store.create("old", b"again") is True
        assert store.list() == ["folder/new", "old"]
        assert store.unfinished() == []
        with pytest.raises(StoreError, match="cannot be used"):
            store.create("../x", b"")

    def test_of_many_that_create_a_key_at_once_one_does(self, store: Store) -> None:
        ready = threading.Barrier(8)

        def create(number: int) -> bool:
            ready.wait()
            return store.create("deep/new/key", bytes([number]) * 50_000)

        for _ in range(5):
            with ThreadPoolExecutor(8) as pool:
                created = list(pool.map(create, range(8)))
            assert created.count(True) == 1
            assert store.read("deep/new/key") == bytes([created.index(True)]) * 50_000
            store.delete("deep/new/key")

    def test_a_missing_key_is_named(self, store: Store) -> None:
        store.write("folder/key", b"")
        for key in ("nothing", "folder", "folder/nothing", "folder/key/below"):
            assert not store.exists(key)
            with pytest.raises(KeyMissing) as caught:
                store.read(key)
            assert key in str(caught.value)
            assert store.url in str(caught.value)
            assert "\n" not in str(caught.value)

    def test_an_unused_store_is_empty(self, store: Store) -> None:
        assert store.list() == []
        assert store.list("runs") == []
        assert store.folders() == []
        assert not store.exists("key")

    def test_lists_whole_segments_sorted(self, store: Store) -> None:
        for key in ("runs/ab/x", "runs/a/y", "runs/a/b/z", "runs/a/B", "top"):
            store.write(key, b"")
        assert store.list() == ["runs/a/B", "runs/a/b/z", "runs/a/y", "runs/ab/x", "top"]
        assert store.list("runs/a") == store.list("runs/a/") == ["runs/a/B", "runs/a/b/z", "runs/a/y"]
        assert store.list("runs/a/y") == []

    def test_lists_more_than_one_page(self, store: Store) -> None:
        keys = [f"many/{number:04d}" for number in range(1_050)]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda key: store.write(key, b""), keys))
        assert store.list("many") == keys
        store.delete_prefix("many")
        assert store.list() == []

    def test_folders_are_those_that_hold_keys(self, store: Store) -> None:
        for key in ("runs/b/x", "runs/a/deep/down/y", "runs/file", "runsaway/z"):
            store.write(key, b"")
        assert store.folders("runs") == ["a", "b"]
        assert store.folders() == ["runs", "runsaway"]
        store.delete("runs/b/x")
        assert store.folders("runs/") == ["a"]

    def test_deletes(self, store: Store) -> None:
        store.write("a/x", b"")
        store.write("a/y", b"")
        store.delete("a/x")
        store.delete("a/x")
        assert store.list() == ["a/y"]

    def test_deletes_a_prefix_and_not_its_neighbours(self, store: Store) -> None:
        for key in ("runs/a/x", "runs/a/b/y", "runs/ab/x"):
            store.write(key, b"")
        store.delete_prefix("runs/a")
        store.delete_prefix("runs/nothing/")
        assert store.list() == ["runs/ab/x"]

    def test_refuses_to_delete_everything(self, store: Store) -> None:
        store.write("key", b"")
        for prefix in ("", "/"):
            with pytest.raises(StoreError, match="empty"):
                store.delete_prefix(prefix)
        assert store.list() == ["key"]

    def test_takes_unicode_and_percent_signs(self, store: Store) -> None:
        keys = ["币安人生/ключ", "ticker=BTC%2FUSDT%3AUSDT/data.parquet", "a%252Fb", "a b+c&d=é", "~.-_"]
        for key in keys:
            store.write(key, key.encode())
        assert store.list() == sorted(keys)
        assert [store.read(key).decode() for key in keys] == keys

    @pytest.mark.parametrize(
        "key",
        [
            "", "/", "/etc/passwd", "a//b", "a/", "..", "../x", "a/../b", "a/..", ".", "a/./b", "a\\b", "a\x00b",
            "a\nb", "a?versionId=1", "a#b", "s3://b/k", "a*", "\ud800", "x" * 256, "x/" * 600 + "x",
            "a/.0123456789abcdef.partial",
        ],
    )  # fmt: skip
    def test_refuses_keys_that_could_lead_astray(self, store: Store, key: str) -> None:
        for use in (store.read, store.exists, store.delete, store.address, lambda key: store.write(key, b"")):
            with pytest.raises(StoreError, match="cannot be used") as caught:
                use(key)
            assert not isinstance(caught.value, KeyMissing)
        assert store.list() == []

    def test_survives_a_pickle_round_trip(self, store: Store) -> None:
        store.write("key", b"before")
        pickled = pickle.dumps(store)
        copy = pickle.loads(pickled)  # noqa: S301  our own bytes
        assert copy == store
        assert copy.read("key") == b"before"
        copy.write("key", b"after")
        assert store.read("key") == b"after"
        assert b"s3cr3t" not in pickled
        assert b"s3cr3t" not in pickle.dumps(pickle.loads(pickle.dumps(copy)))  # noqa: S301  our own bytes

    def test_addresses_lie_below_the_store(self, store: Store) -> None:
        assert store.address("runs/a/report.html").endswith("/runs/a/report.html")
        assert store.address("runs/a") + "/report.html" == store.address("runs/a/report.html")

    def test_two_stores_below_one_root_are_apart(self, url: str) -> None:
        first, second = open_store(f"{url}/first"), open_store(f"{url}/firstborn")
        first.write("key", b"1")
        assert second.list() == []
        assert open_store(url).list() == ["first/key"]

    def test_readers_never_see_a_torn_object(self, store: Store) -> None:
        versions = [bytes([number]) * 300_000 for number in range(20)]
        store.write("key", versions[0])
        done = threading.Event()

        def read_on() -> set[bytes]:
            seen = set()
            while not done.is_set():
                seen.add(store.read("key"))
                assert store.list() == ["key"]
            return seen

        with ThreadPoolExecutor(2) as pool:
            readers = [pool.submit(read_on) for _ in range(2)]
            try:
                for version in versions:
                    store.write("key", version)
            finally:
                done.set()
            assert set.union(*(reader.result() for reader in readers)) <= set(versions)

    def test_of_writers_at_once_one_wins_as_a_whole(self, store: Store) -> None:
        versions = [bytes([number]) * 200_000 for number in range(8)]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda version: store.write("deep/new/folder/key", version), versions))
        assert store.read("deep/new/folder/key") in versions
        assert store.list() == ["deep/new/folder/key"]


class DurableStoreContract(StoreContract):
    """For stores that outlive their process.

    ``interruption`` is a program that makes the next write print "held back" just before it would become visible,
    and wait.
    """

    interruption: str

    def test_a_writer_killed_half_way_leaves_nothing_visible(self, store: Store) -> None:
        store.write("folder/old", b"old")
        program = (
            f"{self.interruption}\n"
            "from storage.store import open_store\n"
            f"store = open_store({store.url!r})\n"
            "store.write('folder/' + sys.argv[1], bytes(11 * 2**20))\n"
        )
        for name in ("old", "new"):
            process = subprocess.Popen(
                [sys.executable, "-c", program, name], cwd=ROOT, stdout=subprocess.PIPE, text=True
            )
            with process:
                assert process.stdout is not None
                assert process.stdout.readline() == "held back\n"
                process.kill()
        assert store.list() == ["folder/old"]
        assert store.folders() == ["folder"]
        assert store.read("folder/old") == b"old"
        found = store.unfinished("folder")
        assert len(found) == 2
        assert all(write.key.startswith("folder/") and write.size >= 10 * 2**20 for write in found)
        assert found[0].changed < datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=2)
        assert store.unfinished("fold") == []
        store.abandon(found[0])
        store.abandon(found[0])
        assert store.unfinished() == found[1:]
        assert store.list() == ["folder/old"]
        store.delete_prefix("folder")
        assert store.list() == []
