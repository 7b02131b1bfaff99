"""Tar archives as a stream: regular files and directories, nothing else, every length bounded before it is read.

https://pubs.opengroup.org/onlinepubs/9799919799/utilities/pax.html (ustar and pax interchange format) and
https://www.gnu.org/software/tar/manual/html_node/Standard.html (GNU's long names). The standard library's `tarfile`
reads more than a package may have, and takes an archive's word for how much to read into memory.
"""

import zlib
from collections.abc import Iterator
from typing import BinaryIO, Protocol

from tunelane_serving.problems import BadPackage
from tunelane_serving.repository.members import CHUNK_BYTES, MAX_NAME_BYTES, Member

BLOCK_BYTES = 512
GZIP_MAGIC = b"\x1f\x8b"
_MAGIC_PLACE = slice(257, 265)
_POSIX_MAGIC = b"ustar\x0000"
_GNU_MAGIC = b"ustar  \x00"
_CHECKSUM_PLACE = slice(148, 156)
_REGULAR, _DIRECTORY = (b"0", b"\0"), b"5"
_LONG_NAME, _PAX, _PAX_FOR_ALL = b"L", b"x", b"g"
_KINDS = {b"1": "a hard link", b"2": "a symbolic link", b"3": "a device", b"4": "a device", b"6": "a fifo"}
_MAX_PAX_BYTES = 64 << 10
_MAX_EXTENDED = 4
# Records of 1 MiB are the longest that tar programs are asked for.
_MAX_PADDING_BYTES = 1 << 20
# What would make the content, or where it goes, something else than the header says.
_REFUSED_RECORDS = ("linkpath", "hdrcharset", "GNU.sparse.")


class Stream(Protocol):
    """What a tar archive is read from."""

    def read(self, size: int, /) -> bytes:
        """Give up to `size` bytes, fewer only at the end."""


class Gunzip:
    """The content of one gzip member, decompressed as far as it is read. https://www.rfc-editor.org/rfc/rfc1952."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._inflater = zlib.decompressobj(16 + zlib.MAX_WBITS)

    def read(self, size: int, /) -> bytes:
        """Give up to `size` bytes, fewer only at the end.

        Raises:
            BadPackage: it is damaged, cut off, or followed by something else.
        """
        parts = []
        while size and not self._inflater.eof:
            waiting = self._inflater.unconsumed_tail or self._stream.read(CHUNK_BYTES)
            try:
                part = self._inflater.decompress(waiting, size)
            except zlib.error as error:
                raise BadPackage("The archive is damaged: its gzip stream cannot be decompressed") from error
            if not waiting and not part:
                raise BadPackage("The archive is cut off; pack it again")
            parts.append(part)
            size -= len(part)
        if self._inflater.eof and (self._inflater.unused_data or self._stream.read(1)):
            raise BadPackage("The archive has something behind its gzip stream; pack it again")
        return b"".join(parts)


def looks_like_tar(start: bytes) -> bool:
    """Whether an archive's first 512 bytes are a tar header."""
    return start[_MAGIC_PLACE] in (_POSIX_MAGIC, _GNU_MAGIC)


def tar_members(stream: Stream) -> Iterator[Member]:
    """Give the members of a tar archive in order.

    Raises:
        BadPackage: it is damaged or cut off, something stands behind its end, or it holds anything else than regular
            files and directories.
    """
    name: str | None = None
    extended = 0
    while True:
        header = _read(stream, BLOCK_BYTES)
        if not header.strip(b"\0"):
            if name is not None:
                raise BadPackage("The archive is damaged: a name has no member")
            _expect_end(stream)
            return
        kind, size_bytes = _checked(header)
        if kind in (_LONG_NAME, _PAX, _PAX_FOR_ALL):
            extended += 1
            # A tar program writes one for all members, and one or two for a member.
            if name is not None or extended > _MAX_EXTENDED:
                raise BadPackage("The archive gives a member several names or extended headers; pack it again")
            if size_bytes > _MAX_PAX_BYTES:
                raise BadPackage("The archive has an extended header of more than 64 kB; pack it again without")
            content = _read_padded(stream, size_bytes)
            if kind == _LONG_NAME:
                name = _decoded(content.removesuffix(b"\0"))
            else:
                name = _name_in_records(content)
                if kind == _PAX_FOR_ALL and name is not None:
                    raise BadPackage("The archive gives all members one name; pack it again")
            continue
        if name is None:
            name = _name_in_header(header)
        if kind == _DIRECTORY:
            if size_bytes:
                raise BadPackage(f"The archive's {name!r} is a directory with content; pack it again")
            yield Member(name, True, iter(()))
        elif kind in _REGULAR:
            yield Member(name, False, _content(stream, size_bytes))
        else:
            raise BadPackage(
                f"The archive's {name!r} is {_KINDS.get(kind, 'of an unknown kind')}; a package has regular files alone"
            )
        name, extended = None, 0


def _checked(header: bytes) -> tuple[bytes, int]:
    """Give a header's kind and size, its checksum and magic found right."""
    checksum = sum(header) - sum(header[_CHECKSUM_PLACE]) + 8 * ord(" ")
    if not looks_like_tar(header) or _octal(header[_CHECKSUM_PLACE]) != checksum:
        raise BadPackage("The archive is damaged: a tar header does not hold together")
    return header[156:157], _octal(header[124:136])


def _octal(field: bytes) -> int:
    digits = field.strip(b" \0")
    # Sizes past 8 GiB stand in another way: past what is taken anyway.
    if not digits or digits.strip(b"01234567"):
        raise BadPackage("The archive is damaged, or has a file of more than 8 GiB: a number in it is not octal")
    return int(digits, 8)


def _name_in_header(header: bytes) -> str:
    name = header[:100].partition(b"\0")[0]
    prefix = header[345:500].partition(b"\0")[0] if header[_MAGIC_PLACE] == _POSIX_MAGIC else b""
    return _decoded(prefix + b"/" + name if prefix else name)


def _decoded(name: bytes) -> str:
    if len(name) > MAX_NAME_BYTES:
        raise BadPackage(f"The archive has a name of more than {MAX_NAME_BYTES} bytes")
    try:
        return name.decode()
    except UnicodeDecodeError as error:
        raise BadPackage("The archive has a name that is not UTF-8; pack it again") from error


def _name_in_records(content: bytes) -> str | None:
    """Give the name among pax records ("LENGTH KEY=VALUE" and a line feed each), None where there is none."""
    name = None
    while content:
        length, _, _ = content.partition(b" ")
        if not length.isdigit() or len(length) > 5 or not len(length) + 2 <= int(length) <= len(content):
            raise BadPackage("The archive is damaged: a pax record does not hold together")
        record, content = content[: int(length)], content[int(length) :]
        key, separator, value = record[len(length) + 1 : -1].partition(b"=")
        if not separator or record[-1:] != b"\n":
            raise BadPackage("The archive is damaged: a pax record does not hold together")
        keyword = _decoded(key)
        if keyword == "size" or keyword.startswith(_REFUSED_RECORDS):
            raise BadPackage(f"The archive has a pax record {keyword!r}; pack it again as plain files")
        if keyword == "path":
            if name is not None:
                raise BadPackage("The archive gives a member two names; pack it again")
            name = _decoded(value)
    return name


def _content(stream: Stream, size_bytes: int) -> Iterator[bytes]:
    left = size_bytes
    while left:
        chunk = _read(stream, min(left, CHUNK_BYTES))
        left -= len(chunk)
        yield chunk
    _read(stream, -size_bytes % BLOCK_BYTES)


def _read_padded(stream: Stream, size_bytes: int) -> bytes:
    return _read(stream, size_bytes + -size_bytes % BLOCK_BYTES)[:size_bytes]


def _read(stream: Stream, size: int) -> bytes:
    content = stream.read(size)
    if len(content) != size:
        raise BadPackage("The archive is cut off; pack it again")
    return content


def _expect_end(stream: Stream) -> None:
    """Read what follows the first block of zeros: another one, and zeros to the end."""
    padding = _read(stream, BLOCK_BYTES) + stream.read(_MAX_PADDING_BYTES)
    if padding.strip(b"\0") or stream.read(1):
        raise BadPackage("The archive has something behind its end; pack it again")
