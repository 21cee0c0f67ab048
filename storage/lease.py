"""Who writes to a run: a lease in the store, held by one process at a time and renewed while it lives.

A lease is an object with a number. Whoever wants to hold the run creates the next number, which succeeds for one of
several at once, and then removes those before it; the highest number holds. So nobody ever removes what another has
just taken, and no store needs more than "create where there is none". A release leaves the object, marked as such, so
that numbers never begin again.

No two clocks are compared. A lease is dead when its process is known to be gone, which another process of the same
machine can see at once; elsewhere, when it has not changed for `EXPIRY` seconds of whoever watches it.
"""

import contextlib
import datetime
import json
import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from storage import layout
from storage.errors import KeyMissing, StoreError
from storage.patience import hastily
from storage.store import Store

RENEWAL = 20.0  # seconds between two signs of life
EXPIRY = 90.0  # seconds without one after which another may take over
LOOK = 2.0  # seconds between two looks at a lease that may be dead

logger = logging.getLogger("assay")
_mine: set[str] = set()  # owners that this process is; one whose release failed is none any more


class LeaseHeldError(StoreError):
    """Another process writes to the run."""


class LeaseLostError(StoreError):
    """Another process has taken the run over, for this one gave no sign of life."""


@dataclass(frozen=True)
class Machine:
    """What process ids mean something within: a host since it was started, and a namespace of processes on it."""

    host: str
    boot: str
    namespace: str


@dataclass(frozen=True)
class Holder:
    """Who holds a lease, as it lies in the store.

    Parameters
    ----------
    owner
        A random identity, so that no two holders are alike.
    job
        What it runs, such as ``jobs.pipeline``.
    machine, process, born
        Where it runs: the process id, and a text that no other process of this id shares (empty where not known).
    since
        When it took the lease, by its own clock: for people alone.
    beat
        Counts the renewals, so that the object changes with each.
    released
        Whether it has ended.
    """

    owner: str
    job: str
    machine: Machine
    process: int
    born: str
    since: str
    beat: int = 0
    released: bool = False


_HOLDER = TypeAdapter(Holder)


@dataclass
class Lease:
    """A lease that this process holds; made by `held`."""

    store: Store
    run: str
    number: int
    holder: Holder
    lost: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def key(self) -> str:
        """Where it lies."""
        return layout.lease(self.run, self.number)

    def renew(self, *, released: bool = False) -> None:
        """Give a sign of life, or the last one; ``lost`` says afterwards whether another has taken over.

        Raises
        ------
        StoreError
            If the store refuses: then nothing is known.
        """
        with self._lock:
            there = _read(self.store, self.key)
            followed = max(_numbers(self.store, self.run), default=0) > self.number
            # where it was only removed, with nobody to follow, it is put there again
            self.lost = followed or (there is not None and there.owner != self.holder.owner)
            if not self.lost:
                self.holder = replace(self.holder, beat=self.holder.beat + 1, released=released)
                self.store.write(self.key, _encoded(self.holder))


@contextmanager
def held(store: Store, run: str, job: str, lost: Callable[[], None]) -> Iterator[Lease]:
    """Hold the lease of a run while the block runs, renewed by a thread.

    Where another machine holds it and gives no sign of life, this waits up to `EXPIRY` seconds before it takes over.

    Parameters
    ----------
    lost
        Called once, by that thread, when another has taken over: it must bring the block to its end.

    Raises
    ------
    LeaseHeldError
        If another process that lives holds it.
    LeaseLostError
        At the end of the block, if another has taken over meanwhile.
    StoreError
        If the store refuses.
    """
    lease = take(store, run, job)
    done = threading.Event()
    heart = threading.Thread(target=_beat, args=(lease, done, lost), name="assay lease", daemon=True)
    heart.start()
    try:
        yield lease
    except BaseException:
        if lease.lost:
            raise LeaseLostError(_told_lost(lease)) from None
        raise
    else:
        if lease.lost:
            raise LeaseLostError(_told_lost(lease))
    finally:
        done.set()
        heart.join(RENEWAL)
        with contextlib.suppress(StoreError), hastily():  # what is not released expires
            if not lease.lost:
                lease.renew(released=True)
        _mine.discard(lease.holder.owner)


def take(store: Store, run: str, job: str) -> Lease:
    """Take the lease of a run, and remove those that it follows; whoever takes it has to renew and release it.

    Raises
    ------
    LeaseHeldError
        If another process that lives holds it.
    StoreError
        If the store refuses.
    """
    holder = Holder(secrets.token_hex(8), job, machine(), os.getpid(), born(os.getpid()) or "", _now())
    _mine.add(holder.owner)
    try:
        return _taken(store, run, holder)
    except BaseException:
        _mine.discard(holder.owner)
        raise


def machine() -> Machine:
    """This machine, as far as it can be told from others; containers of one host are machines of their own."""
    boot = namespace = ""
    with contextlib.suppress(OSError):  # of another system than Linux
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        namespace = str(Path("/proc/self/ns/pid").readlink())
    return Machine(socket.gethostname(), boot, namespace)


def born(process: int) -> str | None:
    """Return what tells a process of this machine from a later one of its id; None where none lives, "" if unknown."""
    try:
        status = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return _unknown_birth(process)
    # the name of the program may hold anything, but is the last thing in parentheses; proc_pid_stat(5)
    fields = status.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else fields[19]


def _unknown_birth(process: int) -> str | None:
    """Whether a process lives, where nothing can be read of it: by a signal that is none."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return None
    except OSError:  # of another user
        return ""
    return ""


def _taken(store: Store, run: str, holder: Holder) -> Lease:
    while True:
        newest = max(_numbers(store, run), default=0)
        if newest:
            _wait_for(store, run, newest)
        lease = Lease(store, run, newest + 1, holder)
        if not store.create(lease.key, _encoded(holder)):
            continue
        there = _numbers(store, run)
        # where others took it, and ended, since it was looked at, this number is one of the past
        if max(there, default=0) == lease.number:
            store.delete_all([layout.lease(run, number) for number in there if number < lease.number])
            return lease


def _wait_for(store: Store, run: str, number: int) -> None:
    """Return once the lease of this number is over; raise where its holder lives."""
    key = layout.lease(run, number)
    first = seen = _bytes(store, key)
    began = time.monotonic()
    while seen is not None:
        holder = _decoded(seen)
        if holder is not None and holder.released:
            return
        if holder is not None and _gone(holder):
            logger.info("run '%s': taken over from %s, which is gone", run, _told(holder))
            return
        if seen != first or (holder is not None and _lives(holder)):
            raise LeaseHeldError(_told_held(store, run, holder))
        spent = time.monotonic() - began
        if spent > EXPIRY:
            logger.info("run '%s': taken over, since %s gave no sign of life for %.0f s", run, _told(holder), EXPIRY)
            return
        if seen is first and spent < LOOK:
            logger.info("run '%s': %s has it; taken over unless it shows in %.0f s", run, _told(holder), EXPIRY)
        time.sleep(LOOK)
        seen = _bytes(store, key)


def _lives(holder: Holder) -> bool:
    """Whether a holder is known to live: a process of this machine, and the very same."""
    return bool(holder.born) and holder.machine == machine() and born(holder.process) == holder.born


def _gone(holder: Holder) -> bool:
    """Whether a holder is known to be gone: of this machine, and no such process there, or a later one of its id."""
    if holder.machine != machine():
        return False
    if holder.process == os.getpid() and holder.owner not in _mine:
        return True
    there = born(holder.process)
    return there is None or (bool(there) and bool(holder.born) and there != holder.born)


def _beat(lease: Lease, done: threading.Event, lost: Callable[[], None]) -> None:
    silent = False
    while not done.wait(RENEWAL):
        try:
            with hastily():
                lease.renew()
            silent = False
        except StoreError as error:
            if not silent:
                logger.warning("the lease of run '%s' is not renewed, and will be tried again: %s", lease.run, error)
            silent = True
        if lease.lost:
            lost()
            return


def _numbers(store: Store, run: str) -> list[int]:
    """Numbers of the leases that are there."""
    places = (layout.place(run, key) for key in store.list(layout.leases(run)))
    return [int(place.name) for place in places if place is not None and place.kind == "leases"]


def _bytes(store: Store, key: str) -> bytes | None:
    try:
        return store.read(key)
    except KeyMissing:
        return None


def writer(store: Store, run: str) -> str | None:
    """Return who holds a run, in words, unless that is known to be gone; None where nobody does.

    A holder on another machine counts until its lease is released, however long it has been silent: one look cannot
    tell.
    """
    newest = max(_numbers(store, run), default=0)
    data = _bytes(store, layout.lease(run, newest)) if newest else None
    if data is None:
        return None
    holder = _decoded(data)
    return None if holder is not None and (holder.released or _gone(holder)) else _told(holder)


def _read(store: Store, key: str) -> Holder | None:
    data = _bytes(store, key)
    return None if data is None else _decoded(data)


def _decoded(data: bytes) -> Holder | None:
    """Who holds a lease; None for what this version cannot read, which counts as held until it expires."""
    try:
        return _HOLDER.validate_json(data)
    except ValidationError:
        return None


def _encoded(holder: Holder) -> bytes:
    return json.dumps(asdict(holder), sort_keys=True, indent=2).encode()


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _told(holder: Holder | None) -> str:
    if holder is None:
        return "a process that this version does not know"
    return f"process {holder.process} on {holder.machine.host} ({holder.job})"


def _told_held(store: Store, run: str, holder: Holder | None) -> str:
    since = f" since {holder.since}" if holder else ""
    return (
        f"Run '{run}' in {store.url} is written to by {_told(holder)}{since}; allowed is one at a time. Wait until it "
        "has ended, or end it (Ctrl-C, or SIGTERM) and run the same command again, which goes on from there; or give "
        "another --run."
    )


def _told_lost(lease: Lease) -> str:
    return (
        f"Run '{lease.run}' in {lease.store.url} was taken over by another process, since this one gave no sign of "
        f"life for {EXPIRY:g} s; it ends here, so that one alone writes. See who holds it in "
        f"{layout.leases(lease.run)}, and run this command again once that has ended."
    )
