"""Any sequence of operations on a store does what it does on a plain dict."""

import shutil
import tempfile
from uuid import uuid4

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from storage.store import KeyMissing, Store, open_store

# no file is named like a directory, which a file system could not hold
FOLDERS = ["", "runs", "runs/a", "runs/ab", "runs/a/b", "币"]
KEYS = st.builds(
    lambda folder, name: f"{folder}/{name}".removeprefix("/"),
    st.sampled_from(FOLDERS),
    st.sampled_from(["x.json", "y%2F", ".hidden", "é"]),
)


class StoreMachine(RuleBasedStateMachine):
    """Runs a store beside a dict."""

    store: Store

    def __init__(self) -> None:
        super().__init__()
        self.oracle: dict[str, bytes] = {}

    @rule(key=KEYS, data=st.binary(max_size=20))
    def write(self, key: str, data: bytes) -> None:
        self.store.write(key, data)
        self.oracle[key] = data

    @rule(key=KEYS)
    def read(self, key: str) -> None:
        if key in self.oracle:
            assert self.store.read(key) == self.oracle[key]
        else:
            with pytest.raises(KeyMissing):
                self.store.read(key)
        assert self.store.exists(key) == (key in self.oracle)

    @rule(key=KEYS)
    def delete(self, key: str) -> None:
        self.store.delete(key)
        self.oracle.pop(key, None)

    @rule(prefix=st.sampled_from(FOLDERS[1:]))
    def delete_prefix(self, prefix: str) -> None:
        self.store.delete_prefix(prefix)
        self.oracle = {key: data for key, data in self.oracle.items() if not key.startswith(f"{prefix}/")}

    @rule(prefix=st.sampled_from(FOLDERS))
    def list(self, prefix: str) -> None:
        start = f"{prefix}/" if prefix else ""
        below = sorted(key for key in self.oracle if key.startswith(start))
        assert self.store.list(prefix) == below
        inner = {key[len(start) :].split("/")[0] for key in below if "/" in key[len(start) :]}
        assert self.store.folders(prefix) == sorted(inner)

    @invariant()
    def holds_the_same_keys(self) -> None:
        assert self.store.list() == sorted(self.oracle)


class LocalMachine(StoreMachine):
    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.mkdtemp()
        self.store = open_store(self.directory)

    def teardown(self) -> None:
        shutil.rmtree(self.directory)


class MemoryMachine(StoreMachine):
    def __init__(self) -> None:
        super().__init__()
        self.root = uuid4().hex
        self.store = open_store(f"memory://{self.root}")

    def teardown(self) -> None:
        open_store("memory://").delete_prefix(self.root)


SETTINGS = settings(max_examples=25, stateful_step_count=25, deadline=None)
LocalMachine.TestCase.settings = SETTINGS
MemoryMachine.TestCase.settings = SETTINGS
TestLocalMachine = LocalMachine.TestCase
TestMemoryMachine = MemoryMachine.TestCase
