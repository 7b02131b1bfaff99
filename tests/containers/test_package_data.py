"""Files that are no modules reach the wheel only if pyproject.toml names them; an editable install hides the lack."""

import tomllib
from pathlib import Path

_ROOTS = {"tunelane_serving": "serving", "tunelane_components": "components", "tunelane_pipelines": "pipelines"}


def test_every_file_of_the_packages_that_is_no_module_is_named_as_package_data(root: Path) -> None:
    settings = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    assert set(settings) == set(_ROOTS)
    for package, folder in _ROOTS.items():
        directory = root / folder / package
        files = {path for path in directory.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
        named = {path for pattern in settings[package] for path in directory.glob(pattern)}
        lacking = sorted(str(path.relative_to(root)) for path in files - named if path.suffix != ".py")
        assert lacking == [], f"add it to [tool.setuptools.package-data] of {package}"


def test_every_folder_with_modules_is_a_package(root: Path) -> None:
    """Setuptools leaves out one without `__init__.py`."""
    for package, folder in _ROOTS.items():
        modules = (root / folder / package).rglob("*.py")
        assert all((path.parent / "__init__.py").exists() for path in modules if "__pycache__" not in path.parts)
