"""The map step: the rows of one chunk become candidates, spilled in the order of their partitions."""

import struct
import tempfile
from array import array
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from itertools import accumulate, islice
from pathlib import Path
from typing import Any

import msgspec

from tunelane_components.etl.rows.candidates import Candidate, CandidateMaker, QuarantinedRow, Rejected, malformed
from tunelane_components.etl.rows.row import MalformedRow, Row
from tunelane_components.etl.shuffle.plan import Plan, rejected_name, spill_name
from tunelane_components.etl.shuffle.workspace import Workspace
from tunelane_components.etl.sources.chunks import Chunk, JsonItemsChunk, JsonLinesChunk, RecordsChunk
from tunelane_components.etl.sources.reading import rows_of

_encode_line = msgspec.json.Encoder().encode
# The head of a MessagePack array: https://github.com/msgpack/msgpack/blob/master/spec.md#array-format-family
_ARRAY_HEAD = struct.Struct(">BI")
_ARRAY_32 = 0xDD
_TOKENIZED_ROWS = 1_000
# Of a file whose columns are known only from its rows; what is beyond is not shown.
_COLUMNS = 1_000


class _Text(msgspec.Struct, gc=False):
    text: str


_text_of_line = msgspec.json.Decoder(_Text).decode


class MapOutcome(msgspec.Struct, frozen=True, tag="map"):
    """What became of the rows of one chunk.

    Attributes:
        number: of the chunk, counted over all sources.
        file: the index of its source.
        rows: how many were read.
        rejected: how many of them cannot become records, by reason.
        personal_data: what was masked, by kind.
        columns: of JSON rows, those seen.
        offsets: where the candidates of each partition start in the spill, and where the last ones end, as uint64 of
            this machine: there is one for each chunk and partition, so they are kept small.
    """

    number: int
    file: int
    rows: int
    rejected: dict[str, int]
    personal_data: dict[str, int]
    columns: tuple[str, ...]
    offsets: bytes


def map_chunk(chunk: Chunk, number: int, plan: Plan) -> MapOutcome:
    """Check the rows of a chunk; leave the candidates and the rejected rows in the workspace.

    A pure function of its arguments, so that a second try leaves what the first one did.
    """
    maker = CandidateMaker(
        plan.options,
        plan.taxonomy,
        given_split=plan.given_splits[chunk.file],
        canonical=isinstance(chunk, RecordsChunk),
    )
    spill = _Spill(plan.partitions)
    quarantined: list[QuarantinedRow] = []
    columns: dict[str, None] = {}
    has_unknown_columns = isinstance(chunk, JsonLinesChunk | JsonItemsChunk)
    last_columns: Any = None
    rows = 0
    judged = _judged(chunk, maker)
    for row, verdict in _within_tokens(judged, plan) if plan.options.max_tokens else judged:
        rows += 1
        if has_unknown_columns and isinstance(row, Row) and row.values.keys() != last_columns:
            last_columns = row.values.keys()
            columns.update(dict.fromkeys(last_columns))
        if isinstance(verdict, Candidate):
            spill.add(verdict)
        else:
            quarantined.append(maker.quarantined(row, plan.names[chunk.file], verdict))
    workspace = Workspace(plan.workspace)
    offsets = spill.write(workspace, spill_name(number))
    if quarantined:
        workspace.write(rejected_name(number), b"".join(_encode_line(row) + b"\n" for row in quarantined))
    return MapOutcome(
        number=number,
        file=chunk.file,
        rows=rows,
        rejected=dict(Counter(row.reason for row in quarantined)),
        personal_data=dict(maker.personal_data),
        columns=tuple(columns)[:_COLUMNS],
        offsets=offsets,
    )


_Judged = tuple[Row | MalformedRow, Candidate | Rejected]


def _judged(chunk: Chunk, maker: CandidateMaker) -> Iterator[_Judged]:
    """Yield every row of a chunk with what it can become."""
    make, file = maker.make, chunk.file
    for row in rows_of(chunk):
        yield row, malformed(row) if isinstance(row, MalformedRow) else make(row, file)


def _within_tokens(judged: Iterator[_Judged], plan: Plan) -> Iterator[_Judged]:
    """Reject the texts that have more tokens than are allowed."""
    from tunelane_components.etl.tokens import count_tokens

    most = plan.options.max_tokens
    while batch := list(islice(judged, _TOKENIZED_ROWS)):
        texts = [_text_of_line(verdict.line).text for _, verdict in batch if isinstance(verdict, Candidate)]
        counts = iter(count_tokens(_tokenizer(plan.tokenizer), texts))
        for row, verdict in batch:
            if isinstance(verdict, Candidate) and (count := next(counts)) > most:
                yield row, Rejected("too_many_tokens", f"{count:,} tokens, {most:,} are allowed")
            else:
                yield row, verdict


class _Spill:
    """Candidates by partition, encoded at once: as objects they would take several times the memory."""

    def __init__(self, partitions: int) -> None:
        self._partitions = partitions
        self._buffers = [bytearray() for _ in range(partitions)]
        self._counts = [0] * partitions
        self._encode_into = msgspec.msgpack.Encoder().encode_into

    def add(self, candidate: Candidate) -> None:
        """Append a candidate to its partition; the order of partitions is that of digests."""
        partition = int.from_bytes(candidate.digest[:4]) * self._partitions >> 32
        buffer = self._buffers[partition]
        self._counts[partition] += 1
        self._encode_into(candidate, buffer, len(buffer) or _ARRAY_HEAD.size)

    def write(self, workspace: Workspace, name: str) -> bytes:
        """Write all partitions into one piece; give where each starts, and where the last ends."""
        for buffer, count in zip(self._buffers, self._counts, strict=True):
            if count:
                _ARRAY_HEAD.pack_into(buffer, 0, _ARRAY_32, count)
        if any(self._counts):
            workspace.write(name, b"".join(self._buffers))
        return array("Q", accumulate(map(len, self._buffers), initial=0)).tobytes()


@lru_cache(maxsize=1)
def _tokenizer(path: str) -> Any:
    """Load the tokenizer once a process."""
    from tunelane_components.etl.tokens import load_tokenizer

    # Another machine has to fetch it first.
    with tempfile.TemporaryDirectory() as scratch:
        return load_tokenizer(path, Path(scratch))
