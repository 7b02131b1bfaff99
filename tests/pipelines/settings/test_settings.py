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


def test_a_home_directory_that_nobody_has_is_named(monkeypatch):
    monkeypatch.setenv("TUNELANE_ROOT", "~no-such-user/lane")
    with pytest.raises(InputError, match=r"~no-such-user/lane: this home directory is not known\. Write"):
        load_settings()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("rot: here\n", ["No setting 'rot'", "Did you mean 'root'"]),
        ("zzz: 1\n", ["No setting 'zzz'", "base_model, data, deployment_uri", "registry_uri, root"]),
        ("gcp: {projct: x}\n", ["No setting 'gcp.projct'", "Did you mean 'project'"]),
        ("kubeflw: {host: x}\n", ["No setting 'kubeflw'", "Did you mean 'kubeflow'"]),
        ("model: {epochs: many}\n", ["model.epochs", "'many'"]),
        ("model: 3\n", ["model"]),
        ("gcp: 3\n", [": gcp has settings of its own. Set those, for instance gcp.project."]),
        ("data: {rows: true}\n", ["data.rows", "a truth value is not a number"]),
        ("gcp: {training_replicas: true}\n", ["gcp.training_replicas", "a truth value is not a number"]),
        ("evaluation: {margin: .nan}\n", ["evaluation.margin", "finite"]),
        ("profile: other.yaml\n", ["No setting 'profile'"]),
        ("base_model: [a, b]\n", ["base_model", "['a', 'b']"]),
        ("root: 3\n", ["root", "3"]),
        ("root:\n", ["root", "None"]),
        ("- root\n", ["not a mapping"]),
        ("root: [\n", [":2:"]),
        ("root: 2026-13-45\n", ["month must be in 1..12", "Correct the YAML there."]),
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


def test_a_section_is_put_together_from_every_source(directory, monkeypatch):
    (directory / "profile.yaml").write_text(
        "gcp: {project: profile, region: profile, service_account: profile, network: profile}\n"
    )
    (directory / ".env").write_text("TUNELANE_GCP__REGION=dotenv\nTUNELANE_GCP__SERVICE_ACCOUNT=dotenv\n")
    monkeypatch.setenv("TUNELANE_GCP__SERVICE_ACCOUNT", "environment")
    gcp = load_settings(Path("profile.yaml"), gcp={"network": "command line"}).gcp
    assert (gcp.project, gcp.region, gcp.service_account, gcp.network) == (
        "profile", "dotenv", "environment", "command line"
    )  # fmt: skip


@pytest.mark.parametrize("place", ["environment", "dotenv"])
@pytest.mark.parametrize(
    ("variable", "words"),
    [
        ("TUNELANE_GCP__PROJCT=x", "No setting 'gcp.projct'. Did you mean 'project'?"),
        ("TUNELANE_GPC__PROJECT=x", "No section 'gpc'. Did you mean 'gcp'?"),
        ("tunelane_gpc__project=x", "No section 'gpc'. Did you mean 'gcp'?"),
        ("TUNELANE_MODEL__EPOCHS=many", "model.epochs: Input should be a valid integer"),
        ('TUNELANE_DATA={"rowz": 3}', "No setting 'data.rowz'. Did you mean 'rows'?"),
    ],
)
def test_a_broken_variable_is_named_with_its_place(variable, words, place, directory, monkeypatch):
    name, _, value = variable.partition("=")
    if place == "environment":
        monkeypatch.setenv(name, value)
    else:
        (directory / ".env").write_text(f"{variable}\n")
    with pytest.raises(InputError) as caught:
        load_settings()
    message = str(caught.value)
    assert message.startswith(f"{name.upper()} ({'.env' if place == 'dotenv' else 'environment'}): ")
    assert words in message
    assert "\n" not in message


def test_a_section_that_is_no_json_is_named(monkeypatch):
    monkeypatch.setenv("TUNELANE_GCP__LABELS", "team")
    with pytest.raises(InputError, match="The variables of gcp cannot be read"):
        load_settings()


def test_a_profile_goes_by_its_name_in_profiles(directory, monkeypatch):
    (directory / "profiles").mkdir()
    for name in ("dev", "prod"):
        (directory / "profiles" / f"{name}.yaml").write_text(f"gcp: {{project: {name}}}\n")
    assert load_settings(Path("prod")).gcp.project == "prod"
    assert load_settings(Path("prod")).profile == Path("profiles/prod.yaml")
    assert load_settings(Path("profiles/dev.yaml")).gcp.project == "dev"
    monkeypatch.setenv("TUNELANE_PROFILE", "dev")
    assert load_settings().gcp.project == "dev"
    with pytest.raises(InputError, match=r"No profile 'prd'. Did you mean 'prod'\?"):
        load_settings(Path("prd"))
    (directory / "prod").write_text("gcp: {project: here}\n")
    assert load_settings(Path("prod")).gcp.project == "here", "a file of that very name comes first"


def test_a_profile_whose_name_is_too_long_is_named():
    with pytest.raises(InputError, match=r"x{300}: File name too long\. Pass the path of a YAML file\."):
        load_settings(Path("x" * 300))


def test_without_profiles_a_name_says_where_one_would_lie():
    with pytest.raises(InputError, match=r"No profile 'prod': there is no profiles/prod.yaml"):
        load_settings(Path("prod"))


@pytest.mark.parametrize("source", ["profile", "environment", "section"])
def test_no_message_and_no_print_shows_a_secret(source, directory, monkeypatch):
    token = "a-token-of-the-cluster"  # noqa: S105 - it opens nothing
    monkeypatch.setenv("TUNELANE_KUBEFLOW__TOKEN", token)
    settings = load_settings()
    assert settings.kubeflow.token.get_secret_value() == token
    assert token not in repr(settings) + str(settings.model_dump()) + settings.model_dump_json()
    monkeypatch.delenv("TUNELANE_KUBEFLOW__TOKEN")
    if source == "profile":
        (directory / "profile.yaml").write_text(f"kubeflow: {{token: [{token}]}}\n")
    elif source == "environment":
        monkeypatch.setenv("TUNELANE_KUBEFLOW", f'{{"token": ["{token}"]}}')
    else:
        (directory / "profile.yaml").write_text(f"kubeflow: {token}\n")
    with pytest.raises(InputError) as caught:
        load_settings(None if source == "environment" else Path("profile.yaml"))
    assert token not in str(caught.value)


def test_importing_settings_pays_for_no_heavy_package():
    script = "import sys, tunelane_pipelines.settings; print(*sys.modules)"
    finished = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not {"kfp", "mlflow", "torch", "numpy", "google.auth", "grpc"} & set(finished.stdout.split())
