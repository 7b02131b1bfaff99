"""Settings that stand in for parameters: each for one that is there, below what a config and the command line say."""

import inspect
import types
import typing
from pathlib import Path
from typing import Any

import pytest

from tunelane_pipelines.catalog import load_pipeline
from tunelane_pipelines.defaults import PARAMETER_BY_SETTING, default_parameters
from tunelane_pipelines.local.parameters import local_parameters
from tunelane_pipelines.settings import load_settings, section_types
from tunelane_pipelines.settings.sections import Section
from tunelane_pipelines.submitting.parameters import cluster_parameters

_SECTIONS = ("model", "data", "evaluation", "serving")


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _annotations(pipeline: str) -> dict[str, type]:
    parameters = inspect.signature(load_pipeline(pipeline).pipeline_func).parameters
    return {name: parameter.annotation for name, parameter in parameters.items()}


@pytest.mark.parametrize("section", _SECTIONS)
def test_every_setting_stands_for_a_parameter_of_its_type(section: str) -> None:
    parameters = _annotations("train-classifier")
    hints = typing.get_type_hints(section_types()[section])
    fields = section_types()[section].model_fields
    assert issubclass(section_types()[section], Section)
    for field in fields:
        parameter = PARAMETER_BY_SETTING[section, field]
        assert isinstance(hints[field], types.UnionType)
        assert typing.get_args(hints[field]) == (parameters[parameter], type(None)), f"{section}.{field}"
        assert fields[field].default is None
        assert fields[field].description, f"{section}.{field} says nothing"


def test_every_parameter_can_be_set_once() -> None:
    parameters = list(PARAMETER_BY_SETTING.values())
    assert len(parameters) == len(set(parameters))
    # Where the model is registered and served from are settings of their own.
    assert set(_annotations("train-classifier")) - set(parameters) == {"registry_uri", "deployment_uri"}


def test_what_is_not_set_is_left_to_the_pipeline() -> None:
    assert default_parameters("train-classifier", _annotations("train-classifier"), load_settings()) == {}


def test_a_pipeline_gets_only_what_it_has() -> None:
    settings = load_settings(model={"name": "tickets", "base_model": "some/encoder"}, data={"rows": 7})
    known = _annotations("convert")
    assert default_parameters("convert", known, settings) == {"rows": 7}, "a checkpoint was made from its own model"
    known = _annotations("train-classifier")
    wanted = {"model_name": "tickets", "base_model": "some/encoder", "rows": 7}
    assert default_parameters("train-classifier", known, settings) == wanted


@pytest.mark.parametrize("where", ["here", "cluster"])
def test_a_config_outranks_the_settings_and_the_command_line_both(where: str, directory: Path) -> None:
    (directory / "rows.csv").write_text("text,label\na,b\n")
    (directory / "run.yaml").write_text("epochs: 5\nrank: 4\n")
    given: dict[str, Any] = {
        "model": {"name": "tickets", "epochs": 3, "rank": 2, "seed": 9, "base_model": "some/encoder"},
        "evaluation": {"minimum_f1": 0.5},
        "serving": {"quantize": False},
    }
    if where == "here":
        settings = load_settings(**given, data={"uri": "rows.csv"})
        parameters = local_parameters("train-classifier", config="run.yaml", assignments=["rank=16"], settings=settings)
        assert parameters["data"] == str(directory / "rows.csv")
    else:
        places: dict[str, Any] = {"registry_uri": "gs://bucket/registry", "deployment_uri": "gs://bucket/deployments"}
        settings = load_settings(**given, **places, data={"uri": "gs://bucket/rows.csv"})
        parameters = cluster_parameters(
            "train-classifier", config="run.yaml", assignments=["rank=16"], settings=settings
        )
        assert parameters["data"] == "gs://bucket/rows.csv"
    names = ("model_name", "seed", "epochs", "rank", "minimum_f1", "quantize", "base_model", "batch_size")
    assert [parameters[name] for name in names] == ["tickets", 9, 5, 16, 0.5, False, "some/encoder", 32]


def test_a_registry_in_a_secret_goes_to_a_cluster_by_its_name() -> None:
    secret = "projects/p/secrets/registry/versions/3"  # noqa: S105 - a name
    settings = load_settings(registry_uri=secret, deployment_uri="gs://bucket/deployments")
    parameters = cluster_parameters(
        "train-classifier", config="", assignments=["data=gs://bucket/rows.csv"], settings=settings
    )
    assert parameters["registry_uri"] == secret
