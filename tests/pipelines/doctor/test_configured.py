"""Where each setting comes from, and values that cannot be used."""

import os
from pathlib import Path

import pytest

from tunelane_pipelines.doctor.check import Check
from tunelane_pipelines.doctor.configured import check_settings


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give an empty working directory and an environment without settings."""
    for name in [name for name in os.environ if name.startswith("TUNELANE_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _checks(root: Path | None = None, profile: Path | None = None) -> dict[str, Check]:
    settings, checks = check_settings(root, profile)
    assert settings is not None
    return {check.name: check for check in checks}


def test_each_value_says_its_source(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "profile.yaml").write_text("base_model: sample://minilm\nroot: elsewhere\n")
    (place / ".env").write_text(f"TUNELANE_DEPLOYMENT_URI=local:{place}/served\n")
    monkeypatch.setenv("TUNELANE_REGISTRY_URI", f"sqlite:///{place}/registry.db")
    checks = _checks(root=Path("given"), profile=Path("profile.yaml"))
    assert {name: check.found for name, check in checks.items()} == {
        "profile": "profile.yaml (command line)",
        "root": f"{place}/given (command line)",
        "registry_uri": f"sqlite:///{place}/registry.db (environment)",
        "deployment_uri": f"{place}/served (.env)",
        "base_model": "sample://minilm (profile.yaml)",
    }
    assert {check.level for check in checks.values()} == {"ok"}
    assert {check.found.rpartition(" ")[2] for check in _checks().values()} == {"(default)", "(environment)", "(.env)"}


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("registry_uri", "http://user:secret@mlflow:5000", "is not supported. Set registry_uri to sqlite:"),
        ("registry_uri", "sqlite:///100%/registry.db", "is not supported"),
        ("deployment_uri", "gs://bucket", "is not supported. Set deployment_uri to local:"),
        ("deployment_uri", "local:relative", "is not supported"),
        ("base_model", "sample://minilmm", "There are: sample://sentiment, sample://minilm"),
        ("base_model", "./nowhere", "No such directory"),
    ],
)
def test_a_value_that_cannot_be_used_is_a_problem(
    name: str, value: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"TUNELANE_{name.upper()}", value)
    check = _checks()[name]
    assert check.level == "problem"
    assert words in check.advice
    assert "secret" not in check.found + check.advice


def test_a_variable_that_is_no_setting_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TUNELANE_ROOOT", "TUNELANE_CACHE_DIR", "TUNELANE_DEPLOYMENT", "TUNELANE_SOMETHING_ELSE"):
        monkeypatch.setenv(name, "x")
    warned = {name: check.advice for name, check in _checks().items() if check.level == "warning"}
    assert warned == {"TUNELANE_ROOOT": "Did you mean TUNELANE_ROOT?"}
