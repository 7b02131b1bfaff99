from datetime import date
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunelane_components.etl.options import DatasetOptions, Fields
from tunelane_components.etl.record import Record, text_digest
from tunelane_components.etl.rows.candidates import Candidate, CandidateMaker, Rejected
from tunelane_components.etl.rows.row import MalformedRow, Row
from tunelane_serving.taxonomy import Label, Taxonomy

EMOTIONS = Taxonomy(labels=(Label("joy", aliases=("happy",)), Label("relief"), Label("anger")))
DOMAINS = Taxonomy(
    labels=(Label("language"), Label("listening", parent="language"), Label("body"), Label("balance", parent="body"))
)


def options(*, fields: Fields | None = None, **given_options: Any) -> DatasetOptions:
    return DatasetOptions(
        fields=fields or Fields(),
        taxonomy_given=False,
        rows=0,
        minimum_rows=0,
        valid_fraction=0.1,
        test_fraction=0.1,
        **given_options,
    )


def made(
    values: dict[str, Any], taxonomy: Taxonomy | None = None, *, canonical: bool = False, **given_options: Any
) -> Candidate | Rejected:
    maker = CandidateMaker(options(**given_options), taxonomy, canonical=canonical)
    return maker.make(Row(7, values), 2)


def record_of(made: Candidate | Rejected) -> Record:
    assert isinstance(made, Candidate)
    return msgspec.json.decode(made.line, type=Record)


def rejected(made: Candidate | Rejected) -> tuple[str, str]:
    assert isinstance(made, Rejected)
    return made.reason, made.detail


def test_a_candidate_holds_the_canonical_line_and_where_the_row_stands() -> None:
    candidate = made({"text": " Good  day ", "label": "joy", "n": 1})
    assert isinstance(candidate, Candidate)
    digest = text_digest("good day")
    assert record_of(candidate) == Record(id=digest[:16], text="Good  day", labels=("joy",))
    assert candidate.digest.hex() == digest
    assert (candidate.file, candidate.line_number, candidate.id, candidate.split) == (2, 7, "", "")
    assert msgspec.json.decode(candidate.values) == {"text": " Good  day ", "label": "joy", "n": 1}


def test_id_source_image_and_metadata_come_from_their_fields() -> None:
    fields = Fields(id="key", source="from", image="photo", metadata="age=child.age,gone", split="part")
    values = {
        "text": "t",
        "label": "joy",
        "key": 12,
        "from": "mail",
        "photo": "gs://b/a.JPG",
        "child": {"age": 3},
        "part": "valid",
        "gone": "",
    }
    candidate = made(values, fields=fields)
    assert record_of(candidate) == Record(
        id="12", text="t", labels=("joy",), image_uri="gs://b/a.JPG", meta={"age": 3, "source": "mail"}
    )
    assert isinstance(candidate, Candidate)
    assert (candidate.split, candidate.source, candidate.id) == ("valid", "mail", "12")


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"text": " \u200a\n", "label": "joy"}, "empty_text"),
        ({"label": "joy"}, "empty_text"),
        ({"text": "t", "label": " "}, "missing_label"),
        ({"text": "t"}, "missing_label"),
        ({"text": "t", "label": []}, "missing_label"),
        ({"text": ["t"], "label": "joy"}, "malformed_row"),
        ({"text": "t\0", "label": "joy"}, "malformed_row"),
        ({"text": "t", "label": "jo\0y"}, "malformed_row"),
        ({"text": "t", "label": {"name": "joy"}}, "malformed_row"),
        ({"text": "t\ud800", "label": "joy"}, "bad_encoding"),
        ({"text": "t" * 101, "label": "joy"}, "too_long"),
        ({"text": "t", "label": ["joy", "anger"]}, "several_labels"),
        ({"text": "t", "label": "jyo"}, "unknown_label"),
        ({"text": "t", "label": "joy", "photo": "a.tiff"}, "unsupported_image"),
        ({"text": "t", "label": "joy", "photo": "http://[x"}, "unsupported_image"),
        ({"text": "t", "label": "joy", "part": "training"}, "unknown_split"),
    ],
)
def test_a_row_that_cannot_become_a_record_has_a_reason(values: dict[str, Any], reason: str) -> None:
    fields = Fields(image="photo", split="part")
    assert rejected(made(values, EMOTIONS, fields=fields, max_characters=100))[0] == reason


def test_an_unknown_label_names_the_nearest_known_one_whatever_its_case() -> None:
    assert rejected(made({"text": "t", "label": "ANGRE"}, EMOTIONS))[1] == (
        "'ANGRE' is not in the taxonomy; the nearest is 'anger'"
    )


def test_a_column_of_unknown_labels_does_not_ask_for_the_nearest_each_time() -> None:
    maker = CandidateMaker(options(), EMOTIONS)
    details = [maker.make(Row(1, {"text": "t", "label": f"label {number}"}), 0) for number in range(300)]
    assert sum("nearest" in detail.detail for detail in details if isinstance(detail, Rejected)) == 200


def test_an_alias_is_its_label_and_several_stand_in_the_taxonomys_order() -> None:
    candidate = made(
        {"text": "t", "label": "anger;happy;joy"}, EMOTIONS, multi_label=True, fields=Fields(label_separator=";")
    )
    assert record_of(candidate).labels == ("joy", "anger")


def test_without_a_taxonomy_labels_are_sorted() -> None:
    candidate = made({"text": "t", "label": ["b", "a", "b"]}, multi_label=True)
    assert record_of(candidate).labels == ("a", "b")


def test_a_label_brings_its_parents_where_a_row_can_have_several() -> None:
    assert record_of(made({"text": "t", "label": ["balance", "listening"]}, DOMAINS, multi_label=True)).labels == (
        "language",
        "listening",
        "body",
        "balance",
    )
    assert record_of(made({"text": "t", "label": "balance"}, DOMAINS)).labels == ("balance",)


def test_personal_data_are_masked_wherever_a_row_is_written() -> None:
    maker = CandidateMaker(
        options(mask_personal_data=True, fields=Fields(id="mail", metadata="mail", image="photo")), EMOTIONS
    )
    values = {"text": "Write to a@b.org", "label": "joy", "mail": "a@b.org", "photo": "https://x.org/a.png"}
    candidate = maker.make(Row(1, values), 0)
    record = record_of(candidate)
    assert (record.text, record.id, record.meta) == ("Write to [EMAIL]", "[EMAIL]", {"mail": "[EMAIL]"})
    assert record.image_uri == "https://x.org/a.png"
    assert isinstance(candidate, Candidate)
    assert b"a@b.org" not in candidate.values
    assert maker.personal_data["email"] == 3
    row = Row(2, {"text": "a@b.org", "label": "c@d.org"})
    wrong = maker.make(row, 0)
    assert isinstance(wrong, Rejected)
    assert b"@" not in msgspec.json.encode(maker.quarantined(row, "f", wrong))
    broken = MalformedRow(3, "malformed_row", "x", "a@b.org,")
    assert maker.quarantined(broken, "f", Rejected("malformed_row", "x")).row == "[EMAIL],"


def test_what_a_transformer_yields_keeps_its_own_metadata() -> None:
    canonical = {"id": "1", "text": "t", "labels": ["joy"], "meta": {"day": date(2026, 5, 1), "n": Decimal("1.5")}}
    candidate = made(canonical, EMOTIONS, canonical=True)
    assert record_of(candidate) == Record(id="1", text="t", labels=("joy",), meta={"day": "2026-05-01", "n": "1.5"})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["text", "label", "key", "photo", "part", "other"]), JSON))
def test_any_row_of_json_becomes_a_candidate_or_has_a_reason(values: dict[str, Any]) -> None:
    fields = Fields(id="key", image="photo", split="part", metadata="other")
    for taxonomy in (None, EMOTIONS):
        outcome = made(values, taxonomy, fields=fields, multi_label=True)
        if isinstance(outcome, Candidate):
            record = record_of(outcome)
            assert text_digest(record.text) == outcome.digest.hex()
