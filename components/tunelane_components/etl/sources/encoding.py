"""Text in any encoding as UTF-8, in which bytes that its encoding does not have stay visible, row by row.

A UTF-8 file is passed on as it is. A file in another encoding is transcoded; a byte that its encoding does not have
becomes the surrogate U+DC00 + byte, written in three bytes, so that it is no UTF-8 afterwards either.
"""

import codecs
import re
from collections.abc import Iterator

from tunelane_components.etl.rows.row import MalformedRow
from tunelane_components.storage import one_line
from tunelane_serving.errors import InputError

UTF_8 = "utf-8"
_BAD_BYTES = "tunelane_bad_bytes"
_SURROGATE = re.compile("[\ud800-\udfff]")
_SURROGATE_OF_BYTE = 0xDC00


def _escape(error: UnicodeError) -> tuple[str, int]:
    """Codec error handler: each bad byte as a surrogate of its own."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    bad = error.object[error.start : error.end]
    return "".join(chr(_SURROGATE_OF_BYTE + byte) for byte in bad), error.end


codecs.register_error(_BAD_BYTES, _escape)


def checked_encoding(encoding: str) -> str:
    """Give "utf-8" for every name of UTF-8, and any other encoding as it was asked for.

    Raises:
        InputError: there is no such text encoding.
    """
    name = encoding.strip() or UTF_8
    try:
        canonical = codecs.lookup(name).name
        "a".encode(name)  # refuses codecs that are not for text
    except (LookupError, ValueError) as error:
        raise InputError(
            f"Unknown encoding {encoding!r}. Pass one that Python knows: utf-8, utf-16, cp1252, latin-1, …"
        ) from error
    return UTF_8 if canonical in ("utf-8", "utf-8-sig") else name


def transcoded(blocks: Iterator[bytes], encoding: str, name: str) -> Iterator[bytes]:
    """Yield `blocks` of the file `name` in UTF-8.

    Raises:
        InputError: the bytes cannot be this encoding at all.
    """
    try:
        decoder = codecs.getincrementaldecoder(encoding)(errors=_BAD_BYTES)
        for block in blocks:
            yield decoder.decode(block).encode(UTF_8, "surrogatepass")
        yield decoder.decode(b"", final=True).encode(UTF_8, "surrogatepass")
    except (UnicodeError, LookupError) as error:
        raise InputError(f"{name} cannot be read as {encoding}: {one_line(error)}. Pass its encoding.") from error


def decoded(content: bytes, encoding: str) -> tuple[str, bool]:
    """The text of a chunk whose file is in `encoding`, and whether all of it is text.

    Where it is not, bytes that are no text stand as surrogates.
    """
    try:
        return content.decode(), True
    except UnicodeDecodeError:
        return content.decode(UTF_8, "surrogateescape" if encoding == UTF_8 else "surrogatepass"), False


def bad_encoding(line: int, text: str, encoding: str) -> MalformedRow | None:
    """The malformed row for a `text` in which bytes are no text; None where there are none."""
    found = _SURROGATE.search(text)
    if not found:
        return None
    name = "UTF-8" if encoding == UTF_8 else encoding
    return MalformedRow(line, "bad_encoding", f"byte 0x{ord(found[0]) & 0xFF:02x} is not {name}", visible(text))


def visible(text: str) -> str:
    r"""`text` with its surrogates as the bytes that they stand for, \xNN."""
    return _SURROGATE.sub(lambda found: f"\\x{ord(found[0]) & 0xFF:02x}", text)
