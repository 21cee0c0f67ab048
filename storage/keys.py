"""Which keys a store accepts: those that every backend, file system and URL can hold unchanged."""

import re

from storage.errors import StoreError

KEY_BYTES = 1024  # S3's limit for a key
SEGMENT_BYTES = 255  # a file name's limit on Linux and macOS

# What a write on a local disk is called until it is complete; such a name is never a key.
TEMPORARY = re.compile(r"\.[0-9a-f]{16}\.partial")

_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f\\?#*:"<>|\ud800-\udfff]')


def flaw(key: str) -> str | None:
    """Say what is wrong with a key, or None where it is a good one."""
    if not key:
        return "it is empty"
    found = _FORBIDDEN.search(key)
    if found:
        return f"it holds the character {found.group()!a}, which file systems or URLs give a meaning"
    if len(key.encode()) > KEY_BYTES:
        return f"it is {len(key.encode())} bytes long, above the {KEY_BYTES} that S3 allows"
    for segment in key.split("/"):
        if segment in ("", ".", ".."):
            return f"it holds the segment {segment!r}; keys are relative, with no empty, '.' or '..' segment"
        if len(segment.encode()) > SEGMENT_BYTES:
            return f"the segment {segment[:40]!r}… is longer than the {SEGMENT_BYTES} bytes that a file name may have"
        if TEMPORARY.fullmatch(segment):
            return f"{segment!r} is a name kept for unfinished writes"
    return None


def checked(key: str, url: str) -> str:
    """Return the key if it is a good one.

    Raises
    ------
    StoreError
        Where it is not relative, has an empty, ``.`` or ``..`` segment, is too long, or holds a control
        character, a lone surrogate or one of ``\\ ? # * : " < > |``.
    """
    problem = flaw(key)
    if problem:
        raise StoreError(
            f"the key {key[:200]!a} cannot be used in the store {url}: {problem}. "
            "Use names joined by single '/', and quote free text such as a ticker with storage.layout.quote."
        )
    return key


def checked_prefix(prefix: str, url: str) -> str:
    """Return a prefix without its closing ``/``; an empty one means the whole store.

    Raises
    ------
    StoreError
        As for ``checked``.
    """
    return checked(prefix.removesuffix("/"), url) if prefix else ""
