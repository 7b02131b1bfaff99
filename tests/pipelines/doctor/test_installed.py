"""Python, extras and torch, where they are not as they should be."""

import os
import re
import stat
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from tunelane_pipelines.doctor import installed
from tunelane_pipelines.doctor.installed import check_extras, check_python, check_tools, check_torch


def test_an_old_python_is_a_problem() -> None:
    assert check_python((3, 10, 4)).level == "problem"
    assert check_python((3, 11, 0)).level == "ok"


def test_what_is_missing_of_an_extra_is_named_with_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [check.level for check in check_extras()] == ["ok", "ok"]
    packages = {"train": ("torch", "no_such_package"), "pipelines": ("typer", "no_such_package", "nor_this")}
    monkeypatch.setattr(installed, "PACKAGES_BY_EXTRA", packages)
    train, pipelines = check_extras()
    assert (train.level, train.found) == ("problem", "missing: no_such_package")
    assert pipelines.found == "missing: no_such_package, nor_this"
    assert pipelines.advice == "pip install 'tunelane[pipelines]'"


def test_every_package_that_an_extra_asks_for_is_looked_for() -> None:
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    modules_by_package: dict[str, set[str]] = {}
    for module, packages in packages_distributions().items():
        for package in packages:
            modules_by_package.setdefault(package.lower().replace("_", "-"), set()).add(module)
    for extra, looked_for in installed.PACKAGES_BY_EXTRA.items():
        wanted = [re.split(r"[\[<>=]", line)[0] for line in (*extras[extra], *extras["etl"])]
        heads = {name.partition(".")[0] for name in looked_for}
        missing = [name for name in wanted if name != "tunelane" and not modules_by_package[name] & heads]
        assert missing == []
        # Of Google's the head says nothing.
        clients = [name for name in wanted if name.startswith("google-cloud-") and "components" not in name]
        assert len([name for name in looked_for if name.startswith("google.cloud.")]) == len(clients)


def test_a_package_below_one_that_is_missing_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installed, "PACKAGES_BY_EXTRA", {"pipelines": ("no_such_package.below",)})
    (check,) = check_extras()
    assert check.found == "missing: no_such_package.below"


def test_without_torch_a_machine_still_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installed, "find_spec", lambda name: None if name == "torch" else object())
    train, pipelines = check_extras()
    assert (train.level, pipelines.level) == ("warning", "ok")
    assert check_torch().level == "info"


def test_a_torch_that_does_not_load_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "torch.py").write_text("raise OSError('libtorch_cpu.so: cannot open shared object file\\nand more')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in [name for name in sys.modules if name.partition(".")[0] == "torch"]:
        monkeypatch.delitem(sys.modules, name)
    check = check_torch()
    assert (check.level, check.found) == (
        "problem", "cannot be imported: libtorch_cpu.so: cannot open shared object file"
    )  # fmt: skip


def test_tools_are_information_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    docker = tmp_path / "docker"
    docker.touch()
    docker.chmod(docker.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", os.fspath(tmp_path))
    found = {check.name: check.found for check in check_tools()}
    assert found == {"gcloud": "not found; for Vertex AI and Cloud Run", "docker": str(docker)}
    assert {check.level for check in check_tools()} == {"info"}
