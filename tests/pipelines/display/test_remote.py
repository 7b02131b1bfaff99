"""A run at a service, shown and watched as a local one is."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import typer

from tests.pipelines.added import add_remote, add_run
from tests.pipelines.service import FakeClock, Service, at_work, away, no_target
from tunelane_pipelines.display.listing import print_list
from tunelane_pipelines.display.logs import print_logs
from tunelane_pipelines.display.showing import print_run
from tunelane_pipelines.display.watching import watch_run
from tunelane_pipelines.runs.finding import list_runs
from tunelane_pipelines.runs.record import LOG, RunRecord
from tunelane_pipelines.targets.target import LogLine
from tunelane_serving.errors import InputError

_SUCCESS = [
    at_work(run="pending"),
    at_work(run="running", resolve_champion="running"),
    at_work(run="running", resolve_champion="succeeded", build_dataset="running"),
    at_work(run="succeeded", resolve_champion="succeeded", build_dataset="succeeded"),
]
_FAILURE = [
    at_work(run="running", resolve_champion="succeeded", build_dataset="running"),
    at_work(run="failed", resolve_champion="succeeded", build_dataset="failed"),
]


def test_a_run_is_watched_to_its_end(
    submitted: RunRecord, tmp_path: Path, service: Service, clock: FakeClock, capsys: pytest.CaptureFixture[str]
) -> None:
    service.script = list(_SUCCESS)
    assert watch_run(tmp_path, submitted.run_id, service, clock)
    assert capsys.readouterr().out.splitlines() == [
        "remote-1",
        "▸ resolve-champion",
        "✓ resolve-champion 60.0 s",
        "▸ build-dataset",
        "✓ build-dataset 60.0 s",
    ]
    assert clock.slept_s == [5.0] * 3
    assert list_runs(tmp_path)[0].state == "succeeded"


def test_a_failure_is_shown_with_the_failed_task_s_message(
    submitted: RunRecord, tmp_path: Path, service: Service, clock: FakeClock, capsys: pytest.CaptureFixture[str]
) -> None:
    service.script = list(_FAILURE)
    assert not watch_run(tmp_path, submitted.run_id, service, clock)
    said = capsys.readouterr()
    assert said.out.splitlines()[-1] == "✗ build-dataset 60.0 s"
    assert said.err == "tunelane: build-dataset: The replica exited with code 1.\n"
    print_run(tmp_path, submitted.run_id, no_target, clock, as_json=False)
    shown = capsys.readouterr().out
    assert "✗ Build dataset" in shown and "The replica exited with code 1." in shown
    assert "\nLog      https://logs/build_dataset" in shown
    directory = tmp_path / "runs" / submitted.run_id
    assert (
        f"tunelane submit train-classifier --target vertex --config {directory}/parameters.yaml --root {tmp_path}"
    ) in shown


def test_a_traceback_that_a_service_hands_on_is_one_line(
    submitted: RunRecord, tmp_path: Path, service: Service, clock: FakeClock, capsys: pytest.CaptureFixture[str]
) -> None:
    """As Vertex AI does: https://github.com/GoogleCloudPlatform/vertex-ai-samples/pull/1504."""
    service.script = list(_FAILURE)
    said = "The replica exited with code 1.\nTraceback:\n  [...]\nOutOfMemoryError: 12 GiB"
    service.script[1] = lambda run: replace(
        _FAILURE[1](run), tasks=tuple(replace(task, error=task.error and said) for task in _FAILURE[1](run).tasks)
    )
    assert not watch_run(tmp_path, submitted.run_id, service, clock)
    line = "The replica exited with code 1. Traceback: [...] OutOfMemoryError: 12 GiB"
    assert capsys.readouterr().err == f"tunelane: build-dataset: {line}\n"
    print_run(tmp_path, submitted.run_id, no_target, clock, as_json=False)
    shown = capsys.readouterr().out.splitlines()
    assert [row.partition("1 min 00 s")[2].strip() for row in shown if "Build dataset" in row] == [line]
    assert f"         build-dataset: {line}" in shown


def test_a_task_that_waits_for_its_next_try_or_round_is_not_said_to_have_ended(
    submitted: RunRecord, tmp_path: Path, service: Service, clock: FakeClock, capsys: pytest.CaptureFixture[str]
) -> None:
    states = ("running", "pending", "running", "succeeded")
    service.script = [at_work(run="running", build_dataset=state) for state in states]
    service.script.append(at_work(run="succeeded", build_dataset="succeeded"))
    assert watch_run(tmp_path, submitted.run_id, service, clock)
    assert capsys.readouterr().out.splitlines() == [
        "remote-1",
        "▸ build-dataset",
        "▸ build-dataset",
        "✓ build-dataset 60.0 s",
    ]


def test_faults_on_the_way_end_no_watch(
    submitted: RunRecord, tmp_path: Path, service: Service, clock: FakeClock
) -> None:
    service.script = list(_SUCCESS)
    service.step = away("get", "before", times=10)
    assert watch_run(tmp_path, submitted.run_id, service, clock)


def test_ctrl_c_ends_the_watching_and_not_the_run(
    submitted: RunRecord, tmp_path: Path, service: Service, clock: FakeClock, capsys: pytest.CaptureFixture[str]
) -> None:
    def step(verb: str, _when: str) -> None:
        if len(service.calls) > 4:
            raise KeyboardInterrupt

    service.step = step
    with pytest.raises(typer.Exit) as caught:
        watch_run(tmp_path, submitted.run_id, service, clock)
    assert caught.value.exit_code == 130
    assert "The run goes on. Watch it again: tunelane runs watch remote-1" in capsys.readouterr().err
    assert service.all_runs[0].state == "pending"


def test_a_run_that_needs_a_resume_is_not_waited_for(
    tmp_path: Path, service: Service, clock: FakeClock, capsys: pytest.CaptureFixture[str]
) -> None:
    add_remote(tmp_path, "cut", "submitting")
    assert not watch_run(tmp_path, "cut", service, clock)
    assert "go on with: tunelane runs resume cut" in capsys.readouterr().err


def test_a_run_that_needs_a_resume_says_how_to_go_on(
    tmp_path: Path, service: Service, clock: FakeClock, capsys: pytest.CaptureFixture[str]
) -> None:
    add_remote(tmp_path, "cut", "submitting")
    print_run(tmp_path, "cut", service, clock, as_json=False)
    said = capsys.readouterr().out
    assert "needs-resume" in said
    assert f"\nNext   tunelane runs resume cut --root {tmp_path}" in said


def test_a_run_that_goes_on_is_shown_with_its_console(
    submitted: RunRecord, tmp_path: Path, service: Service, clock: FakeClock, capsys: pytest.CaptureFixture[str]
) -> None:
    service.script = _SUCCESS[1:2]
    service.change(service.all_runs[0].resource, lambda run: replace(run, schedule="projects/1/schedules/7"))
    print_run(tmp_path, "latest", service, clock, as_json=False)
    said = capsys.readouterr().out
    assert "● Resolve champion" in said
    assert "\nConsole   https://console/remote-1" in said
    assert "\nSchedule  projects/1/schedules/7" in said
    assert f"tunelane runs watch remote-1 --root {tmp_path}" in said
    print_run(tmp_path, "latest", service, clock, as_json=True)
    assert json.loads(capsys.readouterr().out)["remote"]["schedule"] == "projects/1/schedules/7"


def test_a_run_whose_service_is_away_is_shown_as_it_was(
    submitted: RunRecord, tmp_path: Path, service: Service, clock: FakeClock, capsys: pytest.CaptureFixture[str]
) -> None:
    service.step = away("get", "before", times=99)
    print_run(tmp_path, "latest", service, clock, as_json=False)
    said = capsys.readouterr()
    assert "pending" in said.out
    assert said.err == "vertex: It does not answer. This is what is known here.\n"


def test_remote_runs_are_listed_beside_local_ones(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add_run(tmp_path, "here")
    add_remote(tmp_path, "there", "succeeded", "projects/1/pipelineJobs/there", minute=5)
    print_list(tmp_path, 20, as_json=False)
    head, there, here = capsys.readouterr().out.splitlines()
    assert head.split()[-2:] == ["TARGET", "SCHEDULE"]
    assert (there.split()[-1], here.split()[-1]) == ("vertex", "local")


def test_the_logs_of_a_run_or_of_one_task_are_printed(
    submitted: RunRecord, tmp_path: Path, service: Service, clock: FakeClock, capsys: pytest.CaptureFixture[str]
) -> None:
    time = datetime(2026, 1, 2, 12, tzinfo=UTC)
    service.log = [LogLine(time, "build-dataset", "reading rows"), LogLine(time, "train-lora", "step 1")]
    service.step = away("logs", "before")
    print_logs(tmp_path, "latest", "", service, clock)
    assert [line.split("  ")[1:] for line in capsys.readouterr().out.splitlines()] == [
        ["build-dataset", "reading rows"],
        ["train-lora", "step 1"],
    ]
    print_logs(tmp_path, "latest", "train-lora", service, clock)
    assert capsys.readouterr().out.endswith("train-lora  step 1\n")
    with pytest.raises(InputError, match="No task 'train-lore'"):
        print_logs(tmp_path, "latest", "train-lore", no_target, clock)


def test_the_log_of_a_local_run_is_its_file(
    tmp_path: Path, clock: FakeClock, capsys: pytest.CaptureFixture[str]
) -> None:
    add_run(tmp_path, "here")
    with pytest.raises(InputError, match=r"run\.log: No such file"):
        print_logs(tmp_path, "here", "", no_target, clock)
    (tmp_path / "runs" / "here" / LOG).write_text("said\n")
    print_logs(tmp_path, "here", "", no_target, clock)
    assert capsys.readouterr().out == "said\n"
    with pytest.raises(InputError, match="one for all tasks"):
        print_logs(tmp_path, "here", "build-dataset", no_target, clock)


def test_a_run_that_has_not_started_has_no_log(tmp_path: Path, clock: FakeClock) -> None:
    add_remote(tmp_path, "cut", "submitting")
    with pytest.raises(InputError, match="has not started, as far as is known"):
        print_logs(tmp_path, "cut", "", no_target, clock)
