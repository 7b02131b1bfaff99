"""Where each setting comes from, and values that cannot be used."""

from pathlib import Path

import pytest

from tunelane_pipelines.doctor.check import Check
from tunelane_pipelines.doctor.configured import check_settings


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
        "images": "none (default)",
        "gpu": "l4 (default)",
    }
    assert {check.level for check in checks.values()} == {"ok"}
    assert {check.found.rpartition(" ")[2] for check in _checks().values()} == {"(default)", "(environment)", "(.env)"}


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("registry_uri", "http://user:secret@mlflow:5000", "is not supported. Set registry_uri to sqlite:"),
        ("registry_uri", "sqlite:///100%/registry.db", "is not supported"),
        ("deployment_uri", "http://server", "is not supported. Set deployment_uri to local:"),
        ("deployment_uri", "local:relative", "is not supported"),
        ("base_model", "sample://minilmm", "No sample 'minilmm'. Did you mean 'minilm'?"),
        ("base_model", "./nowhere", "No such directory"),
        ("gpu", "l44", "No GPU 'l44'. Did you mean 'l4'?"),
        ("images", "nowhere.json", "nowhere.json: No such file or directory"),
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


def test_a_disk_that_the_machine_of_the_gpu_does_not_boot_from_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNELANE_GCP__BOOT_DISK_TYPE", "pd-standard")
    assert _checks()["gpu"].advice == "g2-standard-8 does not boot from pd-standard. Set gcp.boot_disk_type to pd-ssd."
    monkeypatch.setenv("TUNELANE_GPU", "a100")
    assert _checks()["gpu"].level == "ok"


def test_no_password_of_settings_that_cannot_be_read_is_shown(place: Path) -> None:
    (place / "profile.yaml").write_text("registry_uri: ['postgresql://ann:s3cret@db/mlflow']\n")
    settings, (check,) = check_settings(None, Path("profile.yaml"))
    assert settings is None
    assert "postgresql://ann:***@db/mlflow" in check.found


def test_a_variable_that_is_no_setting_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TUNELANE_ROOOT", "TUNELANE_CACHE_DIR", "TUNELANE_DEPLOYMENT", "TUNELANE_SOMETHING_ELSE"):
        monkeypatch.setenv(name, "x")
    warned = {name: check.advice for name, check in _checks().items() if check.level == "warning"}
    assert warned == {"TUNELANE_ROOOT": "Did you mean TUNELANE_ROOT?"}


def test_of_sections_what_is_set_says_its_source_and_no_secret_is_shown(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "profiles").mkdir()
    (place / "profiles" / "prod.yaml").write_text(
        "gcp: {project: p, region: r}\nkubeflow: {token: s3cret, host: 'https://ann:s3cret@kubeflow.example'}\n"
    )
    monkeypatch.setenv("TUNELANE_GCP__REGION", "europe-west4")
    (place / ".env").write_text("TUNELANE_MODEL__EPOCHS=3\n")
    checks = _checks(profile=Path("prod"))
    assert {name: check.found for name, check in checks.items() if "." in name} == {
        "gcp.project": "p (profiles/prod.yaml)",
        "gcp.region": "europe-west4 (environment)",
        "kubeflow.token": "set, and not shown (profiles/prod.yaml)",
        "kubeflow.host": "https://ann:***@kubeflow.example (profiles/prod.yaml)",
        "model.epochs": "3 (.env)",
    }
    assert "s3cret" not in str(checks)


def test_a_misspelt_variable_of_a_section_is_a_problem_and_one_in_the_file_is_seen(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / ".env").write_text("TUNELANE_ROOOT=x\n")
    assert _checks()["TUNELANE_ROOOT"].found == "is no setting and has no effect (.env)"
    monkeypatch.setenv("TUNELANE_GCP__PROJCT", "x")
    settings, (check,) = check_settings(None, None)
    assert settings is None
    assert (check.name, check.level) == ("settings", "problem")
    assert "Did you mean 'project'?" in check.found


def test_a_registry_in_a_secret_is_left_to_the_task(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNELANE_REGISTRY_URI", "projects/p/secrets/registry/versions/latest")
    assert _checks()["registry_uri"].level == "ok"
