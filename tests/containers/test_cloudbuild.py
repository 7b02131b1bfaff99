"""cloudbuild.yaml: Cloud Build takes it, what it names is there, and what it compiles names images by digest."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.cloud.devtools import cloudbuild_v1
from google.protobuf import json_format

from tunelane_components.images import EXTRA_BY_IMAGE

_NAMES = sorted(image.removeprefix("tunelane/").partition(":")[0] for image in EXTRA_BY_IMAGE)
# Those that every build has; the ones of a trigger (COMMIT_SHA, ...) are empty in a build started by hand.
_BUILT_IN = {"PROJECT_ID", "PROJECT_NUMBER", "BUILD_ID", "LOCATION"}
_SUBSTITUTION = re.compile(r"\$\$|\$\{(\w+)\}|\$([A-Z_][A-Z0-9_]*)")
_LAUNCHER = "gcr.io/ml-pipeline/google-cloud-pipeline-components:"
_VALUES = {"PROJECT_ID": "project", "BUILD_ID": "0b1d"}

# Stands for docker after a push: an image's digest is the digest of its name, so that two are never the same.
_DOCKER = """#!/bin/sh
test "$1 $2 $3" = "inspect --format {{index .RepoDigests 0}}" || exit 2
echo "${4%:*}@sha256:$(printf %s "$4" | sha256sum | cut -d ' ' -f 1)"
"""


@pytest.fixture(scope="module")
def build(root: Path) -> dict[str, Any]:
    content = yaml.safe_load((root / "cloudbuild.yaml").read_text())
    assert isinstance(content, dict)
    return content


@pytest.fixture(scope="module")
def steps(build: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {step["id"]: step for step in build["steps"]}


def test_cloud_build_knows_every_field(build: dict[str, Any]) -> None:
    message = json_format.ParseDict(build, cloudbuild_v1.Build.pb(cloudbuild_v1.Build()))
    assert len(message.steps) == len(build["steps"])
    assert message.timeout.seconds == 5400


def test_substitutions_are_defined_and_used(build: dict[str, Any]) -> None:
    defined = set(build["substitutions"])
    used = {name for text in _texts(build) for name in _used(text)}
    assert used <= defined | _BUILT_IN
    # Cloud Build refuses one that nothing uses.
    assert defined <= used
    assert build["options"]["dynamicSubstitutions"] is True


def test_steps_wait_for_steps_before_them(build: dict[str, Any], steps: dict[str, dict[str, Any]]) -> None:
    assert len(steps) == len(build["steps"])
    earlier: set[str] = set()
    for step in build["steps"]:
        assert step["name"]
        assert set(step.get("waitFor", [])) <= earlier
        # Without waitFor a step waits for all before it, which only the first may leave out.
        assert step.get("waitFor") or not earlier
        earlier.add(step["id"])


def test_every_image_is_built_from_its_dockerfile_after_the_tests_and_pushed(
    build: dict[str, Any], steps: dict[str, dict[str, Any]]
) -> None:
    for name in _NAMES:
        tag = f"${{_REGISTRY}}/{name}:$BUILD_ID"
        assert f"--file=containers/{name}/Dockerfile" in steps[f"build-{name}"]["args"]
        assert f"--tag={tag}" in steps[f"build-{name}"]["args"]
        assert steps[f"push-{name}"]["args"] == ["push", tag]
        assert tag in build["images"]
        assert {"lint", "test"} <= _before(steps, f"build-{name}")
        assert f"push-{name}" in _before(steps, "compile")
    assert len(build["images"]) == len(_NAMES)
    assert "compile" in _before(steps, "upload")


def test_what_make_makes_is_in_the_makefile(root: Path, build: dict[str, Any]) -> None:
    makefile = (root / "Makefile").read_text()
    for step in build["steps"]:
        if step.get("entrypoint") == "make":
            for target in step["args"]:
                assert re.search(rf"^{target}:", makefile, re.MULTILINE)


def test_the_compiled_files_name_the_pushed_images_by_digest(
    build: dict[str, Any], steps: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    docker = tmp_path / "bin" / "docker"
    docker.parent.mkdir()
    docker.write_text(_DOCKER)
    docker.chmod(0o755)
    resolve = steps["resolve-digests"]
    assert resolve["entrypoint"] == "bash"
    subprocess.run(
        ["bash", *(_filled(text, build["substitutions"]) for text in resolve["args"])],
        check=True,
        cwd=tmp_path,
        env={"PATH": f"{docker.parent}:/usr/bin:/bin"},
        capture_output=True,
    )
    references = json.loads((tmp_path / "images.json").read_text())
    assert set(references) == set(EXTRA_BY_IMAGE)
    prefix = "us-central1-docker.pkg.dev/project/tunelane"
    for image, reference in references.items():
        name = image.removeprefix("tunelane/").partition(":")[0]
        assert re.fullmatch(rf"{re.escape(prefix)}/{name}@sha256:[0-9a-f]{{64}}", reference)

    step = steps["compile"]
    assert step["entrypoint"].endswith("/.venv/bin/tunelane")
    ended = subprocess.run(
        [sys.executable, "-m", "tunelane_pipelines.cli", *step["args"]], cwd=tmp_path, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
    compiled = sorted((tmp_path / "compiled").rglob("*.yaml"))
    assert {path.relative_to(tmp_path / "compiled").parts[0] for path in compiled} == {"kubeflow", "vertex"}
    for path in compiled:
        images = re.findall(r"^\s+image: (\S+)$", path.read_text(), re.MULTILINE)
        assert images
        # Google's launcher is the one image that is not the project's own: it is pulled as its release names it.
        theirs = {image for image in images if image.startswith(_LAUNCHER)}
        assert set(images) - theirs <= set(references.values())
    uploaded = steps["upload"]["args"]
    assert {"compiled", "images.json"} <= set(uploaded)


def test_a_digest_that_cannot_be_resolved_stops_the_build(
    build: dict[str, Any], steps: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    docker = tmp_path / "bin" / "docker"
    docker.parent.mkdir()
    docker.write_text("#!/bin/sh\nexit 1\n")
    docker.chmod(0o755)
    ended = subprocess.run(
        ["bash", *(_filled(text, build["substitutions"]) for text in steps["resolve-digests"]["args"])],
        cwd=tmp_path,
        env={"PATH": f"{docker.parent}:/usr/bin:/bin"},
        capture_output=True,
    )
    assert ended.returncode != 0
    assert not (tmp_path / "images.json").exists()


def _texts(value: Any) -> Iterator[str]:
    """Every string in a document."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)


def _used(text: str) -> set[str]:
    return {match[1] or match[2] for match in _SUBSTITUTION.finditer(text) if match[0] != "$$"}


def _filled(text: str, substitutions: dict[str, str]) -> str:
    """Fill in substitutions as Cloud Build does, those inside of defaults too; `$$` is a dollar."""

    def value(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        name = match[1] or match[2]
        return _filled(substitutions[name], substitutions) if name in substitutions else _VALUES[name]

    return _SUBSTITUTION.sub(value, text)


def _before(steps: dict[str, dict[str, Any]], step: str) -> set[str]:
    """Every step that has ended when `step` begins."""
    direct = set(steps[step].get("waitFor", []))
    return direct.union(*(_before(steps, earlier) for earlier in direct))
