from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunelane_components.etl.options import Fields
from tunelane_components.etl.rows.mapping import NotText, as_text, label_texts, mapping_of
from tunelane_serving.errors import InputError

ROW: dict[str, Any] = {
    "title": "Sand",
    "note": {"body": "Built a tower.", "tags": ["outside", "sand"]},
    "domains": [{"name": "language"}, {"name": "numeracy", "parts": [{"name": "counting"}, {"name": "shape"}]}, {}],
    "child": {"age": 3, "room": {"name": "Blue"}},
    "a.b": "a flat column with a dot",
    "text[en]": "a column with brackets",
}


def text_of(path: str) -> Any:
    return mapping_of(Fields(text=path)).text(ROW)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("title", "Sand"),
        ("note.body", "Built a tower."),
        ("note.tags[1]", "sand"),
        ("note.tags[7]", None),
        ("note.tags[]", ["outside", "sand"]),
        ("domains[].name", ["language", "numeracy", None]),
        ("domains[].parts[].name", ["counting", "shape"]),
        ("child.room.name", "Blue"),
        ("child.room.name.first", None),
        ("a.b", "a flat column with a dot"),
        ("text[en]", "a column with brackets"),
        ("nothing", None),
    ],
)
def test_a_path_leads_into_nested_values(path: str, value: Any) -> None:
    assert text_of(path) == value


def test_a_template_joins_fields_and_leaves_out_what_a_row_lacks() -> None:
    assert text_of("{title}: {note.body}") == "Sand: Built a tower."
    assert text_of("{title}{nothing}!") == "Sand!"
    assert text_of("{{{title}}}") == "{Sand}"


def test_a_template_of_empty_fields_is_no_text() -> None:
    assert text_of("{nothing}: {note.nothing}") == ""


@pytest.mark.parametrize("template", ["{title", "title}", "{}: {title}", "{title!r}", "{title:>10}"])
def test_a_template_that_cannot_be_read_is_refused(template: str) -> None:
    if "{" not in template:
        assert text_of(template) is None
        return
    with pytest.raises(InputError, match=r"is no template.*Write it like '\{title\}: \{note\}'"):
        text_of(template)


def test_metadata_names_paths_and_may_rename_them() -> None:
    metadata = mapping_of(Fields(metadata="title, room=child.room.name,, age = child.age")).metadata
    assert {name: get(ROW) for name, get in metadata} == {"title": "Sand", "room": "Blue", "age": 3}


@pytest.mark.parametrize(
    ("fields", "parameter", "column"),
    [
        (Fields(text="body"), "text_field", "body"),
        (Fields(text="{title}{body.x}"), "text_field", "body.x"),
        (Fields(text="title", label="topic"), "label_field", "topic"),
        (Fields(text="title", label="note", metadata="title,age"), "metadata_fields", "age"),
        (Fields(text="title", label="note", split="part"), "split_field", "part"),
    ],
)
def test_a_missing_column_names_its_parameter_and_the_columns_there_are(
    fields: Fields, parameter: str, column: str
) -> None:
    with pytest.raises(InputError) as caught:
        mapping_of(fields).require_columns(["title", "note"], "notes.csv")
    assert str(caught.value) == (
        f"No column {column!r} in notes.csv. Pass --set {parameter}=NAME; the file has: title, note."
    )


def test_columns_that_are_there_pass_by_name_or_by_the_first_step_of_a_path() -> None:
    mapping_of(Fields(text="{title} {note.body}", label="a.b", id="child[0]")).require_columns(
        ["title", "note", "a.b", "child"], "x"
    )


@pytest.mark.parametrize("fields", [Fields(text=" "), Fields(label="")])
def test_text_and_label_must_be_named(fields: Fields) -> None:
    with pytest.raises(InputError, match=r"_field is empty\. Pass --set"):
        mapping_of(fields)


@pytest.mark.parametrize(
    ("value", "text"), [("a", "a"), (None, ""), (True, "true"), (0, "0"), (1.5, "1.5"), (Decimal("1.10"), "1.10")]
)
def test_a_single_value_is_text(value: Any, text: str) -> None:
    assert as_text(value) == text


@pytest.mark.parametrize("value", [["a"], {"a": 1}, []])
def test_a_list_or_an_object_is_no_text(value: Any) -> None:
    with pytest.raises(NotText):
        as_text(value)


@pytest.mark.parametrize(
    ("value", "separator", "labels"),
    [
        (" joy ", "", ["joy"]),
        ("joy, relief", "", ["joy, relief"]),
        ("joy, relief,,", ",", ["joy", "relief"]),
        (["joy", " relief ", "", None], "", ["joy", "relief"]),
        (["joy;pride", "relief"], ";", ["joy", "pride", "relief"]),
        (3, "", ["3"]),
        (None, ";", []),
        ([], "", []),
    ],
)
def test_labels_are_split_only_where_a_separator_is_named(value: Any, separator: str, labels: list[str]) -> None:
    assert label_texts(value, separator) == labels


@pytest.mark.parametrize("value", [{"name": "joy"}, [{"name": "joy"}]])
def test_labels_that_are_objects_ask_for_a_field_of_theirs(value: Any) -> None:
    with pytest.raises(NotText):
        label_texts(value, "")


@given(st.dictionaries(st.text(min_size=1), st.integers(), min_size=1), st.data())
def test_every_column_that_a_file_can_have_can_be_named(columns: dict[str, int], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(columns)))
    if name.strip() and "{" not in name:
        assert mapping_of(Fields(text=name)).text(columns) == columns[name]
