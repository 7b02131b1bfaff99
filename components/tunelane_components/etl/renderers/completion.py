"""Labels as the answer of an LLM, and back."""

from collections.abc import Sequence

import msgspec

_decode_names = msgspec.json.Decoder(list[str]).decode


def completion_of(labels: Sequence[str], *, multi_label: bool) -> str:
    """Write labels as an answer: the name alone for a single-label task, else a JSON array of names.

    A name that would not be read back from itself (one that is an array, or has white space around it) is written as
    an array of one, so that `labels_of` gives back every name there can be.
    """
    if not multi_label and len(labels) == 1 and labels_of(labels[0]) == (labels[0],):
        return labels[0]
    return msgspec.json.encode(list(labels)).decode()


def labels_of(completion: str) -> tuple[str, ...]:
    """Read the labels from an answer: the names of a JSON array of texts, or else the answer itself as one name.

    White space around the answer does not count. Whether the names are labels is for the caller to check.
    """
    answer = completion.strip()
    if answer.startswith("["):
        try:
            return tuple(_decode_names(answer))
        except (msgspec.DecodeError, UnicodeEncodeError):
            pass  # a name that starts with a bracket
    return (answer,)
