"""The file of images: what a cluster could pull, and from where."""

import json
from pathlib import Path

import pytest

from tunelane_components.images import EXTRA_BY_IMAGE, PIPELINES, SERVER, TRAINER
from tunelane_pipelines.compiling.images import LAUNCHER
from tunelane_pipelines.doctor.check import Check
from tunelane_pipelines.doctor.images import check_images, in_artifact_registry, lies_near
from tunelane_pipelines.settings import load_settings

_DIGEST = f"sha256:{'0' * 64}"


def _checks(place: Path, region: str = "europe-west4", **changed: str) -> dict[str, Check]:
    references = dict.fromkeys(EXTRA_BY_IMAGE, f"europe-west4-docker.pkg.dev/p/r/image@{_DIGEST}")
    (place / "images.json").write_text(json.dumps(references | changed))
    settings = load_settings(images=place / "images.json", gcp={"region": region})
    return {check.name: check for check in check_images(settings)}


def test_images_by_digest_in_the_runs_region_are_as_they_should_be(place: Path) -> None:
    assert {name: check.level for name, check in _checks(place).items()} == {
        "image trainer": "ok", "image pipelines": "ok", "image server": "ok"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("reference", "level", "words"),
    [
        (TRAINER, "problem", "It is a logical name"),
        ("registry.example.org/trainer:1", "info", "For a release write it as"),
        ("registry.example.org/trainer", "info", "For a release write it as"),
        (f"registry.example.org/trainer@{_DIGEST}", "ok", ""),
        (f"us-docker.pkg.dev/p/r/trainer@{_DIGEST}", "warning", "Runs go to europe-west4"),
        (f"europe-docker.pkg.dev/p/r/trainer@{_DIGEST}", "ok", ""),
    ],
)
def test_each_image_says_what_to_do_about_it(reference: str, level: str, words: str, place: Path) -> None:
    checks = _checks(place, **{TRAINER: reference})
    assert checks["image trainer"].level == level
    assert words in checks["image trainer"].advice
    assert {checks["image pipelines"].level, checks["image server"].level} == {"ok"}


def test_without_a_region_no_image_lies_elsewhere(place: Path) -> None:
    assert (
        _checks(place, region="", **{PIPELINES: f"us-docker.pkg.dev/p/r/i@{_DIGEST}"})["image pipelines"].level == "ok"
    )


def test_a_file_that_cannot_be_used_is_left_to_the_settings_and_a_cluster_needs_one(place: Path) -> None:
    (place / "images.json").write_text("{")
    assert list(check_images(load_settings(images=place / "images.json"))) == []
    assert list(check_images(load_settings())) == []
    (check,) = check_images(load_settings(), "vertex")
    assert (check.level, "Set images" in check.advice) == ("problem", True)


def test_the_image_that_starts_training_can_be_held_to_a_digest(place: Path) -> None:
    assert "image launcher" not in _checks(place), "Kubeflow has none"
    settings = load_settings(images=place / "images.json")
    assert [check.level for check in check_images(settings, "vertex") if check.name == "image launcher"] == ["info"]
    named = _checks(place, **{LAUNCHER: f"europe-west4-docker.pkg.dev/p/r/launcher@{_DIGEST}"})
    assert named["image launcher"].level == "ok"


@pytest.mark.parametrize(
    ("reference", "parts"),
    [
        ("europe-west4-docker.pkg.dev/p/r/i", ("europe-west4", "p", "r", "i", None, None)),
        ("us-docker.pkg.dev/p/r/a/b/c:v1", ("us", "p", "r", "a/b/c", "v1", None)),
        (f"us-docker.pkg.dev/p/r/i:v1@{_DIGEST}", ("us", "p", "r", "i", "v1", _DIGEST)),
    ],
)
def test_a_reference_to_artifact_registry_is_taken_apart(reference: str, parts: tuple[str | None, ...]) -> None:
    found = in_artifact_registry(reference)
    assert found is not None
    assert found.groups() == parts
    assert in_artifact_registry(SERVER) is None


def test_a_multi_region_lies_near_each_of_its_regions() -> None:
    assert lies_near("europe-west4", "europe")
    assert lies_near("europe-west4", "europe-west4")
    assert not lies_near("europe-west4", "europe-west1")
    assert not lies_near("us-central1", "europe")
