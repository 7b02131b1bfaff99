"""The labels of a run as they are typed."""

import pytest

from tunelane_pipelines.submitting.labels import parse_labels
from tunelane_serving.errors import InputError


@pytest.mark.parametrize("label", ["team", "=x", "Team=x", "team=Care", "1=x", "a=" + "b" * 64, "tunelane-run=x"])
def test_a_label_that_is_none_is_refused(label: str) -> None:
    with pytest.raises(InputError, match=r"--label|cannot be used|found by"):
        parse_labels([label])


def test_the_last_of_two_labels_of_one_name_counts() -> None:
    assert parse_labels(["a=1", "b=", "a=2"]) == {"a": "2", "b": ""}
