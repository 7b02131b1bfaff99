"""How old what a list shows is."""

from datetime import timedelta
from pathlib import Path

import pytest

from tests.pipelines.added import SERVICE, add_remote, add_run
from tests.pipelines.service import START
from tunelane_pipelines.runs.finding import list_runs
from tunelane_pipelines.runs.freshness import freshness
from tunelane_pipelines.runs.journal import Journal


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def _lines(root: Path, asked: bool = False) -> list[str]:
    return freshness(root, list_runs(root), START, asked=asked)


def test_nothing_is_said_of_what_cannot_change(tmp_path: Path) -> None:
    add_run(tmp_path, "local", "succeeded")
    add_remote(tmp_path, "ended", "succeeded", "r")
    assert _lines(tmp_path) == []


def test_a_service_whose_runs_go_on_is_named_once_with_their_age(tmp_path: Path) -> None:
    for run_id in ("one", "two"):
        add_remote(tmp_path, run_id, "running", run_id)
    advice = "Ask it: tunelane runs list --refresh --root ."
    assert _lines(tmp_path) == [f"{SERVICE}: its runs are as this machine last saw them. {advice}"]
    Journal(tmp_path).looked(SERVICE, START - timedelta(minutes=5))
    assert _lines(tmp_path) == [f"{SERVICE}: its runs are as they were 5 min ago. {advice}"]
    Journal(tmp_path).looked(SERVICE, START - timedelta(hours=30))
    assert "30 h ago" in _lines(tmp_path)[0]


def test_a_schedule_may_have_started_more(tmp_path: Path) -> None:
    entry = add_remote(tmp_path, "nightly", "succeeded", "r")._replace(schedule="projects/1/schedules/7")
    assert len(freshness(tmp_path, [entry], START)) == 1


def test_a_service_that_could_not_be_asked_wants_its_profile(tmp_path: Path) -> None:
    add_remote(tmp_path, "run", "running", "r")
    assert _lines(tmp_path, asked=True)[0].endswith("Ask with the --profile that they were submitted with.")
