"""Opening a file as a stream of UTF-8: its bytes are counted and hashed, decompressed and, where asked, transcoded."""

import codecs
import gzip
import hashlib
import io
import zlib
from collections.abc import Iterator
from itertools import chain
from typing import NamedTuple, cast

from tunelane_components.etl.sources.encoding import UTF_8, checked_encoding, transcoded
from tunelane_components.etl.sources.find import SourceFile
from tunelane_components.storage import one_line, open_binary
from tunelane_serving.errors import InputError

HEAD_BYTES = 64 * 2**10
# A Zstandard block of a few bytes may hold 128 KiB, so that this bounds what one step can give.
_ZST_STEP_BYTES = 8 * 2**10
_UTF_8_MARK = codecs.BOM_UTF8
# UTF-32's marks begin with UTF-16's.
_OTHER_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_BINARY_BEGINNINGS = (
    (b"\x1f\x8b", "is compressed by gzip. Name it with the ending .gz."),
    (b"\x28\xb5\x2f\xfd", "is compressed by Zstandard. Name it with the ending .zst."),
    (b"PK\x03\x04", "is a zip archive or a spreadsheet. Save it as CSV or unpack it."),
)


class RawFile:
    """The stored bytes of a file, read once from its beginning."""

    def __init__(self, uri: str, what: str = "data") -> None:
        self.read_bytes = 0
        self._uri = uri
        self._file = open_binary(uri, what=what)
        self._digest = hashlib.sha256()

    def read(self, size: int) -> bytes:
        """Read up to `size` bytes; b"" at the end."""
        try:
            content = self._file.read(size)
        except Exception as error:
            # Every fsspec implementation has its own errors; each means that this file cannot be read.
            raise InputError(f"Cannot read {self._uri}: {one_line(error)}.") from error
        self.read_bytes += len(content)
        self._digest.update(content)
        return content

    def sha256(self) -> str:
        """Hex SHA-256 of what has been read."""
        return self._digest.hexdigest()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class OpenedText(NamedTuple):
    """A file as UTF-8 without a byte order mark.

    `head` is its beginning, at least `HEAD_BYTES` of it or all there is, and is given by `blocks` once more. `encoding`
    is "utf-8", "utf-8-sig" where there was a byte order mark, or what was asked for.
    """

    blocks: Iterator[bytes]
    head: bytes
    encoding: str


def open_text(raw: RawFile, source: SourceFile, encoding: str, block_bytes: int) -> OpenedText:
    """Open a file of text; `block_bytes` is about how much a block holds.

    Raises:
        InputError: the encoding is unknown, or the file is in another one or no text. The blocks raise it for a file
            that is cut off or corrupt.
    """
    encoding = checked_encoding(encoding)
    head, blocks = _with_head(_decompressed(raw, source, block_bytes))
    for beginning, advice in _BINARY_BEGINNINGS:
        if head.startswith(beginning):
            raise InputError(f"{source.name} {advice}")
    if encoding == UTF_8:
        _refuse_other_unicode(head, source.name)
    else:
        head, blocks = _with_head(transcoded(chain([head], blocks), encoding, source.name))
    if head.startswith(_UTF_8_MARK):
        head = head.removeprefix(_UTF_8_MARK)
        encoding = "utf-8-sig" if encoding == UTF_8 else encoding
    cut_head = (head[start : start + block_bytes] for start in range(0, len(head), block_bytes))
    return OpenedText(chain(cut_head, filter(None, blocks)), head, encoding)


def next_block(blocks: Iterator[bytes], minimum_bytes: int) -> bytes:
    """Join the next blocks until there are `minimum_bytes`, at least one; b"" at the end."""
    parts: list[bytes] = []
    size_bytes = 0
    for block in blocks:
        parts.append(block)
        size_bytes += len(block)
        if size_bytes >= minimum_bytes:
            break
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _with_head(blocks: Iterator[bytes]) -> tuple[bytes, Iterator[bytes]]:
    return next_block(blocks, HEAD_BYTES), blocks


def _decompressed(raw: RawFile, source: SourceFile, block_bytes: int) -> Iterator[bytes]:
    if source.compression == "gz":
        yield from _from_gzip(raw, source.name, block_bytes)
    elif source.compression == "zst":
        yield from _from_zst(raw, source.name, block_bytes)
    else:
        while block := raw.read(block_bytes):
            yield block


def _from_gzip(raw: RawFile, name: str, block_bytes: int) -> Iterator[bytes]:
    # gzip asks its file for nothing but `read`.
    stream = gzip.GzipFile(fileobj=cast(io.BufferedIOBase, raw), mode="rb")
    try:
        while block := stream.read(block_bytes):
            yield block
    except EOFError as error:
        raise _cut_off(name) from error
    except (OSError, zlib.error) as error:
        raise _corrupt(name, error) from error


def _from_zst(raw: RawFile, name: str, block_bytes: int) -> Iterator[bytes]:
    """Frame by frame, since the library's own stream takes a file that is cut off for one that ends."""
    try:
        import zstandard
    except ImportError as error:
        raise InputError(f"Cannot read {name}: install zstandard (pip install zstandard).") from error

    frame = None
    parts: list[bytes] = []
    size_bytes = 0
    while piece := raw.read(_ZST_STEP_BYTES):
        while piece:
            frame = frame or zstandard.ZstdDecompressor().decompressobj()
            try:
                part = frame.decompress(piece)
            except zstandard.ZstdError as error:
                raise _corrupt(name, error) from error
            parts.append(part)
            size_bytes += len(part)
            piece = b""
            if frame.eof:
                piece, frame = frame.unused_data, None
        if size_bytes >= block_bytes:
            yield b"".join(parts)
            parts, size_bytes = [], 0
    if parts:
        yield b"".join(parts)
    if frame is not None:
        raise _cut_off(name)


def _cut_off(name: str) -> InputError:
    return InputError(f"{name} is cut off: its compressed data ends too early. Copy it again.")


def _corrupt(name: str, error: Exception) -> InputError:
    return InputError(f"{name} is corrupt: it cannot be decompressed ({one_line(error)}). Copy it again.")


def _refuse_other_unicode(head: bytes, name: str) -> None:
    """Stop at UTF-16 and UTF-32, with or without a byte order mark."""
    for mark, encoding in _OTHER_MARKS:
        if head.startswith(mark):
            raise InputError(f"{name} is {encoding.upper()}, not UTF-8. Pass --set encoding={encoding}.")
    # The first characters of a table or of JSON are ASCII: in UTF-16 each has a zero beside it, in UTF-8 none has.
    for encoding, letters, zeros in (("utf-16-le", head[:4:2], head[1:4:2]), ("utf-16-be", head[1:4:2], head[:4:2])):
        if zeros == b"\0\0" and 0 not in letters:
            raise InputError(f"{name} looks like UTF-16, not UTF-8. Pass --set encoding={encoding}.")
