"""The file of images: what it must hold, and what is said where it does not."""

import json
import re
from pathlib import Path

import pytest

from tunelane_pipelines.compiling.images import is_pinned, read_images
from tunelane_serving.errors import InputError

_REQUIRED = {"tunelane/trainer:python3.11", "tunelane/pipelines:python3.11"}
_KNOWN = {*_REQUIRED, "tunelane/server:python3.11"}
_DIGEST = "sha256:" + "0a" * 32


def _mapping(reference: object = "trainer:1") -> dict[str, object]:
    return {"tunelane/trainer:python3.11": reference, "tunelane/pipelines:python3.11": "pipelines:1"}


@pytest.mark.parametrize(
    "reference",
    [
        "trainer",
        "team/trainer:dev",
        "localhost:5000/trainer:1.0_rc",
        f"europe-docker.pkg.dev/project-1/lane/trainer@{_DIGEST}",
        f"registry.example/trainer:1.2@{_DIGEST}",
    ],
)
def test_a_reference_by_tag_or_digest_is_taken(reference: str, tmp_path: Path) -> None:
    path = tmp_path / "images.json"
    path.write_text(json.dumps(_mapping(reference)))
    assert read_images(path, required=_REQUIRED, known=_KNOWN) == _mapping(reference)
    assert is_pinned(reference) == (_DIGEST in reference)


@pytest.mark.parametrize(
    "reference",
    [
        "",
        " ",
        "two words",
        "trainer:",
        "Team/Trainer:1",
        "trainer@sha256:12ab",
        "https://host/trainer",
        "trainer:1\n",
        3,
        None,
    ],
)
def test_what_no_back_end_could_pull_is_refused(reference: object, tmp_path: Path) -> None:
    path = tmp_path / "images.json"
    path.write_text(json.dumps(_mapping(reference)))
    with pytest.raises(InputError, match=re.escape(f"{path}: tunelane/trainer:python3.11: {reference!r} is no image")):
        read_images(path, required=_REQUIRED, known=_KNOWN)


def test_an_image_that_no_component_runs_in_may_be_named_but_need_not(tmp_path: Path) -> None:
    path = tmp_path / "images.json"
    for mapping in (_mapping(), {**_mapping(), "tunelane/server:python3.11": "server:1"}):
        path.write_text(json.dumps(mapping))
        assert read_images(path, required=_REQUIRED, known=_KNOWN) == mapping
