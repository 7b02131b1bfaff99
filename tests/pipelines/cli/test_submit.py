"""`tunelane submit` and `tunelane runs …` of remote runs, as a user types them."""

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.pipelines.added import add_remote, add_run
from tests.pipelines.service import FakeClock, Service, at_work, away
from tunelane_components.images import EXTRA_BY_IMAGE
from tunelane_pipelines.runs.finding import list_runs
from tunelane_pipelines.runs.journal import Journal
from tunelane_pipelines.settings import Settings

Here = Callable[..., tuple[object, str, str]]

_SUBMIT = (
    "submit",
    "train-classifier",
    "--target=vertex",
    "--images=images.json",
    "--set=data=gs://bucket/rows.csv",
    "--set=registry_uri=gs://bucket/registry",
    "--set=deployment_uri=gs://bucket/deployments",
)
_CLOUD = {
    "TUNELANE_GCP__PROJECT": "tunelane-test",
    "TUNELANE_GCP__REGION": "europe-west4",
    "TUNELANE_GCP__PIPELINE_ROOT": "gs://tunelane-test/runs",
    "TUNELANE_KUBEFLOW__HOST": "https://kubeflow.example.org/pipeline",
}


@pytest.fixture
def images(place: Path) -> Path:
    """A release's file of images, where the command is typed."""
    path = place / "images.json"
    path.write_text(json.dumps({name: f"registry.example.org/{name}" for name in EXTRA_BY_IMAGE}))
    return path


@pytest.fixture
def service(place: Path, images: Path, monkeypatch: pytest.MonkeyPatch) -> Service:
    """The service that every target leads to; its clock is the commands' clock."""
    assert images.exists()
    clock = FakeClock()
    clock.time = datetime.now(UTC)
    service = Service(place / "service.json", clock)

    def open_target(name: str, _settings: Settings) -> Service:
        assert name == "vertex"
        return service

    monkeypatch.setattr("tunelane_pipelines.targets.opening.open_target", open_target)
    monkeypatch.setattr("tunelane_pipelines.targets.clock.SystemClock", lambda: clock)
    return service


def test_a_run_is_submitted_and_its_console_named(service: Service, place: Path, here: Here) -> None:
    code, said, _ = here(*_SUBMIT)
    (run,) = service.all_runs
    assert (code, said.splitlines()) == (0, [run.run_id, run.console_url])
    assert run.parameters["data"] == "gs://bucket/rows.csv"
    assert list_runs(place / ".tunelane")[0].state == "pending"


@pytest.mark.parametrize(("state", "code"), [("succeeded", 0), ("failed", 1), ("cancelled", 1)])
def test_a_submit_that_waits_ends_as_the_run_did(state: str, code: int, service: Service, here: Here) -> None:
    task = {"succeeded": "succeeded", "failed": "failed", "cancelled": "cancelled"}[state]
    service.script = [at_work(run="running", build_dataset="running"), at_work(run=state, build_dataset=task)]
    found, said, complaint = here(*_SUBMIT, "--wait")
    assert found == code
    assert "▸ build-dataset" in said
    assert complaint == ("tunelane: build-dataset: The replica exited with code 1.\n" if state == "failed" else "")


def test_ctrl_c_while_a_submit_waits_leaves_the_run(service: Service, here: Here) -> None:
    def step(verb: str, _when: str) -> None:
        if verb == "get":
            raise KeyboardInterrupt

    service.step = step
    code, _, complaint = here(*_SUBMIT, "--wait")
    assert code == 130
    assert "The run goes on." in complaint
    assert service.all_runs[0].state == "pending"


def test_a_dry_run_sends_nothing_and_leaves_nothing(service: Service, place: Path, here: Here) -> None:
    code, said, _ = here(*_SUBMIT, "--dry-run")
    assert code == 0
    assert json.loads(said)["parameters"]["rows"] == 0
    assert (service.calls, service.all_runs) == ([], [])
    assert not (place / ".tunelane").exists()


def test_a_submission_that_stays_unclear_is_resumed(service: Service, here: Here) -> None:
    def step(verb: str, when: str) -> None:
        away("submit", "after", times=99)(verb, when)
        away("find", "before", times=99)(verb, when)

    service.step = step
    code, _, complaint = here(*_SUBMIT)
    run_id = service.all_runs[0].run_id
    assert (code, complaint.count("\n")) == (1, 1)
    assert complaint.endswith(f"go on with: tunelane runs resume {run_id}\n")
    assert "needs-resume" in here("runs", "list")[1]
    _, shown, _ = here("runs", "show")
    assert f"tunelane runs resume {run_id}" in shown
    service.step = lambda _verb, _when: None
    code, said, _ = here("runs", "resume", "latest")
    assert (code, said.splitlines()) == (0, [run_id, service.all_runs[0].console_url])
    assert len(service.all_runs) == 1
    assert here("runs", "resume", run_id)[0] == 0, "again changes nothing"


def test_a_show_finds_a_run_that_was_unclear(service: Service, here: Here, place: Path) -> None:
    add_remote(place / ".tunelane", "cut", "submitting")
    service.add(at_work(run="running")(service.new_run("cut")))
    _, shown, _ = here("runs", "show")
    assert "running" in shown and "tunelane runs watch cut" in shown


def test_a_run_is_cancelled_and_again(service: Service, here: Here) -> None:
    here(*_SUBMIT)
    run_id = service.all_runs[0].run_id
    for _ in range(2):
        code, said, _ = here("runs", "cancel", run_id)
        assert (code, said) == (0, f"{run_id}: cancelled.\n")
    assert here("runs", "watch")[0] == 1


def test_a_list_asks_nobody_and_says_how_old_it_is(service: Service, here: Here) -> None:
    here(*_SUBMIT)
    service.change(service.all_runs[0].resource, at_work(run="succeeded"))
    calls = len(service.calls)
    code, said, complaint = here("runs", "list")
    assert (code, len(service.calls)) == (0, calls) and "pending" in said
    assert complaint == (
        "vertex p/europe-west4: its runs are as this machine last saw them. Ask it: tunelane runs list --refresh\n"
    )
    code, said, complaint = here("runs", "list", "--refresh")
    assert (code, complaint, service.calls[calls:]) == (0, "", ["runs"]) and "succeeded" in said


def test_runs_of_another_service_are_listed_as_they_are_and_no_command_touches_them(
    service: Service, here: Here
) -> None:
    here(*_SUBMIT)
    run_id, calls = service.all_runs[0].run_id, len(service.calls)
    service.service = "vertex q/us-central1"
    code, said, complaint = here("runs", "list", "--refresh")
    assert (code, service.calls[calls:]) == (0, ["runs"]) and "pending" in said
    assert complaint == (
        "vertex p/europe-west4: its runs are as this machine last saw them. "
        "Ask with the --profile that they were submitted with.\n"
    )
    for verb in ("show", "watch", "logs", "cancel"):
        code, _, complaint = here("runs", verb, run_id)
        assert (code, complaint.count("\n")) == (2, 1), verb
        assert f"{run_id} is at vertex p/europe-west4, and the settings in force name vertex q/us-central1" in complaint
    assert service.calls[calls + 1 :] == []
    assert "pending" in here("runs", "list")[1]


def test_a_refreshed_list_takes_in_what_schedules_started(
    service: Service, here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNELANE_GCP__PROJECT", "tunelane-test")
    run = replace(service.new_run("nightly-1"), run_id="", schedule="projects/1/schedules/7")
    service.add(run)
    assert here("runs", "list")[1].startswith("No runs"), "nothing here says that there is a service to ask"
    _, said, _ = here("runs", "list", "--refresh")
    assert said.splitlines()[1].split()[0] == "nightly-1" and said.splitlines()[1].endswith("vertex  7")


def test_a_refresh_without_an_answer_lists_what_is_known_and_fails(service: Service, here: Here) -> None:
    here(*_SUBMIT)
    service.step = away("runs", "before", times=99)
    code, said, complaint = here("runs", "list", "--refresh")
    assert code == 1
    assert "pending" in said
    assert complaint == "tunelane: vertex: It does not answer.\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["submit", "train-classifier"], "Missing option '--target'"),
        (["submit", "train-classifier", "--target=azure"], "No target 'azure'. There are: kubeflow, vertex."),
        (["submit", "train", "--target=vertex"], "No pipeline 'train'"),
        ([*_SUBMIT, "--set=data=rows.csv"], "data is a path on this machine"),
        ([*_SUBMIT, "--gpu=h100"], "No GPU 'h100'"),
        ([*_SUBMIT, "--images=none.json"], "none.json: No such file"),
        ([*_SUBMIT, "--label=Team=x"], "The label 'Team' cannot be used"),
        ([*_SUBMIT, "--config=nothing"], "No such config"),
        (["runs", "resume", "nothing"], "No runs below"),
        (["runs", "cancel"], "Missing argument"),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
def test_a_slip_is_one_line_and_sends_nothing(
    arguments: list[str], words: str, service: Service, place: Path, here: Here
) -> None:
    code, said, complaint = here(*arguments)
    assert (code, said) == (2, "")
    assert words in complaint and len(complaint.splitlines()) == 1
    assert service.calls == []
    assert not (place / ".tunelane").exists()


def test_a_local_run_is_not_resumed(service: Service, place: Path, here: Here) -> None:
    add_run(place / ".tunelane", "here")
    code, _, complaint = here("runs", "resume", "here")
    assert code == 2 and "here ran on this machine" in complaint


_LOADED = """
import sys
from tunelane_pipelines.cli.main import main

try:
    main()
finally:
    print(*sys.modules, file=sys.stderr)
"""


@pytest.mark.parametrize("target", ["vertex", "kubeflow"])
def test_a_dry_run_loads_no_client_of_google_s(target: str, images: Path, place: Path) -> None:
    finished = subprocess.run(
        [sys.executable, "-c", _LOADED, *_SUBMIT, f"--target={target}", "--dry-run"],
        capture_output=True, text=True, check=True, cwd=place, env={**os.environ, **_CLOUD},
    )  # fmt: skip
    assert "train-classifier-" in finished.stdout
    json.loads(finished.stdout)
    loaded = finished.stderr.split()
    assert not [name for name in loaded if name.startswith(("google.cloud.", "google.api_core", "grpc", "torch"))]


def test_a_list_loads_no_client_where_every_run_has_ended(place: Path) -> None:
    add_remote(place / ".tunelane", "there", "succeeded", "projects/1/pipelineJobs/there")
    finished = subprocess.run(
        [sys.executable, "-c", _LOADED, "runs", "list"],
        capture_output=True, text=True, check=True, cwd=place, env={**os.environ, **_CLOUD},
    )  # fmt: skip
    assert "there" in finished.stdout
    loaded = set(finished.stderr.split())
    assert not {"kfp", "google.cloud.aiplatform_v1", "grpc", "mlflow", "torch", "kubernetes"} & loaded


def test_a_thousand_runs_are_listed_by_a_handful_of_statements(
    service: Service, place: Path, here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = place / ".tunelane"
    first = add_remote(root, "first", "running", "projects/1/pipelineJobs/first")
    journal = Journal(root)
    journal.put(first._replace(run_id=f"run-{number:04}", state="succeeded") for number in range(999))
    journal.looked("vertex", service._clock.now())
    statements: list[str] = []
    connect = sqlite3.connect

    def traced(*arguments: object, **named: object) -> sqlite3.Connection:
        connection = connect(*arguments, **named)  # type: ignore[call-overload]
        connection.set_trace_callback(statements.append)
        return connection  # type: ignore[no-any-return]

    monkeypatch.setattr(sqlite3, "connect", traced)
    code, said, _ = here("runs", "list", "--limit", "1000")
    assert (code, len(said.splitlines())) == (0, 1001)
    assert len(statements) < 30
    assert service.calls == []


def test_a_run_is_filed_under_its_experiment_once_it_has_started(service: Service, here: Here) -> None:
    code, _, complaint = here(*_SUBMIT, "--experiment=baseline")
    assert (code, complaint) == (0, "")
    assert service.calls[-1] == "file_run" and "submit" in service.calls


def test_a_run_that_cannot_be_filed_has_started_and_is_filed_later(service: Service, here: Here) -> None:
    service.step = away("file_run", "before", times=99)
    code, said, complaint = here(*_SUBMIT, "--experiment=baseline")
    [run] = service.all_runs
    assert (code, said.splitlines()) == (0, [run.run_id, run.console_url])
    assert f"{run.run_id} has started, but is not in the experiment baseline." in complaint
    assert complaint.endswith(f"File it later: tunelane runs resume {run.run_id}\n") and complaint.count("\n") == 1
    service.step = lambda _verb, _when: None
    code, _, complaint = here("runs", "resume", run.run_id)
    assert (code, complaint, service.calls[-1], len(service.all_runs)) == (0, "", "file_run", 1)
