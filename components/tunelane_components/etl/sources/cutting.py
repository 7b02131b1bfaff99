"""Cutting a stream of lines into pieces of whole rows."""

from collections.abc import Callable, Iterator

from tunelane_components.etl.sources.opening import next_block
from tunelane_serving.errors import InputError

ROW_BYTES = 64 * 2**20
# How much is read at once while a row goes on; below it twice as much each time, so that a long row costs no square.
_STEP_BYTES = 16 * 2**20


def cut(
    blocks: Iterator[bytes],
    end_of_rows: Callable[[bytes], int],
    count_lines: Callable[[bytes], int],
    too_long: Callable[[int], str],
    check_rest: Callable[[int, bytes], None] | None = None,
) -> Iterator[tuple[int, bytes]]:
    """Yield pieces of whole rows, each with the line that it begins on; the last one may lack its line end.

    Args:
        blocks: the stream.
        end_of_rows: where the last whole row of a piece ends that begins with a row; 0 where none does.
        count_lines: how many lines end in a piece.
        too_long: words the error for a row of more than 64 MiB, by the line that it begins on.
        check_rest: is given the line and the bytes of what is left at the end, and raises where it is broken.

    Raises:
        InputError: a row is too long.
    """
    line = 1
    rest = b""
    while block := next_block(blocks, min(len(rest), _STEP_BYTES)):
        piece = rest + block
        end = end_of_rows(piece)
        if end:
            whole = piece[:end]
            yield line, whole
            line += count_lines(whole)
        rest = piece[end:]
        check_row_bytes(len(rest), line, too_long)
    if rest:
        if check_rest:
            check_rest(line, rest)
        yield line, rest


def check_row_bytes(size_bytes: int, line: int, too_long: Callable[[int], str]) -> None:
    """Stop at a row that outgrows what is kept in memory."""
    if size_bytes > ROW_BYTES:
        raise InputError(too_long(line))
