"""What every task of a build needs to know, and what was decided about all of its rows."""

import msgspec

from tunelane_components.etl.options import DatasetOptions
from tunelane_serving.taxonomy import Taxonomy


class Plan(msgspec.Struct, frozen=True):
    """The same for all tasks of a build.

    Attributes:
        names: of the sources, in order.
        given_splits: of the sources: test for a file that was given as test data, else empty.
        partitions: into how many parts the digests of texts are cut.
        workspace: root of the pieces that tasks leave for one another.
        tokenizer: a local tokenizer.json to count tokens with, or empty.
    """

    options: DatasetOptions
    taxonomy: Taxonomy | None
    names: tuple[str, ...]
    given_splits: tuple[str, ...]
    partitions: int
    workspace: str
    tokenizer: str = ""


class Decisions(msgspec.Struct, frozen=True):
    """What depends on all rows, so that it is known only after a first look at them.

    Attributes:
        rare_labels: labels with fewer texts than `min_per_label`.
        last_kept: the largest `rows_order` of the texts that `rows` keeps; empty keeps all.
        last_kept_by_label: the same for the training texts of a label under `max_per_label`.
        ids_repeat: whether the workspace holds ids that several texts have.
        near_duplicates: whether the workspace holds training texts to drop.
    """

    rare_labels: frozenset[str] = frozenset()
    last_kept: bytes = b""
    last_kept_by_label: dict[str, bytes] = {}
    ids_repeat: bool = False
    near_duplicates: bool = False


REPEATED_IDS = "repeated_ids.bin"


def spill_name(number: int) -> str:
    """Name the candidates of a chunk, ordered by partition."""
    return f"spill/{number:07d}.bin"


def rejected_name(number: int) -> str:
    """Name the rows of a chunk that cannot become records."""
    return f"rejected/{number:07d}.jsonl"


def part_name(partition: int, kind: str) -> str:
    """Name a part of an output: train, valid, test or quarantine."""
    return f"parts/{partition:05d}.{kind}.jsonl"


def ids_name(partition: int) -> str:
    """Name the hashes of a partition's ids."""
    return f"ids/{partition:05d}.bin"


def near_name(partition: int) -> str:
    """Name the digests of a partition's texts that nearly repeat a held-out one."""
    return f"near/{partition:05d}.bin"
