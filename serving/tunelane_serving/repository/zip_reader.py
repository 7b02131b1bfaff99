"""Zip archives, strictly: entries lie one behind the other, and the directory at the end says what they say themselves.

https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT. The standard library's `zipfile` reads a directory of any
length into memory, and leaves open what stands between entries. No encryption, no zip64, no comment behind the end, no
parts on other disks.
"""

import os
import stat
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from tunelane_serving.problems import BadPackage
from tunelane_serving.repository.members import CHUNK_BYTES, MAX_NAME_BYTES, Member

ENTRY_MAGIC = b"PK\x03\x04"
_DIRECTORY_MAGIC = b"PK\x01\x02"
_END_MAGIC = b"PK\x05\x06"
_DESCRIPTOR_MAGIC = b"PK\x07\x08"
# Magic, then numbers of 2 (H) or 4 (I) bytes, in the order of the specification's sections 4.3.7, 4.3.12 and 4.3.16.
_ENTRY = struct.Struct("<4s5H3I2H")
_DIRECTORY = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_DESCRIPTOR = struct.Struct("<3I")
_STORED, _DEFLATED = 0, 8
_ENCRYPTED = 1 << 0 | 1 << 6 | 1 << 13
_HAS_DESCRIPTOR, _UTF8 = 1 << 3, 1 << 11
_IN_ZIP64 = 0xFFFFFFFF
_ZIP64_EXTRA = 1
_MAX_DIRECTORY_BYTES = 4 << 20


@dataclass(frozen=True)
class _Entry:
    name: bytes
    flags: int
    method: int
    crc: int
    packed_bytes: int
    size_bytes: int
    mode: int
    start: int


def zip_members(stream: BinaryIO) -> Iterator[Member]:
    """Give the members of a zip archive in the order they lie in the file.

    Raises:
        BadPackage: it is damaged or cut off, its directory says other things than its entries, it has room for
            anything else, or it holds anything else than regular files and directories, stored or deflated.
    """
    end = stream.seek(0, os.SEEK_END) - _END.size
    entries, directory_start = _directory(stream, end)
    place = 0
    for position, entry in enumerate(entries):
        if entry.start != place:
            raise _damaged("its entries do not lie one behind the other")
        place = entries[position + 1].start if position + 1 < len(entries) else directory_start
        name = _decoded(entry)
        content_start = _content_start(stream, entry)
        gap = place - content_start - entry.packed_bytes
        _check_descriptor(stream, entry, content_start + entry.packed_bytes, gap)
        is_directory = name.endswith("/")
        kind = stat.S_IFMT(entry.mode)
        if kind not in (0, stat.S_IFDIR if is_directory else stat.S_IFREG):
            raise BadPackage(f"The archive's {name!r} is a link or a device; a package has regular files alone")
        # Nothing, deflated, is two bytes.
        if is_directory and (entry.size_bytes or entry.packed_bytes > 2):
            raise BadPackage(f"The archive's {name!r} is a directory with content; pack it again")
        yield Member(name, is_directory, _content(stream, entry, content_start))
    if place != directory_start:
        raise _damaged("it has something before its directory")


def _directory(stream: BinaryIO, end: int) -> tuple[list[_Entry], int]:
    """Read the directory; give its entries in the order of their place, and where it begins itself."""
    magic, disk, directory_disk, here, count, size_bytes, start, comment_bytes = _END.unpack(
        _read(stream, max(end, 0), _END.size)
    )
    if magic != _END_MAGIC or comment_bytes:
        raise BadPackage("The archive is cut off, or has something behind its end; pack it again without a comment")
    if disk or directory_disk or here != count:
        raise BadPackage("The archive is one of several parts; pack it as one")
    if start + size_bytes != end:
        raise BadPackage("The archive is damaged, or zip64; upload it as .tar.gz")
    if size_bytes > _MAX_DIRECTORY_BYTES:
        raise BadPackage("The archive has more names than a package has files")
    content = _read(stream, start, size_bytes)
    entries = []
    place = 0
    for _ in range(count):
        if len(content) - place < _DIRECTORY.size:
            raise _damaged("its directory is too short")
        fields = _DIRECTORY.unpack_from(content, place)
        magic, _, _, flags, method, _, _, crc, packed, size, *lengths, entry_disk, _, attributes, entry = fields
        if magic != _DIRECTORY_MAGIC or entry_disk:
            raise _damaged("its directory does not hold together")
        name_end = place + _DIRECTORY.size + lengths[0]
        extra_end = name_end + lengths[1]
        name, extra = content[place + _DIRECTORY.size : name_end], content[name_end:extra_end]
        place = extra_end + lengths[2]
        if place > len(content):
            raise _damaged("its directory is too short")
        if flags & _ENCRYPTED:
            raise BadPackage("The archive is encrypted; upload it without a password")
        if method not in (_STORED, _DEFLATED):
            raise BadPackage("The archive is packed by a method that is not read here; pack it with deflate")
        if _IN_ZIP64 in (packed, size, entry) or _has_zip64(extra):
            raise BadPackage("The archive is zip64; upload it as .tar.gz")
        # The upper half is a Unix mode, where it is anything: made_by says nothing more.
        entries.append(_Entry(name, flags, method, crc, packed, size, attributes >> 16, entry))
    if place != len(content):
        raise _damaged("its directory does not hold together")
    return sorted(entries, key=lambda entry: entry.start), start


def _content_start(stream: BinaryIO, entry: _Entry) -> int:
    """Hold an entry's own header against the directory; give where its content begins."""
    magic, _, flags, method, _, _, crc, packed, size, name_bytes, extra_bytes = _ENTRY.unpack(
        _read(stream, entry.start, _ENTRY.size)
    )
    if magic != ENTRY_MAGIC:
        raise _damaged("an entry is not where the directory says")
    rest = _read(stream, entry.start + _ENTRY.size, name_bytes + extra_bytes)
    if _has_zip64(rest[name_bytes:]):
        raise BadPackage("The archive is zip64; upload it as .tar.gz")
    found, expected = (crc, packed, size), (entry.crc, entry.packed_bytes, entry.size_bytes)
    # What was written before it was known stands behind the content.
    numbers = (expected, (0, 0, 0)) if flags & _HAS_DESCRIPTOR else (expected,)
    if (flags, method, rest[:name_bytes]) != (entry.flags, entry.method, entry.name) or found not in numbers:
        raise _damaged("an entry says something else than the directory")
    return entry.start + _ENTRY.size + len(rest)


def _check_descriptor(stream: BinaryIO, entry: _Entry, start: int, gap: int) -> None:
    """Check that nothing stands between an entry's content and what follows, but its descriptor where it has one."""
    if gap == 0 and not entry.flags & _HAS_DESCRIPTOR:
        return
    if not entry.flags & _HAS_DESCRIPTOR or gap not in (_DESCRIPTOR.size, _DESCRIPTOR.size + len(_DESCRIPTOR_MAGIC)):
        raise _damaged("something stands between its entries")
    found = _read(stream, start, gap)
    expected = _DESCRIPTOR.pack(entry.crc, entry.packed_bytes, entry.size_bytes)
    if found not in (expected, _DESCRIPTOR_MAGIC + expected):
        raise _damaged("an entry says something else than the directory")


def _decoded(entry: _Entry) -> str:
    if len(entry.name) > MAX_NAME_BYTES:
        raise BadPackage(f"The archive has a name of more than {MAX_NAME_BYTES} bytes")
    try:
        return entry.name.decode("utf-8" if entry.flags & _UTF8 else "ascii")
    except UnicodeDecodeError as error:
        raise BadPackage("The archive has a name that is not UTF-8; pack it again") from error


def _has_zip64(extra: bytes) -> bool:
    """Whether the extra fields (kind and length, 2 bytes each, then content) hold sizes for zip64."""
    place = 0
    while place + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, place)
        if kind == _ZIP64_EXTRA:
            return True
        place += 4 + length
    return False


def _content(stream: BinaryIO, entry: _Entry, start: int) -> Iterator[bytes]:
    """Give a file's content; raises BadPackage where length or CRC are not the directory's."""
    size_bytes = crc = 0
    for chunk in _unpacked(stream, entry, start):
        size_bytes += len(chunk)
        crc = zlib.crc32(chunk, crc)
        if size_bytes > entry.size_bytes:
            break
        yield chunk
    if (size_bytes, crc) != (entry.size_bytes, entry.crc):
        raise _damaged("a file's length or checksum is wrong")


def _unpacked(stream: BinaryIO, entry: _Entry, start: int) -> Iterator[bytes]:
    stream.seek(start)
    left = entry.packed_bytes
    inflater = None if entry.method == _STORED else zlib.decompressobj(-zlib.MAX_WBITS)
    while left:
        packed = stream.read(min(left, CHUNK_BYTES))
        if not packed:
            raise _damaged("it is cut off")
        left -= len(packed)
        if inflater is None:
            yield packed
            continue
        while packed:
            try:
                chunk = inflater.decompress(packed, CHUNK_BYTES)
            except zlib.error as error:
                raise _damaged("a file cannot be decompressed") from error
            if inflater.unused_data:
                raise _damaged("something stands behind a file's content")
            packed = inflater.unconsumed_tail
            yield chunk
    while inflater is not None and not inflater.eof:
        # What fitted into the last chunk no more.
        try:
            chunk = inflater.decompress(b"", CHUNK_BYTES)
        except zlib.error as error:
            raise _damaged("a file cannot be decompressed") from error
        if not chunk and not inflater.eof:
            raise _damaged("a file is cut off")
        yield chunk


def _read(stream: BinaryIO, start: int, size: int) -> bytes:
    stream.seek(start)
    content = stream.read(size)
    if len(content) != size:
        raise _damaged("it is cut off")
    return content


def _damaged(how: str) -> BadPackage:
    return BadPackage(f"The archive is damaged: {how}; pack it again")
