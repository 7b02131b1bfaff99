"""When too many rows cannot be used: the most frequent reasons, in words."""

from collections import Counter
from collections.abc import Iterable, Mapping

import msgspec

from tunelane_components.etl.rows.candidates import QuarantinedRow
from tunelane_serving.errors import InputError

WORDS_BY_REASON = {
    "malformed_row": "cannot be read",
    "bad_encoding": "are not in the encoding that was asked for (see encoding)",
    "empty_text": "have no text",
    "missing_label": "have no label",
    "unknown_label": "have a label that is not in the taxonomy",
    "several_labels": "have several labels (see multi_label)",
    "too_long": "have too many characters (see max_characters)",
    "too_many_tokens": "have too many tokens (see max_tokens)",
    "unsupported_image": "have an image of an unsupported type",
    "unknown_split": "have a split that is none of train, valid, test",
    "conflicting_labels": "have a text that stands under different labels",
    "rare_label": "have only labels with too few texts (see min_per_label)",
}
_SHOWN_REASONS = 3


def check_rejected(rejected: Mapping[str, int], rows: int, most: float, data: str, quarantine: Iterable[bytes]) -> None:
    """Stop where more than the share `most` of the rows was rejected.

    Args:
        rejected: rows by reason.
        rows: rows read.
        most: `max_rejected_fraction`.
        data: what was read, for the error.
        quarantine: the lines of rejected rows, looked at only for the error.

    Raises:
        InputError: gives the three most frequent reasons in words, each with its first row.
    """
    count = sum(rejected.values())
    if not count or count / rows <= most:
        return
    first_by_reason: dict[str, QuarantinedRow] = {}
    frequent = [reason for reason, _ in Counter(rejected).most_common(_SHOWN_REASONS)]
    for line in quarantine:
        row = msgspec.json.decode(line, type=QuarantinedRow)
        first_by_reason.setdefault(row.reason, row)
        if first_by_reason.keys() >= set(frequent):
            break
    said = [
        f"{rejected[reason]:,} {WORDS_BY_REASON[reason]}{_first(first_by_reason.get(reason))}" for reason in frequent
    ]
    raise InputError(
        f"{data}: {count:,} of {rows:,} rows cannot be used ({count / rows:.0%}; max_rejected_fraction={most:g}): "
        f"{'; '.join(said)}. Correct them, or pass --set max_rejected_fraction=SHARE."
    )


def _first(row: QuarantinedRow | None) -> str:
    if row is None:
        return ""
    detail = " ".join(row.detail.split())
    return f" ({row.file}:{row.line}: {detail[:120]})"
