"""Submit, watch, cancel and list against Vertex AI: unmodified clients, fakes on loopback."""

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.cloud.bench.bench import Bench
from tests.cloud.bench.faults import KINDS, Fault, matrix
from tests.cloud.bench.specs import small_spec
from tests.cloud.bench.steps import failing, succeeding
from tunelane_components.images import EXTRA_BY_IMAGE
from tunelane_pipelines.display.logs import print_logs
from tunelane_pipelines.display.watching import watch_run
from tunelane_pipelines.runs.cancelling import cancel_run
from tunelane_pipelines.runs.finding import find_run, list_runs
from tunelane_pipelines.runs.reconciling import refresh_all
from tunelane_pipelines.settings import Settings, load_settings
from tunelane_pipelines.settings.sections import GcpSettings
from tunelane_pipelines.submitting.sending import resume_run, submit_run
from tunelane_pipelines.submitting.submit import Wish, wished
from tunelane_pipelines.targets.target import Submission
from tunelane_pipelines.targets.vertex.target import VertexTarget
from tunelane_serving.errors import TunelaneError

if TYPE_CHECKING:
    from google.cloud import aiplatform_v1

_ASSIGNED = (
    "data=gs://tunelane-test-ew4/rows.csv",
    "registry_uri=gs://tunelane-test-ew4/registry",
    "deployment_uri=gs://tunelane-test-ew4/deployments",
    "model_name=tickets",
)
_FEW = ("503", "reply-lost", "denied")
_TASKS = ("resolve-champion", "build-dataset", "train-lora")


@pytest.fixture
def settings(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings that lead to the bench."""
    for name in [name for name in os.environ if name.startswith("TUNELANE_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    images = tmp_path / "images.json"
    images.write_text(json.dumps({name: f"registry.example.org/{name}" for name in EXTRA_BY_IMAGE}))
    gcp = GcpSettings(
        project=bench.project,
        region=bench.region,
        pipeline_root=f"gs://{bench.bucket}/runs",
        service_account=bench.service_account,
    )
    return load_settings(root=tmp_path / "root", images=images, gcp=gcp)


@pytest.fixture
def opener(bench: Bench, settings: Settings) -> Callable[[str], VertexTarget]:
    """Give what opens Vertex with the bench's clock."""
    target = VertexTarget(settings.gcp, bench.clock)
    return lambda _name: target


@pytest.fixture
def submission() -> Submission:
    """A small run: two tasks."""
    return Submission("train-classifier-0", "train-classifier", "Train", small_spec("first", "second"), {})


def test_a_pipeline_of_ours_is_submitted_and_watched_to_its_end(
    bench: Bench,
    settings: Settings,
    opener: Callable[[str], VertexTarget],
    capsys: pytest.CaptureFixture[str],
) -> None:
    bench.vertex.script(succeeding(*_TASKS))
    submission = wished(Wish("train-classifier", "vertex", assignments=_ASSIGNED), settings, bench.clock)
    record = submit_run(submission, settings.root, opener("vertex"), bench.clock, command="")
    (request,) = bench.called("CreatePipelineJob")
    assert request.pipeline_job_id == record.run_id == request.pipeline_job.labels["tunelane-run"]
    assert record.remote is not None and record.run_id in record.remote.console_url
    assert watch_run(settings.root, record.run_id, opener, bench.clock)
    said = capsys.readouterr().out.splitlines()
    assert [line for line in said if line.startswith("✓ train-lora")]
    entry = find_run(settings.root, "latest")
    assert (entry.state, entry.model) == ("succeeded", "tickets")


def test_a_failure_has_the_failed_task_s_message_and_its_log(
    bench: Bench,
    settings: Settings,
    submission: Submission,
    opener: Callable[[str], VertexTarget],
    capsys: pytest.CaptureFixture[str],
) -> None:
    bench.vertex.script(failing("first", "second", failed="second", message="No memory left."))
    submit_run(submission, settings.root, opener("vertex"), bench.clock, command="")
    assert not watch_run(settings.root, "latest", opener, bench.clock)
    assert "No memory left." in capsys.readouterr().err
    bench.logs.write(submission.run_id, "second", "allocating 12 GiB")
    print_logs(settings.root, "latest", "second", opener, bench.clock)
    assert capsys.readouterr().out.endswith("second  allocating 12 GiB\n")


def test_a_run_is_cancelled_and_again(
    bench: Bench, settings: Settings, submission: Submission, opener: Callable[[str], VertexTarget]
) -> None:
    submit_run(submission, settings.root, opener("vertex"), bench.clock, command="")
    for _ in range(2):
        record = cancel_run(settings.root, find_run(settings.root, "latest"), opener, bench.clock)
    assert record.state in ("running", "cancelled"), "it may take a while"
    assert not watch_run(settings.root, "latest", opener, bench.clock)
    assert find_run(settings.root, "latest").state == "cancelled"


def test_runs_of_others_are_taken_in(
    bench: Bench, settings: Settings, submission: Submission, opener: Callable[[str], VertexTarget], tmp_path: Path
) -> None:
    submit_run(submission, tmp_path / "their-root", opener("vertex"), bench.clock, command="")
    assert list_runs(settings.root) == []
    assert refresh_all(settings, opener, bench.clock) == ({}, {opener("vertex").service})
    assert [(entry.run_id, entry.target) for entry in list_runs(settings.root)] == [(submission.run_id, "vertex")]


def test_a_copy_that_a_colleague_made_of_a_run_is_a_run_of_its_own(
    bench: Bench,
    settings: Settings,
    submission: Submission,
    opener: Callable[[str], VertexTarget],
    pipeline_client: "aiplatform_v1.PipelineServiceClient",
    vertex_parent: str,
) -> None:
    """`PipelineJob.clone` of Google's SDK keeps the labels, the run's id among them."""
    submit_run(submission, settings.root, opener("vertex"), bench.clock, command="")
    bench.vertex.finish(submission.run_id)
    refresh_all(settings, opener, bench.clock)
    bench.clock.advance(timedelta(hours=2))
    [job] = bench.vertex.jobs()
    copy = {
        "display_name": job.display_name,
        "pipeline_spec": small_spec("first", "second"),
        "labels": dict(job.labels),
        "runtime_config": {"gcs_output_directory": f"gs://{bench.bucket}/runs"},
        "service_account": bench.service_account,
    }
    pipeline_client.create_pipeline_job(parent=vertex_parent, pipeline_job=copy, pipeline_job_id="train-copy-1")
    refresh_all(settings, opener, bench.clock)
    found = {entry.run_id: entry.state for entry in list_runs(settings.root)}
    assert found == {submission.run_id: "succeeded", "train-copy-1": "pending"}


def _flow(settings: Settings, submission: Submission, opener: Callable[[str], VertexTarget], bench: Bench) -> str:
    """Submit, watch and list; gives the state that the journal has at last, empty where nothing was left."""
    try:
        submit_run(submission, settings.root, opener("vertex"), bench.clock, command="")
        watch_run(settings.root, submission.run_id, opener, bench.clock)
        refresh_all(settings, opener, bench.clock)
    except TunelaneError:
        pass
    found = {entry.run_id: entry.state for entry in list_runs(settings.root)}
    return found.get(submission.run_id, "")


@pytest.mark.parametrize("kinds", [_FEW, pytest.param(KINDS, marks=pytest.mark.slow)], ids=["few", "all"])
def test_with_one_fault_at_any_call_a_run_is_done_taken_back_or_resumed(
    kinds: tuple[str, ...],
    bench: Bench,
    settings: Settings,
    submission: Submission,
    opener: Callable[[str], VertexTarget],
) -> None:
    """Whatever happens at whichever call: there is one run at most, and the journal says what is so."""
    bench.vertex.script(succeeding("first", "second"))
    assert _flow(settings, submission, opener, bench) == "succeeded"
    faults = [fault for fault in matrix(bench.calls) if fault.kind in kinds]
    assert len(faults) > 10
    ends: dict[str, int] = {}
    for number, fault in enumerate(faults, start=1):
        bench.reset()
        sent = replace(submission, run_id=f"train-classifier-{number}")
        bench.vertex.script(succeeding("first", "second"))
        _add(bench, fault)
        end = _flow(settings, sent, opener, bench)
        ends[end] = ends.get(end, 0) + 1
        if end == "needs-resume":
            resume_run(find_run(settings.root, sent.run_id), opener, bench.clock)
            watch_run(settings.root, sent.run_id, opener, bench.clock)
            end = find_run(settings.root, sent.run_id).state
        jobs = [job.name.rpartition("/")[2] for job in bench.vertex.jobs()]
        assert jobs == ([sent.run_id] if end else []), fault
        assert end in ("", "succeeded", "running", "pending"), (fault, end)
    assert ends["succeeded"] > len(faults) / 2


def _add(bench: Bench, fault: Fault) -> None:
    bench.faults.add(fault.method, fault.kind, times=fault.times, skip=fault.skip)


@pytest.fixture
def command(bench: Bench, settings: Settings) -> Callable[..., "subprocess.Popen[str]"]:
    """Start the real command in a process of its own."""
    environment = {
        **os.environ,
        **bench.environment,
        "TUNELANE_GCP__PROJECT": bench.project,
        "TUNELANE_GCP__REGION": bench.region,
        "TUNELANE_GCP__PIPELINE_ROOT": settings.gcp.pipeline_root,
        "TUNELANE_ROOT": str(settings.root),
        "TUNELANE_IMAGES": str(settings.images),
    }

    def command(*arguments: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", "tunelane_pipelines.cli", *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip

    return command


def _submit(command: Callable[..., "subprocess.Popen[str]"]) -> "subprocess.Popen[str]":
    assigned = [f"--set={assignment}" for assignment in _ASSIGNED]
    return command("submit", "train-classifier", "--target=vertex", *assigned)


@pytest.mark.slow
def test_the_command_can_be_killed_at_any_moment(
    bench: Bench,
    settings: Settings,
    opener: Callable[[str], VertexTarget],
    command: Callable[..., "subprocess.Popen[str]"],
) -> None:
    bench.vertex.hold()
    begun = time.monotonic()
    whole = _submit(command)
    said, complaint = whole.communicate(timeout=120)
    assert whole.returncode == 0, complaint
    run_ids, length_s = {said.splitlines()[0]}, time.monotonic() - begun
    moments = random.Random(6)  # noqa: S311 - no secret
    for _ in range(6):
        started = _submit(command)
        # What comes before the first request is always the same.
        time.sleep(moments.uniform(0.4, 1.05) * length_s)
        started.kill()
        started.communicate()
        jobs = {job.name.rpartition("/")[2] for job in bench.vertex.jobs()}
        entries = {entry.run_id: entry.state for entry in list_runs(settings.root)}
        assert jobs <= set(entries), "a run that the journal does not know of"
        known = {run_id for run_id, state in entries.items() if state not in ("submitting", "needs-resume")}
        assert known <= jobs, "a run that the service does not know of"
        run_ids |= set(entries)
    for run_id in run_ids:
        resume_run(find_run(settings.root, run_id), opener, bench.clock)
    jobs_by_name = [job.name.rpartition("/")[2] for job in bench.vertex.jobs()]
    assert sorted(jobs_by_name) == sorted(run_ids), "each run once"
