"""What an archive holds, as its reader gives it."""

from collections.abc import Iterator
from dataclasses import dataclass

MAX_NAME_BYTES = 1024
CHUNK_BYTES = 1 << 18


@dataclass(frozen=True)
class Member:
    """A file or directory of an archive. The name is as it stands there: nothing but its length is checked.

    `chunks` gives a file's content, and must be used up before the next member is asked for.
    """

    name: str
    is_directory: bool
    chunks: Iterator[bytes]
