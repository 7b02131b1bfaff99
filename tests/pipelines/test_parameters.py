"""Parameters are checked against the pipeline's own signature."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kfp import dsl

from tunelane_pipelines.parameters import check_parameters, parameter_model, parse_assignments, read_config
from tunelane_serving.errors import InputError


@dsl.component(base_image="tunelane/trainer:python3.11", install_kfp_package=False)
def _step(data: str, label_field: str, rows: int, learning_rate: float, quantize: bool = True) -> str:
    return f"{data} {label_field} {rows} {learning_rate} {quantize}"


def _train(
    data: str, label_field: str = "label", rows: int = 0, learning_rate: float = 1e-3, quantize: bool = True
) -> None:
    """Hand every parameter to one step; the pipeline below is made of this."""
    _step(data=data, label_field=label_field, rows=rows, learning_rate=learning_rate, quantize=quantize)


_PIPELINE = dsl.pipeline(name="train")(_train)


@pytest.mark.parametrize("pipeline", [_PIPELINE, _train])
def test_a_pipeline_and_its_function_have_the_same_parameters(pipeline):
    fields = parameter_model(pipeline).model_fields
    assert list(fields) == ["data", "label_field", "rows", "learning_rate", "quantize"]
    assert [name for name, field in fields.items() if field.is_required()] == ["data"]
    assert fields["learning_rate"].default == 1e-3


def test_a_component_is_read_too():
    fields = parameter_model(_step).model_fields
    assert [name for name, field in fields.items() if not field.is_required()] == ["quantize"]


def test_a_parameter_of_another_type_is_a_mistake_in_the_pipeline():
    def odd(rows: list) -> None: ...

    with pytest.raises(TypeError, match="odd: parameter 'rows'"):
        parameter_model(odd)


def test_assignments_win_over_the_config_and_defaults_fill_in():
    checked = check_parameters(_PIPELINE, {"data": "a.csv", "rows": 5}, {"rows": "0", "quantize": "false"})
    assert checked == {
        "data": "a.csv",
        "label_field": "label",
        "rows": 0,
        "learning_rate": 1e-3,
        "quantize": False,
    }
    assert type(checked["rows"]) is int


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("rows", "-1", -1),
        ("learning_rate", "1e-3", 0.001),
        ("learning_rate", "2", 2.0),
        ("quantize", "true", True),
        ("quantize", "False", False),
        ("label_field", "0", "0"),
        ("label_field", "", ""),
        ("data", "a=b.csv", "a=b.csv"),
    ],
)
def test_text_is_read_as_the_type_of_the_parameter(name, text, value):
    checked = check_parameters(_PIPELINE, {"data": "a.csv"}, parse_assignments([f"{name}={text}"]))
    assert checked[name] == value
    assert type(checked[name]) is type(value)


@pytest.mark.parametrize(
    ("name", "text", "wanted"),
    [
        ("rows", "many", "a whole number"),
        ("rows", "1.5", "a whole number"),
        ("rows", "", "a whole number"),
        ("learning_rate", "fast", "a number"),
        ("learning_rate", "nan", "a number"),
        ("learning_rate", "inf", "a number"),
        ("quantize", "maybe", "true or false"),
    ],
)
def test_text_of_another_type_is_named_with_the_type_wanted(name, text, wanted):
    with pytest.raises(InputError) as caught:
        check_parameters(_PIPELINE, {"data": "a.csv"}, {name: text})
    assert f"Parameter {name!r} wants {wanted}" in str(caught.value)
    assert f"--set {name}={text}" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"), [("rows", True), ("rows", None), ("rows", [1]), ("learning_rate", False), ("label_field", 7)]
)
def test_a_config_value_of_another_type_is_named_as_such(name, value):
    with pytest.raises(InputError) as caught:
        check_parameters(_PIPELINE, {"data": "a.csv", name: value}, {})
    assert f"{name}: {value!r} in the config" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("unknown", "words"),
    [
        ("row", "Did you mean 'rows'?"),
        ("label-field", "Did you mean 'label_field'?"),
        ("Data", "Did you mean 'data'?"),
        ("zzzzzz", "There are: data, label_field, learning_rate, quantize, rows."),
    ],
)
@pytest.mark.parametrize("place", ["config", "assignments"])
def test_an_unknown_name_gets_the_nearest_or_all(unknown, words, place):
    config, assignments = ({unknown: "1"}, {}) if place == "config" else ({}, {unknown: "1"})
    with pytest.raises(InputError) as caught:
        check_parameters(_PIPELINE, {"data": "a.csv"} | config, assignments)
    assert str(caught.value) == f"No parameter {unknown!r}. {words}"


def test_a_missing_required_parameter_says_how_to_pass_it():
    with pytest.raises(InputError, match=r"No value for data\. Pass --set data=VALUE, or write it into the config"):
        check_parameters(_PIPELINE, {}, {})


@given(st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.booleans(), st.text())
def test_every_value_survives_being_written_as_text(rows, learning_rate, quantize, label_field):
    values = {"rows": rows, "learning_rate": learning_rate, "quantize": quantize, "label_field": label_field}
    assignments = parse_assignments([f"{name}={value}" for name, value in values.items()])
    assert check_parameters(_PIPELINE, {"data": "a.csv"}, assignments) == {"data": "a.csv"} | values


@pytest.mark.parametrize("assignment", ["rows", "=3", "  =3", ""])
def test_an_assignment_is_name_equals_value(assignment):
    with pytest.raises(InputError, match="Write it as NAME=VALUE"):
        parse_assignments([assignment])


def test_the_last_of_two_assignments_counts():
    assert parse_assignments(["rows=1", "rows=2"]) == {"rows": "2"}


def test_a_config_is_a_yaml_mapping(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("data: a.csv\nrows: 5  # a part\n")
    assert read_config(path) == {"data": "a.csv", "rows": 5}
    path.write_text("# nothing yet\n")
    assert read_config(path) == {}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"- data\n", "not a mapping"),
        (b"data\n", "not a mapping"),
        (b"1: data\n", "not a mapping"),
        (b"data: a.csv\n  rows: 5\n", ":2: mapping values are not allowed here"),
        (b"data: \xff\n", "not UTF-8 at byte 6"),
        (b"data: \x00\n", "special characters are not allowed"),
        (b"data: !!python/object/apply:os.getcwd []\n", "could not determine a constructor"),
    ],
)
def test_a_broken_config_is_named_with_what_is_wrong(content, words, tmp_path):
    path = tmp_path / "run.yaml"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_config(path)
    assert str(caught.value).startswith(str(path))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_config_is_named(tmp_path):
    with pytest.raises(InputError, match=r"run\.yaml: No such file"):
        read_config(tmp_path / "run.yaml")
    with pytest.raises(InputError, match="Is a directory"):
        read_config(tmp_path)
