"""A command that a message advises works on the runs and services of the one that spoke."""

import os
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tunelane_pipelines.cli.main import app
from tunelane_pipelines.runs.advice import again, short


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("TUNELANE_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def test_what_goes_without_saying_is_left_out(tmp_path: Path) -> None:
    assert again("runs list", tmp_path / ".tunelane") == "tunelane runs list"
    assert again("runs list", Path(".tunelane")) == "tunelane runs list"


def test_another_root_and_the_profile_are_named_as_one_would_type_them_here(tmp_path: Path) -> None:
    Path("prod.yaml").write_text("gcp: {project: p}\n")
    assert again("runs show r", tmp_path / "my root") == "tunelane runs show r --root 'my root'"
    assert again("runs show r", Path("/data"), Path("prod.yaml")) == (
        "tunelane runs show r --root /data --profile prod.yaml"
    )
    assert short(tmp_path / "a" / "b") == Path("a/b") and short(Path("/data")) == Path("/data")


def test_a_root_that_the_command_comes_upon_by_itself_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("prod.yaml").write_text("root: /data\n")
    assert again("runs list", Path("/data"), Path("prod.yaml")) == "tunelane runs list --profile prod.yaml"
    monkeypatch.setenv("TUNELANE_ROOT", "/elsewhere")
    assert again("runs list", Path("/elsewhere")) == "tunelane runs list"
    assert again("runs list", tmp_path / ".tunelane") == "tunelane runs list --root .tunelane"


def test_settings_that_cannot_be_read_leave_the_advice(tmp_path: Path) -> None:
    assert again("runs list", tmp_path / ".tunelane", Path("gone.yaml")) == (
        "tunelane runs list --root .tunelane --profile gone.yaml"
    )


@pytest.mark.parametrize("words", ["runs list", "runs show latest", "schedule list", "models list"])
def test_what_is_advised_can_be_typed(words: str) -> None:
    Path("prod.yaml").write_text("")
    program, *arguments = shlex.split(again(words, Path("nothing here"), Path("prod.yaml")))
    said = CliRunner().invoke(app, [*arguments, "--help"])
    assert (program, said.exit_code) == ("tunelane", 0), said.output
