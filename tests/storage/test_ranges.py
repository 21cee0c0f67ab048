"""A file read by ranges, beside the same bytes in memory."""

import io
import random

import pytest

from storage.ranges import BLOCK_BYTES, RangedFile

DATA = random.Random(3).randbytes(3 * BLOCK_BYTES + 11)


def test_it_reads_what_a_file_in_memory_reads() -> None:
    generator = random.Random(4)
    fetched: list[tuple[int, int]] = []

    def fetch(start: int, stop: int) -> bytes:
        fetched.append((start, stop))
        return DATA[start:stop]

    file, oracle = RangedFile(len(DATA), fetch), io.BytesIO(DATA)
    for _ in range(300):
        whence = generator.choice([io.SEEK_SET, io.SEEK_CUR, io.SEEK_END])
        offset = {
            io.SEEK_SET: generator.randrange(len(DATA) + 100),
            io.SEEK_CUR: generator.randrange(-min(oracle.tell(), 5_000), 5_000),
            io.SEEK_END: -generator.randrange(len(DATA)),
        }[whence]
        assert file.seek(offset, whence) == oracle.seek(offset, whence)
        size = generator.choice([0, 1, 100, BLOCK_BYTES, 2 * BLOCK_BYTES])
        assert file.read(size) == oracle.read(size)
        assert file.tell() == oracle.tell()
    assert all(0 <= start < stop <= len(DATA) for start, stop in fetched)
    file.seek(0)
    assert file.read() == DATA


def test_small_reads_side_by_side_are_one_request_and_a_large_one_is_one_too() -> None:
    fetched: list[tuple[int, int]] = []

    def fetch(start: int, stop: int) -> bytes:
        fetched.append((start, stop))
        return DATA[start:stop]

    file = RangedFile(len(DATA), fetch)
    for _ in range(100):
        file.read(64)
    file.seek(1_000)
    file.read(2 * BLOCK_BYTES)
    assert fetched == [(0, BLOCK_BYTES), (1_000, 1_000 + 2 * BLOCK_BYTES)]


def test_before_the_start_is_nowhere() -> None:
    with pytest.raises(ValueError, match="cannot seek to -1"):
        RangedFile(5, lambda start, stop: b"").seek(-1)
