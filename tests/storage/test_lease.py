"""One writer a run: who gets the lease, who is refused, and who may take it over."""

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from uuid import uuid4

import pytest

from storage import layout, lease
from storage.lease import LeaseHeldError, LeaseLostError, Machine, born, held, machine, take
from storage.store import Store, StoreError, open_store

ROOT = Path(__file__).resolve().parents[2]

HOLDER = """
import sys, time
from storage.lease import held
from storage.store import open_store
with held(open_store(sys.argv[1]), "first", "jobs.pipeline", lost=lambda: None):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture(params=["local", "s3", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "local":
        yield open_store(str(tmp_path / "store"))
    elif request.param == "s3":
        yield open_store(f"s3://{request.getfixturevalue('bucket')}/{uuid4().hex}")
    else:
        yield open_store(f"memory://{uuid4().hex}")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Signs of life every 50 ms, and none for 400 ms is the end."""
    monkeypatch.setattr(lease, "RENEWAL", 0.05)
    monkeypatch.setattr(lease, "EXPIRY", 0.4)
    monkeypatch.setattr(lease, "LOOK", 0.02)


def ignored() -> None:
    """Nobody has to be told."""


def fail() -> None:
    raise AssertionError("nobody has taken over")


def keys(store: Store) -> list[str]:
    return store.list(layout.leases("first"))


def record(store: Store, number: int) -> dict[str, object]:
    found: dict[str, object] = json.loads(store.read(layout.lease("first", number)))
    return found


def moved(store: Store, number: int, host: str = "elsewhere") -> None:
    """Make a lease that of a process on another machine."""
    there = record(store, number)
    store.write(
        layout.lease("first", number), json.dumps({**there, "machine": asdict(Machine(host, "boot", "pid"))}).encode()
    )


def test_one_holds_it_and_others_are_told_who(store: Store) -> None:
    with held(store, "first", "jobs.pipeline", fail):
        with pytest.raises(LeaseHeldError) as caught:
            take(store, "first", "jobs.ingest")
        with held(store, "other", "jobs.pipeline", fail):
            pass
    told = str(caught.value)
    assert f"Run 'first' in {store.url} is written to by process {os.getpid()} on {machine().host}" in told
    assert "jobs.pipeline" in told
    assert "another --run" in told
    assert "\n" not in told
    assert record(store, 1)["released"] is True


def test_after_a_release_the_next_takes_it_at_once_and_only_its_own_is_left(store: Store) -> None:
    for number in range(1, 4):
        began = time.monotonic()
        with held(store, "first", "jobs.pipeline", fail) as lease_:
            assert lease_.number == number
            assert keys(store) == [layout.lease("first", number)]
        assert time.monotonic() - began < 1
    assert keys(store) == [layout.lease("first", 3)]


def test_of_many_that_want_it_at_once_one_gets_it(store: Store) -> None:
    for _ in range(3):
        ready = threading.Barrier(6)

        def attempt(_: int, ready: threading.Barrier = ready) -> lease.Lease | None:
            ready.wait()
            with contextlib.suppress(LeaseHeldError):
                return take(store, "first", "jobs.pipeline")
            return None

        with ThreadPoolExecutor(6) as pool:
            got = [found for found in pool.map(attempt, range(6)) if found]
        assert len(got) == 1
        assert keys(store) == [got[0].key]
        got[0].renew(released=True)


def test_it_is_renewed_while_it_is_held(store: Store, quick: None) -> None:
    with held(store, "first", "jobs.pipeline", fail):
        first = record(store, 1)["beat"]
        wait(lambda: record(store, 1)["beat"] != first)
    beats = record(store, 1)["beat"]
    time.sleep(0.2)
    assert record(store, 1)["beat"] == beats


@contextlib.contextmanager
def another_process(store: Store) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-c", HOLDER, store.url]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def test_a_process_of_this_machine_that_was_killed_is_followed_at_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = open_store(str(tmp_path))
    with another_process(store) as process, caplog.at_level(logging.INFO, "assay"):
        with pytest.raises(LeaseHeldError, match=f"written to by process {process.pid} on"):
            take(store, "first", "jobs.pipeline")
        process.send_signal(signal.SIGSTOP)  # it may go on at any time
        with pytest.raises(LeaseHeldError):
            take(store, "first", "jobs.pipeline")
        process.kill()  # and is not waited for: a zombie writes nothing
        wait(lambda: born(process.pid) is None)
        began = time.monotonic()
        assert take(store, "first", "jobs.pipeline").number == 2
        assert time.monotonic() - began < 1
    assert f"taken over from process {process.pid}" in caplog.text


def test_a_release_that_failed_keeps_this_process_from_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Store, key: str, data: bytes) -> None:
        raise StoreError("the store is away")

    with monkeypatch.context() as patch:
        with held(store, "first", "jobs.pipeline", fail):
            patch.setattr(Store, "write", refuse)
        assert record(store, 1)["released"] is False
    assert take(store, "first", "jobs.pipeline").number == 2


def test_a_later_process_of_the_same_id_is_another(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    first = take(store, "first", "jobs.pipeline")
    store.write(first.key, lease._encoded(replace(first.holder, born="1")))
    assert take(store, "first", "jobs.pipeline").number == 2


def test_of_another_machine_only_silence_tells(store: Store, quick: None, caplog: pytest.LogCaptureFixture) -> None:
    take(store, "first", "jobs.pipeline")
    moved(store, 1)
    began = time.monotonic()
    with caplog.at_level(logging.INFO, "assay"):
        assert take(store, "first", "jobs.pipeline").number == 2
    assert time.monotonic() - began >= lease.EXPIRY
    assert "on elsewhere (jobs.pipeline) has it; taken over unless it shows in" in caplog.text
    assert "gave no sign of life" in caplog.text


def test_of_another_machine_a_sign_of_life_is_enough_to_be_refused(store: Store, quick: None) -> None:
    first = take(store, "first", "jobs.pipeline")
    first.holder = replace(first.holder, machine=Machine("elsewhere", "boot", "pid"))
    first.renew()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(take, store, "first", "jobs.pipeline")
        time.sleep(0.1)
        first.renew()
        with pytest.raises(LeaseHeldError, match="on elsewhere"):
            waiting.result()


def test_of_another_machine_a_release_is_seen(store: Store, quick: None) -> None:
    first = take(store, "first", "jobs.pipeline")
    first.holder = replace(first.holder, machine=Machine("elsewhere", "boot", "pid"))
    first.renew()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(take, store, "first", "jobs.pipeline")
        time.sleep(0.1)
        first.renew(released=True)
        assert waiting.result().number == 2


def test_who_was_thought_dead_learns_that_it_has_lost(store: Store, quick: None) -> None:
    told = threading.Event()
    lost = pytest.raises(LeaseLostError, match="was taken over by another process")
    with lost, held(store, "first", "jobs.pipeline", told.set) as first:
        # as a machine that slept: another has waited, and taken over
        follower = lease.Lease(store, "first", 2, replace(first.holder, owner="another"))
        assert store.create(follower.key, lease._encoded(follower.holder))
        store.delete(first.key)
        assert told.wait(10)
        raise KeyboardInterrupt  # which is how a job is brought to its end
    assert record(store, 2)["owner"] == "another"
    assert record(store, 2)["released"] is False


def test_a_number_of_the_past_is_not_taken_for_the_lease(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever looked long ago may create a number that others have used and removed since."""
    old = take(store, "first", "jobs.pipeline")
    old.renew(released=True)
    create = Store.create

    def late(self: Store, key: str, data: bytes) -> bool:
        if key == layout.lease("first", 2):  # meanwhile another has come, and one after it
            monkeypatch.setattr(Store, "create", create)
            take(store, "first", "jobs.ingest").renew(released=True)
            take(store, "first", "jobs.predict")
            assert keys(store) == [layout.lease("first", 3)]
        return create(self, key, data)

    monkeypatch.setattr(Store, "create", late)
    with pytest.raises(LeaseHeldError, match=r"jobs\.predict"):
        take(store, "first", "jobs.pipeline")


def test_what_cannot_be_read_is_held_until_it_is_silent(store: Store, quick: None) -> None:
    store.write(layout.lease("first", 1), b'{"by": "a later version"}')
    began = time.monotonic()
    assert take(store, "first", "jobs.pipeline").number == 2
    assert time.monotonic() - began >= lease.EXPIRY


def test_a_store_that_is_away_for_a_while_costs_no_lease(
    tmp_path: Path, quick: None, caplog: pytest.LogCaptureFixture
) -> None:
    store = open_store(str(tmp_path / "store"))
    folder = tmp_path / "store" / "runs" / "first" / "leases"
    with caplog.at_level(logging.WARNING, "assay"), held(store, "first", "jobs.pipeline", fail) as mine:
        with mine._lock:  # between two signs of life
            folder.rename(folder.with_name("away"))
            folder.write_bytes(b"")  # a file where a directory is due
        wait(lambda: "is not renewed, and will be tried again: cannot write" in caplog.text)
        time.sleep(0.2)
        with mine._lock:
            folder.unlink()
            folder.with_name("away").rename(folder)
            before = record(store, 1)["beat"]
        wait(lambda: record(store, 1)["beat"] != before)
    assert caplog.text.count("is not renewed") == 1
    assert record(store, 1)["released"] is True


def test_a_lease_that_somebody_removed_is_put_there_again(store: Store, quick: None) -> None:
    with held(store, "first", "jobs.pipeline", fail) as mine:
        store.delete(mine.key)
        wait(lambda: store.exists(mine.key))


def wait(there: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not there():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_store_that_refuses_says_so(tmp_path: Path) -> None:
    (tmp_path / "store").write_bytes(b"")
    with pytest.raises(StoreError, match="a file stands where a directory is due"):
        take(open_store(str(tmp_path / "store")), "first", "jobs.pipeline")
