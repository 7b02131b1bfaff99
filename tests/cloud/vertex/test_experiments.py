"""A run filed under an experiment, by Google's own clients."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.cloud.bench.bench import Bench
from tests.cloud.bench.faults import Kind
from tunelane_pipelines.submitting.filing import file_run
from tunelane_pipelines.submitting.sending import submit_run
from tunelane_pipelines.targets.errors import NoSuchResource, NotAllowed, Refused, ServiceAway
from tunelane_pipelines.targets.retrying import retried
from tunelane_pipelines.targets.target import RemoteRun, Submission
from tunelane_pipelines.targets.vertex.target import VertexTarget


@pytest.fixture
def run(target: VertexTarget, submission: Submission) -> RemoteRun:
    """A run that has started, and has its context."""
    run = target.submit(replace(submission, experiment="baseline"))
    for _ in range(2):
        target.get(run.resource)
    return run


def _parents(bench: Bench, run_id: str) -> list[str]:
    store = f"projects/{bench.project_number}/locations/{bench.region}/metadataStores/default"
    return [
        parent.removeprefix(f"{store}/contexts/")
        for parent in bench.state.resources[f"{store}/contexts/{run_id}"].parent_contexts
    ]


def test_the_run_is_where_users_of_the_sdk_find_it(
    bench: Bench, target: VertexTarget, submission: Submission, run: RemoteRun
) -> None:
    from google.cloud import aiplatform

    target.file_run(run.resource, "baseline")
    aiplatform.init(project=bench.project, location=bench.region)
    experiment = aiplatform.PipelineJob.get(submission.run_id).get_associated_experiment()
    assert experiment is not None and experiment.name == "baseline"
    [call] = [call for call in bench.calls if call.method == "CreateContext"]
    assert (call.request.context.schema_title, call.request.context.schema_version) == ("system.Experiment", "0.0.1")
    assert dict(call.request.context.metadata) == {"experiment_deleted": False}


def test_an_experiment_is_made_once_and_holds_many_runs(
    bench: Bench, target: VertexTarget, submission: Submission, run: RemoteRun
) -> None:
    other = target.submit(replace(submission, run_id="small-2"))
    for _ in range(2):
        target.get(other.resource)
    for resource in (run.resource, other.resource, run.resource):
        target.file_run(resource, "baseline")
    assert (_parents(bench, submission.run_id), _parents(bench, "small-2")) == (["baseline"], ["baseline"])
    assert len(bench.called("CreateContext")) == 1


def test_a_run_without_a_context_yet_is_asked_for_again(
    bench: Bench, target: VertexTarget, submission: Submission
) -> None:
    run = target.submit(submission)
    with pytest.raises(ServiceAway, match="has not made its context yet"):
        target.file_run(run.resource, "baseline")
    retried(lambda: target.file_run(run.resource, "baseline"), bench.clock)
    assert _parents(bench, submission.run_id) == ["baseline"]


def test_a_run_that_ended_without_a_context_is_not_waited_for(
    bench: Bench, target: VertexTarget, submission: Submission
) -> None:
    run = target.submit(submission)
    bench.vertex.finish(submission.run_id, "FAILED")
    job = bench.state.resources[run.resource]
    job.ClearField("start_time")
    with pytest.raises(NoSuchResource, match="ended before"):
        target.file_run(run.resource, "baseline")


def test_a_name_that_is_no_experiment_s_is_refused(bench: Bench, target: VertexTarget, run: RemoteRun) -> None:
    with pytest.raises(Refused, match="is no experiment"):
        target.file_run(run.resource, run.run_id)
    assert bench.called("AddContextChildren") == []


@pytest.mark.parametrize("kind", ["503", "reply-lost", "late", "nameless", "conflict"])
def test_an_experiment_whose_making_went_wrong_is_made_once(
    kind: Kind, bench: Bench, target: VertexTarget, submission: Submission, run: RemoteRun
) -> None:
    bench.faults.add("CreateContext", kind)
    retried(lambda: target.file_run(run.resource, "baseline"), bench.clock)
    bench.arrive()
    assert bench.faults.unused() == []
    assert _parents(bench, submission.run_id) == ["baseline"]


def test_an_account_that_may_not_file_runs_learns_the_role(bench: Bench, target: VertexTarget, run: RemoteRun) -> None:
    bench.faults.add("AddContextChildren", "denied")
    with pytest.raises(NotAllowed, match=r"contexts.addContextChildren is missing. Grant roles/aiplatform.user"):
        target.file_run(run.resource, "baseline")


def test_a_run_whose_context_never_comes_stays_started_and_says_how_to_file_it(
    bench: Bench,
    target: VertexTarget,
    submission: Submission,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    bench.vertex.hold()
    asked = replace(submission, pipeline="convert", experiment="baseline")
    record = submit_run(asked, tmp_path / "root", target, bench.clock, command="tunelane submit convert")
    file_run(record, "baseline", target, bench.clock, tmp_path / "root", None)
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "has not made its context yet" in said
    assert said.endswith(f"File it later: tunelane runs resume {record.run_id} --root root\n")
    assert (len(bench.vertex.jobs()), record.state) == (1, "pending")
