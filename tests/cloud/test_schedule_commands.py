"""`tunelane schedule …` as a user types it, against Vertex AI on loopback."""

import json
import os
import shlex
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from tests.cloud.bench.bench import Bench
from tunelane_components.images import EXTRA_BY_IMAGE
from tunelane_pipelines.cli import main as cli
from tunelane_pipelines.targets.clock import SystemClock

Tunelane = Callable[..., tuple[object, str, str]]


@pytest.fixture
def tunelane(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Tunelane:
    """Run the command in this process, on the bench's clock; gives exit code, stdout and stderr."""
    for name in [name for name in os.environ if name.startswith("TUNELANE_")]:
        monkeypatch.delenv(name)
    images = tmp_path / "images.json"
    images.write_text(json.dumps({name: f"{bench.region}-docker.pkg.dev/p/r/{name}" for name in EXTRA_BY_IMAGE}))
    for name, value in {
        "IMAGES": str(images),
        "GCP__PROJECT": bench.project,
        "GCP__REGION": bench.region,
        "GCP__PIPELINE_ROOT": f"gs://{bench.bucket}/runs",
        "GCP__SERVICE_ACCOUNT": bench.service_account,
    }.items():
        monkeypatch.setenv(f"TUNELANE_{name}", value)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(SystemClock, "sleep", lambda _, seconds: bench.clock.sleep(seconds))

    def tunelane(*arguments: str) -> tuple[object, str, str]:
        monkeypatch.setattr(sys, "argv", ["tunelane", *arguments])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        said = capsys.readouterr()
        return caught.value.code or 0, said.out, said.err

    return tunelane


@pytest.fixture
def create(tunelane: Tunelane, bench: Bench) -> Tunelane:
    """Create a schedule of `convert`."""
    at = f"gs://{bench.bucket}"

    def create(*options: str) -> tuple[object, str, str]:
        parameters = ("--set", f"checkpoint={at}/model.pt", "--set", f"data={at}/rows.csv")
        named = ("--name", "weekly", "--cron", "0 3 * * MON", "--time-zone", "Europe/Berlin")
        return tunelane("schedule", "create", "convert", "--target", "vertex", *named, *parameters, *options)

    return create


@pytest.mark.parametrize(("length", "code"), [(42, 0), (43, 2)])
def test_the_longest_name_still_fits_into_a_label(length: int, code: int, bench: Bench, create: Tunelane) -> None:
    assert create("--name", "a" * length)[0] == code
    labels = [made.create_pipeline_job_request.pipeline_job.labels for made in bench.schedules.schedules()]
    assert [len(found["tunelane-run"]) for found in labels] == ([63] if code == 0 else [])


def test_a_schedule_lives_its_whole_life(bench: Bench, tunelane: Tunelane, create: Tunelane) -> None:
    code, said, complaint = create("--max-concurrent", "2", "--label", "team=care")
    assert code == 0, complaint
    [schedule] = bench.schedules.schedules()
    assert (schedule.display_name, schedule.cron) == ("weekly", "TZ=Europe/Berlin 0 3 * * MON")
    assert schedule.create_pipeline_job_request.pipeline_job.labels["team"] == "care"
    assert said.count(" 03:00 CE") == 3
    assert "https://console.cloud.google.com/vertex-ai/pipelines/locations/europe-west4/schedules/" in said
    for verb, state in (("pause", "paused"), ("resume", "active"), ("resume", "active")):
        code, said, complaint = tunelane("schedule", verb, "weekly")
        assert code == 0, complaint
        [listed] = [json.loads(line) for line in tunelane("schedule", "list", "--json")[1].splitlines()]
        assert (listed["name"], listed["state"], listed["started_runs"]) == ("weekly", state, 0)
    code, said, complaint = tunelane("schedule", "update", "weekly", "--cron", "30 4 * * 7")
    assert code == 0, complaint
    assert bench.schedules.schedules()[0].cron == "TZ=Europe/Berlin 30 4 * * 0"
    bench.clock.advance(timedelta(days=7))
    code, said, complaint = tunelane("schedule", "show", "weekly")
    [job] = bench.vertex.jobs()
    assert f"{job.name.rpartition('/')[2]}: " in said and "1 run\n" in said
    code, said, complaint = tunelane("schedule", "delete", "weekly")
    assert (code, bench.schedules.schedules()) == (0, [])


def test_a_creation_whose_every_reply_is_lost_goes_on_with_one_schedule(
    bench: Bench, tunelane: Tunelane, create: Tunelane
) -> None:
    bench.faults.add("CreateSchedule", "reply-lost")
    bench.faults.add("ListSchedules", "503", times=4, skip=1)
    code, said, complaint = create()
    assert (code, said) == (1, "")
    assert "Go on with: tunelane schedule continue weekly" in complaint and len(complaint.splitlines()) == 1
    assert len(bench.schedules.schedules()) == 1
    code, said, _ = tunelane("schedule", "list")
    assert "needs-resume" in said
    code, said, complaint = tunelane("schedule", "continue", "weekly")
    assert code == 0, complaint
    assert len(bench.schedules.schedules()) == 1
    assert "active" in tunelane("schedule", "list")[1]


def test_a_service_that_is_away_is_said_and_what_was_last_seen_is_shown(
    bench: Bench, tunelane: Tunelane, create: Tunelane
) -> None:
    create()
    bench.faults.add("ListSchedules", "503", times=5)
    code, said, complaint = tunelane("schedule", "show", "weekly")
    assert (code, len(complaint.splitlines())) == (0, 1)
    assert complaint.endswith("Its schedules are shown as they were last seen.\n")
    assert "weekly" in said and bench.faults.unused() == []
    # How many runs it has started only the service knows.
    bench.faults.add("ListSchedules", "503", times=5)
    assert json.loads(tunelane("schedule", "show", "weekly", "--json")[1])["started_runs"] is None


def test_a_registry_in_a_file_is_refused_for_a_cluster(bench: Bench, tunelane: Tunelane) -> None:
    code, _, complaint = tunelane(
        "schedule", "create", "train-classifier", "--target", "vertex", "--cron", "0 3 * * *",
        "--set", "data=gs://b/rows.csv",
    )  # fmt: skip
    assert code == 2 and "is none that a cluster reaches" in complaint
    assert bench.schedules.schedules() == []


def test_a_schedule_of_another_project_is_shown_as_it_was_and_not_touched(
    bench: Bench, tunelane: Tunelane, create: Tunelane, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert create("--fail-slow")[0] == 0
    here = f"vertex {bench.project}/{bench.region}"
    monkeypatch.setenv("TUNELANE_GCP__REGION", "us-central1")
    for verb in ("pause", "resume", "delete", "continue"):
        code, said, complaint = tunelane("schedule", verb, "weekly")
        assert (code, said) == (2, "")
        assert complaint.startswith(f"tunelane: Schedule weekly is at {here}, and the settings in force name vertex ")
        assert "--profile" in complaint and len(complaint.splitlines()) == 1
    code, said, complaint = tunelane("schedule", "show", "weekly")
    assert code == 0 and "active" in said and f"convert on {here}" in said
    assert complaint.endswith("It is shown as it was last seen.\n") and len(complaint.splitlines()) == 1
    monkeypatch.setenv("TUNELANE_GCP__REGION", bench.region)
    assert "active" in tunelane("schedule", "list")[1]


def test_a_list_without_a_journal_shows_what_colleagues_made(
    bench: Bench, tunelane: Tunelane, create: Tunelane, tmp_path: Path
) -> None:
    create()
    code, said, complaint = tunelane("schedule", "list", "--root", str(tmp_path / "other"))
    assert (code, complaint) == (0, "")
    assert [line.split()[:3] for line in said.splitlines()[1:]] == [["weekly", "active", "vertex"]]
    # With a line of their own, which we cannot count through.
    bench.state.get(bench.schedules.schedules()[0].name).cron = "@monthly"
    code, said, complaint = tunelane("schedule", "list", "--json", "--root", str(tmp_path / "other"))
    listed = json.loads(said)
    assert (listed["recurrence"]["cron"], listed["next"], complaint) == ("@monthly", [], "")
    code, said, complaint = tunelane("schedule", "show", "weekly", "--root", str(tmp_path / "other"))
    assert (code, complaint) == (0, "") and "@monthly (UTC)" in said


def test_an_advised_command_works_on_the_same_schedule(
    bench: Bench, tunelane: Tunelane, create: Tunelane, tmp_path: Path
) -> None:
    profile = tmp_path / "prod.yaml"
    profile.write_text("gpu: none\n")
    options = ("--root", str(tmp_path / "an other"), "--profile", str(profile))
    bench.faults.add("CreateSchedule", "reply-lost")
    bench.faults.add("ListSchedules", "503", times=4, skip=1)
    complaint = create(*options)[2]
    words = shlex.split(complaint.partition("Go on with: ")[2])
    assert words[:4] == ["tunelane", "schedule", "continue", "weekly"]
    code, _, complaint = tunelane(*words[1:])
    assert code == 0, complaint
    assert len(bench.schedules.schedules()) == 1
