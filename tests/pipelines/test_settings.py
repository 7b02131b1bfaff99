"""Defaults < YAML profile < `.env` < environment < command line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tunelane_pipelines.settings import Settings, load_settings, local_deployment
from tunelane_serving.errors import InputError


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give an empty working directory and an environment without settings."""
    for name in [name for name in os.environ if name.startswith("TUNELANE_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_defaults_lie_below_the_working_directory(directory):
    settings = load_settings()
    assert settings.root == directory / ".tunelane"
    assert settings.registry_uri == f"sqlite:///{directory}/.tunelane/registry/registry.db"
    assert settings.deployment_uri == f"local:{directory}/.tunelane/deployments"
    assert settings.base_model == "sample://minilm"


def test_each_source_outranks_the_one_before(directory, monkeypatch):
    profile = directory / "profile.yaml"
    profile.write_text("base_model: profile\nroot: from-profile\n")
    assert load_settings(profile).base_model == "profile"
    (directory / ".env").write_text("TUNELANE_BASE_MODEL=dotenv\nOTHER_TOOL=1\n")
    assert load_settings(profile).base_model == "dotenv"
    monkeypatch.setenv("TUNELANE_BASE_MODEL", "environment")
    assert load_settings(profile).base_model == "environment"
    assert load_settings(profile, base_model="command line").base_model == "command line"
    assert load_settings(profile, base_model=None).base_model == "environment"
    assert load_settings(profile).root == directory / "from-profile"


@pytest.mark.parametrize("place", ["environment", "dotenv", "command line"])
def test_a_profile_can_be_named_in_every_stronger_source(place, directory, monkeypatch):
    (directory / "profile.yaml").write_text("base_model: profile\n")
    if place == "environment":
        monkeypatch.setenv("TUNELANE_PROFILE", "profile.yaml")
    elif place == "dotenv":
        (directory / ".env").write_text("TUNELANE_PROFILE=profile.yaml\n")
    assert load_settings(Path("profile.yaml") if place == "command line" else None).base_model == "profile"


def test_the_root_moves_registry_and_deployments_unless_they_are_given(directory):
    moved = load_settings(root=directory / "elsewhere")
    assert moved.registry_uri == f"sqlite:///{directory}/elsewhere/registry/registry.db"
    assert moved.deployment_uri == f"local:{directory}/elsewhere/deployments"
    given = load_settings(root=directory / "elsewhere", registry_uri="http://mlflow:5000")
    assert given.registry_uri == "http://mlflow:5000"


def test_an_empty_variable_counts_as_none(directory, monkeypatch):
    monkeypatch.setenv("TUNELANE_ROOT", "")
    monkeypatch.setenv("TUNELANE_REGISTRY_URI", "")
    assert load_settings() == Settings()
    assert load_settings().root == directory / ".tunelane"


def test_a_home_directory_is_expanded(monkeypatch, directory):
    monkeypatch.setenv("HOME", str(directory))
    monkeypatch.setenv("TUNELANE_ROOT", "~/lane")
    assert load_settings().root == directory / "lane"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("rot: here\n", ["No setting 'rot'", "Did you mean 'root'"]),
        ("zzz: 1\n", ["No setting 'zzz'", "base_model, deployment_uri, registry_uri, root"]),
        ("profile: other.yaml\n", ["No setting 'profile'"]),
        ("base_model: [a, b]\n", ["base_model", "['a', 'b']"]),
        ("root: 3\n", ["root", "3"]),
        ("root:\n", ["root", "None"]),
        ("- root\n", ["not a mapping"]),
        ("root: [\n", [":2:"]),
    ],
)
def test_a_broken_profile_is_named_with_what_is_wrong(content, words, directory):
    profile = directory / "profile.yaml"
    profile.write_text(content)
    with pytest.raises(InputError) as caught:
        load_settings(profile)
    message = str(caught.value)
    assert message.startswith(str(profile))
    assert "\n" not in message
    for word in words:
        assert word in message


def test_a_missing_profile_is_named(directory):
    with pytest.raises(InputError, match=r"nowhere\.yaml: No such file"):
        load_settings(directory / "nowhere.yaml")


def test_an_unknown_override_names_the_nearest():
    with pytest.raises(InputError, match="Did you mean 'registry_uri'"):
        load_settings(registry_url="sqlite:///x")


def test_a_local_deployment_is_a_directory_for_each_model(directory):
    settings = load_settings(deployment_uri=f"local:{directory}/served")
    assert local_deployment(settings, "reviews") == directory / "served" / "reviews"
    with pytest.raises(InputError, match="gs://bucket is not on this machine"):
        local_deployment(load_settings(deployment_uri="gs://bucket"), "reviews")


def test_importing_settings_pays_for_no_heavy_package():
    script = "import sys, tunelane_pipelines.settings; print(*sys.modules)"
    finished = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not {"kfp", "mlflow", "torch", "numpy"} & set(finished.stdout.split())
