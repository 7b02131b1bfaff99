"""What the settings name by path or URI, and whether a cluster could reach it."""

from pathlib import Path

import pytest

from tunelane_pipelines.doctor.check import Check
from tunelane_pipelines.doctor.places import check_places, check_reach
from tunelane_pipelines.settings import load_settings


def _check(setting: str, value: str, target: str = "", **data: str) -> Check:
    section, _, name = setting.partition(".")
    sections = {"data": data}
    sections.setdefault(section, {})[name] = value
    (check,) = [found for found in check_places(load_settings(**sections), target) if found.name == setting]
    return check


def test_places_that_are_not_set_are_not_spoken_of() -> None:
    assert list(check_places(load_settings())) == []


@pytest.mark.parametrize(
    ("setting", "value", "found"),
    [
        ("data.uri", "rows.csv", "1 file"),
        ("data.uri", "folder", "2 files"),
        ("data.test_uri", "folder/*.csv", "1 file"),
        ("data.uri", "sample://sentiment", "a sample"),
        ("data.taxonomy", "taxonomy.yaml", "2 labels"),
        ("model.base_model", "folder", "folder"),
        ("model.base_model", "sentence-transformers/all-MiniLM-L6-v2", "MiniLM"),
        ("data.upload_root", "made/later", "made/later"),
        ("data.uri", "gs://bucket/rows.csv", "gs://bucket/rows.csv"),
    ],
)
def test_what_lies_here_is_said(setting: str, value: str, found: str, place: Path) -> None:
    (place / "folder").mkdir()
    for name in ("rows.csv", "folder/a.csv", "folder/b.jsonl"):
        (place / name).write_text("text,label\n")
    (place / "taxonomy.yaml").write_text("labels: [a, b]\n")
    check = _check(setting, value)
    assert (check.level, found in check.found) == ("ok", True)


@pytest.mark.parametrize(
    ("setting", "value", "words"),
    [
        ("data.uri", "nowhere.csv", "No such file or directory: nowhere.csv"),
        ("data.uri", "rows.pdf", "unknown kind of file"),
        ("data.test_uri", "nowhere/*.csv", "nowhere"),
        ("data.uri", "sample://sentimnt", "Did you mean 'sentiment'?"),
        ("data.taxonomy", "nowhere.yaml", "No such file or directory"),
        ("data.taxonomy", "broken.yaml", "broken.yaml"),
        ("model.base_model", "./nowhere", "No such directory"),
        ("model.base_model", f"./{'x' * 300}", "No such directory"),
        ("model.base_model", "~no-such-user/x", "this home directory is not known"),
    ],
)
def test_what_is_not_here_or_cannot_be_used_is_a_problem(setting: str, value: str, words: str, place: Path) -> None:
    (place / "rows.pdf").touch()
    (place / "broken.yaml").write_text("labels: [a, a]\n")
    check = _check(setting, value)
    assert (check.level, "\n" in check.advice) == ("problem", False)
    assert words in check.advice


@pytest.mark.parametrize("target", ["vertex", "kubeflow"])
@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("data.uri", "rows.csv"),
        ("data.uri", "sample://sentiment"),
        ("data.taxonomy", "taxonomy.yaml"),
        ("data.upload_root", "datasets"),
        ("model.base_model", "sample://minilm"),
        ("model.base_model", "./model"),
    ],
)
def test_what_only_this_machine_has_is_a_problem_for_a_cluster(
    setting: str, value: str, target: str, place: Path
) -> None:
    (place / "rows.csv").write_text("text,label\n")
    (place / "taxonomy.yaml").write_text("labels: [a, b]\n")
    (place / "model").mkdir()
    assert _check(setting, value).level == "ok"
    check = _check(setting, value, target)
    assert (check.level, "gs://BUCKET/PATH" in check.advice) == ("problem", True)


def test_no_password_of_a_place_is_shown() -> None:
    check = _check("data.uri", "https://ann:s3cret@example.org/rows.csv", "vertex")
    assert check.level == "problem"
    assert "s3cret" not in check.found + check.advice


def test_a_registry_and_a_deployment_of_this_machine_are_a_warning_for_clusters() -> None:
    assert [(check.name, check.level) for check in check_reach(load_settings())] == [
        ("registry_uri", "warning"),
        ("deployment_uri", "warning"),
    ]
    away = load_settings(registry_uri="gs://bucket/registry", deployment_uri="gs://bucket/deployments")
    assert list(check_reach(away)) == []
    secret = load_settings(registry_uri="projects/p/secrets/s/versions/1", deployment_uri="gs://bucket/deployments")
    assert list(check_reach(secret)) == []
