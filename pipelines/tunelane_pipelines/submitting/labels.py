"""The labels of a run as they are typed."""

from collections.abc import Sequence

from tunelane_pipelines.targets.labels import check_label
from tunelane_pipelines.targets.target import RUN_LABEL
from tunelane_serving.errors import InputError


def parse_labels(labels: Sequence[str]) -> dict[str, str]:
    """`["team=care", ...]` to a mapping; the last of two for one name counts.

    Raises:
        InputError: one is not `name=value`, breaks the grammar of labels, or is the one that runs are found by.
    """
    parsed: dict[str, str] = {}
    for label in labels:
        name, equals, value = label.partition("=")
        if not equals:
            raise InputError(f"Cannot use --label {label!r}. Write it as name=value.")
        check_label(name, value)
        if name == RUN_LABEL:
            raise InputError(f"The label {RUN_LABEL} is the one that a run is found by. Choose another name.")
        parsed[name] = value
    return parsed
