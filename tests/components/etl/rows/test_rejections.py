import pytest

from tunelane_components.etl.rows.candidates import QuarantinedRow
from tunelane_components.etl.rows.rejections import WORDS_BY_REASON, check_rejected
from tunelane_serving.contract import encode
from tunelane_serving.errors import InputError

REJECTED = {"unknown_label": 40, "empty_text": 9, "malformed_row": 7, "missing_label": 2}
QUARANTINE = [
    encode(QuarantinedRow("a.csv", line, reason, f"detail\nof line {line}", {}))
    for line, reason in enumerate(["empty_text", "unknown_label", "unknown_label", "malformed_row"], start=2)
]


def test_too_many_rejected_rows_name_the_three_most_frequent_reasons_with_their_first_rows() -> None:
    with pytest.raises(InputError) as caught:
        check_rejected(REJECTED, 100, 0.5, "notes", QUARANTINE)
    assert str(caught.value) == (
        "notes: 58 of 100 rows cannot be used (58%; max_rejected_fraction=0.5): 40 have a label that is not in the "
        "taxonomy (a.csv:3: detail of line 3); 9 have no text (a.csv:2: detail of line 2); 7 cannot be read (a.csv:5: "
        "detail of line 5). Correct them, or pass --set max_rejected_fraction=SHARE."
    )


@pytest.mark.parametrize(("most", "stops"), [(0.57, True), (0.58, False), (1.0, False), (0.0, True)])
def test_the_share_that_is_allowed_is_allowed(most: float, stops: bool) -> None:
    if stops:
        with pytest.raises(InputError):
            check_rejected(REJECTED, 100, most, "notes", [])
    else:
        check_rejected(REJECTED, 100, most, "notes", [])


def test_no_rejected_row_is_never_too_many() -> None:
    check_rejected({}, 0, 0.0, "notes", [])


def test_every_reason_has_words() -> None:
    from typing import get_args

    from tunelane_components.etl.rows.candidates import Reason

    assert set(WORDS_BY_REASON) == set(get_args(Reason))
