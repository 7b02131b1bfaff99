"""Roots that cannot be used, and registries that do not lie here."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tunelane_pipelines.doctor import lane
from tunelane_pipelines.doctor.hardware import check_disk, nearest_existing
from tunelane_pipelines.doctor.lane import check_models, check_root
from tunelane_pipelines.settings import load_settings

_NOBODY = 65534


@pytest.fixture
def closed(place: Path) -> Iterator[Path]:
    """A root below a directory that this process may not enter."""
    directory = place / "closed"
    directory.mkdir(mode=0o000)
    user = os.geteuid()
    if user == 0:
        os.seteuid(_NOBODY)
    yield directory / "root"
    os.seteuid(user)
    directory.chmod(0o700)


def test_a_root_that_may_not_be_seen_is_a_problem_and_no_traceback(closed: Path) -> None:
    check = check_root(closed)
    assert (check.level, check.advice) == ("problem", "Choose another with --root.")
    assert "Permission denied" in check.found
    assert nearest_existing(closed) in closed.parents
    assert next(check_disk(closed)).name == "disk"


def test_a_root_whose_name_is_too_long_is_a_problem_and_no_traceback(place: Path) -> None:
    root = place / ("x" * 300)
    check = check_root(root)
    assert check.level == "problem"
    assert "File name too long" in check.found
    assert next(check_disk(root)).level in ("ok", "problem")


# A task of a run waits for two minutes.
@pytest.mark.timeout(110, func_only=True)
def test_a_registry_that_never_answers_is_a_problem_before_a_person_loses_patience(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lane, "PERSON_PATIENCE_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{silent.getsockname()[1]}")
        (check,) = check_models(load_settings(registry_uri="gs://bucket/registry"), is_asked=True)
    assert (check.level, check.found) == ("problem", "cannot be read")
    assert "does not answer as it should" in check.advice


@pytest.mark.parametrize("uri", ["gs://bucket/registry", "projects/p/secrets/s/versions/1"])
def test_a_registry_elsewhere_is_not_asked_unless_a_target_is_named(uri: str) -> None:
    (check,) = check_models(load_settings(registry_uri=uri), is_asked=False)
    assert (check.name, check.level) == ("registry", "info")
