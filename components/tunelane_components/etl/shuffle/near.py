"""The near-duplicate step: which training texts of a partition nearly repeat a validation or test text."""

from collections.abc import Iterator
from functools import lru_cache

import msgspec

from tunelane_components.etl.near_duplicates import HeldOutIndex
from tunelane_components.etl.record import text_digest
from tunelane_components.etl.shuffle.plan import Plan, near_name, part_name
from tunelane_components.etl.shuffle.workspace import Workspace


class _Text(msgspec.Struct, gc=False):
    text: str


_decode = msgspec.json.Decoder(_Text).decode


def find_near_duplicates(partition: int, plan: Plan) -> int:
    """Leave the digests of a partition's training texts to drop in the workspace; give how many there are.

    The parts of all partitions must have been written.
    """
    workspace = Workspace(plan.workspace)
    index = _index(plan.workspace, plan.partitions, plan.options.near_duplicate_threshold)
    texts = list(_texts(workspace, partition, "train"))
    similarities = index.nearest(texts)
    near = [text for text, similarity in zip(texts, similarities, strict=True) if similarity]
    workspace.write(near_name(partition), b"".join(bytes.fromhex(text_digest(text)) for text in near))
    return len(near)


@lru_cache(maxsize=1)
def _index(root: str, partitions: int, threshold: float) -> HeldOutIndex:
    """Index every held-out text, once a process."""
    workspace = Workspace(root)
    index = HeldOutIndex(threshold)
    for partition in range(partitions):
        for split in ("valid", "test"):
            index.add(list(_texts(workspace, partition, split)))
    return index


def _texts(workspace: Workspace, partition: int, split: str) -> Iterator[str]:
    for line in workspace.read(part_name(partition, split)).splitlines():
        yield _decode(line).text
