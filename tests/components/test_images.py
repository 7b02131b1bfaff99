"""The table of images: complete, logical, and true of the components."""

import importlib
import tomllib
from pathlib import Path
from typing import Any

import pytest
from kfp.dsl.python_component import PythonComponent

import tunelane_components
from tunelane_components.images import EXTRA_BY_IMAGE, IMAGE_BY_COMPONENT, SERVER

_FILES = sorted(Path(tunelane_components.__file__).parent.glob("*/component.py"))


def _components() -> dict[str, Any]:
    """Every KFP component of every stage, by name."""
    modules = [importlib.import_module(f"tunelane_components.{path.parent.name}.component") for path in _FILES]
    found = [item for module in modules for item in vars(module).values() if isinstance(item, PythonComponent)]
    return {component.python_func.__name__: component for component in found}


def test_the_table_names_every_component_with_its_image() -> None:
    found = {name: component.component_spec.implementation.container.image for name, component in _components().items()}
    assert found == IMAGE_BY_COMPONENT


def test_an_image_is_a_logical_name_which_no_registry_resolves() -> None:
    for image in EXTRA_BY_IMAGE:
        repository, _, tag = image.partition(":")
        assert repository.startswith("tunelane/")
        assert tag


def test_each_image_installs_an_extra_that_there_is() -> None:
    assert set(EXTRA_BY_IMAGE) == {*IMAGE_BY_COMPONENT.values(), SERVER}
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert set(EXTRA_BY_IMAGE.values()) <= set(project["optional-dependencies"])


@pytest.mark.parametrize("path", _FILES, ids=lambda path: path.parent.name)
def test_no_component_writes_an_image_of_its_own(path: Path) -> None:
    source = path.read_text()
    assert "base_image=" in source
    assert 'base_image="' not in source
