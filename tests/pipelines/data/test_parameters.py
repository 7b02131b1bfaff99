"""The parameters of a build: those of build_dataset, from a config and from --set."""

import inspect
from pathlib import Path

import pytest

from tunelane_components.etl.build import build_dataset
from tunelane_pipelines.data.parameters import build_parameters, settable_parameters
from tunelane_serving.errors import InputError


def test_they_are_those_of_the_build_with_their_defaults() -> None:
    parameters = build_parameters("rows.csv", config="", assignments=[])
    signature = inspect.signature(build_dataset).parameters
    assert list(parameters) == settable_parameters()
    assert parameters.pop("data") == "rows.csv"
    assert parameters == {name: signature[name].default for name in parameters}
    # What is no text, number or truth value is not for the command line.
    assert not {"output", "progress", "runner"} & parameters.keys()


def test_set_outranks_the_config_and_the_argument_is_the_data(tmp_path: Path) -> None:
    config = tmp_path / "run.yaml"
    config.write_text("data: another.csv\ntext_field: note\nrows: 100\nmulti_label: true\n")
    parameters = build_parameters("rows.csv", config=str(config), assignments=["rows=7", "test_fraction=0.2"])
    assert (parameters["data"], parameters["text_field"], parameters["rows"]) == ("rows.csv", "note", 7)
    assert (parameters["multi_label"], parameters["test_fraction"]) == (True, 0.2)


def test_the_data_stands_behind_the_command_or_in_a_parameter(tmp_path: Path) -> None:
    config = tmp_path / "run.yaml"
    config.write_text("data: one.csv\n")
    assert build_parameters("", config=str(config), assignments=[])["data"] == "one.csv"
    assert build_parameters("", config=str(config), assignments=["data=two.csv"])["data"] == "two.csv"
    assert build_parameters("three.csv", config=str(config), assignments=["data=two.csv"])["data"] == "three.csv"
    with pytest.raises(InputError, match="No value for data"):
        build_parameters("", config="", assignments=[])


def test_a_config_of_a_run_serves_too(tmp_path: Path) -> None:
    config = tmp_path / "run.yaml"
    config.write_text("text_field: note\nrank: 16\nmodel_name: tickets\n")
    assert build_parameters("rows.csv", config=str(config), assignments=[])["text_field"] == "note"
    with pytest.raises(InputError, match="No parameter 'rank'"):
        build_parameters("rows.csv", config=str(config), assignments=["rank=16"])


@pytest.mark.parametrize(
    ("content", "assignments", "words"),
    [
        ("label_feild: topic", [], "No parameter 'label_feild'. Did you mean 'label_field'?"),
        ("", ["label_feild=topic"], "No parameter 'label_feild'. Did you mean 'label_field'?"),
        ("rows: many", [], "Parameter 'rows' wants a whole number"),
        ("rows: true", [], "Parameter 'rows' wants a whole number"),
        ("", ["multi_label=perhaps"], "Parameter 'multi_label' wants true or false"),
        ("", ["rows"], "Cannot read --set 'rows'"),
        ("", ["output=there"], "No parameter 'output'"),
        ("- a list", [], "not a mapping of names to values"),
    ],
)
def test_a_slip_is_named(content: str, assignments: list[str], words: str, tmp_path: Path) -> None:
    config = tmp_path / "run.yaml"
    config.write_text(content)
    with pytest.raises(InputError) as caught:
        build_parameters("rows.csv", config=str(config), assignments=assignments)
    assert words in str(caught.value)


def test_a_sample_is_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No sample 'sentimnt'"):
        build_parameters("sample://sentimnt", config="", assignments=[])
