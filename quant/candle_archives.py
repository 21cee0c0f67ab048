"""One file out of a zip or gzip, never larger than it may be, and never one that hides another archive."""

import gzip
import io
import re
import struct
import zipfile
import zlib

from zlib_ng import zlib_ng

from quant.candle_columns import CandleFileError

_LOCAL_HEADER = struct.Struct("<4s22xHH")
ZIP, GZIP = b"PK\x03\x04", b"\x1f\x8b"
_EMPTY_ZIP = b"PK\x05\x06"
_CLIMBING = re.compile(r"^(?:[/\\]|[A-Za-z]:)|(?:^|[/\\])\.\.(?:[/\\]|$)")
_BROKEN: tuple[type[Exception], ...] = (  # type: ignore[assignment]  # the stub of zlib_ng has an instance for a class
    zipfile.BadZipFile, zlib.error, zlib_ng.error, EOFError, OSError, NotImplementedError, RuntimeError, ValueError,
    struct.error, IndexError, KeyError, OverflowError,
)  # fmt: skip


def unpack(data: bytes, limit: int) -> tuple[bytes, str]:
    """Return the content of a zip or gzip, and which of both it was; other data as they are.

    Checksums are verified. No more than ``limit`` bytes are unpacked, whatever the archive says of itself.

    Raises
    ------
    CandleFileError
        If it is broken, encrypted or too large, has not one member, a member whose path leads elsewhere, or an
        archive within.
    """
    if data.startswith((ZIP, _EMPTY_ZIP)):
        kind, content = "zip", _from_zip(data, limit)
    elif data.startswith(GZIP):
        kind, content = "gzip", _from_gzip(data, limit)
    else:
        kind, content = "", data
    if len(content) > limit:
        raise CandleFileError(f"the file has more than {limit:,} bytes{' unpacked' if kind else ''}; split it")
    if kind and content.startswith((ZIP, _EMPTY_ZIP, GZIP)):
        raise CandleFileError(f"the {kind} holds another archive; unpack it first")
    return content, kind


def _from_gzip(data: bytes, limit: int) -> bytes:
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
            return file.read(limit + 1)
    except _BROKEN as error:
        raise CandleFileError(f"the gzip is truncated or broken: {error}") from error


def _from_zip(data: bytes, limit: int) -> bytes:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            member = _member(archive, limit)
            return _member_content(data, member)
    except CandleFileError:
        raise
    except _BROKEN as error:
        raise CandleFileError(f"the zip is truncated or broken: {error}") from error


def _member_content(data: bytes, member: zipfile.ZipInfo) -> bytes:
    """Content of a member, verified. Python's own reader does the same with a zlib that takes twice as long."""
    header = data[member.header_offset : member.header_offset + _LOCAL_HEADER.size]
    signature, name_length, extra_length = _LOCAL_HEADER.unpack(header)
    start = member.header_offset + _LOCAL_HEADER.size + name_length + extra_length
    packed = memoryview(data)[start : start + member.compress_size]
    if signature != ZIP or len(packed) != member.compress_size:
        raise zipfile.BadZipFile("its directory does not fit its content")
    if member.compress_type == zipfile.ZIP_STORED:
        content = bytes(packed)
    else:
        inflating = zlib_ng.decompressobj(-zlib.MAX_WBITS)
        content = inflating.decompress(packed, member.file_size + 1)  # which is within the limit
    if len(content) != member.file_size or zlib_ng.crc32(content) != member.CRC:
        raise zipfile.BadZipFile("its content is not what its directory says")
    return content


def _member(archive: zipfile.ZipFile, limit: int) -> zipfile.ZipInfo:
    members = archive.infolist()
    if len(members) != 1:
        raise CandleFileError(f"the zip has {len(members)} members; there must be one, with candles")
    member = members[0]
    name = member.filename
    if _CLIMBING.search(name) or _CLIMBING.search(member.orig_filename):
        raise CandleFileError(f"the zip holds {name[:80]!r}, a path that leads elsewhere")
    if member.flag_bits & 0x1:
        raise CandleFileError(f"{name[:80]!r} in the zip is encrypted; unpack it first")
    if member.is_dir():
        raise CandleFileError(f"the zip holds only the folder {name[:80]!r}")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise CandleFileError(f"{name[:80]!r} in the zip is compressed in a way that is not read; allowed is deflate")
    if member.file_size > limit:
        raise CandleFileError(f"{name[:80]!r} in the zip unpacks to more than {limit:,} bytes; split it")
    return member
