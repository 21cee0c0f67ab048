"""Objects as files below a directory.

A write goes to a temporary name in the same directory, reaches the disk, and is then renamed over the key, so
that a reader or a crash finds the old object or the new one and never a part.
"""

import errno
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from storage.entries import Entry, Unfinished, at
from storage.keys import TEMPORARY, flaw

_ADVICE = {
    errno.EACCES: "check the owner and the mode of the directory, or choose another store",
    errno.EPERM: "check the owner and the mode of the directory, or choose another store",
    errno.EROFS: "the disk is mounted read-only; choose another store",
    errno.ENOSPC: "the disk is full; free some space or choose another store",
    errno.EDQUOT: "the disk quota is used up; free some space or choose another store",
    errno.ENOTDIR: "a file stands where a directory is due; move it away or choose another store",
    errno.EEXIST: "a file stands where a directory is due; move it away or choose another store",
    errno.EISDIR: "a directory stands where a file is due; move it away or choose another key",
    errno.ENOENT: "a directory vanished while it was used; is another program deleting it?",
}
# what file systems say that have no hard links, those of memory cards and of some network shares
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
_ABSENT = (FileNotFoundError, NotADirectoryError, IsADirectoryError)


@dataclass(frozen=True)
class LocalBackend:
    """A directory; it is made by the first write."""

    root: Path

    def read(self, key: str) -> bytes:
        """Return the bytes of a file; FileNotFoundError where there is none."""
        try:
            return (self.root / key).read_bytes()
        except _ABSENT as error:
            raise FileNotFoundError(key) from error
        except OSError as error:
            raise _explained(error) from error

    def open(self, key: str) -> BinaryIO:
        """Open a file for reading; FileNotFoundError where there is none."""
        try:
            return (self.root / key).open("rb")
        except _ABSENT as error:
            raise FileNotFoundError(key) from error
        except OSError as error:
            raise _explained(error) from error

    def write(self, key: str, data: bytes) -> None:
        """Replace a file as a whole."""
        target = self.root / key
        temporary = target.parent / f".{secrets.token_hex(8)}.partial"
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                _write_through(temporary, data)
                temporary.replace(target)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
            _sync_directory(target.parent)
        except OSError as error:
            raise _explained(error) from error

    def create(self, key: str, data: bytes) -> bool:
        """Put a file where there is none, as a whole, and say whether that was done."""
        target = self.root / key
        temporary = target.parent / f".{secrets.token_hex(8)}.partial"
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                _write_through(temporary, data)
                created = _linked(temporary, target, data)
            finally:
                temporary.unlink(missing_ok=True)
            _sync_directory(target.parent)
        except OSError as error:
            raise _explained(error) from error
        return created

    def exists(self, key: str) -> bool:
        """Whether the key is a file."""
        try:
            return (self.root / key).is_file()
        except OSError as error:
            raise _explained(error) from error

    def names(self, prefix: str) -> Iterator[str]:
        """Yield every file below a directory, in no order, relative to the root."""
        base = str(self.root)
        for directory, _, files in _walk(self.root / prefix):
            inside = directory[len(base) :].replace(os.sep, "/").strip("/")
            for name in files:
                yield f"{inside}/{name}" if inside else name

    def stamp(self, key: str) -> str:
        """Size of a file and the time of its last change; FileNotFoundError where there is none."""
        status = self._status(key)
        return f"{status.st_size}-{status.st_mtime_ns}"

    def stamps(self, prefix: str) -> Iterator[tuple[str, str]]:
        """Yield every file below a directory with its stamp."""
        for name in self.names(prefix):
            with suppress(FileNotFoundError):  # deleted since it was listed
                yield name, self.stamp(name)

    def entries(self, prefix: str) -> Iterator[tuple[str, Entry]]:
        """Yield every file below a directory with its size and the time of its last change."""
        for name in self.names(prefix):
            with suppress(FileNotFoundError):
                status = self._status(name)
                yield name, Entry(status.st_size, at(status.st_mtime))

    def unfinished(self, prefix: str) -> Iterator[Unfinished]:
        """Yield every temporary file below a directory."""
        for name, entry in self.entries(prefix):
            if _is_temporary(name):
                yield Unfinished(name, "", entry.size, entry.changed)

    def folders(self, prefix: str) -> Iterator[str]:
        """Yield the names of the directories straight below one that hold at least one key."""
        for _, directories, _ in _walk(self.root / prefix):
            for name in directories:
                below = f"{prefix}/{name}" if prefix else name
                if any(flaw(key) is None for key in self.names(below)):
                    yield name
            return

    def delete(self, key: str) -> None:
        """Remove a file, if it is there."""
        _remove((self.root / key).unlink)

    def delete_all(self, keys: Sequence[str]) -> None:
        """Remove files, and of the directories that they lay in those that are empty then."""
        for key in keys:
            self.delete(key)
        folders = {folder for key in keys for folder in (self.root / key).parents if folder.is_relative_to(self.root)}
        # the root and what is straight below it stay: somebody else may be about to write there
        deep = [folder for folder in folders if len(folder.relative_to(self.root).parts) > 1]
        for folder in sorted(deep, key=lambda folder: -len(folder.parts)):
            _remove_empty(folder)

    def abandon(self, write: Unfinished) -> None:
        """Remove a temporary file; its directory stays, in which another write may be about to begin."""
        if _is_temporary(write.key):
            self.delete(write.key)

    def delete_prefix(self, prefix: str) -> None:
        """Remove a directory with all that is in it, unfinished writes included."""
        for directory, directories, files in _walk(self.root / prefix, topdown=False):
            for name in files:
                _remove((Path(directory) / name).unlink)
            for name in directories:
                # a directory into which somebody writes at this moment stays
                with suppress(OSError):
                    (Path(directory) / name).rmdir()
        with suppress(OSError):
            (self.root / prefix).rmdir()

    def address(self, key: str) -> str:
        """Absolute path."""
        return str(self.root / key)

    def _status(self, key: str) -> os.stat_result:
        try:
            return (self.root / key).stat()
        except _ABSENT as error:
            raise FileNotFoundError(key) from error
        except OSError as error:
            raise _explained(error) from error


def _is_temporary(key: str) -> bool:
    return bool(TEMPORARY.fullmatch(key.rpartition("/")[2]))


def _write_through(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _linked(temporary: Path, target: Path, data: bytes) -> bool:
    """Give a whole file its name, unless that is taken."""
    try:
        target.hardlink_to(temporary)
    except FileExistsError:
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(target)) from None
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        try:
            _write_through(target, data)  # here a reader may see a part of it, for a moment
        except FileExistsError:
            return False
    return True


def _sync_directory(directory: Path) -> None:
    """Make the rename durable, so that a manifest never outlives the tables that were written before it."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _walk(top: Path, topdown: bool = True) -> Iterator[tuple[str, list[str], list[str]]]:
    def fail(error: OSError) -> None:
        # what is not there holds nothing; what cannot be read must not look empty
        if not isinstance(error, _ABSENT):
            raise _explained(error) from error

    return os.walk(top, topdown=topdown, onerror=fail)


def _remove_empty(folder: Path) -> None:
    """Remove the empty directories in a directory, and itself if it is empty then."""
    with suppress(OSError):
        for child in [entry for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=False)]:
            with suppress(OSError):
                Path(child.path).rmdir()
        folder.rmdir()


def _remove(unlink: Callable[[], None]) -> None:
    try:
        unlink()
    except _ABSENT:
        return
    except OSError as error:
        raise _explained(error) from error


def _explained(error: OSError) -> OSError:
    advice = _ADVICE.get(error.errno or 0, "check the disk, or choose another store")
    where = f" at {error.filename}" if error.filename else ""
    return OSError(f"{(error.strerror or str(error)).lower()}{where}: {advice}")
